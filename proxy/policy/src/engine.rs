//! Policies, compiled: Cedar text in, a checked policy set out, with every problem named at once.
//!
//! Source: Cedar language reference (policies, annotations, strict validation); the schema is in `schema`.
//! A policy may carry annotations: `@id` (its name in records, unique) and `@reason` (a sentence for the person who is
//! refused or who approves); on a `forbid` only, `@approvers` (groups, separated by commas) with `@quorum` (how many of
//! them, 1 when absent); on a `permit` only, the budgets of `budget`. A `forbid` with `@approvers` must look at
//! `context.approved`: that is what an approval changes.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use cedar_policy::{Effect, Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use linegate_identity::PrincipalKind;
use miette::Diagnostic;

use crate::budget::{BudgetKind, Limit, RuleBudget};
use crate::looks::Looks;
use crate::schema::{self, Nouns};
use crate::window::WEEKDAYS;

/// The largest quorum a policy may ask for.
const QUORUM_MAX: u32 = 16;
/// The longest `@id` and `@reason`, in bytes: both are shown to clients.
const ID_BYTES_MAX: usize = 80;
const REASON_BYTES_MAX: usize = 240;

/// A group as the configuration spells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSpec {
    /// Its name, as in `Group::"name"`.
    pub name: String,
    /// `user:NAME` or `workload:NAME`; an agent of a chain is a workload.
    pub members: Vec<String>,
}

/// One thing wrong with a policy file or a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyProblem {
    /// The file's label, or `group NAME`.
    pub file: String,
    /// 1-based; 0 where there is no line.
    pub line: u32,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for PolicyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}: {}", self.file, self.message),
        }
    }
}

impl std::error::Error for PolicyProblem {}

/// What a policy's annotations say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Groups whose members may lift it; empty when nobody can.
    pub(crate) approvers: Vec<String>,
    /// How many of them must.
    pub(crate) quorum: u32,
    /// The operator's own words.
    pub(crate) reason: Option<String>,
    /// What may be used under it.
    pub(crate) budget: Option<Arc<RuleBudget>>,
    /// What its conditions look at.
    pub(crate) looks: Looks,
}

/// Checked policies, the schema and the groups: everything about policy that does not depend on a session.
pub struct Engine {
    pub(crate) schema: Schema,
    pub(crate) nouns: Nouns,
    pub(crate) policies: PolicySet,
    rules: HashMap<PolicyId, Rule>,
    groups: HashMap<(PrincipalKind, String), Vec<String>>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({} policies)", self.rules.len())
    }
}

impl Engine {
    /// Compiles policy files, given as (label, text), and groups. On failure every problem is listed, by file and line.
    pub fn compile(files: &[(String, String)], groups: &[GroupSpec]) -> Result<Self, Vec<PolicyProblem>> {
        let mut problems = Vec::new();
        let (schema, nouns) =
            schema::load().map_err(|message| vec![problem("schema.cedarschema", 0, message)])?;
        let mut policies = PolicySet::new();
        let mut rules = HashMap::new();
        let mut places: HashMap<PolicyId, Place<'_>> = HashMap::new();
        for (file, text) in files {
            for piece in pieces(text) {
                let place = Place { file, text, piece };
                let Some((policy, rule)) = read_policy(&place, &mut problems) else {
                    continue;
                };
                let id = policy.id().clone();
                if rule.budget.is_some() && nouns.only_opens(&policy.action_constraint()) {
                    let message = "a budget belongs on a permit of statements: this one is only about sessions or labels";
                    problems.push(problem(file, place.line(0), message));
                }
                if let Some(first) = places.get(&id) {
                    let message = format!(
                        "@id(\"{id}\") is already used in {}:{}",
                        first.file,
                        first.line(0)
                    );
                    problems.push(problem(file, place.line(0), message));
                    continue;
                }
                if let Err(error) = policies.add(policy) {
                    problems.push(problem(file, place.line(0), error.to_string()));
                    continue;
                }
                rules.insert(id.clone(), rule);
                places.insert(id, place);
            }
        }
        let result = Validator::new(schema.clone()).validate(&policies, ValidationMode::Strict);
        let errors = result
            .validation_errors()
            .map(|error| (error.policy_id(), error as &dyn Diagnostic));
        // A warning is a policy that can never apply or that reads as something else than it is: a typing mistake.
        let warnings = result
            .validation_warnings()
            .map(|warning| (warning.policy_id(), warning as &dyn Diagnostic));
        for (id, diagnostic) in errors.chain(warnings) {
            match places.get(id) {
                Some(place) => problems.push(place.problem(diagnostic)),
                None => problems.push(problem("policies", 0, diagnostic.to_string())),
            }
        }
        let groups = members(groups, &mut problems);
        problems.sort();
        problems.dedup();
        if problems.is_empty() {
            Ok(Self {
                schema,
                nouns,
                policies,
                rules,
                groups,
            })
        } else {
            Err(problems)
        }
    }

