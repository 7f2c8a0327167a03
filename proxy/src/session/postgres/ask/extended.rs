//! The extended protocol: Parse, Bind, Describe and Execute.
//!
//! Source: PostgreSQL manual, "Message Flow": Extended Query. A statement is decided at Parse, so that a refusal comes early,
//! and again at Bind and Execute where policy, catalog, time or what it runs by name have changed since. A name that SQL has
//! given as well is decided as EXECUTE or FETCH of that name (`names`).

use std::rc::Rc;

use codecs::postgres::build::frontend as tell;
use linegate_identity::Effects;
use linegate_policy::{Named, Statement, Verdict};
use linegate_recording::{Entry, Protocol};

use super::counted::limits_changes;
use super::{Asking, names_moving, respelled};
use crate::session::postgres::Ended;
use crate::session::postgres::asked::Asked;
use crate::session::postgres::bound::Bound;
use crate::session::postgres::budget::{CHANGES, may_take, uncountable};
use crate::session::postgres::cancel::Heeding;
use crate::session::postgres::deciding::Types;
use crate::session::postgres::hold::Refusal;
use crate::session::postgres::names::runs_the_same;
use crate::session::postgres::pipeline::{Expect, Given, Meaning};

impl Asking {
    /// Preparing has no effect, so a statement that must wait for a person may be prepared; it waits at Bind, where its
    /// parameters are known.
    pub(super) async fn parse(
        &mut self,
        name: &[u8],
        text: &[u8],
        (types, declared): (Types, Option<Rc<[u32]>>),
        whole: &[u8],
    ) -> Result<(), Ended> {
        if let Some(refusal) = self.too_long(text) {
            self.record_unread(text, Protocol::Extended, &refusal).await;
            self.refuse_extended(&refusal.sqlstate, &refusal.message, refusal.hint.as_deref());
            return Ok(());
        }
        if !self.session.pipeline.borrow().has_room(text.len()) {
            let message = "linegate: this session has too many prepared statements, or too long ones";
            self.refuse_extended(b"54000", message, Some("Close some (DEALLOCATE, or Close)."));
            return Ok(());
        }
        if !name.is_empty() && self.session.pipeline.borrow().knows_statement(name) {
            // The server decides whether the name is still taken; until it has, two statements could go by it.
            self.settle().await?;
            if self.is_skipping() {
                return Ok(());
            }
        }
        let _heeding = Heeding::of(&self.session);
        let asked = self.session.asked_first(text, types).await;
        let whole = &*respelled(whole, text, &asked.text);
        if let Some(refusal) = self.session.undecided.refusal() {
            self.refuse_extended(&refusal.sqlstate, &refusal.message, refusal.hint.as_deref());
            return Ok(());
        }
        let refusal = match &asked.decision.verdict {
            Verdict::Deny(reason) => Some(Refusal::of(reason)),
            Verdict::Allow | Verdict::Hold(_) => may_take(&self.session, &asked, &[]).err(),
        };
        if let Some(refusal) = refusal {
            let refused = asked.running(self.session.next_statement());
            self.record(&refused, Protocol::Extended, Some(&refusal)).await;
            self.session.core.counters.denied.one();
            self.refuse_extended(&refusal.sqlstate, &refusal.message, refusal.hint.as_deref());
            return Ok(());
        }
        if !name.is_empty() {
            self.session.spending.keep(&asked);
            self.session.remember(&asked, Some(prepared(name)));
        }
        let name = Rc::from(name);
        let given = Given {
            types: declared,
            has_values: false,
        };
        self.forward(whole, Some(Expect::Parse { name, asked, given }));
        Ok(())
    }

    pub(super) async fn bind(
        &mut self,
        portal: &[u8],
        statement: &[u8],
        mut bound: Bound<'_>,
        whole: &[u8],
    ) -> Result<(), Ended> {
        let known = self.statement(statement).await?;
        if known.is_none() {
            bound.statement = None; // what the protocol knows of the name is another statement's
        }
        if self.is_skipping() {
            return Ok(());
        }
        let _heeding = Heeding::of(&self.session);
        let asked = match known {
            Some(asked) => self.session.renewed(&asked).await,
            None if statement.is_empty() => {
                self.fail_extended(b"26000", "unnamed prepared statement does not exist");
                return Ok(());
            }
            // Not prepared through the protocol, or not only: what SQL's EXECUTE of that name would be.
            None => self.decide(&by_name(b"EXECUTE", statement)).await,
        };
        let asked = asked.running(self.session.next_statement());
        let asked = match self.clear(asked, Protocol::Extended, &bound).await? {
            Ok(asked) => asked,
            Err(refusal) => {
                self.refuse_extended(&refusal.sqlstate, &refusal.message, refusal.hint.as_deref());
                return Ok(());
            }
        };
        if !portal.is_empty() {
            self.session.spending.keep(&asked);
            self.session.remember(&asked, Some(cursor(portal)));
        }
        if self.session.has_moved(&asked) {
            self.refuse_cleared(&asked, &names_moving()).await;
            return Ok(());
        }
        self.approve(&asked);
        self.note_bound(&asked);
        let portal = Rc::from(portal);
        let given = Given {
            types: None,
            has_values: !bound.values.is_empty(),
        };
        let expect = Expect::Bind { portal, asked, given };
        self.forward(whole, Some(expect));
        Ok(())
    }

