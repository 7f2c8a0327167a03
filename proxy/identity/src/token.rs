//! Lease tokens: a lease that its holder can narrow offline.
//! Source: Biscuit specification, version 3 ("Blocks", "Revocation identifiers"); the container and its signatures are
//! `biscuit-auth`'s, none of its Datalog is ever run.
//! Shape: `lgt_` and base64url of the Biscuit, at most [`TOKEN_BYTES_MAX`]. The authority block, signed by control:
//!
//! ```text
//! lease("lg_…"); principal("workload", "ci-runner"); group("ci")*; actor(0, "build/4711")*;
//! target("prod"); scope("read"); expires(1767225600000)      (Unix milliseconds)
//! ```
//!
//! Every later block, signed by whoever held the token, holds at most one each of `hop(name)`, `scope(text)` and
//! `expires(ms)`. A block is read on its own and intersected with what came before it, so nothing in it can widen. Any
//! other fact, any rule, check or foreign signature is a caveat that is not understood, and denies.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use biscuit_auth::builder::{Algorithm, Fact, Term, fact, int, string};
use biscuit_auth::datalog::SymbolTable;
use biscuit_auth::{Biscuit, BlockBuilder, KeyPair, PrivateKey, PublicKey, UnverifiedBiscuit};
use zeroize::Zeroizing;

use crate::chain::validate_name;
use crate::scope::SCOPE_BYTES_MAX;
use crate::{
    ActorChain, ChainError, Fault, LeaseGrant, LeaseId, Principal, PrincipalKind, Scope, UnixMillis,
};

/// What every token begins with.
pub const TOKEN_PREFIX: &str = "lgt_";
/// The longest token text.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;
/// The most blocks, the authority block included. Each costs a signature check.
pub const BLOCKS_MAX: usize = 16;

/// What blocks of plain facts are written in (the specification's Datalog 3.0); whatever came later is not understood.
const BLOCK_VERSION: u32 = 3;

/// The key that control signs tokens with (Ed25519).
pub struct TokenKey(KeyPair);

impl TokenKey {
    /// The key of 32 random bytes.
    pub fn from_random(random: &[u8; 32]) -> Result<Self, TokenError> {
        key_pair(random).map(Self)
    }

    /// What data planes check tokens with, hex.
    pub fn public_hex(&self) -> String {
        hex::encode(self.0.public().to_bytes())
    }

    /// The token of a lease. `next_key` is 32 random bytes, used once: they let the holder add the next block.
    pub fn mint(&self, lease: &LeaseGrant, next_key: &[u8; 32]) -> Result<String, TokenError> {
        lease.chain.validate()?;
        validate_name(&lease.target).map_err(ChainError::Name)?;
        let chain = &lease.chain;
        let principal = &chain.principal;
        let mut facts = vec![
            fact("lease", &[text(lease.id.as_str())]),
            fact(
                "principal",
                &[text(principal.kind.as_str()), text(&principal.name)],
            ),
            fact("target", &[text(&lease.target)]),
            scope_fact(&lease.scope)?,
            expires(lease.expires_at)?,
        ];
        facts.extend(principal.groups.iter().map(|group| fact("group", &[text(group)])));
        facts.extend(
            chain
                .actors
                .iter()
                .zip(0..)
                .map(|(actor, at)| fact("actor", &[int(at), text(actor)])),
        );
        let mut builder = Biscuit::builder();
        for fact in facts {
            builder = builder.fact(fact).map_err(|_| TokenError::NotMade)?;
        }
        let next = key_pair(next_key)?;
        let token = builder.build_with_key_pair(&self.0, SymbolTable::new(), &next);
        render(
            token
                .and_then(|token| token.to_vec())
                .map_err(|_| TokenError::NotMade)?,
        )
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({})", self.public_hex())
    }
}

/// How a holder narrows a token for the hop that it starts.
#[derive(Clone, Debug, Default)]
pub struct Attenuation {
    /// The hop's name.
    pub actor: Option<String>,
    /// An earlier end.
    pub expires_at: Option<UnixMillis>,
    /// A narrower scope.
    pub scope: Option<Scope>,
}

