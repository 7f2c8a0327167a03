//! What the client says, on its way to the server.
//!
//! fill → whole messages → decide → record → forward. Nothing is forwarded before the statement it belongs to was
//! decided; refusals stand in the pipeline, so the client hears them in order.

mod copied;
mod counted;
mod extended;
mod fast_path;
mod on_record;
mod refuse;
mod sending;

use std::borrow::Cow;
use std::rc::Rc;

use codecs::postgres::build::frontend as tell;
use codecs::postgres::frontend::{Kind, Message, tag};
use codecs::postgres::rows::{Place, Stop, hop_copy};
use codecs::postgres::{HEADER_BYTES, Limits, PostgresError, Step, frame};
use linegate_identity::Effects;
use linegate_policy::Verdict;
use linegate_recording::Protocol;

use self::copied::described;
use self::counted::limits_changes;
use self::refuse::names_moving;
use super::asked::Asked;
use super::bound::Bound;
use super::budget::{CHANGES, may_take};
use super::cancel::Heeding;
use super::deciding::Types;
use super::hold::{self, HoldEnd, Refusal};
use super::pipeline::Expect;
use super::{Ended, Session, names};
use crate::link::{LinkReader, LinkWriter};
use crate::rt::net::Deadline;
use crate::rt::sync::Soon;
use crate::slab::Ingress;

/// Bytes for the server are gathered up to here before they are written.
const GATHER_BYTES_MAX: usize = 64 << 10;
/// How often it is looked whether COPY FROM is over.
const COPY_POLL: std::time::Duration = std::time::Duration::from_millis(1);
/// How long the answers for a client that says nothing more may take.
const HALF_CLOSED_WAIT: std::time::Duration = std::time::Duration::from_secs(5);
/// Unanswered messages of one client; more is a client that never reads.
const PIPELINE_MAX: usize = 100_000;

pub(super) struct Asking {
    pub(super) session: Rc<Session>,
    writer: LinkWriter,
    out: Vec<u8>,
    /// After a refusal in the extended protocol everything up to Sync is dropped.
    skipping: bool,
    /// The statement that a person approved and that nothing has run behind: by its number.
    approved: Option<u64>,
    /// COPY data passes by count.
    place: Place,
    over: bool,
    /// The server takes no more, and may not have been heard to its end.
    is_unheard: bool,
}

/// What is left when the client has: the half towards the server, and the time that it has to forget the session.
pub type Left = (LinkWriter, Option<Deadline>);

/// Carries questions until the client leaves or the session ends. Where the server connection may serve another session, the
/// server is asked to forget this one, and has so long to do it.
///
/// Not an `async fn`: that would keep room for its arguments besides what becomes of them, and sessions are many.
pub fn run(
    session: Rc<Session>,
    mut reader: LinkReader,
    writer: LinkWriter,
    mut ingress: Ingress,
) -> impl Future<Output = Left> {
    let mut asking = Asking {
        session,
        writer,
        out: Vec::new(),
        skipping: false,
        approved: None,
        place: Place::default(),
        over: false,
        is_unheard: false,
    };
    async move {
        let mut needed = 1;
        let ended = loop {
            if !ingress.data().is_empty() {
                // Boxed: it is large, and a session that waits for its client holds none of it.
                match Box::pin(asking.carry(&mut ingress)).await {
                    Ok(more) => needed = more,
                    Err(ended) => break ended,
                }
                if asking.over {
                    break Ended::quietly("the client said goodbye");
                }
            }
            if reader.is_seldom() {
                asking.out = Vec::new();
            }
            let (read, back) = reader.fill(ingress, needed).await;
            ingress = back;
            match read {
                Ok(0) => {
                    Box::pin(asking.answer_the_rest()).await;
                    asking.over = ingress.data().is_empty();
                    break Ended::quietly("the client closed the connection");
                }
                Ok(bytes) => asking.session.count_in(bytes as u64),
                Err(error) => break Ended::quietly(format!("reading from the client failed: {error}")),
            }
        };
        drop(ingress); // others may need the memory before the server has been heard out
        Box::pin(asking.leave(ended)).await
    }
}

