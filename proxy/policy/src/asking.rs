//! Questions to Cedar, put to those policies only that can answer them: Cedar is linear in the policies it is given.
//!
//! Policies about another action, or bound by `resource ==` to another entity, cannot match and are left out; nor can they
//! fail, since Cedar looks at a policy's scope before its conditions. Of the others, those that do not look at the relation
//! give all relations of a statement the same answer, those that do not look at the principal give it to every member of
//! the chain, and those that do not look at the statement either give it to every statement of the session (see `looks`):
//! each is asked once for all that it answers for. Cedar's rule joins the parts: any forbid that matches denies, else any
//! permit allows.

use std::collections::HashMap;
use std::sync::OnceLock;

use cedar_policy::{
    ActionConstraint, AuthorizationError, Authorizer, Context, Decision as Answer, Entities, EntityTypeName,
    EntityUid, Policy, PolicyId, PolicySet, Request, ResourceConstraint,
};

use crate::engine::Engine;
use crate::looks::Differs;
use crate::subject::{Member, Subject};
use crate::verdict::Reason;

/// Kinds of resources that statements' effects are asked of: the target, and relations on it.
const KINDS: usize = 2;
const FAILED: Reason = Reason::RuleFailed { policy: None };

/// The policies of a session by the questions that they can answer; each action's part is made when it is first asked.
#[derive(Debug)]
pub(crate) struct Slices {
    kept: Vec<(Policy, Differs)>,
    members_count: usize,
    by_action: HashMap<EntityUid, OnceLock<Option<Slice>>>,
}

/// The policies about one action.
#[derive(Debug)]
struct Slice {
    /// Whose answer is the same for every statement of the session and every resource of a kind.
    settled: PolicySet,
    /// What they answered, by member and kind.
    answers: Vec<OnceLock<Result<Matching, Reason>>>,
    /// Whose answer is the same for every resource of a kind on the target.
    anywhere: Shares,
    /// Whose answer depends on the resource.
    somewhere: Shares,
    /// That are about one resource by name.
    only: HashMap<EntityUid, Shares>,
}

/// Policies by whom they answer for.
#[derive(Debug, Default)]
struct Shares {
    /// The whole chain.
    chain: PolicySet,
    /// One member of it.
    member: PolicySet,
}

impl Slices {
    /// Of the policies that can match a session, each with what its answers differ by.
    pub(crate) fn new(engine: &Engine, kept: Vec<(Policy, Differs)>, members_count: usize) -> Self {
        let actions = engine.schema.actions();
        Self {
            kept,
            members_count,
            by_action: actions.map(|action| (action.clone(), OnceLock::new())).collect(),
        }
    }

    /// Number of policies.
    pub(crate) fn policies_count(&self) -> usize {
        self.kept.len()
    }

    /// The session has changed: what was answered for it counts no more.
    pub(crate) fn forget_answers(&mut self) {
        for slice in self.by_action.values_mut() {
            slice.take();
        }
    }

    /// `None` when the schema has no such action or the sets could not be made.
    fn of(&self, action: &EntityUid) -> Option<&Slice> {
        let made = self.by_action.get(action)?;
        made.get_or_init(|| Slice::new(&self.kept, self.members_count, action))
            .as_ref()
    }
}

impl Slice {
    fn new(kept: &[(Policy, Differs)], members_count: usize, action: &EntityUid) -> Option<Self> {
        let mut slice = Self {
            settled: PolicySet::new(),
            answers: (0..members_count * KINDS).map(|_| OnceLock::new()).collect(),
            anywhere: Shares::default(),
            somewhere: Shares::default(),
            only: HashMap::new(),
        };
        for (policy, differs) in kept {
            let is_about = match policy.action_constraint() {
                ActionConstraint::Any => true,
                ActionConstraint::Eq(uid) => uid == *action,
                ActionConstraint::In(uids) => uids.contains(action), // the schema groups no actions
            };
            if !is_about {
                continue;
            }
            let shares = match policy.resource_constraint() {
                ResourceConstraint::Eq(uid) => slice.only.entry(uid).or_default(),
                _ if differs.by_relation => &mut slice.somewhere,
                _ if differs.by_statement => &mut slice.anywhere,
                _ => {
                    slice.settled.add(policy.clone()).ok()?;
                    continue;
                }
            };
            let set = if differs.by_member {
                &mut shares.member
            } else {
                &mut shares.chain
            };
            set.add(policy.clone()).ok()?;
        }
        Some(slice)
    }
}

/// The policies that match a question.
#[derive(Clone, Debug, Default)]
struct Matching {
    forbids: Vec<PolicyId>,
    permits: Vec<PolicyId>,
}

