//! What a session prepared and declared, by name: EXECUTE and FETCH are decided as what they run.
//!
//! Source: PostgreSQL manual, "PREPARE", "EXECUTE", "DECLARE", "FETCH"; "Message Flow": Extended Query. SQL and the protocol
//! share their names: Parse makes what EXECUTE runs and PREPARE what Bind runs, and so with portals and cursors. Nothing is
//! ever struck off: whether the server took a statement that prepares, and when it dropped a name, only the server knows, so
//! a name stands for every text that was given to it. What a name runs is decided anew each time, since policy, catalog and
//! time may be others than when it was prepared, and since preparing what must wait for a person is allowed.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use linegate_identity::Effects;
use linegate_policy::{Decision, Named, Reason, Statement, Verdict};

use super::Session;
use super::asked::Asked;

/// Names that are remembered; what other names stand for is not known.
const NAMES_MAX: usize = 256;
/// Texts that one name may stand for.
const TEXTS_MAX: usize = 8;
/// Longer texts are not kept.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// Version of the policies, and the end of the time that they were asked for.
pub type Rules = (u64, u64);

/// One text that a name may stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Meaning {
    /// `None` where it is too long, one of several statements, or was not read.
    text: Option<Rc<[u8]>>,
    /// It waited for a person, and ran.
    was_held: bool,
    /// What it was allowed under.
    rules: Rules,
}

/// Something was prepared that is not among the names.
#[derive(Clone, Copy, Debug)]
struct Lost {
    rules: Rules,
    /// It was held, or there are more of them under other rules: nothing by an unknown name may run.
    is_risky: bool,
    /// It may have had any name, also one that is known.
    by_any_name: bool,
}

/// The names of one session.
#[derive(Default)]
pub struct Names {
    known: RefCell<HashMap<Named, Vec<Meaning>>>,
    /// Names that SQL gave. What the protocol knows of them may be of something else.
    by_sql: RefCell<HashSet<Named>>,
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
        // PREPARE itself; DEALLOCATE, CLOSE and MOVE.
        None if is_one && (!statement.defines.is_empty() || statement.effects == Effects::PREPARED) => {
            Runs::Nothing
        }
        None => Runs::Any,
    }
}

impl Names {
    /// Takes in that a name may stand for that text from now on.
    fn learn(&self, name: &Named, text: Option<&Rc<[u8]>>, was_held: bool, rules: Rules) {
        let meaning = Meaning {
            text: text.filter(|text| text.len() <= TEXT_BYTES_MAX).cloned(),
            was_held,
            rules,
        };
        let mut known = self.known.borrow_mut();
        let has_room = known.len() < NAMES_MAX;
        match known.get_mut(name) {
            Some(meanings) => {
                let same = |known: &&mut Meaning| known.text.is_some() && known.text == meaning.text;
                if let Some(same) = meanings.iter_mut().find(same) {
                    same.was_held &= was_held;
                } else if meanings.len() < TEXTS_MAX {
                    meanings.push(meaning);
                } else {
                    self.lose(was_held, rules, true);
                }
            }
            None if has_room => drop(known.insert(name.clone(), vec![meaning])),
            None => self.lose(was_held, rules, false),
        }
    }

    fn learn_by_sql(&self, name: &Named) {
        let mut by_sql = self.by_sql.borrow_mut();
        if by_sql.len() < NAMES_MAX {
            by_sql.insert(name.clone());
        }
    }

    fn lose(&self, was_held: bool, rules: Rules, by_any_name: bool) {
        let before = self.lost.get();
        self.lost.set(Some(Lost {
            rules,
            is_risky: was_held || before.is_some_and(|lost| lost.is_risky || lost.rules != rules),
            by_any_name: by_any_name || before.is_some_and(|lost| lost.by_any_name),
        }));
    }

    /// Whether SQL may have given that name, so that only what is remembered of it counts.
    pub fn is_by_sql(&self, name: impl FnOnce() -> Named) -> bool {
        let by_sql = self.by_sql.borrow();
        !by_sql.is_empty() && (by_sql.len() >= NAMES_MAX || by_sql.contains(&name()))
    }

    fn meanings(&self, name: &Named) -> Vec<Meaning> {
        self.known.borrow().get(name).cloned().unwrap_or_default()
    }

    /// Whether something that is not known may run under these rules: it was allowed under the same, without a person.
    fn may_run_unknown(&self, name: Option<&Named>, rules: Rules) -> bool {
        let is_known = name.is_some_and(|name| self.known.borrow().contains_key(name));
        self.lost
            .get()
            .is_none_or(|lost| is_known && !lost.by_any_name || !lost.is_risky && lost.rules == rules)
    }