impl Asking {
    /// The client has said its last.
    async fn leave(mut self, ended: Ended) -> Left {
        let is_told = self.flush().await.is_ok() && !self.is_unheard;
        if self.is_unheard {
            self.hear_out().await;
        }
        let session = self.session.clone();
        if is_told && self.over && session.may_part() {
            let deadline = session.part(ended, &mut self.writer).await;
            return (self.writer, Some(deadline));
        }
        if session.ended.borrow().is_none() {
            session.back_switch.hold_back();
            let mut bytes = Vec::new();
            tell::terminate(&mut bytes);
            let _ = self.writer.write_vec(bytes).await;
        }
        session.end(ended);
        (self.writer, None)
    }

    /// Takes every whole message of `ingress`; answers with how many bytes the next one needs.
    async fn carry(&mut self, ingress: &mut Ingress) -> Result<usize, Ended> {
        let mut needed = 1;
        loop {
            if ingress.data().is_empty() {
                break;
            }
            if !self.place.at_boundary() || ingress.data()[0] == tag::COPY_DATA {
                let hop = hop_copy(ingress.data(), &mut self.place, &Limits::STREAMED)
                    .map_err(|error| self.fault(&error))?;
                let bytes = hop.bytes;
                self.copy_data(ingress, bytes).await?;
                match hop.stop {
                    Stop::Header => {
                        needed = codecs::postgres::HEADER_BYTES;
                        break;
                    }
                    Stop::End => break,
                    Stop::Other(_) | Stop::Full => continue,
                }
            }
            match frame::step(ingress.data(), &self.session.limits).map_err(|error| self.fault(&error))? {
                Step::Need { bytes } => {
                    needed = bytes;
                    break;
                }
                Step::Frame(frame) => {
                    let bytes = frame.size.with_tag();
                    self.message(frame.tag, &ingress.data()[..bytes]).await?;
                    ingress.consume(bytes);
                    if self.over {
                        break;
                    }
                }
            }
        }
        self.flush().await?;
        self.session.say_local().await.map_err(client_gone)?;
        Ok(needed)
    }

