//! The configuration as the rest of linegate sees it: every value has been checked, every default is filled in.
//! Units are in the names; fields are called as their keys.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use masking_simd::Detectors;
use serde::Serialize;

use crate::redact::{JsonPath, Redact};
use crate::secret::SecretSource;

/// One `linegate.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[control]`.
    pub control: ControlConfig,
    /// `[data]`.
    pub data: DataConfig,
    /// `[[issuer]]`, in file order; names are unique.
    pub issuers: Vec<IssuerConfig>,
    /// `[[target]]`, in file order; names are unique, and targets that listen at one place are told apart.
    pub targets: Vec<TargetConfig>,
    /// `[[label]]`, in file order; one name may occur several times.
    pub labels: Vec<LabelConfig>,
    /// `[[group]]`, in file order; names are unique.
    pub groups: Vec<GroupConfig>,
    /// `[policy]`.
    pub policy: PolicyConfig,
}

impl Config {
    /// The target of that name.
    pub fn target(&self, name: &str) -> Option<&TargetConfig> {
        self.targets.iter().find(|target| target.name == name)
    }

    /// The labels on columns of that target.
    pub fn labels_of<'a>(&'a self, target: &'a str) -> impl Iterator<Item = &'a LabelConfig> {
        self.labels.iter().filter(move |label| label.target == target)
    }

    /// The names of the groups that list this member, in file order.
    pub fn groups_of<'a>(&'a self, kind: MemberKind, name: &'a str) -> impl Iterator<Item = &'a str> {
        let lists = move |member: &Member| member.kind == kind && member.name == name;
        self.groups
            .iter()
            .filter(move |group| group.members.iter().any(lists))
            .map(|group| group.name.as_str())
    }
}

/// `[control]`: the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlConfig {
    /// Where the HTTP API and pages are served; `None` serves the admin socket only.
    pub listen: Option<SocketAddr>,
    /// Where leases and approvals are kept.
    pub state: StateStore,
}

/// Where control keeps its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateStore {
    /// A SQLite file; a relative path starts at the state directory.
    Sqlite(PathBuf),
}

/// `[data]`: the data plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataConfig {
    /// How many worker threads.
    pub workers: Workers,
    /// Directory of recordings; a relative path starts at the state directory.
    pub recordings: PathBuf,
    /// Certificate that clients see (`tls_cert`, `tls_key`); `None` offers no TLS.
    pub tls: Option<TlsIdentity>,
    /// Cap of slab memory per worker, MiB.
    pub memory_mb: u32,
    /// Which I/O driver.
    pub runtime: Runtime,
    /// How long open sessions may go on after SIGTERM.
    pub drain_seconds: u32,
    /// What happens when the recorder does not keep up.
    pub recording_full: RecordingFull,
    /// Entries in each worker's ring to the recorder: how far the disk may lag behind before sessions wait.
    pub recording_buffer: u32,
    /// Longest time that recorded entries wait to be written together.
    pub commit_ms: u32,
}

impl DataConfig {
    /// Cap of slab memory per worker, bytes.
    pub const fn memory_bytes_max(&self) -> u64 {
        (self.memory_mb as u64) << 20
    }
}

/// How many worker threads carry bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// One per core.
    Auto,
    /// So many, 1 to 256.
    Count(u16),
}

/// A certificate chain and its key, PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsIdentity {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// The I/O driver of the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// io_uring where the kernel allows it, else epoll.
    Auto,
    /// Always epoll.
    Epoll,
    /// io_uring, or refuse to start.
    IoUring,
}

/// What a session does while the recording ring is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordingFull {
    /// It waits.
    Pause,
    /// Its level drops to [`RecordLevel::Shape`], with a recorded marker.
    Shape,
}

/// `[[issuer]]`: who may prove principals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerConfig {
    /// Its name in records and policies.
    pub name: String,
    /// The `iss` claim; also where discovery starts. https, or http on loopback.
    pub url: String,
    /// The `aud` claim that a token must carry.
    pub audience: String,
    /// Template of the principal's name, such as `repo/{repository}`; names at least one claim.
    pub principal: String,
    /// Where its keys are, when discovery is not wanted.
    pub jwks_url: Option<String>,
    /// The signature algorithms that are accepted; never empty, never symmetric.
    pub algorithms: Vec<Algorithm>,
}

