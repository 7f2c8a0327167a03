//! What the server still owes the client, in order: the heart of a PostgreSQL session's bookkeeping. Pure.
//!
//! Source: PostgreSQL manual, "Message Flow": Extended Query, Pipelining, COPY Operations.
//! The asking loop pushes an [`Expect`] for each message it forwards; the answering loop matches what arrives against
//! the head. What linegate itself says (refusals, notices) stands in the same queue, so order is never lost.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use codecs::postgres::backend::{TransactionStatus, tag};
use linegate_identity::Effects;

use super::asked::Asked;

/// One answer that is owed.
#[derive(Clone)]
pub enum Expect {
    /// ParseComplete.
    Parse { name: Rc<[u8]>, asked: Rc<Asked> },
    /// BindComplete.
    Bind { portal: Rc<[u8]>, asked: Rc<Asked> },
    /// ParameterDescription, then RowDescription or NoData.
    DescribeStatement,
    /// RowDescription or NoData; linegate's own question is answered to nobody.
    DescribePortal {
        portal: Rc<[u8]>,
        asked: Rc<Asked>,
        own: bool,
    },
    /// Rows, then CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute { portal: Rc<[u8]>, asked: Rc<Asked> },
    /// CloseComplete.
    Close { statement: Option<Rc<[u8]>> },
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
    /// A Query of linegate's own: nobody hears of it.
    Own,
    /// A COMMIT or ROLLBACK of linegate's own: its errors and its ReadyForQuery are the client's.
    Finish,
    /// A Query that linegate has fail, so that a transaction block cannot commit: its ReadyForQuery is the client's.
    Undo,
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
    statements: HashMap<Rc<[u8]>, Rc<Asked>>,
    portals: HashMap<Rc<[u8]>, Rc<Asked>>,
    status: TransactionStatus,
    /// After an error in the extended protocol the server ignores everything up to Sync.
    skipping: bool,
    /// The server reads COPY data and ignores Flush and Sync.
    copying_in: bool,
    /// Executes forwarded since the last Sync.
    executes_open: u32,
    /// The ReadyForQuery of the next Query is kept from the client: linegate has something to say before it.
    holds_ready: bool,
}

