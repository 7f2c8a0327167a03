//! Questions to Cedar, put to those policies only that can answer them: Cedar is linear in the policies it is given.
//!
//! Policies about another action, or bound by `resource ==` to another entity, cannot match and are left out; nor can they
//! fail, since Cedar looks at a policy's scope before its conditions. Of the others, those that do not look at the relation
//! give all relations of a statement the same answer and are asked once. Cedar's rule joins the parts: any forbid that
//! matches denies, else any permit allows.

use std::collections::HashMap;
use std::sync::OnceLock;

use cedar_policy::{
    ActionConstraint, AuthorizationError, Authorizer, Context, Decision as Answer, Entities, EntityTypeName,
    EntityUid, Policy, PolicyId, PolicySet, Request, ResourceConstraint,
};

use crate::engine::Engine;
use crate::subject::{Member, Subject};
use crate::verdict::Reason;

/// The policies of a session by the questions that they can answer; each action's part is made when it is first asked.
#[derive(Debug)]
pub(crate) struct Slices {
    kept: Vec<(Policy, bool)>,
    by_action: HashMap<EntityUid, OnceLock<Option<Slice>>>,
}

/// The policies about one action.
#[derive(Debug)]
struct Slice {
    /// Whose answer is the same for every resource of a type on the target.
    anywhere: PolicySet,
    /// Whose answer depends on the resource.
    somewhere: PolicySet,
    /// That are about one resource by name.
    only: HashMap<EntityUid, PolicySet>,
}

impl Slices {
    /// Of the policies that can match a session, each with whether it looks at relations (see `looks`).
    pub(crate) fn new(engine: &Engine, kept: Vec<(Policy, bool)>) -> Self {
        let actions = engine.schema.actions();
        Self {
            kept,
            by_action: actions.map(|action| (action.clone(), OnceLock::new())).collect(),
        }
    }

    /// Number of policies.
    pub(crate) fn policies_count(&self) -> usize {
        self.kept.len()
    }

    /// `None` when the schema has no such action or the sets could not be made.
    fn of(&self, action: &EntityUid) -> Option<&Slice> {
        let made = self.by_action.get(action)?;
        made.get_or_init(|| Slice::new(&self.kept, action)).as_ref()
    }
}

impl Slice {
    fn new(kept: &[(Policy, bool)], action: &EntityUid) -> Option<Self> {
        let (mut anywhere, mut somewhere) = (PolicySet::new(), PolicySet::new());
        let mut only: HashMap<EntityUid, PolicySet> = HashMap::new();
        for (policy, at_relations) in kept {
            let is_about = match policy.action_constraint() {
                ActionConstraint::Any => true,
                ActionConstraint::Eq(uid) => uid == *action,
                ActionConstraint::In(uids) => uids.contains(action), // the schema groups no actions
            };
            if !is_about {
                continue;
            }
            let set = match policy.resource_constraint() {
                ResourceConstraint::Eq(uid) => only.entry(uid).or_default(),
                _ if *at_relations => &mut somewhere,
                _ => &mut anywhere,
            };
            set.add(policy.clone()).ok()?;
        }
        Some(Self {
            anywhere,
            somewhere,
            only,
        })
    }
}

/// The policies that match a question.
#[derive(Clone, Debug, Default)]
struct Matching {
    forbids: Vec<PolicyId>,
    permits: Vec<PolicyId>,
}

impl Matching {
    /// Whether it is allowed, and the policies that determined it, sorted.
    fn answer(mut self) -> (bool, Vec<PolicyId>) {
        let is_allowed = self.forbids.is_empty() && !self.permits.is_empty();
        let mut determining = if is_allowed {
            std::mem::take(&mut self.permits)
        } else {
            std::mem::take(&mut self.forbids)
        };
        determining.sort_by(|one, two| AsRef::<str>::as_ref(one).cmp(two.as_ref()));
        (is_allowed, determining)
    }
}

/// What was asked of the policies that do not look at the relation, for one member of the chain.
struct Known {
    action: EntityUid,
    kind: EntityTypeName,
    matching: Matching,
}

/// Asks policy in one context, remembering per member what holds for further relations.
pub(crate) struct Asking<'a> {
    engine: &'a Engine,
    subject: &'a Subject,
    entities: &'a Entities,
    context: &'a Context,
    known: Vec<Option<Known>>,
}

impl<'a> Asking<'a> {
    /// `entities` hold the session's and every resource that will be asked about.
    pub(crate) fn new(
        engine: &'a Engine,
        subject: &'a Subject,
        entities: &'a Entities,
        context: &'a Context,
    ) -> Self {
        Self {
            engine,
            subject,
            entities,
            context,
            known: subject.members.iter().map(|_| None).collect(),
        }
    }

