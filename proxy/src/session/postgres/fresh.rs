//! Deciding again, where the catalog that a decision was made with may be older than what the statement met.
//!
//! Before a statement is sent: it names a relation that the catalog does not hold. After the server has described its result:
//! a column belongs to an unknown relation, the statement names one, or it goes through views or functions, which somebody may
//! have replaced under the same name and number since. By then the server holds its locks, so a look at the catalog that begins
//! now sees what the statement sees. Only this session waits.
//!
//! What such a look does not show was made by the session's own open transaction: see [`Fresh`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use codecs::postgres::backend::{CopyResponse, RowDescription, TransactionStatus};
use linegate_identity::Effects;
use linegate_policy::{Name, PlanRefusal, Statement, Verdict, makes_clear_relations};

use super::asked::Asked;
use super::results::{Kept, Plan, Unseen};
use super::{CATALOG_WAIT, Decided, Session};
use crate::changing;
use crate::outstanding::{self, Tables};
use crate::shared::CatalogView;

const CHECK_POLL: Duration = Duration::from_millis(1);
/// Relations of an open transaction that are remembered.
const MADE_MAX: usize = 256;

/// What a session made that nobody else can see yet.
#[derive(Default)]
pub struct Fresh {
    /// Statements of the open transaction changed names or shapes: of some tables, or anything.
    changed: RefCell<Option<Option<Tables>>>,
    /// Relations that the open transaction made, and that can hold nothing labelled.
    made: RefCell<Vec<Name>>,
    /// It may have made others, or moved names about.
    is_doubtful: Cell<bool>,
    /// A statement that begins or ends a transaction is on its way.
    is_turning: Cell<bool>,
    /// Relations whose changes it may have had reach others: names, and `*` for any.
    redirects: RefCell<BTreeSet<String>>,
    /// The same of relations that foreign keys refer to.
    referred: RefCell<BTreeSet<String>>,
}

/// What changes rows, and so whatever that leads to.
pub const OF_ROWS: Effects = Effects::INSERT
    .with(Effects::UPDATE)
    .with(Effects::DELETE)
    .with(Effects::TRUNCATE)
    .with(Effects::COPY_IN);
/// Parts of the catalogs' version, by their first letter (`linegate_sql::catalog`): pg_inherits, pg_namespace, pg_proc,
/// pg_rewrite, pg_policy.
const UNLOCKED: [char; 5] = ['h', 'n', 'p', 'w', 'y'];
/// How often a COPY is decided anew when what it goes by changes meanwhile.
const COPY_TRIES: u32 = 8;

impl Fresh {
    /// A statement goes to the server. `makes_clear`: it makes relations that can hold nothing labelled, and changes no
    /// other names.
    pub fn forwarded(&self, statement: &Statement, makes_clear: bool) {
        if statement
            .effects
            .intersects(Effects::TRANSACTION.with(Effects::UNREADABLE))
        {
            self.is_turning.set(true);
        }
        if !statement.changes_catalog && !statement.effects.contains(Effects::UNREADABLE) {
            return;
        }
        let is_unread = statement.effects.contains(Effects::UNREADABLE);
        let any = is_unread.then(|| "*".to_owned());
        let names = statement
            .redirects
            .iter()
            .map(|name| name.name.clone())
            .chain(any);
        self.redirects.borrow_mut().extend(names);
        self.referred.borrow_mut().extend(referred_before(statement));
        let mut made = self.made.borrow_mut();
        if makes_clear && made.len() + statement.writes.len() <= MADE_MAX {
            made.extend(statement.writes.iter().cloned());
        } else {
            self.is_doubtful.set(true);
        }
    }

    /// ReadyForQuery. `is_last`: nothing else is on its way to the server.
    fn ready(&self, is_idle: bool, is_last: bool) {
        if is_last {
            self.is_turning.set(false);
        }
        if is_idle {
            self.made.borrow_mut().clear();
            self.is_doubtful.set(!is_last);
            if is_last {
                self.redirects.borrow_mut().clear();
                self.referred.borrow_mut().clear();
            }
        }
    }

    /// Whether a relation that nobody else can see is known to hold nothing labelled.
    fn is_clear(&self) -> bool {
        !self.made.borrow().is_empty() && !self.is_doubtful.get() && !self.is_turning.get()
    }

