//! Queries in a transaction block of linegate's own, and changes that a budget limits: counted before they can commit, undone
//! when they are too many.
//!
//! COPY of masked columns runs in a block as well: what it reads stays locked from its description to its last row.
//!
//! The count of changed rows is known when the server has made them. So a Query outside a transaction block runs in a block
//! of linegate's own, which ends by COMMIT or ROLLBACK; in the extended protocol nothing follows an Execute before its answer
//! is there; and inside the client's block an error that linegate provokes leaves the server nothing to commit. COPY is
//! counted when it is over: outside a block it has committed by then, and only what follows is refused.

use std::rc::Rc;

use codecs::postgres::backend::TransactionStatus;
use codecs::postgres::build::backend as say;
use codecs::postgres::build::frontend as tell;
use codecs::postgres::frontend::Message;
use linegate_policy::BudgetKind;
use linegate_recording::Protocol;

use super::copied::Described;
use super::{Asking, names_moving};
use crate::rt::sync::Soon;
use crate::session::postgres::Ended;
use crate::session::postgres::asked::Asked;
use crate::session::postgres::pipeline::Expect;

/// No statement: the server answers it with an error, and what is open cannot commit any more.
pub(super) const UNDO: &[u8] = b"linegate refused a statement of this series";
/// What it is called where it is prepared: a Parse without a name would drop the client's.
pub(super) const UNDO_NAME: &[u8] = b"linegate";

impl Asking {
    /// A Query whose changes are counted before they may stay, or that copies masked columns: outside a transaction block it
    /// runs in one of linegate's own, inside the client's the block fails when the budget is passed.
    pub(super) async fn query_in_block(&mut self, asked: Rc<Asked>, whole: &[u8]) -> Result<(), Ended> {
        self.settle().await?;
        if self.is_skipping() {
            return Ok(()); // the server failed meanwhile, and does not look at it
        }
        let session = self.session.clone();
        let status = || session.pipeline.borrow().status();
        let is_own = status() == TransactionStatus::Idle;
        if is_own {
            tell::query(&mut self.out, b"BEGIN");
            session.pipeline.borrow_mut().push(Expect::Own);
            self.settle().await?;
            if status() != TransactionStatus::InTransaction {
                return Err(Ended::saying(
                    b"25000",
                    "linegate: the server did not begin a transaction",
                ));
            }
        }
        session.pipeline.borrow_mut().hold_ready(is_own);
        let refusal = match self.describe_copy(&asked, Protocol::Simple).await? {
            Described::Told => {
                session.pipeline.borrow_mut().hold_ready(false);
                if is_own {
                    tell::query(&mut self.out, b"ROLLBACK");
                    session.pipeline.borrow_mut().push(Expect::Finish);
                }
                return Ok(());
            }
            Described::Refused(refusal) => Some(refusal),
            Described::Go => session.has_moved(&asked).then(names_moving),
        };
        if let Some(refusal) = refusal {
            session.pipeline.borrow_mut().hold_ready(false);
            if is_own {
                tell::query(&mut self.out, b"ROLLBACK");
                session.pipeline.borrow_mut().push(Expect::Own);
            }
            return self.refuse_query(&refusal).await;
        }
        session.spending.failed.set(false);
        session.pipeline.borrow_mut().hold_ready(true);
        self.note(&asked);
        self.forward(whole, Some(Expect::Query { asked }));
        self.settle().await?;
        let failed = session.spending.failed.take();
        session.spending.doomed.set(false);
        let (text, expect) = match (is_own, failed) {
            (true, true) => (&b"ROLLBACK"[..], Expect::Finish),
            (true, false) => (&b"COMMIT"[..], Expect::Finish),
            (false, true) if status() == TransactionStatus::InTransaction => (UNDO, Expect::Undo),
            (false, _) => {
                let mut bytes = Vec::new();
                say::ready_for_query(&mut bytes, status());
                session.pipeline.borrow_mut().push(Expect::Local(bytes));
                return Ok(());
            }
        };
        tell::query(&mut self.out, text);
        session.pipeline.borrow_mut().push(expect);
        Ok(())
    }

    /// What has to be undone before the client's next message may reach the server.
    pub(super) fn undo_first(&mut self, message: &Message<'_>) -> Soon<'_, Result<(), Ended>> {
        let is_data = matches!(
            message,
            Message::CopyData(_)
                | Message::CopyDone
                | Message::CopyFail { .. }
                | Message::Flush
                | Message::Terminate
        );
        let spending = &self.session.spending;
        let has_to = spending.unsettled.get() || spending.failed.get() || spending.doomed.get();
        match has_to && !is_data {
            true => Soon::later(self.undo()),
            false => Soon::now(Ok(())),
        }
    }

    async fn undo(&mut self) -> Result<(), Ended> {
        let session = self.session.clone();
        if session.spending.unsettled.replace(false) {
            self.settle().await?; // the changes of what was executed must be known before they can commit
        }
        let has_failed = session.spending.failed.replace(false);
        let is_doomed = session.spending.doomed.replace(false);
        let is_series = session.pipeline.borrow().has_open_executes();
        if is_series && (has_failed || is_doomed) {
            // The client has been told: the server gets an error of its own.
            session.pipeline.borrow_mut().push(Expect::Poison(Vec::new()));
            tell::parse(&mut self.out, UNDO_NAME, UNDO);
            self.skipping = true;
        } else if is_doomed && session.pipeline.borrow().status() == TransactionStatus::InTransaction {
            session.pipeline.borrow_mut().push(Expect::Own);
            tell::query(&mut self.out, UNDO);
            self.settle().await?;
        }
        Ok(())
    }
}

/// Whether the rows that a statement changes are counted.
pub(super) fn limits_changes(asked: &Asked) -> bool {
    let charges = asked.charges.as_ref();
    charges.is_some_and(|charges| charges.limits(BudgetKind::Changed))
}