    /// One question for the chain's member of that index: whether it is allowed, and the policies that determined it,
    /// sorted. A rule that fails is an error: Cedar would skip it, and a skipped forbid would allow.
    pub(crate) fn ask(
        &mut self,
        member_index: usize,
        action: &EntityUid,
        resource: &EntityUid,
    ) -> Result<(bool, Vec<PolicyId>), Reason> {
        const FAILED: Reason = Reason::RuleFailed { policy: None };
        let (Some(member), Some(known)) = (
            self.subject.members.get(member_index),
            self.known.get_mut(member_index),
        ) else {
            return Err(FAILED);
        };
        let slice = self.subject.slices.of(action).ok_or(FAILED)?;
        let question = Question {
            engine: self.engine,
            entities: self.entities,
            context: self.context,
            member,
            action,
            resource,
        };
        // Columns are asked one by one: one that is reached through a view need not be under the target here.
        let is_column = *action == self.engine.nouns.read_column;
        let is_known =
            |known: &&Known| !is_column && known.action == *action && known.kind == *resource.type_name();
        let mut matching = match known.as_ref().filter(is_known) {
            Some(known) => known.matching.clone(),
            None => {
                let mut matching = Matching::default();
                question.put_to(&slice.anywhere, &mut matching)?;
                *known = Some(Known {
                    action: action.clone(),
                    kind: resource.type_name().clone(),
                    matching: matching.clone(),
                });
                matching
            }
        };
        question.put_to(&slice.somewhere, &mut matching)?;
        if let Some(only) = slice.only.get(resource) {
            question.put_to(only, &mut matching)?;
        }
        Ok(matching.answer())
    }
}

struct Question<'q> {
    engine: &'q Engine,
    entities: &'q Entities,
    context: &'q Context,
    member: &'q Member,
    action: &'q EntityUid,
    resource: &'q EntityUid,
}

