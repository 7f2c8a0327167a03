//! `[[target]]` and `[[label]]`: the protected servers and what is sensitive in them.

use std::collections::HashMap;

use masking_simd::{Detectors, Entity};

use crate::doors::{self, Doors};
use crate::mistake::{Show, listed, nearest, quoted};
use crate::model::{
    Address, ClientTls, ColumnName, Credential, HoldInTransaction, LabelConfig, OnDetect, Protocol,
    RecordLevel, TargetConfig, TlsIdentity, TlsMode, WarmPool, WarmShare,
};
use crate::redact::{self, Redact};
use crate::section::{Section, Taken, Walk, Wrong, one_of};
use crate::values;

pub(crate) const TARGET_KEYS: &[&str] = &[
    "name",
    "protocol",
    "listen",
    "server_names",
    "database_names",
    "address",
    "database",
    "catalog_channel",
    "tls",
    "tls_ca",
    "credential",
    "record",
    "client_tls",
    "client_tls_cert",
    "client_tls_key",
    "client_ca",
    "client_certificate",
    "principal_from_certificate",
    "oauth",
    "hold_seconds",
    "hold_in_transaction",
    "connect_seconds",
    "startup_seconds",
    "max_sessions",
    "warm_pool",
    "warm_pool_seconds",
    "warm_pool_share",
    "row_bytes_max_mb",
    "statement_bytes_max_mb",
    "detect",
    "on_detect",
];
pub(crate) const LABEL_KEYS: &[&str] = &["name", "target", "columns", "paths", "redact"];
const CREDENTIAL_KEYS: &[&str] = &["user", "password", "tls_cert", "tls_key"];

/// Protocols that are planned: a wish for one of them is not a slip.
const LATER_PROTOCOLS: &[&str] = &["mysql", "mariadb", "ssh", "kubernetes", "git"];

