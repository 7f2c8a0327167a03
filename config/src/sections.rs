//! The sections and their keys: `[control]`, `[data]`, `[[issuer]]`, `[[group]]`, `[policy]`, and how they come
//! together. `[[target]]` and `[[label]]` are in `target`.

use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::doors::Doors;
use crate::mistake::{Mistakes, Show, listed, nearest, quoted};
use crate::model::{
    Algorithm, Config, ControlConfig, DataConfig, GroupConfig, IssuerConfig, PolicyConfig, RecordingFull,
    Runtime, StateStore, TlsIdentity, Workers,
};
use crate::section::{Section, Span, Taken, Walk, Wrong, one_of};
use crate::{target, values};

const CONTROL_KEYS: &[&str] = &["listen", "state"];
const DATA_KEYS: &[&str] = &[
    "workers",
    "recordings",
    "tls_cert",
    "tls_key",
    "memory_mb",
    "runtime",
    "drain_seconds",
    "recording_full",
    "recording_buffer",
    "commit_ms",
];
const ISSUER_KEYS: &[&str] = &["name", "url", "audience", "principal", "jwks_url", "algorithms"];
const GROUP_KEYS: &[&str] = &["name", "members"];
const POLICY_KEYS: &[&str] = &["files"];

/// Every section: its name, its title, whether it repeats, and its keys.
pub(crate) const SECTIONS: &[(&str, &str, bool, &[&str])] = &[
    ("control", "[control]", false, CONTROL_KEYS),
    ("data", "[data]", false, DATA_KEYS),
    ("issuer", "[[issuer]]", true, ISSUER_KEYS),
    ("target", "[[target]]", true, target::TARGET_KEYS),
    ("label", "[[label]]", true, target::LABEL_KEYS),
    ("group", "[[group]]", true, GROUP_KEYS),
    ("policy", "[policy]", false, POLICY_KEYS),
];

/// The title of the one section that has this key, for hints about misplaced keys.
pub(crate) fn home_of(key: &str) -> Option<&'static str> {
    let mut homes = SECTIONS.iter().filter(|(_, _, _, keys)| keys.contains(&key));
    homes
        .next()
        .filter(|_| homes.next().is_none())
        .map(|(_, title, _, _)| *title)
}

impl Config {
    /// Reads and checks the text of a `linegate.toml`, which messages call `path_label`.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn parse(text: &str, path_label: &str) -> Result<Self, Mistakes> {
        let mut walk = Walk::new(text);
        let (root, errors) = DeTable::parse_recoverable(text);
        walk.syntax(&errors);
        let config = read(&mut walk, root.get_ref());
        let mistakes = walk.finish(errors.len());
        match config {
            Some(config) if mistakes.is_empty() => Ok(config),
            _ => {
                // A section is only given up after a mistake was noted; should that ever fail, it must not pass.
                assert!(
                    !mistakes.is_empty(),
                    "a configuration was refused without a reason"
                );
                Err(Mistakes {
                    path: path_label.to_owned(),
                    mistakes,
                })
            }
        }
    }
}

/// Reads all sections; `None` after a mistake that leaves a hole.
fn read(walk: &mut Walk<'_>, root: &DeTable<'_>) -> Option<Config> {
    for key in root.keys() {
        let typed = key.get_ref().as_ref();
        if SECTIONS.iter().any(|(name, ..)| *name == typed) {
            continue;
        }
        let (what, hint) = match (
            nearest(typed, SECTIONS.iter().map(|(name, ..)| *name)),
            home_of(typed),
        ) {
            (Some(meant), _) => ("unknown section", format!("did you mean {}?", title_of(meant))),
            (None, Some(home)) => ("unknown section", format!("`{typed}` belongs in {home}")),
            (None, None) => (
                "unknown section",
                format!(
                    "there are {}",
                    listed(SECTIONS.iter().map(|(_, title, ..)| *title), "and")
                ),
            ),
        };
        walk.say(
            &key.span(),
            Show::Key,
            format!("{what} {}", quoted(typed)),
            Some(hint),
        );
    }
    let empty = DeTable::new();
    let [control, data, policy] = ["control", "data", "policy"].map(|name| single(walk, root, name));
    let control = control.unwrap_or((&empty, 0..0));
    let data = data.unwrap_or((&empty, 0..0));
    let mut doors = Doors::default();
    let control = read_control(walk, &mut doors, control.1, control.0);
    let data = read_data(walk, data.1, data.0);
    let has_tls = data.as_ref().is_none_or(|data| data.tls.is_some());

    let mut names = Taken::default();
    let issuers = read_each(walk, root, "issuer", ISSUER_KEYS, |walk, section| {
        read_issuer(walk, section, &mut names)
    });
    let mut targets = Taken::default();
    let targets_read = read_each(walk, root, "target", target::TARGET_KEYS, |walk, section| {
        target::read_target(walk, section, &mut targets, &mut doors, &names, has_tls)
    });
    let mut columns = target::Labelled::default();
    let labels = read_each(walk, root, "label", target::LABEL_KEYS, |walk, section| {
        target::read_label(walk, section, &targets, &mut columns)
    });
    let mut names = Taken::default();
    let groups = read_each(walk, root, "group", GROUP_KEYS, |walk, section| {
        read_group(walk, section, &mut names)
    });
    let policy = policy
        .map(|(table, span)| read_policy(walk, span, table))
        .unwrap_or_default();
    Some(Config {
        control: control?,
        data: data?,
        issuers: issuers?,
        targets: targets_read?,
        labels: labels?,
        groups: groups?,
        policy,
    })
}