impl Question<'_> {
    /// Adds the policies of a set that match. Permits beside forbids of the same set are not named, and not needed.
    fn put_to(&self, policies: &PolicySet, matching: &mut Matching) -> Result<(), Reason> {
        if policies.is_empty() {
            return Ok(());
        }
        let request = Request::new(
            self.member.uid.clone(),
            self.action.clone(),
            self.resource.clone(),
            self.context.clone(),
            Some(&self.engine.schema),
        )
        .map_err(|_| Reason::RuleFailed { policy: None })?;
        let response = Authorizer::new().is_authorized(&request, policies, self.entities);
        if let Some(AuthorizationError::PolicyEvaluationError(error)) = response.diagnostics().errors().next()
        {
            return Err(Reason::RuleFailed {
                policy: Some(error.policy_id().to_string()),
            });
        }
        let found = match response.decision() {
            Answer::Allow => &mut matching.permits,
            Answer::Deny => &mut matching.forbids,
        };
        found.extend(response.diagnostics().reason().cloned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linegate_identity::{ActorChain, Effects, LeaseId, Principal, PrincipalKind, Scope};
    use proptest::prelude::*;

    use cedar_policy::{Entity, RestrictedExpression};
    use std::collections::{BTreeSet, HashSet};

    use crate::statement::Statement;

    /// Rules of every shape: by action, by relation, by label, by conditions on either, and one that can fail.
    const RULES: [&str; 14] = [
        "permit (principal, action, resource);",
        "permit (principal, action == Action::\"select\", resource);",
        "permit (principal, action in [Action::\"insert\", Action::\"update\"], resource);",
        "permit (principal, action, resource == Table::\"shop/app.t1\");",
        "permit (principal, action == Action::\"select\", resource is Table);",
        "permit (principal, action == Action::\"select\", resource is Table) when { resource.name == \"t2\" };",
        "permit (principal, action, resource in Target::\"shop\") when { context.depth == 1 };",
        "permit (principal == Workload::\"build\", action, resource);",
        "forbid (principal, action == Action::\"select\", resource == Table::\"shop/app.t2\");",
        "forbid (principal, action, resource == Target::\"shop\");",
        "forbid (principal, action == Action::\"update\", resource in Label::\"pii\");",
        "forbid (principal, action == Action::\"insert\", resource) unless { context.approved };",
        "forbid (principal, action == Action::\"select\", resource is Table) when { resource in Label::\"pii\" };",
        "forbid (principal, action == Action::\"update\", resource) when { context.depth * 9223372036854775807 > 1 && context.depth > 1 };",
    ];

    /// Two tables of the target, one with a label.
    fn entities(engine: &Engine, subject: &Subject) -> Entities {
        let table = |name: &str, labels: &[&str]| {
            let parents = labels.iter().map(|label| engine.nouns.label(label));
            let parents: HashSet<_> = parents.chain([subject.target_uid.clone()]).collect();
            let text = |value: &str| RestrictedExpression::new_string(value.to_owned());
            let attributes = [("schema", text("app")), ("name", text(name))];
            let attributes = attributes.map(|(key, value)| (key.to_owned(), value));
            let uid = engine.nouns.table("shop", "app", name);
            Entity::new(uid, HashMap::from(attributes), parents).expect("an entity")
        };
        let tables = [table("t1", &["pii"]), table("t2", &[])];
        subject
            .entities
            .clone()
            .add_entities(tables, None)
            .expect("distinct entities")
    }

    proptest! {
        #[test]
        fn slices_answer_as_all_policies_together_do(
            chosen in prop::collection::btree_set(0..RULES.len(), 0..RULES.len()),
            actors in 0..3usize,
        ) {
            let text: Vec<String> = chosen
                .iter()
                .map(|index| format!("@id(\"r{index:02}\") {}", RULES[*index]))
                .collect();
            let engine = Engine::compile(&[("t".to_owned(), text.join("\n"))], &[]).expect("compiles");
            let head = Principal::new(PrincipalKind::Workload, "ci", &[]).expect("a name");
            let chain = ["build", "test"][..actors]
                .iter()
                .fold(ActorChain::new(head), |chain, actor| chain.with_actor(actor).expect("a name"));
            let subject = Subject::new(&engine, &chain, &LeaseId("lg".to_owned()), &Scope::all(), "shop");
            let entities = entities(&engine, &subject);
            let context = subject.context(&Statement::empty(), false).expect("a context");
            let mut asking = Asking::new(&engine, &subject, &entities, &context);
            let resources = [
                engine.nouns.table("shop", "app", "t1"),
                engine.nouns.table("shop", "app", "t2"),
                subject.target_uid.clone(),
                engine.nouns.table("shop", "app", "t1"),
            ];
            for effect in [Effects::SELECT, Effects::INSERT, Effects::UPDATE, Effects::DROP] {
                let action = engine.nouns.action(effect).expect("an action");
                for resource in &resources {
                    for (index, member) in subject.members.iter().enumerate() {
                        let request = Request::new(
                            member.uid.clone(), action.clone(), resource.clone(), context.clone(), Some(&engine.schema),
                        ).expect("a request");
                        let whole = Authorizer::new().is_authorized(&request, &engine.policies, &entities);
                        match asking.ask(index, action, resource) {
                            Err(_) => prop_assert!(whole.diagnostics().errors().next().is_some()),
                            Ok((allowed, determining)) => {
                                prop_assert!(whole.diagnostics().errors().next().is_none());
                                prop_assert_eq!(allowed, whole.decision() == Answer::Allow);
                                let determining: BTreeSet<String> = determining.iter().map(ToString::to_string).collect();
                                let reasons: BTreeSet<String> =
                                    whole.diagnostics().reason().map(ToString::to_string).collect();
                                prop_assert_eq!(determining, reasons);
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn columns_do_not_answer_for_each_other() {
        let text = "permit (principal, action, resource);
            @id(\"here\") forbid (principal, action == Action::\"read\", resource in Target::\"shop\");";
        let engine = Engine::compile(&[("t".to_owned(), text.to_owned())], &[]).expect("compiles");
        let head = Principal::new(PrincipalKind::Workload, "ci", &[]).expect("a name");
        let lease = LeaseId("lg".to_owned());
        let subject = Subject::new(&engine, &ActorChain::new(head), &lease, &Scope::all(), "shop");
        let column = |table: &str| {
            let uid = engine.nouns.column("shop", "app", table, "c");
            let parents = HashSet::from([engine.nouns.table("shop", "app", table)]);
            let name = (
                "name".to_owned(),
                RestrictedExpression::new_string("c".to_owned()),
            );
            Entity::new(uid, HashMap::from([name]), parents).expect("an entity")
        };
        let columns = [column("elsewhere"), column("t1")];
        let [elsewhere, here] = columns.each_ref().map(Entity::uid);
        let entities = entities(&engine, &subject);
        let entities = entities.add_entities(columns, None).expect("distinct entities");
        let context = subject.context(&Statement::empty(), false).expect("a context");
        let mut asking = Asking::new(&engine, &subject, &entities, &context);
        let mut forbidden = |column| {
            let (_, by) = asking
                .ask(0, &engine.nouns.read_column, column)
                .expect("an answer");
            by.iter().any(|id| id.to_string() == "here")
        };
        assert!(!forbidden(&elsewhere), "its table is not among the entities");
        assert!(forbidden(&here));
    }

    #[test]
    fn no_action_is_in_a_group() {
        let engine = Engine::compile(&[], &[]).expect("compiles");
        assert_eq!(
            engine.schema.action_groups().count(),
            0,
            "a slice by action would miss rules about groups"
        );
    }
}