/// Reads a target. `issuers` are the names of those there are; `has_tls` says whether clients can be offered TLS.
pub(crate) fn read_target(
    walk: &mut Walk<'_>,
    section: &Section<'_, '_>,
    names: &mut Taken,
    doors: &mut Doors,
    issuers: &Taken,
    has_tls: bool,
) -> Option<TargetConfig> {
    let name = section.needed(walk, "name", "\"prod\"", values::target_name);
    match &name {
        Some((name, span)) => names.take(walk, name, span, "a target's name"),
        None => names.is_partial = true,
    }
    let protocol = section.needed(walk, "protocol", "\"postgres\"", protocol);
    let listen = doors::read_listen(walk, section, doors, has_tls);
    let door = listen.as_ref().map(|(listen, _)| listen);
    let address = section.needed(walk, "address", "\"10.0.0.5:5432\"", values::address);
    let database = section.text(walk, "database");
    let catalog_channel = section.parsed(walk, "catalog_channel", values::channel);
    let is_local = matches!(&address, Some((Address::Unix(_), _)));
    let tls = read_tls(walk, section, is_local);
    let tls_ca = section.parsed(walk, "tls_ca", values::file);
    let is_checked = matches!(tls, TlsMode::VerifyCa | TlsMode::VerifyFull);
    if let (Some((_, span)), false) = (&tls_ca, is_checked) {
        let hint = "set `tls = \"verify-full\"` (or \"verify-ca\"), or leave `tls_ca` out".to_owned();
        walk.say(
            span,
            Show::Line,
            "`tls_ca` is not looked at with this `tls`".to_owned(),
            Some(hint),
        );
    }
    if let (Some(value), TlsMode::VerifyCa, None) = (section.value("tls"), tls, &section.value("tls_ca")) {
        let what = "`verify-ca` without `tls_ca` would take anybody with a certificate of a public authority";
        let hint = "name the authority: `tls_ca = \"tls/prod-ca.pem\"`, or set `verify-full`";
        walk.absent(&value.span(), what.to_owned(), Some(hint.to_owned()));
    }
    let credential = read_credential(walk, section, tls);
    let levels = [
        ("statements", RecordLevel::Statements),
        ("shape", RecordLevel::Shape),
        ("rows", RecordLevel::Rows),
    ];
    let record = section.choice(walk, "record", &levels, RecordLevel::Statements);
    let client = [("optional", ClientTls::Optional), ("require", ClientTls::Require)];
    let client_tls = section.choice(walk, "client_tls", &client, ClientTls::Optional);
    if let (Some(value), ClientTls::Require, false) = (section.value("client_tls"), client_tls, has_tls) {
        let hint = "give `tls_cert` and `tls_key` in [data]".to_owned();
        let what = "no client could connect: TLS is required but there is no certificate".to_owned();
        walk.absent(&value.span(), what, Some(hint));
    }
    let client_identity = doors::read_client_identity(walk, section, has_tls);
    let client_certificates = doors::read_client_certificates(walk, section, door, has_tls);
    let oauth = doors::read_oauth(walk, section, issuers, door, has_tls);
    let inside = [
        ("refuse", HoldInTransaction::Refuse),
        ("wait", HoldInTransaction::Wait),
    ];
    let hold_in_transaction = section.choice(walk, "hold_in_transaction", &inside, HoldInTransaction::Refuse);
    let hold_seconds = section.number(walk, "hold_seconds", 1..=86_400, 600);
    let connect_seconds = section.number(walk, "connect_seconds", 1..=300, 5);
    let startup_seconds = section.number(walk, "startup_seconds", 1..=300, 8);
    let max_sessions = section.number(walk, "max_sessions", 1..=1_000_000, 10_000);
    let warm_pool = read_warm_pool(walk, section);
    let row_bytes_max_mb = section.number(walk, "row_bytes_max_mb", 1..=1024, 64);
    let statement_bytes_max_mb = section.number(walk, "statement_bytes_max_mb", 1..=1024, 16);
    let (detect, on_detect) = read_detectors(walk, section);
    let (listen, names) = listen?;
    Some(TargetConfig {
        name: name?.0,
        protocol: protocol?.0,
        listen,
        server_names: names.server,
        database_names: names.database,
        address: address?.0,
        database: database.map(|(database, _)| database.to_owned()),
        catalog_channel: catalog_channel.map(|(channel, _)| channel),
        tls,
        tls_ca: tls_ca.map(|(path, _)| path),
        credential: credential?,
        record,
        client_tls,
        client_identity,
        client_certificates,
        oauth,
        hold_seconds,
        hold_in_transaction,
        connect_seconds,
        startup_seconds,
        max_sessions,
        warm_pool,
        row_bytes_max_mb,
        statement_bytes_max_mb,
        detect,
        on_detect,
    })
}

/// TLS towards the server.
fn read_tls(walk: &mut Walk<'_>, section: &Section<'_, '_>, is_local: bool) -> TlsMode {
    const MODES: [(&str, TlsMode); 5] = [
        ("disable", TlsMode::Disable),
        ("prefer", TlsMode::Prefer),
        ("require", TlsMode::Require),
        ("verify-ca", TlsMode::VerifyCa),
        ("verify-full", TlsMode::VerifyFull),
    ];
    let read = |text: &str| match text {
        "allow" => Err(Wrong::new(
            "`tls` cannot be `allow`: it would show the login to everybody on the line before it tries TLS",
            "`prefer` is as lenient, and encrypts wherever the server can",
        )),
        _ => one_of("tls", &MODES, text),
    };
    let tls = section.parsed(walk, "tls", read);
    match tls {
        Some((tls, span)) if is_local && tls != TlsMode::Disable => {
            let what = "`tls` cannot be had over a Unix socket".to_owned();
            walk.say(&span, Show::Line, what, Some("leave it out".to_owned()));
            TlsMode::Disable
        }
        Some((tls, _)) => tls,
        None if is_local => TlsMode::Disable,
        None => TlsMode::Prefer,
    }
}

/// Server connections that are kept when their sessions have ended.
fn read_warm_pool(walk: &mut Walk<'_>, section: &Section<'_, '_>) -> WarmPool {
    let connections = section.number(walk, "warm_pool", 0..=1024, 0);
    let seconds = section.number(walk, "warm_pool_seconds", 1..=3600, 60);
    let shares = [("lease", WarmShare::Lease), ("principal", WarmShare::Principal)];
    let share = section.choice(walk, "warm_pool_share", &shares, WarmShare::Lease);
    if connections == 0 {
        let said = section.value("warm_pool");
        for key in ["warm_pool_seconds", "warm_pool_share"] {
            if let (Some(value), None) = (section.value(key), &said) {
                walk.absent(
                    &value.span(),
                    format!("`{key}` is not looked at without `warm_pool`"),
                    Some("say how many connections are kept, such as `warm_pool = 8`".to_owned()),
                );
            }
        }
    }
    WarmPool {
        connections,
        seconds,
        share,
    }
}

