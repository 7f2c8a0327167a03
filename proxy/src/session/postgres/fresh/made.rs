//! What the open transaction of a session has made or led elsewhere, which no catalog shows yet.
//!
//! Names: statements are compared by what they name and by what the catalog says is reached from there. All of it is forgotten
//! when the transaction ends.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::Arc;

use linegate_identity::Effects;
use linegate_policy::{LabelIndex, Name, Statement};
use linegate_sql::Recoded;

use super::reach::{ANY, Names, Ways};
use crate::changing;
use crate::outstanding::Tables;
use crate::rarely::Rarely;
use crate::session::postgres::lexing::may_mean_more;
use crate::shared::CatalogView;

/// Relations of an open transaction that are remembered.
const MADE_MAX: usize = 256;
/// Tables of it that are known to be its own; others are held to be anybody's.
const OWN_MAX: usize = 16_384;
/// Names that mean other code; with more, any may.
const CODE_MAX: usize = 4096;
/// What drops something, or gives it another shape.
pub const OF_SHAPES: Effects = Effects::DROP.with(Effects::ALTER);
const OF_READS: Effects = Effects::SELECT.with(Effects::COPY_OUT);
/// What changes rows, and so whatever that leads to.
pub const OF_ROWS: Effects = Effects::INSERT
    .with(Effects::UPDATE)
    .with(Effects::DELETE)
    .with(Effects::TRUNCATE)
    .with(Effects::COPY_IN);
/// What may put something between others.
const DEFINES: Effects = Effects::CREATE.with(Effects::ALTER);
/// Of these, what takes rows along that refer to the changed ones. Rows that are new are referred to by none.
const CASCADES: Effects = OF_ROWS.without(Effects::INSERT.with(Effects::COPY_IN));

/// Names that mean other code to a session than the catalog says.
#[derive(Clone, Default)]
pub struct Code {
    pub names: Recoded,
    /// Tells sets apart.
    pub mark: u64,
}

impl Code {
    /// Whatever is used may run something else.
    pub fn any() -> Self {
        let mut names = Recoded::default();
        names.used.insert(ANY.to_owned());
        Self { names, mark: 0 }
    }
}

/// What a definition means for what an open transaction's own relations can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clarity {
    /// It makes relations that can hold nothing labelled, and changes no other names.
    Made,
    /// It moves no names or rows, and has nothing to do with labels.
    Kept,
    /// Anything else.
    Lost,
}

/// What a session made that nobody else can see yet.
#[derive(Default)]
pub struct Fresh {
    /// Statements of the open transaction changed names or shapes: of some tables, or anything.
    pub(super) changed: RefCell<Option<Option<Tables>>>,
    /// Relations that the open transaction made, and that can hold nothing labelled.
    made: RefCell<Rarely<Vec<Name>>>,
    /// It may have made others, or moved names about.
    is_doubtful: Cell<bool>,
    /// A statement that begins or ends a transaction is on its way.
    is_turning: Cell<bool>,
    led: RefCell<Rarely<Led>>,
    /// How many changes of shapes had been sent when the first table was taken for its own.
    own_since: Cell<u64>,
}

/// Where the open transaction has led names.
#[derive(Default)]
struct Led {
    /// Relations whose changes reach others.
    changes: Names,
    /// Relations that new foreign keys refer to.
    referred: Names,
    /// Relations whose rows may be others'.
    rows: Names,
    /// Relations that new views show, and that take these along when they are dropped.
    shown: Names,
    /// Children and partitions with the parents that they came to have.
    parents: Ways,
    /// Tables with those that their new keys refer to.
    keyed: Ways,
    /// Partitions that came to have their parents' triggers.
    cloned: Names,
    /// Tables that it made, by the names and schemas that it made them by.
    own: BTreeSet<Name>,
    /// Views whose rows are locked when they are read.
    locking: Names,
    /// Whatever it has made, replaced, renamed or moved, by all names that these have had.
    defined: Names,
    /// It has made something depend on other things that was there before.
    has_rebuilt: bool,
    /// Names whose use runs other code than the catalog shows.
    used: Names,
    /// Relations with which only changes do.
    recoded: Names,
    /// These two, as statements are read with them.
    code: Option<Arc<Code>>,
}

