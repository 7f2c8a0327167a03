//! Which of the server's own functions may be called while columns are masked.
//! Source: `builtins/pgNN.txt`, one file a major version, written by `tests/builtins/generate` from that server's `pg_proc`; the
//! PostgreSQL manual, "Functions and Operators", "System Administration Functions".
//!
//! A line is a signature, its traits (kind, volatility, strict, variadic, language) and its class, between tabs. Classes come from
//! reviewing (`builtins/reviewed.txt`), never from a rule: what a newer server brings is `unreviewed`, and that is refused.
//!
//! | class | | allowed |
//! |---|---|---|
//! | `pure` | computes with its arguments (and how the session reads dates and numbers) | yes |
//! | `session` | shows the session's own state, time or chance | yes |
//! | `catalog` | names, definitions and privileges, which every role reads | yes |
//! | `counters` | sizes, positions and counts, without any value or text | yes |
//! | `carries` | leaves an argument behind: the reader refuses it with labelled values | yes |
//! | `internal` | cannot be called from SQL, or serves the server only | no |
//! | `text` | runs its argument as a query | no |
//! | `tables` | reads rows of relations that it is told | no |
//! | `files`, `large-objects`, `statistics`, `sessions` | reads or writes these; `sessions` are other sessions' texts | no |
//! | `control`, `replication` | acts on the server, reads the write-ahead log | no |
//!
//! A statement shows a function's name, not which signature is meant: a name is allowed when all of its signatures are that can be
//! called at all. The catalog thread reads the signatures of the server it is connected to ([`Judge`]) and refuses every name
//! that is not allowed *there*; the names alone ([`is_allowed`]) are for before that.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// The classes that may be called under a mask.
const ALLOWED: &[&str] = &["pure", "session", "catalog", "counters", "carries"];

/// Signatures of this class never decide about their name: SQL cannot pass them an argument.
const INTERNAL: &str = "internal";

/// Major versions and their lists.
const TEXTS: &[(u32, &str)] = &[
    (15, include_str!("builtins/pg15.txt")),
    (17, include_str!("builtins/pg17.txt")),
    (18, include_str!("builtins/pg18.txt")),
];

/// One version's functions: traits and class by signature.
type List = HashMap<&'static str, (&'static str, &'static str)>;

static LISTS: LazyLock<Vec<(u32, List)>> = LazyLock::new(|| {
    let parse = |text: &'static str| {
        let lines = text.lines().filter_map(|line| {
            let mut parts = line.split('\t');
            Some((parts.next()?, (parts.next()?, parts.next()?)))
        });
        lines.collect::<List>()
    };
    TEXTS.iter().map(|(major, text)| (*major, parse(text))).collect()
});

/// Names by what the lists say together.
struct Names {
    all: HashSet<&'static str>,
    allowed: HashSet<&'static str>,
    refused: HashSet<&'static str>,
}

static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let (mut all, mut allowed, mut refused) = (HashSet::new(), HashSet::new(), HashSet::new());
    for (signature, (_, class)) in LISTS.iter().flat_map(|(_, list)| list) {
        let name = name_of(signature);
        all.insert(name);
        if ALLOWED.contains(class) {
            allowed.insert(name);
        } else if *class != INTERNAL {
            refused.insert(name);
        }
    }
    allowed.retain(|name| !refused.contains(name));
    Names {
        all,
        allowed,
        refused,
    }
});

fn name_of(signature: &str) -> &str {
    signature.split('(').next().unwrap_or(signature)
}

/// Whether a call of that name, as `pg_catalog` has it, is harmless in every version that has it.
pub fn is_allowed(name: &str) -> bool {
    NAMES.allowed.contains(name)
}

/// Whether some version has a function of that name.
pub fn is_listed(name: &str) -> bool {
    NAMES.all.contains(name)
}

/// Whether some version has a function of that name that can be called and is not harmless.
pub fn is_refused(name: &str) -> bool {
    NAMES.refused.contains(name)
}

/// Judges the signatures of one server.
#[derive(Clone, Copy, Debug)]
pub struct Judge {
    major: u32,
}

impl Judge {
    /// For a server's `server_version_num`.
    pub fn of(server_version_num: u32) -> Self {
        Self {
            major: server_version_num / 10_000,
        }
    }

    /// Whether a list of exactly that version is known.
    pub fn is_exact(self) -> bool {
        TEXTS.iter().any(|(major, _)| *major == self.major)
    }

