//! What is done to a path, one module a workload; each takes a target and gives one sample.

pub mod churn;
pub mod idle;
pub mod queries;
pub mod stream;
