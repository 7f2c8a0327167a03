//! `linegate explain`: a decision with every question that led to it, for people who write policies.

use std::fmt;

use crate::decide::{self, Step};
use crate::engine::Engine;
use crate::labels::{LabelIndex, MaskScope};
use crate::statement::Statement;
use crate::subject::Subject;
use crate::verdict::{Decision, Verdict, shown};

/// A decision and how it came about.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The decision itself.
    pub decision: Decision,
    /// What was asked of policy, in order; empty when the verdict was clear before.
    pub steps: Vec<Step>,
    /// Labels that are masked for the session.
    pub masked: Vec<String>,
    /// Policies that could match the session at all.
    pub policies_count: usize,
}

/// Decides a statement and keeps every question. Its `Display` is the printed report.
pub fn explain(
    engine: &Engine,
    subject: &Subject,
    labels: Option<&LabelIndex>,
    masks: &MaskScope,
    statement: &Statement,
) -> Explanation {
    let mut steps = Vec::new();
    let mut trace = |step: Step| steps.push(step);
    let decision = decide::decide_traced(engine, subject, labels, masks, statement, Some(&mut trace));
    Explanation {
        decision,
        steps,
        masked: masks.names().map(str::to_owned).collect(),
        policies_count: subject.policies_count(),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.decision.summary())?;
        if let Verdict::Deny(reason) = &self.decision.verdict
            && let Some(hint) = reason.hint()
        {
            writeln!(f, "hint: {hint}")?;
        }
        if !self.masked.is_empty() {
            let touched = if self.decision.touches_label {
                "may show"
            } else {
                "shows none of"
            };
            writeln!(
                f,
                "masked for this session: {}; the statement {touched} them",
                self.masked.join(", ")
            )?;
        }
        writeln!(f, "policies that can match this session: {}", self.policies_count)?;
        if self.steps.is_empty() {
            return writeln!(f, "no policy was asked");
        }
        for step in &self.steps {
            let answer = if step.allowed { "allow" } else { "deny" };
            let who = step
                .agent
                .as_deref()
                .map_or_else(|| "principal".to_owned(), |a| format!("agent {}", shown(a)));
            let what = step
                .relation
                .as_deref()
                .map_or_else(|| "the target".to_owned(), shown);
            let by = if step.policies.is_empty() {
                "no policy".to_owned()
            } else {
                step.policies.join(", ")
            };
            writeln!(f, "  {answer:5} {} of {what} for {who}, by {by}", step.asked)?;
        }
        Ok(())
    }
}