    /// What a portal leaves behind in the session before it runs. What it defines, it does when it runs.
    fn note_bound(&self, asked: &Asked) {
        match asked.statements().any(|statement| statement.changes_catalog) {
            true => self.note_begun(asked),
            false => self.note(asked),
        }
    }

    /// Refuses what is on record as allowed.
    async fn refuse_cleared(&mut self, asked: &Asked, refusal: &Refusal) {
        let entry = Entry::Error {
            statement: asked.number,
            sqlstate: String::from_utf8_lossy(&refusal.sqlstate).into_owned(),
            message: refusal.message.clone(),
        };
        self.session.core.counters.denied.one();
        self.session.core.record(self.session.id, entry).await;
        self.refuse_extended(&refusal.sqlstate, &refusal.message, refusal.hint.as_deref());
    }

    /// A statement was cleared: if a person had to approve it, it alone may run next.
    fn approve(&mut self, asked: &Asked) {
        self.approved = matches!(asked.decision.verdict, Verdict::Hold(_)).then_some(asked.number);
    }

    /// The statement of that name as it was decided, unless SQL may have prepared another one.
    async fn statement(&mut self, name: &[u8]) -> Result<Option<Rc<Asked>>, Ended> {
        if !name.is_empty() && self.session.names.is_by_sql(|| prepared(name)) {
            return Ok(None);
        }
        let find = |asking: &Self| asking.session.pipeline.borrow().statement(name);
        self.settled(find).await
    }

    /// The statement behind a portal as it was decided, unless SQL may have made another one of that name.
    async fn portal(&mut self, name: &[u8]) -> Result<Option<Rc<Asked>>, Ended> {
        if !name.is_empty() && self.session.names.is_by_sql(|| cursor(name)) {
            return Ok(None);
        }
        let find = |asking: &Self| asking.session.pipeline.borrow().portal(name);
        self.settled(find).await
    }

    /// What a name stands for, once the answers are here on which that depends.
    async fn settled(&mut self, find: impl Fn(&Self) -> Meaning) -> Result<Option<Rc<Asked>>, Ended> {
        let mut meaning = find(self);
        if matches!(meaning, Meaning::Unsettled) {
            self.settle().await?;
            meaning = find(self);
        }
        Ok(match meaning {
            Meaning::Known(asked) => Some(asked),
            Meaning::Nothing | Meaning::Unsettled => None,
        })
    }

    pub(super) async fn describe_portal(&mut self, name: &[u8], whole: &[u8]) -> Result<(), Ended> {
        let known = self.portal(name).await?;
        if self.is_skipping() {
            return Ok(());
        }
        let asked = match known {
            Some(asked) => self.session.renewed(&asked).await,
            None if name.is_empty() => return self.refuse_no_portal(),
            None => self.decide(&by_name(b"FETCH ALL FROM", name)).await,
        };
        self.describe(name, asked, false, whole);
        Ok(())
    }

    fn refuse_no_portal(&mut self) -> Result<(), Ended> {
        self.fail_extended(b"34000", "portal \"\" does not exist");
        Ok(())
    }

    fn describe(&mut self, name: &[u8], asked: Rc<Asked>, own: bool, whole: &[u8]) {
        let portal = Rc::from(name);
        self.forward(whole, Some(Expect::DescribePortal { portal, asked, own }));
    }

