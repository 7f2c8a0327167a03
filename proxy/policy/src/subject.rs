//! Who asks: one session's actor chain as Cedar entities, its target, its lease's scope, and the policies that can matter.
//!
//! How the chain is judged. Each request is asked once for the head principal and once for every agent, and the verdict is
//! the intersection: all must be allowed. An agent is `Workload::"name"`, member of the groups that the configuration gives
//! `workload:name`, and `in` the head principal. So for an agent:
//!
//! * a rule with `principal`, `principal in User::"head"` or `principal in Group::"g"` (a group of the head, or its own)
//!   matches: permits written for the head are inherited, and so are all such forbids;
//! * a permit with `principal == User::"head"` does not match: it means the head itself, without agents between;
//! * a forbid with `principal == Workload::"agent"` stops every chain that the agent is part of;
//! * `principal is User` matches no agent, since agents are workloads.
//!
//! Joining more groups never widens what an agent may do, because the head is asked as well.

use std::collections::HashSet;

use cedar_policy::{
    ActionConstraint, Context, Effect, Entities, Entity, EntityUid, Policy, PrincipalConstraint,
    ResourceConstraint, RestrictedExpression,
};
use linegate_identity::{ActorChain, Effects, LeaseId, PrincipalKind, Scope, UnixMillis};

use crate::asking::Slices;
use crate::engine::Engine;
use crate::looks::{Differs, Looks};
use crate::statement::Statement;
use crate::window::Moment;

/// Changes of rows.
const CHANGES: Effects = Effects::INSERT
    .with(Effects::UPDATE)
    .with(Effects::DELETE)
    .with(Effects::TRUNCATE)
    .with(Effects::COPY_IN);

/// One member of the chain.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Its entity.
    pub(crate) uid: EntityUid,
    /// Its name; `None` for the head principal.
    pub(crate) agent: Option<String>,
}

/// A session as policy sees it, built once.
#[derive(Debug)]
pub struct Subject {
    pub(crate) members: Vec<Member>,
    pub(crate) entities: Entities,
    pub(crate) slices: Slices,
    pub(crate) target: String,
    pub(crate) target_uid: EntityUid,
    pub(crate) scope: Scope,
    chain: Vec<String>,
    depth: i64,
    lease: String,
    database: String,
    moment: Option<Moment>,
    looks_at_time: bool,
    /// Effects that a forbid may refuse by a relation's name, schema or labels.
    pub(crate) refused_by_relation: Effects,
    /// Changes of rows that a permit may allow of some relations and not of others, which views and cascades lead to.
    pub(crate) changed_by_relation: Effects,
    /// Effects that a permit may allow of some relations and not of others.
    pub(crate) permitted_by_relation: Effects,
    /// A policy looks at what only the catalog tells of a statement: functions and triggers that somebody defined.
    pub(crate) looks_at_definitions: bool,
    /// A forbid speaks of `read`.
    pub(crate) refuses_columns: bool,
    may_everything: bool,
    is_sound: bool,
}

