//! Where a path begins: a server or a proxy, and who logs in there.
//!
//! Shape: `[NAME=]HOST:PORT[/DATABASE][,user=U][,password=P | ,password-file=PATH][,tls][,beside=SQL]`. An IPv6 address stands in
//! brackets. `beside` is a neighbour: a session of the same path that asks this, without commas, and reads nothing.

use std::path::Path;

/// The user and the database where none are named.
const BENCH: &str = "bench";

/// One path to measure.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// What tables call it.
    pub name: String,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database.
    pub database: String,
    /// Login role.
    pub user: String,
    /// Its password, where the path asks for one.
    pub password: Option<String>,
    /// Whether the client asks for TLS; certificates are not checked.
    pub tls: bool,
    /// What a neighbour asks, who then reads nothing.
    pub beside: Option<String>,
}

impl std::fmt::Debug for Target {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}={}:{}/{},user={}",
            self.name, self.host, self.port, self.database, self.user
        )
    }
}

impl Target {
    /// Reads `NAME=HOST:PORT…`.
    pub fn named(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once('=').ok_or("expected NAME=HOST:PORT")?;
        if name.is_empty() || name.contains([':', ',', '/']) {
            return Err("expected NAME=HOST:PORT".into());
        }
        Self::read(name, rest)
    }

    /// Reads `HOST:PORT…`; its name is `direct`.
    pub fn direct(text: &str) -> Result<Self, String> {
        Self::read("direct", text)
    }

    fn read(name: &str, text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let place = parts.next().unwrap_or_default();
        let (address, database) = place.split_once('/').unwrap_or((place, BENCH));
        let (host, port) = address.rsplit_once(':').ok_or("expected HOST:PORT")?;
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let port = port
            .parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or("the port is not a number from 1 to 65535")?;
        if host.is_empty() || database.is_empty() {
            return Err("the host or the database is empty".into());
        }
        let mut target = Self {
            name: name.into(),
            host: host.into(),
            port,
            database: database.into(),
            user: BENCH.into(),
            password: None,
            tls: false,
            beside: None,
        };
        for part in parts {
            match part.split_once('=') {
                Some(("user", user)) if !user.is_empty() => target.user = user.into(),
                Some(("password", password)) => target.password = Some(password.into()),
                Some(("password-file", path)) => target.password = Some(password_in(Path::new(path))?),
                Some(("beside", sql)) => target.beside = Some(sql.into()),
                None if part == "tls" => target.tls = true,
                _ => return Err("expected user=, password=, password-file=, beside= or tls".into()),
            }
        }
        Ok(target)
    }
}

/// A password from a file, without its last line end.
pub fn password_in(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_read() {
        let target = Target::named("masked=127.0.0.1:6432/shop,user=lease,password=a=b,tls,beside=SELECT 1")
            .expect("well formed");
        assert_eq!(
            target,
            Target {
                name: "masked".into(),
                host: "127.0.0.1".into(),
                port: 6432,
                database: "shop".into(),
                user: "lease".into(),
                password: Some("a=b".into()),
                tls: true,
                beside: Some("SELECT 1".into()),
            }
        );
        assert!(!format!("{target:?}").contains("a=b"), "passwords are not shown");
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let target = Target::direct("[::1]:5432").expect("well formed");
        assert_eq!((target.name.as_str(), target.host.as_str()), ("direct", "::1"));
        assert_eq!((target.user.as_str(), target.database.as_str()), (BENCH, BENCH));
        assert_eq!((target.password, target.tls), (None, false));
    }

    #[test]
    fn mistakes_are_refused() {
        for text in [
            "",
            "a",
            "a=b",
            "a=b:0",
            "a=b:65536",
            "a=:1",
            "a=b:1/",
            "a=b:1,ssl",
            "a=b:1,user=",
            "b:1,user=x",
        ] {
            assert!(Target::named(text).is_err(), "{text}");
        }
    }
}