    /// Whether a signature keeps its name callable: it is on the version's list, as it was there, in an allowed class. A
    /// version without a list gets what every list that has the signature allows; its traits may differ in how it is planned,
    /// but not in language and owner's rights.
    pub fn allows(self, signature: &str, traits: &str) -> bool {
        let fits = |class: &str| ALLOWED.contains(&class) || class == INTERNAL;
        if let Some((_, list)) = LISTS.iter().find(|(major, _)| *major == self.major) {
            return list
                .get(signature)
                .is_some_and(|(listed, class)| *listed == traits && fits(class));
        }
        let mut found = LISTS
            .iter()
            .filter_map(|(_, list)| list.get(signature))
            .peekable();
        let same = |listed: &str| {
            listed.get(..1) == traits.get(..1) && listed.get(4..) == traits.get(4..) && traits.len() == 5
        };
        found.peek().is_some() && found.all(|(listed, class)| same(listed) && fits(class))
    }

    /// The function's name, if that signature is not harmless.
    pub fn refuses<'s>(self, signature: &'s str, traits: &str) -> Option<&'s str> {
        (!self.allows(signature, traits)).then(|| name_of(signature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_whole_sorted_and_of_a_known_class() {
        const REFUSED: &[&str] = &[
            INTERNAL,
            "text",
            "tables",
            "files",
            "large-objects",
            "statistics",
            "sessions",
            "control",
            "replication",
        ];
        for (major, text) in TEXTS {
            let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
            assert!(lines.len() > 3000, "{major}");
            assert!(lines.is_sorted_by(|a, b| a[0] < b[0]), "{major}");
            for line in &lines {
                let [signature, traits, class] = line[..] else {
                    panic!("{major}: {line:?}")
                };
                assert!(signature.ends_with(')') && traits.len() == 5, "{major}: {line:?}");
                assert!(
                    ALLOWED.contains(&class) || REFUSED.contains(&class),
                    "{major}: {line:?} was not reviewed"
                );
                let passes_internal = signature.contains("internal");
                assert!(
                    !passes_internal || class == INTERNAL || signature.starts_with("fmgr_"),
                    "{line:?}"
                );
                assert!(
                    class != "pure" || !traits[1..2].contains('v'),
                    "{line:?} is volatile"
                );
                assert!(
                    !traits[4..].contains(char::is_uppercase),
                    "{line:?} runs with its owner's rights"
                );
            }
        }
    }

    #[test]
    fn names_are_allowed_by_their_worst_signature() {
        for good in [
            "lower",
            "count",
            "now",
            "pg_get_viewdef",
            "set_config",
            "interval_avg",
            "bytea",
        ] {
            assert!(is_allowed(good) && !is_refused(good), "{good}");
        }
        for bad in [
            "query_to_xml",
            "ts_stat",
            "ts_rewrite",
            "pg_read_file",
            "lo_get",
            "table_to_xml",
            "pg_stat_get_activity",
            "pg_stat_get_wal_receiver",
            "pg_mcv_list_out",
            "pg_terminate_backend",
        ] {
            assert!(!is_allowed(bad) && is_refused(bad), "{bad}");
        }
        assert!(
            !is_allowed("dblink") && !is_refused("dblink"),
            "not the server's own"
        );
    }

    #[test]
    fn a_server_is_judged_by_its_own_list() {
        let judge = Judge::of(150_020);
        assert!(judge.is_exact() && judge.allows("lower(text)", "fis-i"));
        assert_eq!(
            judge.refuses("lower(text)", "fvs-s"),
            Some("lower"),
            "somebody replaced it"
        );
        assert_eq!(
            judge.refuses("lower(xml)", "fis-i"),
            Some("lower"),
            "a form nobody reviewed"
        );
        assert_eq!(judge.refuses("pg_read_file(text)", "fvs-i"), Some("pg_read_file"));
        // Only 18 has it.
        assert!(!judge.allows("casefold(text)", "fis-i"));
        assert!(Judge::of(180_001).allows("casefold(text)", "fis-i"));
    }

    #[test]
    fn a_version_without_a_list_gets_what_all_lists_allow() {
        for version in [140_010, 160_004, 190_000] {
            let judge = Judge::of(version);
            assert!(!judge.is_exact());
            assert!(judge.allows("lower(text)", "fis-i"));
            assert!(
                judge.allows("lower(text)", "fss-i"),
                "how it is planned may differ"
            );
            assert!(!judge.allows("lower(text)", "fis-s"), "its language may not");
            assert!(!judge.allows("lower(text)", "fis-I"));
            assert!(!judge.allows("pg_read_everything(text)", "fvs-i"));
            assert!(!judge.allows("pg_read_file(text)", "fvs-i"));
            assert!(!judge.allows("lower(text)", ""));
        }
    }
}
