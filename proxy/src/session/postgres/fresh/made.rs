//! What the open transaction of a session has made or led elsewhere, which no catalog shows yet.
//!
//! Names: statements are compared by what they name and by what the catalog says is reached from there. All of it is forgotten
//! when the transaction ends.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::Arc;

use linegate_identity::Effects;
use linegate_policy::{Name, Statement};

use crate::changing;
use crate::outstanding::Tables;
use crate::shared::CatalogView;

/// Relations of an open transaction that are remembered.
const MADE_MAX: usize = 256;
/// Names that mean other code; with more, any may.
const CODE_MAX: usize = 4096;
const OF_READS: Effects = Effects::SELECT.with(Effects::COPY_OUT);
/// What changes rows, and so whatever that leads to.
pub const OF_ROWS: Effects = Effects::INSERT
    .with(Effects::UPDATE)
    .with(Effects::DELETE)
    .with(Effects::TRUNCATE)
    .with(Effects::COPY_IN);
/// Names that mean other code to a session than the catalog says.
pub struct Code {
    /// As `linegate_sql::read_beside` takes them.
    pub names: BTreeSet<String>,
    /// Tells sets apart.
    pub mark: u64,
}

/// What a session made that nobody else can see yet.
#[derive(Default)]
pub struct Fresh {
    /// Statements of the open transaction changed names or shapes: of some tables, or anything.
    pub(super) changed: RefCell<Option<Option<Tables>>>,
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
    /// Children and partitions with the parents that they came to have.
    parents: RefCell<BTreeSet<(String, String)>>,
    /// Tables with those that their new keys refer to.
    keyed: RefCell<BTreeSet<(String, String)>>,
    /// Partitions that came to have their parents' triggers.
    cloned: RefCell<BTreeSet<String>>,
    /// Tables that it made, by the names that it made them by.
    own: RefCell<BTreeSet<Name>>,
    /// The same of relations whose rows may be others'.
    rows: RefCell<BTreeSet<String>>,
    /// Lower-case names of functions, operators, types and relations whose use may run other code than the catalog shows.
    code: RefCell<Option<Arc<Code>>>,
}

impl Fresh {
    /// A statement goes to the server. `makes_clear`: it makes relations that can hold nothing labelled, and changes no
    /// other names.
    /// `kin`: other relations through which those that it writes are reached. `reacts`: whether using a relation calls functions,
    /// as the catalog has it.
    pub fn forwarded(
        &self,
        statement: &Statement,
        makes_clear: bool,
        kin: impl FnOnce() -> Vec<Name>,
        reacts: impl Fn(&Name) -> bool,
    ) {
        if statement
            .effects
            .intersects(Effects::TRANSACTION.with(Effects::UNREADABLE))
        {
            self.is_turning.set(true);
        }
        // By another path, or after ROLLBACK TO, a name may mean another table.
        let moves_names = |setting: &String| setting.starts_with("search_path") || setting == "*";
        if self.is_turning.get() || statement.settings.iter().any(moves_names) {
            self.own.borrow_mut().clear();
        }
        if !statement.changes_catalog && !statement.effects.contains(Effects::UNREADABLE) {
            return;
        }
        let is_unread = statement.effects.contains(Effects::UNREADABLE);
        let any = || is_unread.then(|| "*".to_owned());
        let leads = &statement.leads;
        let with_any = |names: &[Name]| -> Vec<String> {
            let names = names.iter().map(|name| name.name.clone());
            names.chain(any()).collect()
        };
        self.redirects.borrow_mut().extend(with_any(&leads.changes));
        self.rows.borrow_mut().extend(with_any(&leads.rows));
        self.adopt(statement);
        self.recode(statement, with_any(&leads.code), kin, reacts);
        let mut made = self.made.borrow_mut();
        if makes_clear && made.len() + statement.writes.len() <= MADE_MAX {
            made.extend(statement.writes.iter().cloned());
        } else {
            self.is_doubtful.set(true);
        }
    }