impl Subject {
    /// The session's entities, and the policies that could match any of them on this target.
    pub fn new(engine: &Engine, chain: &ActorChain, lease: &LeaseId, scope: &Scope, target: &str) -> Self {
        let nouns = &engine.nouns;
        let head = &chain.principal;
        let head_uid = nouns.principal(head.kind, &head.name);
        let target_uid = nouns.target(target);
        let head_groups = engine.groups_of(head.kind, &head.name).iter().chain(&head.groups);
        let head_groups: HashSet<EntityUid> = head_groups.map(|group| nouns.group(group)).collect();
        let mut ancestors = head_groups.clone();
        // Every member of the chain is the head or in it.
        let mut above_all = head_groups.clone();
        above_all.insert(head_uid.clone());
        let mut members = vec![Member {
            uid: head_uid.clone(),
            agent: None,
        }];
        let mut entities = vec![
            Entity::new_no_attrs(head_uid.clone(), head_groups),
            Entity::new_no_attrs(target_uid.clone(), HashSet::new()),
        ];
        for actor in &chain.actors {
            let uid = nouns.principal(PrincipalKind::Workload, actor);
            if members.iter().any(|member| member.uid == uid) {
                continue; // the same entity twice in a chain is asked once
            }
            let groups = engine
                .groups_of(PrincipalKind::Workload, actor)
                .iter()
                .map(|group| nouns.group(group));
            let parents: HashSet<EntityUid> = groups.chain([head_uid.clone()]).collect();
            ancestors.extend(parents.iter().cloned());
            entities.push(Entity::new_no_attrs(uid.clone(), parents));
            members.push(Member {
                uid,
                agent: Some(actor.clone()),
            });
        }
        ancestors.extend(members.iter().map(|member| member.uid.clone()));
        let slice = Slice {
            engine,
            members: &members,
            ancestors: &ancestors,
            target,
            target_uid: &target_uid,
        };
        let kept: Vec<&Policy> = engine
            .policies
            .policies()
            .filter(|policy| slice.keeps(policy))
            .collect();
        let may_everything = has_no_bounds(scope) && allow_everything(engine, &above_all, &kept);
        let (mut looks_at_time, mut looks_at_definitions, mut refuses_columns) = (false, false, false);
        let mut refused_by_relation = Effects::NONE;
        let mut permitted_by_relation = Effects::NONE;
        let mut policies = Vec::with_capacity(kept.len());
        for policy in kept {
            // Every policy has a rule; one without would be asked about everything.
            let looks = engine.rule(policy.id()).map(|rule| &rule.looks);
            let is_forbid = policy.effect() == Effect::Forbid;
            looks_at_time |= looks.is_none_or(|looks| looks.at_time);
            looks_at_definitions |= looks.is_none_or(|looks| looks.at_definitions);
            if is_forbid && looks.is_none_or(|looks| looks.at_relations) {
                refused_by_relation = refused_by_relation.with(nouns.effects_of(&policy.action_constraint()));
            }
            if !is_forbid && looks.is_none_or(|looks| looks.at_relations) {
                let effects = nouns.effects_of(&policy.action_constraint());
                permitted_by_relation = permitted_by_relation.with(effects);
            }
            refuses_columns |= is_forbid && nouns.names_read(&policy.action_constraint());
            let differs = looks.map_or(Differs::BY_ANYTHING, Looks::differs);
            policies.push((policy.clone(), differs));
        }
        let slices = Slices::new(engine, policies, members.len());
        let entities = Entities::from_entities(entities, None);
        // It cannot fail: entities are distinct and without a cycle. Doubt denies.
        let is_sound = entities.is_ok();
        let names = std::iter::once(&head.name)
            .chain(&chain.actors)
            .cloned()
            .collect();
        Self {
            members,
            entities: entities.unwrap_or_else(|_| Entities::empty()),
            slices,
            target: target.to_owned(),
            target_uid,
            scope: scope.clone(),
            chain: names,
            depth: i64::try_from(chain.actors.len()).unwrap_or(i64::MAX),
            lease: lease.0.clone(),
            database: String::new(),
            moment: None,
            looks_at_time,
            refused_by_relation,
            changed_by_relation: permitted_by_relation.and(CHANGES),
            permitted_by_relation,
            looks_at_definitions,
            refuses_columns,
            may_everything,
            is_sound,
        }
    }

    /// The same session on a named database of the target, for policies that look at `context.database`.
    #[must_use]
    pub fn with_database(mut self, database: &str) -> Self {
        database.clone_into(&mut self.database);
        self.slices.forget_answers();
        self
    }

    /// The same session at a time, for policies that look at it. Where one does, nothing is allowed without; build the
    /// subject anew when [`Self::valid_until`] has passed.
    #[must_use]
    pub fn at(mut self, now: UnixMillis) -> Self {
        self.moment = Some(Moment::of(now));
        self.slices.forget_answers();
        self
    }

    /// When decisions and masks made with this subject may change by themselves; `None` when time does not matter to any
    /// policy that can match the session.
    pub fn valid_until(&self) -> Option<UnixMillis> {
        self.looks_at_time
            .then(|| self.moment.map_or(UnixMillis(0), Moment::ends_at))
    }

    /// Whether a policy that can match the session refuses by relations' or labels' names, permits changes by them, or looks at
    /// what defined functions and triggers do: statements that name something are then refused until the database's catalog
    /// is known, as under a mask.
    pub fn needs_catalog(&self) -> bool {
        self.refuses_columns
            || self.looks_at_definitions
            || !self.refused_by_relation.with(self.changed_by_relation).is_empty()
    }