/// As long as nothing was led anywhere.
static NOWHERE: Led = Led {
    changes: Names::new(),
    referred: Names::new(),
    rows: Names::new(),
    shown: Names::new(),
    parents: Ways::new(),
    keyed: Ways::new(),
    cloned: Names::new(),
    own: BTreeSet::new(),
    locking: Names::new(),
    defined: Names::new(),
    has_rebuilt: false,
    used: Names::new(),
    recoded: Names::new(),
    code: None,
};

impl Fresh {
    /// A statement goes to the server. `in_block`: within a transaction block that the server has said is open. `kin`: other
    /// relations through which those that it writes are reached. `reacts`, `locks`: whether using a relation calls functions, and
    /// whether reading it locks rows, as the catalog has it.
    pub fn forwarded(
        &self,
        statement: &Statement,
        (clarity, in_block): (Clarity, bool),
        kin: impl FnOnce() -> Vec<Name>,
        (reacts, locks): (impl Fn(&Name) -> bool, impl Fn(&Name) -> bool),
    ) {
        if statement
            .effects
            .intersects(Effects::TRANSACTION.with(Effects::UNREADABLE))
        {
            self.is_turning.set(true);
        }
        // By another path, as another role (`"$user"`), or after ROLLBACK TO, a name may mean another table.
        if self.is_turning.get() || statement.settings.iter().any(|setting| may_mean_more(setting)) {
            self.led.borrow_mut().disown();
        }
        let is_unread = statement.effects.contains(Effects::UNREADABLE);
        if !statement.changes_catalog && !is_unread {
            return;
        }
        let mut led = self.led.borrow_mut();
        let led = led.made();
        led.has_rebuilt |= rebuilds(statement);
        if is_unread {
            led.lead_anywhere();
        }
        // Outside of such a block, what fails takes away what was sent before it, and nobody says so in time.
        led.take(statement, in_block && !self.is_turning.get());
        led.lock(statement, locks);
        led.recode(statement, kin, reacts);
        let mut made = self.made.borrow_mut();
        let count = made.get().map_or(0, Vec::len);
        match clarity {
            Clarity::Made if count + statement.writes.len() <= MADE_MAX => {
                made.made().extend(statement.writes.iter().cloned());
            }
            Clarity::Kept => {}
            Clarity::Made | Clarity::Lost => self.is_doubtful.set(true),
        }
    }

    /// Tables are the transaction's own as long as no other session takes names away: those that are left may be others'.
    /// `now`: changes sent so far.
    pub fn keep_own(&self, now: u64, are_moved_since: impl FnOnce(u64) -> bool) {
        let mut led = self.led.borrow_mut();
        let has_own = led.get().is_some_and(|led| !led.own.is_empty());
        if !has_own {
            self.own_since.set(now);
        } else if are_moved_since(self.own_since.get()) {
            led.disown();
            self.own_since.set(now);
        }
    }

    /// What was taken for sent is not: a table that it makes is not there.
    pub fn was_not_sent(&self) {
        self.led.borrow_mut().disown();
    }

    /// ReadyForQuery. `is_last`: nothing else is on its way to the server.
    pub(super) fn ready(&self, is_idle: bool, is_last: bool) {
        if is_last {
            self.is_turning.set(false);
        }
        if is_idle {
            *self.made.borrow_mut() = Rarely::default();
            self.is_doubtful.set(!is_last);
            if is_last {
                *self.led.borrow_mut() = Rarely::default();
            }
        }
    }

    /// Whether a relation that nobody else can see is known to hold nothing labelled.
    pub(super) fn is_clear(&self) -> bool {
        self.made.borrow().get().is_some_and(|made| !made.is_empty())
            && !self.is_doubtful.get()
            && !self.is_turning.get()
    }

