//! What a policy's text looks at: time, the statement, the principal, or the resource's own name and labels. Found in
//! Cedar's JSON form of the policy.
//!
//! Source: Cedar language reference, "JSON policy format". Doubt counts as looking: `context` used as a whole may mean any
//! of its attributes, an attribute that is not listed here belongs to the statement, and a policy that has no JSON form
//! looks at everything.

use cedar_policy::{Policy, PrincipalConstraint, ResourceConstraint};
use serde_json::Value;

use crate::window::WEEKDAYS;

/// The attributes of the context that change by themselves.
const OF_TIME: [&str; 3] = ["hour", "weekday", "minute_of_day"];
/// Those that are the same for every statement decided with one `Subject`, besides time.
const OF_SESSION: [&str; 6] = ["chain", "actor", "depth", "lease", "target", "database"];

/// Those that only the catalog tells of a statement.
const OF_DEFINITIONS: [&str; 2] = ["opaque", "fires_triggers"];

/// What the answer of a policy may differ by, for one session and action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Differs {
    /// It may answer otherwise for another relation of the same target.
    pub(crate) by_relation: bool,
    /// It may answer otherwise for another statement with the same action.
    pub(crate) by_statement: bool,
    /// It may answer otherwise for another member of the chain.
    pub(crate) by_member: bool,
}

impl Differs {
    /// Nothing is known of the policy.
    pub(crate) const BY_ANYTHING: Self = Self {
        by_relation: true,
        by_statement: true,
        by_member: true,
    };
}

/// What a policy looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Looks {
    /// It may answer otherwise a minute later.
    pub(crate) at_time: bool,
    /// It may answer otherwise for another relation of the same target.
    pub(crate) at_relations: bool,
    /// It may answer otherwise for another statement with the same action.
    pub(crate) at_statement: bool,
    /// It may answer otherwise where functions or triggers are called that somebody defined.
    pub(crate) at_definitions: bool,
    /// It may answer otherwise for another principal.
    pub(crate) at_principal: bool,
    /// Texts that are compared with `context.weekday` and name no day.
    pub(crate) wrong_days: Vec<String>,
}

impl Looks {
    pub(crate) fn of(policy: &Policy) -> Self {
        let mut looks = Self {
            at_principal: policy.principal_constraint() != PrincipalConstraint::Any,
            ..Self::default()
        };
        match policy.resource_constraint() {
            ResourceConstraint::Any | ResourceConstraint::Is(_) => {}
            ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => {
                looks.at_relations = uid.type_name().to_string() != "Target";
            }
        }
        match policy.to_json() {
            Ok(json) => looks.walk(&json["conditions"]),
            Err(_) => {
                looks.at_time = true;
                looks.at_relations = true;
                looks.at_statement = true;
                looks.at_definitions = true;
                looks.at_principal = true;
            }
        }
        looks
    }

    /// What its answer may differ by within one session.
    pub(crate) fn differs(&self) -> Differs {
        Differs {
            by_relation: self.at_relations,
            by_statement: self.at_statement,
            by_member: self.at_principal,
        }
    }

    fn walk(&mut self, node: &Value) {
        match node {
            Value::Array(items) => items.iter().for_each(|item| self.walk(item)),
            Value::Object(fields) => {
                for (operator, operands) in fields {
                    self.expression(operator, operands);
                }
            }
            _ => {}
        }
    }

    fn expression(&mut self, operator: &str, operands: &Value) {
        match operator {
            "Var" => {
                self.at_time |= operands == "context";
                self.at_statement |= operands == "context";
                self.at_definitions |= operands == "context";
                self.at_relations |= operands == "resource";
                self.at_principal |= operands == "principal";
                return;
            }
            // One attribute of the context: only that one counts. Whether it has one never changes.
            "." | "has" if is_var(&operands["left"], "context") => {
                let attribute = operands["attr"].as_str().unwrap_or_default();
                let is_of_time = OF_TIME.contains(&attribute);
                self.at_time |= operator == "." && is_of_time;
                self.at_statement |= operator == "." && !is_of_time && !OF_SESSION.contains(&attribute);
                self.at_definitions |= operator == "." && OF_DEFINITIONS.contains(&attribute);
                return;
            }
            // Its type, not its name.
            "is" if is_var(&operands["left"], "resource") && operands.get("in").is_none() => return,
            "==" | "!=" | "contains" => {
                for (one, other) in [("left", "right"), ("right", "left")] {
                    if is_weekday(&operands[one]) {
                        self.check_days(&operands[other]);
                    }
                }
            }
            _ => {}
        }
        self.walk(operands);
    }

