//! One statement to one verdict: scope, then what a mask rules out, then policy. The order is the order of the functions.
//!
//! Which question is asked of policy for which effect:
//! `select` and `copy-out` of every relation read; `insert`, `update`, `delete`, `truncate`, `create`, `alter`, `drop` and
//! `copy-in` of every relation written; `lock`, `maintenance`, `grant` and `explain` of both; every other effect, and those
//! without a relation, of the target. A write that also reads other relations needs `select` on those. What is read through
//! views and partitioned tables must not be forbidden, and need not be permitted. Where a policy
//! forbids `read`, that is asked as well of every labelled column that the statement uses. Every question is
//! asked for every member of the chain (see `subject`), and one refusal refuses all.
//!
//! A forbid that names relations, schemas or labels cannot be answered while the catalog is not known: then the effects that
//! it speaks of are refused where the statement names a relation.

use std::collections::BTreeSet;

use cedar_policy::{Context, Entities, EntityUid, PolicyId};
use linegate_identity::{Assent, Effects, Scope};

use crate::asking::Asking;
use crate::budget::Budget;
use crate::engine::Engine;
use crate::labelled::{self, is_followed};
use crate::labels::{LabelIndex, MaskScope};
use crate::questions::{Question, Tables, needed, questions};
use crate::statement::{OutputColumn, Statement};
use crate::subject::{Member, Subject};
use crate::under_mask;
use crate::verdict::{Decision, HoldTerms, Reason, Verdict};

/// The most questions one statement may ask of policy (up to tens of microseconds each), members of the chain included.
const QUESTIONS_MAX: usize = 65_536;

/// Effects that may touch relations without naming them.
const OF_ANYTHING: &[(Effects, &str)] = &[
    (Effects::EXECUTE, "DO blocks and text that the server runs"),
    (Effects::CALL, "procedures"),
    (Effects::FUNCTION_CALL, "the fast path"),
    (Effects::REPLICATION, "replication"),
    (Effects::SERVER, "server files, programs and extensions"),
    (Effects::UNREADABLE, "statements that do not parse"),
];

/// One question that was asked of policy, for `explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The agent that was asked for; `None` for the head principal.
    pub agent: Option<String>,
    /// The action: an effect class, or `read` of a label.
    pub asked: &'static str,
    /// The relation or label; `None` for the target.
    pub relation: Option<String>,
    /// Allowed without an approval.
    pub allowed: bool,
    /// Ids of the policies that determined it, sorted.
    pub policies: Vec<String>,
}

/// Told of each question and its answer.
pub(crate) type Trace<'t> = dyn FnMut(Step) + 't;

/// Decides a statement. `labels` is `None` while the database's catalog is not known.
pub fn decide(
    engine: &Engine,
    subject: &Subject,
    labels: Option<&LabelIndex>,
    masks: &MaskScope,
    statement: &Statement,
) -> Decision {
    decide_traced(engine, subject, labels, masks, statement, None)
}

/// `decide`, telling each question and answer.
pub(crate) fn decide_traced(
    engine: &Engine,
    subject: &Subject,
    labels: Option<&LabelIndex>,
    masks: &MaskScope,
    statement: &Statement,
    trace: Option<&mut Trace<'_>>,
) -> Decision {
    let mut found = Found::default();
    let verdict = match before_policy(subject, labels, masks, statement) {
        Some(reason) => Verdict::Deny(reason),
        None if statement.effects.is_empty() => Verdict::Allow,
        None => match ask_policy(engine, subject, labels, statement, &mut found, trace) {
            Verdict::Deny(reason) => Verdict::Deny(reason),
            _ if hides_columns(subject, labels, statement) => {
                found.policies.clear();
                Verdict::Deny(Reason::ColumnsUnknown)
            }
            verdict => verdict,
        },
    };
    if matches!(verdict, Verdict::Deny(_)) {
        found.budget = Budget::default();
    } else if let (Some(labels), Some(lineage)) = (labels, &statement.lineage) {
        let mut looked_up = lineage.lookups.iter();
        if looked_up.any(|column| labels.hidden_label(*column, masks).is_some()) {
            found.budget.add_default_lookups();
        }
        if lineage.computes && !masks.is_empty() {
            found.budget.add_default_oversized();
        }
    }
    let names = || statement.reads.iter().chain(&statement.writes);
    let labels_touched = labels.map(|index| {
        names()
            .flat_map(|name| index.labels_of(name))
            .collect::<BTreeSet<_>>()
    });
    let touches_label = !masks.is_empty()
        && (statement
            .effects
            .intersects(Effects::PREPARED.with(Effects::UNREADABLE))
            || labels.is_none_or(|index| names().any(|name| index.touches_masked(name, masks))));
    let mut statement = statement.clone();
    if statement.effects.contains(Effects::EXPLAIN) && statement.count == 1 {
        statement.output = Some(vec![OutputColumn::Clean]); // a plan: one column that holds no value of any relation
    }
    Decision {
        verdict,
        touches_label,
        labels: labels_touched.into_iter().flatten().map(str::to_owned).collect(),
        effects: statement.effects,
        policies: found.policies.into_iter().map(|id| id.to_string()).collect(),
        budget: found.budget,
        valid_until: subject.valid_until(),
        statement,
    }
}