    /// The one text behind a name.
    fn exact(&self, name: &Named) -> Option<Rc<[u8]>> {
        if self.lost.get().is_some_and(|lost| lost.by_any_name) {
            return None;
        }
        match self.known.borrow().get(name)?.as_slice() {
            [one] => one.text.clone(),
            _ => None,
        }
    }
}

/// What EXECUTE or FETCH runs, where that is one text that is known.
pub struct Run {
    /// The statement that prepared or declared it.
    pub text: Rc<[u8]>,
    /// As it is decided now.
    pub decision: Arc<Decision>,
}

/// What running by name comes to.
#[derive(Default)]
pub struct Ran {
    /// What is run, if it is known.
    pub exact: Option<Rc<Run>>,
    /// Stricter than the verdict on the statement that runs it.
    pub verdict: Option<Verdict>,
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
            self.names.lose(was_held, rules, true);
        }
        let text = (statement.count == 1 && asked.is_read).then_some(&asked.text);
        for name in &statement.defines {
            self.names.learn(name, text, was_held, rules);
            // Of a Parse, only what runs it declares something.
            if also.is_none() {
                self.names.learn_by_sql(name);
            }
        }
        let has_names = also.is_some() || !statement.defines.is_empty();
        if let Some(name) = also {
            let text = asked.is_read.then_some(&asked.text);
            self.names.learn(&name, text, was_held, rules);
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
        loop {
            if std::mem::take(&mut any) {
                work.extend(self.names.known.borrow().keys().cloned());
                if !self.names.may_run_unknown(None, rules) {
                    ran.add(&Verdict::Deny(Reason::NameUnknown));
                }
            }
            let Some(name) = work.pop() else { break };
            if !seen.insert(name.clone()) {
                continue;
            }
            if !self.names.may_run_unknown(Some(&name), rules) {
                ran.add(&Verdict::Deny(Reason::NameUnknown));
            }
            for meaning in self.names.meanings(&name) {
                let Some(text) = meaning.text else {
                    if meaning.was_held || meaning.rules != rules {
                        ran.add(&Verdict::Deny(Reason::NameUnknown));
                    }
                    continue;
                };
                let decision = self.decide(&text, true).await.decision;
                let is_cursor = matches!(name, Named::Cursor(_));
                match &decision.verdict {
                    // A cursor that was approved is fetched from without asking again.
                    Verdict::Hold(_) if is_cursor && meaning.was_held => {}
                    verdict => ran.add(verdict),
                }
                let within = runs(&decision.statement);
                match &within {
                    Runs::Nothing => {}
                    Runs::One(name) => work.push((*name).clone()),
                    Runs::Any => any = true,
                }
                let is_exact = first.as_ref() == Some(&name) && matches!(within, Runs::Nothing);
                if is_exact && self.names.exact(&name).as_deref() == Some(&*text) {
                    ran.exact = Some(Rc::new(Run { text, decision }));
                }
            }
        }
        ran
    }

    /// A text as it is decided now, with what it runs by name. `may_read` is false for text that the server read in another
    /// way than it would be read here.
    pub async fn asked(&self, text: Rc<[u8]>, may_read: bool) -> Rc<Asked> {
        let decided = self.decide_known(&text, may_read).await;
        let ran = self.ran(&decided.decision).await;
        let decision = ran.apply(decided.decision);
        Rc::new(Asked {
            number: 0,
            text,
            epoch: decided.epoch,
            is_read: decided.is_read,
            may_show_label: decision.touches(self.prepared_touched.get()),
            charges: self.spending.charges(&decision.budget, decision.effects),
            decision,
            named: ran.exact,
            standing: decided.standing,
        })
    }

    /// A statement that was decided before, as it is decided now. The same one where nothing has changed.
    pub async fn renewed(&self, asked: &Rc<Asked>) -> Rc<Asked> {
        let runs_nothing = matches!(runs(&asked.decision.statement), Runs::Nothing);
        if runs_nothing && self.is_current(asked.epoch) {
            return asked.clone();
        }
        self.asked(asked.text.clone(), asked.is_read)
            .await
            .running(asked.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Rules = (1, u64::MAX);
    const LATER: Rules = (2, u64::MAX);

    fn text(text: &str) -> Rc<[u8]> {
        Rc::from(text.as_bytes())
    }

    fn prepared(name: &str) -> Named {
        Named::Prepared(name.to_owned())
    }

    #[test]
    fn a_name_that_was_given_twice_stands_for_both() {
        let names = Names::default();
        let (one, two) = (text("SELECT 1"), text("SELECT 2"));
        names.learn(&prepared("a"), Some(&one), false, NOW);
        names.learn(&prepared("a"), Some(&one), false, LATER);
        names.learn(&prepared("b"), Some(&one), false, NOW);
        names.learn(&prepared("b"), Some(&two), false, NOW);
        names.learn(&Named::Cursor("a".into()), Some(&two), false, NOW);
        assert_eq!(names.exact(&prepared("a")), Some(one));
        assert_eq!(names.exact(&prepared("b")), None);
        assert_eq!(names.meanings(&prepared("b")).len(), 2);
        assert_eq!(names.exact(&Named::Cursor("a".into())), Some(two));
        assert_eq!(names.exact(&prepared("c")), None);
    }

    #[test]
    fn what_is_not_remembered_runs_under_the_same_rules_only() {
        let names = Names::default();
        let one = text("SELECT 1");
        for number in 0..NAMES_MAX {
            names.learn(&prepared(&number.to_string()), Some(&one), false, NOW);
        }
        assert!(
            names.may_run_unknown(Some(&prepared("x")), LATER),
            "nobody prepared it"
        );
        names.learn(&prepared("x"), Some(&one), false, NOW);
        assert!(names.may_run_unknown(Some(&prepared("x")), NOW));
        assert!(!names.may_run_unknown(Some(&prepared("x")), LATER));
        assert!(!names.may_run_unknown(None, LATER));
        assert!(names.may_run_unknown(Some(&prepared("7")), LATER), "it is known");
        assert_eq!(names.exact(&prepared("7")), Some(one.clone()));
        names.learn(&prepared("y"), Some(&one), true, NOW);
        assert!(
            !names.may_run_unknown(Some(&prepared("x")), NOW),
            "one of them was held"
        );
    }

    #[test]
    fn a_name_with_too_many_texts_is_unknown_like_text_that_was_not_read() {
        let names = Names::default();
        for number in 0..=TEXTS_MAX {
            names.learn(
                &prepared("a"),
                Some(&text(&format!("SELECT {number}"))),
                false,
                NOW,
            );
        }
        assert!(!names.may_run_unknown(Some(&prepared("a")), LATER));
        let names = Names::default();
        names.learn(&prepared("a"), Some(&text("SELECT 1")), false, NOW);
        names.lose(false, NOW, true);
        assert_eq!(names.exact(&prepared("a")), None);
        assert!(!names.may_run_unknown(Some(&prepared("a")), LATER));
        let long = text(&"x".repeat(TEXT_BYTES_MAX + 1));
        let names = Names::default();
        names.learn(&prepared("a"), Some(&long), false, NOW);
        assert_eq!(names.exact(&prepared("a")), None);
    }

    #[test]
    fn what_sql_has_named_is_not_the_protocols() {
        let names = Names::default();
        assert!(!names.is_by_sql(|| prepared("a")));
        names.learn_by_sql(&prepared("a"));
        assert!(names.is_by_sql(|| prepared("a")));
        assert!(!names.is_by_sql(|| Named::Cursor("a".into())));
        for number in 0..NAMES_MAX {
            names.learn_by_sql(&prepared(&number.to_string()));
        }
        assert!(names.is_by_sql(|| prepared("x")), "too many to tell");
    }

    #[test]
    fn only_what_runs_by_name_is_looked_into() {
        let of = |effects, count, runs_name: Option<Named>, defines: Vec<Named>| {
            let statement = Statement {
                effects,
                count,
                runs: runs_name,
                defines,
                ..Statement::empty()
            };
            match runs(&statement) {
                Runs::Nothing => 0,
                Runs::One(_) => 1,
                Runs::Any => 2,
            }
        };
        let prepare = vec![prepared("a")];
        assert_eq!(of(Effects::SELECT, 1, None, Vec::new()), 0);
        assert_eq!(of(Effects::PREPARED, 1, Some(prepared("a")), Vec::new()), 1);
        assert_eq!(of(Effects::PREPARED, 1, None, Vec::new()), 0, "DEALLOCATE");
        assert_eq!(
            of(Effects::PREPARED.with(Effects::SELECT), 1, None, prepare.clone()),
            0
        );
        assert_eq!(
            of(Effects::PREPARED.with(Effects::EXPLAIN), 1, None, Vec::new()),
            2
        );
        assert_eq!(of(Effects::PREPARED, 2, None, prepare), 2);
    }
}