    /// ReadyForQuery. `is_last`: nothing else is on its way to the server.
    pub(super) fn ready(&self, is_idle: bool, is_last: bool) {
        if is_last {
            self.is_turning.set(false);
        }
        if is_idle {
            self.made.borrow_mut().clear();
            self.is_doubtful.set(!is_last);
            if is_last {
                self.redirects.borrow_mut().clear();
                self.referred.borrow_mut().clear();
                self.rows.borrow_mut().clear();
                self.parents.borrow_mut().clear();
                self.keyed.borrow_mut().clear();
                self.cloned.borrow_mut().clear();
                self.own.borrow_mut().clear();
                self.code.take();
            }
        }
    }

    /// Whether a relation that nobody else can see is known to hold nothing labelled.
    pub(super) fn is_clear(&self) -> bool {
        !self.made.borrow().is_empty() && !self.is_doubtful.get() && !self.is_turning.get()
    }

    /// Notes foreign keys and children. What is found on a child by then is met through its parents.
    fn adopt(&self, statement: &Statement) {
        let leads = &statement.leads;
        let (mut redirects, mut referred) = (self.redirects.borrow_mut(), self.referred.borrow_mut());
        let (mut parents, mut own) = (self.parents.borrow_mut(), self.own.borrow_mut());
        referred.extend(referred_before(statement, &own));
        let renames = !leads.rows.is_empty() && leads.parents.is_empty();
        if renames || statement.effects.contains(Effects::DROP) {
            for name in statement.writes.iter().chain(&leads.rows) {
                own.retain(|made| made.name != name.name);
            }
        }
        own.extend(leads.made.iter().cloned());
        self.cloned
            .borrow_mut()
            .extend(leads.cloned.iter().map(|name| name.name.clone()));
        for (child, parent) in &leads.parents {
            parents.insert((child.name.clone(), parent.name.clone()));
            if !own.contains(child) {
                redirects.insert(parent.name.clone()); // it brings along what it has
            }
        }
        // What a key's table does when its rows go, it does when those go that they refer to.
        let (mut keyed, cloned) = (self.keyed.borrow_mut(), self.cloned.borrow());
        for referred in &leads.referred {
            let tables = statement.writes.iter();
            keyed.extend(tables.map(|name| (name.name.clone(), referred.name.clone())));
        }
        loop {
            let mut grown = false;
            for (child, parent) in parents.iter() {
                grown |= redirects.contains(child) && redirects.insert(parent.clone());
                grown |= referred.contains(child) && referred.insert(parent.clone());
            }
            for (table, target) in keyed.iter() {
                let acts = redirects.contains(table) || cloned.contains(table);
                grown |= acts && redirects.insert(target.clone());
            }
            if !grown {
                return;
            }
        }
    }

    /// Notes what runs other code from now on: what was made or replaced, and what keeps calls of it.
    fn recode(
        &self,
        statement: &Statement,
        mut names: Vec<String>,
        kin: impl FnOnce() -> Vec<Name>,
        reacts: impl Fn(&Name) -> bool,
    ) {
        let phrases = [linegate_sql::FUNCTION, linegate_sql::OPEN_CODE];
        let calls = statement.opaque.iter().any(|phrase| phrases.contains(phrase));
        if calls && statement.leads.keeps_calls {
            names.extend(statement.writes.iter().map(|name| name.name.clone()));
            names.extend(kin().into_iter().map(|name| name.name));
        }
        // A table made like another one, or below it, has its defaults and checks, which its changes run.
        let parents = statement.leads.parents.iter().map(|(_, parent)| parent);
        let mut like = statement.reads.iter().chain(&statement.writes).chain(parents);
        let makes_table = statement.effects.contains(Effects::CREATE) && statement.leads.changes.is_empty();
        if makes_table && like.any(reacts) {
            names.extend(statement.writes.iter().map(|name| format!("+{}", name.name)));
        }
        if names.is_empty() {
            return;
        }
        let pairs = (self.parents.borrow(), self.keyed.borrow());
        for (child, parent) in pairs.0.iter().chain(pairs.1.iter()) {
            if names.contains(child) {
                names.push(parent.clone());
            }
        }
        let mut code = self.code.borrow_mut();
        let mut all = code.as_ref().map(|code| code.names.clone()).unwrap_or_default();
        all.extend(names.into_iter().map(|name| name.to_lowercase()));
        if all.len() > CODE_MAX {
            all = BTreeSet::from(["*".to_owned()]);
        }
        let mut hash = blake3::Hasher::new();
        for name in &all {
            hash.update(name.as_bytes());
            hash.update(&[0]);
        }
        let mut mark = [0; 8];
        mark.copy_from_slice(&hash.finalize().as_bytes()[..8]);
        let mark = u64::from_le_bytes(mark);
        *code = Some(Arc::new(Code { names: all, mark }));
    }

