//! What is looked for and what is found. Units: offsets and lengths are bytes.

use std::fmt;

/// A kind of private text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Entity {
    /// A payment card number: 13 to 19 digits, an issuer's prefix and length, Luhn's check digit.
    Card,
    /// A social security number of the United States.
    Ssn,
    /// An international bank account number: a registered country, its length and shape, mod 97.
    Iban,
    /// An e-mail address.
    Email,
    /// A telephone number: E.164 (with `+` or `00`), North American, or national with a trunk zero.
    Phone,
    /// An IPv4 address in dotted decimal, 127.… excepted.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// A JSON web token, signed (three parts) or encrypted (five).
    Jwt,
    /// A private key in PEM armour.
    PemKey,
    /// An AWS access key id.
    AwsKeyId,
    /// An AWS secret access key.
    AwsSecret,
    /// A GitHub token.
    GithubToken,
    /// A GitLab token.
    GitlabToken,
    /// A Slack token or webhook address.
    SlackToken,
    /// A Stripe secret key, restricted key or webhook secret.
    StripeKey,
    /// A Google API key, OAuth token or client secret.
    GoogleKey,
    /// A value of high entropy that is assigned to a name such as `password`, `secret`, `token` or `api_key`,
    /// stands in an `Authorization` header, or is the password of a URL.
    Secret,
}

impl Entity {
    /// How many kinds there are.
    pub const COUNT: usize = 17;

    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Card,
        Self::Ssn,
        Self::Iban,
        Self::Email,
        Self::Phone,
        Self::Ipv4,
        Self::Ipv6,
        Self::Jwt,
        Self::PemKey,
        Self::AwsKeyId,
        Self::AwsSecret,
        Self::GithubToken,
        Self::GitlabToken,
        Self::SlackToken,
        Self::StripeKey,
        Self::GoogleKey,
        Self::Secret,
    ];

    /// The name in configuration, records and figures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Ssn => "ssn",
            Self::Iban => "iban",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Jwt => "jwt",
            Self::PemKey => "pem-key",
            Self::AwsKeyId => "aws-key-id",
            Self::AwsSecret => "aws-secret",
            Self::GithubToken => "github-token",
            Self::GitlabToken => "gitlab-token",
            Self::SlackToken => "slack-token",
            Self::StripeKey => "stripe-key",
            Self::GoogleKey => "google-key",
            Self::Secret => "secret",
        }
    }

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|entity| entity.name() == name)
    }

    /// The longest hit. A longer token or armour is found by its first bytes and reported up to this length.
    pub const fn bytes_max(self) -> usize {
        match self {
            Self::Card | Self::Ssn | Self::Phone | Self::Ipv4 | Self::Ipv6 | Self::Iban => 96,
            Self::Email => 320,
            Self::Jwt | Self::PemKey => 8192,
            Self::AwsKeyId => 20,
            Self::AwsSecret => 40,
            Self::Secret => 256,
            Self::GithubToken | Self::GitlabToken | Self::SlackToken | Self::StripeKey | Self::GoogleKey => {
                512
            }
        }
    }
}

impl fmt::Display for Entity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A set of [`Entity`]s.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Detectors(u32);

impl Detectors {
    /// Looks for nothing.
    pub const NONE: Self = Self(0);
    /// Looks for everything.
    pub const ALL: Self = Self((1 << Entity::COUNT) - 1);
    /// Personal data: card, SSN, IBAN, e-mail and telephone numbers.
    pub const PERSONAL: Self = Self::NONE
        .with(Entity::Card)
        .with(Entity::Ssn)
        .with(Entity::Iban)
        .with(Entity::Email)
        .with(Entity::Phone);
    /// Credentials: keys, tokens and assigned secrets.
    pub const CREDENTIALS: Self = Self(Self::ALL.0 & !Self::PERSONAL.with(Entity::Ipv4).with(Entity::Ipv6).0);

    /// The set and one more.
    #[must_use]
    pub const fn with(self, entity: Entity) -> Self {
        Self(self.0 | 1 << entity as u32)
    }

    /// Whether `entity` is looked for.
    #[inline]
    pub const fn has(self, entity: Entity) -> bool {
        self.0 & (1 << entity as u32) != 0
    }

    /// Whether any of `others` is looked for.
    #[inline]
    pub const fn has_any(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// Whether nothing is looked for.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The kinds in the set.
    pub fn iter(self) -> impl Iterator<Item = Entity> {
        Entity::ALL.into_iter().filter(move |entity| self.has(*entity))
    }

    /// How far behind its first byte the grammar of any kind in the set looks.
    pub(crate) fn bytes_ahead(self) -> usize {
        /// Boundaries look at two bytes behind a hit, a separator and a digit.
        const BOUNDARY_BYTES: usize = 8;
        self.iter()
            .map(|entity| entity.bytes_max() + BOUNDARY_BYTES)
            .max()
            .unwrap_or(0)
    }
}

impl FromIterator<Entity> for Detectors {
    fn from_iter<I: IntoIterator<Item = Entity>>(entities: I) -> Self {
        entities.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for Detectors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.iter()).finish()
    }
}

/// A text cell: `buffer[at..at + bytes]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Where it starts in its buffer.
    pub at: u32,
    /// How many bytes it has.
    pub bytes: u32,
}

/// One thing found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hit {
    /// Which of the cells given, from 0; of a single cell or a [`Scanner`](crate::Scanner), 0.
    pub cell: u32,
    /// Where it starts: in the buffer given, or in the whole cell of a [`Scanner`](crate::Scanner).
    pub at: u32,
    /// How many bytes it has. Always whole characters of UTF-8 text.
    pub bytes: u32,
    /// What it is.
    pub entity: Entity,
}

/// Takes hits as they are found: ascending for each kind, in no fixed order between kinds.
pub trait HitSink {
    /// One more.
    fn hit(&mut self, hit: Hit);
}

impl HitSink for Vec<Hit> {
    fn hit(&mut self, hit: Hit) {
        self.push(hit);
    }
}

/// Counts hits by kind and keeps nothing else: what a tripwire needs, without allocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HitCounts {
    counts: [u64; Entity::COUNT],
}

impl HitCounts {
    /// How many of one kind.
    pub const fn of(&self, entity: Entity) -> u64 {
        self.counts[entity as usize]
    }

    /// How many in all.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl HitSink for HitCounts {
    fn hit(&mut self, hit: Hit) {
        self.counts[hit.entity as usize] += 1;
    }
}
