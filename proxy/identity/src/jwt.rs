//! Id-tokens of CI systems and identity providers, checked against the keys that control fetched.
//! Source: RFC 7519 (JWT), RFC 7515 (JWS, compact form), RFC 7517 (JWK), OpenID Connect Core, "ID Token Validation".
//! Times are NumericDate (seconds) on the wire and [`UnixMillis`] here.
//!
//! The algorithm comes from the operator's list, the key's own type must fit it, and the header only chooses among them.
//! The library checks the signature; everything about time is checked here, because `now` is an argument.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};

use crate::chain::validate_name;
use crate::{Fault, NameError, Principal, PrincipalKind, UnixMillis};

/// The longest token text.
pub const JWT_BYTES_MAX: usize = 16 << 10;
/// The longest JWK set.
pub const JWKS_BYTES_MAX: usize = 1 << 20;
/// How far clocks may differ.
pub const LEEWAY_MS: u64 = 60_000;

/// A signature algorithm that an issuer may be pinned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JwtAlgorithm {
    /// RSA PKCS #1 v1.5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl JwtAlgorithm {
    /// Every algorithm; what an issuer is pinned to where the configuration says nothing.
    pub const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    /// Its name in configurations and headers (RFC 7518, section 3.1; RFC 8037).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    fn for_library(self) -> Algorithm {
        match self {
            Self::Rs256 => Algorithm::RS256,
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }

    /// Whether a key is of this algorithm's type, and meant for signatures by it.
    fn fits(self, key: &Jwk) -> bool {
        let of_type = match (self, &key.algorithm) {
            (Self::Rs256, AlgorithmParameters::RSA(_)) => true,
            (Self::Es256, AlgorithmParameters::EllipticCurve(key)) => key.curve == EllipticCurve::P256,
            (Self::EdDsa, AlgorithmParameters::OctetKeyPair(key)) => key.curve == EllipticCurve::Ed25519,
            _ => false,
        };
        let use_fits = matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature));
        let name_fits = key
            .common
            .key_algorithm
            .is_none_or(|name| name == self.for_library().into());
        of_type && use_fits && name_fits
    }
}

/// An issuer as the check looks at it.
#[derive(Clone, Copy, Debug)]
pub struct IssuerKeysView<'a> {
    /// The `iss` claim, exactly.
    pub issuer: &'a str,
    /// The `aud` claim, or one of its members, exactly.
    pub audience: &'a str,
    /// Template of the principal's name: `repo/{repository}`; `{/a/b}` is a JSON pointer (RFC 6901) into the claims.
    pub principal: &'a str,
    /// Whom the issuer vouches for.
    pub kind: PrincipalKind,
    /// The JWK set, as JSON text.
    pub jwks: &'a str,
    /// The algorithms the operator pinned.
    pub algorithms: &'a [JwtAlgorithm],
}

/// What a token that holds says.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedJwt {
    /// Whom it names; groups are the configuration's to add.
    pub principal: Principal,
    /// The first moment at which the token would be refused: `exp` and the leeway.
    pub expires_at: UnixMillis,
    /// Every claim, for templates and records of the caller.
    pub claims: Map<String, Value>,
}

/// The `iss` claim of a token that nobody has checked yet: only good for choosing which issuer to check it against.
pub fn unverified_issuer(token: &str) -> Option<String> {
    let claims = split(token).ok().and_then(|(_, claims)| json_object(claims))?;
    claims.get("iss")?.as_str().map(str::to_owned)
}

/// Checks a token.
pub fn verify(token: &str, issuer: &IssuerKeysView<'_>, now: UnixMillis) -> Result<VerifiedJwt, JwtError> {
    let (header, _) = split(token)?;
    let header = json_object(header).ok_or(JwtError::Malformed)?;
    if header.contains_key("crit") {
        return Err(JwtError::Critical); // RFC 7515, section 4.1.11: none is understood here
    }
    let algorithm = header
        .get("alg")
        .and_then(Value::as_str)
        .and_then(JwtAlgorithm::by_name);
    let algorithm = algorithm
        .filter(|algorithm| issuer.algorithms.contains(algorithm))
        .ok_or(JwtError::Algorithm)?;
    let kid = match header.get("kid") {
        None => None,
        Some(kid) => Some(kid.as_str().ok_or(JwtError::Malformed)?),
    };
    let key = choose_key(issuer.jwks, kid, algorithm)?;
    let key = DecodingKey::from_jwk(&key).map_err(|_| JwtError::BadKeys)?;
    let mut validation = Validation::new(algorithm.for_library());
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    let claims = jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation);
    let claims = claims.map_err(|_| JwtError::Signature)?.claims;

    let expires_at = check_claims(&claims, issuer, now)?;
    let name = expand(issuer.principal, &claims)?;
    validate_name(&name)?;
    let principal = Principal {
        kind: issuer.kind,
        name,
        groups: Vec::new(),
    };
    Ok(VerifiedJwt {
        principal,
        expires_at,
        claims,
    })
}

