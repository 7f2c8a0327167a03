//! The actor chain: principal → agents, in the order in which each started the next.
//!
//! Names come from issuers, operators and agents themselves and end up in records, approvals and the server's
//! `application_name`, so a name is printable and cannot imitate the arrow between two of them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Fault, LeaseId};

/// The longest name of a principal, actor or group.
pub const NAME_BYTES_MAX: usize = 128;
/// The most agents between a principal and a connection.
pub const ACTORS_MAX: usize = 16;
/// What PostgreSQL keeps of an `application_name` (NAMEDATALEN less its terminator).
pub const APPLICATION_NAME_BYTES_MAX: usize = 63;

/// Whether a person or a machine stands at the head of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrincipalKind {
    /// A person.
    User,
    /// A CI job, a service, a host.
    Workload,
}

impl PrincipalKind {
    /// Its name in records and tokens.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Workload => "workload",
        }
    }

    /// The kind of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::User, Self::Workload]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

/// A person or workload proven by an issuer, or named by the operator on the admin socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Principal {
    /// Person or machine.
    pub kind: PrincipalKind,
    /// The name the issuer vouches for.
    pub name: String,
    /// Groups that the configuration or the issuer puts it in, sorted.
    #[serde(default)]
    pub groups: Vec<String>,
}

impl Principal {
    /// A principal with checked names; groups are sorted and made unique.
    pub fn new(kind: PrincipalKind, name: &str, groups: &[String]) -> Result<Self, NameError> {
        validate_name(name)?;
        groups.iter().try_for_each(|group| validate_name(group))?;
        let mut groups = groups.to_vec();
        groups.sort_unstable();
        groups.dedup();
        Ok(Self {
            kind,
            name: name.to_owned(),
            groups,
        })
    }
}

/// A principal and every agent between it and the connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ActorChain {
    /// Who started it.
    pub principal: Principal,
    /// The agents, outermost first.
    #[serde(default)]
    pub actors: Vec<String>,
}

impl ActorChain {
    /// A chain of the principal alone.
    pub fn new(principal: Principal) -> Self {
        Self {
            principal,
            actors: Vec::new(),
        }
    }

    /// This chain with one more agent at its end.
    pub fn with_actor(&self, name: &str) -> Result<Self, ChainError> {
        validate_name(name)?;
        if self.actors.len() >= ACTORS_MAX {
            return Err(ChainError::TooDeep);
        }
        let mut longer = self.clone();
        longer.actors.push(name.to_owned());
        Ok(longer)
    }

    /// Checks every name and the depth of a chain that came from outside.
    pub fn validate(&self) -> Result<(), ChainError> {
        if self.actors.len() > ACTORS_MAX {
            return Err(ChainError::TooDeep);
        }
        let names = std::iter::once(&self.principal.name)
            .chain(&self.principal.groups)
            .chain(&self.actors);
        names
            .map(String::as_str)
            .try_for_each(validate_name)
            .map_err(ChainError::Name)
    }

    /// How many agents stand between the principal and the connection.
    pub fn depth(&self) -> usize {
        self.actors.len()
    }

    /// Whether that name is anywhere in the chain; nobody approves what their own chain asked for.
    ///
    /// Letter case is ignored: an issuer that spells a person in two ways must not make two people of them.
    pub fn contains(&self, principal_name: &str) -> bool {
        let wanted = principal_name.trim().to_lowercase();
        std::iter::once(&self.principal.name)
            .chain(&self.actors)
            .any(|name| name.to_lowercase() == wanted)
    }

    /// `linegate:<lease>:<principal>><actor>…` as the server's `application_name`: printable ASCII, at most
    /// [`APPLICATION_NAME_BYTES_MAX`] bytes. A cut is marked by a last `~`; what ASCII cannot show becomes `?`.
    pub fn application_name(&self, lease: &LeaseId) -> String {
        let mut text = String::from("linegate:");
        text.extend(lease.as_str().chars().map(ascii));
        for (index, name) in std::iter::once(&self.principal.name)
            .chain(&self.actors)
            .enumerate()
        {
            text.push(if index == 0 { ':' } else { '>' });
            text.extend(name.chars().map(ascii));
        }
        if text.len() > APPLICATION_NAME_BYTES_MAX {
            text.truncate(APPLICATION_NAME_BYTES_MAX - 1); // all ASCII, so every byte is a boundary
            text.push('~');
        }
        text
    }
}

/// `>` stands between names, so a name may not bring its own.
fn ascii(c: char) -> char {
    if (' '..='~').contains(&c) && c != '>' {
        c
    } else {
        '?'
    }
}

impl fmt::Display for ActorChain {
    /// `ci-runner → build/4711 → migrate`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.principal.name)?;
        self.actors.iter().try_for_each(|actor| write!(f, " → {actor}"))
    }
}

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameError {
    /// No bytes at all.
    Empty,
    /// More than [`NAME_BYTES_MAX`].
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A control, direction, zero-width or line-breaking character.
    Unprintable {
        /// Byte offset of the first one.
        at: usize,
    },
    /// The arrow that joins a chain.
    Arrow,
    /// Space at either end.
    Padded,
}

impl NameError {
    /// Whoever chose the name.
    pub fn fault(&self) -> Fault {
        Fault::Client
    }