    /// Whether a statement changes rows, and what else that changes is not in the catalog: the open transaction, or the text
    /// itself, has led changes elsewhere. The catalog tells where else its rows may be.
    pub fn hides(&self, statement: &Statement, catalog: impl FnOnce() -> Option<Arc<CatalogView>>) -> bool {
        if !statement.effects.intersects(OF_ROWS) {
            return false;
        }
        let own = |names: &[Name]| -> Vec<String> {
            let counts = statement.count > 1;
            let names = names.iter().filter(|_| counts);
            names.map(|name| name.name.clone()).collect()
        };
        let mut leads: BTreeSet<String> = own(&statement.redirects).into_iter().collect();
        leads.extend(self.redirects.borrow().iter().cloned());
        // Rows that are new are referred to by none.
        let cascades = OF_ROWS.without(Effects::INSERT.with(Effects::COPY_IN));
        if statement.effects.intersects(cascades) {
            leads.extend(referred_before(statement).filter(|_| statement.count > 1));
            leads.extend(self.referred.borrow().iter().cloned());
        }
        if leads.is_empty() {
            return false;
        }
        let kin = catalog().map(|view| changing::family(statement.writes.iter(), &view.labels));
        let mut written = statement.writes.iter().chain(kin.iter().flatten());
        leads.contains("*") || written.any(|name| leads.contains(&name.name))
    }

    fn has_made(&self, name: &Name) -> bool {
        let same = |made: &Name| {
            made.name == name.name
                && (name.schema.is_none() || made.schema.is_none() || made.schema == name.schema)
        };
        self.made.borrow().iter().any(same)
    }
}

/// What comes to be referred to by tables that may have rows. A table that is made has none but those the session puts there.
fn referred_before(statement: &Statement) -> impl Iterator<Item = String> {
    let alters = statement.effects.contains(Effects::ALTER);
    let names = statement.referred.iter().filter(move |_| alters);
    names.map(|name| name.name.clone())
}

impl Session {
    /// Decides a statement; again with a new catalog where it names what the catalog does not hold and this session did not
    /// just make.
    pub async fn decide_known(&self, text: &[u8], may_read: bool) -> Decided {
        let decided = self.decide(text, may_read).await;
        let statement = &decided.decision.statement;
        let has_strangers = statement
            .lineage
            .as_ref()
            .is_some_and(|lineage| lineage.strangers);
        if decided.standing.masks.is_empty() || !has_strangers {
            return decided;
        }
        let holds = |name: &Name| {
            let view = self.catalog.latest();
            view.is_some_and(|view| view.labels.known(name).next().is_some())
        };
        let mut named = statement.reads.iter().chain(&statement.writes);
        if self.fresh.is_clear() && named.all(|name| holds(name) || self.fresh.has_made(name)) {
            return decided;
        }
        if !self.confirm_catalog().await {
            self.catalog.mark_stale(); // without a catalog, nothing is allowed
            self.wish_catalog();
        }
        self.decide(text, may_read).await
    }

    /// A statement goes to the server: what it makes is seen by this session alone until the transaction ends.
    pub fn note_made(&self, statement: &Statement) {
        let makes_clear = statement.changes_catalog
            && self.catalog.latest().is_some_and(|view| {
                let masks = &self.standing.borrow().masks;
                makes_clear_relations(statement, &view.labels, masks)
            });
        self.fresh.forwarded(statement, makes_clear);
    }

    /// Whether a relation of a result that the catalog does not hold, though it was read again after the result was described,
    /// may be shown: it was made in the transaction block that is open, which keeps its locks, so nobody can have dropped it
    /// since. And whatever this session made there holds nothing labelled, since values do not flow from labelled columns
    /// into others.
    fn may_show_own(&self, asked: &Asked) -> bool {
        let statement = &asked.decision.statement;
        self.pipeline.borrow().status() == TransactionStatus::InTransaction
            && self.fresh.is_clear()
            && statement.count == 1
            && !statement.effects.contains(Effects::PREPARED)
    }

    /// Asks for the catalog to be read now.
    pub fn wish_catalog(&self) {
        self.core
            .shared
            .wish_catalog(&self.target.config.name, &self.database);
    }

    /// A statement that changes names or shapes has ended.
    pub fn catalog_changed(&self, statement: &Statement) {
        let tables = outstanding::tables(statement);
        self.note_change(tables.as_ref());
        let mut changed = self.fresh.changed.borrow_mut();
        *changed = Some(match changed.take() {
            Some(earlier) => outstanding::together(earlier, tables),
            None => tables,
        });
    }

