//! What is allowed: statements in policy's nouns, Cedar policies, verdicts and mask plans.
//!
//! Pure: no I/O, no clock.

pub mod catalog;
pub mod statement;

pub use statement::{Name, OutputColumn, Statement};
