//! COPY TO STDOUT of labelled columns: linegate asks what its rows will be before it sends it.
//!
//! Source: PostgreSQL manual, "Message Flow": Extended Query, COPY Operations. CopyOutResponse tells the number of columns and
//! nothing of where they are from. So the query that COPY runs is prepared under a name of linegate's own, described and
//! closed; the answers stay here (`Expect::OwnParse` and on), and the plan that comes of them waits for the COPY's rows. An
//! error of the server's is the client's, in place of the COPY. From the Parse on, the server keeps what the query reads locked
//! up to the end of the transaction: the COPY is part of it, if need be in a block of linegate's own (`counted`).

use std::rc::Rc;

use codecs::postgres::build::frontend as tell;
use codecs::postgres::frontend::Kind;
use linegate_policy::CopyOut;
use linegate_recording::Protocol;

use super::Asking;
use crate::session::postgres::asked::Asked;
use crate::session::postgres::hold::Refusal;
use crate::session::postgres::pipeline::Expect;
use crate::session::postgres::results::Plan;
use crate::session::postgres::{Ended, Session};

/// What the query is called at the server.
const COPY_NAME: &[u8] = b"linegate_copy";

/// What has come of the question.
pub(super) enum Described {
    /// The statement may be sent.
    Go,
    /// It is not sent, and the client has been told why, or will be.
    Told,
    /// It is not sent.
    Refused(Refusal),
}

impl Asking {
    /// Whether a statement may be sent by Execute as far as it is a COPY of labelled columns: that its rows can be masked.
    /// Nothing is asked of any other statement. Where it may not, the client is told. What it reads is locked up to Sync.
    pub(super) async fn may_execute_copy(&mut self, asked: &Rc<Asked>) -> Result<bool, Ended> {
        match self.describe_copy(asked, Protocol::Extended).await? {
            Described::Go => return Ok(true),
            Described::Told => {}
            Described::Refused(refusal) => {
                self.refuse_extended(&refusal.sqlstate, &refusal.message, refusal.hint.as_deref());
            }
        }
        Ok(false)
    }

    /// Has the server describe what a COPY sends.
    pub(super) async fn describe_copy(
        &mut self,
        asked: &Rc<Asked>,
        protocol: Protocol,
    ) -> Result<Described, Ended> {
        let session = self.session.clone();
        let Some(copied) = described(&session, asked) else {
            return Ok(Described::Go);
        };
        self.settle().await?;
        if self.is_skipping() {
            return Ok(Described::Told); // the server failed meanwhile, and does not look at it
        }
        let is_simple = protocol == Protocol::Simple;
        if is_simple && session.pipeline.borrow().has_open_executes() {
            return Ok(Described::Refused(Refusal {
                sqlstate: *b"42501",
                message: "linegate: a COPY of masked columns stands behind an Execute without Sync"
                    .to_owned(),
                hint: Some("Send Sync first.".to_owned()),
            }));
        }
        session.copies.take();
        if session.pipeline.borrow().own_is_left {
            tell::close(&mut self.out, Kind::Statement, COPY_NAME);
            session.pipeline.borrow_mut().push(Expect::OwnClose);
        }
        tell::parse(&mut self.out, COPY_NAME, copied.describes.as_bytes());
        tell::describe_statement(&mut self.out, COPY_NAME);
        tell::close(&mut self.out, Kind::Statement, COPY_NAME);
        if is_simple {
            tell::sync(&mut self.out);
        }
        {
            let mut pipeline = session.pipeline.borrow_mut();
            pipeline.push(Expect::OwnParse { asked: asked.clone() });
            pipeline.push(Expect::OwnDescribe { asked: asked.clone() });
            pipeline.push(Expect::OwnClose);
            if is_simple {
                pipeline.push(Expect::OwnSync);
            }
        }
        self.settle().await?;
        if self.is_skipping() {
            return Ok(Described::Told);
        }
        let refused = match &*session.copies.borrow() {
            Some(kept) if kept.number == asked.number => match &kept.plan {
                Plan::Refused(refusal) => Some(*refusal),
                _ => None,
            },
            _ => return Ok(Described::Told),
        };
        let refusal = session.undecided.refusal();
        let refusal = refusal.or(refused.map(|refused| Refusal {
            sqlstate: refused.sqlstate(),
            message: refused.public(),
            hint: refused.hint().map(str::to_owned),
        }));
        Ok(match refusal {
            None => Described::Go,
            Some(refusal) => {
                session.core.counters.denied.one();
                session.copies.take();
                Described::Refused(refusal)
            }
        })
    }
}

/// What a COPY sends, where that is asked about: it touches what is masked, or may come to.
pub(super) fn described<'a>(session: &Session, asked: &'a Asked) -> Option<&'a CopyOut> {
    let copied = asked.copy_out()?;
    let is_asked = asked.touches_mask(session) || asked.is_masked(session) && asked.is_through_definitions();
    is_asked.then_some(copied)
}