/// A JWS signature algorithm (RFC 7518, section 3.1; RFC 8037): asymmetric ones only, since an issuer's public key
/// must never serve as an HMAC secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the registered ones")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    /// Every algorithm with its registered name.
    pub const NAMES: &'static [(&'static str, Self)] = &[
        ("RS256", Self::RS256),
        ("RS384", Self::RS384),
        ("RS512", Self::RS512),
        ("PS256", Self::PS256),
        ("PS384", Self::PS384),
        ("PS512", Self::PS512),
        ("ES256", Self::ES256),
        ("ES384", Self::ES384),
        ("EdDSA", Self::EdDSA),
    ];

    /// The registered name.
    pub fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, one)| *one == self)
            .map_or("", |(name, _)| name)
    }
}

/// `[[target]]`: one protected server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetConfig {
    /// Its name in leases, policies and records.
    pub name: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// Where clients dial; several targets may share a place.
    pub listen: Listen,
    /// Server names (SNI) that lead here, small letters; empty: any, where no other target has the client's.
    pub server_names: Vec<String>,
    /// Databases that a client asks for to come here; empty: any, where no other target has the client's.
    pub database_names: Vec<String>,
    /// Where the server is.
    pub address: Address,
    /// The database to open whatever the client asks for; `None` opens what it asks for.
    pub database: Option<String>,
    /// The channel on which the database tells of changes of its catalog; `None` listens to none.
    pub catalog_channel: Option<String>,
    /// TLS towards the server.
    pub tls: TlsMode,
    /// PEM file of the authorities that [`TlsMode::VerifyCa`] and [`TlsMode::VerifyFull`] trust; `None` trusts the system's.
    pub tls_ca: Option<PathBuf>,
    /// How linegate logs in at the server.
    pub credential: Credential,
    /// How much is recorded.
    pub record: RecordLevel,
    /// TLS towards clients.
    pub client_tls: ClientTls,
    /// Certificate for clients that ask for one of [`Self::server_names`]; `None` shows them that of `[data]`.
    pub client_identity: Option<TlsIdentity>,
    /// What is asked of clients' certificates; `None` asks for none.
    pub client_certificates: Option<ClientCertificates>,
    /// Who is asked for a token by OAUTHBEARER; `None` asks nobody.
    pub oauth: Option<OauthConfig>,
    /// How long a statement may wait for a person.
    pub hold_seconds: u32,
    /// What happens to a statement that would wait inside an open transaction.
    pub hold_in_transaction: HoldInTransaction,
    /// Deadline of connecting and logging in at the server.
    pub connect_seconds: u32,
    /// Deadline of a client's login.
    pub startup_seconds: u32,
    /// Open sessions at most.
    pub max_sessions: u32,
    /// Server connections that are kept for the next session.
    pub warm_pool: WarmPool,
    /// Longest row that masking looks into, MiB.
    pub row_bytes_max_mb: u32,
    /// Longest statement, MiB.
    pub statement_bytes_max_mb: u32,
    /// What is looked for in text that no label covers, for principals under a mask.
    pub detect: Detectors,
    /// What happens when it is found.
    pub on_detect: OnDetect,
}

impl TargetConfig {
    /// Longest row that masking looks into, bytes.
    pub const fn row_bytes_max(&self) -> u32 {
        self.row_bytes_max_mb << 20
    }

    /// Longest statement, bytes.
    pub const fn statement_bytes_max(&self) -> u32 {
        self.statement_bytes_max_mb << 20
    }
}

/// Server connections that are kept when their sessions have ended, for sessions that would log in just so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WarmPool {
    /// How many wait at most, on each core; 0 keeps none.
    pub connections: u32,
    /// How long one waits.
    pub seconds: u32,
    /// For whose next session.
    pub share: WarmShare,
}

/// Whose sessions follow each other on one server connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarmShare {
    /// Sessions of one lease, by one token of it.
    Lease,
    /// Sessions of one principal, whatever their leases and agents.
    Principal,
}

/// What happens when a detector finds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDetect {
    /// It is counted, logged and put on record, and passes.
    Count,
    /// It is overwritten where it stands, and counted.
    Redact,
    /// Its row is withheld and the session ends.
    End,
}