    /// A change is read at once where a verdict may depend on it, else when somebody relies on it or changes pause.
    fn note_change(&self, tables: Option<&Tables>) {
        self.catalog.mark_changed(tables);
        if self.relies_on_catalog() {
            self.wish_catalog();
        }
    }

    /// ReadyForQuery. When no transaction is open any more, what it changed can be seen from outside.
    pub fn catalog_settled(&self, status: Option<TransactionStatus>) {
        let is_idle = status == Some(TransactionStatus::Idle);
        let is_last = self.pipeline.borrow().is_idle();
        self.fresh.ready(is_idle, is_last);
        let changed = self.fresh.changed.borrow_mut().take_if(|_| is_idle);
        if let Some(tables) = changed {
            self.note_change(tables.as_ref());
        }
        if is_idle && is_last {
            self.catalog.changing.ends(self.id);
        }
    }

    /// What the server's catalogs said of themselves when they were last looked at, as far as others can change it for a query
    /// whose relations are locked: what is part of what, views, functions, row policies and schemas.
    fn unlocked_version(&self) -> Option<String> {
        let view = self.catalog.latest()?;
        let version = view.version.as_deref()?;
        let parts = version.split(' ').filter(|part| part.starts_with(UNLOCKED));
        Some(parts.collect::<Vec<_>>().join(" "))
    }

    /// The newest catalog and the change that it shows, where later ones are known and all of them are about some tables only.
    /// It will do for statements that cannot be about these (`CatalogCell::spares`).
    pub fn catalog_beside_changes(&self) -> Option<(Arc<CatalogView>, u64)> {
        if !self.catalog.is_stale() || !self.relies_on_catalog() {
            return None;
        }
        let found = self.catalog.beside_tables()?;
        if self.catalog.is_unread() {
            self.wish_catalog();
        }
        Some(found)
    }