/// How messages call a section.
fn title_of(name: &str) -> &'static str {
    SECTIONS
        .iter()
        .find(|(one, ..)| *one == name)
        .map_or("", |(_, title, ..)| title)
}

/// A section that occurs once.
fn single<'a, 't>(walk: &mut Walk<'_>, root: &'a DeTable<'t>, name: &str) -> Option<(&'a DeTable<'t>, Span)> {
    let value = root.get(name)?;
    let table = value.get_ref().as_table();
    if table.is_none() {
        let what = format!("`{name}` must be the section {}", title_of(name));
        let hint = format!("write `[{name}]` in single brackets, once");
        walk.say(&value.span(), Show::Line, what, Some(hint));
    }
    Some((table?, value.span()))
}

/// Reads every occurrence of a section that repeats; `None` when one of them could not be read.
fn read_each<'t, T>(
    walk: &mut Walk<'_>,
    root: &DeTable<'t>,
    name: &str,
    keys: &[&'static str],
    mut read: impl FnMut(&mut Walk<'_>, &Section<'_, 't>) -> Option<T>,
) -> Option<Vec<T>> {
    let title = title_of(name);
    let mut is_whole = true;
    let mut all = Vec::new();
    let Some(value) = root.get(name) else {
        return Some(all);
    };
    let mut each = |walk: &mut Walk<'_>, value: &Spanned<DeValue<'t>>| {
        let Some(table) = value.get_ref().as_table() else {
            walk.say(
                &value.span(),
                Show::Line,
                format!("`{name}` must be sections {title}"),
                None,
            );
            return is_whole = false;
        };
        let section = Section::of(walk, title, value.span(), table, keys);
        match read(walk, &section) {
            Some(one) => all.push(one),
            None => is_whole = false,
        }
    };
    match value.get_ref() {
        DeValue::Array(list) => list.iter().for_each(|value| each(walk, value)),
        DeValue::Table(_) => {
            let hint = format!("write `[[{name}]]`: the section may occur several times");
            walk.say(
                &value.span(),
                Show::Line,
                format!("`{name}` needs double brackets"),
                Some(hint),
            );
            each(walk, value);
        }
        _ => each(walk, value),
    }
    is_whole.then_some(all)
}

fn read_control(
    walk: &mut Walk<'_>,
    doors: &mut Doors,
    span: Span,
    table: &DeTable<'_>,
) -> Option<ControlConfig> {
    let section = Section::of(walk, "[control]", span, table, CONTROL_KEYS);
    let listen = section.parsed(walk, "listen", values::listen);
    if let Some((listen, span)) = &listen {
        doors.take_control(walk, *listen, span);
    }
    let state = section.parsed(walk, "state", values::state);
    let default = StateStore::Sqlite(PathBuf::from("state.db"));
    Some(ControlConfig {
        listen: listen.map(|(listen, _)| listen),
        state: state.map_or(default, |(state, _)| state),
    })
}

fn read_data(walk: &mut Walk<'_>, span: Span, table: &DeTable<'_>) -> Option<DataConfig> {
    let section = Section::of(walk, "[data]", span, table, DATA_KEYS);
    let workers = match section.value("workers") {
        Some(value) if value.get_ref().is_integer() => {
            let count = section.bounded(walk, "workers", 1..=256, "\"auto\"");
            count.map_or(Workers::Auto, |count| Workers::Count(count as u16))
        }
        Some(_) => section.choice(walk, "workers", &[("auto", Workers::Auto)], Workers::Auto),
        None => Workers::Auto,
    };
    let recordings = section.parsed(walk, "recordings", values::directory);
    let cert = section.parsed(walk, "tls_cert", values::file);
    let key = section.parsed(walk, "tls_key", values::file);
    for (one, other) in [("tls_cert", "tls_key"), ("tls_key", "tls_cert")] {
        if let (Some(value), None) = (section.value(one), section.value(other)) {
            let what = format!("`{one}` without `{other}`");
            walk.absent(
                &value.span(),
                what,
                Some("give both, or none for no TLS".to_owned()),
            );
        }
    }
    let tls = cert
        .zip(key)
        .map(|((cert, _), (key, _))| TlsIdentity { cert, key });
    let runtimes = [
        ("auto", Runtime::Auto),
        ("epoll", Runtime::Epoll),
        ("io_uring", Runtime::IoUring),
    ];
    let full = [("pause", RecordingFull::Pause), ("shape", RecordingFull::Shape)];
    let data = DataConfig {
        workers,
        recordings: recordings.map_or_else(|| PathBuf::from("recordings/"), |(path, _)| path),
        memory_mb: section.number(walk, "memory_mb", 16..=65_536, 256),
        runtime: section.choice(walk, "runtime", &runtimes, Runtime::Auto),
        drain_seconds: section.number(walk, "drain_seconds", 0..=86_400, 20),
        recording_full: section.choice(walk, "recording_full", &full, RecordingFull::Pause),
        recording_buffer: section.number(walk, "recording_buffer", 64..=1_048_576, 16_384),
        commit_ms: section.number(walk, "commit_ms", 1..=1000, 20),
        tls,
    };
    // Half of an identity was a mistake already: the targets need not be told that there is no TLS.
    let is_broken =
        data.tls.is_none() && (section.value("tls_cert").is_some() || section.value("tls_key").is_some());
    (!is_broken).then_some(data)
}

fn read_issuer(walk: &mut Walk<'_>, section: &Section<'_, '_>, names: &mut Taken) -> Option<IssuerConfig> {
    let name = section.needed(walk, "name", "\"github\"", values::name);
    match &name {
        Some((name, span)) => names.take(walk, name, span, "an issuer's name"),
        None => names.is_partial = true,
    }
    let url = section.needed(walk, "url", "\"https://…\"", values::url);
    let audience = section.needed_text(walk, "audience", "\"linegate\"");
    let principal = section.needed(walk, "principal", "\"{sub}\"", values::template);
    let jwks_url = section.parsed(walk, "jwks_url", values::url);
    let algorithms = match section.value("algorithms") {
        Some(_) => section.needed_list(walk, "algorithms", "[\"RS256\", \"ES256\"]", algorithm),
        None => vec![(Algorithm::RS256, 0..0), (Algorithm::ES256, 0..0)],
    };
    Some(IssuerConfig {
        name: name?.0,
        url: url?.0,
        audience: audience?.0.to_owned(),
        principal: principal?.0,
        jwks_url: jwks_url.map(|(url, _)| url),
        algorithms: algorithms.into_iter().map(|(algorithm, _)| algorithm).collect(),
    })
}

fn algorithm(text: &str) -> Result<Algorithm, Wrong> {
    one_of("algorithms", Algorithm::NAMES, text).map_err(|wrong| match text {
        "HS256" | "HS384" | "HS512" | "none" => {
            let all = listed(Algorithm::NAMES.iter().map(|(name, _)| *name), "or");
            let what = format!(
                "{} proves nothing: only the issuer may be able to sign",
                quoted(text)
            );
            Wrong::new(what, format!("it can be {all}"))
        }
        _ => wrong,
    })
}

fn read_group(walk: &mut Walk<'_>, section: &Section<'_, '_>, names: &mut Taken) -> Option<GroupConfig> {
    let name = section.needed(walk, "name", "\"oncall\"", values::name);
    if let Some((name, span)) = &name {
        names.take(walk, name, span, "a group's name");
    }
    if section.value("members").is_none() {
        section.missing(walk, "members", "[\"user:…\"]");
    }
    let mut members = Vec::new();
    for (text, span) in section.texts(walk, "members").unwrap_or_default().0 {
        match values::member(text) {
            Ok(member) if members.contains(&member) => {
                walk.say(
                    &span,
                    Show::Line,
                    format!("{} is a member twice", quoted(text)),
                    None,
                );
            }
            Ok(member) => members.push(member),
            Err(wrong) => walk.wrong(&span, wrong),
        }
    }
    Some(GroupConfig {
        name: name?.0,
        members,
    })
}

fn read_policy(walk: &mut Walk<'_>, span: Span, table: &DeTable<'_>) -> PolicyConfig {
    let section = Section::of(walk, "[policy]", span, table, POLICY_KEYS);
    let files = section.needed_list(walk, "files", "[\"policies/*.cedar\"]", values::policy_file);
    PolicyConfig {
        files: files.into_iter().map(|(file, _)| file).collect(),
    }
}
