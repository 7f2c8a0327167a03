//! One statement to one verdict: scope, then what a mask rules out, then policy. The order is the order of the functions.
//!
//! Which question is asked of policy for which effect:
//! `select` and `copy-out` of every relation read; `insert`, `update`, `delete`, `truncate`, `create`, `alter`, `drop` and
//! `copy-in` of every relation written; `lock`, `maintenance`, `grant` and `explain` of both; every other effect, and those
//! without a relation, of the target. A write that also reads other relations needs `select` on those. Every question is
//! asked for every member of the chain (see `subject`), and one refusal refuses all.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision as Answer, Entities, Entity, EntityUid, PolicyId,
    Request, RestrictedExpression,
};
use linegate_identity::{Effects, Scope};

use crate::engine::Engine;
use crate::labels::{LabelIndex, MaskScope};
use crate::statement::{Name, OutputColumn, Statement};
use crate::subject::{Member, Subject};
use crate::under_mask;
use crate::verdict::{Decision, HoldTerms, Reason, Verdict};

/// The most questions one statement may ask of policy (tens of microseconds each), members of the chain included.
const QUESTIONS_MAX: usize = 65_536;

const OF_READS: Effects = Effects::SELECT.with(Effects::COPY_OUT);
const OF_WRITES: Effects = Effects::INSERT
    .with(Effects::UPDATE)
    .with(Effects::DELETE)
    .with(Effects::TRUNCATE)
    .with(Effects::CREATE)
    .with(Effects::ALTER)
    .with(Effects::DROP)
    .with(Effects::COPY_IN);
const OF_BOTH: Effects = Effects::LOCK
    .with(Effects::MAINTENANCE)
    .with(Effects::GRANT)
    .with(Effects::EXPLAIN);
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
    /// The effect class.
    pub effect: Effects,
    /// The relation; `None` for the target.
    pub relation: Option<String>,
    /// Allowed without an approval.
    pub allowed: bool,
    /// Ids of the policies that determined it, sorted.
    pub policies: Vec<String>,
}

/// Decides a statement. `labels` is `None` while the database's catalog is not known.
pub fn decide(
    engine: &Engine,
    subject: &Subject,
    labels: Option<&LabelIndex>,
    masks: &MaskScope,
    statement: &Statement,
) -> Decision {
    decide_traced(engine, subject, labels, masks, statement, &mut |_| {})
}

/// `decide`, telling each question and answer.
pub(crate) fn decide_traced(
    engine: &Engine,
    subject: &Subject,
    labels: Option<&LabelIndex>,
    masks: &MaskScope,
    statement: &Statement,
    trace: &mut dyn FnMut(Step),
) -> Decision {
    let mut policies = BTreeSet::new();
    let verdict = match before_policy(&subject.scope, labels, masks, statement) {
        Some(reason) => Verdict::Deny(reason),
        None if statement.effects.is_empty() => Verdict::Allow,
        None => ask_policy(engine, subject, labels, statement, &mut policies, trace),
    };
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
        policies: policies.into_iter().map(|id| id.to_string()).collect(),
        statement,
    }
}