impl Matching {
    fn add(&mut self, other: &Self) {
        self.forbids.extend_from_slice(&other.forbids);
        self.permits.extend_from_slice(&other.permits);
    }

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

/// What was asked of the policies that do not look at the relation.
struct OfKind {
    action: EntityUid,
    kind: EntityTypeName,
    matching: Matching,
}

/// What was asked, for the whole chain, of the policies that look at the relation and not at the principal.
struct OfResource {
    action: EntityUid,
    resource: EntityUid,
    matching: Matching,
}

/// Asks policy in one context, remembering what holds for further relations and members.
pub(crate) struct Asking<'a> {
    engine: &'a Engine,
    subject: &'a Subject,
    entities: &'a Entities,
    context: &'a Context,
    of_chain: Option<OfKind>,
    of_members: Vec<Option<OfKind>>,
    of_resource: Option<OfResource>,
    /// Requests that the schema was asked about in this context, by what it looks at.
    valid: Vec<(EntityUid, EntityTypeName, EntityTypeName)>,
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
            of_chain: None,
            of_members: subject.members.iter().map(|_| None).collect(),
            of_resource: None,
            valid: Vec::new(),
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
        let subject = self.subject;
        let member = subject.members.get(member_index).ok_or(FAILED)?;
        let slice = subject.slices.of(action).ok_or(FAILED)?;
        let question = Question {
            entities: self.entities,
            request: self.request(member, action, resource)?,
        };
        let mut matching = Matching::default();
        // Columns are asked one by one: one that is reached through a view need not be under the target here.
        if *action == self.engine.nouns.read_column {
            question.put_to(&slice.settled, &mut matching)?;
            question.put_to(&slice.anywhere.chain, &mut matching)?;
            question.put_to(&slice.anywhere.member, &mut matching)?;
        } else {
            let kind = resource.type_name();
            self.settled(slice, member_index, &question, kind, &mut matching)?;
            let asked = &slice.anywhere;
            once_of_kind(
                &mut self.of_chain,
                &asked.chain,
                &question,
                action,
                kind,
                &mut matching,
            )?;
            let of_member = self.of_members.get_mut(member_index).ok_or(FAILED)?;
            once_of_kind(of_member, &asked.member, &question, action, kind, &mut matching)?;
        }
        let only = slice.only.get(resource);
        self.for_chain(slice, only, &question, action, resource, &mut matching)?;
        question.put_to(&slice.somewhere.member, &mut matching)?;
        if let Some(only) = only {
            question.put_to(&only.member, &mut matching)?;
        }
        Ok(matching.answer())
    }

    /// The schema is asked once of everything that it looks at: the action, the types and the context.
    fn request(
        &mut self,
        member: &Member,
        action: &EntityUid,
        resource: &EntityUid,
    ) -> Result<Request, Reason> {
        let (principal, kind) = (member.uid.type_name(), resource.type_name());
        let is_valid = self
            .valid
            .iter()
            .any(|(a, p, r)| a == action && p == principal && r == kind);
        let schema = (!is_valid).then_some(&self.engine.schema);
        let (context, uid) = (self.context.clone(), member.uid.clone());
        let request =
            Request::new(uid, action.clone(), resource.clone(), context, schema).map_err(|_| FAILED)?;
        if !is_valid {
            self.valid.push((action.clone(), principal.clone(), kind.clone()));
        }
        Ok(request)
    }

    /// What policies say that do not look at the statement: asked once in a session's life.
    fn settled(
        &self,
        slice: &Slice,
        member_index: usize,
        question: &Question<'_>,
        kind: &EntityTypeName,
        matching: &mut Matching,
    ) -> Result<(), Reason> {
        let nouns = &self.engine.nouns;
        let kind_index = if kind == nouns.target_kind() {
            0
        } else if nouns.is_within_target(kind) {
            1
        } else {
            return question.put_to(&slice.settled, matching);
        };
        let place = slice
            .answers
            .get(member_index * KINDS + kind_index)
            .ok_or(FAILED)?;
        let answer = place.get_or_init(|| {
            let mut matching = Matching::default();
            question.put_to(&slice.settled, &mut matching).map(|()| matching)
        });
        matching.add(answer.as_ref().map_err(Clone::clone)?);
        Ok(())
    }

    /// What policies say of one resource to the whole chain: asked for its first member.
    fn for_chain(
        &mut self,
        slice: &Slice,
        only: Option<&Shares>,
        question: &Question<'_>,
        action: &EntityUid,
        resource: &EntityUid,
        matching: &mut Matching,
    ) -> Result<(), Reason> {
        if slice.somewhere.chain.is_empty() && only.is_none_or(|only| only.chain.is_empty()) {
            return Ok(());
        }
        let is_known = |known: &&OfResource| known.action == *action && known.resource == *resource;
        if let Some(known) = self.of_resource.as_ref().filter(is_known) {
            matching.add(&known.matching);
            return Ok(());
        }
        let mut found = Matching::default();
        question.put_to(&slice.somewhere.chain, &mut found)?;
        if let Some(only) = only {
            question.put_to(&only.chain, &mut found)?;
        }
        matching.add(&found);
        self.of_resource = Some(OfResource {
            action: action.clone(),
            resource: resource.clone(),
            matching: found,
        });
        Ok(())
    }
}

