//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, both sides, as state machines over messages.
//! Source: RFC 5802 (SCRAM), RFC 7677 (SHA-256), RFC 5929 (tls-server-end-point), PostgreSQL manual, "SASL Authentication". PostgreSQL ignores the user
//! name of the client's first message (the startup message has it) and so does the server here.
//! Shape: text fields `x=value` between commas.
//!
//! ```text
//! client-first  n,,n=USER,r=CNONCE            gs2 header, then the "bare" part
//! server-first  r=CNONCE SNONCE,s=SALT,i=ROUNDS
//! client-final  c=base64(gs2 header),r=…,p=PROOF
//! server-final  v=SIGNATURE
//! ```
//!
//! With channel binding the gs2 header is `p=tls-server-end-point,,` and `c=` carries the header and the digest of the
//! server's certificate: whoever stands between with a certificate of its own is found out. `y` says that the client could
//! bind and was not offered it, so after an offer it means that somebody took the offer away (RFC 5802, section 6).

use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use crate::{Fault, ScramVerifier};

/// The longest message either side reads.
pub const MESSAGE_BYTES_MAX: usize = 2048;
/// The longest nonce accepted from a client; PostgreSQL's has 24 characters.
const NONCE_BYTES_MAX: usize = 256;
/// The most PBKDF2 rounds a server may ask of us.
pub const ITERATIONS_MAX: u32 = 1_000_000;
/// Rounds of verifiers made here and shown for unknown users. Lease secrets have 192 random bits: more rounds would
/// slow clients down and stop nobody.
pub const ITERATIONS: u32 = 4096;
/// Salt of verifiers made here and shown for unknown users.
pub const SALT_BYTES: usize = 16;
/// The longest salt accepted from a server.
const SALT_BYTES_MAX: usize = 256;
const KEY_BYTES: usize = digest::SHA256_OUTPUT_LEN;

type Key = Zeroizing<[u8; KEY_BYTES]>;

fn hmac_sha256(key: &[u8], data: &[u8]) -> Key {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data);
    key_of(tag.as_ref())
}

fn sha256(data: &[u8]) -> Key {
    key_of(digest::digest(&digest::SHA256, data).as_ref())
}

/// Both primitives answer with exactly [`KEY_BYTES`].
fn key_of(bytes: &[u8]) -> Key {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    key.copy_from_slice(bytes);
    key
}

fn xor(one: &Key, two: &Key) -> Key {
    let mut both = one.clone();
    both.iter_mut()
        .zip(two.iter())
        .for_each(|(byte, other)| *byte ^= other);
    both
}

/// The password as PostgreSQL hashes it: SASLprep (RFC 4013) where that is defined, its bytes elsewhere.
fn prepared(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let prepared = std::str::from_utf8(password)
        .ok()
        .and_then(|text| stringprep::saslprep(text).ok());
    Zeroizing::new(prepared.map_or_else(|| password.to_vec(), |text| text.into_owned().into_bytes()))
}

fn salted_password(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Key {
    let mut salted = Zeroizing::new([0; KEY_BYTES]);
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        iterations,
        salt,
        &prepared(password),
        salted.as_mut(),
    );
    salted
}

impl ScramVerifier {
    /// What a server keeps of a secret. No rounds count as one.
    pub fn derive(secret: &[u8], salt: &[u8], iterations: u32) -> Self {
        let rounds = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        let salted = salted_password(secret, salt, rounds);
        let client_key = hmac_sha256(salted.as_ref(), b"Client Key");
        Self {
            salt: STANDARD.encode(salt),
            iterations: rounds.get(),
            stored_key: STANDARD.encode(sha256(client_key.as_ref()).as_ref()),
            server_key: STANDARD.encode(hmac_sha256(salted.as_ref(), b"Server Key").as_ref()),
        }
    }
}

/// SCRAM-SHA-256.
pub const MECHANISM: &str = "SCRAM-SHA-256";
/// The same with channel binding.
pub const MECHANISM_PLUS: &str = "SCRAM-SHA-256-PLUS";
/// The gs2 header of a client that binds.
const BOUND: &str = "p=tls-server-end-point";

/// What an exchange can be bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ScramBinding {
    /// The connection has nothing to bind to.
    #[default]
    None,
    /// A client that could bind, while the server did not offer it.
    NotOffered,
    /// The digest of the server's certificate ([`crate::end_point`]).
    EndPoint(Vec<u8>),
}

