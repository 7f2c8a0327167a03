//! What the server still owes the client, in order: the heart of a PostgreSQL session's bookkeeping. Pure.
//!
//! Source: PostgreSQL manual, "Message Flow": Extended Query, Pipelining, COPY Operations.
//! The asking loop pushes an [`Expect`] for each message it forwards; the answering loop matches what arrives against
//! the head. What linegate itself says (refusals, notices) stands in the same queue, so order is never lost.

mod register;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::rc::Rc;

use codecs::postgres::backend::{TransactionStatus, tag};
use codecs::postgres::frontend::Kind;

use self::register::Register;
pub use self::register::{Given, Meaning};
use super::asked::Asked;

/// One answer that is owed.
#[derive(Clone)]
pub enum Expect {
    /// ParseComplete.
    Parse {
        name: Rc<[u8]>,
        asked: Rc<Asked>,
        given: Given,
    },
    /// BindComplete.
    Bind {
        portal: Rc<[u8]>,
        asked: Rc<Asked>,
        given: Given,
    },
    /// ParameterDescription, then RowDescription or NoData.
    DescribeStatement { name: Option<Rc<[u8]>> },
    /// RowDescription or NoData; linegate's own question is answered to nobody.
    DescribePortal {
        portal: Rc<[u8]>,
        asked: Rc<Asked>,
        own: bool,
    },
    /// Rows, then CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute { portal: Rc<[u8]>, asked: Rc<Asked> },
    /// CloseComplete.
    Close { kind: Kind, name: Rc<[u8]> },
    /// ReadyForQuery.
    Sync,
    /// Everything up to and with ReadyForQuery.
    Query { asked: Rc<Asked> },
    /// FunctionCallResponse, then ReadyForQuery.
    FunctionCall { asked: Rc<Asked>, result_format: i16 },
    /// Bytes of linegate's own, emitted when everything before them was answered.
    Local(Vec<u8>),
    /// The error that linegate provoked so that the server leaves an implicit transaction: replaced by these bytes.
    Poison(Vec<u8>),
    /// The client ended its COPY data here.
    CopyEnd,
    /// ParseComplete for the query that describes what a COPY sends: nobody hears of it, as of what follows.
    OwnParse { asked: Rc<Asked> },
    /// Its ParameterDescription, then RowDescription or NoData.
    OwnDescribe { asked: Rc<Asked> },
    /// Its CloseComplete.
    OwnClose,
    /// Its ReadyForQuery. Behind an error, which the client is told in place of the COPY, it is the client's.
    OwnSync,
    /// A Query of linegate's own: nobody hears of it.
    Own,
    /// A COMMIT or ROLLBACK of linegate's own: its errors and its ReadyForQuery are the client's.
    Finish,
    /// A Query that linegate has fail, so that a transaction block cannot commit: its ReadyForQuery is the client's.
    Undo,
}

impl Expect {
    /// The portal that is described, bound or closed.
    pub fn portal(&self) -> Option<&Rc<[u8]>> {
        match self {
            Self::DescribePortal { portal: name, .. }
            | Self::Bind { portal: name, .. }
            | Self::Close {
                kind: Kind::Portal,
                name,
            } => Some(name),
            _ => None,
        }
    }

    /// Whether what it makes may rest on something temporary without saying so.
    fn rests_unseen(&self) -> bool {
        match self {
            Self::Query { asked } | Self::Execute { asked, .. } => {
                asked.statements().any(|statement| statement.leads.rests_unseen)
            }
            _ => false,
        }
    }

    /// Whether the server may answer by waiting for COPY data.
    fn may_copy_in(&self) -> bool {
        match self {
            Self::Query { asked } | Self::Execute { asked, .. } => asked.may_copy_in(),
            _ => false,
        }
    }
}

/// What to do with a message from the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Hand it on.
    Pass,
    /// It answers linegate's own question.
    Swallow,
    /// Say this instead.
    Replace(Vec<u8>),
}

/// The server said something that nothing asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct OutOfTurn(pub u8);

