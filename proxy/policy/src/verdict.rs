//! Verdicts and the reasons for them: what happens to a statement, and what may be said about it aloud.
//!
//! `public`, `hint` and `sqlstate` go to the client and name relations, effects and policies, never a literal.
//! Source of the codes: PostgreSQL manual, "PostgreSQL Error Codes".

use std::collections::BTreeSet;
use std::fmt;

use linegate_identity::{Assent, Effects, UnixMillis};

use crate::budget::{Budget, Exhausted};
use crate::statement::{Name, Statement};

/// The longest name that is repeated to a client, in characters.
const NAME_CHARS_MAX: usize = 130;

/// What happens to a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may run.
    Allow,
    /// It is refused.
    Deny(Reason),
    /// It waits for people.
    Hold(HoldTerms),
}

/// Who may lift a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldTerms {
    /// What each of the rules that hold it asks for, sorted: all of it must be met. One person may count for several.
    pub assents: Vec<Assent>,
    /// Why it waits: policy ids and the operator's words.
    pub reason: String,
}

impl HoldTerms {
    /// `1 of oncall and 2 of dba, security`.
    pub fn said(&self) -> String {
        let said: Vec<String> = self.assents.iter().map(ToString::to_string).collect();
        said.join(" and ")
    }

    /// Groups whose members have a say, sorted.
    pub fn groups(&self) -> Vec<String> {
        let all: BTreeSet<&String> = self.assents.iter().flat_map(|assent| &assent.groups).collect();
        all.into_iter().cloned().collect()
    }
}

/// Why a statement is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It does not parse, and nothing permits that.
    NotUnderstood,
    /// The lease's scope lacks these effects.
    EffectsOutOfScope(Effects),
    /// The lease's scope does not cover this relation; `ambiguous` when it would with its schema written.
    TableOutOfScope {
        /// The relation as written.
        name: Name,
        /// It has no schema, so a relation that is not covered could be meant.
        ambiguous: bool,
    },
    /// The lease is bound to relations, and this part could touch any.
    UnboundedInScope(&'static str),
    /// Columns are masked for the session and this would go around the mask.
    AroundMask(Channel),
    /// Columns are masked for the session and the database's catalog is not known yet.
    CatalogMissing,
    /// A policy refuses by a relation's or column's name or label, and the database's catalog is not known yet.
    CatalogNeeded,
    /// Another session is changing what it names, and has not committed that.
    NamesMoving,
    /// The open transaction has led changes elsewhere, and where this one ends up cannot be told before it ends.
    BehindTransaction,
    /// What is there already would come to depend on something that may be temporary: the server drops that with all that depends
    /// on it, in whatever schema.
    OnTemporary,
    /// The session has changed where names without a schema are made, and a policy refuses making things by their schema.
    SchemaUnknown,
    /// A policy refuses labelled columns, and which of them it uses cannot be told.
    ColumnsUnknown,
    /// It runs something by a name, which was prepared under other policies and is not known any more.
    NameUnknown,
    /// A budget of the lease is used up.
    Exhausted(Exhausted),
    /// No policy permits it.
    NotPermitted {
        /// The effect class.
        effect: Effects,
        /// The relation; `None` for the target as a whole.
        relation: Option<String>,
        /// The agent that it is not permitted for; `None` for the head principal.
        agent: Option<String>,
    },
    /// No policy permits opening a session.
    NoSession {
        /// The agent that it is not permitted for; `None` for the head principal.
        agent: Option<String>,
    },
    /// A policy forbids it.
    Forbidden {
        /// The policy's id.
        policy: String,
        /// The operator's words.
        reason: Option<String>,
    },
    /// A policy could not be evaluated, or the session's entities could not be built.
    RuleFailed {
        /// The policy's id, where known.
        policy: Option<String>,
    },
    /// It names more relations than one decision looks at.
    TooManyRelations,
}