/// Whether a session may be opened at all.
pub fn may_connect(engine: &Engine, subject: &Subject) -> Result<(), Reason> {
    let Some(context) = subject.context(&Statement::empty(), false) else {
        return Err(Reason::RuleFailed { policy: None });
    };
    let mut asking = Asking::new(engine, subject, &subject.entities, &context);
    for (index, member) in subject.members.iter().enumerate() {
        let (allowed, determining) = asking.ask(index, &engine.nouns.connect, &subject.target_uid)?;
        if !allowed {
            return Err(match determining.first() {
                Some(id) => forbidden(engine, id),
                None => Reason::NoSession {
                    agent: member.agent.clone(),
                },
            });
        }
    }
    Ok(())
}

/// Whether every member of the chain may see a label's columns as they are stored. Doubt says no.
pub(crate) fn may_read_raw(engine: &Engine, subject: &Subject, label: &str) -> bool {
    may_with_label(engine, subject, &engine.nouns.read_raw, label)
}

/// Whether every member of the chain may sort, group, range and match by a label's columns that it sees masked. Doubt says
/// no.
pub(crate) fn may_probe(engine: &Engine, subject: &Subject, label: &str) -> bool {
    may_with_label(engine, subject, &engine.nouns.probe, label)
}

/// Whether a rule refuses `read` of that label's columns whatever the statement is, and nobody may lift it: then its values are
/// hidden like masked ones, also where no column is named.
pub(crate) fn is_read_refused(engine: &Engine, subject: &Subject, label: &str) -> bool {
    if !subject.refuses_columns {
        return false;
    }
    let asked = labelled::any_column(engine, subject, label)
        .and_then(|column| {
            subject
                .entities
                .clone()
                .add_entities([column.clone()], None)
                .ok()
                .zip(Some(column))
        })
        .zip(subject.context(&Statement::empty(), true));
    let Some(((entities, column), context)) = asked else {
        return true;
    };
    let mut asking = Asking::new(engine, subject, &entities, &context);
    let always = |id: &PolicyId| engine.rule(id).is_some_and(|rule| !rule.looks.at_statement);
    (0..subject.members.len()).any(|index| {
        match asking.ask(index, &engine.nouns.read_column, &column.uid()) {
            Ok((allowed, determining)) => !allowed && determining.iter().any(always),
            Err(_) => true,
        }
    })
}

fn may_with_label(engine: &Engine, subject: &Subject, action: &EntityUid, label: &str) -> bool {
    let Some(context) = subject.context(&Statement::empty(), false) else {
        return false;
    };
    let label = engine.nouns.label(label);
    let mut asking = Asking::new(engine, subject, &subject.entities, &context);
    (0..subject.members.len()).all(|index| matches!(asking.ask(index, action, &label), Ok((true, _))))
}

/// What is refused before policy is asked.
fn before_policy(
    subject: &Subject,
    labels: Option<&LabelIndex>,
    masks: &MaskScope,
    statement: &Statement,
) -> Option<Reason> {
    let (scope, effects) = (&subject.scope, statement.effects);
    if effects.contains(Effects::UNREADABLE)
        && (!masks.is_empty() || !scope.effects.contains(Effects::UNREADABLE))
    {
        return Some(Reason::NotUnderstood);
    }
    let names_something =
        !(statement.reads.is_empty() && statement.writes.is_empty() && statement.functions.is_empty());
    if effects.is_empty() && (names_something || !statement.opaque.is_empty()) {
        return Some(Reason::NotUnderstood); // it says that it does nothing and names something to do it with
    }
    if let Some(reason) = out_of_scope(scope, labels, statement) {
        return Some(reason);
    }
    if needs_catalog(subject, labels, statement) {
        return Some(Reason::CatalogNeeded);
    }
    match labels {
        _ if masks.is_empty() => None,
        // What was begun must come to an end, also where the catalog cannot be read.
        None if effects == Effects::TRANSACTION && !names_something && !statement.prepares_transaction => {
            None
        }
        None => Some(Reason::CatalogMissing),
        Some(labels) => under_mask::refuse(statement, labels, masks),
    }
}

