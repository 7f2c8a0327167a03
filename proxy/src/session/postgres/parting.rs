//! The end of a session whose server connection another one may take up: what it left behind, and how that is undone.
//!
//! Source: PostgreSQL manual, DISCARD, RESET; "Message Flow": Termination. A client that leaves in order owes nothing and is
//! owed nothing, so the server stands between two statements. Linegate then says DISCARD ALL, which undoes session
//! authorization, settings, prepared statements, cursors, LISTEN, advisory locks, plans, temporary tables and sequences,
//! and RESET ROLE, for servers whose DISCARD does not lead back to the role of the login. Only when both were answered
//! without an error, and what the server reports of itself is again what it was, the connection is parked. Where the server
//! does something of its own at each login, or counts how long a session idles, it says so when asked ([`QUESTION`]), and the
//! connection ends.
//!
//! What these two do not undo is watched for as statements are sent ([`trace_of`]): such a session ends as any other.

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::time::Duration;

use codecs::postgres::backend::{ParameterStatus, ReadyForQuery, TransactionStatus, tag};
use codecs::postgres::build::backend as say;
use codecs::postgres::build::frontend as tell;
use codecs::postgres::{Limits, Step, frame};
use linegate_config::{WarmPool, WarmShare};
use linegate_identity::{Effects, UnixMillis};
use linegate_policy::Statement;

use super::back_door::Backend;
use super::{Ended, Session};
use crate::clock;
use crate::link::{Link, LinkReader, LinkWriter};
use crate::rarely::Rarely;
use crate::rt::net::{Deadline, Place};
use crate::shared::lock;
use crate::slab::Ingress;
use crate::warm_pool::{AGE_MS_MAX, Kept, Key, Parked};

/// How long a server may take to forget a session. Nobody waits for it.
const RESET_TIME: Duration = Duration::from_secs(5);
/// Whether a login may be left out: no trigger waits for logins (PostgreSQL 17), and a connection that waits is not taken for
/// a session that idles (14). One row of one column.
const QUESTION: &[u8] = b"SELECT COALESCE(pg_catalog.current_setting('idle_session_timeout', true), '0') \
    OPERATOR(pg_catalog.=) '0' AND NOT EXISTS (SELECT FROM pg_catalog.pg_event_trigger \
    WHERE evtevent OPERATOR(pg_catalog.=) 'login'::pg_catalog.name \
    AND evtenabled OPERATOR(pg_catalog.<>) 'D'::pg_catalog.\"char\")";
/// Each is a Query of its own: DISCARD ALL stands alone.
const RESETS: [&[u8]; 3] = [b"DISCARD ALL", b"RESET ROLE", QUESTION];
/// The DataRow's payload that answers the question with yes.
const YES: &[u8] = &[0, 1, 0, 0, 0, 1, b't'];
/// Nothing in the answer to a reset is longer.
const LIMITS: Limits = Limits {
    frame_bytes_max: 1 << 16,
};
/// Settings that a server reports; more are none of PostgreSQL's.
const REPORTED_MAX: usize = 64;
/// What must be as it was at the login; other settings may have got another default meanwhile, which a new login would show.
const FIXED: [&[u8]; 7] = [
    b"client_encoding",
    b"integer_datetimes",
    b"is_superuser",
    b"server_encoding",
    b"server_version",
    b"session_authorization",
    b"standard_conforming_strings",
];
/// Functions that change something of the session which no reset undoes: the sequence of random numbers, connections to other
/// servers, and slots that live as long as the session.
const LASTING_FUNCTIONS: [&str; 14] = [
    "setseed",
    "dblink_connect",
    "dblink_connect_u",
    "pg_create_physical_replication_slot",
    "pg_create_logical_replication_slot",
    "pg_copy_physical_replication_slot",
    "pg_copy_logical_replication_slot",
    "pg_replication_origin_session_setup",
    "pg_backup_start",
    "pg_start_backup",
    "pg_logical_slot_get_binary_changes",
    "pg_logical_slot_get_changes",
    "pg_logical_slot_peek_binary_changes",
    "pg_logical_slot_peek_changes",
];

/// What a session may have left that a reset does not undo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Trace {
    #[default]
    None,
    /// Whatever code that cannot be looked into leaves.
    Unseen,
    /// Something that is known to stay.
    Lasting,
}

