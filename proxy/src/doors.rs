//! Doors: where clients knock, and which target is behind which name.
//!
//! Targets of one `listen` share a door. A client says its server name in TLS (SNI) and its database in the startup packet;
//! the target that answers to both goes before one that answers to the server name, that before one that answers to the
//! database, that before one without names. The configuration has seen to it that there are never two.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;

use linegate_config::{Listen, TargetConfig, UnixSocket};
use linegate_identity::{Certificate, NameTemplate};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;

use crate::shared::Target;
use crate::tls::Certificates;

/// Whoever may reach the socket's directory may knock; a lease or token is asked for all the same.
const SOCKET_MODE: u32 = 0o666;
const BACKLOG: i32 = 4096;

/// A place where clients knock.
pub struct Door {
    /// Where it is.
    pub listen: Listen,
    /// Who is behind it, in the order of the configuration.
    pub targets: Vec<Arc<Target>>,
    /// TLS, where there is a certificate; never on a Unix socket.
    pub tls: Option<DoorTls>,
    /// The socket that all cores take connections from, where the door is a Unix socket.
    pub socket: Option<OpenSocket>,
}

/// TLS towards clients.
pub struct DoorTls {
    /// What rustls goes by.
    pub config: Arc<ServerConfig>,
    /// What it shows.
    pub certificates: Arc<Certificates>,
}

impl Door {
    /// The target for a client.
    pub fn choose(&self, server_name: Option<&str>, database: Option<&str>) -> Option<&Arc<Target>> {
        let ranked = self
            .targets
            .iter()
            .filter_map(|target| rank(&target.config, server_name, database).map(|rank| (rank, target)));
        ranked.max_by_key(|(rank, _)| *rank).map(|(_, target)| target)
    }

    /// Whether only processes of this machine can knock, with nobody in between.
    pub fn is_local(&self) -> bool {
        matches!(self.listen, Listen::Unix(_))
    }

    /// How long a login may take before its target is known.
    pub fn startup_seconds(&self) -> u32 {
        let all = self.targets.iter().map(|target| target.config.startup_seconds);
        all.max().unwrap_or_default()
    }
}

/// How well a target's names fit; `None` when one does not.
fn rank(target: &TargetConfig, server_name: Option<&str>, database: Option<&str>) -> Option<(bool, bool)> {
    let fits = |names: &[String], said: Option<&str>| {
        names.is_empty() || said.is_some_and(|said| names.iter().any(|name| name == said))
    };
    let all = fits(&target.server_names, server_name) && fits(&target.database_names, database);
    all.then_some((!target.server_names.is_empty(), !target.database_names.is_empty()))
}

/// What a target asks of clients' certificates.
pub struct ClientChain {
    /// Checks a chain against the target's authorities.
    pub verifier: Arc<dyn ClientCertVerifier>,
    /// Whether a client without one is refused.
    pub is_required: bool,
    /// Whom a certificate stands for by itself.
    pub principal: Option<NameTemplate>,
}

impl ClientChain {
    /// What a chain says, if it is one of this target's. That its holder has the key was proven in the handshake.
    pub fn verify(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Option<Certificate> {
        let (own, between) = chain.split_first()?;
        self.verifier.verify_client_cert(own, between, now).ok()?;
        Certificate::read(own).ok()
    }
}

/// A Unix socket that is listened on; it leaves its directory with this value, or when it is told to.
pub struct OpenSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: (u64, u64),
}

impl OpenSocket {
    /// Listens. A socket that nobody listens on any more is replaced, and nothing else.
    pub fn bind(socket: &UnixSocket) -> io::Result<Self> {
        let path = socket.path();
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(found) if !found.file_type().is_socket() => {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "there is a file that is no socket",
                ));
            }
            Ok(_) => match UnixStream::connect(&path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(&path)?,
                _ => return Err(io::ErrorKind::AddrInUse.into()),
            },
        }
        let listener = UnixListener::bind(&path)?;
        rustix::net::listen(&listener, BACKLOG)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(SOCKET_MODE))?;
        let made = fs::symlink_metadata(&path)?;
        Ok(Self {
            listener,
            path,
            inode: (made.dev(), made.ino()),
        })
    }

    /// The same socket for one more core.
    pub fn share(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }

    /// Takes the socket out of its directory.
    pub fn leave(&self) {
        // Somebody may have put another in its place.
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == self.inode);
        if is_ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(server_names: &str, database_names: &str) -> TargetConfig {
        let text = format!(
            "[data]\ntls_cert = 'c'\ntls_key = 'k'\n[[target]]\nname = 'one'\nprotocol = 'postgres'\n\
             listen = '127.0.0.1:6432'\naddress = 'db:5432'\ncredential = {{ user = 'app' }}\n\
             {server_names}\n{database_names}\n"
        );
        let config = linegate_config::Config::parse(&text, "test").expect("a configuration");
        config.targets.into_iter().next().expect("one target")
    }

    #[test]
    fn more_names_that_fit_go_first() {
        let both = target("server_names = ['s']", "database_names = ['d']");
        let server = target("server_names = ['s', 't']", "");
        let database = target("", "database_names = ['d']");
        let rest = target("", "");
        let first = |server_name, name| {
            let ranked = [
                ("both", &both),
                ("server", &server),
                ("database", &database),
                ("rest", &rest),
            ];
            let ranked = ranked.map(|(which, target)| (rank(target, server_name, name), which));
            let best = ranked.into_iter().filter(|(rank, _)| rank.is_some()).max();
            best.map(|(_, which)| which)
        };
        assert_eq!(first(Some("s"), Some("d")), Some("both"));
        assert_eq!(first(Some("s"), Some("e")), Some("server"));
        assert_eq!(first(Some("t"), Some("d")), Some("server"));
        assert_eq!(first(None, Some("d")), Some("database"));
        assert_eq!(first(Some("x"), Some("d")), Some("database"));
        assert_eq!(first(None, Some("e")), Some("rest"));
        assert_eq!(first(None, None), Some("rest"));
        assert_eq!(rank(&server, None, Some("d")), None);
        assert_eq!(rank(&database, Some("s"), None), None);
    }

    #[test]
    fn a_socket_is_replaced_when_nobody_listens_and_leaves_with_its_owner() {
        let directory = std::env::temp_dir().join(format!("lg-doors-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory of our own");
        let socket = UnixSocket {
            directory: directory.clone(),
            port: 6432,
        };
        let open = OpenSocket::bind(&socket).expect("it can be listened on");
        assert!(UnixStream::connect(socket.path()).is_ok());
        assert!(OpenSocket::bind(&socket).is_err(), "somebody listens");
        drop(open);
        assert!(!socket.path().exists(), "it left");
        drop(UnixListener::bind(socket.path()).expect("left behind")); // as after a crash
        let open = OpenSocket::bind(&socket).expect("nobody listened");
        fs::remove_file(socket.path()).expect("our own file");
        fs::write(socket.path(), "a file").expect("our own file");
        drop(open);
        assert!(socket.path().exists(), "not ours to remove");
        assert!(OpenSocket::bind(&socket).is_err(), "no socket");
        fs::remove_dir_all(&directory).expect("our own directory");
    }
}
