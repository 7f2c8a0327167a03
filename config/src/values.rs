//! How one value is read from its text. Each answers what is wrong and what would be right.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::mistake::quoted;
use crate::model::{Address, ColumnName, HostPort, Listen, Member, MemberKind, StateStore, UnixSocket};
use crate::secret::SecretSource;
use crate::section::Wrong;

/// The longest name of a section, bytes.
const NAME_BYTES_MAX: usize = 63;

/// A target's name: it is part of leases, file names and Cedar entities.
pub(crate) fn target_name(text: &str) -> Result<String, Wrong> {
    let is_fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.bytes().all(is_fine) && text.len() <= NAME_BYTES_MAX && !text.starts_with('-') {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(
        format!("{} cannot be a target's name", quoted(text)),
        "small letters, digits and `-`, not first; at most 63, such as `prod-eu`",
    ))
}

/// The name of an issuer, label or group.
pub(crate) fn name(text: &str) -> Result<String, Wrong> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if text.bytes().all(is_fine) && text.len() <= NAME_BYTES_MAX {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(
        format!("{} cannot be a name", quoted(text)),
        "letters, digits, `-`, `_` and `.`; at most 63",
    ))
}

/// A channel of LISTEN, written as an SQL identifier that needs no quotes.
pub(crate) fn channel(text: &str) -> Result<String, Wrong> {
    let is_fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let starts_well = !text.starts_with(|first: char| first.is_ascii_digit());
    if !text.is_empty() && starts_well && text.bytes().all(is_fine) && text.len() <= NAME_BYTES_MAX {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(
        format!("{} cannot be a channel", quoted(text)),
        "small letters, digits and `_`, no digit first; at most 63, such as `linegate_catalog`",
    ))
}

/// An address to listen on.
pub(crate) fn listen(text: &str) -> Result<SocketAddr, Wrong> {
    text.parse().map_err(|_| {
        let hint = match text.rsplit_once(':') {
            None if text.parse::<IpAddr>().is_ok() => "add the port, such as `:6432`",
            Some(("" | "*", port)) if port.parse::<u16>().is_ok() => {
                "name the interface: `0.0.0.0:PORT` or `[::]:PORT` for all, `127.0.0.1:PORT` for this machine only"
            }
            _ => "an IP address and a port, such as `127.0.0.1:6432` or `[::1]:6432`",
        };
        Wrong::new(format!("{} is not an address to listen on", quoted(text)), hint)
    })
}

/// Where clients dial: an address, or a Unix socket.
pub(crate) fn door(text: &str) -> Result<Listen, Wrong> {
    match text.strip_prefix("unix:") {
        Some(path) => unix_socket(text, path).map(Listen::Unix),
        None => listen(text).map(Listen::Tcp),
    }
}

/// Where a server is: `host:port`, or a Unix socket.
pub(crate) fn address(text: &str) -> Result<Address, Wrong> {
    match text.strip_prefix("unix:") {
        Some(path) => unix_socket(text, path).map(Address::Unix),
        None if text.starts_with('/') => Err(Wrong::new(
            format!("{} is not a server's address", quoted(text)),
            "a Unix socket is written `unix:/run/postgresql`",
        )),
        None => host_port(text).map(Address::Tcp),
    }
}