    /// Waits until a look at the server's catalogs that began after this call has ended. False when none came in time.
    async fn confirm_catalog(&self) -> bool {
        let ticket = self.catalog.want_check();
        self.wish_catalog();
        let mut waited = Duration::ZERO;
        while !self.catalog.is_checked(ticket) {
            let is_over = self.undecided.is_cancelled() || self.ended.borrow().is_some();
            if waited >= CATALOG_WAIT || is_over {
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
    // What has an origin is masked by it, whatever it was called.
    let is_computed = description.fields().any(|field| field.table_oid == 0);
    let asked = match confirmed(session, asked, is_computed).await {
        Ok(asked) => asked,
        Err(refusal) => return (Plan::Refused(refusal), asked.clone()),
    };
    if asked.has_strangers() && session.may_show_own(&asked) {
        let plan = Plan::compile(session, &asked, description, Unseen::Clear);
        return (plan, asked);
    }
    let plan = Plan::compile(session, &asked, description, Unseen::Refused);
    if !matches!(plan, Plan::Refused(PlanRefusal::StaleCatalog { .. })) {
        return (plan, asked);
    }
    // The catalog is being read again.
    match again(session, &asked).await {
        Some(newer) => (
            Plan::compile(session, &newer, description, Unseen::Refused),
            newer,
        ),
        None => (plan, asked),
    }
}

/// What will become of the rows of a COPY, by the description of the query that it runs, and the statement as it was decided
/// last.
pub async fn plan_of_copy(
    session: &Session,
    asked: &Rc<Asked>,
    description: &RowDescription<'_>,
) -> (Plan, Rc<Asked>, Option<String>) {
    // The server keeps what it reads locked from now on. What else the catalogs' version tells, it tells before and after
    // it is decided, and when the COPY begins (`copy_stands`).
    let refuse = |refusal| (Plan::refused(session, refusal), asked.clone(), None);
    for _ in 0..COPY_TRIES {
        if !session.confirm_catalog().await {
            return refuse(PlanRefusal::StaleCatalog { index: 0 });
        }
        let version = session.unlocked_version();
        let decided = match confirmed(session, asked, true).await {
            Ok(decided) => decided,
            Err(refusal) => return refuse(refusal),
        };
        if decided.copy_out() != asked.copy_out() {
            break;
        }
        let plan = Plan::of_copy(session, &decided, description);
        if version.is_some() && version == session.unlocked_version() {
            return (plan, decided, version);
        }
    }
    refuse(PlanRefusal::Changed)
}

/// What becomes of the data that COPY sends. They are masked by what was described before; where nothing was, the statement
/// was decided to send nothing labelled.
pub async fn copy_plan(session: &Session, asked: &Rc<Asked>, response: Option<&CopyResponse<'_>>) -> Plan {
    let kept = session.copies.take().filter(|kept| kept.number == asked.number);
    if let Some(kept) = kept {
        return match copy_stands(session, &kept, response).await {
            Ok(()) => kept.plan_of_rows(),
            Err(refusal) => Plan::refused(session, refusal),
        };
    }
    if asked.is_masked(session) && (asked.is_through_definitions() || !sends_nothing_labelled(session, asked))
    {
        return Plan::refused(session, PlanRefusal::Changed);
    }
    match confirmed(session, asked, true).await {
        Err(refusal) => Plan::Refused(refusal),
        Ok(asked) if asked.is_masked(session) && asked.has_strangers() && !session.may_show_own(&asked) => {
            Plan::Refused(PlanRefusal::StaleCatalog { index: 0 })
        }
        Ok(asked) if asked.is_masked(session) && !sends_nothing_labelled(session, &asked) => {
            Plan::refused(session, PlanRefusal::Changed)
        }
        Ok(_) => Plan::Plain,
    }
}

/// Whether a COPY that was not described was decided to send nothing labelled: it is the statement itself, and not something
/// that it runs by name, and what it shows of labelled relations was found to be clear.
fn sends_nothing_labelled(session: &Session, asked: &Asked) -> bool {
    let is_same_mask = session.standing.borrow().masks == asked.standing.masks;
    if !is_same_mask && !asked.decision.labels.is_empty() {
        return false;
    }
    if !asked.touches_mask(session) {
        return true;
    }
    let effects = asked.effects();
    asked.copy_out().is_none()
        && effects.contains(Effects::COPY_OUT)
        && !effects.intersects(Effects::PREPARED.with(Effects::UNREADABLE))
}

/// Whether what the server begins to send is what was described: it has locked what it reads, so a look at the catalog that
/// begins now shows what that is.
async fn copy_stands(
    session: &Session,
    kept: &Kept,
    response: Option<&CopyResponse<'_>>,
) -> Result<(), PlanRefusal> {
    let (Plan::Copied(copied), Some(response)) = (&kept.plan, response) else {
        return Err(PlanRefusal::Changed);
    };
    if !copied.is_of(response) {
        return Err(PlanRefusal::Changed);
    }
    let asked = &kept.asked;
    let (statement, changing) = (&asked.decision.statement, &session.catalog.changing);
    let mark = asked.mark.get();
    if !session.confirm_catalog().await {
        return Err(PlanRefusal::StaleCatalog { index: 0 });
    }
    // What no lock on what it reads holds back shows in the catalogs' version, also where it was changed back.
    let version = session.unlocked_version();
    if version.is_none() || version != kept.version || changing.was_changed(mark, statement) {
        return Err(PlanRefusal::Changed);
    }
    if !session.is_current(asked.epoch) || changing.may_have_moved(mark, statement) {
        let newer = again(session, asked).await.ok_or(PlanRefusal::Changed)?;
        if newer.decision.statement != *statement {
            return Err(PlanRefusal::Changed);
        }
    }
    let standing = session.standing.borrow().clone();
    match *asked.masks(&standing) == kept.masks {
        true => Ok(()),
        false => Err(PlanRefusal::Changed),
    }
}

/// The statement as it is decided with a catalog that was looked at since the server described its result, where that may
/// make a difference.
async fn confirmed(
    session: &Session,
    asked: &Rc<Asked>,
    is_computed: bool,
) -> Result<Rc<Asked>, PlanRefusal> {
    const STALE: PlanRefusal = PlanRefusal::StaleCatalog { index: 0 };
    let changing = &session.catalog.changing;
    let mark = changing.sent();
    let has_moved = || is_computed && changing.may_have_moved(asked.mark.get(), &asked.decision.statement);
    if !asked.is_masked(session) || !(asked.is_to_be_confirmed() || has_moved()) {
        return Ok(asked.clone());
    }
    if !session.confirm_catalog().await {
        return Err(STALE);
    }
    if session.is_current(asked.epoch) {
        asked.mark.set(mark);
        return Ok(asked.clone());
    }
    again(session, asked).await.ok_or(STALE)
}

/// The statement as it would be decided now, if it would still be sent.
async fn again(session: &Session, asked: &Asked) -> Option<Rc<Asked>> {
    let newer = session.asked(asked.text.clone(), asked.is_read).await;
    let stands = match (&newer.decision.verdict, &asked.decision.verdict) {
        (Verdict::Allow, _) | (Verdict::Hold(_), Verdict::Hold(_)) => true,
        (Verdict::Deny(_) | Verdict::Hold(_), _) => false,
    };
    stands.then(|| asked.like(&newer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn makes(name: &str, effects: Effects) -> Statement {
        Statement {
            effects,
            count: 1,
            changes_catalog: true,
            writes: vec![Name {
                schema: None,
                name: name.to_owned(),
            }],
            ..Statement::empty()
        }
    }

    fn bare(name: &str) -> Name {
        Name {
            schema: None,
            name: name.to_owned(),
        }
    }

    fn begin() -> Statement {
        Statement {
            effects: Effects::TRANSACTION,
            count: 1,
            ..Statement::empty()
        }
    }

    #[test]
    fn only_what_the_open_transaction_made_is_clear() {
        let fresh = Fresh::default();
        assert!(!fresh.is_clear());
        fresh.forwarded(&begin(), false);
        fresh.forwarded(&makes("a", Effects::CREATE), true);
        assert!(
            !fresh.is_clear(),
            "the server has not begun yet, for all that is known"
        );
        fresh.ready(false, true);
        assert!(fresh.is_clear());
        let named = |schema: Option<&str>, name: &str| {
            fresh.has_made(&Name {
                schema: schema.map(str::to_owned),
                name: name.to_owned(),
            })
        };
        assert!(named(None, "a") && named(Some("pg_temp"), "a") && !named(None, "b"));
        fresh.ready(true, true);
        assert!(!fresh.is_clear(), "the transaction is over");
    }

    #[test]
    fn behind_a_view_of_the_open_transaction_no_change_is_what_it_says() {
        let fresh = Fresh::default();
        let insert = Statement {
            effects: Effects::INSERT,
            writes: makes("v", Effects::CREATE).writes,
            count: 1,
            ..Statement::empty()
        };
        let mut view = makes("v", Effects::CREATE);
        fresh.forwarded(&view, false);
        assert!(!fresh.hides(&insert, || None));
        view.redirects = vec![bare("v")];
        fresh.forwarded(&view, false);
        assert!(fresh.hides(&insert, || None) && !fresh.hides(&begin(), || None));
        let elsewhere = Statement {
            writes: makes("w", Effects::CREATE).writes,
            ..insert.clone()
        };
        assert!(!fresh.hides(&elsewhere, || None), "a migration notes its number");
        fresh.ready(false, true);
        assert!(fresh.hides(&insert, || None), "the transaction goes on");
        fresh.ready(true, true);
        assert!(!fresh.hides(&insert, || None), "the catalog shows it");
        let both = Statement {
            effects: Effects::INSERT.with(Effects::CREATE),
            count: 2,
            writes: makes("v", Effects::CREATE).writes,
            redirects: vec![bare("v")],
            ..Statement::empty()
        };
        assert!(fresh.hides(&both, || None), "one text makes the view and uses it");
        let key = Statement {
            referred: vec![bare("v")],
            ..makes("w", Effects::ALTER)
        };
        fresh.forwarded(&key, false);
        let delete = Statement {
            effects: Effects::DELETE,
            ..insert.clone()
        };
        assert!(fresh.hides(&delete, || None), "rows of others may go with them");
        assert!(!fresh.hides(&insert, || None), "a migration fills its tables");
    }

    #[test]
    fn whatever_moves_names_about_leaves_doubt() {
        let fresh = Fresh::default();
        fresh.forwarded(&makes("a", Effects::CREATE), true);
        fresh.forwarded(&makes("a", Effects::ALTER), false);
        assert!(!fresh.is_clear());
        fresh.ready(true, true);
        fresh.forwarded(&makes("b", Effects::CREATE), true);
        assert!(fresh.is_clear());
        fresh.forwarded(&Statement::unreadable(), false);
        assert!(!fresh.is_clear());
        let fresh = Fresh::default();
        fresh.forwarded(&makes("a", Effects::ALTER), false);
        fresh.ready(true, false);
        fresh.forwarded(&makes("b", Effects::CREATE), true);
        assert!(
            !fresh.is_clear(),
            "what is still on its way counts for the next transaction"
        );
        for number in 0..=MADE_MAX {
            fresh.forwarded(&makes(&number.to_string(), Effects::CREATE), true);
        }
        assert!(!fresh.is_clear());
    }
}