/// What a statement leaves in its session.
fn trace_of(statement: &Statement) -> Trace {
    let calls = |names: &[&str]| {
        let mut functions = statement.functions.iter();
        functions.any(|function| names.contains(&function.name.as_str()))
    };
    let resets_only =
        statement.functions.is_empty() && statement.writes.is_empty() && statement.opaque.is_empty();
    let is_lasting = |setting: &String| {
        let name = setting.split_once('=').map_or(setting.as_str(), |(name, _)| name);
        match name {
            "seed" => true,
            "*" => !resets_only, // a computed name, unless it is RESET ALL or DISCARD ALL
            _ => name.contains('.'), // one with a namespace stays known, with an empty value
        }
    };
    let is_read = !statement.effects.contains(Effects::UNREADABLE);
    let loads = statement.effects.contains(Effects::SERVER); // LOAD among them: a library stays
    if !is_read || loads || calls(&LASTING_FUNCTIONS) || statement.settings.iter().any(is_lasting) {
        Trace::Lasting
    } else if !statement.opaque.is_empty() || statement.fires_triggers() {
        Trace::Unseen
    } else {
        Trace::None
    }
}

/// How far a session is on its way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// It lives, or ended in another way.
    #[default]
    No,
    /// The client is gone; the server is forgetting the session. So many answers are still to come.
    Resetting(usize),
    /// It has forgotten it.
    Reset,
    /// Its connection is another's.
    Parked,
}

/// A setting that the server reported, and its value.
pub type Report = (Box<[u8]>, Box<[u8]>);

/// What was said at the login of a connection, kept for the next session.
pub struct Login {
    /// Who may take it up; `None` where the target keeps no connections.
    pub key: Option<Key>,
    /// ParameterStatus and notices, as messages.
    pub greeting: Vec<u8>,
    /// The server's cancel key.
    pub cancel_key: (u32, Box<[u8]>),
    /// Where it leads.
    pub place: Place,
    /// When it was.
    pub since: UnixMillis,
}

/// A session's traces, and its way out.
#[derive(Default)]
pub struct Parting {
    login: RefCell<Option<Box<Login>>>,
    trace: Cell<Trace>,
    state: Cell<State>,
    /// Cancel requests that the server may not have heard.
    cancels: Cell<u32>,
    /// The last report of each setting, by name.
    reported: RefCell<Rarely<Vec<Report>>>,
    /// The server has said that a login may be left out.
    is_free: Cell<bool>,
}

/// What came of the bytes that answer a reset.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// The next message needs so many.
    Needs(usize),
    /// The server has forgotten the session.
    Done,
    /// It cannot be kept.
    Failed(&'static str),
}

impl Parting {
    /// Of a session that began with that login.
    pub fn new(login: Login) -> Self {
        let login = login.key.is_some().then(|| Box::new(login));
        Self {
            login: RefCell::new(login),
            ..Self::default()
        }
    }

    /// A statement is about to run.
    pub fn forwarded(&self, statement: &Statement) {
        if self.trace.get() < Trace::Lasting {
            self.trace.set(self.trace.get().max(trace_of(statement)));
        }
    }

    /// The server reports a setting.
    pub fn reported(&self, status: &ParameterStatus<'_>) {
        if self.login.borrow().is_none() {
            return;
        }
        let mut reported = self.reported.borrow_mut();
        let reported = reported.made();
        match reported.iter().position(|(name, _)| **name == *status.name) {
            Some(at) if *reported[at].1 == *status.value => {}
            Some(at) => reported[at].1 = status.value.into(),
            None if reported.len() >= REPORTED_MAX => self.trace.set(Trace::Lasting),
            None => reported.push((status.name.into(), status.value.into())),
        }
    }

    /// A cancel request goes to the server; `false` when it must not, since what it would meet is another session's.
    pub fn cancels(&self) -> bool {
        let may = self.state.get() == State::No;
        if may {
            self.cancels.set(self.cancels.get() + 1);
        }
        may
    }

    /// The server has heard one.
    pub fn cancel_heard(&self) {
        self.cancels.set(self.cancels.get().saturating_sub(1));
    }

    /// Whether the client has left, and the server is answering linegate alone.
    pub fn is_resetting(&self) -> bool {
        matches!(self.state.get(), State::Resetting(_))
    }

    /// Whether its connection is another's by now.
    pub fn is_parked(&self) -> bool {
        self.state.get() == State::Parked
    }