/// What is looked for in text that no label covers, and what happens when it is found.
fn read_detectors(walk: &mut Walk<'_>, section: &Section<'_, '_>) -> (Detectors, OnDetect) {
    let mut detect = Detectors::NONE;
    for (name, span) in section
        .texts(walk, "detect")
        .map_or(Vec::new(), |(names, _)| names)
    {
        match detectors(name) {
            Ok(more) => detect = detect.iter().chain(more.iter()).collect(),
            Err(wrong) => walk.wrong(&span, wrong),
        }
    }
    let actions = [
        ("count", OnDetect::Count),
        ("redact", OnDetect::Redact),
        ("end", OnDetect::End),
    ];
    let on_detect = section.choice(walk, "on_detect", &actions, OnDetect::Count);
    if let (Some(value), None) = (section.value("on_detect"), section.value("detect")) {
        walk.absent(
            &value.span(),
            "`on_detect` is not looked at without `detect`".to_owned(),
            Some("say what to look for, such as `detect = [\"personal\", \"credentials\"]`".to_owned()),
        );
    }
    (detect, on_detect)
}

/// One detector or a group of them.
fn detectors(name: &str) -> Result<Detectors, Wrong> {
    const GROUPS: [(&str, Detectors); 3] = [
        ("personal", Detectors::PERSONAL),
        ("credentials", Detectors::CREDENTIALS),
        ("all", Detectors::ALL),
    ];
    if let Some((_, group)) = GROUPS.iter().find(|(group, _)| *group == name) {
        return Ok(*group);
    }
    if let Some(entity) = Entity::from_name(name) {
        return Ok(Detectors::NONE.with(entity));
    }
    let names = || {
        GROUPS
            .iter()
            .map(|(group, _)| *group)
            .chain(Entity::ALL.iter().map(|entity| entity.name()))
    };
    let hint = match nearest(name, names()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("it can be {}", listed(names(), "or")),
    };
    Err(Wrong::new(format!("there is no detector {}", quoted(name)), hint))
}

fn protocol(text: &str) -> Result<Protocol, Wrong> {
    if LATER_PROTOCOLS.contains(&text) {
        let what = format!("{} is not available in this version", quoted(text));
        return Err(Wrong::new(what, "it can be `postgres`"));
    }
    match text {
        "postgresql" | "pg" => Err(Wrong::new(
            format!("`protocol` cannot be {}", quoted(text)),
            "did you mean `postgres`?",
        )),
        _ => one_of("protocol", &[("postgres", Protocol::Postgres)], text),
    }
}

fn read_credential(walk: &mut Walk<'_>, target: &Section<'_, '_>, tls: TlsMode) -> Option<Credential> {
    const EXAMPLE: &str = "{ user = \"…\", password = \"file:/path\" }";
    let Some(value) = target.value("credential") else {
        target.missing(walk, "credential", EXAMPLE);
        return None;
    };
    let Some(table) = value.get_ref().as_table() else {
        let hint = Some(format!("write `credential = {EXAMPLE}`"));
        walk.say(
            &value.span(),
            Show::Nothing,
            "`credential` must be a table".to_owned(),
            hint,
        );
        return None;
    };
    let section = Section::of(walk, "credential", value.span(), table, CREDENTIAL_KEYS).secret();
    let user = section.needed_text(walk, "user", "\"…\"");
    let password = section.parsed(walk, "password", values::secret);
    let password = password.map(|(password, _)| password);
    let cert = section.parsed(walk, "tls_cert", values::file);
    let key = section.parsed(walk, "tls_key", values::file);
    for (one, other) in [("tls_cert", "tls_key"), ("tls_key", "tls_cert")] {
        match (section.value(one), section.value(other)) {
            (Some(value), None) => {
                let hint = Some("give both, or none to show the server no certificate".to_owned());
                walk.say(
                    &value.span(),
                    Show::Nothing,
                    format!("`{one}` without `{other}`"),
                    hint,
                );
            }
            (Some(value), _) if one == "tls_cert" && tls == TlsMode::Disable => {
                let what = "a certificate can be shown to the server over TLS only".to_owned();
                let hint =
                    Some("set `tls` to `require` or more, or leave `tls_cert` and `tls_key` out".to_owned());
                walk.say(&value.span(), Show::Nothing, what, hint);
            }
            _ => {}
        }
    }
    let certificate = cert.zip(key);
    Some(Credential {
        user: user?.0.to_owned(),
        password,
        certificate: certificate.map(|((cert, _), (key, _))| TlsIdentity { cert, key }),
    })
}