/// Whether a session may be opened at all.
pub fn may_connect(engine: &Engine, subject: &Subject) -> Result<(), Reason> {
    let Some(context) = subject.context(&Statement::empty(), false) else {
        return Err(Reason::RuleFailed { policy: None });
    };
    for member in &subject.members {
        let target = &subject.target_uid;
        let (allowed, determining) = ask(
            engine,
            subject,
            &subject.entities,
            member,
            &engine.nouns.connect,
            target,
            context.clone(),
        )?;
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
    let Some(context) = subject.context(&Statement::empty(), false) else {
        return false;
    };
    let label = engine.nouns.label(label);
    subject.members.iter().all(|member| {
        let action = &engine.nouns.read_raw;
        matches!(
            ask(
                engine,
                subject,
                &subject.entities,
                member,
                action,
                &label,
                context.clone()
            ),
            Ok((true, _))
        )
    })
}

/// What is refused before policy is asked.
fn before_policy(
    scope: &Scope,
    labels: Option<&LabelIndex>,
    masks: &MaskScope,
    statement: &Statement,
) -> Option<Reason> {
    let effects = statement.effects;
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
    match labels {
        _ if masks.is_empty() => None,
        None => Some(Reason::CatalogMissing),
        Some(labels) => under_mask::refuse(statement, labels, masks),
    }
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

/// The effects that scope and policy must allow: what it does, and `select` where a write reads other relations.
fn needed(statement: &Statement) -> Effects {
    let effects = statement.effects;
    let reads_others = statement
        .reads
        .iter()
        .any(|name| !statement.writes.contains(name));
    if reads_others && effects.intersects(OF_WRITES) && !effects.intersects(OF_READS) {
        return effects.with(Effects::SELECT);
    }
    effects
}

/// One question's resource.
#[derive(Clone)]
struct Resource {
    uid: EntityUid,
    /// `schema.name`; `None` for the target.
    shown: Option<String>,
}

/// The relations of a statement as Cedar entities.
struct Tables {
    by_name: HashMap<Name, Vec<Resource>>,
    entities: HashMap<EntityUid, Entity>,
}

impl Tables {
    fn of(
        engine: &Engine,
        subject: &Subject,
        labels: Option<&LabelIndex>,
        statement: &Statement,
    ) -> Option<Self> {
        let mut tables = Self {
            by_name: HashMap::new(),
            entities: HashMap::new(),
        };
        for name in statement.reads.iter().chain(&statement.writes) {
            if tables.by_name.contains_key(name) {
                continue;
            }
            let mut meant: Vec<(String, String)> = Vec::new();
            if let Some(labels) = labels {
                meant.extend(
                    labels
                        .candidates(name)
                        .map(|(schema, name)| (schema.to_owned(), name.to_owned())),
                );
            }
            if meant.is_empty() {
                meant.push((
                    name.schema.clone().unwrap_or_else(|| "?".to_owned()),
                    name.name.clone(),
                ));
            }
            let mut resources = Vec::with_capacity(meant.len());
            for (schema, table) in meant {
                let uid = engine.nouns.table(&subject.target, &schema, &table);
                let full = Name {
                    schema: Some(schema),
                    name: table,
                };
                let label_names = labels.map(|labels| labels.labels_of(&full)).unwrap_or_default();
                let mut parents: HashSet<EntityUid> = label_names
                    .into_iter()
                    .map(|label| engine.nouns.label(label))
                    .collect();
                parents.insert(subject.target_uid.clone());
                resources.push(Resource {
                    uid: uid.clone(),
                    shown: Some(full.to_string()),
                });
                let text =
                    |value: Option<String>| RestrictedExpression::new_string(value.unwrap_or_default());
                let attributes = HashMap::from([
                    ("schema".to_owned(), text(full.schema)),
                    ("name".to_owned(), text(Some(full.name))),
                ]);
                tables
                    .entities
                    .insert(uid.clone(), Entity::new(uid, attributes, parents).ok()?);
            }
            tables.by_name.insert(name.clone(), resources);
        }
        Some(tables)
    }

    fn resources<'n>(&self, names: impl Iterator<Item = &'n Name>) -> Vec<Resource> {
        // Two spellings may mean one relation; it is asked about once.
        let mut found = BTreeMap::new();
        for resource in names.filter_map(|name| self.by_name.get(name)).flatten() {
            found
                .entry(resource.shown.clone())
                .or_insert_with(|| resource.clone());
        }
        found.into_values().collect()
    }
}

/// Every (effect, resource) that must be allowed.
fn questions(subject: &Subject, tables: &Tables, statement: &Statement) -> Vec<(Effects, Resource)> {
    let mut found = Vec::new();
    for (effect, _) in Effects::NAMES
        .iter()
        .filter(|(effect, _)| needed(statement).contains(*effect))
    {
        let mut resources = if OF_READS.contains(*effect) {
            tables.resources(statement.reads.iter())
        } else if OF_WRITES.contains(*effect) {
            tables.resources(statement.writes.iter())
        } else if OF_BOTH.contains(*effect) {
            tables.resources(statement.reads.iter().chain(&statement.writes))
        } else {
            Vec::new()
        };
        if resources.is_empty() {
            resources.push(Resource {
                uid: subject.target_uid.clone(),
                shown: None,
            });
        }
        found.extend(resources.into_iter().map(|resource| (*effect, resource)));
    }
    found
}

/// Asks every question; if only forbids that people may lift stood in the way, asks again as if they had.
fn ask_policy(
    engine: &Engine,
    subject: &Subject,
    labels: Option<&LabelIndex>,
    statement: &Statement,
    policies: &mut BTreeSet<PolicyId>,
    trace: &mut dyn FnMut(Step),
) -> Verdict {
    let tables = Tables::of(engine, subject, labels, statement);
    let contexts = (
        subject.context(statement, false),
        subject.context(statement, true),
    );
    let (Some(mut tables), (Some(asked), Some(approved))) = (tables, contexts) else {
        return Verdict::Deny(Reason::RuleFailed { policy: None });
    };
    let questions = questions(subject, &tables, statement);
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
    let refused = round.run(&asked, &mut |member, effect, resource, allowed, determining| {
        trace(Step {
            agent: member.agent.clone(),
            effect,
            relation: resource.shown.clone(),
            allowed,
            policies: determining.iter().map(ToString::to_string).collect(),
        });
        if allowed {
            policies.extend(determining.iter().cloned());
            return None;
        }
        let hard = determining
            .iter()
            .find(|id| engine.rule(id).is_none_or(|rule| rule.approvers.is_empty()));
        match (hard, determining.is_empty()) {
            (Some(id), _) => Some((forbidden(engine, id), vec![id.clone()])),
            (None, true) => Some((not_permitted(member, effect, resource), Vec::new())),
            (None, false) => {
                holding.extend(determining.iter().cloned());
                None
            }
        }
    });
    if let Some((reason, by)) = refused {
        *policies = by.into_iter().collect();
        return Verdict::Deny(reason);
    }
    if holding.is_empty() {
        return Verdict::Allow;
    }
    let refused =
        round.run(&approved, &mut |member,
                                   effect,
                                   resource,
                                   allowed,
                                   determining| match determining.first() {
            _ if allowed => None,
            Some(id) => Some((forbidden(engine, id), vec![id.clone()])),
            None => Some((not_permitted(member, effect, resource), Vec::new())),
        });
    if let Some((reason, by)) = refused {
        *policies = by.into_iter().collect();
        return Verdict::Deny(reason);
    }
    *policies = holding;
    Verdict::Hold(terms(engine, policies))
}

/// The union of the approvers and the largest quorum of the forbids that hold a statement.
fn terms(engine: &Engine, holding: &BTreeSet<PolicyId>) -> HoldTerms {
    let rules = || holding.iter().filter_map(|id| Some((id, engine.rule(id)?)));
    let approvers: BTreeSet<String> = rules()
        .flat_map(|(_, rule)| rule.approvers.iter().cloned())
        .collect();
    let reasons = rules().map(|(id, rule)| match &rule.reason {
        Some(reason) => format!("{id}: {reason}"),
        None => id.to_string(),
    });
    HoldTerms {
        approvers: approvers.into_iter().collect(),
        quorum: rules().map(|(_, rule)| rule.quorum).max().unwrap_or(1).max(1),
        reason: reasons.collect::<Vec<_>>().join("; "),
    }
}

fn forbidden(engine: &Engine, id: &PolicyId) -> Reason {
    Reason::Forbidden {
        policy: id.to_string(),
        reason: engine.rule(id).and_then(|rule| rule.reason.clone()),
    }
}

fn not_permitted(member: &Member, effect: Effects, resource: &Resource) -> Reason {
    Reason::NotPermitted {
        effect,
        relation: resource.shown.clone(),
        agent: member.agent.clone(),
    }
}

type Refusal = (Reason, Vec<PolicyId>);
/// Told who, which effect on what, whether it is allowed and by which policies.
type Judge<'j> = dyn FnMut(&Member, Effects, &Resource, bool, &[PolicyId]) -> Option<Refusal> + 'j;

/// All questions of one statement, for all members of the chain.
struct Round<'r> {
    engine: &'r Engine,
    subject: &'r Subject,
    entities: &'r Entities,
    questions: &'r [(Effects, Resource)],
}