/// `/directory` or `/directory/.s.PGSQL.PORT`; clients find no other names. A path that is longer than the kernel's names
/// of sockets could not be listened on.
fn unix_socket(text: &str, path: &str) -> Result<UnixSocket, Wrong> {
    const PATH_BYTES_MAX: usize = 107;
    let wrong = |hint: &str| Wrong::new(format!("{} is not a Unix socket", quoted(text)), hint);
    if !path.starts_with('/') || path.contains(char::is_whitespace) {
        return Err(wrong(
            "an absolute path without spaces, such as `unix:/run/postgresql`",
        ));
    }
    let path = path.trim_end_matches('/');
    let socket = match path.rsplit_once("/.s.PGSQL.") {
        Some((directory, port)) => {
            let port = port.parse::<u16>().ok().filter(|port| *port != 0);
            UnixSocket {
                directory: PathBuf::from(if directory.is_empty() { "/" } else { directory }),
                port: port.ok_or_else(|| wrong("its name ends with a port, such as `.s.PGSQL.5432`"))?,
            }
        }
        None if path.ends_with(".sock") || path.ends_with(".socket") => {
            return Err(wrong(
                "PostgreSQL's clients look for `.s.PGSQL.PORT` in a directory, such as `unix:/run/postgresql/.s.PGSQL.5432`",
            ));
        }
        None => UnixSocket {
            directory: PathBuf::from(if path.is_empty() { "/" } else { path }),
            port: 5432,
        },
    };
    if socket.path().as_os_str().len() > PATH_BYTES_MAX {
        return Err(wrong("its path has at most 107 bytes"));
    }
    Ok(socket)
}

/// A server name as TLS clients send it.
pub(crate) fn server_name(text: &str) -> Result<String, Wrong> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if !is_host_name(&name) || name.parse::<IpAddr>().is_ok() {
        return Err(Wrong::new(
            format!("{} is not a server name", quoted(text)),
            "a DNS name, such as `db.example.com`; clients send no addresses and no wildcards",
        ));
    }
    Ok(name)
}

/// A principal by its certificate: `user:` or `workload:`, and text with at least one field.
pub(crate) fn certificate_template(text: &str) -> Result<String, Wrong> {
    const HINT: &str = "`workload:{uri}` or `user:{email}`; there are {cn}, {dns}, {email} and {uri}";
    let wrong = || Wrong::new(format!("{} names no principal", quoted(text)), HINT);
    let (kind, mut rest) = text.split_once(':').ok_or_else(wrong)?;
    let mut is_any = false;
    while let Some((before, after)) = rest.split_once('{') {
        let (field, after) = after.split_once('}').ok_or_else(wrong)?;
        if before.contains('}') || !["cn", "dns", "email", "uri"].contains(&field) {
            return Err(wrong());
        }
        (rest, is_any) = (after, true);
    }
    if !["user", "workload"].contains(&kind) || !is_any || rest.contains('}') {
        return Err(wrong());
    }
    Ok(text.to_owned())
}

/// A server's address, `host:port`.
pub(crate) fn host_port(text: &str) -> Result<HostPort, Wrong> {
    let wrong = |hint: &str| Wrong::new(format!("{} is not a server's address", quoted(text)), hint);
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((host, port)) = rest.split_once("]:") else {
                return Err(wrong("such as `[::1]:5432`"));
            };
            host.parse::<Ipv6Addr>()
                .map_err(|_| wrong("an IPv6 address in brackets, such as `[::1]:5432`"))?;
            (host, port)
        }
        None if text.contains("://") => return Err(wrong("without a scheme: `host:port`")),
        None if text.parse::<Ipv6Addr>().is_ok() => {
            return Err(wrong(
                "an IPv6 address goes in brackets and needs a port, such as `[::1]:5432`",
            ));
        }
        None => text
            .split_once(':')
            .ok_or_else(|| wrong("add the port, such as `:5432`"))?,
    };
    let port = port.parse::<u16>().ok().filter(|port| *port != 0);
    let port = port.ok_or_else(|| wrong("the port is a number from 1 to 65535"))?;
    if !is_host_name(host) && host.parse::<IpAddr>().is_err() {
        return Err(wrong("the host is a DNS name or an IP address"));
    }
    Ok(HostPort {
        host: host.to_owned(),
        port,
    })
}

fn is_host_name(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    host.len() <= 253 && host.strip_suffix('.').unwrap_or(host).split('.').all(is_label)
}

