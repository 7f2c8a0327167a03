//! What a target says of its doors: where clients knock, how targets that share a door are told apart, and what a client
//! shows besides its lease.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::mistake::{Show, listed, nearest, quoted};
use crate::model::{ClientCertificates, Listen, OauthConfig, TlsIdentity};
use crate::section::{Found, Section, Span, Taken, Walk, Wrong};
use crate::values;

const OAUTH_KEYS: &[&str] = &["issuer", "scope", "user"];

/// A target as its door tells it from others.
struct Guest {
    line: u32,
    server_names: Vec<String>,
    database_names: Vec<String>,
}

impl Guest {
    /// A name that leads to both: they are told apart by the same marks and share one of each.
    fn clashes_with(&self, other: &Self) -> Option<String> {
        let marks = |guest: &Self| (guest.server_names.is_empty(), guest.database_names.is_empty());
        if marks(self) != marks(other) {
            return None; // the one with more marks goes first
        }
        let shared = |ours: &[String], theirs: &[String]| {
            if ours.is_empty() {
                return Some(None);
            }
            ours.iter().find(|name| theirs.contains(name)).cloned().map(Some)
        };
        let server = shared(&self.server_names, &other.server_names)?;
        let database = shared(&self.database_names, &other.database_names)?;
        Some(match (server, database) {
            (None, None) => String::new(),
            (Some(server), None) => format!("server name {}", quoted(&server)),
            (None, Some(database)) => format!("database name {}", quoted(&database)),
            (Some(server), Some(database)) => {
                format!(
                    "server name {} and database name {}",
                    quoted(&server),
                    quoted(&database)
                )
            }
        })
    }
}

/// Doors that are taken, and by whom.
#[derive(Default)]
pub(crate) struct Doors {
    control: Option<(SocketAddr, u32)>,
    targets: Vec<(Listen, Vec<Guest>)>,
}

impl Doors {
    /// Takes the control plane's own address.
    pub(crate) fn take_control(&mut self, walk: &Walk<'_>, address: SocketAddr, span: &Span) {
        self.control = Some((address, walk.line_of(span)));
    }

    /// Takes a target's door, or notes that another section has it or cannot be told apart from this one.
    fn take(&mut self, walk: &mut Walk<'_>, listen: &Listen, span: &Span, names: Names) {
        const OWN: &str = "give each its own port";
        let guest = Guest {
            line: walk.line_of(span),
            server_names: names.server,
            database_names: names.database,
        };
        let control = self
            .control
            .filter(|(control, _)| overlaps(listen, &Listen::Tcp(*control)));
        let other = self
            .targets
            .iter()
            .find(|(other, _)| other != listen && overlaps(listen, other));
        if let Some((control, line)) = control {
            let what = met(listen, &Listen::Tcp(control), line);
            walk.say(span, Show::Line, what, Some(OWN.to_owned()));
        } else if let Some((other, guests)) = other {
            let what = met(listen, other, guests[0].line);
            walk.say(span, Show::Line, what, Some(OWN.to_owned()));
        }
        // Port 0 is a new one each time.
        let is_new = matches!(listen, Listen::Tcp(address) if address.port() == 0);
        match self.targets.iter_mut().find(|(one, _)| one == listen && !is_new) {
            None => self.targets.push((listen.clone(), vec![guest])),
            Some((_, guests)) => {
                let clash = guests
                    .iter()
                    .find_map(|other| guest.clashes_with(other).map(|name| (name, other.line)));
                match clash {
                    Some((name, line)) if name.is_empty() => {
                        let hint = format!("{OWN}, or tell them apart by `server_names` or `database_names`");
                        walk.say(span, Show::Line, met(listen, listen, line), Some(hint));
                    }
                    Some((name, line)) => {
                        let what = format!("{name} leads to the target that listens on line {line} already");
                        walk.say(
                            span,
                            Show::Line,
                            what,
                            Some("give each target names of its own".to_owned()),
                        );
                    }
                    None => {}
                }
                guests.push(guest);
            }
        }
    }
}

fn met(listen: &Listen, other: &Listen, line: u32) -> String {
    if listen == other {
        format!("`{listen}` is listened on by line {line} already")
    } else {
        format!("`{listen}` overlaps with `{other}` on line {line}")
    }
}