/// Header and claims, still encoded.
fn split(token: &str) -> Result<(&str, &str), JwtError> {
    if token.len() > JWT_BYTES_MAX {
        return Err(JwtError::TooLong);
    }
    let mut parts = token.split('.');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(header), Some(claims), Some(_), None) => Ok((header, claims)),
        _ => Err(JwtError::Malformed),
    }
}

fn json_object(encoded: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

/// The key of that id; without an id, the only key that fits the algorithm.
fn choose_key(jwks: &str, kid: Option<&str>, algorithm: JwtAlgorithm) -> Result<Jwk, JwtError> {
    if jwks.len() > JWKS_BYTES_MAX {
        return Err(JwtError::BadKeys);
    }
    let set: Value = serde_json::from_str(jwks).map_err(|_| JwtError::BadKeys)?;
    let keys = set
        .get("keys")
        .and_then(Value::as_array)
        .ok_or(JwtError::BadKeys)?;
    // RFC 7517, section 5: keys of a kind that is not understood are passed over.
    let keys = keys
        .iter()
        .filter_map(|key| serde_json::from_value::<Jwk>(key.clone()).ok());
    let Some(kid) = kid else {
        let mut fitting = keys.filter(|key| algorithm.fits(key));
        return match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            _ => Err(JwtError::NoKeyId),
        };
    };
    let mut named = keys
        .filter(|key| key.common.key_id.as_deref() == Some(kid))
        .peekable();
    if named.peek().is_none() {
        return Err(JwtError::UnknownKey(kid.to_owned()));
    }
    named.find(|key| algorithm.fits(key)).ok_or(JwtError::Algorithm)
}

/// Issuer, audience and times; answers with the moment at which the token ends.
fn check_claims(
    claims: &Map<String, Value>,
    issuer: &IssuerKeysView<'_>,
    now: UnixMillis,
) -> Result<UnixMillis, JwtError> {
    if claims.get("iss").and_then(Value::as_str) != Some(issuer.issuer) {
        return Err(JwtError::Issuer);
    }
    let is_ours = match claims.get("aud") {
        Some(Value::String(audience)) => audience == issuer.audience,
        Some(Value::Array(all)) => all.iter().any(|one| one.as_str() == Some(issuer.audience)),
        _ => false,
    };
    if !is_ours {
        return Err(JwtError::Audience);
    }
    let expires_at = numeric_date(claims, "exp")?
        .ok_or(JwtError::Claim("exp"))?
        .plus_ms(LEEWAY_MS);
    if now >= expires_at {
        return Err(JwtError::Expired);
    }
    for name in ["nbf", "iat"] {
        if numeric_date(claims, name)?.is_some_and(|begins| now.plus_ms(LEEWAY_MS) < begins) {
            return Err(JwtError::NotYet);
        }
    }
    Ok(expires_at)
}

/// A NumericDate (RFC 7519, section 2): seconds, perhaps with a fraction, never negative here.
fn numeric_date(claims: &Map<String, Value>, name: &'static str) -> Result<Option<UnixMillis>, JwtError> {
    /// 9999-12-31T23:59:59Z: a later date is a mistake, and all smaller ones survive the conversions below.
    const SECONDS_MAX: f64 = 253_402_300_799.0;
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let seconds = value
        .as_f64()
        .filter(|seconds| (0.0..=SECONDS_MAX).contains(seconds));
    seconds
        .map(|seconds| Some(UnixMillis((seconds * 1000.0) as u64)))
        .ok_or(JwtError::Claim(name))
}

/// One piece of a principal template.
#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Literal(&'a str),
    Claim(&'a str),
}

fn pieces(template: &str) -> Result<Vec<Piece<'_>>, JwtError> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while !rest.is_empty() {
        match rest.strip_prefix('{') {
            Some(open) => {
                let (claim, after) = open.split_once('}').ok_or(JwtError::Template)?;
                // Two claims side by side could be cut in two ways.
                if claim.is_empty() || claim.contains('{') || matches!(pieces.last(), Some(Piece::Claim(_))) {
                    return Err(JwtError::Template);
                }
                pieces.push(Piece::Claim(claim));
                rest = after;
            }
            None => {
                let end = rest.find('{').unwrap_or(rest.len());
                let (literal, after) = rest.split_at(end);
                if literal.contains('}') {
                    return Err(JwtError::Template);
                }
                pieces.push(Piece::Literal(literal));
                rest = after;
            }
        }
    }
    if pieces.iter().any(|piece| matches!(piece, Piece::Claim(_))) {
        Ok(pieces)
    } else {
        Err(JwtError::Template)
    }
}

/// Whether a principal template reads; a name that no claim goes into would be everybody's.
pub fn check_template(template: &str) -> Result<(), JwtError> {
    pieces(template).map(|_| ())
}