/// `sqlite:FILE`.
pub(crate) fn state(text: &str) -> Result<StateStore, Wrong> {
    match text.split_once(':') {
        Some(("sqlite", file)) if !file.is_empty() => Ok(StateStore::Sqlite(PathBuf::from(file))),
        Some(("postgres" | "postgresql" | "mysql", _)) => {
            let what = "only SQLite keeps state in this version";
            Err(Wrong::new(what, "such as `sqlite:state.db`"))
        }
        _ => Err(Wrong::new(
            "`state` names no store; only SQLite is available",
            "such as `sqlite:state.db`",
        )),
    }
}

/// A directory of this machine.
pub(crate) fn directory(text: &str) -> Result<PathBuf, Wrong> {
    if text.contains("://") {
        let what = "recordings go to a directory in this version; object stores do not exist yet";
        return Err(Wrong::new(what, "such as `recordings/`"));
    }
    Ok(PathBuf::from(text))
}

/// A file of this machine.
pub(crate) fn file(text: &str) -> Result<PathBuf, Wrong> {
    if text.contains("-----BEGIN") || text.contains("://") || text.ends_with('/') {
        return Err(Wrong::new(
            "this is not the path of a file",
            "such as `/etc/linegate/tls.pem`",
        ));
    }
    Ok(PathBuf::from(text))
}

/// An issuer's URL: https, or http where nobody can stand between.
pub(crate) fn url(text: &str) -> Result<String, Wrong> {
    let wrong = |hint: &str| {
        Wrong::new(
            format!("{} is not a URL that keys may come from", quoted(text)),
            hint,
        )
    };
    let (scheme, rest) = text
        .split_once("://")
        .ok_or_else(|| wrong("such as `https://idp.example.com`"))?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() || authority.contains('@') || text.contains(char::is_whitespace) {
        return Err(wrong(
            "a scheme, a host and no user, such as `https://idp.example.com`",
        ));
    }
    if rest.contains(['?', '#']) {
        return Err(wrong("without `?` and `#`"));
    }
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    match scheme {
        "https" => Ok(text.to_owned()),
        "http" if host == "localhost" || host.parse::<IpAddr>().is_ok_and(|host| host.is_loopback()) => {
            Ok(text.to_owned())
        }
        "http" => Err(wrong(
            "use https: whoever can change the answer could sign tokens (http is for loopback only)",
        )),
        _ => Err(wrong("use https")),
    }
}

/// A principal template: text and `{claim}`s, at least one.
pub(crate) fn template(text: &str) -> Result<String, Wrong> {
    let wrong = |what: &str, hint: &str| Wrong::new(format!("`principal` {what}"), hint.to_owned());
    let (mut rest, mut claims) = (text, 0);
    while let Some(at) = rest.find(['{', '}']) {
        let (Some(inside), true) = (rest.get(at + 1..), rest[at..].starts_with('{')) else {
            return Err(wrong("has a `}` without its `{`", "claims are written `{claim}`"));
        };
        let Some((claim, after)) = inside.split_once('}') else {
            return Err(wrong("has a `{` without its `}`", "claims are written `{claim}`"));
        };
        if claim.is_empty() || claim.contains(['{', ' ']) {
            return Err(wrong(
                "has a claim without a proper name",
                "claims are written `{claim}`, such as `{sub}`",
            ));
        }
        (rest, claims) = (after, claims + 1);
    }
    if claims == 0 {
        let hint = "name at least one claim, such as `{sub}`";
        return Err(wrong("would be the same for every token", hint));
    }
    Ok(text.to_owned())
}

/// `schema.table.column`; a part in double quotes is taken as it is.
pub(crate) fn column(text: &str) -> Result<ColumnName, Wrong> {
    let wrong = |hint: &str| Wrong::new(format!("{} is not a column", quoted(text)), hint);
    let (mut parts, mut rest) = (Vec::new(), text);
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(inside) => quoted_identifier(inside)
                .ok_or_else(|| wrong("a double quote is open, or a name in quotes is empty"))?,
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                let (part, after) = rest.split_at(end);
                plain_identifier(part).map_err(wrong)?;
                (part.to_owned(), after)
            }
        };
        parts.push(part);
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => break,
            None => return Err(wrong("after a closing quote comes `.` or the end")),
        }
    }
    match <[String; 3]>::try_from(parts) {
        Ok([schema, table, column]) => Ok(ColumnName {
            schema,
            table,
            column,
        }),
        Err(_) => Err(wrong(
            "write schema, table and column, such as `public.customers.ssn`",
        )),
    }
}

