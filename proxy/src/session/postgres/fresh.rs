//! Deciding again, where the catalog that a decision was made with may be older than what the statement met.
//!
//! Before a statement is sent: it names a relation that the catalog does not hold. After the server has described its result:
//! a column belongs to an unknown relation, or the statement goes through views or functions, which somebody may have replaced
//! under the same name and number since. By then the server holds its locks, so a look at the catalog that begins now sees what
//! the statement sees. Only this session waits.
//!
//! Also what the session prepared or declared, by name, so that rows of EXECUTE and FETCH can be followed.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use codecs::postgres::backend::RowDescription;
use linegate_policy::{Decision, Named, PlanRefusal, Verdict};

use super::asked::Asked;
use super::results::Plan;
use super::{CATALOG_WAIT, Session};
use crate::clock;

/// A session asks for the catalog because of names that it does not hold this often at most.
const REREAD_MS_MIN: u64 = 250;
/// Names that are remembered; a session with more is not followed by name.
const NAMES_MAX: usize = 256;
/// Longer texts are not kept.
const TEXT_BYTES_MAX: usize = 64 << 10;
const CHECK_POLL: Duration = Duration::from_millis(1);

/// What a session knows of its names, and when it last asked for the catalog.
#[derive(Default)]
pub struct Fresh {
    /// The text behind a name; `None` where two were given, of which the server may have taken either.
    names: RefCell<HashMap<Named, Option<Rc<[u8]>>>>,
    /// Something was prepared that is not among the names.
    is_incomplete: Cell<bool>,
    reread_at: Cell<u64>,
    /// A statement of the open transaction changed names or shapes.
    has_changed: Cell<bool>,
}

impl Fresh {
    /// Takes in that a name now may stand for that text.
    fn name(&self, name: Named, text: Option<&Rc<[u8]>>) {
        let text = text.filter(|text| text.len() <= TEXT_BYTES_MAX);
        let mut names = self.names.borrow_mut();
        let has_room = names.len() < NAMES_MAX;
        match names.get_mut(&name) {
            Some(known) if known.as_ref() == text => {}
            Some(known) => *known = None,
            None if has_room => {
                names.insert(name, text.cloned());
            }
            None => self.is_incomplete.set(true),
        }
    }

    fn text(&self, name: &Named) -> Option<Rc<[u8]>> {
        if self.is_incomplete.get() {
            return None;
        }
        self.names.borrow().get(name)?.clone()
    }
}

impl Session {
    /// Remembers what an allowed statement prepares or declares. What was prepared while nothing was masked is not known.
    pub fn remember(&self, asked: &Asked, also: Option<Named>) {
        let statement = &asked.decision.statement;
        if !self.is_masked() {
            let prepares = also.is_some() || statement.prepares || !statement.opaque.is_empty();
            self.fresh
                .is_incomplete
                .set(self.fresh.is_incomplete.get() || prepares);
            return;
        }
        let text = (statement.count == 1).then_some(&asked.text);
        for name in &statement.defines {
            self.fresh.name(name.clone(), text);
        }
        if let Some(name) = also {
            self.fresh.name(name, Some(&asked.text));
        }
    }

    /// The decision on what a statement runs by name, if that is known.
    pub async fn named(&self, decision: &Decision) -> Option<Arc<Decision>> {
        let name = decision.statement.runs.as_ref().filter(|_| self.is_masked())?;
        let text = self.fresh.text(name)?;
        Some(self.decide(&text).await.0)
    }

    /// Decides a statement; again with a new catalog where it names what the catalog does not hold.
    pub async fn decide_known(&self, text: &[u8]) -> (Arc<Decision>, u64) {
        let decided = self.decide(text).await;
        let lineage = decided.0.statement.lineage.as_ref();
        if !self.is_masked() || !lineage.is_some_and(|lineage| lineage.strangers) || !self.reread() {
            return decided;
        }
        self.decide(text).await
    }

    /// Asks for the catalog, unless it was asked for just now.
    fn reread(&self) -> bool {
        let now = clock::now().0;
        if now.saturating_sub(self.fresh.reread_at.get()) < REREAD_MS_MIN {
            return false;
        }
        self.fresh.reread_at.set(now);
        self.catalog.mark_stale();
        self.wish_catalog();
        true
    }