    /// Names that mean other code than the catalog says, if there are any.
    pub fn code(&self) -> Option<Arc<Code>> {
        self.code.borrow().clone()
    }

    /// Whether a statement shows, drops or locks what may be another relation's than the catalog says: the open transaction, or
    /// the text itself, has led names elsewhere. `judged`: effects that policies judge by relations.
    pub fn hides_rows(
        &self,
        statement: &Statement,
        judged: Effects,
        catalog: impl FnOnce() -> Option<Arc<CatalogView>>,
    ) -> bool {
        let effects = statement.effects.and(judged);
        let of = |effects: bool, names: &'_ [Name]| -> Vec<Name> {
            names.iter().filter(|_| effects).cloned().collect()
        };
        // These go from parents to children, and through views.
        let below = effects.intersects(Effects::DROP.with(Effects::LOCK));
        let mut named = of(below || effects.intersects(OF_READS), &statement.reads);
        named.extend(of(below, &statement.writes));
        let own = statement.leads.rows.iter().filter(|_| statement.count > 1);
        let mut leads: BTreeSet<String> = own.map(|name| name.name.clone()).collect();
        leads.extend(self.rows.borrow().iter().cloned());
        if leads.is_empty() || named.is_empty() {
            return false;
        }
        let kin = catalog().map(|view| changing::reached(named.iter(), &view.labels));
        named.extend(kin.into_iter().flatten());
        leads.contains("*") || named.iter().any(|name| leads.contains(&name.name))
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
        let mut leads: BTreeSet<String> = own(&statement.leads.changes).into_iter().collect();
        leads.extend(own(&statement.leads.cloned));
        if statement.count > 1 {
            let parents = statement.leads.parents.iter();
            leads.extend(parents.map(|(_, parent)| parent.name.clone()));
        }
        leads.extend(self.redirects.borrow().iter().cloned());
        leads.extend(self.cloned.borrow().iter().cloned());
        // Rows that are new are referred to by none.
        let cascades = OF_ROWS.without(Effects::INSERT.with(Effects::COPY_IN));
        if statement.effects.intersects(cascades) {
            let own = BTreeSet::new();
            leads.extend(referred_before(statement, &own).filter(|_| statement.count > 1));
            leads.extend(self.referred.borrow().iter().cloned());
        }
        if leads.is_empty() {
            return false;
        }
        let kin = catalog().map(|view| changing::reached(statement.writes.iter(), &view.labels));
        let mut written = statement.writes.iter().chain(kin.iter().flatten());
        leads.contains("*") || written.any(|name| leads.contains(&name.name))
    }

    pub(super) fn has_made(&self, name: &Name) -> bool {
        let same = |made: &Name| {
            made.name == name.name
                && (name.schema.is_none() || made.schema.is_none() || made.schema == name.schema)
        };
        self.made.borrow().iter().any(same)
    }
}

/// What comes to be referred to by tables that may have rows. A table that the transaction made has none but those the session
/// puts there.
fn referred_before<'s>(
    statement: &'s Statement,
    own: &BTreeSet<Name>,
) -> impl Iterator<Item = String> + use<'s> {
    let is_own = |name: &Name| own.contains(name);
    let is_all_own = !statement.writes.is_empty() && statement.writes.iter().all(is_own);
    let alters = statement.effects.contains(Effects::ALTER) && !is_all_own;
    let names = statement.leads.referred.iter().filter(move |_| alters);
    names.map(|name| name.name.clone())
}