/// The queue and the names that its answers confirmed.
pub struct Pipeline {
    queue: VecDeque<Expect>,
    statements: Register,
    portals: Register,
    status: TransactionStatus,
    /// After an error in the extended protocol the server ignores everything up to Sync.
    skipping: bool,
    /// The server reads COPY data, and no end of it was forwarded.
    copying_in: bool,
    /// Entries of the queue that may have the server read COPY data.
    copies_open: usize,
    /// Goes up with each Sync: an error has the server skip what belongs to the same series, and nothing else.
    series: u64,
    /// Messages of the extended protocol were forwarded that no Sync has ended.
    in_series: bool,
    /// Executes forwarded since the last Sync.
    executes_open: u32,
    /// The ReadyForQuery of the next Query is kept from the client: linegate has something to say before it.
    holds_ready: bool,
    /// Something was made in the transaction that is open which may rest on what is temporary, and its words do not say so.
    rests_unseen: bool,
    /// Entries of the queue that may make such.
    unseen_open: usize,
    /// The query that describes a COPY is prepared, and was not closed: an error came between.
    pub own_is_left: bool,
}

impl Default for Pipeline {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            statements: Register::default(),
            portals: Register::default(),
            status: TransactionStatus::Idle,
            skipping: false,
            copying_in: false,
            copies_open: 0,
            series: 0,
            in_series: false,
            executes_open: 0,
            holds_ready: false,
            rests_unseen: false,
            unseen_open: 0,
            own_is_left: false,
        }
    }
}

impl Pipeline {
    /// The transaction status that the server last reported.
    pub fn status(&self) -> TransactionStatus {
        self.status
    }

    /// Whether nothing is owed.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Gives up the room that nothing is in.
    pub fn rest(&mut self) {
        self.queue.shrink_to_fit();
    }

    /// Entries that wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether the server looks at nothing before Sync, after an error.
    pub fn is_skipping(&self) -> bool {
        self.skipping
    }

    /// Whether the server waits for COPY data whose end was not forwarded.
    pub fn is_copying_in(&self) -> bool {
        self.copying_in
    }

    /// Whether something is unanswered that may have the server wait for COPY data.
    pub fn may_copy_in(&self) -> bool {
        self.copying_in || self.copies_open > 0
    }

    /// Whether Executes were forwarded that no Sync has ended.
    pub fn has_open_executes(&self) -> bool {
        self.executes_open > 0
    }

    /// Whether the server stands between two series: whatever comes next begins anew.
    pub fn is_between_series(&self) -> bool {
        !self.in_series && !self.skipping && !self.may_copy_in()
    }

    /// The statement that the next answer is about.
    pub fn head_asked(&self) -> Option<&Rc<Asked>> {
        match self.queue.front()? {
            Expect::Parse { asked, .. }
            | Expect::Bind { asked, .. }
            | Expect::DescribePortal { asked, .. }
            | Expect::OwnParse { asked }
            | Expect::OwnDescribe { asked }
            | Expect::Execute { asked, .. }
            | Expect::Query { asked }
            | Expect::FunctionCall { asked, .. } => Some(asked),
            _ => None,
        }
    }

    /// Whether the ReadyForQuery of the Query that is pushed next is kept from the client, and of a Sync of linegate's own
    /// also behind an error.
    pub fn hold_ready(&mut self, holds: bool) {
        self.holds_ready = holds;
    }

    /// What stands at the head.
    pub fn head(&self) -> Option<&Expect> {
        self.queue.front()
    }