impl Round<'_> {
    /// Stops at the first refusal that `judge` returns, or at the first rule that fails.
    fn run(&self, context: &Context, judge: &mut Judge<'_>) -> Option<Refusal> {
        for (effect, resource) in self.questions {
            let Some(action) = self.engine.nouns.action(*effect) else {
                return Some((Reason::RuleFailed { policy: None }, Vec::new()));
            };
            for member in &self.subject.members {
                let answer = ask(
                    self.engine,
                    self.subject,
                    self.entities,
                    member,
                    action,
                    &resource.uid,
                    context.clone(),
                );
                match answer {
                    Err(reason) => return Some((reason, Vec::new())),
                    Ok((allowed, determining)) => {
                        if let Some(refusal) = judge(member, *effect, resource, allowed, &determining) {
                            return Some(refusal);
                        }
                    }
                }
            }
        }
        None
    }
}

/// One question to Cedar: whether it is allowed, and the policies that determined it, sorted. A rule that fails is an error:
/// Cedar would skip it, and a skipped forbid would allow.
fn ask(
    engine: &Engine,
    subject: &Subject,
    entities: &Entities,
    member: &Member,
    action: &EntityUid,
    resource: &EntityUid,
    context: Context,
) -> Result<(bool, Vec<PolicyId>), Reason> {
    let request = Request::new(
        member.uid.clone(),
        action.clone(),
        resource.clone(),
        context,
        Some(&engine.schema),
    )
    .map_err(|_| Reason::RuleFailed { policy: None })?;
    let response = Authorizer::new().is_authorized(&request, &subject.policies, entities);
    if let Some(AuthorizationError::PolicyEvaluationError(error)) = response.diagnostics().errors().next() {
        return Err(Reason::RuleFailed {
            policy: Some(error.policy_id().to_string()),
        });
    }
    let mut determining: Vec<PolicyId> = response.diagnostics().reason().cloned().collect();
    determining.sort_by(|one, two| AsRef::<str>::as_ref(one).cmp(two.as_ref()));
    Ok((response.decision() == Answer::Allow, determining))
}
