//! Changes of names and shapes that are on their way or not committed, and which statements they can be about.
//!
//! A statement is decided by the catalog that is committed. If another session changes one of its relations meanwhile, the
//! server has it wait for that session's locks, and reads it anew behind them: by then a name may mean another column. So a
//! statement that may show a label waits here while such a change is open; and where one was sent between its decision and
//! the description of its result, it is decided again before a row is shown (`session::postgres::fresh`).

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use linegate_identity::Effects;
use linegate_policy::{LabelIndex, Name, Statement};
use linegate_recording::SessionId;

use crate::shared::lock;

/// Changes that are remembered; what was decided before them is decided again.
const CHANGES_MAX: usize = 4096;
/// Names of one session's open changes; with more, the next change is refused.
const NAMES_MAX: usize = 65_536;
/// Names of all changes that are remembered.
const REMEMBERED_MAX: usize = 4 * NAMES_MAX;

/// What a change is about.
#[derive(Clone)]
pub struct Names {
    relations: Arc<Relations>,
    /// What definitions come to show: dropping that takes them along.
    shown: Arc<Relations>,
    /// They make or alter something, or may, which comes to depend on whatever is there.
    defines: bool,
    /// And that may be temporary.
    beside_temporary: bool,
    /// They take names away, so that these may come to be others'.
    moves: bool,
    /// And it may be about anything else.
    is_anything: bool,
}

impl Names {
    /// Whether it names no relation.
    pub fn is_empty(&self) -> bool {
        self.relations.count == 0
    }

    /// Whether a statement names one of these.
    pub fn concern(&self, statement: &Statement) -> bool {
        self.relations.concern(statement)
            || takes_along(statement) && self.shown.concern(statement)
            || self.defines && statement.leads.reshapes
            || self.beside_temporary && statement.leads.remakes
    }
}

/// Whether it may take along what is built over what it names.
fn takes_along(statement: &Statement) -> bool {
    statement.leads.reshapes || statement.effects.contains(Effects::DROP)
}

/// Relations by name, each with its schemas.
#[derive(Clone, Default)]
struct Relations {
    schemas: HashMap<String, BTreeSet<Option<String>>>,
    count: usize,
}

impl Relations {
    fn add(&mut self, name: &str, schema: Option<&str>) {
        let schemas = match self.schemas.get_mut(name) {
            Some(schemas) => schemas,
            None => self.schemas.entry(name.to_owned()).or_default(),
        };
        self.count += usize::from(schemas.insert(schema.map(str::to_owned)));
    }

    fn join(&mut self, other: &Self) {
        for (name, schemas) in &other.schemas {
            for schema in schemas {
                self.add(name, schema.as_deref());
            }
        }
    }

    fn concern(&self, statement: &Statement) -> bool {
        let mut named = statement.reads.iter().chain(&statement.writes);
        self.count > 0
            && named.any(|name| {
                let schemas = self.schemas.get(&name.name).into_iter().flatten();
                schemas
                    .into_iter()
                    .any(|schema| may_be_one(name.schema.as_deref(), schema.as_deref()))
            })
    }
}

/// The changes of one database.
#[derive(Default)]
pub struct Changing {
    /// Changes sent so far.
    sent: AtomicU64,
    /// Sessions with open changes.
    open: AtomicUsize,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The last ones in order.
    last: VecDeque<Change>,
    /// How many names these have.
    remembered: usize,
    /// What sessions have not committed yet.
    by: HashMap<SessionId, Open>,
}

/// One that was sent.
struct Change {
    number: u64,
    by: SessionId,
    names: Names,
}

/// What one session has not committed.
#[derive(Default)]
struct Open {
    relations: Relations,
    shown: Relations,
    defines: bool,
    beside_temporary: bool,
    moves: bool,
    is_anything: bool,
}

impl Open {
    /// Takes these in if there is room.
    fn add(&mut self, names: &Names) -> bool {
        let count = |relations: &Relations, shown: &Relations| relations.count + shown.count;
        if count(&self.relations, &self.shown) + count(&names.relations, &names.shown) > NAMES_MAX {
            return false;
        }
        self.relations.join(&names.relations);
        self.shown.join(&names.shown);
        self.defines |= names.defines;
        self.beside_temporary |= names.beside_temporary;
        self.moves |= names.moves;
        self.is_anything |= names.is_anything;
        true
    }