/// What a forbid about relations or labels speaks of, while no relation is known.
fn needs_catalog(subject: &Subject, labels: Option<&LabelIndex>, statement: &Statement) -> bool {
    let names_relation = !(statement.reads.is_empty() && statement.writes.is_empty());
    let judged = subject.refused_by_relation.with(subject.changed_by_relation);
    let by_relation = needed(statement).intersects(judged);
    let names_something = names_relation || !statement.functions.is_empty();
    let may_be_refused = names_relation && (by_relation || subject.refuses_columns)
        || names_something && subject.looks_at_definitions;
    labels.is_none() && may_be_refused
}

/// Whether `read` is refused of some column and the statement may use any without saying so.
fn hides_columns(subject: &Subject, labels: Option<&LabelIndex>, statement: &Statement) -> bool {
    if !subject.refuses_columns || is_followed(statement) {
        return false;
    }
    let does = |(effect, _): &(Effects, &str)| statement.effects.contains(*effect);
    let is_known = |function| under_mask::is_known(function, labels);
    OF_ANYTHING.iter().any(does) || !statement.opaque.is_empty() || !statement.functions.iter().all(is_known)
}

/// What the lease's scope does not cover.
fn out_of_scope(scope: &Scope, labels: Option<&LabelIndex>, statement: &Statement) -> Option<Reason> {
    let missing = needed(statement).without(scope.effects);
    if !missing.is_empty() {
        return Some(Reason::EffectsOutOfScope(missing));
    }
    let patterns = scope.tables.as_ref()?;
    if patterns.iter().any(|pattern| pattern == "*") {
        return None;
    }
    let hidden = OF_ANYTHING
        .iter()
        .find(|(effect, _)| statement.effects.contains(*effect));
    if let Some((_, what)) = hidden {
        return Some(Reason::UnboundedInScope(what));
    }
    if let Some(what) = statement.opaque.first() {
        return Some(Reason::UnboundedInScope(what));
    }
    if !statement
        .functions
        .iter()
        .all(|function| under_mask::is_known(function, labels))
    {
        return Some(Reason::UnboundedInScope(
            "functions that are not known built-in ones",
        ));
    }
    let mut names = statement.reads.iter().chain(&statement.writes);
    let name = names.find(|name| !scope.allows_table(name.schema.as_deref(), &name.name))?;
    Some(Reason::TableOutOfScope {
        name: name.clone(),
        ambiguous: name.schema.is_none(),
    })
}

/// Asks every question; if only forbids that people may lift stood in the way, asks again as if they had.
fn ask_policy(
    engine: &Engine,
    subject: &Subject,
    labels: Option<&LabelIndex>,
    statement: &Statement,
    found: &mut Found,
    mut trace: Option<&mut Trace<'_>>,
) -> Verdict {
    let tables = Tables::of(engine, subject, labels, statement);
    let (Some(mut tables), Some(asked)) = (tables, subject.context(statement, false)) else {
        return Verdict::Deny(Reason::RuleFailed { policy: None });
    };
    let columns = match labels {
        Some(labels) if subject.refuses_columns => labelled::columns(engine, subject, labels, statement),
        _ => Some(Vec::new()),
    };
    let questions = columns.and_then(|columns| questions(engine, subject, &mut tables, columns, statement));
    let Some(questions) = questions else {
        return Verdict::Deny(Reason::RuleFailed { policy: None });
    };
    if questions.len().saturating_mul(subject.members.len()) > QUESTIONS_MAX {
        return Verdict::Deny(Reason::TooManyRelations);
    }
    let Ok(entities) = subject
        .entities
        .clone()
        .add_entities(tables.entities.drain().map(|(_, entity)| entity), None)
    else {
        return Verdict::Deny(Reason::RuleFailed { policy: None });
    };
    let round = Round {
        engine,
        subject,
        entities: &entities,
        questions: &questions,
    };
    let mut holding = BTreeSet::new();
    let refused = round.run(&asked, &mut |member, question, allowed, determining| {
        if let Some(trace) = &mut trace {
            trace(Step {
                agent: member.agent.clone(),
                asked: question.asked,
                relation: question.resource.shown.clone(),
                allowed,
                policies: determining.iter().map(ToString::to_string).collect(),
            });
        }
        if allowed {
            found.permitted(engine, determining);
            return None;
        }
        let hard = determining
            .iter()
            .find(|id| engine.rule(id).is_none_or(|rule| rule.approvers.is_empty()));
        match (hard, determining.is_empty()) {
            (Some(id), _) => Some((forbidden(engine, id), vec![id.clone()])),
            (None, true) => Some((not_permitted(member, question), Vec::new())),
            (None, false) => {
                holding.extend(determining.iter().cloned());
                None
            }
        }
    });
    if let Some((reason, by)) = refused {
        found.policies = by.into_iter().collect();
        return Verdict::Deny(reason);
    }
    if holding.is_empty() {
        return Verdict::Allow;
    }
    let Some(approved) = subject.context(statement, true) else {
        return Verdict::Deny(Reason::RuleFailed { policy: None });
    };
    let refused = round.run(&approved, &mut |member, question, allowed, determining| {
        if allowed {
            found.permitted(engine, determining);
            return None;
        }
        Some(match determining.first() {
            Some(id) => (forbidden(engine, id), vec![id.clone()]),
            None => (not_permitted(member, question), Vec::new()),
        })
    });
    if let Some((reason, by)) = refused {
        found.policies = by.into_iter().collect();
        return Verdict::Deny(reason);
    }
    let terms = terms(engine, &holding);
    found.policies = holding;
    Verdict::Hold(terms)
}