    /// Adds what a forwarded message will be answered with.
    pub fn push(&mut self, expect: Expect) {
        self.in_series = match &expect {
            Expect::Sync | Expect::Query { .. } | Expect::FunctionCall { .. } => false,
            Expect::Local(_) | Expect::CopyEnd | Expect::Own | Expect::Finish | Expect::Undo => {
                self.in_series
            }
            _ => true,
        };
        match &expect {
            Expect::Sync | Expect::OwnSync => {
                self.executes_open = 0;
                self.skipping = false;
                self.series += 1;
                self.portals.next_series();
            }
            Expect::CopyEnd => {
                if self.copying_in {
                    self.copying_in = false;
                    return;
                }
                if self.copies_open == 0 {
                    return; // the server ignores it
                }
            }
            Expect::Own | Expect::Finish | Expect::Undo => {}
            _ if self.skipping => return, // the server will not look at it
            Expect::Parse { name, asked, .. } => self.statements.given(name, asked, self.series),
            Expect::Bind { portal, asked, .. } => self.portals.given(portal, asked, self.series),
            Expect::DescribePortal { portal, .. } => self.portals.description_asked(portal),
            Expect::Execute { .. } => self.executes_open += 1,
            _ => {}
        }
        self.copies_open += usize::from(expect.may_copy_in());
        self.unseen_open += usize::from(expect.rests_unseen());
        self.queue.push_back(expect);
    }

    /// Takes the head off. What it asked for is not there, unless [`Pipeline::confirm_head`] says so.
    fn pop(&mut self) -> Option<Expect> {
        let head = self.queue.pop_front()?;
        self.copies_open -= usize::from(head.may_copy_in());
        let is_unseen = head.rests_unseen();
        self.unseen_open -= usize::from(is_unseen);
        self.rests_unseen |= is_unseen;
        match &head {
            Expect::Parse { name, .. } => self.statements.answered(name),
            Expect::Bind { portal, .. } => self.portals.answered(portal),
            _ => {}
        }
        Some(head)
    }

    /// Whether the transaction that is open has made what may rest on something temporary, and nobody else sees yet.
    pub fn rests_unseen(&self) -> bool {
        self.rests_unseen || self.unseen_open > 0
    }

    /// The statement that Bind names.
    pub fn statement(&self, name: &[u8]) -> Meaning {
        self.statements.meaning(name, self.series)
    }

    /// ParameterDescription comes: the types of its statement's parameters.
    pub fn typed(&mut self, types: impl FnOnce() -> Rc<[u32]>) {
        if let Some(Expect::DescribeStatement { name: Some(name) }) = self.queue.front() {
            self.statements.typed(name, types);
        }
    }

    /// The types of a confirmed statement's parameters, as far as they are known.
    pub fn parameter_types(&self, statement: &[u8]) -> Option<Rc<[u32]>> {
        self.statements.came_along(statement)?.types.clone()
    }

    /// Whether a portal may have been bound with values.
    pub fn may_have_values(&self, portal: &[u8]) -> bool {
        self.portals
            .came_along(portal)
            .is_none_or(|given| given.has_values)
    }