    /// Number of policies.
    pub fn policies_count(&self) -> usize {
        self.rules.len()
    }

    /// Groups that the configuration puts a person or workload in, sorted.
    pub fn groups_of(&self, kind: PrincipalKind, name: &str) -> &[String] {
        // The key is owned; sessions open rarely enough for one allocation.
        self.groups
            .get(&(kind, name.to_owned()))
            .map_or(&[], Vec::as_slice)
    }

    pub(crate) fn rule(&self, id: &PolicyId) -> Option<&Rule> {
        self.rules.get(id)
    }
}

fn problem(file: &str, line: u32, message: impl Into<String>) -> PolicyProblem {
    PolicyProblem {
        file: file.to_owned(),
        line,
        message: message.into(),
    }
}

/// Where a policy stands: `piece` are its bytes within the file's text.
struct Place<'t> {
    file: &'t str,
    text: &'t str,
    piece: (usize, usize),
}

impl Place<'_> {
    fn source(&self) -> &str {
        &self.text[self.piece.0..self.piece.1]
    }

    /// The 1-based line of a byte of the piece.
    fn line(&self, offset: usize) -> u32 {
        let end = (self.piece.0 + offset).min(self.text.len());
        let newlines = self.text.as_bytes()[..end]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        u32::try_from(newlines + 1).unwrap_or(u32::MAX)
    }

    /// A problem at the first place that Cedar points at, with its advice.
    fn problem(&self, diagnostic: &dyn Diagnostic) -> PolicyProblem {
        let offset = diagnostic
            .labels()
            .and_then(|mut labels| labels.next())
            .map_or(0, |label| label.offset());
        let mut message = diagnostic.to_string();
        if let Some(prefix_end) = message
            .find("`, ")
            .filter(|_| message.starts_with("for policy `"))
        {
            message.drain(..prefix_end + 3); // the file and line say which
        }
        if let Some(label) = diagnostic.labels().and_then(|mut labels| labels.next())
            && let Some(text) = label.label()
        {
            message = format!("{message}: {text}");
        }
        if let Some(help) = diagnostic.help() {
            message = format!("{message} ({help})");
        }
        problem(self.file, self.line(offset), message)
    }
}

/// Cuts a file into policies at each `;` outside strings and comments, so that one broken policy hides no other.
/// Each piece starts at its first byte that is neither space nor comment; a rest of only those is no piece.
fn pieces(text: &str) -> Vec<(usize, usize)> {
    let bytes = text.as_bytes();
    let (mut found, mut start, mut at) = (Vec::new(), None, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at += bytes[at..]
                    .iter()
                    .position(|byte| *byte == b'\n')
                    .unwrap_or(bytes.len() - at);
                continue;
            }
            b'"' => {
                start.get_or_insert(at);
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
            }
            b';' => {
                found.push((start.take().unwrap_or(at), at + 1));
            }
            byte if byte.is_ascii_whitespace() => {}
            _ => {
                start.get_or_insert(at);
            }
        }
        at += 1;
    }
    found.extend(start.map(|start| (start, bytes.len())));
    found
}