/// A way around a mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    /// The FunctionCall message.
    FunctionCall,
    /// Replication commands and slots.
    Replication,
    /// Server files, programs, extensions and foreign servers.
    Server,
    /// COPY of a labelled relation.
    Copy(Name),
    /// Something that cannot be looked into.
    Opaque(&'static str),
    /// A function that linegate does not know to be harmless.
    Function(Name),
    /// A system catalog that holds copies of values.
    Catalog(Name),
    /// Values of a labelled relation would be written elsewhere.
    Flow(Name),
    /// RETURNING of a labelled relation would compute with its values.
    Returning(Name),
    /// The definition of a labelled relation would change, or a new one would build on it.
    Definition(Name),
    /// A setting that changes how text is read or what the server says.
    Setting(String),
    /// A condition, order, group or choice would look at the values of that label.
    Probe(String),
    /// A column that the catalog does not hold would have to be a function of labelled values.
    Misnamed(Name),
}

impl Reason {
    /// What the client is told.
    pub fn public(&self) -> String {
        let for_agent = |agent: &Option<String>| match agent {
            Some(agent) => format!(" for agent {}", shown(agent)),
            None => String::new(),
        };
        match self {
            Self::NotUnderstood => "linegate cannot read this statement".to_owned(),
            Self::EffectsOutOfScope(effects) => format!("the lease does not cover {effects}"),
            Self::TableOutOfScope { name, .. } => {
                format!("the lease does not cover relation {}", name_shown(name))
            }
            Self::UnboundedInScope(what) => {
                format!("the lease is bound to named relations and does not cover {what}")
            }
            Self::AroundMask(channel) => format!("columns are masked for this session: {channel}"),
            Self::CatalogMissing => {
                "columns are masked for this session and the database's catalog is not known yet".to_owned()
            }
            Self::CatalogNeeded => {
                "a policy looks at relations and the database's catalog is not known yet".to_owned()
            }
            Self::NamesMoving => {
                "another session is changing what this statement names, and has not committed that".to_owned()
            }
            Self::BehindTransaction => {
                "what this changes cannot be told before the open transaction ends, which has made views, triggers, keys or the like"
                    .to_owned()
            }
            Self::OnTemporary => {
                "this would make something permanent depend on what may be temporary, and the server drops both together".to_owned()
            }
            Self::SchemaUnknown => {
                "where names without a schema would be made is not known any more, and a policy looks at schemas".to_owned()
            }
            Self::ColumnsUnknown => {
                "a policy refuses labelled columns and this statement cannot be followed".to_owned()
            }
            Self::NameUnknown => {
                "what this would run was prepared under other policies and is not known any more".to_owned()
            }
            Self::Exhausted(exhausted) => exhausted.public(),
            Self::NotPermitted {
                effect,
                relation,
                agent,
            } => {
                let on = relation
                    .as_ref()
                    .map(|name| format!(" on {}", shown(name)))
                    .unwrap_or_default();
                format!("no policy permits {effect}{on}{}", for_agent(agent))
            }
            Self::NoSession { agent } => {
                format!("no policy permits a session on this target{}", for_agent(agent))
            }
            Self::Forbidden {
                policy,
                reason: Some(reason),
            } => format!("forbidden by policy \"{policy}\": {reason}"),
            Self::Forbidden { policy, reason: None } => format!("forbidden by policy \"{policy}\""),
            Self::RuleFailed { policy: Some(policy) } => {
                format!("policy \"{policy}\" could not be evaluated")
            }
            Self::RuleFailed { policy: None } => "the policies could not be evaluated".to_owned(),
            Self::TooManyRelations => {
                "the statement names more relations than can be decided at once".to_owned()
            }
        }
    }