/// The inside of a quoted name up to its end, with `""` undone, and what comes after.
fn quoted_identifier(inside: &str) -> Option<(String, &str)> {
    let mut part = String::new();
    let mut rest = inside;
    loop {
        let (before, after) = rest.split_once('"')?;
        part.push_str(before);
        match after.strip_prefix('"') {
            Some(next) => {
                part.push('"');
                rest = next;
            }
            None => return (!part.is_empty()).then_some((part, after)),
        }
    }
}

/// A name without quotes means what SQL would make of it, so capitals (which SQL folds) are refused: a label on a
/// column that does not exist would protect nothing.
fn plain_identifier(part: &str) -> Result<(), &'static str> {
    if part == "*" {
        return Err("name each column; `*` is not available");
    }
    if part.chars().any(char::is_uppercase) {
        return Err(
            "SQL folds names to small letters: write them small, or in double quotes if the name has capitals",
        );
    }
    let is_fine = |one: char| one.is_alphanumeric() || one == '_' || one == '$';
    if part.is_empty() || !part.chars().all(is_fine) {
        return Err(
            "write schema, table and column, such as `public.customers.ssn`; odd names in double quotes",
        );
    }
    Ok(())
}

/// `user:NAME` or `workload:NAME`.
pub(crate) fn member(text: &str) -> Result<Member, Wrong> {
    let kind = match text.split_once(':') {
        Some(("user", name)) => Some((MemberKind::User, name)),
        Some(("workload", name)) => Some((MemberKind::Workload, name)),
        _ => None,
    };
    match kind.map(|(kind, name)| (kind, name.trim())) {
        Some((kind, name)) if !name.is_empty() => Ok(Member {
            kind,
            name: name.to_owned(),
        }),
        _ => Err(Wrong::new(
            format!("{} is not a member", quoted(text)),
            "`user:NAME` for a person, `workload:NAME` for a machine",
        )),
    }
}

/// Where a password is. The text is never quoted: it may be the password.
pub(crate) fn secret(text: &str) -> Result<SecretSource, Wrong> {
    let wrong = |what: &str| {
        Wrong::new(
            what.to_owned(),
            "keep the password elsewhere and say where: `file:/path`, `env:NAME` or `credential:NAME` (systemd)",
        )
    };
    match text.split_once(':') {
        Some(("file", path)) if !path.is_empty() => Ok(SecretSource::File(PathBuf::from(path))),
        Some(("env", name)) if is_variable(name) => Ok(SecretSource::Env(name.to_owned())),
        Some(("env", _)) => Err(wrong("`password` names no environment variable")),
        Some(("credential", name)) if is_credential(name) => Ok(SecretSource::Credential(name.to_owned())),
        Some(("credential", _)) => Err(wrong("`password` names no credential")),
        _ => Err(wrong("`password` must not be written into this file")),
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A credential's name becomes the last component of a path, so it must not climb.
fn is_credential(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains('/')
}

/// A policy file or glob.
pub(crate) fn policy_file(text: &str) -> Result<String, Wrong> {
    let wrong = |hint: &str| Wrong::new(format!("{} is not a path of policy files", quoted(text)), hint);
    let path = Path::new(text);
    let Some(last) = path
        .file_name()
        .and_then(|name| name.to_str())
        .filter(|_| !text.ends_with('/'))
    else {
        return Err(wrong("name files, such as `policies/*.cedar`"));
    };
    if text[..text.len() - last.len()].contains('*') {
        return Err(wrong(
            "`*` may stand in the last part only, such as `policies/*.cedar`",
        ));
    }
    if text.contains(['?', '[', ']', '{', '}']) {
        return Err(wrong("the only wildcard is `*`"));
    }
    Ok(text.to_owned())
}