    /// It ends as any other.
    pub fn fails(&self) {
        self.state.set(State::No);
    }

    /// Takes what the server says while it forgets the session.
    pub fn hear(&self, ingress: &mut Ingress) -> Heard {
        loop {
            let frame = match frame::step(ingress.data(), &LIMITS) {
                Ok(Step::Frame(frame)) => frame,
                Ok(Step::Need { bytes }) => return Heard::Needs(bytes),
                Err(_) => return Heard::Failed("the server broke the protocol"),
            };
            let payload = frame.payload(ingress.data());
            match frame.tag {
                tag::PARAMETER_STATUS => match ParameterStatus::read(payload) {
                    Ok(status) => self.reported(&status),
                    Err(_) => return Heard::Failed("the server broke the protocol"),
                },
                tag::ROW_DESCRIPTION if self.state.get() == State::Resetting(1) => {}
                tag::DATA_ROW if self.state.get() == State::Resetting(1) => self.is_free.set(payload == YES),
                tag::COMMAND_COMPLETE | tag::NOTICE_RESPONSE | tag::NOTIFICATION_RESPONSE => {}
                tag::READY_FOR_QUERY => {
                    let State::Resetting(left @ 1..) = self.state.get() else {
                        return Heard::Failed("it ended meanwhile");
                    };
                    if ReadyForQuery::read(payload) != Ok(TransactionStatus::Idle) {
                        return Heard::Failed("a transaction is open");
                    }
                    self.state.set(State::Resetting(left - 1));
                }
                tag::ERROR_RESPONSE => return Heard::Failed("the server refused"),
                _ => return Heard::Failed("the server sent a message out of turn"),
            }
            ingress.consume(frame.size.with_tag());
            if self.state.get() == State::Resetting(0) {
                self.state.set(State::No);
                if !ingress.data().is_empty() {
                    return Heard::Failed("the server says more than it was asked");
                }
                if !self.is_free.get() {
                    return Heard::Failed("each login counts at the server, or idling does");
                }
                self.state.set(State::Reset);
                return Heard::Done;
            }
        }
    }
}

impl Session {
    /// Whether its server connection may serve another one: nothing is owed, and nothing stays that cannot be undone.
    pub fn may_part(&self) -> bool {
        let parting = &self.parting;
        let WarmPool { share, .. } = self.target.config.warm_pool;
        let most = match share {
            WarmShare::Lease => Trace::Unseen,
            WarmShare::Principal => Trace::None,
        };
        let is_young = parting
            .login
            .borrow()
            .as_ref()
            .is_some_and(|login| clock::now().0.saturating_sub(login.since.0) < AGE_MS_MAX);
        is_young
            && self.ended.borrow().is_none()
            && self.is_quiet()
            && self.pipeline.borrow().is_between_series()
            && self.at_boundary.get()
            && parting.trace.get() <= most
            && parting.cancels.get() == 0
            && !self.lexing.is_foreign()
            && !self.catalog.changing.is_changing(self.id)
            && !self.core.is_draining()
    }

    /// Lets the client go, then has the server forget it. The answers are `answer::run`'s to hear.
    pub async fn part(&self, ended: Ended, writer: &mut LinkWriter) -> Deadline {
        *self.ended.borrow_mut() = Some(Box::new(ended));
        self.parting.state.set(State::Resetting(RESETS.len()));
        let deadline = Deadline::new(RESET_TIME, &self.back_switch);
        self.say_goodbye().await;
        let mut bytes = Vec::new();
        for text in RESETS {
            tell::query(&mut bytes, text);
        }
        if writer.write_vec(bytes).await.0.is_err() {
            self.keep_not("writing to the server failed");
        }
        deadline
    }

    /// The connection is closed after all.
    fn keep_not(&self, why: &str) {
        tracing::debug!(session = %self.id, why, "the server connection is not kept");
        self.parting.fails();
        self.back_switch.off();
    }

    /// What the server says after the client has left. `Some(bytes)`: there is more to come, and the next message needs so many.
    pub fn hear_reset(&self, ingress: &mut Ingress) -> Option<usize> {
        match self.parting.hear(ingress) {
            Heard::Needs(bytes) => Some(bytes),
            Heard::Done => None,
            Heard::Failed(why) => {
                self.keep_not(why);
                None
            }
        }
    }