/// What policies say of every resource of a kind: asked for the first.
fn once_of_kind(
    known: &mut Option<OfKind>,
    policies: &PolicySet,
    question: &Question<'_>,
    action: &EntityUid,
    kind: &EntityTypeName,
    matching: &mut Matching,
) -> Result<(), Reason> {
    if policies.is_empty() {
        return Ok(());
    }
    let is_known = |known: &&OfKind| known.action == *action && known.kind == *kind;
    if let Some(known) = known.as_ref().filter(is_known) {
        matching.add(&known.matching);
        return Ok(());
    }
    let mut found = Matching::default();
    question.put_to(policies, &mut found)?;
    matching.add(&found);
    *known = Some(OfKind {
        action: action.clone(),
        kind: kind.clone(),
        matching: found,
    });
    Ok(())
}

struct Question<'q> {
    entities: &'q Entities,
    request: Request,
}

impl Question<'_> {
    /// Adds the policies of a set that match. Permits beside forbids of the same set are not named, and not needed.
    fn put_to(&self, policies: &PolicySet, matching: &mut Matching) -> Result<(), Reason> {
        if policies.is_empty() {
            return Ok(());
        }
        let response = Authorizer::new().is_authorized(&self.request, policies, self.entities);
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

    use crate::statement::{Name, Statement};

    /// Rules of every shape: by action, by relation, by label, by conditions on either, and one that can fail.
    const RULES: [&str; 22] = [
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
        "permit (principal, action, resource) when { context.functions.contains(\"f\") };",
        "forbid (principal == Workload::\"test\", action, resource) unless { context.bounded };",
        "forbid (principal is Workload, action == Action::\"drop\", resource) when { principal == Workload::\"build\" };",
        "permit (principal in Workload::\"ci\", action == Action::\"drop\", resource == Table::\"shop/app.t1\") when { context.bounded };",
        "forbid (principal, action == Action::\"insert\", resource) when { context.actor == \"build\" && resource is Table };",
        "permit (principal in Workload::\"ci\", action, resource) when { context.depth >= 0 };",
        "forbid (principal, action == Action::\"drop\", resource in Label::\"pii\") unless { principal == Workload::\"ci\" };",
        "permit (principal, action, resource) when { context.effects.contains(\"drop\") && resource in Label::\"pii\" };",
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
            let f = Name { schema: None, name: "f".to_owned() };
            let entities = entities(&engine, &subject);
            let resources = [
                engine.nouns.table("shop", "app", "t1"),
                engine.nouns.table("shop", "app", "t2"),
                subject.target_uid.clone(),
                engine.nouns.table("shop", "app", "t1"),
            ];
            // Several statements of one session: what is kept between them must not differ by them.
            for round in 0..3 {
                let statement = Statement {
                    bounded: round == 1,
                    effects: if round == 2 { Effects::DROP } else { Effects::SELECT },
                    functions: if round == 1 { vec![f.clone()] } else { Vec::new() },
                    ..Statement::empty()
                };
                let context = subject.context(&statement, round == 2).expect("a context");
                let mut asking = Asking::new(&engine, &subject, &entities, &context);
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
                                    let determining: BTreeSet<String> =
                                        determining.iter().map(ToString::to_string).collect();
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
    }

    #[test]
    fn a_changed_session_is_asked_anew() {
        let text = "permit (principal, action, resource) when { context.database == \"shop\" };";
        let engine = Engine::compile(&[("t".to_owned(), text.to_owned())], &[]).expect("compiles");
        let head = Principal::new(PrincipalKind::Workload, "ci", &[]).expect("a name");
        let lease = LeaseId("lg".to_owned());
        let mut subject = Subject::new(&engine, &ActorChain::new(head), &lease, &Scope::all(), "shop");
        for (database, expected) in [("other", false), ("shop", true), ("other", false)] {
            subject = subject.with_database(database);
            let context = subject.context(&Statement::empty(), false).expect("a context");
            let mut asking = Asking::new(&engine, &subject, &subject.entities, &context);
            let select = engine.nouns.action(Effects::SELECT).expect("an action");
            let (allowed, _) = asking.ask(0, select, &subject.target_uid).expect("an answer");
            assert_eq!(allowed, expected, "{database}");
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