/// Parses one policy and reads its annotations.
fn read_policy(place: &Place<'_>, problems: &mut Vec<PolicyProblem>) -> Option<(Policy, Rule)> {
    let policy = match Policy::parse(Some(PolicyId::new("policy")), place.source()) {
        Ok(policy) => policy,
        Err(errors) => {
            problems.extend(errors.iter().map(|error| place.problem(error)));
            return None;
        }
    };
    let before = problems.len();
    let mut say = |message: String| problems.push(problem(place.file, place.line(0), message));
    let annotations: BTreeMap<&str, &str> = policy.annotations().collect();
    let mut rule = Rule {
        quorum: 1,
        looks: Looks::of(&policy),
        ..Rule::default()
    };
    let mut limits = Vec::new();
    let mut id = format!("{}:{}", place.file, place.line(0));
    let is_forbid = policy.effect() == Effect::Forbid;
    for (key, value) in &annotations {
        match *key {
            "id" if value.is_empty() || value.len() > ID_BYTES_MAX || value.chars().any(char::is_control) => {
                say(format!("@id must have 1 to {ID_BYTES_MAX} printable bytes"));
            }
            "id" => (*value).clone_into(&mut id),
            _ if budget_kind(key).is_some() && is_forbid => {
                say(format!(
                    "@{key} belongs on a permit: a forbid lets nothing through"
                ));
            }
            _ if let Some(kind) = budget_kind(key) => match Limit::parse(kind, value) {
                Ok(limit) => limits.push(limit),
                Err(message) => say(format!("@{key} {message}")),
            },
            "reason" if value.len() > REASON_BYTES_MAX || value.chars().any(char::is_control) => {
                say(format!(
                    "@reason must be one line of at most {REASON_BYTES_MAX} bytes"
                ));
            }
            "reason" => rule.reason = Some((*value).to_owned()).filter(|reason| !reason.is_empty()),
            "approvers" if !is_forbid => {
                say("@approvers belongs on a forbid: it says who may lift it".to_owned());
            }
            "approvers" => {
                rule.approvers = value
                    .split(',')
                    .map(str::trim)
                    .filter(|group| !group.is_empty())
                    .map(str::to_owned)
                    .collect();
                rule.approvers.sort();
                rule.approvers.dedup();
                if rule.approvers.is_empty() {
                    say("@approvers names no group".to_owned());
                }
            }
            "quorum" if !annotations.contains_key("approvers") => {
                say("@quorum needs @approvers".to_owned());
            }
            "quorum" => match value.parse() {
                Ok(quorum @ 1..=QUORUM_MAX) => rule.quorum = quorum,
                _ => say(format!("@quorum must be a number from 1 to {QUORUM_MAX}")),
            },
            unknown => say(format!(
                "@{unknown} is not known (known are {})",
                known_annotations()
            )),
        }
    }
    if is_forbid && annotations.contains_key("approvers") && !looks_at_approved(&policy) {
        say(
            "a forbid with @approvers must say `unless { context.approved }`, or no approval could lift it"
                .to_owned(),
        );
    }
    if !limits.is_empty() && !annotations.contains_key("id") {
        say("a budget needs an @id: what was used is counted under it".to_owned());
    }
    for day in &rule.looks.wrong_days {
        let mut days = WEEKDAYS;
        days.sort_unstable();
        say(format!("{day:?} is no weekday (they are {})", days.join(", ")));
    }
    if !limits.is_empty() {
        limits.sort_unstable();
        rule.budget = Some(Arc::new(RuleBudget {
            rule: id.as_str().into(),
            limits,
        }));
    }
    (problems.len() == before).then(|| (policy.new_id(PolicyId::new(id)), rule))
}

fn budget_kind(annotation: &str) -> Option<BudgetKind> {
    BudgetKind::ALL
        .iter()
        .find(|(_, name)| *name == annotation)
        .map(|(kind, _)| *kind)
}