    /// Parks the server connection of a session that has ended and was forgotten.
    pub fn park(&self, mut reader: LinkReader, mut writer: LinkWriter) {
        let core = &self.core;
        let is_over = core.is_draining() || is_over(self);
        let login = self.parting.login.borrow_mut().take();
        let (State::Reset, Some(login), false) = (self.parting.state.get(), login, is_over) else {
            return;
        };
        let Some(key) = login.key else { return };
        let reported = self.parting.reported.take();
        let reported = reported.get().map_or(&[][..], Vec::as_slice);
        let Some(greeting) = merged(&login.greeting, reported) else {
            return self.keep_not("it reports other settings than at its login");
        };
        if !reader.rest() {
            return self.keep_not("the server says more than it was asked");
        }
        writer.rest();
        self.parting.state.set(State::Parked);
        let now = clock::now();
        let link = Link {
            reader,
            writer,
            switch: self.back_switch.clone(),
        };
        let parked = Parked {
            key,
            lease: (self.lease.id.clone(), self.lease.expires_at),
            token_ids: self.token_ids.to_vec(),
            at: now,
            connection: Warm {
                link,
                greeting,
                cancel_key: login.cancel_key,
                place: login.place,
                since: login.since,
            },
        };
        let WarmPool {
            connections, seconds, ..
        } = self.target.config.warm_pool;
        let mut pool = core.warm.borrow_mut();
        let closed = pool.park(&self.target.config.name, (connections, seconds), parked);
        core.counters.warm_parked.one();
        core.counters.warm_closed.add(closed);
    }
}

/// Whether the lease, or a part of its token, has ended.
pub fn is_over(session: &Session) -> bool {
    let leases = lock(&session.core.shared.leases);
    session.token_ids.iter().any(|id| leases.is_revoked(id))
        || session.lease.verifier.iterations > 0
            && leases.is_revoked_or_expired(&session.lease.id, clock::now())
}

/// The greeting with what was reported since in place of what it said; `None` where that must not differ.
pub fn merged(greeting: &[u8], reported: &[Report]) -> Option<Vec<u8>> {
    let mut told = Vec::with_capacity(greeting.len());
    let mut rest = greeting;
    let mut left: Vec<_> = reported.iter().collect();
    while let Ok(Step::Frame(frame)) = frame::step(rest, &Limits::STREAMED) {
        let (whole, after) = rest.split_at(frame.size.with_tag());
        rest = after;
        let status = match frame.tag {
            tag::PARAMETER_STATUS => ParameterStatus::read(frame.payload(whole)).ok(),
            _ => None,
        };
        let newer = status.and_then(|status| {
            let at = left.iter().position(|(name, _)| **name == *status.name)?;
            let (name, value) = left.swap_remove(at);
            (**value != *status.value).then_some((name, value))
        });
        match newer {
            None => told.extend_from_slice(whole),
            Some((name, _)) if FIXED.contains(&&**name) => return None,
            Some((name, value)) => append_status(&mut told, name, value),
        }
    }
    // What no login told: a setting of an extension, reported since it was changed.
    left.is_empty().then_some(told)
}

fn append_status(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    say::parameter_status(out, &text(name), &text(value));
}

/// A server connection without a session.
pub struct Warm {
    link: Link,
    greeting: Vec<u8>,
    cancel_key: (u32, Box<[u8]>),
    place: Place,
    since: UnixMillis,
}

impl Warm {
    /// As after a new login.
    pub fn into_backend(self) -> std::io::Result<Backend> {
        Ok(Backend {
            ingress: Ingress::default(),
            link: self.link,
            greeting: self.greeting,
            cancel_key: self.cancel_key,
            place: self.place,
            since: self.since,
        })
    }
}

impl Kept for Warm {
    fn is_silent(&self) -> bool {
        !self.link.switch.has_news()
    }

    fn place(&self) -> &Place {
        &self.place
    }

    fn since(&self) -> UnixMillis {
        self.since
    }

    fn close(self) {
        let mut link = self.link;
        crate::rt::spawn(async move {
            let _deadline = Deadline::new(RESET_TIME, &link.switch);
            let mut bytes = Vec::new();
            tell::terminate(&mut bytes);
            let _ = link.writer.write_vec(bytes).await;
            link.writer.farewell().await;
            link.switch.off();
        });
    }
}
