//! Deciding again, where the catalog that a decision was made with may be older than what the statement met.
//!
//! Before a statement is sent: it names a relation that the catalog does not hold. After the server has described its result:
//! a column belongs to an unknown relation, the statement names one, or it goes through views or functions, which somebody may
//! have replaced under the same name and number since. By then the server holds its locks, so a look at the catalog that begins
//! now sees what the statement sees. Only this session waits.
//!
//! What such a look does not show was made by the session's own open transaction: see [`Fresh`].

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use codecs::postgres::backend::{CopyResponse, RowDescription, TransactionStatus};
use linegate_identity::Effects;
use linegate_policy::{Name, PlanRefusal, Statement, Verdict, keeps_clear_relations, makes_clear_relations};

mod made;
mod reach;

pub use made::{Clarity, Code, Fresh, OF_ROWS, OF_SHAPES};

use super::asked::Asked;
use super::deciding::Types;
use super::results::{Kept, Plan, Unseen};
use super::{CATALOG_WAIT, Decided, Session};
use crate::changing;
use crate::outstanding::{self, Tables};
use crate::shared::CatalogView;

const CHECK_POLL: Duration = Duration::from_millis(1);

/// Parts of the catalogs' version, by their first letter (`linegate_sql::catalog`): pg_inherits, pg_namespace, pg_proc,
/// pg_rewrite, pg_policy.
const UNLOCKED: [char; 5] = ['h', 'n', 'p', 'w', 'y'];
/// How often a COPY is decided anew when what it goes by changes meanwhile.
const COPY_TRIES: u32 = 8;

impl Session {
    /// Decides a statement; again with a new catalog where it names what the catalog does not hold and this session did not
    /// just make.
    pub async fn decide_known(&self, text: &[u8], may_read: bool, types: Types) -> Decided {
        let decided = self.decide(text, may_read, types).await;
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
        self.decide(text, may_read, types).await
    }

    /// A statement goes to the server: what it makes is seen by this session alone until the transaction ends.
    /// `is_certain`: it runs, and is not only one of those that a name may stand for.
    pub fn note_made(&self, statement: &Statement, is_certain: bool) {
        let view = self.catalog.latest();
        let view = view.filter(|_| statement.changes_catalog && is_certain);
        let clarity = view.map_or(Clarity::Lost, |view| {
            let masks = &self.standing.borrow().masks;
            if makes_clear_relations(statement, &view.labels, masks) {
                Clarity::Made
            } else if keeps_clear_relations(statement, &view.labels) {
                Clarity::Kept
            } else {
                Clarity::Lost
            }
        });
        let kin = || {
            let view = self.catalog.latest();
            let kin = view.map(|view| changing::family(statement.writes.iter(), &view.labels));
            kin.unwrap_or_default()
        };
        let latest = self.catalog.latest();
        let reacts = |name: &Name| {
            let known = latest.iter().flat_map(|view| view.labels.known(name));
            known
                .map(|known| known.reactions)
                .any(|does| does.triggers || does.calls)
        };
        let locks = |name: &Name| latest.as_ref().is_some_and(|view| view.labels.locks_rows(name));
        let changing = &self.catalog.changing;
        self.fresh.keep_own(changing.sent(), |mark| {
            changing.are_names_moved_by_others(self.id, mark)
        });
        let status = self.pipeline.borrow().status();
        let in_block = is_certain && status == TransactionStatus::InTransaction;
        self.fresh
            .forwarded(statement, (clarity, in_block), kin, (reacts, locks));
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

    /// What the server's catalogs said of what a statement does besides what it says, when they were last looked at: all of them
    /// where it runs code, which may use anything, and views, functions and row policies where it is `meant` to read views.
    pub fn behind(&self, statement: &Statement, meant: &BTreeSet<u32>) -> Option<String> {
        let view = self.catalog.latest()?;
        if !statement.opaque.is_empty() || statement.fires_triggers() {
            return view.version.clone();
        }
        let is_view = |oid: &u32| {
            let known = view.labels.known_by_oid(*oid);
            known.is_some_and(|known| matches!(known.kind, b'v' | b'm'))
        };
        meant
            .iter()
            .any(is_view)
            .then(|| self.unlocked_version())
            .flatten()
    }

    /// Looks at the server's catalogs anew, where verdicts rely on them.
    pub async fn look_again(&self) {
        if self.relies_on_catalog() && !self.confirm_catalog().await {
            self.catalog.mark_stale();
            self.wish_catalog();
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
    let newer = session
        .asked(asked.text.clone(), asked.is_read, asked.types)
        .await;
    let stands = match (&newer.decision.verdict, &asked.decision.verdict) {
        (Verdict::Allow, _) | (Verdict::Hold(_), Verdict::Hold(_)) => true,
        (Verdict::Deny(_) | Verdict::Hold(_), _) => false,
    };
    stands.then(|| asked.like(&newer))
}
