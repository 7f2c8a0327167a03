//! What is allowed: statements in policy's nouns, Cedar policies, verdicts and mask plans.
//!
//! Pure: no I/O, no clock. `engine` compiles policies, `subject` is a session as they see it, `decide` gives a verdict,
//! `labels` and `mask_plan` turn a RowDescription into the cells that are overwritten, `cache` remembers verdicts.

pub mod cache;
pub mod catalog;
pub mod decide;
pub mod engine;
pub mod explain;
pub mod labels;
pub mod lineage;
pub mod mask_plan;
pub mod schema;
pub mod statement;
pub mod subject;
mod under_mask;
pub mod verdict;

#[cfg(test)]
mod example_tests;
#[cfg(test)]
mod tests;

pub use cache::{Cache, Epoch};
pub use catalog::{Catalog, Column, Relation};
pub use decide::{decide, may_connect};
pub use engine::{Engine, GroupSpec, PolicyProblem};
pub use explain::{Explanation, explain};
pub use labels::{LabelIndex, LabelSpec, MaskScope, RedactSpec};
pub use lineage::{ColumnId, Flow, Lineage};
pub use mask_plan::{Action, FieldOrigin, MaskPlan, MaskedColumn, PlanRefusal};
pub use statement::{Name, OutputColumn, Statement};
pub use subject::Subject;
pub use verdict::{Channel, Decision, HoldTerms, Reason, Verdict};