impl ScramBinding {
    /// The gs2 header of a client.
    fn header(&self) -> &'static str {
        match self {
            Self::None => "n,,",
            Self::NotOffered => "y,,",
            Self::EndPoint(_) => "p=tls-server-end-point,,",
        }
    }

    /// The value of `c=` that belongs to a header.
    fn said(&self, header: &str) -> String {
        let digest = match self {
            Self::EndPoint(digest) if header.starts_with(BOUND) => digest.as_slice(),
            _ => &[],
        };
        STANDARD.encode([header.as_bytes(), digest].concat())
    }
}

/// The server's side of one exchange.
pub struct ScramServer {
    keys: Option<ServerKeys>,
    is_known: bool,
    nonce: String,
    binding: ScramBinding,
    /// Set by the client's first message.
    first: Option<FirstMessages>,
}

struct ServerKeys {
    salt: String,
    iterations: u32,
    stored_key: Key,
    server_key: Key,
}

struct FirstMessages {
    gs2_header: String,
    client_bare: String,
    server: String,
    nonce: String,
}

impl ServerKeys {
    fn of(verifier: &ScramVerifier) -> Option<Self> {
        let key = |text: &str| {
            let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
            <[u8; KEY_BYTES]>::try_from(bytes.as_slice())
                .ok()
                .map(Zeroizing::new)
        };
        STANDARD
            .decode(&verifier.salt)
            .ok()
            .filter(|salt| !salt.is_empty())?;
        Some(Self {
            salt: verifier.salt.clone(),
            iterations: verifier.iterations,
            stored_key: key(&verifier.stored_key)?,
            server_key: key(&verifier.server_key)?,
        })
    }

    /// Keys of nobody: the same for the same name, so that asking twice tells nothing.
    fn mock(mock_key: &[u8; 32], username: &str) -> Self {
        let derive = |label: &[u8]| hmac_sha256(mock_key, &[label, b"\0", username.as_bytes()].concat());
        Self {
            salt: STANDARD.encode(&derive(b"salt")[..SALT_BYTES]),
            iterations: ITERATIONS,
            stored_key: derive(b"stored"),
            server_key: derive(b"server"),
        }
    }
}

impl ScramServer {
    /// Begins an exchange. Without a verifier (no such user) it runs to its end like any other and fails there; its salt
    /// follows from `mock_key`, so names cannot be probed.
    pub fn new(
        verifier: Option<&ScramVerifier>,
        mock_key: &[u8; 32],
        username: &str,
        server_nonce: [u8; 18],
    ) -> Self {
        let keys = match verifier {
            Some(verifier) => ServerKeys::of(verifier),
            None => Some(ServerKeys::mock(mock_key, username)),
        };
        Self {
            keys,
            is_known: verifier.is_some(),
            nonce: STANDARD.encode(server_nonce),
            binding: ScramBinding::None,
            first: None,
        }
    }

    /// The same exchange, where [`MECHANISM_PLUS`] was offered as well.
    #[must_use]
    pub fn offering(self, end_point: Vec<u8>) -> Self {
        Self {
            binding: ScramBinding::EndPoint(end_point),
            ..self
        }
    }

    /// Reads client-first of [`MECHANISM`], answers with server-first.
    pub fn first(&mut self, client_first: &[u8]) -> Result<Vec<u8>, ScramError> {
        self.begin(client_first, false)
    }

    /// Reads client-first of [`MECHANISM_PLUS`], answers with server-first.
    pub fn first_bound(&mut self, client_first: &[u8]) -> Result<Vec<u8>, ScramError> {
        self.begin(client_first, true)
    }