/// Adds a block to a token, offline: no key is needed, and nothing is checked but the shape. `next_key` is 32 random
/// bytes, used once. Asking for more than the token has adds nothing.
pub fn attenuate(token: &str, narrower: &Attenuation, next_key: &[u8; 32]) -> Result<String, TokenError> {
    let token = UnverifiedBiscuit::from(parse(token)?.as_slice()).map_err(|_| TokenError::Malformed)?;
    if token.block_count() >= BLOCKS_MAX {
        return Err(TokenError::TooManyBlocks);
    }
    let mut facts: Vec<Fact> = Vec::new();
    if let Some(actor) = &narrower.actor {
        validate_name(actor).map_err(ChainError::Name)?;
        facts.push(fact("hop", &[text(actor)]));
    }
    if let Some(scope) = &narrower.scope {
        facts.push(scope_fact(scope)?);
    }
    if let Some(at) = narrower.expires_at {
        facts.push(expires(at)?);
    }
    let mut block = BlockBuilder::new();
    for fact in facts {
        block = block.fact(fact).map_err(|_| TokenError::NotMade)?;
    }
    let longer = token
        .append_with_keypair(&key_pair(next_key)?, block)
        .map_err(|error| match error {
            biscuit_auth::error::Token::AppendOnSealed => TokenError::Sealed,
            _ => TokenError::NotMade,
        })?;
    render(longer.to_vec().map_err(|_| TokenError::NotMade)?)
}

/// What a token that holds says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedToken {
    /// The lease it was minted for.
    pub lease_id: LeaseId,
    /// The lease's chain and every hop since.
    pub chain: ActorChain,
    /// The target it opens.
    pub target: String,
    /// The intersection of every block's scope.
    pub scope: Scope,
    /// The earliest end of any block.
    pub expires_at: UnixMillis,
    /// Each block's revocation identifier, hex, in order: revoking one ends this token and all made from it.
    pub revocation_ids: Vec<String>,
}

/// Checks a token: signatures first, then every block. `is_revoked` is asked about the lease's id and every block's
/// revocation identifier (hex).
pub fn verify(
    token: &str,
    public_key: &str,
    now: UnixMillis,
    is_revoked: &dyn Fn(&str) -> bool,
) -> Result<VerifiedToken, TokenError> {
    let bytes = parse(token)?;
    let key = PublicKey::from_bytes_hex(public_key, Algorithm::Ed25519).map_err(|_| TokenError::BadKey)?;
    let unverified = UnverifiedBiscuit::from(bytes.as_slice()).map_err(|_| TokenError::Malformed)?;
    if unverified.block_count() > BLOCKS_MAX {
        return Err(TokenError::TooManyBlocks); // before any signature is computed
    }
    // Fields that the format does not know are neither signed nor kept: one token, one spelling.
    if unverified.to_vec().map_err(|_| TokenError::Malformed)? != *bytes {
        return Err(TokenError::Malformed);
    }
    let token = unverified.verify(key).map_err(|_| TokenError::Signature)?;
    if token.external_public_keys().iter().any(Option::is_some) || token.context().iter().any(Option::is_some)
    {
        return Err(TokenError::NotUnderstood { block: 0 });
    }

    let mut verified = read_authority(block_facts(&token, 0)?)?;
    for block in 1..token.block_count() {
        narrow(&mut verified, block, block_facts(&token, block)?)?;
    }
    verified.revocation_ids = token.revocation_identifiers().iter().map(hex::encode).collect();
    if is_revoked(verified.lease_id.as_str()) || verified.revocation_ids.iter().any(|id| is_revoked(id)) {
        return Err(TokenError::Revoked);
    }
    if now >= verified.expires_at {
        return Err(TokenError::Expired);
    }
    Ok(verified)
}

fn key_pair(random: &[u8; 32]) -> Result<KeyPair, TokenError> {
    let key = PrivateKey::from_bytes(random, Algorithm::Ed25519).map_err(|_| TokenError::BadKey)?;
    Ok(KeyPair::from(&key))
}

fn render(bytes: Vec<u8>) -> Result<String, TokenError> {
    let bytes = Zeroizing::new(bytes);
    let text = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(&*bytes));
    if text.len() > TOKEN_BYTES_MAX {
        Err(TokenError::TooLong)
    } else {
        Ok(text)
    }
}

fn parse(token: &str) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong);
    }
    let text = token.strip_prefix(TOKEN_PREFIX).ok_or(TokenError::Malformed)?;
    URL_SAFE_NO_PAD
        .decode(text)
        .map(Zeroizing::new)
        .map_err(|_| TokenError::Malformed)
}