    /// What the client can do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::TableOutOfScope { ambiguous: true, .. } => "Write the relation with its schema.",
            Self::EffectsOutOfScope(_) | Self::TableOutOfScope { .. } | Self::UnboundedInScope(_) => {
                "Ask for a lease with a wider scope."
            }
            Self::AroundMask(Channel::Copy(_)) => "SELECT the columns instead: its rows can be masked.",
            Self::AroundMask(Channel::Returning(_)) => "Return the columns as they are: they can be masked.",
            Self::AroundMask(Channel::Probe(_)) => {
                "Compare the column itself with a complete value that is written out or a parameter, or ask for the policy action probe."
            }
            Self::AroundMask(Channel::Flow(_)) => {
                "Write the columns that are read with their table (alias.column): a bare name may be a labelled column's."
            }
            Self::AroundMask(Channel::Misnamed(_)) => {
                "Check the name; a column that was made just now is known in a moment."
            }
            Self::AroundMask(Channel::Function(_)) => {
                "Only known built-in functions run while columns are masked."
            }
            Self::CatalogMissing | Self::CatalogNeeded | Self::NamesMoving => "Try again in a moment.",
            Self::BehindTransaction => "Commit first.",
            Self::OnTemporary => {
                "Use a session that has made nothing temporary; write pg_temp before what is temporary itself."
            }
            Self::SchemaUnknown => "Write the schema.",
            Self::NotPermitted {
                relation: Some(relation),
                ..
            } if relation.starts_with("?.") => "Write the schema.",
            Self::Exhausted(exhausted) => exhausted.hint(),
            Self::TooManyRelations => "Split the statement.",
            Self::NameUnknown => "Prepare or declare it again, under a new name.",
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// The SQLSTATE of the refusal.
    pub fn sqlstate(&self) -> [u8; 5] {
        match self {
            // feature_not_supported
            Self::AroundMask(
                Channel::FunctionCall
                | Channel::Replication
                | Channel::Copy(_)
                | Channel::Returning(_)
                | Channel::Opaque(_)
                | Channel::Server,
            ) => *b"0A000",
            // undefined_column
            Self::AroundMask(Channel::Misnamed(_)) => *b"42703",
            // lock_not_available
            Self::NamesMoving => *b"55P03",
            // statement_too_complex
            Self::TooManyRelations => *b"54001",
            Self::Exhausted(exhausted) => exhausted.sqlstate(),
            // insufficient_privilege
            _ => *b"42501",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.public())
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FunctionCall => f.write_str("the fast path is not offered"),
            Self::Replication => f.write_str("replication is not offered"),
            Self::Server => f.write_str("server files, programs and extensions are not offered"),
            Self::Copy(name) => write!(f, "COPY of relation {} is not offered", name_shown(name)),
            Self::Opaque(what) => write!(f, "{what} cannot be looked into"),
            Self::Function(name) => write!(f, "function {} is not known to be harmless", name_shown(name)),
            Self::Catalog(name) => write!(f, "{} may hold copies of values", name_shown(name)),
            Self::Flow(name) => write!(f, "values of relation {} must stay in it", name_shown(name)),
            Self::Returning(name) => write!(
                f,
                "RETURNING of computed values of relation {} is not offered",
                name_shown(name)
            ),
            Self::Definition(name) => write!(f, "the definition of relation {} must stay", name_shown(name)),
            Self::Setting(name) => write!(f, "setting {} must stay", shown(name)),
            Self::Misnamed(name) => write!(f, "column {} is not known", name_shown(name)),
            Self::Probe(label) => write!(
                f,
                "values of label {} can only be looked up by equality",
                shown(label)
            ),
        }
    }
}

fn name_shown(name: &Name) -> String {
    shown(&name.to_string())
}

/// A name that may be repeated: bounded and printable.
pub(crate) fn shown(name: &str) -> String {
    let printable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut text: String = name.chars().take(NAME_CHARS_MAX).map(printable).collect();
    if name.chars().nth(NAME_CHARS_MAX).is_some() {
        text.push('…');
    }
    text
}

/// A verdict with everything that the session and the record need to act on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What happens.
    pub verdict: Verdict,
    /// It reads or writes a relation with a column that is masked for this session, or runs something prepared that may:
    /// error texts lose their data and result columns of unknown origin are refused. See [`Decision::touches`].
    pub touches_label: bool,
    /// Labels on the relations it names, masked for the session or not, sorted; for the record.
    pub labels: Vec<String>,
    /// Everything it does.
    pub effects: Effects,
    /// Ids of the policies that determined the verdict, sorted.
    pub policies: Vec<String>,
    /// What it is charged to once it runs, an approved hold included.
    pub budget: Budget,
    /// When the verdict may change by itself, because a policy looks at the time; `None` for never.
    pub valid_until: Option<UnixMillis>,
    /// The statement, for the record and for `mask_plan`.
    pub statement: Statement,
}

impl Decision {
    /// A decision that allows a statement that does nothing.
    #[doc(hidden)]
    pub fn allowed_for_tests() -> Self {
        Self {
            verdict: Verdict::Allow,
            touches_label: false,
            labels: Vec::new(),
            effects: Effects::NONE,
            policies: Vec::new(),
            budget: Budget::default(),
            valid_until: None,
            statement: Statement::empty(),
        }
    }

