//! What a session prepared and declared, by name: EXECUTE and FETCH are decided as what they run.
//!
//! Source: PostgreSQL manual, "PREPARE", "EXECUTE", "DECLARE", "FETCH"; "Message Flow": Extended Query. SQL and the protocol
//! share their names: Parse makes what EXECUTE runs and PREPARE what Bind runs, and so with portals and cursors. Nothing is
//! ever struck off: whether the server took a statement that prepares, and when it dropped a name, only the server knows, so
//! a name stands for every text that was given to it. What a name runs is decided anew each time, since policy, catalog and
//! time may be others than when it was prepared, and since preparing what must wait for a person is allowed.

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use linegate_identity::Effects;
use linegate_policy::{Decision, Named, Reason, Statement, Verdict};

use super::asked::{Asked, looks_up};
use super::deciding::{Types, moves_path};
use super::{Decided, Session};
use crate::rarely::Rarely;
use crate::rt::sync::Soon;

/// Names that are remembered; what other names stand for is not known.
const NAMES_MAX: usize = 256;
/// Texts that one name may stand for.
const TEXTS_MAX: usize = 8;
/// Meanings of one text that are told apart; two are too many already.
const DECLARED_MAX: usize = 2;
/// Longer texts are not kept.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// Version of the policies, and the end of the time that they were asked for.
pub type Rules = (u64, u64);

/// Bytes of a name that the server compares, NAMEDATALEN less one. SQL's reader cuts names itself; the protocol's are cut here.
const NAME_BYTES_MAX: usize = 63;
/// The same for names beyond ASCII, of which the server may keep more bytes than were sent, or fewer, in its own encoding.
const ENCODED_NAME_BYTES_MAX: usize = NAME_BYTES_MAX * 2 / 3;

/// A name of the protocol as the server keeps it; `None` where that depends on the server's encoding.
pub fn kept(name: &[u8]) -> Option<&[u8]> {
    match name.is_ascii() {
        true => Some(&name[..name.len().min(NAME_BYTES_MAX)]),
        false => (name.len() <= ENCODED_NAME_BYTES_MAX).then_some(name),
    }
}

/// One text that a name may stand for.
#[derive(Clone, Debug)]
struct Meaning {
    /// `None` where it is too long, one of several statements, or was not read.
    text: Option<Rc<[u8]>>,
    /// It waited for a person, and ran.
    was_held: bool,
    /// Somebody's code checks a parameter.
    types: Types,
    /// The protocol prepared it.
    by_protocol: bool,
    /// What it was allowed under.
    rules: Rules,
    /// Of what the protocol prepared and SQL could not have: it does more than read and change rows.
    more: Option<Arc<Decision>>,
    /// Of a cursor, as it was decided each time that the text was declared under this name: its rows are of what names meant
    /// then.
    declared: Vec<Arc<Decision>>,
}

/// Something was prepared that is not among the names.
#[derive(Clone, Copy, Debug)]
struct Lost {
    rules: Rules,
    /// It was held, or there are more of them under other rules: nothing by an unknown name may run.
    is_risky: bool,
    /// It does more than read and change rows, or was not read.
    has_more: bool,
    /// It may have had any name, also one that is known.
    by_any_name: bool,
}

/// The names of one session.
#[derive(Default)]
pub struct Names {
    known: RefCell<Rarely<HashMap<Named, Vec<Meaning>>>>,
    /// Names that SQL gave. What the protocol knows of them may be of something else.
    by_sql: RefCell<Rarely<HashSet<Named>>>,
    /// Something ran that may have given any name.
    any_by_sql: Cell<bool>,
    lost: Cell<Option<Lost>>,
}

/// What a statement runs by name.
enum Runs<'s> {
    Nothing,
    One(&'s Named),
    /// It may run any of them, and others.
    Any,
}

fn runs(statement: &Statement) -> Runs<'_> {
    let is_one = statement.count == 1;
    match &statement.runs {
        _ if !statement.effects.contains(Effects::PREPARED) => Runs::Nothing,
        Some(name) => Runs::One(name),
        // CLOSE and DEALLOCATE among others.
        None if !statement.leads.runs_by_name && !statement.effects.contains(Effects::UNREADABLE) => {
            Runs::Nothing
        }
        // PREPARE itself; DEALLOCATE, CLOSE and MOVE.
        None if is_one && (!statement.defines.is_empty() || statement.effects == Effects::PREPARED) => {
            Runs::Nothing
        }
        None => Runs::Any,
    }
}

impl Names {
    fn is_known(&self, name: &Named) -> bool {
        let known = self.known.borrow();
        known.get().is_some_and(|known| known.contains_key(name))
    }