    /// Whether the open transaction may have made a relation of one of these names, wherever.
    pub fn may_have_made<'n>(&self, mut names: impl Iterator<Item = &'n Name>) -> bool {
        let made = self.made.borrow();
        let made = made.get().map_or(&[][..], Vec::as_slice);
        self.is_doubtful.get() || names.any(|name| made.iter().any(|made| made.name == name.name))
    }

    /// Names that mean other code than the catalog says, if there are any.
    pub fn code(&self) -> Option<Arc<Code>> {
        self.led.borrow().get()?.code.clone()
    }

    /// Whether a statement shows, drops or locks what may be another relation's than the catalog says: the open transaction, or
    /// the text itself, has led names elsewhere. `judged`: effects that policies judge by relations.
    pub fn hides_rows(
        &self,
        statement: &Statement,
        judged: Effects,
        catalog: impl Fn() -> Option<Arc<CatalogView>>,
    ) -> bool {
        let led = self.led.borrow();
        let led = led.get().unwrap_or(&NOWHERE);
        let effects = statement.effects.and(judged);
        if judged.contains(Effects::LOCK) && led.may_lock_rows(statement, &catalog) {
            return true;
        }
        let locks = effects.contains(Effects::LOCK);
        // Whatever goes along when something is dropped or takes another shape.
        let of_shapes = judged.intersects(OF_SHAPES);
        let reshapes = of_shapes && statement.leads.reshapes;
        if judged.intersects(OF_SHAPES.with(OF_ROWS)) && statement.leads.takes_unseen {
            return true; // nobody knows what goes along, and RESTRICT cannot be said in its place
        }
        let drops = effects.contains(Effects::DROP) || reshapes;
        // CASCADE goes through whatever the transaction, or the text itself, has put between.
        let rebuilt = led.has_rebuilt || statement.count > 1 && rebuilds(statement);
        if reshapes && rebuilt {
            return true;
        }
        let own = beside(statement, &statement.leads.rows);
        let parents = match statement.count > 1 {
            true => &statement.leads.parents[..],
            false => &[],
        };
        let own_children = parents.iter().map(|(child, _)| child);
        let recasts = of_shapes && statement.leads.recasts;
        if recasts && led.has_rows_elsewhere(own.iter().chain(own_children), &catalog) {
            return true;
        }
        let own_changes = if locks {
            beside(statement, &statement.leads.changes)
        } else {
            &[]
        };
        let is_led_there =
            !led.rows.is_empty() || locks && !led.changes.is_empty() || drops && !led.shown.is_empty();
        if !is_led_there && own.is_empty() && own_changes.is_empty() {
            return false;
        }
        // These go from parents to children, and through views.
        let below = locks || drops;
        let reads = if below || effects.intersects(OF_READS) {
            &statement.reads[..]
        } else {
            &[]
        };
        let writes = if below { &statement.writes[..] } else { &[] };
        if reads.is_empty() && writes.is_empty() {
            return false;
        }
        let own = own.iter().chain(own_changes);
        let own: BTreeSet<&str> = own.map(|name| name.name.as_str()).collect();
        let is_led = |name: &Name| {
            let name = name.name.as_str();
            let is_locked = locks && led.changes.contains(name);
            let is_shown = drops && led.shown.contains(name);
            let is_own = own.contains(name) || own.contains(ANY);
            led.rows.contains(name) || is_locked || is_shown || is_own
        };
        let named = || reads.iter().chain(writes);
        let kin = || catalog().map(|view| changing::reached(named(), &view.labels));
        named().any(is_led) || kin().into_iter().flatten().any(|name| is_led(&name))
    }

    /// Whether a statement changes rows, and what else that changes is not in the catalog: the open transaction, or the text
    /// itself, has led changes elsewhere. The catalog tells where else its rows may be.
    pub fn hides(&self, statement: &Statement, catalog: impl FnOnce() -> Option<Arc<CatalogView>>) -> bool {
        if !statement.effects.intersects(OF_ROWS) {
            return false;
        }
        let led = self.led.borrow();
        let led = led.get().unwrap_or(&NOWHERE);
        let cascades = statement.effects.intersects(CASCADES);
        let leads = &statement.leads;
        let parents = if statement.count > 1 {
            &leads.parents[..]
        } else {
            &[]
        };
        let own = beside(statement, &leads.changes)
            .iter()
            .chain(beside(statement, &leads.cloned))
            .chain(parents.iter().map(|(_, parent)| parent));
        let mut own: BTreeSet<&str> = own.map(|name| name.name.as_str()).collect();
        if cascades && statement.count > 1 {
            own.extend(referred_before(statement, &BTreeSet::new()));
        }
        let is_led_there = !led.changes.is_empty() || !led.cloned.is_empty() || !led.referred.is_empty();
        if own.is_empty() && !is_led_there {
            return false;
        }
        if led.changes.is_any() || own.contains(ANY) || cascades && led.referred.is_any() {
            return true;
        }
        let is_led = |name: &Name| {
            let name = name.name.as_str();
            let is_referred = cascades && led.referred.contains(name);
            led.changes.contains(name) || led.cloned.contains(name) || is_referred || own.contains(name)
        };
        let kin = || catalog().map(|view| changing::reached(statement.writes.iter(), &view.labels));
        statement.writes.iter().any(is_led) || kin().into_iter().flatten().any(|name| is_led(&name))
    }

    pub(super) fn has_made(&self, name: &Name) -> bool {
        let same = |made: &Name| {
            made.name == name.name
                && (name.schema.is_none() || made.schema.is_none() || made.schema == name.schema)
        };
        self.made.borrow().get().is_some_and(|made| made.iter().any(same))
    }
}

