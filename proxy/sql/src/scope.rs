//! Which names are CTEs at the point the walker has reached.
//! Source: PostgreSQL manual, "WITH Queries"; `parse_cte.c`.
//!
//! A CTE name stands for its query only unqualified, only where rows are read (never as a DML target), from the
//! end of its own definition to the end of the statement that holds the WITH, or within the whole WITH list when
//! it says RECURSIVE.

use std::collections::HashMap;

/// The CTE names in scope, innermost last.
#[derive(Default)]
pub(crate) struct Scopes<'a> {
    entered: Vec<&'a str>,
    counts: HashMap<&'a str, u32>,
}

/// A point to return to.
#[derive(Clone, Copy)]
pub(crate) struct Mark(usize);

impl<'a> Scopes<'a> {
    /// Where the scope stands now.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.entered.len())
    }

    /// Brings a name into scope.
    pub(crate) fn enter(&mut self, name: &'a str) {
        self.entered.push(name);
        *self.counts.entry(name).or_insert(0) += 1;
    }

    /// Takes every name entered since `mark` out of scope.
    pub(crate) fn leave(&mut self, mark: Mark) {
        for name in self.entered.drain(mark.0..) {
            if let Some(count) = self.counts.get_mut(name) {
                *count -= 1;
            }
        }
    }

    /// Whether an unqualified name is a CTE here.
    pub(crate) fn holds(&self, name: &str) -> bool {
        self.counts.get(name).is_some_and(|count| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inner_name_hides_and_then_uncovers_an_outer_one() {
        let mut scopes = Scopes::default();
        scopes.enter("a");
        let mark = scopes.mark();
        scopes.enter("a");
        scopes.enter("b");
        scopes.leave(mark);
        assert!(scopes.holds("a"));
        assert!(!scopes.holds("b"));
    }
}