    fn wish_catalog(&self) {
        self.core
            .shared
            .wish_catalog(&self.target.config.name, &self.database);
    }

    /// A statement that changes names or shapes has ended.
    pub fn catalog_changed(&self) {
        self.fresh.has_changed.set(true);
        self.catalog.mark_stale();
        self.wish_catalog();
    }

    /// No transaction is open any more: what it changed can be seen from outside only now.
    pub fn catalog_settled(&self) {
        if self.fresh.has_changed.take() {
            self.catalog.mark_stale();
            self.wish_catalog();
        }
    }

    /// Waits until a look at the server's catalogs that began after this call has ended. False when none came in time.
    async fn confirm_catalog(&self) -> bool {
        let ticket = self.catalog.want_check();
        self.wish_catalog();
        let mut waited = Duration::ZERO;
        while !self.catalog.is_checked(ticket) {
            if waited >= CATALOG_WAIT || self.ended.borrow().is_some() {
                return false;
            }
            crate::rt::sleep(CHECK_POLL).await;
            waited += CHECK_POLL;
        }
        true
    }
}

/// What becomes of a result's rows, and the statement as it was decided last.
pub async fn plan(
    session: &Session,
    asked: &Rc<Asked>,
    description: &RowDescription<'_>,
) -> (Plan, Rc<Asked>) {
    let mut asked = asked.clone();
    let stale = |asked| (Plan::Refused(PlanRefusal::StaleCatalog { index: 0 }), asked);
    if session.is_masked() && asked.goes_through_definitions() {
        if !session.confirm_catalog().await {
            return stale(asked);
        }
        if !session.is_current(asked.epoch) {
            match again(session, &asked).await {
                Some(newer) => asked = newer,
                None => return stale(asked),
            }
        }
    }
    let plan = Plan::compile(session, &asked, description);
    if !matches!(plan, Plan::Refused(PlanRefusal::StaleCatalog { .. })) {
        return (plan, asked);
    }
    // The catalog is being read again.
    match again(session, &asked).await {
        Some(newer) => (Plan::compile(session, &newer, description), newer),
        None => (plan, asked),
    }
}

/// The statement as it would be decided now, if it would still be sent.
async fn again(session: &Session, asked: &Asked) -> Option<Rc<Asked>> {
    let (decision, epoch) = session.decide(&asked.text).await;
    let stands = match (&decision.verdict, &asked.decision.verdict) {
        (Verdict::Allow, _) | (Verdict::Hold(_), Verdict::Hold(_)) => true,
        (Verdict::Deny(_) | Verdict::Hold(_), _) => false,
    };
    if !stands {
        return None;
    }
    let named = session.named(&decision).await;
    let may_show_label = asked.may_show_label || decision.touches(session.prepared_touched.get());
    Some(Rc::new(Asked {
        number: asked.number,
        text: asked.text.clone(),
        epoch,
        may_show_label,
        charges: asked.charges.clone(),
        decision,
        named,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_was_given_twice_stands_for_nothing() {
        let fresh = Fresh::default();
        let name = |text: &str| Named::Prepared(text.to_owned());
        let (one, two): (Rc<[u8]>, Rc<[u8]>) = (Rc::from(&b"SELECT 1"[..]), Rc::from(&b"SELECT 2"[..]));
        fresh.name(name("a"), Some(&one));
        fresh.name(name("a"), Some(&one));
        fresh.name(name("b"), Some(&one));
        fresh.name(name("b"), Some(&two));
        fresh.name(name("b"), Some(&two));
        fresh.name(Named::Cursor("a".into()), Some(&two));
        assert_eq!(fresh.text(&name("a")), Some(one.clone()));
        assert_eq!(fresh.text(&name("b")), None);
        assert_eq!(fresh.text(&Named::Cursor("a".into())), Some(two));
        for number in 0..NAMES_MAX {
            fresh.name(name(&number.to_string()), Some(&one));
        }
        assert_eq!(fresh.text(&name("a")), None, "more names than are remembered");
    }
}
