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
const CHANGES_MAX: usize = 256;
/// Names of one session's open changes; with more, it may be changing anything.
const NAMES_MAX: usize = 4096;

/// Relations; `None`: anything.
pub type Names = Option<Arc<[Name]>>;

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
    /// The last ones in order, by number.
    last: VecDeque<(u64, Names)>,
    /// What sessions have not committed yet.
    by: HashMap<SessionId, Open>,
}

/// What one session has not committed.
#[derive(Default)]
struct Open {
    names: Vec<Name>,
    /// And anything else.
    is_anything: bool,
}

impl Open {
    fn add(&mut self, names: &Names) {
        match names {
            Some(names) if self.names.len() + names.len() <= NAMES_MAX => {
                self.names.extend(names.iter().cloned());
            }
            _ => self.is_anything = true,
        }
    }

    fn concerns(&self, statement: &Statement) -> bool {
        concern(&self.names, statement)
    }
}

impl Changing {
    /// A statement that changes these goes to the server.
    pub fn begins(&self, session: SessionId, names: Names) {
        let mut known = lock(&self.known);
        self.add(&mut known, names.clone());
        known.by.entry(session).or_default().add(&names);
        self.open.store(known.by.len(), Ordering::Release);
    }

    fn add(&self, known: &mut Known, names: Names) {
        let number = self.sent.load(Ordering::Acquire) + 1;
        known.last.push_back((number, names));
        if known.last.len() > CHANGES_MAX {
            known.last.pop_front();
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
                // By now others see it.
                if open.is_anything {
                    self.add(&mut known, None);
                }
                self.add(&mut known, Some(open.names.into()));
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
            let mut last = known.last.iter().filter(|(number, _)| *number > mark);
            last.any(|(_, names)| names.as_ref().is_some_and(|names| concern(names, statement)))
        }
    }

    /// Whether the statement may mean something else than it did when it was decided at that mark.
    pub fn may_have_moved(&self, mark: u64, statement: &Statement) -> bool {
        let sent = self.sent.load(Ordering::Acquire);
        if sent == mark && self.open.load(Ordering::Acquire) == 0 {
            return false;
        }
        let known = lock(&self.known);
        let concerns = |names: &Names| names.as_ref().is_none_or(|names| concern(names, statement));
        let is_forgotten = sent - mark.min(sent) > known.last.len() as u64;
        is_forgotten
            || known
                .last
                .iter()
                .any(|(number, names)| *number > mark && concerns(names))
            || known
                .by
                .values()
                .any(|open| open.is_anything || open.concerns(statement))
    }
}

/// Whether a statement names one of these.
pub fn concern(names: &[Name], statement: &Statement) -> bool {
    let mut named = statement.reads.iter().chain(&statement.writes);
    named.any(|name| names.iter().any(|changed| may_be_one(name, changed)))
}

/// Whether two names may mean one relation. A session's temporary ones are nobody else's.
fn may_be_one(one: &Name, two: &Name) -> bool {
    one.name == two.name
        && match (&one.schema, &two.schema) {
            (_, Some(schema)) if schema == "pg_temp" => false,
            (Some(one), Some(two)) => one == two,
            _ => true,
        }
}

/// What a statement changes, by name. An ALTER of what is no relation in the catalog may be about any.
pub fn names(statement: &Statement, labels: Option<&LabelIndex>) -> Names {
    let is_known = |name: &Name| labels.is_some_and(|labels| labels.known(name).next().is_some());
    let is_clear = statement.opaque.is_empty()
        && !statement.effects.contains(Effects::UNREADABLE)
        && !statement.writes.is_empty()
        && statement.writes.len() <= NAMES_MAX
        && (!statement.effects.contains(Effects::ALTER) || statement.writes.iter().all(is_known));
    is_clear.then(|| {
        let mut all = statement.writes.clone();
        if let Some(labels) = labels {
            add_family(&mut all, labels);
        }
        all.into()
    })
}

/// What happens to a table happens to its children and partitions.
fn add_family(names: &mut Vec<Name>, labels: &LabelIndex) {
    let mut work: Vec<u32> = names
        .iter()
        .flat_map(|name| labels.known(name).map(|known| known.oid))
        .collect();
    let mut seen: BTreeSet<u32> = work.iter().copied().collect();
    while let Some(oid) = work.pop() {
        let Some(known) = labels.known_by_oid(oid).filter(|known| known.kind != b'v') else {
            continue;
        };
        for oid in known.sources.iter().filter(|oid| seen.insert(**oid)) {
            work.push(*oid);
            names.extend(labels.known_by_oid(*oid).map(|kin| Name {
                schema: Some(kin.schema.to_owned()),
                name: kin.name.to_owned(),
            }));
        }
    }
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
    fn what_is_open_concerns_those_who_name_it() {
        let changing = Changing::default();
        let mark = changing.sent();
        changing.begins(id(1), names(&drops(&["a"]), None));
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
        changing.begins(id(1), names(&Statement::unreadable(), None));
        assert!(!changing.is_open(id(2), &reads(&["a"])));
        assert!(changing.may_have_moved(changing.sent(), &reads(&["a"])));
        let alter = Statement {
            effects: Effects::ALTER,
            ..drops(&["somewhere"])
        };
        changing.ends(id(1));
        changing.begins(id(1), names(&alter, None));
        assert!(
            changing.may_have_moved(changing.sent(), &reads(&["a"])),
            "it may be a schema"
        );
    }

    #[test]
    fn one_change_of_anything_hides_no_name() {
        let changing = Changing::default();
        changing.begins(id(1), names(&drops(&["a"]), None));
        changing.begins(id(1), names(&Statement::unreadable(), None));
        assert!(changing.is_open(id(2), &reads(&["a"])) && !changing.is_open(id(2), &reads(&["b"])));
        assert!(changing.may_have_moved(changing.sent(), &reads(&["b"])));
    }

    #[test]
    fn names_in_other_schemas_are_others() {
        let changing = Changing::default();
        let within = |schema: &str, mut statement: Statement| {
            let names = statement.reads.iter_mut().chain(&mut statement.writes);
            names.for_each(|name| name.schema = Some(schema.to_owned()));
            statement
        };
        changing.begins(id(1), names(&within("app", drops(&["a"])), None));
        changing.begins(id(2), names(&within("pg_temp", drops(&["b"])), None));
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
            changing.begins(id(1), names(&drops(&[&number.to_string()]), None));
        }
        changing.ends(id(1));
        assert!(changing.may_have_moved(mark, &reads(&["a"])));
        assert!(!changing.may_have_moved(changing.sent(), &reads(&["a"])));
    }
}