/// Labelled columns: by target and column, what was said first.
#[derive(Default)]
pub(crate) struct Labelled(HashMap<(String, ColumnName), First>);

struct First {
    label: String,
    redact: Redact,
    has_paths: bool,
    line: u32,
}

/// Reads a label.
pub(crate) fn read_label(
    walk: &mut Walk<'_>,
    section: &Section<'_, '_>,
    targets: &Taken,
    labelled: &mut Labelled,
) -> Option<LabelConfig> {
    let name = section.needed(walk, "name", "\"pii\"", values::name);
    let target = section.needed_text(walk, "target", "\"prod\"");
    if let Some((target, span)) = target
        .as_ref()
        .filter(|(target, _)| !targets.holds(target) && !targets.is_partial)
    {
        let mut known: Vec<&str> = targets.values().collect();
        known.sort_unstable();
        let hint = match nearest(target, known.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if known.is_empty() => "there is no [[target]]".to_owned(),
            None => format!("there are {}", listed(known, "and")),
        };
        walk.absent(span, format!("there is no target {}", quoted(target)), Some(hint));
    }
    let columns = section.needed_list(walk, "columns", "[\"schema.table.column\"]", values::column);
    let has_paths = section.value("paths").is_some();
    let paths = if has_paths {
        section.needed_list(walk, "paths", "[\"$.name\"]", redact::json_path)
    } else {
        Vec::new()
    };
    let redact = section.parsed(walk, "redact", redact::redact);
    let fits = match &redact {
        Some((redact, _)) => redact.fits_paths(),
        None => section.value("redact").is_some(), // unreadable: a mistake already
    };
    if let (Some(value), false) = (section.value("paths"), fits) {
        let hint = "say what becomes of the values in the document: `redact = \"null\"`, `blank`, `pseudonym` or `constant:TEXT`";
        walk.absent(
            &value.span(),
            "`paths` need a `redact` that fits a value in JSON".to_owned(),
            Some(hint.to_owned()),
        );
    }
    let redact = redact.map_or(Redact::Blank, |(redact, _)| redact);
    if let (Some((name, _)), Some((target, _))) = (&name, &target) {
        for (column, span) in &columns {
            let key = ((*target).to_owned(), column.clone());
            let line = walk.line_of(span);
            let Some(first) = labelled.0.get(&key) else {
                labelled.0.insert(
                    key,
                    First {
                        label: name.clone(),
                        redact: redact.clone(),
                        has_paths,
                        line,
                    },
                );
                continue;
            };
            // Two labels may share a column, and two sets of paths; what it becomes must not depend on their order.
            let twice = first.label == *name && !(first.has_paths && has_paths);
            let (what, hint) = match (first.redact == redact, twice) {
                (true, false) => continue,
                (true, true) => (format!("has label `{name}` on line {} already", first.line), None),
                (false, _) => (
                    format!("is `{}` on line {} but `{redact}` here", first.redact, first.line),
                    Some("give a column one redaction".to_owned()),
                ),
            };
            walk.say(
                span,
                Show::Line,
                format!("{} {what}", quoted(&column.to_string())),
                hint,
            );
        }
    }
    Some(LabelConfig {
        name: name?.0,
        target: target?.0.to_owned(),
        columns: columns.into_iter().map(|(column, _)| column).collect(),
        paths: paths.into_iter().map(|(path, _)| path).collect(),
        redact,
    })
}