    /// Whether it touches a masked label, given whether any earlier PREPARE or DECLARE of the session did. Narrower than
    /// `touches_label` for EXECUTE and FETCH, which otherwise count as touching one.
    pub fn touches(&self, prepared_touched: bool) -> bool {
        if self.runs_prepared_only() {
            prepared_touched
        } else {
            self.touches_label
        }
    }

    /// EXECUTE, FETCH and the like, which name no relation themselves.
    fn runs_prepared_only(&self) -> bool {
        self.effects.contains(Effects::PREPARED)
            && self.labels.is_empty()
            && self.statement.reads.is_empty()
            && self.statement.writes.is_empty()
    }

    /// One line for records and `linegate explain`: verdict, effects, relations, policies; no literal.
    pub fn summary(&self) -> String {
        let mut line = match &self.verdict {
            Verdict::Allow => "allow".to_owned(),
            Verdict::Deny(reason) => format!("deny ({reason})"),
            Verdict::Hold(terms) => {
                format!("hold for {} ({})", terms.said(), terms.reason)
            }
        };
        let names = |names: &[Name]| names.iter().map(name_shown).collect::<Vec<_>>().join(", ");
        let mut say = |what: &str, list: String| {
            if !list.is_empty() {
                line.push_str("; ");
                line.push_str(what);
                line.push(' ');
                line.push_str(&list);
            }
        };
        say("does", self.effects.to_string());
        say("reads", names(&self.statement.reads));
        say("writes", names(&self.statement.writes));
        say("calls", names(&self.statement.functions));
        say("opaque", self.statement.opaque.join(", "));
        say("labels", self.labels.join(", "));
        say("by", self.policies.join(", "));
        line
    }

    /// Bytes it holds on the heap, roughly; what the cache's bound counts.
    pub fn heap_bytes(&self) -> usize {
        let names = |names: &Vec<Name>| {
            let text: usize = names
                .iter()
                .map(|n| n.name.len() + n.schema.as_ref().map_or(0, String::len))
                .sum();
            text + names.capacity() * size_of::<Name>()
        };
        let texts = |texts: &Vec<String>| {
            texts.iter().map(String::len).sum::<usize>() + texts.capacity() * size_of::<String>()
        };
        let verdict = match &self.verdict {
            Verdict::Allow => 0,
            Verdict::Deny(_) => 2 * NAME_CHARS_MAX,
            Verdict::Hold(terms) => {
                let groups = terms.assents.iter().map(|assent| texts(&assent.groups));
                groups.sum::<usize>() + terms.reason.len()
            }
        };
        let statement = &self.statement;
        verdict
            + names(&statement.reads)
            + names(&statement.writes)
            + names(&statement.functions)
            + statement.opaque.capacity() * size_of::<&str>()
            + statement.output.as_ref().map_or(0, Vec::capacity)
            + texts(&statement.settings)
            + statement.copy_out.as_ref().map_or(0, |copied| {
                size_of_val(&**copied) + copied.describes.len() + copied.null.len()
            })
            + statement
                .lineage
                .as_ref()
                .map_or(0, |lineage| lineage.heap_bytes())
            + texts(&self.labels)
            + texts(&self.policies)
            + self.budget.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_aloud_is_bounded_and_printable() {
        let name = Name {
            schema: None,
            name: format!("a\n{}", "x".repeat(500)),
        };
        let text = Reason::AroundMask(Channel::Flow(name)).public();
        assert!(!text.contains('\n') && text.len() < 300, "{text}");
    }

    #[test]
    fn the_decision_for_tests_touches_nothing() {
        let decision = Decision::allowed_for_tests();
        assert_eq!(decision.verdict, Verdict::Allow);
        assert!(!decision.touches(true) && decision.effects.is_empty() && decision.labels.is_empty());
    }

    #[test]
    fn refused_features_and_refused_rights_differ_in_code() {
        assert_eq!(Reason::AroundMask(Channel::FunctionCall).sqlstate(), *b"0A000");
        assert_eq!(
            Reason::AroundMask(Channel::Setting("role".to_owned())).sqlstate(),
            *b"42501"
        );
        assert_eq!(Reason::NotUnderstood.sqlstate(), *b"42501");
    }
}