/// What a target speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// PostgreSQL, protocol 3.
    Postgres,
}

/// A Unix socket, named as PostgreSQL's clients name it: `.s.PGSQL.PORT` in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnixSocket {
    /// The directory, absolute.
    pub directory: PathBuf,
    /// The number at the end of its name.
    pub port: u16,
}

impl UnixSocket {
    /// The socket's path.
    pub fn path(&self) -> PathBuf {
        self.directory.join(format!(".s.PGSQL.{}", self.port))
    }
}

impl fmt::Display for UnixSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix:{}", self.path().display())
    }
}

/// Where clients dial.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Listen {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(UnixSocket),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(socket) => socket.fmt(f),
        }
    }
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A host and a port.
    Tcp(HostPort),
    /// A Unix socket.
    Unix(UnixSocket),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(socket) => socket.fmt(f),
        }
    }
}

/// What a target asks of its clients' certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// PEM file of the authorities that sign them.
    pub ca: PathBuf,
    /// Whether a client without one is refused.
    pub is_required: bool,
    /// Whom a certificate stands for where the client names no lease, such as `workload:{uri}`; `None`: nobody, it is asked for
    /// besides a lease or token.
    pub principal: Option<String>,
}

/// Who is asked for a token by OAUTHBEARER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OauthConfig {
    /// The `[[issuer]]` that clients are sent to.
    pub issuer: String,
    /// The scope that they ask it for.
    pub scope: String,
    /// The user name that is asked so; `None`: every name that is no lease's.
    pub user: Option<String>,
}

/// A host (name, IPv4 or IPv6 address without brackets) and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The name to resolve, or an address.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// TLS towards a server; the words are libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Disable,
    /// Where the server offers it; the certificate is not checked.
    Prefer,
    /// Always; the certificate is not checked.
    Require,
    /// Always; the certificate must come from a trusted authority, whatever its name.
    VerifyCa,
    /// Always; chain and host name are checked.
    VerifyFull,
}

/// How linegate logs in at a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The role.
    pub user: String,
    /// Where its password is; `None` where the server asks for none.
    pub password: Option<SecretSource>,
    /// The certificate that linegate shows the server; `None` shows none.
    pub certificate: Option<TlsIdentity>,
}

/// How much of a session is recorded; each level holds the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordLevel {
    /// Statements, verdicts, holds, errors.
    Statements,
    /// Also counts and digests of results.
    Shape,
    /// Also the rows, as the client saw them.
    Rows,
}

/// TLS towards clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientTls {
    /// The client chooses; a token as password needs TLS all the same.
    Optional,
    /// A client without TLS is refused.
    Require,
}

/// What happens to a statement that would wait while its transaction holds locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldInTransaction {
    /// It is refused, with a hint.
    Refuse,
    /// It waits, and the locks with it.
    Wait,
}

/// `[[label]]`: sensitive columns under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelConfig {
    /// The label's name in policies.
    pub name: String,
    /// The target that the columns are in; it exists.
    pub target: String,
    /// The columns; never empty.
    pub columns: Vec<ColumnName>,
    /// JSON paths within the columns: only what they lead to is redacted. Empty: the whole value is.
    pub paths: Vec<JsonPath>,
    /// How a cell is redacted.
    pub redact: Redact,
}

/// A column by its full name, as the catalog spells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ColumnName {
    /// The schema.
    pub schema: String,
    /// The table, view or other relation.
    pub table: String,
    /// The column.
    pub column: String,
}

impl fmt::Display for ColumnName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.schema, self.table, self.column)
    }
}

/// `[[group]]`: principals under one name, for policies and as approvers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// The group's name.
    pub name: String,
    /// Its members.
    pub members: Vec<Member>,
}

/// One member of a group, `user:NAME` or `workload:NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Person or machine.
    pub kind: MemberKind,
    /// The principal's name.
    pub name: String,
}

/// Whether a member is a person or a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberKind {
    /// A person.
    User,
    /// A CI job, a service, a host.
    Workload,
}

/// `[policy]`: where the rules are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyConfig {
    /// Files, with `*` in the last component only; relative to the configuration's directory.
    pub files: Vec<String>,
}