    fn concerns(&self, statement: &Statement) -> bool {
        self.relations.concern(statement)
            || takes_along(statement) && self.shown.concern(statement)
            || self.defines && statement.leads.reshapes
            || self.beside_temporary && statement.leads.remakes
    }

    fn into_names(self) -> Names {
        Names {
            relations: Arc::new(self.relations),
            shown: Arc::new(self.shown),
            defines: self.defines,
            beside_temporary: self.beside_temporary,
            moves: self.moves,
            is_anything: self.is_anything,
        }
    }
}

impl Changing {
    /// A statement that changes these is about to go to the server. False: its session has changed too much already.
    pub fn begins(&self, session: SessionId, names: &Names) -> bool {
        let mut known = lock(&self.known);
        let has_room = known.by.entry(session).or_default().add(names);
        if has_room {
            self.add(&mut known, session, names.clone());
        }
        self.open.store(known.by.len(), Ordering::Release);
        has_room
    }

    fn add(&self, known: &mut Known, by: SessionId, names: Names) {
        let number = self.sent.load(Ordering::Acquire) + 1;
        known.remembered += names.relations.count + names.shown.count;
        known.last.push_back(Change { number, by, names });
        while known.last.len() > CHANGES_MAX || known.remembered > REMEMBERED_MAX {
            let Some(oldest) = known.last.pop_front() else {
                break;
            };
            known.remembered -= oldest.names.relations.count + oldest.names.shown.count;
        }
        self.sent.store(number, Ordering::Release);
    }

    /// Whether that session has changed something and not committed it.
    pub fn is_changing(&self, session: SessionId) -> bool {
        self.open.load(Ordering::Acquire) > 0 && lock(&self.known).by.contains_key(&session)
    }

    /// Whatever that session changed is committed or undone.
    pub fn ends(&self, session: SessionId) {
        if self.open.load(Ordering::Acquire) > 0 {
            let mut known = lock(&self.known);
            if let Some(open) = known.by.remove(&session) {
                self.add(&mut known, session, open.into_names()); // by now others see it
            }
            self.open.store(known.by.len(), Ordering::Release);
        }
    }

    /// How many changes were sent so far: the mark of a decision that is about to be made.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Whether a session other than this one has changed a relation that the statement names, and not committed that: the
    /// server would wait for it. A change that may be about anything is none: nobody waits for a function that runs for
    /// hours.
    pub fn is_open(&self, session: SessionId, statement: &Statement) -> bool {
        if self.open.load(Ordering::Acquire) == 0 {
            return false;
        }
        let known = lock(&self.known);
        known
            .by
            .iter()
            .any(|(by, open)| *by != session && open.concerns(statement))
    }

    /// Whether a relation that the statement names was changed since that mark, as far as it is known what was.
    pub fn was_changed(&self, mark: u64, statement: &Statement) -> bool {
        self.sent.load(Ordering::Acquire) != mark && {
            let known = lock(&self.known);
            self.has_forgotten(&known, mark)
                || since(&known, mark).any(|change| change.names.concern(statement))
        }
    }

    /// Whether another session than this one has changed what the statement names since that mark, or is changing it.
    pub fn is_moved_by_others(&self, session: SessionId, mark: u64, statement: &Statement) -> bool {
        if self.sent.load(Ordering::Acquire) == mark && self.open.load(Ordering::Acquire) == 0 {
            return false;
        }
        let known = lock(&self.known);
        self.has_forgotten(&known, mark)
            || since(&known, mark).any(|change| change.by != session && change.names.concern(statement))
            || known
                .by
                .iter()
                .any(|(by, open)| *by != session && open.concerns(statement))
    }

    /// Whether another session than this one has changed anything since that mark, or is changing it.
    pub fn is_anything_moved_by_others(&self, session: SessionId, mark: u64) -> bool {
        let known = lock(&self.known);
        self.has_forgotten(&known, mark)
            || since(&known, mark).any(|change| change.by != session)
            || known.by.keys().any(|by| *by != session)
    }