impl Default for Pipeline {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            statements: HashMap::new(),
            portals: HashMap::new(),
            status: TransactionStatus::Idle,
            skipping: false,
            copying_in: false,
            executes_open: 0,
            holds_ready: false,
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
        let copies = |asked: &Asked| {
            let effects = asked.decision.effects;
            effects.intersects(Effects::COPY_IN.with(Effects::UNREADABLE))
        };
        self.copying_in
            || self.queue.iter().any(|expect| match expect {
                Expect::Query { asked } | Expect::Execute { asked, .. } => copies(asked),
                _ => false,
            })
    }

    /// Whether Executes were forwarded that no Sync has ended.
    pub fn has_open_executes(&self) -> bool {
        self.executes_open > 0
    }

    /// The statement that the next answer is about.
    pub fn head_asked(&self) -> Option<&Rc<Asked>> {
        match self.queue.front()? {
            Expect::Parse { asked, .. }
            | Expect::Bind { asked, .. }
            | Expect::DescribePortal { asked, .. }
            | Expect::Execute { asked, .. }
            | Expect::Query { asked }
            | Expect::FunctionCall { asked, .. } => Some(asked),
            _ => None,
        }
    }

    /// The ReadyForQuery of the Query that is pushed next is kept from the client.
    pub fn hold_ready(&mut self) {
        self.holds_ready = true;
    }

    /// What stands at the head.
    pub fn head(&self) -> Option<&Expect> {
        self.queue.front()
    }

    /// Adds what a forwarded message will be answered with.
    pub fn push(&mut self, expect: Expect) {
        match &expect {
            Expect::Sync => {
                self.executes_open = 0;
                if self.copying_in {
                    return; // ignored by the server until the data ends
                }
                self.skipping = false;
            }
            Expect::CopyEnd => {
                if self.copying_in {
                    self.copying_in = false;
                    return;
                }
                if self.skipping {
                    return;
                }
            }
            Expect::Own | Expect::Finish | Expect::Undo => {}
            _ if self.skipping => return, // the server will not look at it
            Expect::Execute { .. } => self.executes_open += 1,
            _ => {}
        }
        self.queue.push_back(expect);
    }

    /// The statement that Bind names: one whose Parse is still unanswered, or a confirmed one.
    pub fn statement(&self, name: &[u8]) -> Option<Rc<Asked>> {
        let pending = self.queue.iter().rev().find_map(|expect| match expect {
            Expect::Parse { name: pending, asked } if &**pending == name => Some(asked.clone()),
            _ => None,
        });
        pending.or_else(|| self.statements.get(name).cloned())
    }

    /// Whether a Parse for that name is unanswered or confirmed.
    pub fn knows_statement(&self, name: &[u8]) -> bool {
        self.statement(name).is_some()
    }

    /// The statement behind a portal.
    pub fn portal(&self, name: &[u8]) -> Option<Rc<Asked>> {
        let pending = self.queue.iter().rev().find_map(|expect| match expect {
            Expect::Bind { portal, asked } if &**portal == name => Some(asked.clone()),
            _ => None,
        });
        pending.or_else(|| self.portals.get(name).cloned())
    }

    /// Bytes of linegate's own that are due now.
    pub fn take_local(&mut self) -> Option<Vec<u8>> {
        self.drop_marks();
        match self.queue.front() {
            Some(Expect::Local(_)) => match self.queue.pop_front() {
                Some(Expect::Local(bytes)) => Some(bytes),
                _ => None,
            },
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
            (tag::PARAMETER_DESCRIPTION, Some(Expect::DescribeStatement))
            | (tag::FUNCTION_CALL_RESPONSE, Some(Expect::FunctionCall { .. })) => Ok(Answer::Pass),
            (tag::ROW_DESCRIPTION | tag::NO_DATA, Some(Expect::DescribeStatement)) => {
                self.queue.pop_front();
                Ok(Answer::Pass)
            }
            (tag::ROW_DESCRIPTION | tag::NO_DATA, Some(Expect::DescribePortal { own, .. })) => {
                let own = *own;
                self.queue.pop_front();
                Ok(if own { Answer::Swallow } else { Answer::Pass })
            }
            (
                tag::COMMAND_COMPLETE | tag::EMPTY_QUERY_RESPONSE | tag::PORTAL_SUSPENDED,
                Some(Expect::Execute { .. }),
            ) => {
                self.copying_in = false;
                self.queue.pop_front();
                Ok(Answer::Pass)
            }
            (tag::COPY_IN_RESPONSE, Some(Expect::Execute { .. } | Expect::Query { .. })) => {
                self.begin_copy_in();
                Ok(Answer::Pass)
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
            (tag::READY_FOR_QUERY, Some(Expect::Own)) => {
                self.queue.pop_front();
                self.status = status.unwrap_or(self.status);
                Ok(Answer::Swallow)
            }
            (tag::READY_FOR_QUERY, Some(Expect::Query { .. })) if self.holds_ready => {
                self.holds_ready = false;
                self.queue.pop_front();
                self.copying_in = false;
                self.status = status.unwrap_or(self.status);
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
                self.queue.pop_front();
                self.copying_in = false;
                self.status = status.unwrap_or(self.status);
                Ok(Answer::Pass)
            }
            _ => Err(OutOfTurn(message)),
        }
    }

    fn drop_marks(&mut self) {
        while matches!(self.queue.front(), Some(Expect::CopyEnd)) {
            self.queue.pop_front();
        }
    }

    fn confirm_head(&mut self) {
        match self.queue.pop_front() {
            Some(Expect::Parse { name, asked }) => drop(self.statements.insert(name, asked)),
            Some(Expect::Bind { portal, asked }) => drop(self.portals.insert(portal, asked)),
            Some(Expect::Close {
                statement: Some(name),
            }) => drop(self.statements.remove(&name)),
            _ => {}
        }
    }

    /// The server ignores Syncs that were sent before the end of the COPY data.
    fn begin_copy_in(&mut self) {
        let end = self
            .queue
            .iter()
            .position(|expect| matches!(expect, Expect::CopyEnd));
        self.copying_in = end.is_none();
        let before = end.unwrap_or(self.queue.len());
        let mut index = 0;
        self.queue.retain(|expect| {
            let keep = index >= before || !matches!(expect, Expect::Sync);
            index += 1;
            keep
        });
    }

    /// In the simple protocol an error changes nothing in the queue; in the extended one all up to Sync goes unanswered.
    fn error(&mut self) -> Answer {
        self.copying_in = false;
        if matches!(
            self.queue.front(),
            None | Some(Expect::Query { .. } | Expect::FunctionCall { .. } | Expect::Sync | Expect::Finish)
        ) {
            return Answer::Pass;
        }
        let poison = match self.queue.front() {
            Some(Expect::Poison(bytes)) => Some(bytes.clone()),
            _ => None,
        };
        while let Some(expect) = self.queue.front() {
            if matches!(expect, Expect::Sync) {
                break;
            }
            self.queue.pop_front();
        }
        self.skipping = self.queue.is_empty();
        poison.map_or(Answer::Pass, Answer::Replace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Rc<[u8]> {
        Rc::from(text.as_bytes())
    }

    fn asked() -> Rc<Asked> {
        Rc::new(Asked::for_tests())
    }

    fn drive(pipeline: &mut Pipeline, tags: &[u8]) {
        for tag in tags {
            assert!(
                pipeline.answer(*tag, Some(TransactionStatus::Idle)).is_ok(),
                "{}",
                *tag as char
            );
        }
    }

    #[test]
    fn a_simple_query_ends_with_ready_for_query() {
        let mut pipeline = Pipeline::default();
        pipeline.push(Expect::Query { asked: asked() });
        drive(&mut pipeline, b"TCTCEZ");
        assert!(pipeline.is_idle());
    }

    #[test]
    fn a_function_call_ends_with_ready_for_query_also_after_an_error() {
        let call = || Expect::FunctionCall {
            asked: asked(),
            result_format: 1,
        };
        let mut pipeline = Pipeline::default();
        pipeline.push(call());
        pipeline.push(call());
        assert!(pipeline.running().is_some());
        drive(&mut pipeline, b"NVZEZ");
        assert!(pipeline.is_idle());
        pipeline.push(Expect::Query { asked: asked() });
        assert!(
            pipeline.answer(tag::FUNCTION_CALL_RESPONSE, None).is_err(),
            "nobody called a function"
        );
    }

    #[test]
    fn a_function_call_behind_an_error_waits_for_sync() {
        let mut pipeline = Pipeline::default();
        pipeline.push(Expect::Parse {
            name: name(""),
            asked: asked(),
        });
        drive(&mut pipeline, b"E");
        pipeline.push(Expect::FunctionCall {
            asked: asked(),
            result_format: 0,
        });
        assert!(pipeline.is_idle(), "the server ignores what comes before Sync");
    }

    #[test]
    fn an_error_skips_to_sync_and_drops_what_the_client_queued_behind_it() {
        let mut pipeline = Pipeline::default();
        pipeline.push(Expect::Parse {
            name: name("a"),
            asked: asked(),
        });
        pipeline.push(Expect::Bind {
            portal: name(""),
            asked: asked(),
        });
        drive(&mut pipeline, b"E");
        pipeline.push(Expect::Execute {
            portal: name(""),
            asked: asked(),
        });
        assert!(pipeline.is_idle(), "the server ignores what comes before Sync");
        pipeline.push(Expect::Sync);
        drive(&mut pipeline, b"Z");
        assert!(pipeline.is_idle());
        assert!(
            !pipeline.knows_statement(b"a"),
            "a failed Parse leaves no name behind"
        );
    }

    #[test]
    fn a_failed_second_parse_does_not_replace_the_first() {
        let mut pipeline = Pipeline::default();
        let first = asked();
        pipeline.push(Expect::Parse {
            name: name("s"),
            asked: first.clone(),
        });
        pipeline.push(Expect::Sync);
        drive(&mut pipeline, b"1Z");
        pipeline.push(Expect::Parse {
            name: name("s"),
            asked: asked(),
        });
        pipeline.push(Expect::Sync);
        drive(&mut pipeline, b"EZ");
        assert!(
            pipeline
                .statement(b"s")
                .is_some_and(|found| Rc::ptr_eq(&found, &first))
        );
    }

    #[test]
    fn a_sync_before_the_copy_data_is_not_answered() {
        let mut pipeline = Pipeline::default();
        pipeline.push(Expect::Execute {
            portal: name(""),
            asked: asked(),
        });
        pipeline.push(Expect::Sync);
        drive(&mut pipeline, b"G");
        pipeline.push(Expect::CopyEnd);
        pipeline.push(Expect::Sync);
        drive(&mut pipeline, b"CZ");
        assert!(pipeline.is_idle());
    }

    #[test]
    fn the_same_when_everything_was_sent_at_once() {
        let mut pipeline = Pipeline::default();
        pipeline.push(Expect::Execute {
            portal: name(""),
            asked: asked(),
        });
        pipeline.push(Expect::Sync);
        pipeline.push(Expect::CopyEnd);
        pipeline.push(Expect::Sync);
        drive(&mut pipeline, b"GCZ");
        assert!(pipeline.is_idle());
    }

    #[test]
    fn a_refusal_waits_for_what_was_asked_before_it() {
        let mut pipeline = Pipeline::default();
        pipeline.push(Expect::Query { asked: asked() });
        pipeline.push(Expect::Local(b"no".to_vec()));
        assert_eq!(pipeline.take_local(), None);
        drive(&mut pipeline, b"CZ");
        assert_eq!(pipeline.take_local(), Some(b"no".to_vec()));
    }

    #[test]
    fn an_answer_that_nobody_asked_for_is_an_error() {
        let mut pipeline = Pipeline::default();
        assert_eq!(
            pipeline.answer(tag::DATA_ROW, None),
            Err(OutOfTurn(tag::DATA_ROW))
        );
        assert_eq!(
            pipeline.answer(tag::PARSE_COMPLETE, None),
            Err(OutOfTurn(tag::PARSE_COMPLETE))
        );
    }

    #[test]
    fn a_transaction_of_linegates_own_shows_the_client_one_answer() {
        let mut pipeline = Pipeline::default();
        let said = |pipeline: &mut Pipeline, tag, status| pipeline.answer(tag, Some(status));
        let (idle, within) = (TransactionStatus::Idle, TransactionStatus::InTransaction);
        pipeline.push(Expect::Own);
        assert_eq!(said(&mut pipeline, b'C', idle), Ok(Answer::Swallow));
        assert_eq!(said(&mut pipeline, b'Z', within), Ok(Answer::Swallow));
        pipeline.hold_ready();
        pipeline.push(Expect::Query { asked: asked() });
        assert_eq!(said(&mut pipeline, b'C', within), Ok(Answer::Pass));
        assert_eq!(said(&mut pipeline, b'Z', within), Ok(Answer::Swallow));
        assert_eq!(pipeline.status(), within);
        pipeline.push(Expect::Finish);
        assert_eq!(said(&mut pipeline, b'C', within), Ok(Answer::Swallow));
        assert_eq!(said(&mut pipeline, b'Z', idle), Ok(Answer::Pass));
        pipeline.push(Expect::Finish);
        assert_eq!(
            said(&mut pipeline, b'E', within),
            Ok(Answer::Pass),
            "a deferred constraint"
        );
        assert_eq!(said(&mut pipeline, b'Z', idle), Ok(Answer::Pass));
        pipeline.push(Expect::Undo);
        assert_eq!(said(&mut pipeline, b'E', within), Ok(Answer::Swallow));
        assert_eq!(
            said(&mut pipeline, b'Z', TransactionStatus::Failed),
            Ok(Answer::Pass)
        );
        assert!(pipeline.is_idle());
    }

    #[test]
    fn the_poison_is_replaced_by_the_refusal() {
        let mut pipeline = Pipeline::default();
        pipeline.push(Expect::Execute {
            portal: name(""),
            asked: asked(),
        });
        pipeline.push(Expect::Poison(b"refused".to_vec()));
        pipeline.push(Expect::Sync);
        drive(&mut pipeline, b"C");
        assert_eq!(
            pipeline.answer(tag::ERROR_RESPONSE, None),
            Ok(Answer::Replace(b"refused".to_vec()))
        );
        drive(&mut pipeline, b"Z");
        assert!(pipeline.is_idle());
    }
}