/// Whether something of a table's rows, or its children's, is elsewhere: in columns, types and statistics.
fn is_held_elsewhere(oid: u32, labels: &LabelIndex) -> bool {
    let mut family = labels.children_of(oid);
    family.insert(oid);
    family.into_iter().any(|oid| {
        !labels.holding_rows_of(oid).is_empty()
            || !labels.types_of_rows(oid).is_empty()
            || !labels.statistics_elsewhere(oid).is_empty()
    })
}

impl Rarely<Led> {
    /// No table is known to be the transaction's own any more.
    fn disown(&mut self) {
        if let Some(led) = self.get_mut() {
            led.own.clear();
        }
    }
}

impl Led {
    /// Notes views that come to lock rows, by themselves or by what they show, and whatever else may come to stand over these.
    fn lock(&mut self, statement: &Statement, locks: impl Fn(&Name) -> bool) {
        if !statement.effects.intersects(DEFINES) {
            return;
        }
        let written = || statement.writes.iter().chain(&statement.leads.rows);
        let names = || -> Vec<String> { written().map(|name| name.name.clone()).collect() };
        self.defined.spread(names(), &[]);
        let mut named = statement.reads.iter().chain(&statement.writes);
        let is_locking = statement.effects.contains(Effects::LOCK)
            || named.any(|name| self.locking.contains(&name.name) || locks(name));
        if is_locking {
            self.locking.spread(names(), &[]);
        }
    }

    /// Whether a statement runs the query of a view that locks rows, as the open transaction or the text itself has it by now.
    fn may_lock_rows(&self, statement: &Statement, catalog: &impl Fn() -> Option<Arc<CatalogView>>) -> bool {
        let moved = beside(statement, &statement.leads.rows);
        if self.locking.is_empty() && moved.is_empty() {
            return false;
        }
        let view = catalog();
        let is_locking = |name: &Name| {
            let shown = view.as_ref().is_none_or(|view| view.labels.locks_rows(name));
            shown || self.locking.contains(&name.name)
        };
        // By its next name, a view is not the one that the catalog holds.
        let moves_locking = !moved.is_empty() && statement.writes.iter().any(is_locking);
        let is_moved = |name: &Name| moved.iter().any(|moved| moved.name == name.name);
        let tends = statement.effects.contains(Effects::MAINTENANCE);
        let refreshed = || statement.writes.iter().filter(|_| tends);
        let names = || statement.reads.iter().chain(refreshed());
        if self.locking.is_empty() {
            return moves_locking && names().any(is_moved);
        }
        // Once one locks, whatever has a name that the transaction has given may stand over it.
        let may_lock = |name: &Name| {
            self.locking.contains(&name.name) || self.defined.contains(&name.name) || is_moved(name)
        };
        let behind = || view.as_ref().map(|view| changing::reached(names(), &view.labels));
        names().any(may_lock) || behind().into_iter().flatten().any(|name| may_lock(&name))
    }