    /// Whether another session than this one has taken names away since that mark, or is doing so: they may be others' by now.
    pub fn are_names_moved_by_others(&self, session: SessionId, mark: u64) -> bool {
        if self.sent.load(Ordering::Acquire) == mark && self.open.load(Ordering::Acquire) == 0 {
            return false;
        }
        let known = lock(&self.known);
        let moves =
            |change: &Change| change.by != session && (change.names.moves || change.names.is_anything);
        let is_moving = |(by, open): (&SessionId, &Open)| *by != session && (open.moves || open.is_anything);
        self.has_forgotten(&known, mark) || since(&known, mark).any(moves) || known.by.iter().any(is_moving)
    }

    /// Whether the statement may mean something else than it did when it was decided at that mark.
    pub fn may_have_moved(&self, mark: u64, statement: &Statement) -> bool {
        if self.sent.load(Ordering::Acquire) == mark && self.open.load(Ordering::Acquire) == 0 {
            return false;
        }
        let known = lock(&self.known);
        self.has_forgotten(&known, mark)
            || since(&known, mark).any(|change| change.names.is_anything || change.names.concern(statement))
            || known
                .by
                .values()
                .any(|open| open.is_anything || open.concerns(statement))
    }

    fn has_forgotten(&self, known: &Known, mark: u64) -> bool {
        self.sent.load(Ordering::Acquire).saturating_sub(mark) > known.last.len() as u64
    }
}

/// The changes after that mark which are remembered.
fn since(known: &Known, mark: u64) -> impl Iterator<Item = &Change> {
    known.last.iter().filter(move |change| change.number > mark)
}

/// Whether a relation in the one schema may be that of its name in the changed one. A session's temporary ones are nobody
/// else's.
fn may_be_one(one: Option<&str>, changed: Option<&str>) -> bool {
    match (one, changed) {
        // Another session's view can be named by its schema's own name.
        (one, Some("pg_temp")) => one.is_some_and(|schema| schema.starts_with("pg_temp_")),
        (Some(one), Some(changed)) => one == changed,
        _ => true,
    }
}

/// What a statement changes. Where it does more than it names, or an ALTER names no relation of the catalog, it may be about
/// anything else as well. `beside_temporary`: that may depend on something temporary.
pub fn names(statement: &Statement, labels: Option<&LabelIndex>, beside_temporary: bool) -> Names {
    let is_known = |name: &Name| labels.is_some_and(|labels| labels.known(name).next().is_some());
    let is_clear = statement.opaque.is_empty()
        && !statement.effects.contains(Effects::UNREADABLE)
        && !statement.writes.is_empty()
        && (!statement.effects.contains(Effects::ALTER) || statement.writes.iter().all(is_known));
    let mut relations = Relations::default();
    // What another one's rows or changes come to reach has changed as well.
    let leads = &statement.leads;
    let parents = || leads.parents.iter().flat_map(|(child, parent)| [child, parent]);
    let others = || leads.changes.iter().chain(&leads.referred).chain(parents());
    let changed = || statement.writes.iter().chain(others());
    for name in changed() {
        relations.add(&name.name, name.schema.as_deref());
    }
    if let Some(labels) = labels {
        add_family(&mut relations, changed(), labels);
    }
    let mut shown = Relations::default();
    if statement.effects.contains(Effects::CREATE) && !leads.changes.is_empty() {
        for name in &statement.reads {
            shown.add(&name.name, name.schema.as_deref());
        }
    }
    for name in &leads.owners {
        shown.add(&name.name, name.schema.as_deref());
    }
    let defines = statement.effects.intersects(Effects::CREATE.with(Effects::ALTER))
        || !statement.opaque.is_empty()
        || statement.effects.contains(Effects::UNREADABLE);
    Names {
        relations: Arc::new(relations),
        shown: Arc::new(shown),
        defines,
        beside_temporary: defines && beside_temporary,
        moves: statement.effects.contains(Effects::DROP)
            || !leads.rows.is_empty() && leads.parents.is_empty(),
        is_anything: !is_clear || others().any(|name| name.name == "*"),
    }
}

/// What happens to a table happens to its children and partitions, and shows in the views over them.
fn add_family<'n>(relations: &mut Relations, changed: impl Iterator<Item = &'n Name>, labels: &LabelIndex) {
    for kin in family(changed, labels) {
        relations.add(&kin.name, kin.schema.as_deref());
    }
}