    /// Takes in that a name may stand for that text from now on.
    fn learn(&self, name: &Named, mut meaning: Meaning) {
        meaning.text = meaning.text.filter(|text| text.len() <= TEXT_BYTES_MAX);
        let lost = Lost {
            rules: meaning.rules,
            is_risky: meaning.was_held,
            by_any_name: false,
            has_more: meaning.more.is_some(),
        };
        let mut known = self.known.borrow_mut();
        let known = known.made();
        let has_room = known.len() < NAMES_MAX;
        match known.get_mut(name) {
            Some(meanings) => {
                let same = |known: &&mut Meaning| known.text.is_some() && known.text == meaning.text;
                if let Some(same) = meanings.iter_mut().find(same) {
                    let is_other = |one: &&Arc<Decision>| {
                        let known = |known: &Arc<Decision>| known.statement.lineage == one.statement.lineage;
                        !same.declared.iter().any(known)
                    };
                    let others: Vec<_> = meaning.declared.iter().filter(is_other).cloned().collect();
                    same.declared.extend(others);
                    same.declared.truncate(DECLARED_MAX);
                    same.was_held &= meaning.was_held;
                    same.types = same.types.with(meaning.types);
                    same.by_protocol |= meaning.by_protocol;
                    same.more = meaning.more.or(same.more.take());
                } else if meanings.len() < TEXTS_MAX {
                    meanings.push(meaning);
                } else {
                    // By that name, anything may run.
                    let was_held = meaning.was_held || meanings.iter().any(|known| known.was_held);
                    let unknown = meanings.iter().position(|known| known.text.is_none());
                    let place = unknown.unwrap_or(TEXTS_MAX - 1);
                    if let Some(place) = meanings.get_mut(place) {
                        place.text = None;
                        place.was_held = was_held || place.rules != meaning.rules;
                        place.rules = meaning.rules;
                        place.more = meaning.more.or(place.more.take());
                        place.declared.extend(meaning.declared);
                        place.declared.truncate(DECLARED_MAX);
                    }
                }
            }
            None if has_room => drop(known.insert(name.clone(), vec![meaning])),
            None => self.lose(lost),
        }
    }

    fn learn_by_sql(&self, name: &Named) {
        let mut by_sql = self.by_sql.borrow_mut();
        let by_sql = by_sql.made();
        if by_sql.len() < NAMES_MAX {
            by_sql.insert(name.clone());
        }
    }

    fn lose(&self, one: Lost) {
        self.lost.set(Some(match self.lost.get() {
            None => one,
            Some(before) => Lost {
                rules: one.rules,
                is_risky: one.is_risky || before.is_risky || before.rules != one.rules,
                by_any_name: one.by_any_name || before.by_any_name,
                has_more: one.has_more || before.has_more,
            },
        }));
    }

    /// Whether running a name may do more than reading and changing rows, and it is not known what. `None`: any name.
    fn may_do_more(&self, name: Option<&Named>) -> bool {
        let is_unknown = match name {
            Some(Named::Cursor(_)) => false,
            Some(name) => !self.is_known(name),
            None => true,
        };
        let lost = self.lost.get();
        lost.is_some_and(|lost| lost.has_more && (is_unknown || lost.by_any_name))
    }

    /// Whether SQL may have given that name, so that only what is remembered of it counts.
    pub fn is_by_sql(&self, name: impl FnOnce() -> Named) -> bool {
        let by_sql = self.by_sql.borrow();
        let is_among = |names: &HashSet<Named>| names.len() >= NAMES_MAX || names.contains(&name());
        self.any_by_sql.get() || by_sql.get().is_some_and(is_among)
    }

    fn meanings(&self, name: &Named) -> Vec<Meaning> {
        let known = self.known.borrow();
        let meanings = known.get().and_then(|known| known.get(name));
        meanings.cloned().unwrap_or_default()
    }

    /// Whether something that is not known may run under these rules: it was allowed under the same, without a person.
    fn may_run_unknown(&self, name: Option<&Named>, rules: Rules) -> bool {
        let is_known = name.is_some_and(|name| self.is_known(name));
        self.lost
            .get()
            .is_none_or(|lost| is_known && !lost.by_any_name || !lost.is_risky && lost.rules == rules)
    }

    /// Whether a statement may have been prepared by that name, or by any, that is not known.
    fn may_be_lost(&self, name: Option<&Named>) -> bool {
        let is_known = name.is_some_and(|name| self.is_known(name));
        let is_statements = !matches!(name, Some(Named::Cursor(_)));
        let lost = self.lost.get().filter(|_| is_statements);
        lost.is_some_and(|lost| !is_known || lost.by_any_name)
    }