    fn begin(&mut self, client_first: &[u8], is_bound: bool) -> Result<Vec<u8>, ScramError> {
        let keys = self.keys.as_ref().ok_or(ScramError::BadVerifier)?;
        if self.first.is_some() {
            return Err(ScramError::OutOfPhase);
        }
        let text = message(client_first)?;
        let mut parts = text.splitn(3, ',');
        let (Some(binding), Some(authzid), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(ScramError::Malformed);
        };
        let can_bind = matches!(self.binding, ScramBinding::EndPoint(_));
        match binding {
            "n" if !is_bound => {}
            "y" if !is_bound && !can_bind => {}
            "y" if !is_bound => return Err(ScramError::Downgrade),
            BOUND if is_bound && can_bind => {}
            "n" | "y" => return Err(ScramError::ChannelBinding),
            _ if binding.starts_with("p=") => return Err(ScramError::ChannelBinding),
            _ => return Err(ScramError::Malformed),
        }
        if !authzid.is_empty() {
            return Err(if authzid.starts_with("a=") {
                ScramError::OtherIdentity
            } else {
                ScramError::Malformed
            });
        }
        let mut fields = bare.split(',');
        field(fields.next(), 'n')?; // also refuses a mandatory extension, `m=`, which would stand here
        let client_nonce = field(fields.next(), 'r')?;
        let is_nonce = client_nonce.bytes().all(|byte| (b'!'..=b'~').contains(&byte));
        if client_nonce.is_empty() || client_nonce.len() > NONCE_BYTES_MAX || !is_nonce {
            return Err(ScramError::Malformed);
        }
        let nonce = format!("{client_nonce}{}", self.nonce);
        let server = format!("r={nonce},s={},i={}", keys.salt, keys.iterations);
        let answer = server.clone().into_bytes();
        let gs2_header = format!("{binding},,");
        self.first = Some(FirstMessages {
            gs2_header,
            client_bare: bare.to_owned(),
            server,
            nonce,
        });
        Ok(answer)
    }

    /// Reads client-final; answers with server-final if the client knows the secret.
    pub fn last(self, client_final: &[u8]) -> Result<Vec<u8>, ScramError> {
        let keys = self.keys.ok_or(ScramError::BadVerifier)?;
        let first = self.first.ok_or(ScramError::OutOfPhase)?;
        let text = message(client_final)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let mut fields = without_proof.split(',');
        if field(fields.next(), 'c')? != self.binding.said(&first.gs2_header) {
            return Err(ScramError::ChannelBinding);
        }
        if field(fields.next(), 'r')? != first.nonce {
            return Err(ScramError::Nonce);
        }
        let proof = Zeroizing::new(STANDARD.decode(proof).map_err(|_| ScramError::Malformed)?);
        let proof = <[u8; KEY_BYTES]>::try_from(proof.as_slice()).map_err(|_| ScramError::Malformed)?;
        let signed = format!("{},{},{without_proof}", first.client_bare, first.server);
        let client_signature = hmac_sha256(keys.stored_key.as_ref(), signed.as_bytes());
        let client_key = xor(&Zeroizing::new(proof), &client_signature);
        let stored_key = sha256(client_key.as_ref());
        let is_right =
            constant_time::verify_slices_are_equal(stored_key.as_ref(), keys.stored_key.as_ref()).is_ok();
        let server_signature = hmac_sha256(keys.server_key.as_ref(), signed.as_bytes());
        if !(is_right && self.is_known) {
            return Err(ScramError::Refused);
        }
        Ok(format!("v={}", STANDARD.encode(server_signature.as_ref())).into_bytes())
    }
}

/// The client's side of one exchange.
pub struct ScramClient {
    password: Zeroizing<String>,
    binding: ScramBinding,
    first_bare: String,
    nonce: String,
    /// Set by the server's first message: the signature that proves that it knows the verifier.
    expected: Option<Key>,
}

impl ScramClient {
    /// Begins an exchange. PostgreSQL takes the user name from the startup message, so none is sent here.
    pub fn new(password: &str, client_nonce: [u8; 18]) -> Self {
        Self::with_nonce("", password, STANDARD.encode(client_nonce))
    }

    fn with_nonce(user: &str, password: &str, nonce: String) -> Self {
        let first_bare = format!("n={user},r={nonce}");
        Self {
            password: Zeroizing::new(password.to_owned()),
            binding: ScramBinding::None,
            first_bare,
            nonce,
            expected: None,
        }
    }

    /// The same exchange over a channel; [`Self::mechanism`] tells which mechanism to name.
    #[must_use]
    pub fn over(self, binding: ScramBinding) -> Self {
        Self { binding, ..self }
    }