/// Relations that rows of those may be in, or may be seen through: children and parents, partitions, views.
pub fn family<'n>(of: impl Iterator<Item = &'n Name>, labels: &LabelIndex) -> Vec<Name> {
    related(of, labels, |oid| {
        let mut also = labels.shown_by(oid).to_vec();
        if let Some(known) = labels.known_by_oid(oid).filter(|known| known.kind != b'v') {
            also.extend(known.sources);
        }
        also
    })
}

/// Relations whose rows those show or may hold: what views show, children and parents, partitions.
pub fn reached<'n>(from: impl Iterator<Item = &'n Name>, labels: &LabelIndex) -> Vec<Name> {
    related(from, labels, |oid| {
        let known = labels.known_by_oid(oid);
        known.map(|known| known.sources.to_vec()).unwrap_or_default()
    })
}

fn related<'n>(
    of: impl Iterator<Item = &'n Name>,
    labels: &LabelIndex,
    next: impl Fn(u32) -> Vec<u32>,
) -> Vec<Name> {
    let mut work: Vec<u32> = of
        .flat_map(|name| labels.known(name).map(|known| known.oid))
        .collect();
    let mut seen: BTreeSet<u32> = work.iter().copied().collect();
    let mut found = Vec::new();
    while let Some(oid) = work.pop() {
        for oid in next(oid) {
            if !seen.insert(oid) {
                continue;
            }
            work.push(oid);
            if let Some(kin) = labels.known_by_oid(oid) {
                found.push(Name {
                    schema: Some(kin.schema.to_owned()),
                    name: kin.name.to_owned(),
                });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(names: &[&str]) -> Vec<Name> {
        let name = |name: &&str| Name {
            schema: None,
            name: (*name).to_owned(),
        };
        names.iter().map(name).collect()
    }

    fn drops(writes: &[&str]) -> Statement {
        Statement {
            effects: Effects::DROP,
            writes: all(writes),
            changes_catalog: true,
            count: 1,
            ..Statement::empty()
        }
    }

    fn reads(reads: &[&str]) -> Statement {
        Statement {
            effects: Effects::SELECT,
            reads: all(reads),
            count: 1,
            ..Statement::empty()
        }
    }

    fn id(number: u8) -> SessionId {
        SessionId::from_random([number; 16])
    }

    #[test]
    fn what_may_come_to_depend_on_anything_concerns_who_takes_things_along() {
        let mut cascade = drops(&["a"]);
        cascade.leads.reshapes = true;
        let code = Statement {
            opaque: vec!["a DO block"],
            changes_catalog: true,
            count: 1,
            ..Statement::empty()
        };
        let view = Statement {
            effects: Effects::CREATE,
            ..drops(&["v"])
        };
        for (open, concerns) in [(code, true), (view, true), (drops(&["b"]), false)] {
            let changing = Changing::default();
            assert!(changing.begins(id(1), &names(&open, None, false)));
            assert_eq!(changing.is_open(id(2), &cascade), concerns, "{open:?}");
            assert!(!changing.is_open(id(2), &drops(&["a"])), "nothing goes along");
            assert_eq!(names(&open, None, false).concern(&cascade), concerns);
        }
    }

    #[test]
    fn what_may_rest_on_temporary_objects_concerns_whoever_may_come_to_depend_on_it() {
        let table = Statement {
            effects: Effects::CREATE,
            ..drops(&["t"])
        };
        let mut view = drops(&["v"]);
        view.leads.remakes = true;
        for beside_temporary in [true, false] {
            let changing = Changing::default();
            let names = names(&table, None, beside_temporary);
            assert!(changing.begins(id(1), &names));
            assert_eq!(changing.is_open(id(2), &view), beside_temporary);
            assert_eq!(names.concern(&view), beside_temporary);
            assert!(!changing.is_open(id(2), &drops(&["v"])));
        }
    }

    #[test]
    fn what_is_open_concerns_those_who_name_it() {
        let changing = Changing::default();
        let mark = changing.sent();
        assert!(changing.begins(id(1), &names(&drops(&["a"]), None, false)));
        assert!(changing.is_open(id(2), &reads(&["b", "a"])));
        assert!(!changing.is_open(id(1), &reads(&["a"])), "its own");
        assert!(!changing.is_open(id(2), &reads(&["b"])));
        assert!(
            changing.may_have_moved(mark, &reads(&["a"])) && !changing.may_have_moved(mark, &reads(&["b"]))
        );
        let late = changing.sent();
        assert!(
            changing.may_have_moved(late, &reads(&["a"])),
            "as long as it is open"
        );
        changing.ends(id(1));
        assert!(!changing.is_open(id(2), &reads(&["a"])));
        assert!(
            changing.may_have_moved(late, &reads(&["a"])),
            "it was committed since"
        );
        assert!(!changing.may_have_moved(changing.sent(), &reads(&["a"])));
        assert!(changing.may_have_moved(mark, &reads(&["a"])), "it came between");
    }

    #[test]
    fn a_change_of_anything_is_not_waited_for_and_always_checked() {
        let changing = Changing::default();
        assert!(changing.begins(id(1), &names(&Statement::unreadable(), None, false)));
        assert!(!changing.is_open(id(2), &reads(&["a"])));
        assert!(changing.may_have_moved(changing.sent(), &reads(&["a"])));
        let alter = Statement {
            effects: Effects::ALTER,
            ..drops(&["somewhere"])
        };
        changing.ends(id(1));
        assert!(changing.begins(id(1), &names(&alter, None, false)));
        assert!(
            changing.may_have_moved(changing.sent(), &reads(&["a"])),
            "it may be a schema"
        );
    }

    #[test]
    fn one_change_of_anything_hides_no_name() {
        let changing = Changing::default();
        assert!(changing.begins(id(1), &names(&drops(&["a"]), None, false)));
        assert!(changing.begins(id(1), &names(&Statement::unreadable(), None, false)));
        assert!(changing.is_open(id(2), &reads(&["a"])) && !changing.is_open(id(2), &reads(&["b"])));
        assert!(changing.may_have_moved(changing.sent(), &reads(&["b"])));
    }

    #[test]
    fn what_is_not_all_named_is_waited_for_by_what_is() {
        let changing = Changing::default();
        let cascade = Statement {
            opaque: vec!["what depends on what is dropped"],
            ..drops(&["a"])
        };
        assert!(changing.begins(id(1), &names(&cascade, None, false)));
        assert!(changing.is_open(id(2), &reads(&["a"])) && !changing.is_open(id(2), &reads(&["b"])));
        assert!(changing.may_have_moved(changing.sent(), &reads(&["b"])));
    }

    #[test]
    fn no_number_of_names_pushes_one_out() {
        let changing = Changing::default();
        assert!(changing.begins(id(1), &names(&drops(&["a"]), None, false)));
        let many: Vec<String> = (0..NAMES_MAX).map(|number| number.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(
            !changing.begins(id(1), &names(&drops(&many), None, false)),
            "it is refused"
        );
        assert!(changing.begins(id(1), &names(&drops(&many[1..]), None, false)));
        assert!(changing.is_open(id(2), &reads(&["a"])) && changing.is_open(id(2), &reads(&["77"])));
        assert!(!changing.begins(id(1), &names(&drops(&["b"]), None, false)));
    }

    #[test]
    fn names_in_other_schemas_are_others() {
        let changing = Changing::default();
        let within = |schema: &str, mut statement: Statement| {
            let names = statement.reads.iter_mut().chain(&mut statement.writes);
            names.for_each(|name| name.schema = Some(schema.to_owned()));
            statement
        };
        assert!(changing.begins(id(1), &names(&within("app", drops(&["a"])), None, false)));
        assert!(changing.begins(id(2), &names(&within("pg_temp", drops(&["b"])), None, false)));
        assert!(changing.is_open(id(3), &reads(&["a"])));
        assert!(changing.is_open(id(3), &within("app", reads(&["a"]))));
        assert!(!changing.is_open(id(3), &within("other", reads(&["a"]))));
        assert!(!changing.is_open(id(3), &reads(&["b"])));
    }

    #[test]
    fn what_is_forgotten_counts() {
        let changing = Changing::default();
        let mark = changing.sent();
        for number in 0..=CHANGES_MAX {
            assert!(changing.begins(id(1), &names(&drops(&[&number.to_string()]), None, false)));
        }
        changing.ends(id(1));
        assert!(changing.may_have_moved(mark, &reads(&["a"])));
        assert!(
            changing.was_changed(mark, &reads(&["a"])),
            "nobody remembers that it was not"
        );
        assert!(!changing.may_have_moved(changing.sent(), &reads(&["a"])));
    }
}