    /// The one text behind a name.
    fn exact(&self, name: &Named) -> Option<Rc<[u8]>> {
        if self.lost.get().is_some_and(|lost| lost.by_any_name) {
            return None;
        }
        match self.known.borrow().get()?.get(name)?.as_slice() {
            [one] => one.text.clone(),
            _ => None,
        }
    }
}

/// What EXECUTE or FETCH runs, where that is one text that is known.
pub struct Run {
    /// As it is decided now.
    pub decision: Arc<Decision>,
}

/// All that a statement may run by name.
#[derive(Default)]
pub struct ByName {
    /// The texts, in order.
    pub texts: Vec<Rc<[u8]>>,
    /// There may be others.
    pub is_partly_unknown: bool,
    /// What does more than read and change rows: the protocol prepares any statement.
    pub more: Vec<Arc<Decision>>,
    /// One of them looks up what the catalog spells: it was prepared while nothing was masked.
    pub spells: bool,
    /// Those that the protocol prepared and that compare labelled columns with values: nobody was charged for these. Portals were
    /// charged when they were bound.
    pub unpaid: Vec<Rc<[u8]>>,
    /// Relations of what must be approved, for whoever does.
    pub held: Vec<String>,
}

/// What running by name comes to.
#[derive(Default)]
pub struct Ran {
    /// What is run, if it is known.
    pub exact: Option<Rc<Run>>,
    /// Stricter than the verdict on the statement that runs it.
    pub verdict: Option<Verdict>,
    /// All that may be run.
    pub by_name: ByName,
}

impl Ran {
    fn add(&mut self, verdict: &Verdict) {
        match (&self.verdict, verdict) {
            (Some(Verdict::Deny(_)), _) | (_, Verdict::Allow) => {}
            (Some(Verdict::Hold(_)), Verdict::Hold(_)) => {}
            _ => self.verdict = Some(verdict.clone()),
        }
    }

    /// The decision on the statement that runs it, as strict as that on what it runs.
    pub fn apply(&self, decision: Arc<Decision>) -> Arc<Decision> {
        match (&self.verdict, &decision.verdict) {
            (None, _) | (_, Verdict::Deny(_)) | (Some(Verdict::Hold(_)), Verdict::Hold(_)) => decision,
            (Some(verdict), _) => Arc::new(Decision {
                verdict: verdict.clone(),
                ..Decision::clone(&decision)
            }),
        }
    }
}

/// Whether a statement is none that SQL's PREPARE takes, or may be none.
fn is_more(statement: &Statement) -> bool {
    const PLAIN: Effects = Effects::SELECT
        .with(Effects::INSERT)
        .with(Effects::UPDATE)
        .with(Effects::DELETE);
    !PLAIN.contains(statement.effects)
        || statement.changes_catalog
        || !statement.settings.is_empty()
        || !statement.defines.is_empty()
}

/// Whether names may mean something else behind a statement.
fn leads_names(statement: &Statement) -> bool {
    statement.changes_catalog || moves_path(statement)
}

/// Whether what a cursor was declared for may have held something labelled.
fn shows_labelled(decision: &Decision) -> bool {
    let lineage = decision.statement.lineage.as_ref();
    decision.touches_label || lineage.is_none_or(|lineage| !lineage.touched.is_empty())
}

/// Whether two decisions on one statement are about running the same, also by name.
pub fn runs_the_same(one: &Asked, other: &Asked) -> bool {
    match (&one.by_name, &other.by_name) {
        (Some(one), Some(other)) => {
            one.texts == other.texts && !one.is_partly_unknown && !other.is_partly_unknown
        }
        (None, None) => true,
        _ => false,
    }
}

impl Session {
    fn rules(&self) -> Rules {
        let standing = self.standing.borrow();
        (
            standing.version,
            standing.valid_until.map_or(u64::MAX, |until| until.0),
        )
    }