fn expires(at: UnixMillis) -> Result<Fact, TokenError> {
    Ok(fact(
        "expires",
        &[int(i64::try_from(at.0).map_err(|_| TokenError::NotMade)?)],
    ))
}

/// An intersection may have grown past what [`Scope::parse`] reads.
fn scope_fact(scope: &Scope) -> Result<Fact, TokenError> {
    let words = scope.to_string();
    if words.len() > SCOPE_BYTES_MAX {
        return Err(TokenError::TooLong);
    }
    Ok(fact("scope", &[text(&words)]))
}

/// A string term. Blocks are read from their printed form, which does not escape: what would end or escape a string
/// there is written as `%` and two hex digits.
fn text(value: &str) -> Term {
    string(&value.replace('%', "%25").replace('"', "%22").replace('\\', "%5C"))
}

fn untext(term: &str) -> String {
    term.replace("%5C", "\\").replace("%22", "\"").replace("%25", "%")
}

/// One fact of a block, taken apart.
struct ReadFact {
    name: String,
    terms: Vec<ReadTerm>,
}

enum ReadTerm {
    Integer(i64),
    Text(String),
}

/// The facts of one block, or a refusal if it holds anything else.
///
/// No symbol of the block may hold what delimits its printed form, so each line is exactly one fact, rule or check, and
/// the last two do not have a fact's shape.
fn block_facts(token: &Biscuit, block: usize) -> Result<Vec<ReadFact>, TokenError> {
    let not_understood = TokenError::NotUnderstood { block };
    let version = token.block_version(block).map_err(|_| TokenError::Malformed)?;
    if version != BLOCK_VERSION {
        return Err(not_understood); // plain facts need no later version; scopes and newer terms do
    }
    let symbols = token.block_symbols(block).map_err(|_| TokenError::Malformed)?;
    if symbols
        .iter()
        .any(|symbol| symbol.chars().any(|c| c.is_control() || matches!(c, '"' | '\\')))
    {
        return Err(not_understood);
    }
    let source = token
        .print_block_source(block)
        .map_err(|_| TokenError::Malformed)?;
    source
        .split_terminator(";\n")
        .map(|line| read_fact(line).ok_or(not_understood.clone()))
        .collect()
}

/// `name(term, term)`, where a term is a decimal integer or a string in double quotes.
fn read_fact(line: &str) -> Option<ReadFact> {
    let (name, mut rest) = line.split_once('(')?;
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return None;
    }
    let mut terms = Vec::new();
    loop {
        let term = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (value, after) = quoted.split_once('"')?;
                rest = after;
                ReadTerm::Text(untext(value))
            }
            None => {
                let end = rest.find([',', ')'])?;
                let (digits, after) = rest.split_at(end);
                rest = after;
                ReadTerm::Integer(digits.parse().ok()?)
            }
        };
        terms.push(term);
        if rest == ")" {
            return Some(ReadFact {
                name: name.to_owned(),
                terms,
            });
        }
        rest = rest.strip_prefix(", ")?;
    }
}

/// Keeps the one value of a fact that may be said once.
fn once<T>(slot: &mut Option<T>, value: Option<T>, block: usize) -> Result<(), TokenError> {
    match (slot.is_some(), value) {
        (false, Some(value)) => {
            *slot = Some(value);
            Ok(())
        }
        _ => Err(TokenError::NotUnderstood { block }),
    }
}

fn millis(value: i64) -> Option<UnixMillis> {
    u64::try_from(value).ok().map(UnixMillis)
}