    /// Every text in what a weekday is compared with.
    fn check_days(&mut self, node: &Value) {
        if let Value::String(text) = &node["Value"]
            && !WEEKDAYS.contains(&text.as_str())
        {
            self.wrong_days.push(text.clone());
        }
        if let Value::Array(items) = &node["Set"] {
            items.iter().for_each(|item| self.check_days(item));
        }
    }
}

fn is_var(node: &Value, name: &str) -> bool {
    node["Var"] == name
}

fn is_weekday(node: &Value) -> bool {
    is_var(&node["."]["left"], "context") && node["."]["attr"] == "weekday"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(text: &str) -> Looks {
        Looks::of(&Policy::parse(None, text).expect("parses"))
    }

    #[test]
    fn time_is_found_in_every_spelling() {
        for condition in [
            "context.hour < 8",
            "context[\"weekday\"] == \"monday\"",
            "if context.bounded then context.minute_of_day > 3 else true",
            "{ now: context }.now.hour == 3",
            "[\"monday\"].contains(context.weekday)",
            "context == { }",
        ] {
            let found = looks(&format!(
                "permit (principal, action, resource) when {{ {condition} }};"
            ));
            assert!(found.at_time, "{condition}");
        }
        for condition in [
            "context.bounded",
            "context has hour",
            "context.actor == \"context.hour\"",
        ] {
            let found = looks(&format!(
                "permit (principal, action, resource) unless {{ {condition} }};"
            ));
            assert!(!found.at_time, "{condition}");
        }
    }

    #[test]
    fn what_only_the_catalog_tells_is_found() {
        let found = |condition: &str| {
            looks(&format!(
                "forbid (principal, action, resource) when {{ {condition} }};"
            ))
            .at_definitions
        };
        assert!(found("context.opaque") && found("!context.fires_triggers") && found("context == { }"));
        assert!(!found("context.bounded") && !found("context.actor == \"opaque\""));
    }

    #[test]
    fn relations_are_found_in_scope_and_conditions() {
        for text in [
            "forbid (principal, action, resource in Label::\"pii\");",
            "forbid (principal, action, resource == Table::\"shop/app.orders\");",
            "forbid (principal, action, resource) when { resource is Table && resource.schema == \"private\" };",
            "forbid (principal, action, resource) when { resource in [Label::\"a\", Label::\"b\"] };",
        ] {
            assert!(looks(text).at_relations, "{text}");
        }
        for text in [
            "forbid (principal, action, resource);",
            "forbid (principal, action, resource in Target::\"shop\");",
            "forbid (principal, action, resource) when { resource is Table };",
        ] {
            assert!(!looks(text).at_relations, "{text}");
        }
    }

    #[test]
    fn what_differs_by_statement_and_by_member_is_found() {
        for (text, by_statement, by_member) in [
            ("permit (principal, action, resource);", false, false),
            (
                "permit (principal, action, resource) when { context.actor == \"build\" };",
                false,
                false,
            ),
            (
                "permit (principal, action, resource) when { context.hour < 8 && context.depth == 1 };",
                false,
                false,
            ),
            (
                "permit (principal, action, resource) when { context has approved };",
                false,
                false,
            ),
            (
                "permit (principal, action, resource) unless { context.approved };",
                true,
                false,
            ),
            (
                "permit (principal, action, resource) when { context[\"functions\"].contains(\"f\") };",
                true,
                false,
            ),
            (
                "permit (principal, action, resource) when { context.chain.contains(\"a\") || context.bounded };",
                true,
                false,
            ),
            (
                "permit (principal, action, resource) when { context == {} };",
                true,
                false,
            ),
            (
                "permit (principal, action, resource) when { { c: context }.c.opaque };",
                true,
                false,
            ),
            (
                "permit (principal in Group::\"dba\", action, resource);",
                false,
                true,
            ),
            ("permit (principal is Workload, action, resource);", false, true),
            (
                "permit (principal == User::\"dev\", action, resource) when { context.bounded };",
                true,
                true,
            ),
            (
                "permit (principal, action, resource) when { principal in Group::\"dba\" };",
                false,
                true,
            ),
            (
                "permit (principal, action, resource) when { { p: principal }.p is User };",
                false,
                true,
            ),
        ] {
            let found = looks(text);
            assert_eq!(
                (found.at_statement, found.at_principal),
                (by_statement, by_member),
                "{text}"
            );
        }
    }

    #[test]
    fn a_day_that_is_no_day_is_found() {
        let found = looks(
            "forbid (principal, action, resource)
             when { [\"saturday\", \"sonntag\"].contains(context.weekday) || context.weekday == \"Monday\" };",
        );
        assert_eq!(found.wrong_days, ["sonntag", "Monday"]);
    }
}