    /// A masked session's rows need their RowDescription: where the client did not ask for it since the portal was bound, or
    /// the statement is decided in another way now, linegate does.
    pub(super) async fn execute(&mut self, portal: &[u8], whole: &[u8]) -> Result<(), Ended> {
        let known = self.portal(portal).await?;
        if self.is_skipping() {
            return Ok(());
        }
        let _heeding = Heeding::of(&self.session);
        // A portal may wait for long: a utility statement's names are read when it runs.
        let has_moved = known.as_ref().is_some_and(|known| self.session.has_moved(known));
        let asked = match &known {
            Some(asked) => self.session.renewed(asked).await,
            None if portal.is_empty() => return self.refuse_no_portal(),
            None => {
                let asked = self.decide(&by_name(b"FETCH ALL FROM", portal)).await;
                asked.running(self.session.next_statement())
            }
        };
        let was_cleared = known.as_ref().is_some_and(|known| {
            // What waited for a person at Bind has been approved: that, and not what its name stands for by now.
            match (&asked.decision.verdict, &known.decision.verdict) {
                // What runs by name may be another text by now, which nobody was charged for.
                (Verdict::Allow, _) => runs_the_same(known, &asked),
                // Names in it may mean something else behind whatever ran since.
                (Verdict::Hold(_), Verdict::Hold(_)) => {
                    self.approved == Some(known.number)
                        && !has_moved
                        && known.decision.statement == asked.decision.statement
                        && runs_the_same(known, &asked)
                }
                _ => false,
            }
        });
        if self.approved.is_some_and(|number| number != asked.number) {
            self.approved = None;
        }
        let is_same = known.is_some_and(|known| Rc::ptr_eq(&known, &asked));
        let asked = if was_cleared {
            // It was bound when there was room still.
            if self.session.spending.waits(&self.session, &asked) {
                self.settle().await?;
            }
            let spending = &self.session.spending;
            let charged = may_take(&self.session, &asked, &[]).and_then(|()| spending.may_run(&asked));
            if let Err(refusal) = charged.and_then(|()| spending.goes_on(&self.session, &asked)) {
                self.refuse_cleared(&asked, &refusal).await;
                return Ok(());
            }
            // What changes settings does so now, behind whatever has been answered since it was bound.
            if !is_same || asked.statements().any(changes_something_else) {
                self.note_what_runs(&asked);
            }
            asked
        } else {
            if matches!(asked.decision.verdict, Verdict::Hold(_)) {
                self.settle().await?;
                if self.session.pipeline.borrow().may_have_values(portal) {
                    // Whoever approves it must see them.
                    let refusal = values_unseen();
                    self.record(&asked, Protocol::Extended, Some(&refusal)).await;
                    self.session.core.counters.denied.one();
                    self.refuse_extended(&refusal.sqlstate, &refusal.message, refusal.hint.as_deref());
                    return Ok(());
                }
            }
            match self.clear(asked, Protocol::Extended, &Bound::default()).await? {
                Ok(asked) => {
                    self.approve(&asked);
                    self.note(&asked);
                    asked
                }
                Err(refusal) => {
                    self.refuse_extended(&refusal.sqlstate, &refusal.message, refusal.hint.as_deref());
                    return Ok(());
                }
            }
        };
        if !self.may_execute(&asked, whole).await? {
            self.session.fresh.was_not_sent();
            return Ok(());
        }
        let is_described = is_same && self.session.pipeline.borrow().is_described(portal);
        if asked.is_masked(&self.session) && !is_described {
            let mut question = Vec::new();
            tell::describe_portal(&mut question, portal);
            self.describe(portal, asked.clone(), true, &question);
        }
        let session = &self.session;
        session.spending.sent(session, &asked);
        if limits_changes(&asked) && !asked.effects().contains(Effects::COPY_IN) {
            session.spending.unsettled.set(true);
        }
        let portal = Rc::from(portal);
        self.forward(whole, Some(Expect::Execute { portal, asked }));
        Ok(())
    }

    /// Whether what was cleared and noted goes to the server now; else the client has been told.
    async fn may_execute(&mut self, asked: &Rc<Asked>, whole: &[u8]) -> Result<bool, Ended> {
        let changes = CHANGES.with(Effects::PREPARED);
        if limits_changes(asked) && asked.effects().intersects(changes) && is_in_portions(whole) {
            // The server changes all rows at once, and says how many behind the last portion only.
            self.refuse_cleared(asked, &uncountable()).await;
            return Ok(false);
        }
        if let Some(refusal) = self.take_names(asked).await? {
            self.refuse_cleared(asked, &refusal).await;
            return Ok(false);
        }
        if self.is_skipping() {
            return Ok(false);
        }
        if !Box::pin(self.may_execute_copy(asked)).await? {
            return Ok(false);
        }
        let cancelled = self.session.undecided.refusal();
        if let Some(refusal) = cancelled.or_else(|| self.session.has_moved(asked).then(names_moving)) {
            self.leave_names();
            self.refuse_cleared(asked, &refusal).await;
            return Ok(false);
        }
        Ok(true)
    }
}

fn values_unseen() -> Refusal {
    Refusal {
        sqlstate: *b"42501",
        message:
            "linegate: this portal needs an approval that nobody was asked for when its values were bound"
                .to_owned(),
        hint: Some("Bind it again.".to_owned()),
    }
}

/// Whether it changes something else than rows: what a note of it opens, ReadyForQuery may have closed before it runs.
fn changes_something_else(statement: &Statement) -> bool {
    let rows = CHANGES.with(Effects::SELECT).with(Effects::COPY_OUT);
    !statement.effects.without(rows).is_empty()
        || !statement.settings.is_empty()
        || !statement.opaque.is_empty()
}

/// Whether an Execute asks for some rows only: its last field.
fn is_in_portions(execute: &[u8]) -> bool {
    execute
        .last_chunk::<4>()
        .is_some_and(|rows| i32::from_be_bytes(*rows) > 0)
}

fn prepared(name: &[u8]) -> Named {
    Named::Prepared(String::from_utf8_lossy(name).into_owned())
}

fn cursor(name: &[u8]) -> Named {
    Named::Cursor(String::from_utf8_lossy(name).into_owned())
}

/// `VERB "name"`: what running something by name is in SQL.
fn by_name(verb: &[u8], name: &[u8]) -> Vec<u8> {
    let mut text = [verb, b" \""].concat();
    for byte in name {
        if *byte == b'"' {
            text.push(b'"');
        }
        text.push(*byte);
    }
    text.push(b'"');
    text
}
