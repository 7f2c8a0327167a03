//! What the client is told in place of a statement that is not sent, and what becomes of those behind it.
//!
//! Source: PostgreSQL manual, "Message Flow": Simple Query, Extended Query.

use codecs::postgres::build::backend as say;
use codecs::postgres::build::frontend as tell;
use linegate_policy::Reason;

use super::Asking;
use super::counted::{UNDO, UNDO_NAME};
use crate::session::postgres::Ended;
use crate::session::postgres::hold::Refusal;
use crate::session::postgres::pipeline::Expect;

impl Asking {
    /// Refuses a simple query: error, then ReadyForQuery with the status that the server has.
    pub(in super::super) async fn refuse_query(&mut self, refusal: &Refusal) -> Result<(), Ended> {
        self.settle().await?;
        if self.is_skipping() {
            return Ok(()); // behind an error that the client is told, nothing is looked at before Sync
        }
        let mut bytes = Vec::new();
        let hint = refusal.hint.as_deref();
        say::error_response(
            &mut bytes,
            "ERROR",
            &refusal.sqlstate,
            &refusal.message,
            None,
            hint,
        );
        let mut pipeline = self.session.pipeline.borrow_mut();
        if pipeline.has_open_executes() {
            // What ran without a Sync is undone, as it would be by an error of the server's.
            drop(pipeline);
            self.poison(bytes);
            tell::sync(&mut self.out);
            self.session.pipeline.borrow_mut().push(Expect::Sync);
        } else {
            say::ready_for_query(&mut bytes, pipeline.status());
            pipeline.push(Expect::Local(bytes));
        }
        Ok(())
    }

    /// Refuses in the extended protocol: error, then silence up to Sync. Where statements of this series already ran
    /// without a Sync, the server must undo them as it would after an error of its own.
    pub(super) fn refuse_extended(&mut self, sqlstate: &[u8; 5], message: &str, hint: Option<&str>) {
        let mut bytes = Vec::new();
        say::error_response(&mut bytes, "ERROR", sqlstate, message, None, hint);
        self.skipping = true;
        let mut pipeline = self.session.pipeline.borrow_mut();
        if pipeline.has_open_executes() {
            drop(pipeline);
            self.poison(bytes);
        } else {
            pipeline.push(Expect::Local(bytes));
        }
    }

    /// What the server would say to this message itself, and as it would: the transaction fails.
    pub(super) fn fail_extended(&mut self, sqlstate: &[u8; 5], message: &str) {
        let mut bytes = Vec::new();
        say::error_response(&mut bytes, "ERROR", sqlstate, message, None, None);
        self.skipping = true;
        self.poison(bytes);
    }

    /// The server fails, and these words stand in place of its own.
    fn poison(&mut self, words: Vec<u8>) {
        self.session.pipeline.borrow_mut().push(Expect::Poison(words));
        tell::parse(&mut self.out, UNDO_NAME, UNDO);
    }
}

/// What it names has been changed while it waited to be sent.
pub(super) fn names_moving() -> Refusal {
    Refusal::of(&Reason::NamesMoving)
}