fn known_annotations() -> String {
    let known = ["id", "reason", "approvers", "quorum"].into_iter();
    let known = known.chain(BudgetKind::ALL.map(|(_, name)| name));
    known
        .map(|name| format!("@{name}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Whether `context.approved` stands in the policy, in whichever spelling.
fn looks_at_approved(policy: &Policy) -> bool {
    let text: String = policy
        .to_string()
        .chars()
        .filter(|c| !c.is_whitespace())
        .collect();
    text.contains("context.approved") || text.contains("context[\"approved\"]")
}

/// Groups by member.
fn members(
    groups: &[GroupSpec],
    problems: &mut Vec<PolicyProblem>,
) -> HashMap<(PrincipalKind, String), Vec<String>> {
    let mut found: HashMap<(PrincipalKind, String), Vec<String>> = HashMap::new();
    for group in groups {
        for member in &group.members {
            let key = match member.split_once(':') {
                Some(("user", name)) if !name.is_empty() => (PrincipalKind::User, name.to_owned()),
                Some(("workload", name)) if !name.is_empty() => (PrincipalKind::Workload, name.to_owned()),
                _ => {
                    let message = format!("member {member:?} must be user:NAME or workload:NAME");
                    problems.push(problem(&format!("group {}", group.name), 0, message));
                    continue;
                }
            };
            found.entry(key).or_default().push(group.name.clone());
        }
    }
    for names in found.values_mut() {
        names.sort();
        names.dedup();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(text: &str) -> Result<Engine, Vec<PolicyProblem>> {
        Engine::compile(&[("a.cedar".to_owned(), text.to_owned())], &[])
    }

    fn problems(text: &str) -> Vec<String> {
        compile(text)
            .expect_err("must not compile")
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn every_problem_is_named_with_its_line() {
        let found = problems(
            "// ; \"not a policy\n\
             permit (principal, action == Action::\"selekt\", resource);\n\
             \n\
             @id(\"broken\") permit (principal action, resource);\n\
             @approvers(\"oncall\") permit (principal, action, resource);\n\
             forbid (principal, action, resource)\n\
             when { context.bound };\n\
             @colour(\"red\") forbid (principal, action, resource);\n\
             @approvers(\"oncall\")\n\
             @quorum(\"0\")\n\
             forbid (principal, action, resource);\n\
             @quorum(\"2\") forbid (principal, action, resource);\n\
             permit (principal, action, resource)",
        );
        let lines: Vec<&str> = found.iter().filter_map(|text| text.split(' ').next()).collect();
        let expected = ["2", "4", "5", "7", "8", "9", "9", "12", "13"].map(|line| format!("a.cedar:{line}:"));
        for line in &expected {
            assert!(
                lines.contains(&line.as_str()),
                "no problem on {line} in {found:#?}"
            );
        }
        assert!(found.iter().any(|text| text.contains("@colour")), "{found:#?}");
        assert!(
            found
                .iter()
                .any(|text| text.contains("unless { context.approved }")),
            "{found:#?}"
        );
        assert!(
            found.iter().any(|text| text.contains("@quorum must be a number")),
            "{found:#?}"
        );
    }

    #[test]
    fn budgets_are_read_strictly() {
        let found = problems(
            "@id(\"a\") @budget_rows(\"many\") permit (principal, action, resource);
             @budget_rows(\"5\") permit (principal, action, resource);
             @id(\"c\") @budget_rows(\"5\") forbid (principal, action, resource);
             @id(\"d\") @budget_columns(\"5\") permit (principal, action, resource);
             @id(\"e\") @budget_rows(\"5\") permit (principal, action == Action::\"connect\", resource);
             @id(\"f\") @budget_bytes(\"1 gigabyte\") permit (principal, action, resource);",
        );
        let expected = [
            "a.cedar:1: @budget_rows must be a whole number",
            "a.cedar:2: a budget needs an @id",
            "a.cedar:3: @budget_rows belongs on a permit",
            "a.cedar:4: @budget_columns is not known",
            "a.cedar:5: a budget belongs on a permit of statements",
            "a.cedar:6: @budget_bytes must be a number of bytes",
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}");
        }
    }

    #[test]
    fn a_day_that_is_no_day_is_a_problem() {
        let found = problems("forbid (principal, action, resource) when { context.weekday == \"Sunday\" };");
        assert_eq!(
            found,
            [
                "a.cedar:1: \"Sunday\" is no weekday (they are friday, monday, saturday, sunday, thursday, tuesday, wednesday)"
            ]
        );
    }

    #[test]
    fn ids_are_unique_across_files() {
        let text = "@id(\"one\") permit (principal, action, resource);".to_owned();
        let files = [
            ("a.cedar".to_owned(), text.clone()),
            ("b.cedar".to_owned(), format!("\n{text}")),
        ];
        let found = Engine::compile(&files, &[]).expect_err("two policies of one name");
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].to_string(),
            "b.cedar:2: @id(\"one\") is already used in a.cedar:1"
        );
    }

    #[test]
    fn a_policy_that_can_never_apply_is_a_problem() {
        let found =
            problems("permit (principal, action == Action::\"connect\", resource == Label::\"pii\");");
        assert!(
            found[0].starts_with("a.cedar:1: policy is impossible"),
            "{found:#?}"
        );
    }

    #[test]
    fn semicolons_in_strings_and_comments_do_not_cut() {
        let text = "@reason(\"a;\\\";b\") // ; \"\npermit (principal, action, resource); // end;";
        assert_eq!(pieces(text).len(), 1);
        let engine = compile(text).expect("compiles");
        assert_eq!(engine.policies_count(), 1);
        let rule = engine.rule(&PolicyId::new("a.cedar:1")).expect("named by place");
        assert_eq!(rule.reason.as_deref(), Some("a;\";b"));
        assert_eq!(pieces("permit"), [(0, 6)]);
        assert_eq!(pieces(" // only\n"), []);
        assert_eq!(pieces("\"open \\"), [(0, 7)], "an open string runs to the end");
    }

    #[test]
    fn groups_list_their_members() {
        let groups = [
            GroupSpec {
                name: "ci".to_owned(),
                members: vec!["workload:ci-runner".to_owned()],
            },
            GroupSpec {
                name: "all".to_owned(),
                members: vec!["workload:ci-runner".to_owned(), "bad".to_owned()],
            },
        ];
        let found = Engine::compile(&[], &groups).expect_err("a bad member");
        assert_eq!(
            found[0].to_string(),
            "group all: member \"bad\" must be user:NAME or workload:NAME"
        );
        let engine = Engine::compile(&[], &groups[..1]).expect("no policies is fine: everything is denied");
        assert_eq!(engine.groups_of(PrincipalKind::Workload, "ci-runner"), ["ci"]);
        assert!(engine.groups_of(PrincipalKind::User, "ci-runner").is_empty());
    }
}