    /// Remembers what a statement that goes to the server prepares or declares; `also` by the protocol.
    pub fn remember(&self, asked: &Asked, also: Option<Named>) {
        let statement = &asked.decision.statement;
        let was_held = matches!(asked.decision.verdict, Verdict::Hold(_));
        let rules = self.rules();
        if statement.effects.contains(Effects::UNREADABLE) || !asked.is_read {
            self.names.lose(Lost {
                rules,
                is_risky: was_held,
                by_any_name: true,
                has_more: true,
            });
        }
        let meaning = |is_one: bool, more| Meaning {
            text: (is_one && asked.is_read).then(|| asked.text.clone()),
            was_held,
            types: asked.types,
            by_protocol: false,
            rules,
            more,
            declared: Vec::new(),
        };
        let as_declared = |name: &Named, mut meaning: Meaning| {
            if matches!(name, Named::Cursor(_)) && asked.is_masked(self) {
                meaning.declared.push(asked.decision.clone());
            }
            meaning
        };
        for ran in asked.statements().skip(1) {
            // What these names stand for was learned when the statement was prepared.
            ran.defines.iter().for_each(|name| self.names.learn_by_sql(name));
            if ran.effects.contains(Effects::UNREADABLE) {
                self.names.any_by_sql.set(true);
            }
        }
        for name in &statement.defines {
            self.names
                .learn(name, as_declared(name, meaning(statement.count == 1, None)));
            // Of a Parse, only what runs it declares something.
            if also.is_none() {
                self.names.learn_by_sql(name);
            }
        }
        let has_names = also.is_some() || !statement.defines.is_empty();
        if let Some(name) = also {
            let more = (!asked.is_read || is_more(statement)).then(|| asked.decision.clone());
            let mut meaning = as_declared(&name, meaning(true, more));
            meaning.by_protocol = true;
            self.names.learn(&name, meaning);
        }
        // Also where nothing was masked: it may be run when something is.
        let may_prepare = has_names || statement.prepares || !statement.opaque.is_empty();
        let may_show = asked.may_show_label
            || asked.decision.touches_label
            || !asked.decision.labels.is_empty()
            || statement.lineage.as_ref().is_none_or(|lineage| lineage.strangers)
            || !statement.opaque.is_empty();
        if may_prepare && may_show {
            self.prepared_touched.set(true);
        }
    }

    /// What a decided statement runs by name, decided now.
    pub async fn ran(&self, decision: &Decision) -> Ran {
        let mut ran = Ran::default();
        let (mut work, mut any): (Vec<Named>, bool) = match runs(&decision.statement) {
            Runs::Nothing => return ran,
            Runs::One(name) => (vec![name.clone()], false),
            Runs::Any => (Vec::new(), true),
        };
        let rules = self.rules();
        let first = work.first().cloned();
        let mut seen: HashSet<Named> = HashSet::new();
        let mut leads = leads_names(&decision.statement);
        let anything = || Arc::new(super::refused(Reason::NameUnknown));
        // What is not known cannot be decided by what its names mean now, as the server will read them.
        let must_know = self.relies_on_catalog();
        let may_run = |name: Option<&Named>| {
            self.names.may_run_unknown(name, rules) && !(must_know && self.names.may_be_lost(name))
        };
        loop {
            if std::mem::take(&mut any) {
                let known = self.names.known.borrow();
                work.extend(known.get().into_iter().flat_map(HashMap::keys).cloned());
                ran.by_name.is_partly_unknown |= self.names.lost.get().is_some();
                ran.by_name
                    .more
                    .extend(self.names.may_do_more(None).then(anything));
                if !may_run(None) {
                    ran.add(&Verdict::Deny(Reason::NameUnknown));
                }
            }
            let Some(name) = work.pop() else { break };
            if !seen.insert(name.clone()) {
                continue;
            }
            if !may_run(Some(&name)) {
                ran.add(&Verdict::Deny(Reason::NameUnknown));
            }
            let more = self.names.may_do_more(Some(&name)).then(anything);
            ran.by_name.more.extend(more);
            let meanings = self.names.meanings(&name);
            ran.by_name.is_partly_unknown |= meanings.is_empty();
            for meaning in meanings {
                let is_more = meaning.more.is_some();
                ran.by_name.more.extend(meaning.more);
                let Some(text) = meaning.text else {
                    ran.by_name.is_partly_unknown = true;
                    let is_cursor = matches!(name, Named::Cursor(_));
                    if meaning.was_held || meaning.rules != rules || must_know && !is_cursor {
                        ran.add(&Verdict::Deny(Reason::NameUnknown));
                    }
                    continue;
                };
                ran.by_name.texts.push(text.clone());
                let decision = self.decide(&text, true, meaning.types).await.decision;
                let statement = &decision.statement;
                if !is_more && (statement.changes_catalog || !statement.settings.is_empty()) {
                    ran.by_name.more.push(decision.clone()); // a function that it calls
                }
                ran.by_name.spells |= meaning.types.name && looks_up(statement);
                let is_prepared = matches!(name, Named::Prepared(_));
                if meaning.by_protocol && is_prepared && looks_up(statement) {
                    ran.by_name.unpaid.push(text.clone());
                }
                leads |= leads_names(statement);
                let is_cursor = matches!(name, Named::Cursor(_));
                let is_other = |then: &Arc<Decision>| {
                    shows_labelled(then) && then.statement.lineage != decision.statement.lineage
                };
                if self.is_masked() && meaning.declared.iter().any(is_other) {
                    ran.add(&Verdict::Deny(Reason::NameUnknown)); // a column's name has moved since
                }
                match &decision.verdict {
                    // A cursor that was approved is fetched from without asking again.
                    Verdict::Hold(_) if is_cursor && meaning.was_held => {}
                    verdict => {
                        if let Verdict::Hold(_) = verdict {
                            let named = statement.reads.iter().chain(&statement.writes);
                            ran.by_name.held.extend(named.map(ToString::to_string));
                        }
                        ran.add(verdict);
                    }
                }
                let within = runs(&decision.statement);
                match &within {
                    Runs::Nothing => {}
                    Runs::One(name) => work.push((*name).clone()),
                    Runs::Any => any = true,
                }
                let is_exact = first.as_ref() == Some(&name) && matches!(within, Runs::Nothing);
                if is_exact && self.names.exact(&name).as_deref() == Some(&*text) {
                    ran.exact = Some(Rc::new(Run { decision }));
                }
            }
        }
        // An argument of EXECUTE is evaluated before what it runs.
        let moves = moves_path(&decision.statement);
        if (leads && decision.statement.count > 1 || moves) && must_know {
            // What runs behind it was decided with what its names mean before.
            ran.add(&Verdict::Deny(Reason::BehindTransaction));
        }
        // In one order: what is looked up is known by these again.
        for texts in [&mut ran.by_name.texts, &mut ran.by_name.unpaid] {
            texts.sort();
            texts.dedup();
        }
        ran
    }