/// The principal's name. A value that holds the text which follows its place could move the border between two claims
/// (`repo/{repository}/env/{environment}` with a repository `a/b/env/prod`), so it is refused.
fn expand(template: &str, claims: &Map<String, Value>) -> Result<String, JwtError> {
    let pieces = pieces(template)?;
    let mut name = String::new();
    for (index, piece) in pieces.iter().enumerate() {
        let claim = match piece {
            Piece::Literal(literal) => {
                name.push_str(literal);
                continue;
            }
            Piece::Claim(claim) => *claim,
        };
        let value = match lookup(claims, claim) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) if number.is_i64() || number.is_u64() => number.to_string(),
            Some(Value::Bool(flag)) => flag.to_string(),
            _ => return Err(JwtError::MissingClaim(claim.to_owned())),
        };
        if value.is_empty() {
            return Err(JwtError::MissingClaim(claim.to_owned()));
        }
        if let Some(Piece::Literal(border)) = pieces.get(index + 1)
            && pieces.len() > index + 2
            && format!("{value}{border}").find(border) != Some(value.len())
        {
            return Err(JwtError::AmbiguousClaim(claim.to_owned()));
        }
        name.push_str(&value);
    }
    Ok(name)
}

/// A claim by name, or by JSON pointer where the name begins with `/`.
fn lookup<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
    let Some(pointer) = name.strip_prefix('/') else {
        return claims.get(name);
    };
    let mut tokens = pointer
        .split('/')
        .map(|token| token.replace("~1", "/").replace("~0", "~"));
    let root = claims.get(&tokens.next()?)?;
    tokens.try_fold(root, |value, token| value.as_object()?.get(&token))
}

/// Why an id-token does not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwtError {
    /// More than [`JWT_BYTES_MAX`].
    TooLong,
    /// Not a signed JWT in compact form.
    Malformed,
    /// Its header lists extensions that must be understood.
    Critical,
    /// Its algorithm is not pinned for the issuer, or not its key's.
    Algorithm,
    /// It names no key, and the issuer has not exactly one that fits.
    NoKeyId,
    /// It names a key that the set does not hold: the set may be old.
    UnknownKey(String),
    /// The issuer's key set, or the key in it, does not read.
    BadKeys,
    /// The signature does not hold.
    Signature,
    /// Another `iss`.
    Issuer,
    /// Another `aud`.
    Audience,
    /// A time claim is missing or is no time.
    Claim(&'static str),
    /// It has ended.
    Expired,
    /// It has not begun.
    NotYet,
    /// The principal template does not read.
    Template,
    /// A claim of the template is missing, empty or not a plain value.
    MissingClaim(String),
    /// A claim's value holds the template's own separator.
    AmbiguousClaim(String),
    /// The principal's name.
    Name(NameError),
}

impl JwtError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::BadKeys | Self::Template => Fault::Operator,
            _ => Fault::Client,
        }
    }

    /// What the peer may read.
    pub fn public(&self) -> &'static str {
        match self {
            Self::TooLong => "the token is too long",
            Self::Malformed | Self::Critical | Self::Signature | Self::Algorithm | Self::NoKeyId => {
                "the token is not valid"
            }
            Self::UnknownKey(_) => "the token's key is not known yet; try again shortly",
            Self::BadKeys | Self::Template => "the token could not be checked",
            Self::Issuer => "the token is of another issuer",
            Self::Audience => "the token is for another audience",
            Self::Claim(_) => "the token lacks a time claim",
            Self::Expired => "the token has ended",
            Self::NotYet => "the token is not valid yet",
            Self::MissingClaim(_) | Self::AmbiguousClaim(_) => "the token names no principal",
            Self::Name(error) => error.public(),
        }
    }
}

impl From<NameError> for JwtError {
    fn from(error: NameError) -> Self {
        Self::Name(error)
    }
}

impl fmt::Display for JwtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the token is no signed JWT"),
            Self::Critical => f.write_str("the token's header has critical extensions"),
            Self::Algorithm => {
                f.write_str("the token's algorithm is not pinned for its issuer or not its key's")
            }
            Self::NoKeyId => {
                f.write_str("the token names no key and the issuer has not exactly one that fits")
            }
            Self::UnknownKey(kid) => write!(f, "the issuer's key set has no key `{}`", short(kid)),
            Self::BadKeys => f.write_str("the issuer's key set does not read"),
            Self::Signature => f.write_str("the token's signature does not hold"),
            Self::Claim(name) => write!(f, "the token's `{name}` is missing or no time"),
            Self::Template => f.write_str("the principal template does not read"),
            Self::MissingClaim(name) => write!(f, "the token has no plain claim `{}`", short(name)),
            Self::AmbiguousClaim(name) => {
                write!(
                    f,
                    "the token's claim `{}` holds the separator of the principal template",
                    short(name)
                )
            }
            Self::Name(error) => error.fmt(f),
            _ => f.write_str(self.public()),
        }
    }
}

/// Text from a token, fit for a log line.
fn short(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}

impl std::error::Error for JwtError {}

#[cfg(test)]
#[path = "jwt_tests.rs"]
mod tests;