#[cfg(test)]
mod tests {
    use linegate_policy::Leads;

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
        fresh.forwarded(&begin(), false, Vec::new, |_| false);
        fresh.forwarded(&makes("a", Effects::CREATE), true, Vec::new, |_| false);
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
        fresh.forwarded(&view, false, Vec::new, |_| false);
        assert!(!fresh.hides(&insert, || None));
        view.leads.changes = vec![bare("v")];
        fresh.forwarded(&view, false, Vec::new, |_| false);
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
            leads: Leads {
                changes: vec![bare("v")],
                ..Leads::default()
            },
            ..Statement::empty()
        };
        assert!(fresh.hides(&both, || None), "one text makes the view and uses it");
        let key = Statement {
            leads: Leads {
                referred: vec![bare("v")],
                ..Leads::default()
            },
            ..makes("w", Effects::ALTER)
        };
        fresh.forwarded(&key, false, Vec::new, |_| false);
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
        fresh.forwarded(&makes("a", Effects::CREATE), true, Vec::new, |_| false);
        fresh.forwarded(&makes("a", Effects::ALTER), false, Vec::new, |_| false);
        assert!(!fresh.is_clear());
        fresh.ready(true, true);
        fresh.forwarded(&makes("b", Effects::CREATE), true, Vec::new, |_| false);
        assert!(fresh.is_clear());
        fresh.forwarded(&Statement::unreadable(), false, Vec::new, |_| false);
        assert!(!fresh.is_clear());
        let fresh = Fresh::default();
        fresh.forwarded(&makes("a", Effects::ALTER), false, Vec::new, |_| false);
        fresh.ready(true, false);
        fresh.forwarded(&makes("b", Effects::CREATE), true, Vec::new, |_| false);
        assert!(
            !fresh.is_clear(),
            "what is still on its way counts for the next transaction"
        );
        for number in 0..=MADE_MAX {
            fresh.forwarded(
                &makes(&number.to_string(), Effects::CREATE),
                true,
                Vec::new,
                |_| false,
            );
        }
        assert!(!fresh.is_clear());
    }

    #[test]
    fn what_the_open_transaction_made_runs_by_name_and_in_what_calls_it() {
        let fresh = Fresh::default();
        let mut function = makes("F", Effects::CREATE);
        function.leads.code = vec![bare("F")];
        fresh.forwarded(&function, false, Vec::new, |_| false);
        let first = fresh.code().expect("a name");
        assert!(first.names.contains("f") && first.names.len() == 1);
        let mut view = makes("v", Effects::CREATE);
        view.leads.keeps_calls = true;
        fresh.forwarded(&view, false, || vec![bare("other")], |_| false);
        assert_eq!(
            fresh.code().expect("a name").mark,
            first.mark,
            "it calls nothing new"
        );
        view.opaque = vec![linegate_sql::OPEN_CODE];
        fresh.forwarded(&view, false, || vec![bare("w")], |_| false);
        let second = fresh.code().expect("names");
        assert!(["f", "v", "w"].iter().all(|name| second.names.contains(*name)));
        assert_ne!(second.mark, first.mark);
        for number in 0..CODE_MAX {
            function.leads.code = vec![bare(&number.to_string())];
            fresh.forwarded(&function, false, Vec::new, |_| false);
        }
        assert!(fresh.code().expect("any").names.contains("*"));
        fresh.ready(true, true);
        assert!(fresh.code().is_none(), "the catalog shows it");
    }

    #[test]
    fn rows_that_were_led_elsewhere_are_not_read_by_their_name() {
        let fresh = Fresh::default();
        let select = Statement {
            effects: Effects::SELECT,
            reads: vec![bare("p")],
            count: 1,
            ..Statement::empty()
        };
        let mut inherits = makes("c", Effects::ALTER);
        inherits.leads.rows = vec![bare("p")];
        assert!(!fresh.hides_rows(&select, Effects::all(), || None));
        fresh.forwarded(&inherits, false, Vec::new, |_| false);
        assert!(fresh.hides_rows(&select, Effects::all(), || None));
        assert!(
            !fresh.hides_rows(&select, Effects::INSERT, || None),
            "nobody asks"
        );
        let drops = makes("p", Effects::DROP);
        assert!(
            fresh.hides_rows(&drops, Effects::DROP, || None),
            "children go with it"
        );
        assert!(!fresh.hides_rows(&makes("p", Effects::ALTER), Effects::all(), || None));
        let elsewhere = Statement {
            reads: vec![bare("q")],
            ..select.clone()
        };
        assert!(!fresh.hides_rows(&elsewhere, Effects::all(), || None));
        fresh.ready(true, true);
        assert!(!fresh.hides_rows(&select, Effects::all(), || None));
        let both = Statement {
            count: 2,
            leads: inherits.leads,
            ..select
        };
        assert!(fresh.hides_rows(&both, Effects::all(), || None), "one text");
    }

    #[test]
    fn what_a_child_brings_along_is_met_through_its_parent() {
        let changes = |name: &str| Statement {
            effects: Effects::DELETE,
            ..makes(name, Effects::DELETE)
        };
        let part = Statement {
            leads: Leads {
                parents: vec![(bare("part"), bare("whole"))],
                cloned: vec![bare("part")],
                made: vec![bare("part")],
                ..Leads::default()
            },
            ..makes("part", Effects::CREATE)
        };
        let fresh = Fresh::default();
        fresh.forwarded(&part, false, Vec::new, |_| false);
        assert!(
            !fresh.hides(&changes("whole"), || None),
            "a partition for the month"
        );
        assert!(
            fresh.hides(&changes("part"), || None),
            "it has its parent's triggers"
        );
        let mut trigger = makes("part", Effects::CREATE);
        trigger.leads.changes = vec![bare("part")];
        fresh.forwarded(&trigger, false, Vec::new, |_| false);
        assert!(
            fresh.hides(&changes("whole"), || None),
            "and the parent has the part's"
        );
        let attached = Statement {
            leads: Leads {
                made: Vec::new(),
                ..part.leads.clone()
            },
            ..makes("whole", Effects::ALTER)
        };
        let fresh = Fresh::default();
        fresh.forwarded(&attached, false, Vec::new, |_| false);
        assert!(fresh.hides(&changes("whole"), || None), "it was there before");
    }

    #[test]
    fn keys_between_tables_of_the_open_transaction_take_along_its_own_rows_only() {
        let made = |name: &str| {
            let mut statement = makes(name, Effects::CREATE);
            statement.leads.made = vec![bare(name)];
            statement
        };
        let key = Statement {
            leads: Leads {
                referred: vec![bare("a")],
                ..Leads::default()
            },
            ..makes("b", Effects::ALTER)
        };
        let update = Statement {
            effects: Effects::UPDATE,
            ..makes("a", Effects::UPDATE)
        };
        for between in [
            None,
            Some(begin()),
            Some(Statement {
                settings: vec!["search_path=other".to_owned()],
                ..Statement::empty()
            }),
            Some(makes("b", Effects::DROP)),
        ] {
            let fresh = Fresh::default();
            fresh.forwarded(&made("a"), false, Vec::new, |_| false);
            fresh.forwarded(&made("b"), false, Vec::new, |_| false);
            if let Some(between) = &between {
                fresh.forwarded(between, false, Vec::new, |_| false);
            }
            fresh.forwarded(&key, false, Vec::new, |_| false);
            assert_eq!(fresh.hides(&update, || None), between.is_some(), "{between:?}");
        }
    }

    #[test]
    fn what_a_new_table_calls_is_met_by_its_name_and_through_its_keys() {
        let like = Statement {
            leads: Leads {
                made: vec![bare("copy")],
                keeps_calls: true,
                ..Leads::default()
            },
            reads: vec![bare("model")],
            ..makes("copy", Effects::CREATE)
        };
        let fresh = Fresh::default();
        fresh.forwarded(&like, false, Vec::new, |_| false);
        assert!(fresh.code().is_none());
        fresh.forwarded(&like, false, Vec::new, |name| name.name == "model");
        assert!(fresh.code().is_some_and(|code| code.names.contains("+copy")));
        let keyed = Statement {
            leads: Leads {
                made: vec![bare("k")],
                referred: vec![bare("w")],
                ..Leads::default()
            },
            ..makes("k", Effects::CREATE)
        };
        let mut trigger = makes("k", Effects::CREATE);
        trigger.leads.changes = vec![bare("k")];
        let delete = Statement {
            effects: Effects::DELETE,
            ..makes("w", Effects::DELETE)
        };
        let fresh = Fresh::default();
        fresh.forwarded(&keyed, false, Vec::new, |_| false);
        assert!(!fresh.hides(&delete, || None));
        fresh.forwarded(&trigger, false, Vec::new, |_| false);
        assert!(
            fresh.hides(&delete, || None),
            "its rows go along, and the trigger fires"
        );
    }
}