    /// The mechanism that the exchange speaks.
    pub fn mechanism(&self) -> &'static str {
        match self.binding {
            ScramBinding::EndPoint(_) => MECHANISM_PLUS,
            ScramBinding::None | ScramBinding::NotOffered => MECHANISM,
        }
    }

    /// client-first.
    pub fn first(&self) -> Vec<u8> {
        format!("{}{}", self.binding.header(), self.first_bare).into_bytes()
    }

    /// Reads server-first, answers with client-final. Costs as many PBKDF2 rounds as the server asks for.
    pub fn respond(&mut self, server_first: &[u8]) -> Result<Vec<u8>, ScramError> {
        let challenge = self.challenge(server_first)?;
        let keys = challenge.derive(&self.password);
        self.answer(&challenge, &keys)
    }

    /// Reads server-first. Cheap; what it asks for may be derived elsewhere, or be known.
    pub fn challenge(&self, server_first: &[u8]) -> Result<ScramChallenge, ScramError> {
        if self.expected.is_some() {
            return Err(ScramError::OutOfPhase.at_server());
        }
        let text = message(server_first).map_err(ScramError::at_server)?;
        let mut fields = text.split(',');
        let mut next = |name| field(fields.next(), name).map_err(ScramError::at_server);
        let (nonce, salt, iterations) = (next('r')?, next('s')?, next('i')?);
        let own = nonce.strip_prefix(self.nonce.as_str());
        if !own.is_some_and(|rest| !rest.is_empty() && rest.len() <= NONCE_BYTES_MAX) {
            return Err(ScramError::Nonce.at_server());
        }
        let salt = STANDARD.decode(salt).map_err(|_| ScramError::ServerMalformed)?;
        if salt.is_empty() || salt.len() > SALT_BYTES_MAX {
            return Err(ScramError::ServerMalformed);
        }
        let iterations = iterations
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then_some(iterations);
        let iterations = iterations
            .and_then(|text| text.parse().ok())
            .and_then(NonZeroU32::new);
        let iterations = iterations
            .filter(|rounds| rounds.get() <= ITERATIONS_MAX)
            .ok_or(ScramError::Iterations)?;
        Ok(ScramChallenge {
            text: text.to_owned(),
            nonce: nonce.to_owned(),
            salt,
            iterations,
        })
    }

    /// client-final, by keys that were derived for this challenge's salt and rounds.
    pub fn answer(&mut self, challenge: &ScramChallenge, keys: &ScramKeys) -> Result<Vec<u8>, ScramError> {
        if self.expected.is_some() || !keys.are_for(challenge) {
            return Err(ScramError::OutOfPhase.at_server());
        }
        let without_proof = format!(
            "c={},r={}",
            self.binding.said(self.binding.header()),
            challenge.nonce
        );
        let signed = format!("{},{},{without_proof}", self.first_bare, challenge.text);
        let stored_key = sha256(keys.client_key.as_ref());
        let proof = xor(
            &keys.client_key,
            &hmac_sha256(stored_key.as_ref(), signed.as_bytes()),
        );
        self.expected = Some(hmac_sha256(keys.server_key.as_ref(), signed.as_bytes()));
        Ok(format!("{without_proof},p={}", STANDARD.encode(proof.as_ref())).into_bytes())
    }

    /// Reads server-final: does the server know the verifier, too?
    pub fn verify(self, server_final: &[u8]) -> Result<(), ScramError> {
        let expected = self.expected.ok_or(ScramError::OutOfPhase.at_server())?;
        let text = message(server_final).map_err(ScramError::at_server)?;
        let head = text.split(',').next();
        if field(head, 'e').is_ok() {
            return Err(ScramError::ServerRefused);
        }
        let signature = field(head, 'v').map_err(ScramError::at_server)?;
        let signature = STANDARD
            .decode(signature)
            .map_err(|_| ScramError::ServerMalformed)?;
        constant_time::verify_slices_are_equal(&signature, expected.as_ref())
            .map_err(|_| ScramError::ServerSignature)
    }
}

/// What a server asks of a client: server-first, read.
#[derive(Clone)]
pub struct ScramChallenge {
    text: String,
    nonce: String,
    salt: Vec<u8>,
    iterations: NonZeroU32,
}

impl ScramChallenge {
    /// Whether the other one wants the same keys.
    pub fn asks_as(&self, other: &Self) -> bool {
        self.iterations == other.iterations && self.salt == other.salt
    }

    /// The keys that it asks for. Costs its PBKDF2 rounds: some 0.1 µs each, and up to [`ITERATIONS_MAX`].
    pub fn derive(&self, password: &str) -> ScramKeys {
        let salted = salted_password(password.as_bytes(), &self.salt, self.iterations);
        ScramKeys {
            salt: self.salt.clone(),
            iterations: self.iterations,
            client_key: hmac_sha256(salted.as_ref(), b"Client Key"),
            server_key: hmac_sha256(salted.as_ref(), b"Server Key"),
        }
    }
}

