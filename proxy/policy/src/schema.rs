//! The typed schema that policies are checked against, and the entity ids that decisions use.
//!
//! Source: `schema.cedarschema` beside this file (Cedar schema syntax). Action ids are the effect classes' own names.

use std::collections::HashMap;
use std::str::FromStr;

use cedar_policy::{ActionConstraint, EntityId, EntityTypeName, EntityUid, Schema};
use linegate_identity::{Effects, PrincipalKind};

/// The schema's text, for people who write policies.
pub const SCHEMA_TEXT: &str = include_str!("schema.cedarschema");

/// Entity types and actions, looked up once.
#[derive(Debug)]
pub(crate) struct Nouns {
    user: EntityTypeName,
    workload: EntityTypeName,
    group: EntityTypeName,
    target: EntityTypeName,
    table: EntityTypeName,
    label: EntityTypeName,
    column: EntityTypeName,
    effects: HashMap<Effects, EntityUid>,
    pub(crate) connect: EntityUid,
    pub(crate) read_raw: EntityUid,
    pub(crate) probe: EntityUid,
    pub(crate) read_column: EntityUid,
}

/// The schema and its nouns; an error is a defect of the embedded file, found by this crate's tests.
pub(crate) fn load() -> Result<(Schema, Nouns), String> {
    let (schema, _warnings) = Schema::from_cedarschema_str(SCHEMA_TEXT).map_err(|error| error.to_string())?;
    let kind = |name: &str| EntityTypeName::from_str(name).map_err(|error| error.to_string());
    let action_kind = kind("Action")?;
    let action = |name: &str| EntityUid::from_type_name_and_id(action_kind.clone(), EntityId::new(name));
    let nouns = Nouns {
        user: kind("User")?,
        workload: kind("Workload")?,
        group: kind("Group")?,
        target: kind("Target")?,
        table: kind("Table")?,
        label: kind("Label")?,
        column: kind("Column")?,
        effects: Effects::NAMES
            .iter()
            .map(|(effect, name)| (*effect, action(name)))
            .collect(),
        connect: action("connect"),
        read_raw: action("read_raw"),
        probe: action("probe"),
        read_column: action("read"),
    };
    Ok((schema, nouns))
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

impl Nouns {
    pub(crate) fn principal(&self, kind: PrincipalKind, name: &str) -> EntityUid {
        match kind {
            PrincipalKind::User => uid(&self.user, name),
            PrincipalKind::Workload => uid(&self.workload, name),
        }
    }

    pub(crate) fn group(&self, name: &str) -> EntityUid {
        uid(&self.group, name)
    }

    pub(crate) fn target(&self, name: &str) -> EntityUid {
        uid(&self.target, name)
    }

    pub(crate) fn label(&self, name: &str) -> EntityUid {
        uid(&self.label, name)
    }

    /// `Table::"target/schema.name"`.
    pub(crate) fn table(&self, target: &str, schema: &str, name: &str) -> EntityUid {
        uid(&self.table, &format!("{target}/{schema}.{name}"))
    }

    /// Whether a rule is about nothing but opening sessions, raw values and probes.
    pub(crate) fn only_opens(&self, actions: &ActionConstraint) -> bool {
        let opens = |uid: &EntityUid| *uid == self.connect || *uid == self.read_raw || *uid == self.probe;
        match actions {
            ActionConstraint::Any => false,
            ActionConstraint::Eq(uid) => opens(uid),
            ActionConstraint::In(uids) => uids.iter().all(opens),
        }
    }

    /// The effect classes that a rule is about.
    pub(crate) fn effects_of(&self, actions: &ActionConstraint) -> Effects {
        let named = |uids: &[EntityUid]| {
            let found = self.effects.iter().filter(|(_, action)| uids.contains(action));
            found.fold(Effects::NONE, |all, (effect, _)| all.with(*effect))
        };
        match actions {
            ActionConstraint::Any => Effects::all(),
            ActionConstraint::Eq(uid) => named(std::slice::from_ref(uid)),
            ActionConstraint::In(uids) => named(uids),
        }
    }

    /// Whether a rule names `read`. One about every action also stands where it is asked of relations.
    pub(crate) fn names_read(&self, actions: &ActionConstraint) -> bool {
        match actions {
            ActionConstraint::Any => false,
            ActionConstraint::Eq(uid) => *uid == self.read_column,
            ActionConstraint::In(uids) => uids.contains(&self.read_column),
        }
    }

    /// `Column::"target/schema.name.column"`.
    pub(crate) fn column(&self, target: &str, schema: &str, table: &str, column: &str) -> EntityUid {
        uid(&self.column, &format!("{target}/{schema}.{table}.{column}"))
    }

    /// Whether ids of a type start with the target's name.
    pub(crate) fn is_within_target(&self, kind: &EntityTypeName) -> bool {
        *kind == self.table || *kind == self.column
    }

    pub(crate) fn target_kind(&self) -> &EntityTypeName {
        &self.target
    }

    /// The action of one effect class; `None` for a set of several.
    pub(crate) fn action(&self, effect: Effects) -> Option<&EntityUid> {
        self.effects.get(&effect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_effect_class_is_an_action_on_targets_and_tables() {
        let (schema, nouns) = load().expect("the embedded schema loads");
        for (effect, name) in Effects::NAMES {
            let action = nouns.action(*effect).expect("an action");
            assert!(
                schema.actions().any(|known| known == action),
                "{name} is not in the schema"
            );
            let resources = schema.resources_for_action(action).expect("resources");
            assert_eq!(resources.count(), 2, "{name}");
        }
        assert!(schema.actions().any(|known| *known == nouns.connect));
        assert!(schema.actions().any(|known| *known == nouns.read_raw));
        assert!(schema.actions().any(|known| *known == nouns.probe));
        assert!(schema.actions().any(|known| *known == nouns.read_column));
        assert_eq!(schema.actions().count(), Effects::NAMES.len() + 4);
    }
}
