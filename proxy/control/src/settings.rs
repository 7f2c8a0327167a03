//! The part of the configuration that the control plane acts on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use linegate_config::{Config, Listen, MemberKind, Protocol, StateStore};
use linegate_identity::{NameError, Principal, PrincipalKind};
use serde::Serialize;

use crate::error::Refusal;

/// A target and the address at which clients find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TargetSettings {
    /// Its name.
    pub name: String,
    /// `postgres`.
    pub protocol: String,
    /// Host that a client on this machine dials.
    pub host: String,
    /// Port that a client dials.
    pub port: u16,
    /// The database, where the operator named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
}

/// An OIDC issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerSettings {
    /// Its name in the configuration.
    pub name: String,
    /// The `iss` claim, and where discovery starts.
    pub url: String,
    /// The `aud` claim that its tokens must carry.
    pub audience: String,
    /// Template of the principal's name.
    pub principal: String,
    /// Where its keys are, without discovery.
    pub jwks_url: Option<String>,
}

impl IssuerSettings {
    /// Where its keys are found from; cached keys of another address are not used.
    pub fn source(&self) -> &str {
        self.jwks_url.as_deref().unwrap_or(&self.url)
    }
}

/// A group of people and workloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// Its name, as policies say it.
    pub name: String,
    /// `user:NAME` and `workload:NAME`.
    pub members: Vec<String>,
}

/// What the control plane takes from `linegate.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The protected servers.
    pub targets: Vec<TargetSettings>,
    /// The identity providers.
    pub issuers: Vec<IssuerSettings>,
    /// Who belongs together.
    pub groups: Vec<GroupSettings>,
}

impl Settings {
    /// The target of that name.
    pub fn target(&self, name: &str) -> Option<&TargetSettings> {
        self.targets.iter().find(|target| target.name == name)
    }

    /// The groups that a principal is in.
    pub fn groups_of(&self, kind: PrincipalKind, name: &str) -> Vec<String> {
        let member = qualified(kind, name);
        let of_member = self.groups.iter().filter(|group| group.members.contains(&member));
        of_member.map(|group| group.name.clone()).collect()
    }

    /// `user:NAME`, `workload:NAME`, or a bare name of the default kind, with its groups.
    pub fn principal(&self, text: &str, default: PrincipalKind) -> Result<Principal, Refusal> {
        let (kind, name) = match text.split_once(':') {
            Some(("user", name)) => (PrincipalKind::User, name),
            Some(("workload", name)) => (PrincipalKind::Workload, name),
            _ => (default, text),
        };
        let refused = |error: NameError| {
            Refusal::bad(
                error.public(),
                "`as` is NAME, user:NAME or workload:NAME; NAME is printable and short",
            )
        };
        Principal::new(kind, name, &self.groups_of(kind, name)).map_err(refused)
    }
}

/// The settings in a configuration, and the database's file; a relative one starts at the state directory.
pub fn from_config(config: &Config) -> (Settings, PathBuf) {
    let StateStore::Sqlite(database) = &config.control.state;
    let targets = config.targets.iter().map(|target| {
        let Protocol::Postgres = target.protocol;
        let (host, port) = dialled(&target.listen);
        // Where names lead to a target, clients must say them: TLS sends the host's, the startup packet the database's.
        let host = target.server_names.first().cloned().unwrap_or(host);
        let database = target.database_names.first().or(target.database.as_ref());
        let (name, database) = (target.name.clone(), database.cloned());
        TargetSettings {
            name,
            protocol: "postgres".to_owned(),
            host,
            port,
            database,
        }
    });
    let issuers = config.issuers.iter().map(|issuer| IssuerSettings {
        name: issuer.name.clone(),
        url: issuer.url.clone(),
        audience: issuer.audience.clone(),
        principal: issuer.principal.clone(),
        jwks_url: issuer.jwks_url.clone(),
    });
    let groups = config.groups.iter().map(|group| {
        let member = |member: &linegate_config::Member| match member.kind {
            MemberKind::User => qualified(PrincipalKind::User, &member.name),
            MemberKind::Workload => qualified(PrincipalKind::Workload, &member.name),
        };
        GroupSettings {
            name: group.name.clone(),
            members: group.members.iter().map(member).collect(),
        }
    });
    let settings = Settings {
        targets: targets.collect(),
        issuers: issuers.collect(),
        groups: groups.collect(),
    };
    (settings, database.clone())
}

/// `user:NAME` or `workload:NAME`.
pub fn qualified(kind: PrincipalKind, name: &str) -> String {
    format!("{}:{name}", kind.as_str())
}

/// What a client on this machine dials for a listener, as host and port: loopback stands for "every interface", a directory
/// for the Unix socket in it.
pub fn dialled(listen: &Listen) -> (String, u16) {
    let listen = match listen {
        Listen::Tcp(listen) => listen,
        Listen::Unix(socket) => return (socket.directory.display().to_string(), socket.port),
    };
    let host = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    (host.to_string(), listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_is_dialled_on_loopback() {
        let dial = |text: &str| dialled(&Listen::Tcp(text.parse().expect("an address")));
        assert_eq!(dial("0.0.0.0:6432"), ("127.0.0.1".to_owned(), 6432));
        assert_eq!(dial("[::]:6432"), ("::1".to_owned(), 6432));
        assert_eq!(dial("10.1.2.3:5"), ("10.1.2.3".to_owned(), 5));
        let socket = linegate_config::UnixSocket {
            directory: "/run/lg".into(),
            port: 6432,
        };
        assert_eq!(dialled(&Listen::Unix(socket)), ("/run/lg".to_owned(), 6432));
    }

    #[test]
    fn a_principal_has_a_kind_a_name_and_its_groups() {
        let group = |name: &str, member: &str| GroupSettings {
            name: name.into(),
            members: vec![member.into()],
        };
        let settings = Settings {
            groups: vec![
                group("writers", "workload:ci"),
                group("builders", "workload:ci"),
                group("people", "user:ci"),
            ],
            ..Settings::default()
        };
        let ci = settings.principal("ci", PrincipalKind::Workload).expect("a name");
        assert_eq!(
            (ci.kind, ci.groups),
            (PrincipalKind::Workload, vec!["builders".into(), "writers".into()])
        );
        let person = settings
            .principal("user:ci", PrincipalKind::Workload)
            .expect("a name");
        assert_eq!(
            (person.kind, person.groups),
            (PrincipalKind::User, vec!["people".into()])
        );
        let subject = settings
            .principal("repo:shop:ref", PrincipalKind::Workload)
            .expect("a name");
        assert_eq!(subject.name, "repo:shop:ref", "only the two kinds are a prefix");
        for wrong in ["", "user:", " ci", "a\nb", "a → b"] {
            assert!(
                settings.principal(wrong, PrincipalKind::User).is_err(),
                "{wrong:?}"
            );
        }
    }
}