/// What a client may keep of a password for one salt and number of rounds (RFC 5802, section 5.1, of `i`: these
/// two may be cached). As secret as the password.
pub struct ScramKeys {
    salt: Vec<u8>,
    iterations: NonZeroU32,
    client_key: Key,
    server_key: Key,
}

impl ScramKeys {
    /// Whether these answer that challenge, given that the password is the same.
    pub fn are_for(&self, challenge: &ScramChallenge) -> bool {
        self.iterations == challenge.iterations && self.salt == challenge.salt
    }
}

/// A message's text: bounded, UTF-8, without NUL.
fn message(bytes: &[u8]) -> Result<&str, ScramError> {
    if bytes.len() > MESSAGE_BYTES_MAX || bytes.contains(&0) {
        return Err(ScramError::Malformed);
    }
    std::str::from_utf8(bytes).map_err(|_| ScramError::Malformed)
}

/// The value of `name=value`.
fn field(text: Option<&str>, name: char) -> Result<&str, ScramError> {
    text.and_then(|text| text.strip_prefix(name)?.strip_prefix('='))
        .ok_or(ScramError::Malformed)
}

/// Why an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramError {
    /// A message of the client's does not read.
    Malformed,
    /// A message came twice or before its time.
    OutOfPhase,
    /// The client asks for channel binding, or `c=` is not the header it began with.
    ChannelBinding,
    /// The client could bind channels and was told that the server cannot: somebody stands between.
    Downgrade,
    /// The client asks to act as somebody else.
    OtherIdentity,
    /// The nonce is not the one of this exchange.
    Nonce,
    /// Wrong secret, or no such user.
    Refused,
    /// The verifier we keep does not read.
    BadVerifier,
    /// A message of the server's does not read or belongs to another exchange.
    ServerMalformed,
    /// The server asks for no or too many rounds.
    Iterations,
    /// The server ended the exchange (`e=`).
    ServerRefused,
    /// The server does not know the secret it claims to know.
    ServerSignature,
}

impl ScramError {
    /// The same mistake, made by the server.
    fn at_server(self) -> Self {
        match self {
            Self::Malformed | Self::OutOfPhase | Self::Nonce => Self::ServerMalformed,
            other => other,
        }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Malformed
            | Self::OutOfPhase
            | Self::ChannelBinding
            | Self::Downgrade
            | Self::OtherIdentity
            | Self::Nonce
            | Self::Refused => Fault::Client,
            Self::BadVerifier | Self::ServerRefused => Fault::Operator,
            Self::ServerMalformed | Self::Iterations | Self::ServerSignature => Fault::Server,
        }
    }

    /// Whether the message was at fault (SQLSTATE 08P01) rather than the secret (28P01).
    pub fn is_protocol_violation(&self) -> bool {
        self.fault() == Fault::Client && !matches!(self, Self::Refused)
    }

    /// What the client may read.
    pub fn public(&self) -> &'static str {
        match self {
            Self::Malformed | Self::OutOfPhase | Self::Nonce => "malformed SCRAM message",
            Self::ChannelBinding => "SCRAM channel binding check failed",
            Self::Downgrade => "SCRAM channel binding negotiation error",
            Self::OtherIdentity => "SCRAM authorization identities are not supported",
            Self::Refused | Self::BadVerifier => "authentication failed",
            Self::ServerMalformed | Self::Iterations | Self::ServerRefused | Self::ServerSignature => {
                "the target could not be logged in to"
            }
        }
    }
}

impl fmt::Display for ScramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the client's SCRAM message does not read",
            Self::OutOfPhase => "a SCRAM message came out of phase",
            Self::ChannelBinding => "the client's channel binding is not the one of this exchange",
            Self::Downgrade => {
                "the client was not shown the offer of channel binding: somebody changed it on the way"
            }
            Self::OtherIdentity => "the client asked for another authorization identity",
            Self::Nonce => "the client's SCRAM nonce is not the one of this exchange",
            Self::Refused => "wrong secret or no such lease",
            Self::BadVerifier => "the lease's stored verifier does not read",
            Self::ServerMalformed => {
                "the server's SCRAM message does not read or belongs to another exchange"
            }
            Self::Iterations => "the server asks for no PBKDF2 rounds or more than 1000000",
            Self::ServerRefused => "the server refused the credential of this target",
            Self::ServerSignature => "the server's signature is wrong: it does not know the verifier",
        })
    }
}

impl std::error::Error for ScramError {}

#[cfg(test)]
#[path = "scram_tests.rs"]
mod tests;