    /// What the peer may read.
    pub fn public(&self) -> &'static str {
        match self {
            Self::Empty => "a name is empty",
            Self::TooLong { .. } => "a name is longer than 128 bytes",
            Self::Unprintable { .. } => "a name holds a character that cannot be shown",
            Self::Arrow => "a name holds the arrow that joins a chain",
            Self::Padded => "a name begins or ends with a space",
        }
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => write!(f, "{}: {bytes} bytes", self.public()),
            Self::Unprintable { at } => write!(f, "{}, at byte {at}", self.public()),
            _ => f.write_str(self.public()),
        }
    }
}

impl std::error::Error for NameError {}

/// Why a chain could not be made or trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainError {
    /// One of its names.
    Name(NameError),
    /// More than [`ACTORS_MAX`] agents.
    TooDeep,
}

impl ChainError {
    /// Whoever made the chain.
    pub fn fault(&self) -> Fault {
        Fault::Client
    }

    /// What the peer may read.
    pub fn public(&self) -> &'static str {
        match self {
            Self::Name(name) => name.public(),
            Self::TooDeep => "the chain has more than 16 actors",
        }
    }
}

impl From<NameError> for ChainError {
    fn from(error: NameError) -> Self {
        Self::Name(error)
    }
}

impl fmt::Display for ChainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::TooDeep => f.write_str(self.public()),
        }
    }
}

impl std::error::Error for ChainError {}

/// Checks the name of a principal, actor or group.
pub fn validate_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong { bytes: name.len() });
    }
    if let Some((at, _)) = name.char_indices().find(|(_, c)| is_unprintable(*c)) {
        return Err(NameError::Unprintable { at });
    }
    if name.contains('→') {
        return Err(NameError::Arrow);
    }
    if name.trim() != name {
        return Err(NameError::Padded);
    }
    Ok(())
}

/// Control characters, and the invisible ones (Unicode categories Cf, Zl, Zp, noncharacters) by which one name
/// could be shown as another.
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}'
            | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chain(actors: &[&str]) -> ActorChain {
        let principal = Principal::new(PrincipalKind::Workload, "ci-runner", &[]).unwrap();
        actors.iter().fold(ActorChain::new(principal), |chain, actor| {
            chain.with_actor(actor).unwrap()
        })
    }

    #[test]
    fn a_chain_shows_every_hop_in_order() {
        assert_eq!(
            chain(&["build/4711", "migrate"]).to_string(),
            "ci-runner → build/4711 → migrate"
        );
    }

    #[test]
    fn names_that_could_deceive_are_refused() {
        assert_eq!(validate_name(""), Err(NameError::Empty));
        assert_eq!(
            validate_name(&"x".repeat(129)),
            Err(NameError::TooLong { bytes: 129 })
        );
        assert_eq!(validate_name("a → b"), Err(NameError::Arrow));
        assert_eq!(validate_name(" oncall"), Err(NameError::Padded));
        for hidden in [
            "a\nb",
            "a\0b",
            "a\u{202e}b",
            "a\u{200b}b",
            "a\u{2028}b",
            "a\u{7f}b",
            "a\u{e0041}b",
        ] {
            assert_eq!(
                validate_name(hidden),
                Err(NameError::Unprintable { at: 1 }),
                "{hidden:?}"
            );
        }
        for good in [
            "oncall",
            "repo/shop/env/prod",
            "Prüfstand 7",
            "数据",
            "o'brien@example.com",
            &"x".repeat(128),
        ] {
            assert_eq!(validate_name(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn a_chain_is_at_most_sixteen_actors_deep() {
        let deepest = chain(&["agent"; ACTORS_MAX]);
        assert_eq!(deepest.validate(), Ok(()));
        assert_eq!(deepest.with_actor("agent"), Err(ChainError::TooDeep));
        let mut deeper = deepest;
        deeper.actors.push("agent".into());
        assert_eq!(deeper.validate(), Err(ChainError::TooDeep));
    }

    #[test]
    fn nobody_in_a_chain_is_outside_it() {
        let chain = chain(&["Build/4711"]);
        assert!(chain.contains("ci-runner") && chain.contains("CI-Runner ") && chain.contains("build/4711"));
        assert!(!chain.contains("ci-runner2") && !chain.contains(""));
    }

    #[test]
    fn groups_are_sorted_and_unique() {
        let groups = ["ops".to_owned(), "dev".to_owned(), "ops".to_owned()];
        let principal = Principal::new(PrincipalKind::User, "oncall", &groups).unwrap();
        assert_eq!(principal.groups, ["dev", "ops"]);
        assert!(Principal::new(PrincipalKind::User, "oncall", &["a\tb".to_owned()]).is_err());
    }

    #[test]
    fn application_name_fits_the_server() {
        let lease = LeaseId::from_random([0; 10]);
        assert_eq!(
            chain(&["m"]).application_name(&lease),
            "linegate:lg_aaaaaaaaaaaaaaaa:ci-runner>m"
        );
        let long = chain(&["build/4711", "migrate-everything-now"]).application_name(&lease);
        assert_eq!(long.len(), APPLICATION_NAME_BYTES_MAX);
        assert!(
            long.starts_with("linegate:lg_aaaaaaaaaaaaaaaa:ci-runner>build/4711>") && long.ends_with('~')
        );
        assert!(
            chain(&["a>b", "é"])
                .application_name(&lease)
                .ends_with(":ci-runner>a?b>?")
        );
    }

    proptest! {
        #[test]
        fn every_accepted_name_renders_safely(name in ".{0,140}") {
            if validate_name(&name).is_ok() {
                let text = chain(&[&name]).application_name(&LeaseId::from_random([1; 10]));
                prop_assert!(text.len() <= APPLICATION_NAME_BYTES_MAX);
                prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            }
        }
    }
}