    /// Whether one more statement of so many bytes may be prepared.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.statements.has_room(bytes)
    }

    /// Whether a Parse for that name is unanswered or confirmed.
    pub fn knows_statement(&self, name: &[u8]) -> bool {
        !matches!(self.statement(name), Meaning::Nothing)
    }

    /// The statement behind a portal.
    pub fn portal(&self, name: &[u8]) -> Meaning {
        self.portals.meaning(name, self.series)
    }

    /// Whether the portal's RowDescription is here, or on its way with nothing that could come in between.
    pub fn is_described(&self, portal: &[u8]) -> bool {
        self.portals.is_described(portal)
    }

    /// Whether bytes of linegate's own are due now.
    pub fn has_local(&mut self) -> bool {
        self.drop_marks();
        matches!(self.queue.front(), Some(Expect::Local(_)))
    }

    /// These bytes.
    pub fn take_local(&mut self) -> Option<Vec<u8>> {
        if !self.has_local() {
            return None;
        }
        match self.pop() {
            Some(Expect::Local(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// What runs now: the statement whose rows are arriving.
    pub fn running(&self) -> Option<&Rc<Asked>> {
        match self.queue.front()? {
            Expect::Query { asked } | Expect::Execute { asked, .. } | Expect::FunctionCall { asked, .. } => {
                Some(asked)
            }
            _ => None,
        }
    }

    /// Statements that were sent, and whether each is the one whose answer comes next.
    pub fn sent(&self) -> impl Iterator<Item = (bool, &Rc<Asked>)> {
        self.queue
            .iter()
            .enumerate()
            .filter_map(|(index, expect)| match expect {
                Expect::Query { asked }
                | Expect::Execute { asked, .. }
                | Expect::FunctionCall { asked, .. } => Some((index == 0, asked)),
                _ => None,
            })
    }

    /// What was bound or sent to run, and is not answered.
    pub fn begun(&self) -> impl Iterator<Item = &Rc<Asked>> {
        self.queue.iter().filter_map(|expect| match expect {
            Expect::Query { asked }
            | Expect::Bind { asked, .. }
            | Expect::Execute { asked, .. }
            | Expect::FunctionCall { asked, .. } => Some(asked),
            _ => None,
        })
    }

    /// Takes a whole message from the server, by tag, and says what becomes of it. `status` is ReadyForQuery's.
    pub fn answer(&mut self, message: u8, status: Option<TransactionStatus>) -> Result<Answer, OutOfTurn> {
        if matches!(
            message,
            tag::NOTICE_RESPONSE | tag::PARAMETER_STATUS | tag::NOTIFICATION_RESPONSE
        ) {
            return Ok(Answer::Pass);
        }
        self.drop_marks();
        match (message, self.queue.front()) {
            (tag::PARSE_COMPLETE, Some(Expect::Parse { .. }))
            | (tag::BIND_COMPLETE, Some(Expect::Bind { .. }))
            | (tag::CLOSE_COMPLETE, Some(Expect::Close { .. })) => {
                self.confirm_head();
                Ok(Answer::Pass)
            }
            (tag::PARSE_COMPLETE, Some(Expect::OwnParse { .. })) => {
                self.own_is_left = true;
                self.pop();
                Ok(Answer::Swallow)
            }
            (tag::CLOSE_COMPLETE, Some(Expect::OwnClose)) => {
                self.own_is_left = false;
                self.pop();
                Ok(Answer::Swallow)
            }
            (tag::ROW_DESCRIPTION | tag::NO_DATA, Some(Expect::OwnDescribe { .. })) => {
                self.pop();
                Ok(Answer::Swallow)
            }
            (tag::PARAMETER_DESCRIPTION, Some(Expect::OwnDescribe { .. })) => Ok(Answer::Swallow),
            (tag::PARAMETER_DESCRIPTION, Some(Expect::DescribeStatement { .. }))
            | (tag::FUNCTION_CALL_RESPONSE, Some(Expect::FunctionCall { .. })) => Ok(Answer::Pass),
            (tag::ROW_DESCRIPTION | tag::NO_DATA, Some(Expect::DescribeStatement { .. })) => {
                self.pop();
                Ok(Answer::Pass)
            }
            (tag::ROW_DESCRIPTION | tag::NO_DATA, Some(Expect::DescribePortal { own, portal, .. })) => {
                let own = *own;
                self.portals.described(portal);
                self.pop();
                Ok(if own { Answer::Swallow } else { Answer::Pass })
            }
            (
                tag::COMMAND_COMPLETE | tag::EMPTY_QUERY_RESPONSE | tag::PORTAL_SUSPENDED,
                Some(Expect::Execute { .. }),
            ) => {
                self.copying_in = false;
                self.pop();
                Ok(Answer::Pass)
            }
            (tag::COPY_IN_RESPONSE, Some(Expect::Execute { .. } | Expect::Query { .. })) => {
                self.begin_copy_in().map(|()| Answer::Pass)
            }
            (
                tag::ROW_DESCRIPTION
                | tag::COMMAND_COMPLETE
                | tag::EMPTY_QUERY_RESPONSE
                | tag::COPY_OUT_RESPONSE
                | tag::COPY_BOTH_RESPONSE
                | tag::COPY_DONE,
                Some(Expect::Query { .. }),
            )
            | (
                tag::COPY_OUT_RESPONSE | tag::COPY_BOTH_RESPONSE | tag::COPY_DONE,
                Some(Expect::Execute { .. }),
            ) => Ok(Answer::Pass),
            (tag::COMMAND_COMPLETE, Some(Expect::Own | Expect::Finish))
            | (tag::ERROR_RESPONSE, Some(Expect::Own | Expect::Undo)) => Ok(Answer::Swallow),
            (tag::ERROR_RESPONSE, _) => Ok(self.error()),
            (tag::READY_FOR_QUERY, Some(Expect::Own | Expect::OwnSync)) => {
                self.ready(status);
                Ok(Answer::Swallow)
            }
            (tag::READY_FOR_QUERY, Some(Expect::Query { .. })) if self.holds_ready => {
                self.holds_ready = false;
                self.ready(status);
                Ok(Answer::Swallow)
            }
            (
                tag::READY_FOR_QUERY,
                Some(
                    Expect::Sync
                    | Expect::Query { .. }
                    | Expect::FunctionCall { .. }
                    | Expect::Finish
                    | Expect::Undo,
                ),
            ) => {
                self.ready(status);
                Ok(Answer::Pass)
            }
            _ => Err(OutOfTurn(message)),
        }
    }

    /// ReadyForQuery: outside a transaction block no portal of the protocol is left.
    fn ready(&mut self, status: Option<TransactionStatus>) {
        self.pop();
        self.copying_in = false;
        self.status = status.unwrap_or(self.status);
        if self.status == TransactionStatus::Idle {
            self.portals.forget_all();
            self.rests_unseen = false;
        }
    }

    fn drop_marks(&mut self) {
        while matches!(self.queue.front(), Some(Expect::CopyEnd)) {
            self.pop();
        }
    }

    fn confirm_head(&mut self) {
        match self.pop() {
            Some(Expect::Parse { name, asked, given }) => self.statements.confirmed(name, asked, given),
            Some(Expect::Bind { portal, asked, given }) => self.portals.confirmed(portal, asked, given),
            Some(Expect::Close { kind, name }) => match kind {
                Kind::Statement => self.statements.forget(&name),
                Kind::Portal => self.portals.forget(&name),
            },
            _ => {}
        }
    }

    /// COPY FROM begins: the data end with the first end that was sent and that no COPY before it has used up. Nothing else may
    /// have been sent, since the server would throw it away (`Asking::after_copy`).
    fn begin_copy_in(&mut self) -> Result<(), OutOfTurn> {
        let mut behind = self.queue.iter().skip(1);
        if !behind.all(|expect| matches!(expect, Expect::CopyEnd)) {
            return Err(OutOfTurn(tag::COPY_IN_RESPONSE));
        }
        self.copying_in = self.queue.len() == 1;
        if !self.copying_in {
            self.queue.pop_back(); // they are all alike
        }
        Ok(())
    }

    /// The client was told of an error in place of the Query that linegate would have sent: what follows is its ReadyForQuery.
    fn client_hears_ready(&mut self) {
        if !self.holds_ready
            && let Some(head @ Expect::OwnSync) = self.queue.front_mut()
        {
            *head = Expect::Sync;
        }
    }

    /// In the simple protocol an error changes nothing in the queue; in the extended one all up to Sync goes unanswered.
    fn error(&mut self) -> Answer {
        self.copying_in = false;
        if matches!(
            self.queue.front(),
            None | Some(
                Expect::Query { .. }
                    | Expect::FunctionCall { .. }
                    | Expect::Sync
                    | Expect::OwnSync
                    | Expect::Finish
            )
        ) {
            self.client_hears_ready();
            return Answer::Pass;
        }
        let poison = match self.queue.front() {
            Some(Expect::Poison(bytes)) => Some(bytes.clone()),
            _ => None,
        };
        while let Some(expect) = self.queue.front() {
            if matches!(expect, Expect::Sync | Expect::OwnSync) {
                break;
            }
            self.pop();
        }
        self.client_hears_ready();
        self.skipping = self.queue.is_empty();
        poison.map_or(Answer::Pass, Answer::Replace)
    }
}
