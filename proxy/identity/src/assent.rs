//! Who must agree before something runs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// So many members of any of these groups.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Assent {
    /// Groups, sorted.
    pub groups: Vec<String>,
    /// How many people, from 1.
    pub count: u32,
}

impl Assent {
    /// How many are still missing when these have agreed, each with their groups.
    pub fn missing<'p>(&self, agreed: impl Iterator<Item = &'p [String]>) -> u32 {
        let is_one = |groups: &&[String]| groups.iter().any(|group| self.groups.contains(group));
        let count = u32::try_from(agreed.filter(is_one).count()).unwrap_or(u32::MAX);
        self.count.max(1).saturating_sub(count)
    }
}

/// `2 of oncall, security`.
impl fmt::Display for Assent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.count, self.groups.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_count_where_one_of_their_groups_is_asked() {
        let two = Assent {
            groups: vec!["oncall".to_owned(), "security".to_owned()],
            count: 2,
        };
        assert_eq!(two.to_string(), "2 of oncall, security");
        let groups = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let people = [
            groups(&["dba"]),
            groups(&["security", "dba"]),
            groups(&["oncall"]),
        ];
        for (agreed, missing) in [(0, 2), (1, 2), (2, 1), (3, 0)] {
            assert_eq!(two.missing(people[..agreed].iter().map(Vec::as_slice)), missing);
        }
        let nobody = Assent {
            groups: Vec::new(),
            count: 0,
        };
        assert_eq!(
            nobody.missing(people.iter().map(Vec::as_slice)),
            1,
            "nobody can agree"
        );
    }
}