    /// Whether rows of one that goes by another name now, or comes to in the text, stand in columns of others.
    fn has_rows_elsewhere<'n>(
        &self,
        own: impl Iterator<Item = &'n Name>,
        catalog: &impl Fn() -> Option<Arc<CatalogView>>,
    ) -> bool {
        let own = own.map(|name| name.name.clone());
        let children = self.parents.all().cloned();
        let names: BTreeSet<String> = self.rows.iter().cloned().chain(children).chain(own).collect();
        if names.is_empty() {
            return false;
        }
        let Some(view) = catalog() else { return true };
        names.into_iter().any(|name| {
            let name = Name { schema: None, name };
            let mut known = view.labels.known(&name);
            name.name == ANY || known.any(|known| is_held_elsewhere(known.oid, &view.labels))
        })
    }

    /// Whatever is named may be anything.
    fn lead_anywhere(&mut self) {
        for names in [&mut self.changes, &mut self.rows, &mut self.used] {
            names.insert(ANY);
        }
    }

    /// Notes what a definition leads elsewhere, and what foreign keys and children it makes. What is found on a child by then is
    /// met through its parents.
    fn take(&mut self, statement: &Statement, in_block: bool) {
        let leads = &statement.leads;
        // Where names go away, with or without what they are in, those that are left may mean other tables.
        let renames = !leads.rows.is_empty() && leads.parents.is_empty();
        let takes_away = renames || statement.effects.contains(Effects::DROP);
        if takes_away || !in_block {
            self.own.clear();
        }
        let bare = |names: &[Name]| -> Vec<String> { names.iter().map(|name| name.name.clone()).collect() };
        self.rows.spread(bare(&leads.rows), &[]);
        self.shown.spread(bare(&leads.owners), &[]);
        if statement.effects.contains(Effects::CREATE) && !leads.changes.is_empty() {
            self.shown.spread(bare(&statement.reads), &[]);
        }
        self.change(bare(&leads.changes));
        let referred: Vec<String> = referred_before(statement, &self.own).map(str::to_owned).collect();
        self.referred.spread(referred, &[&self.parents, &self.keyed]);
        if in_block && !takes_away && (statement.count == 1 || moves_no_names(statement)) {
            let room = OWN_MAX.saturating_sub(self.own.len());
            // Without its schema, a name may be another's as soon as somebody makes one that comes first.
            let made = leads.made.iter().filter(|name| name.schema.is_some());
            self.own.extend(made.take(room).cloned());
        }
        for name in &leads.cloned {
            if self.cloned.insert(&name.name) {
                let targets: Vec<String> = self.keyed.from(&name.name).cloned().collect();
                self.change(targets);
            }
        }
        for (child, parent) in &leads.parents {
            // `CREATE TABLE … PARTITION OF`, by itself: there was none.
            let is_new = statement.count == 1 && leads.made.contains(child);
            self.adopt(child, &parent.name, is_new || self.own.contains(child));
        }
        for target in &leads.referred {
            for table in &statement.writes {
                if !self.key(&table.name, &target.name) {
                    return;
                }
            }
        }
    }

    fn change(&mut self, names: Vec<String>) {
        self.changes.spread(names, &[&self.parents, &self.keyed]);
    }

    /// A child comes to have a parent, which is changed through it. `is_own`: the child has nothing of others'.
    fn adopt(&mut self, child: &Name, parent: &str, is_own: bool) {
        if !self.parents.add(&child.name, parent) {
            self.lead_anywhere();
            self.referred.insert(ANY);
            return;
        }
        // One that was there before brings along what it has.
        if !is_own || self.changes.contains(&child.name) {
            self.change(vec![parent.to_owned()]);
        }
        if self.referred.contains(&child.name) {
            let ways = [&self.parents, &self.keyed];
            self.referred.spread([parent.to_owned()], &ways);
        }
        let of = |holds: bool| holds.then(|| parent.to_owned()).into_iter().collect();
        let used = of(self.used.contains(&child.name));
        let changed = of(self.recoded.contains(&child.name));
        self.run(used, changed);
    }

    /// What a key's table does when its rows go, it does when those go that they refer to. False when it may be any by now.
    fn key(&mut self, table: &str, target: &str) -> bool {
        if !self.keyed.add(table, target) {
            self.lead_anywhere();
            return false;
        }
        if self.changes.contains(table) || self.cloned.contains(table) {
            self.change(vec![target.to_owned()]);
        }
        if self.referred.contains(table) {
            let ways = [&self.parents, &self.keyed];
            self.referred.spread([target.to_owned()], &ways);
        }
        if self.used.contains(table) || self.recoded.contains(table) {
            self.run(Vec::new(), vec![target.to_owned()]);
        }
        true
    }

    /// Notes what runs other code from now on: what was made or replaced, and what keeps calls of it.
    fn recode(
        &mut self,
        statement: &Statement,
        kin: impl FnOnce() -> Vec<Name>,
        reacts: impl Fn(&Name) -> bool,
    ) {
        let mut used: Vec<String> = statement
            .leads
            .code
            .iter()
            .map(|name| name.name.clone())
            .collect();
        let written = || statement.writes.iter().map(|name| name.name.clone());
        let phrases = [linegate_sql::FUNCTION, linegate_sql::OPEN_CODE];
        let calls = statement.opaque.iter().any(|phrase| phrases.contains(phrase));
        if calls && statement.leads.keeps_calls {
            used.extend(written());
            used.extend(kin().into_iter().map(|name| name.name));
        }
        // What the other table has is run when the new one's rows change.
        let changed = match statement.made_like().any(reacts) {
            true => written().collect(),
            false => Vec::new(),
        };
        self.run(used, changed);
    }

    /// Using, or changing, these runs other code from now on.
    fn run(&mut self, used: Vec<String>, changed: Vec<String>) {
        let ways = [&self.parents, &self.keyed];
        let used = self.used.spread(used, &ways[..1]);
        let keyed = used.iter().flat_map(|name| self.keyed.from(name)).cloned();
        let changed: Vec<String> = keyed.chain(changed).collect();
        let changed = self.recoded.spread(changed, &ways);
        let is_any = |code: &Arc<Code>| code.names.used.contains(ANY);
        let becomes_any = self.used.is_any() && !self.code.as_ref().is_some_and(is_any);
        if used.is_empty() && changed.is_empty() && !becomes_any {
            return;
        }
        let code = Arc::make_mut(self.code.get_or_insert_default());
        let mut hash = blake3::Hasher::new();
        hash.update(&code.mark.to_le_bytes());
        for (names, added) in [(&mut code.names.used, used), (&mut code.names.changed, changed)] {
            for name in added {
                let name = name.to_lowercase();
                hash.update(name.as_bytes());
                hash.update(&[0]);
                names.insert(name);
            }
            hash.update(&[1]);
        }
        if becomes_any || code.names.used.len() + code.names.changed.len() > CODE_MAX {
            hash.update(&[2]);
            code.names.used = BTreeSet::from([ANY.to_owned()]);
            code.names.changed.clear();
            self.used.insert(ANY);
        }
        let mut mark = [0; 8];
        mark.copy_from_slice(&hash.finalize().as_bytes()[..8]);
        code.mark = u64::from_le_bytes(mark);
    }
}