fn read_authority(facts: Vec<ReadFact>) -> Result<VerifiedToken, TokenError> {
    let (mut lease, mut principal, mut target, mut scope, mut end) = (None, None, None, None, None);
    let (mut groups, mut actors) = (Vec::new(), Vec::new());
    for fact in &facts {
        match (fact.name.as_str(), fact.terms.as_slice()) {
            ("lease", [ReadTerm::Text(id)]) => once(&mut lease, LeaseId::parse(id), 0)?,
            ("principal", [ReadTerm::Text(kind), ReadTerm::Text(name)]) => {
                once(
                    &mut principal,
                    PrincipalKind::by_name(kind).map(|kind| (kind, name)),
                    0,
                )?;
            }
            ("target", [ReadTerm::Text(name)]) => once(&mut target, Some(name.clone()), 0)?,
            ("scope", [ReadTerm::Text(text)]) => once(&mut scope, Scope::parse(text).ok(), 0)?,
            ("expires", [ReadTerm::Integer(at)]) => once(&mut end, millis(*at), 0)?,
            ("group", [ReadTerm::Text(group)]) => groups.push(group.clone()),
            ("actor", [ReadTerm::Integer(at), ReadTerm::Text(actor)])
                if usize::try_from(*at) == Ok(actors.len()) =>
            {
                actors.push(actor.as_str());
            }
            _ => return Err(TokenError::NotUnderstood { block: 0 }),
        }
    }
    let (Some(lease_id), Some((kind, name)), Some(target), Some(scope), Some(expires_at)) =
        (lease, principal, target, scope, end)
    else {
        return Err(TokenError::NotUnderstood { block: 0 });
    };
    let principal = Principal::new(kind, name, &groups).map_err(ChainError::Name)?;
    validate_name(&target).map_err(ChainError::Name)?;
    let mut chain = ActorChain::new(principal);
    for actor in actors {
        chain = chain.with_actor(actor)?;
    }
    Ok(VerifiedToken {
        lease_id,
        chain,
        target,
        scope,
        expires_at,
        revocation_ids: Vec::new(),
    })
}

fn narrow(token: &mut VerifiedToken, block: usize, facts: Vec<ReadFact>) -> Result<(), TokenError> {
    let (mut hop, mut scope, mut end) = (None, None, None);
    for fact in &facts {
        match (fact.name.as_str(), fact.terms.as_slice()) {
            ("hop", [ReadTerm::Text(name)]) => once(&mut hop, Some(name), block)?,
            ("scope", [ReadTerm::Text(text)]) => once(&mut scope, Scope::parse(text).ok(), block)?,
            ("expires", [ReadTerm::Integer(at)]) => once(&mut end, millis(*at), block)?,
            _ => return Err(TokenError::NotUnderstood { block }),
        }
    }
    if let Some(hop) = hop {
        token.chain = token.chain.with_actor(hop)?;
    }
    if let Some(scope) = scope {
        token.scope = token.scope.intersect(&scope);
    }
    if let Some(end) = end {
        token.expires_at = token.expires_at.min(end);
    }
    Ok(())
}

/// Why a token does not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// More than [`TOKEN_BYTES_MAX`], or a scope of more than [`SCOPE_BYTES_MAX`].
    TooLong,
    /// More than [`BLOCKS_MAX`].
    TooManyBlocks,
    /// Not a token at all.
    Malformed,
    /// Not signed by the key we trust, or changed since.
    Signature,
    /// A block holds something that is not understood.
    NotUnderstood {
        /// Its index, 0 for the authority block or the container.
        block: usize,
    },
    /// A name in it, or too many actors.
    Chain(ChainError),
    /// The lease or one of the blocks was revoked.
    Revoked,
    /// It has ended.
    Expired,
    /// Sealed: it cannot be narrowed further.
    Sealed,
    /// The key does not read.
    BadKey,
    /// The token could not be written.
    NotMade,
}

impl TokenError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::BadKey | Self::NotMade => Fault::Operator,
            _ => Fault::Client,
        }
    }

    /// What the peer may read.
    pub fn public(&self) -> &'static str {
        match self {
            Self::TooLong => "the token is too long",
            Self::TooManyBlocks => "the token was narrowed too often",
            Self::Malformed | Self::Signature => "the token is not valid",
            Self::NotUnderstood { .. } => "the token holds a condition that is not understood",
            Self::Chain(error) => error.public(),
            Self::Revoked => "the token was revoked",
            Self::Expired => "the token has ended",
            Self::Sealed => "the token is sealed",
            Self::BadKey | Self::NotMade => "the token could not be handled",
        }
    }
}

impl From<ChainError> for TokenError {
    fn from(error: ChainError) -> Self {
        Self::Chain(error)
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the token does not read"),
            Self::Signature => f.write_str("the token's signatures do not hold"),
            Self::NotUnderstood { block } => write!(f, "{}, in block {block}", self.public()),
            Self::BadKey => f.write_str("a token key does not read"),
            Self::NotMade => f.write_str("the token could not be written"),
            _ => f.write_str(self.public()),
        }
    }
}

impl std::error::Error for TokenError {}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