    /// Effects that policies refuse by a relation's name, schema or labels, or permit by them where that is all that permits.
    pub fn judged_by_relation(&self) -> Effects {
        let shows = Effects::SELECT.with(Effects::COPY_OUT);
        let refused = match self.refuses_columns {
            true => self.refused_by_relation.with(shows),
            false => self.refused_by_relation,
        };
        // Whoever may read one relation and not another was asked of what a view shows when it was made.
        refused.with(self.permitted_by_relation.without(shows))
    }

    /// Whether no verdict can depend on what a statement does: everything is permitted, by policies without conditions or
    /// budgets, and the lease narrows nothing. What a mask rules out is another matter.
    pub fn may_everything(&self) -> bool {
        self.may_everything
    }

    /// The target's name.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Number of policies that can match this session, for the cost of a decision.
    pub fn policies_count(&self) -> usize {
        self.slices.policies_count()
    }

    /// The context record of the schema, or `None` when the session could not be built soundly.
    pub(crate) fn context(&self, statement: &Statement, approved: bool) -> Option<Context> {
        let text = |value: &str| RestrictedExpression::new_string(value.to_owned());
        let set = |values: &mut dyn Iterator<Item = String>| {
            RestrictedExpression::new_set(values.map(RestrictedExpression::new_string))
        };
        // Where no policy looks at time, what it reads does not matter.
        let moment = match self.moment {
            None if self.looks_at_time => return None,
            None => Moment::of(UnixMillis(0)),
            Some(moment) => moment,
        };
        let pairs = [
            ("hour", RestrictedExpression::new_long(moment.hour())),
            ("weekday", text(moment.weekday())),
            (
                "minute_of_day",
                RestrictedExpression::new_long(moment.minute_of_day()),
            ),
            ("effects", set(&mut statement.effects.names().map(str::to_owned))),
            ("bounded", RestrictedExpression::new_bool(statement.bounded)),
            (
                "opaque",
                RestrictedExpression::new_bool(!statement.opaque.is_empty()),
            ),
            (
                "fires_triggers",
                RestrictedExpression::new_bool(statement.fires_triggers()),
            ),
            ("approved", RestrictedExpression::new_bool(approved)),
            ("chain", set(&mut self.chain.iter().cloned())),
            ("actor", text(self.chain.last().map_or("", String::as_str))),
            ("depth", RestrictedExpression::new_long(self.depth)),
            ("lease", text(&self.lease)),
            ("target", text(&self.target)),
            ("database", text(&self.database)),
            (
                "functions",
                set(&mut statement
                    .functions
                    .iter()
                    .map(|function| function.name.to_lowercase())),
            ),
            (
                "settings",
                set(&mut statement
                    .settings
                    .iter()
                    .map(|setting| setting_name(setting).to_owned())),
            ),
        ];
        let pairs = pairs.into_iter().map(|(key, value)| (key.to_owned(), value));
        self.is_sound.then(|| Context::from_pairs(pairs).ok()).flatten()
    }
}

/// Whether a lease may do whatever policy permits.
fn has_no_bounds(scope: &Scope) -> bool {
    let tables = scope.tables.as_ref();
    scope.effects.contains(Effects::all())
        && tables.is_none_or(|patterns| patterns.iter().any(|pattern| pattern == "*"))
}

/// Whether the policies that can match a session permit every member of its chain everything, whatever it is.
fn allow_everything(engine: &Engine, above_all: &HashSet<EntityUid>, kept: &[&Policy]) -> bool {
    let is_plain = |policy: &&Policy| {
        let rule = engine.rule(policy.id());
        policy.effect() == Effect::Permit
            && !policy.has_non_scope_constraint()
            && rule.is_some_and(|rule| rule.budget.is_none() && !rule.looks.at_relations)
    };
    let is_wide = |policy: &&Policy| {
        let for_all = match policy.principal_constraint() {
            PrincipalConstraint::Any => true,
            PrincipalConstraint::In(uid) => above_all.contains(&uid),
            _ => false,
        };
        let resource = policy.resource_constraint();
        for_all
            && policy.action_constraint() == ActionConstraint::Any
            && matches!(resource, ResourceConstraint::Any | ResourceConstraint::In(_))
    };
    kept.iter().all(is_plain) && kept.iter().any(is_wide)
}