/// Whether something that was there before may come to depend on other things.
fn rebuilds(statement: &Statement) -> bool {
    let is_unseen = statement.effects.contains(Effects::UNREADABLE) || !statement.opaque.is_empty();
    is_unseen || statement.effects.intersects(DEFINES) && statement.leads.rebuilds
}

/// Whether what a text makes has its name behind all of it.
fn moves_no_names(statement: &Statement) -> bool {
    let ends = Effects::TRANSACTION.with(Effects::UNREADABLE);
    let moves = |setting: &String| may_mean_more(setting);
    !statement.effects.intersects(ends)
        && !statement.settings.iter().any(moves)
        && statement.opaque.is_empty()
}

/// What other statements of the same text are led by.
fn beside<'s>(statement: &Statement, names: &'s [Name]) -> &'s [Name] {
    if statement.count > 1 { names } else { &[] }
}

/// What comes to be referred to by tables that may have rows. A table that the transaction made has none but those the session
/// puts there.
fn referred_before<'s>(
    statement: &'s Statement,
    own: &BTreeSet<Name>,
) -> impl Iterator<Item = &'s str> + use<'s> {
    let is_own = |name: &Name| own.contains(name);
    let is_all_own = !statement.writes.is_empty() && statement.writes.iter().all(is_own);
    let alters = statement.effects.contains(Effects::ALTER) && !is_all_own;
    let names = statement.leads.referred.iter().filter(move |_| alters);
    names.map(|name| name.name.as_str())
}

#[cfg(test)]
mod tests;