    /// A text as it is decided now, with what it runs by name. `may_read` is false for text that the server read in another
    /// way than it would be read here.
    pub async fn asked(&self, text: Rc<[u8]>, may_read: bool, types: Types) -> Rc<Asked> {
        let decided = self.decide_known(&text, may_read, types).await;
        self.asked_as(text, decided, types).await
    }

    /// A text that the server does not have yet, as it is decided now: where another one may stand for it, that one.
    pub async fn asked_first(&self, text: &[u8], types: Types) -> Rc<Asked> {
        let decided = self.decide_known(text, true, types).await;
        match decided.weaker.clone() {
            Some(weaker) => self.asked(weaker, true, types).await,
            None => self.asked_as(Rc::from(text), decided, types).await,
        }
    }

    async fn asked_as(&self, text: Rc<[u8]>, decided: Decided, types: Types) -> Rc<Asked> {
        let runs_by_name = !matches!(runs(&decided.decision.statement), Runs::Nothing);
        let ran = match runs_by_name {
            true => Box::pin(self.ran(&decided.decision)).await,
            false => Ran::default(),
        };
        let decision = ran.apply(decided.decision);
        Rc::new(Asked {
            number: 0,
            text,
            epoch: decided.epoch,
            is_read: decided.is_read,
            values: Cell::new(0),
            types,
            may_show_label: decision.touches(self.prepared_touched.get()),
            charges: self.spending.charges(&decision.budget, decision.effects),
            decision,
            named: ran.exact,
            by_name: runs_by_name.then(|| Rc::new(ran.by_name)),
            standing: decided.standing,
            mark: Cell::new(decided.mark),
        })
    }

    /// A statement that was decided before, as it is decided now. The same one where nothing has changed.
    pub fn renewed<'a>(&'a self, asked: &'a Rc<Asked>) -> Soon<'a, Rc<Asked>> {
        let runs_nothing = matches!(runs(&asked.decision.statement), Runs::Nothing);
        // By now the session itself may have led its names elsewhere.
        let is_hidden = asked.is_read
            && self.relies_on_catalog()
            && (self.is_led_elsewhere(&asked.decision.statement)
                || self.may_rest_on_temporary(&asked.decision.statement));
        if runs_nothing && !is_hidden && self.is_current(asked.epoch) && !self.has_moved(asked) {
            return Soon::now(asked.clone());
        }
        Soon::later(self.decided_anew(asked))
    }

    async fn decided_anew(&self, asked: &Asked) -> Rc<Asked> {
        let newer = self.asked(asked.text.clone(), asked.is_read, asked.types).await;
        let newer = newer.running(asked.number);
        // A portal keeps its parameters.
        newer.values.set(asked.values.get());
        newer
    }
}