impl Engine {
    /// Whether everybody is permitted everything, whatever it is: then no verdict rests on what names mean.
    pub fn permits_everybody(&self) -> bool {
        let kept: Vec<&Policy> = self.policies.policies().collect();
        allow_everything(self, &HashSet::new(), &kept)
    }
}

/// The name in `name` or `name=value`.
pub(crate) fn setting_name(setting: &str) -> &str {
    setting.split_once('=').map_or(setting, |(name, _)| name)
}

/// What decides whether a policy can match a session at all. Only what its scope proves is left out.
struct Slice<'s> {
    engine: &'s Engine,
    members: &'s [Member],
    ancestors: &'s HashSet<EntityUid>,
    target: &'s str,
    target_uid: &'s EntityUid,
}

impl Slice<'_> {
    fn keeps(&self, policy: &Policy) -> bool {
        let is_member_kind = |kind| self.members.iter().any(|member| member.uid.type_name() == kind);
        let principal = match policy.principal_constraint() {
            PrincipalConstraint::Any => true,
            PrincipalConstraint::Eq(uid) => self.members.iter().any(|member| member.uid == uid),
            PrincipalConstraint::In(uid) => self.ancestors.contains(&uid),
            PrincipalConstraint::Is(kind) => is_member_kind(&kind),
            PrincipalConstraint::IsIn(kind, uid) => is_member_kind(&kind) && self.ancestors.contains(&uid),
        };
        let resource = match policy.resource_constraint() {
            ResourceConstraint::Any | ResourceConstraint::Is(_) => true,
            ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => {
                self.could_be_here(&uid)
            }
        };
        principal && resource
    }

    fn could_be_here(&self, resource: &EntityUid) -> bool {
        could_be_on(self.engine, self.target_uid, self.target, resource)
    }
}

/// Whether an entity can be, or hold, a resource on a target.
fn could_be_on(engine: &Engine, target_uid: &EntityUid, target: &str, resource: &EntityUid) -> bool {
    let kind = resource.type_name();
    if kind == engine.nouns.target_kind() {
        resource == target_uid
    } else if engine.nouns.is_within_target(kind) {
        let id: &str = resource.id().as_ref();
        id.strip_prefix(target).is_some_and(|rest| rest.starts_with('/'))
    } else {
        true
    }
}