fn overlaps(one: &Listen, other: &Listen) -> bool {
    let (Listen::Tcp(one), Listen::Tcp(other)) = (one, other) else {
        return one == other;
    };
    one.port() == other.port()
        && one.port() != 0
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

/// The names that lead to a target.
#[derive(Clone, Default)]
pub(crate) struct Names {
    pub(crate) server: Vec<String>,
    pub(crate) database: Vec<String>,
}

/// Reads where a target listens and the names that lead to it. `has_tls` says whether clients can be offered TLS.
pub(crate) fn read_listen(
    walk: &mut Walk<'_>,
    section: &Section<'_, '_>,
    doors: &mut Doors,
    has_tls: bool,
) -> Option<(Listen, Names)> {
    let listen = section.needed(walk, "listen", "\"0.0.0.0:6432\"", values::door);
    let server = read_names(walk, section, "server_names", values::server_name);
    let database = read_names(walk, section, "database_names", |text| Ok(text.to_owned()));
    let names = Names { server, database };
    if let Some(value) = section.value("server_names") {
        needs_tls(
            walk,
            &value.span(),
            "`server_names` come with TLS",
            listen.as_ref(),
            has_tls,
        );
    }
    let (listen, span) = listen?;
    doors.take(walk, &listen, &span, names.clone());
    Some((listen, names))
}

fn read_names(
    walk: &mut Walk<'_>,
    section: &Section<'_, '_>,
    key: &'static str,
    read: impl Fn(&str) -> Result<String, Wrong>,
) -> Vec<String> {
    if section.value(key).is_none() {
        return Vec::new();
    }
    let mut taken = HashMap::new();
    let mut names = Vec::new();
    for (name, span) in section.needed_list(walk, key, "[\"shop\"]", read) {
        if taken.insert(name.clone(), ()).is_some() {
            walk.say(
                &span,
                Show::Line,
                format!("{} stands here twice", quoted(&name)),
                None,
            );
        } else {
            names.push(name);
        }
    }
    names
}

/// Notes that a wish cannot be had without TLS towards clients.
fn needs_tls(walk: &mut Walk<'_>, span: &Span, what: &str, listen: Option<&Found<Listen>>, has_tls: bool) {
    if matches!(listen, Some((Listen::Unix(_), _))) {
        let what = format!("{what}, and a Unix socket has none");
        walk.say(
            span,
            Show::Line,
            what,
            Some("listen on an address and a port".to_owned()),
        );
    } else if !has_tls {
        let what = format!("{what}, and there is no certificate");
        walk.absent(
            span,
            what,
            Some("give `tls_cert` and `tls_key` in [data]".to_owned()),
        );
    }
}

/// Reads the certificate for clients that ask for this target by its server names.
pub(crate) fn read_client_identity(
    walk: &mut Walk<'_>,
    section: &Section<'_, '_>,
    has_tls: bool,
) -> Option<TlsIdentity> {
    const KEYS: [(&str, &str); 2] = [
        ("client_tls_cert", "client_tls_key"),
        ("client_tls_key", "client_tls_cert"),
    ];
    let [cert, key] = KEYS.map(|(one, _)| section.parsed(walk, one, values::file));
    for (one, other) in KEYS {
        let Some(value) = section.value(one) else {
            continue;
        };
        let (what, hint) = if section.value(other).is_none() {
            (
                format!("`{one}` without `{other}`"),
                "give both, or none to show that of [data]",
            )
        } else if section.value("server_names").is_none() {
            let hint = "name it: `server_names = [\"db.example.com\"]`";
            (format!("no client asks for `{one}` without `server_names`"), hint)
        } else if !has_tls {
            let hint = "give `tls_cert` and `tls_key` in [data]";
            (
                format!("`{one}` needs a certificate for clients that name no server"),
                hint,
            )
        } else {
            continue;
        };
        walk.absent(&value.span(), what, Some(hint.to_owned()));
        break;
    }
    cert.zip(key)
        .map(|((cert, _), (key, _))| TlsIdentity { cert, key })
}

/// Reads what is asked of clients' certificates.
pub(crate) fn read_client_certificates(
    walk: &mut Walk<'_>,
    section: &Section<'_, '_>,
    listen: Option<&Listen>,
    has_tls: bool,
) -> Option<ClientCertificates> {
    let ca = section.parsed(walk, "client_ca", values::file);
    let modes = [("require", true), ("optional", false)];
    let is_required = section.choice(walk, "client_certificate", &modes, true);
    let principal = section.parsed(walk, "principal_from_certificate", values::certificate_template);
    if let Some(value) = section.value("client_ca") {
        let listen = listen.map(|listen| (listen.clone(), 0..0));
        needs_tls(
            walk,
            &value.span(),
            "client certificates come with TLS",
            listen.as_ref(),
            has_tls,
        );
    } else {
        for key in ["client_certificate", "principal_from_certificate"] {
            if let Some(value) = section.value(key) {
                let what = format!("`{key}` is not looked at without `client_ca`");
                let hint = "say who signs clients' certificates: `client_ca = \"tls/clients-ca.pem\"`";
                walk.absent(&value.span(), what, Some(hint.to_owned()));
            }
        }
    }
    Some(ClientCertificates {
        ca: ca?.0,
        is_required,
        principal: principal.map(|(template, _)| template),
    })
}

/// Reads who is asked for a token as OAuth does it.
pub(crate) fn read_oauth(
    walk: &mut Walk<'_>,
    target: &Section<'_, '_>,
    issuers: &Taken,
    listen: Option<&Listen>,
    has_tls: bool,
) -> Option<OauthConfig> {
    let value = target.value("oauth")?;
    let Some(table) = value.get_ref().as_table() else {
        let hint = "write `oauth = { issuer = \"sso\", scope = \"openid\" }`".to_owned();
        walk.say(
            &value.span(),
            Show::Line,
            "`oauth` must be a table".to_owned(),
            Some(hint),
        );
        return None;
    };
    if !matches!(listen, Some(Listen::Unix(_))) && !has_tls {
        needs_tls(walk, &value.span(), "tokens cross TLS only", None, has_tls);
    }
    let section = Section::of(walk, "oauth", value.span(), table, OAUTH_KEYS);
    let issuer = section.needed_text(walk, "issuer", "\"sso\"");
    if let Some((issuer, span)) = issuer
        .as_ref()
        .filter(|(issuer, _)| !issuers.holds(issuer) && !issuers.is_partial)
    {
        let mut known: Vec<&str> = issuers.values().collect();
        known.sort_unstable();
        let hint = match nearest(issuer, known.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if known.is_empty() => "there is no [[issuer]]".to_owned(),
            None => format!("there are {}", listed(known, "and")),
        };
        walk.absent(span, format!("there is no issuer {}", quoted(issuer)), Some(hint));
    }
    let scope = section.text(walk, "scope");
    let user = section.text(walk, "user");
    Some(OauthConfig {
        issuer: issuer?.0.to_owned(),
        scope: scope.map_or_else(|| "openid".to_owned(), |(scope, _)| scope.to_owned()),
        user: user.map(|(user, _)| user.to_owned()),
    })
}
