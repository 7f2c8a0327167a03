//! What is allowed: statements in policy's nouns, Cedar policies, verdicts and mask plans.
//!
//! Pure: no I/O, no clock. `engine` compiles policies, `subject` is a session as they see it, `decide` gives a verdict,
//! `labels` and `mask_plan` turn a RowDescription into the cells that are overwritten, `cache` remembers verdicts.

mod asking;
pub mod budget;
pub mod builtins;
pub mod cache;
pub mod catalog;
mod configured;
pub mod decide;
pub mod engine;
pub mod explain;
mod labelled;
pub mod labels;
pub mod lineage;
mod looks;
pub mod mask_plan;
pub mod problems;
mod questions;
pub mod redact;
pub mod schema;
pub mod statement;
pub mod subject;
mod under_mask;
pub mod verdict;
pub mod window;
mod words;

#[cfg(test)]
mod example_tests;
#[cfg(test)]
mod tests;

pub use budget::{
    Budget, BudgetKind, BudgetMeter, BudgetScope, Changes, Charges, Exhausted, LOOKUPS_PER_HOUR, Limit,
    LookupDigest, RuleBudget, lookup_digest,
};
pub use cache::{Cache, Epoch};
pub use catalog::{Catalog, Column, Relation};
pub use decide::{decide, may_connect};
pub use engine::{Engine, GroupSpec, PolicyProblem};
pub use explain::{Explanation, explain};
pub use labels::{LabelIndex, LabelSpec, MaskScope, RedactSpec};
pub use lineage::{ColumnId, Flow, Lineage, parameter_bit};
pub use mask_plan::{Action, FieldOrigin, MaskPlan, MaskedColumn, PlanRefusal};
pub use problems::{Problem, Told};
pub use statement::{CopyFormat, CopyOut, Leads, Name, Named, OutputColumn, Statement};
pub use subject::Subject;
pub use under_mask::{keeps_clear_relations, makes_clear_relations};
pub use verdict::{Channel, Decision, HoldTerms, Reason, Verdict};
pub use window::Moment;
pub use words::{Said, is_temporary, words};