/// What the answers to all questions add up to.
#[derive(Default)]
struct Found {
    /// The policies that determined the verdict.
    policies: BTreeSet<PolicyId>,
    /// What the permits among them allow to be used.
    budget: Budget,
}

impl Found {
    fn permitted(&mut self, engine: &Engine, determining: &[PolicyId]) {
        for id in determining {
            if let Some(budget) = engine.rule(id).and_then(|rule| rule.budget.as_ref()) {
                self.budget.add(budget);
            }
            if !self.policies.contains(id) {
                self.policies.insert(id.clone());
            }
        }
    }
}

/// What the forbids that hold a statement ask for, each by itself: a wider one does not weaken a narrower one.
fn terms(engine: &Engine, holding: &BTreeSet<PolicyId>) -> HoldTerms {
    let rules = || holding.iter().filter_map(|id| Some((id, engine.rule(id)?)));
    let assent = |groups: &[String], count: u32| {
        let groups: BTreeSet<String> = groups.iter().cloned().collect();
        Assent {
            groups: groups.into_iter().collect(),
            count: count.max(1),
        }
    };
    let all: BTreeSet<Assent> = rules()
        .map(|(_, rule)| assent(&rule.approvers, rule.quorum))
        .collect();
    // Of the same groups, the most is enough.
    let is_less = |one: &&Assent| {
        let more = |other: &Assent| other.groups == one.groups && other.count > one.count;
        !all.iter().any(more)
    };
    let assents = all.iter().filter(is_less).cloned().collect();
    let reasons = rules().map(|(id, rule)| match &rule.reason {
        Some(reason) => format!("{id}: {reason}"),
        None => id.to_string(),
    });
    HoldTerms {
        assents,
        reason: reasons.collect::<Vec<_>>().join("; "),
    }
}

fn forbidden(engine: &Engine, id: &PolicyId) -> Reason {
    Reason::Forbidden {
        policy: id.to_string(),
        reason: engine.rule(id).and_then(|rule| rule.reason.clone()),
    }
}

fn not_permitted(member: &Member, question: &Question) -> Reason {
    Reason::NotPermitted {
        effect: question.effect.unwrap_or(Effects::NONE),
        relation: question.resource.shown.clone(),
        agent: member.agent.clone(),
    }
}

type Refusal = (Reason, Vec<PolicyId>);
/// Told who, what was asked, whether it is allowed and by which policies.
type Judge<'j> = dyn FnMut(&Member, &Question, bool, &[PolicyId]) -> Option<Refusal> + 'j;

/// All questions of one statement, for all members of the chain.
struct Round<'r> {
    engine: &'r Engine,
    subject: &'r Subject,
    entities: &'r Entities,
    questions: &'r [Question],
}

impl Round<'_> {
    /// Stops at the first refusal that `judge` returns, or at the first rule that fails.
    fn run(&self, context: &Context, judge: &mut Judge<'_>) -> Option<Refusal> {
        let mut asking = Asking::new(self.engine, self.subject, self.entities, context);
        for question in self.questions {
            for (index, member) in self.subject.members.iter().enumerate() {
                let answer = asking.ask(index, &question.action, &question.resource.uid);
                match answer {
                    Err(reason) => return Some((reason, Vec::new())),
                    Ok((allowed, determining)) => {
                        // `read` needs no permit: only what forbids it counts.
                        let allowed = allowed || (question.effect.is_none() && determining.is_empty());
                        if let Some(refusal) = judge(member, question, allowed, &determining) {
                            return Some(refusal);
                        }
                    }
                }
            }
        }
        None
    }
}