    /// COPY data passes from the slab it came in, unless the statement it belonged to was refused.
    fn copy_data(&mut self, ingress: &mut Ingress, bytes: usize) -> Soon<'_, Result<(), Ended>> {
        if self.skipping || bytes == 0 {
            ingress.consume(bytes);
            return Soon::now(Ok(()));
        }
        self.out.extend_from_slice(&ingress.data()[..bytes]);
        ingress.consume(bytes);
        if self.out.len() >= GATHER_BYTES_MAX {
            Soon::later(self.flush())
        } else {
            Soon::now(Ok(()))
        }
    }

    async fn message(&mut self, message_tag: u8, whole: &[u8]) -> Result<(), Ended> {
        let payload = &whole[codecs::postgres::HEADER_BYTES..];
        let message = Message::read(message_tag, payload).map_err(|error| self.fault(&error))?;
        if self.session.pipeline.borrow().len() > PIPELINE_MAX {
            return Err(Ended::saying(b"54000", "too many unanswered messages"));
        }
        let may_be_skipped = !matches!(message, Message::Sync | Message::Terminate);
        if self.is_skipping() && may_be_skipped {
            return Ok(());
        }
        if self.is_copys(&message).await? {
            return Ok(());
        }
        self.undo_first(&message).await?;
        if self.is_skipping() && may_be_skipped {
            return Ok(());
        }
        match message {
            Message::Query { text } => self.query(text, whole).await,
            Message::Parse {
                name,
                text,
                parameter_types,
            } => match self.kept([name]) {
                Some([name]) => {
                    let declared =
                        (parameter_types.count_left() > 0).then(|| parameter_types.clone().collect());
                    let types = self.session.types(parameter_types).await;
                    self.parse(name, text, (types, declared), whole).await
                }
                None => Ok(()),
            },
            Message::Bind {
                portal,
                statement,
                parameter_formats,
                parameters,
                ..
            } => match self.kept([portal, statement]) {
                Some([portal, statement]) => {
                    let bound = Bound::new(parameters, parameter_formats, Some(statement));
                    self.bind(portal, statement, bound, whole).await
                }
                None => Ok(()),
            },
            Message::Describe {
                kind: Kind::Statement,
                name,
            } => {
                // One that is too long to be told was prepared by SQL, if by anybody.
                let name = names::kept(name).map(Rc::from);
                self.forward(whole, Some(Expect::DescribeStatement { name }));
                Ok(())
            }
            Message::Describe {
                kind: Kind::Portal,
                name,
            } => match self.kept([name]) {
                Some([name]) => self.describe_portal(name, whole).await,
                None => Ok(()),
            },
            Message::Execute { portal, .. } => match self.kept([portal]) {
                Some([portal]) => self.execute(portal, whole).await,
                None => Ok(()),
            },
            Message::Close { kind, name } => {
                if let Some([name]) = self.kept([name]) {
                    let name = Rc::from(name);
                    self.forward(whole, Some(Expect::Close { kind, name }));
                }
                Ok(())
            }
            Message::Sync => {
                self.skipping = false;
                self.forward(whole, Some(Expect::Sync));
                Ok(())
            }
            Message::Flush => {
                self.forward(whole, None);
                Ok(())
            }
            Message::CopyDone | Message::CopyFail { .. } => {
                self.forward(whole, Some(Expect::CopyEnd));
                Ok(())
            }
            Message::CopyData(_) => {
                self.forward(whole, None);
                Ok(())
            }
            Message::FunctionCall {
                function,
                arguments,
                argument_formats,
                result_format,
            } => {
                let bound = Bound::new(arguments, argument_formats, None);
                self.function_call(function, bound, result_format, whole).await
            }
            Message::Terminate => {
                self.over = true;
                Ok(())
            }
            Message::Password(_) => Err(Ended::saying(b"08P01", "a password message after the login")),
        }
    }

    /// A client that has said all it will may still listen, as the server's own clients may: what it asked for is answered,
    /// within bounds, since it may be gone as well.
    async fn answer_the_rest(&mut self) {
        let waits = !self.session.pipeline.borrow().may_copy_in();
        if waits && self.flush().await.is_ok() {
            crate::rt::within(HALF_CLOSED_WAIT, self.session.drain()).await;
        }
    }

    /// Up to Sync nothing counts: linegate refused something, or the server did, and looks at nothing else.
    pub(super) fn is_skipping(&self) -> bool {
        self.skipping || self.session.pipeline.borrow().is_skipping()
    }

    /// While the server may wait for COPY data, it takes any other message for a mistake and throws it away: what linegate
    /// would wait for then never comes. So nothing follows COPY FROM before it is over. True for a Sync among the data: the
    /// server ignores it, unless the COPY has failed, which linegate may not know yet. It stays behind.
    fn is_copys<'a>(&'a mut self, message: &'a Message<'_>) -> Soon<'a, Result<bool, Ended>> {
        let belongs = matches!(
            message,
            Message::CopyData(_)
                | Message::CopyDone
                | Message::CopyFail { .. }
                | Message::Flush
                | Message::Terminate
        );
        if belongs || !self.session.pipeline.borrow().may_copy_in() {
            return Soon::now(Ok(false));
        }
        Soon::later(self.is_among_data(message))
    }

    async fn is_among_data(&mut self, message: &Message<'_>) -> Result<bool, Ended> {
        tell::flush(&mut self.out);
        self.flush().await?;
        self.session.say_local().await.map_err(client_gone)?;
        loop {
            {
                let pipeline = self.session.pipeline.borrow();
                match message {
                    Message::Sync if pipeline.is_copying_in() => return Ok(true),
                    _ if pipeline.is_copying_in() => {
                        self.session.core.counters.client_faults.one();
                        return Err(Ended::saying(b"08P01", "a message in the middle of COPY data"));
                    }
                    _ if !pipeline.may_copy_in() || self.session.ended.borrow().is_some() => {
                        return Ok(false);
                    }
                    _ => {}
                }
            }
            crate::rt::sleep(COPY_POLL).await;
        }
    }

    /// The names of a message as the server keeps them. `None`: they were refused.
    fn kept<'n, const N: usize>(&mut self, mut names: [&'n [u8]; N]) -> Option<[&'n [u8]; N]> {
        for name in &mut names {
            match names::kept(name) {
                Some(kept) => *name = kept,
                None => {
                    let message = "linegate: a name that is not ASCII must be shorter";
                    self.refuse_extended(b"42622", message, None);
                    return None;
                }
            }
        }
        Some(names)
    }

    async fn query(&mut self, text: &[u8], whole: &[u8]) -> Result<(), Ended> {
        if let Some(refusal) = self.too_long(text) {
            self.record_unread(text, Protocol::Simple, &refusal).await;
            return self.refuse_query(&refusal).await;
        }
        let _heeding = Heeding::of(&self.session);
        self.approved = None;
        let asked = self.decide(text).await.running(self.session.next_statement());
        let whole = &*respelled(whole, text, &asked.text);
        let asked = match self.clear(asked, Protocol::Simple, &Bound::default()).await? {
            Ok(asked) => asked,
            Err(refusal) => {
                return self.refuse_query(&refusal).await;
            }
        };
        if let Some(refusal) = self.take_names(&asked).await? {
            return self.refuse_query(&refusal).await;
        }
        if self.is_skipping() {
            return Ok(()); // the server failed meanwhile, and does not look at it
        }
        let effects = asked.effects();
        let counted = CHANGES.with(Effects::PREPARED).without(Effects::COPY_IN);
        let is_counted = effects.intersects(counted)
            && !effects.intersects(Effects::COPY_IN.with(Effects::TRANSACTION))
            && limits_changes(&asked);
        if is_counted || described(&self.session, &asked).is_some() {
            return Box::pin(self.query_in_block(asked, whole)).await;
        }
        if self.session.has_moved(&asked) {
            self.leave_names();
            return self.refuse_query(&names_moving()).await;
        }
        self.note(&asked);
        self.forward(whole, Some(Expect::Query { asked }));
        Ok(())
    }

    /// Charges, records and, where a person must approve, waits: what may run, or what the client is told instead.
    async fn clear(
        &mut self,
        asked: Rc<Asked>,
        protocol: Protocol,
        bound: &Bound<'_>,
    ) -> Result<Result<Rc<Asked>, Refusal>, Ended> {
        let session = self.session.clone();
        if session.spending.waits(&session, &asked) {
            self.settle().await?;
        }
        let refusal = match &asked.decision.verdict {
            Verdict::Allow => begin(&session, &asked, &bound.values).err(),
            Verdict::Deny(reason) => Some(Refusal::of(reason)),
            Verdict::Hold(_) => None,
        };
        let refusal = session.undecided.refusal().or(refusal);
        self.record(&asked, protocol, refusal.as_ref()).await;
        if let Some(refusal) = refusal {
            session.core.counters.denied.one();
            return Ok(Err(refusal));
        }
        match asked.decision.verdict {
            Verdict::Hold(_) => Box::pin(self.clear_held(asked, protocol, bound)).await,
            _ => Ok(Ok(asked)),
        }
    }

    /// Waits for a person.
    async fn clear_held(
        &mut self,
        asked: Rc<Asked>,
        protocol: Protocol,
        bound: &Bound<'_>,
    ) -> Result<Result<Rc<Asked>, Refusal>, Ended> {
        let session = self.session.clone();
        let Verdict::Hold(held) = asked.decision.verdict.clone() else {
            return Ok(Ok(asked));
        };
        self.settle().await?;
        session.look_again().await;
        let meant = session.meant_by(&asked.decision.statement);
        let seen = session.behind(&asked.decision.statement, &meant);
        if let HoldEnd::Refused(refusal) = hold::wait(self, &asked, bound).await? {
            return Ok(Err(refusal));
        }
        // Policy or the time may have changed while it waited: what is refused now does not run. Nor does what its names
        // have come to mean since.
        let approved = asked;
        session.look_again().await;
        let asked = session
            .asked(approved.text.clone(), approved.is_read, approved.types)
            .await;
        let asked = asked.running(approved.number);
        let (then, now) = (&approved.decision.statement, &asked.decision.statement);
        let changing = &session.catalog.changing;
        let is_other = then != now
            || meant != session.meant_by(now)
            || changing.was_changed(approved.mark.get(), then)
            || seen != session.behind(now, &meant)
            || !names::runs_the_same(&approved, &asked);
        let refusal = match &asked.decision.verdict {
            Verdict::Deny(reason) => Some(Refusal::of(reason)),
            Verdict::Hold(_) if is_other => Some(Refusal {
                sqlstate: *b"42501",
                message: "linegate: what this names has changed since its approval was asked for".to_owned(),
                hint: Some("Run the statement again.".to_owned()),
            }),
            Verdict::Hold(terms) if *terms != held => Some(Refusal {
                sqlstate: *b"42501",
                message: "linegate: who must approve this has changed since it was asked".to_owned(),
                hint: Some("Run the statement again.".to_owned()),
            }),
            Verdict::Allow | Verdict::Hold(_) => begin(&session, &asked, &bound.values).err(),
        };
        let Some(refusal) = refusal else {
            return Ok(Ok(asked));
        };
        self.record(&asked, protocol, Some(&refusal)).await;
        session.core.counters.denied.one();
        Ok(Err(refusal))
    }

    async fn decide(&self, text: &[u8]) -> Rc<Asked> {
        self.session.asked_first(text, Types::default()).await
    }

    /// What an allowed statement leaves behind in the session.
    fn note(&self, asked: &Asked) {
        self.note_begun(asked);
        self.note_what_runs(asked);
    }

    fn note_begun(&self, asked: &Asked) {
        let session = &self.session;
        session.core.counters.statements.one();
        session.spending.sent(session, asked);
    }

    /// The same, of a statement that was noted when something else went by the name that it runs.
    fn note_what_runs(&self, asked: &Asked) {
        let session = &self.session;
        session.remember(asked, None);
        for statement in asked.statements() {
            session.lexing.forwarded(statement);
            let moves_making = super::deciding::moves_making(statement);
            session.path_moved.set(session.path_moved.get() || moves_making);
            session.parting.forwarded(statement);
            let has_temporary = session.has_temporary.get() || statement.leads.makes_temporary;
            session.has_temporary.set(has_temporary);
            session.note_made(statement, std::ptr::eq(statement, &asked.decision.statement));
        }
    }

    fn fault(&self, error: &PostgresError) -> Ended {
        self.session.core.counters.client_faults.one();
        Ended::violation(error)
    }
}

/// A message with `asked` in place of `text`, which is a part of it.
fn respelled<'m>(whole: &'m [u8], text: &[u8], asked: &[u8]) -> Cow<'m, [u8]> {
    if text == asked {
        return Cow::Borrowed(whole);
    }
    let at = text.as_ptr().addr() - whole.as_ptr().addr();
    let mut message = [&whole[..at], asked, &whole[at + text.len()..]].concat();
    let bytes = (message.len() - 1) as u32; // all but its tag; a text is shorter than 1 GiB
    message[1..HEADER_BYTES].copy_from_slice(&bytes.to_be_bytes());
    Cow::Owned(message)
}

/// Charges what may run.
fn begin(session: &Session, asked: &Asked, parameters: &[Option<Vec<u8>>]) -> Result<(), Refusal> {
    may_take(session, asked, parameters)?;
    session.spending.begin(session, asked, parameters)
}

fn client_gone(error: std::io::Error) -> Ended {
    Ended::quietly(format!("writing to the client failed: {error}"))
}
