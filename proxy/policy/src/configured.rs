//! Labels and redactions of the configuration as policy sees them.

use linegate_config::{LabelConfig, Redact};

use crate::labels::{LabelSpec, RedactSpec};
use crate::redact::{Constant, DateUnit, Kept};

impl From<&LabelConfig> for LabelSpec {
    fn from(label: &LabelConfig) -> Self {
        let columns = label.columns.iter();
        Self {
            name: label.name.clone(),
            columns: columns
                .map(|column| (column.schema.clone(), column.table.clone(), column.column.clone()))
                .collect(),
            paths: label.paths.iter().map(|path| path.steps().to_vec()).collect(),
            redact: RedactSpec::from(&label.redact),
        }
    }
}

impl From<&Redact> for RedactSpec {
    fn from(redact: &Redact) -> Self {
        match redact {
            Redact::Blank => Self::Blank,
            Redact::KeepLast(count) => Self::KeepLast(*count),
            Redact::KeepDomain => Self::KeepDomain,
            Redact::Digits { first, last } => Self::Digits(Kept {
                first: *first,
                last: *last,
            }),
            Redact::DateYear => Self::Date(DateUnit::Year),
            Redact::DateMonth => Self::Date(DateUnit::Month),
            Redact::Round(step) => Self::Round(*step),
            Redact::Pseudonym => Self::Pseudonym,
            // The configuration has bounded it; if it had not, NULL shows less.
            Redact::Constant(text) => Constant::new(text).map_or(Self::Null, Self::Constant),
            Redact::Null => Self::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_redaction_keeps_its_numbers() {
        let of = |redact: Redact| RedactSpec::from(&redact);
        assert_eq!(of(Redact::KeepLast(4)), RedactSpec::KeepLast(4));
        assert_eq!(of(Redact::DateMonth), RedactSpec::Date(DateUnit::Month));
        assert_eq!(
            of(Redact::Digits { first: 6, last: 4 }),
            RedactSpec::Digits(Kept { first: 6, last: 4 })
        );
        assert_eq!(of(Redact::Null), RedactSpec::Null);
        assert_eq!(
            of(Redact::Constant("x".repeat(10_000))),
            RedactSpec::Null,
            "a text that no cell could hold shows nothing"
        );
    }
}
