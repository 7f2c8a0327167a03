//! Effect classes: what a statement does, in the nouns that scopes and policies share.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A set of effect classes. The empty set is a statement that does nothing anyone could forbid (`;`).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Effects(u32);

macro_rules! effects {
    ($($(#[doc = $doc:literal])+ $name:ident = $bit:literal, $text:literal;)+) => {
        impl Effects {
            $($(#[doc = $doc])+ pub const $name: Self = Self(1 << $bit);)+
            /// Every class with its name in policies, scopes and records.
            pub const NAMES: &'static [(Self, &'static str)] = &[$((Self::$name, $text)),+];
        }
    };
}

effects! {
    /// Reads rows.
    SELECT = 0, "select";
    /// Adds rows.
    INSERT = 1, "insert";
    /// Changes rows.
    UPDATE = 2, "update";
    /// Removes rows.
    DELETE = 3, "delete";
    /// Removes all rows of a relation.
    TRUNCATE = 4, "truncate";
    /// Creates an object (temporary tables included).
    CREATE = 5, "create";
    /// Changes the definition of an object, its name, owner or comment.
    ALTER = 6, "alter";
    /// Removes an object.
    DROP = 7, "drop";
    /// GRANT, REVOKE, default privileges.
    GRANT = 8, "grant";
    /// COPY … FROM STDIN.
    COPY_IN = 9, "copy-in";
    /// COPY … TO STDOUT.
    COPY_OUT = 10, "copy-out";
    /// DO blocks and text that the server builds and runs itself.
    EXECUTE = 11, "execute";
    /// CALL of a procedure.
    CALL = 12, "call";
    /// SET, RESET, DISCARD, `set_config`.
    SET = 13, "set";
    /// SHOW and other reads of settings.
    SHOW = 14, "show";
    /// BEGIN, COMMIT, ROLLBACK, SAVEPOINT, two-phase commit.
    TRANSACTION = 15, "transaction";
    /// LOCK TABLE.
    LOCK = 16, "lock";
    /// VACUUM, ANALYZE, REINDEX, CLUSTER, CHECKPOINT, REFRESH.
    MAINTENANCE = 17, "maintenance";
    /// LISTEN, NOTIFY, UNLISTEN.
    NOTIFY = 18, "notify";
    /// Files, programs, extensions, ALTER SYSTEM, foreign servers, databases, tablespaces.
    SERVER = 19, "server";
    /// Users and roles: CREATE/ALTER/DROP ROLE, SET ROLE, SET SESSION AUTHORIZATION.
    ROLE = 20, "role";
    /// Replication commands, publications, subscriptions, slots.
    REPLICATION = 21, "replication";
    /// The FunctionCall message (fast path).
    FUNCTION_CALL = 22, "function-call";
    /// EXPLAIN (with ANALYZE, the effects of the explained statement are added).
    EXPLAIN = 23, "explain";
    /// Runs or reads on from something prepared earlier: EXECUTE, FETCH, MOVE, CLOSE, DEALLOCATE.
    PREPARED = 24, "prepared";
    /// What linegate could not understand.
    UNREADABLE = 25, "unreadable";
}

impl Effects {
    /// No effect.
    pub const NONE: Self = Self(0);

    /// Every class that exists.
    pub fn all() -> Self {
        Self::NAMES
            .iter()
            .fold(Self::NONE, |all, (one, _)| all.with(*one))
    }

    /// This set and `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What both sets hold.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// This set without `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether every class of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any class is in both.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether no class is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names of the classes in the set, in declaration order.
    pub fn names(self) -> impl Iterator<Item = &'static str> + Clone {
        Self::NAMES
            .iter()
            .filter(move |(one, _)| self.contains(*one))
            .map(|(_, name)| *name)
    }

    /// The class of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(_, text)| *text == name)
            .map(|(one, _)| *one)
    }
}

impl fmt::Display for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.names().enumerate() {
            if index > 0 {
                f.write_str("+")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Effects({self})")
    }
}