impl Engine {
    /// The effect classes that some permit may allow somebody on a target, whatever forbids say: what linegate's own role
    /// at the server can be asked for at most.
    pub fn effects_on(&self, target: &str) -> Effects {
        let target_uid = self.nouns.target(target);
        let is_here = |policy: &&Policy| match policy.resource_constraint() {
            ResourceConstraint::Any | ResourceConstraint::Is(_) => true,
            ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => {
                could_be_on(self, &target_uid, target, &uid)
            }
        };
        let permits = self
            .policies
            .policies()
            .filter(|policy| policy.effect() == Effect::Permit);
        permits.filter(is_here).fold(Effects::NONE, |all, policy| {
            all.with(self.nouns.effects_of(&policy.action_constraint()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::GroupSpec;
    use linegate_identity::{Effects, Principal};

    fn chain(actors: &[&str]) -> ActorChain {
        let principal = Principal {
            kind: PrincipalKind::User,
            name: "dev".to_owned(),
            groups: vec!["staff".to_owned()],
        };
        ActorChain {
            principal,
            actors: actors.iter().map(|actor| (*actor).to_owned()).collect(),
        }
    }

    #[test]
    fn whoever_may_everything_is_bounded_by_nothing() {
        let may = |text: &str, scope: Scope| {
            let engine = Engine::compile(&[("t".to_owned(), text.to_owned())], &[]).expect("compiles");
            let lease = LeaseId("lg_test".to_owned());
            Subject::new(&engine, &chain(&["migrate"]), &lease, &scope, "shop").may_everything()
        };
        let all = || Scope {
            effects: Effects::all(),
            tables: None,
        };
        for text in [
            "permit (principal, action, resource);",
            "permit (principal in User::\"dev\", action, resource);",
            "permit (principal in Group::\"staff\", action, resource in Target::\"shop\");",
            "permit (principal, action, resource);\nforbid (principal == User::\"other\", action, resource);",
        ] {
            assert!(may(text, all()), "{text}");
        }
        for text in [
            "permit (principal == User::\"dev\", action, resource);", // not the agents
            "permit (principal is Workload, action, resource);",
            "permit (principal, action == Action::\"select\", resource);",
            "permit (principal, action, resource) when { context.bounded };",
            "permit (principal, action, resource in Label::\"pii\");",
            "@id(\"b\") @budget_rows(\"9\") permit (principal, action, resource);",
            "permit (principal, action, resource);\nforbid (principal, action == Action::\"drop\", resource);",
            "permit (principal, action, resource);\npermit (principal, action, resource) when { context.bounded };",
        ] {
            assert!(!may(text, all()), "{text}");
        }
        let text = "permit (principal, action, resource);";
        let narrow = Scope {
            effects: Effects::SELECT,
            tables: None,
        };
        let few = Scope {
            effects: Effects::all(),
            tables: Some(vec!["app.*".to_owned()]),
        };
        assert!(!may(text, narrow) && !may(text, few));
    }

    #[test]
    fn only_policies_that_can_match_are_kept() {
        let text = "permit (principal, action, resource);
            permit (principal in Group::\"staff\", action, resource);
            permit (principal in Group::\"builders\", action, resource);
            permit (principal in Group::\"others\", action, resource);
            permit (principal == User::\"dev\", action, resource);
            permit (principal == User::\"other\", action, resource);
            permit (principal == Workload::\"migrate\", action, resource);
            permit (principal is Workload, action, resource);
            permit (principal, action, resource in Target::\"shop\");
            permit (principal, action, resource in Target::\"elsewhere\");
            permit (principal, action, resource == Table::\"shop/app.orders\");
            permit (principal, action, resource == Table::\"shop2/app.orders\");
            permit (principal, action, resource in Label::\"pii\");";
        let groups = [GroupSpec {
            name: "builders".to_owned(),
            members: vec!["workload:migrate".to_owned()],
        }];
        let engine = Engine::compile(&[("t".to_owned(), text.to_owned())], &groups).expect("compiles");
        let scope = Scope {
            effects: Effects::all(),
            tables: None,
        };
        let lease = LeaseId("lg_test".to_owned());
        let with_agent = Subject::new(&engine, &chain(&["migrate"]), &lease, &scope, "shop");
        assert_eq!(with_agent.policies_count(), 9);
        let alone = Subject::new(&engine, &chain(&[]), &lease, &scope, "shop");
        assert_eq!(
            alone.policies_count(),
            6,
            "no agent: not builders, not migrate, no Workload"
        );
    }

    #[test]
    fn a_role_needs_what_some_permit_allows_on_its_target() {
        let text = "permit (principal, action in [Action::\"select\", Action::\"connect\"], resource in Target::\"shop\");
            permit (principal == User::\"dev\", action == Action::\"insert\", resource == Table::\"shop/app.orders\");
            permit (principal, action == Action::\"drop\", resource in Target::\"elsewhere\");
            forbid (principal, action == Action::\"alter\", resource);";
        let engine = Engine::compile(&[("t".to_owned(), text.to_owned())], &[]).expect("compiles");
        assert_eq!(engine.effects_on("shop"), Effects::SELECT.with(Effects::INSERT));
        assert_eq!(engine.effects_on("elsewhere"), Effects::DROP);
        assert_eq!(engine.effects_on("other"), Effects::NONE);
    }

    #[test]
    fn a_name_twice_in_a_chain_is_one_entity() {
        let engine = Engine::compile(&[], &[]).expect("compiles");
        let scope = Scope {
            effects: Effects::all(),
            tables: None,
        };
        let mut chain = chain(&["build", "build", "ci"]);
        chain.principal.kind = PrincipalKind::Workload;
        chain.principal.name = "ci".to_owned();
        let subject = Subject::new(&engine, &chain, &LeaseId("lg_test".to_owned()), &scope, "shop");
        assert_eq!(subject.members.len(), 2);
        assert!(
            subject.context(&Statement::empty(), false).is_some(),
            "built soundly"
        );
    }
}
