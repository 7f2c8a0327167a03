//! Configurations and what is said about them.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::*;

mod checks_tests;
mod doors_tests;
mod label_tests;

const EXAMPLE: &str = include_str!("../linegate.example.toml");

const TARGET: &str = "[[target]]\nname = \"prod\"\nprotocol = \"postgres\"\nlisten = \"127.0.0.1:6432\"\n\
    address = \"db.internal:5432\"\ncredential = { user = \"app\" }\n";

/// A target with these lines more; the first of them is line 7.
fn target_with(lines: &str) -> String {
    format!("{TARGET}{lines}\n")
}

/// The target without its line about `key`, and these lines more; the first of them is line 6.
fn target_without(key: &str, lines: &str) -> String {
    let kept: Vec<&str> = TARGET.lines().filter(|line| !line.starts_with(key)).collect();
    assert_eq!(kept.len(), 5, "{key}");
    format!("{}\n{lines}\n", kept.join("\n"))
}

/// The target (lines 1 to 6) and these lines.
fn beside_target(lines: &str) -> String {
    target_with(lines)
}

#[track_caller]
fn accepted(text: &str) -> Config {
    match Config::parse(text, "linegate.toml") {
        Ok(config) => config,
        Err(mistakes) => panic!("{mistakes}"),
    }
}

#[track_caller]
fn refused(text: &str) -> Vec<Mistake> {
    Config::parse(text, "linegate.toml")
        .expect_err("a mistake in the configuration")
        .mistakes
}

/// Exactly one mistake: on this line, saying this, hinting at that.
#[track_caller]
fn check(text: &str, line: u32, what: &str, hint: &str) {
    let mistakes = refused(text);
    let [mistake] = mistakes.as_slice() else {
        panic!("not one mistake but {mistakes:#?}")
    };
    assert_eq!(mistake.line, line, "{mistake:?}");
    assert!(mistake.what.contains(what), "{mistake:?}");
    assert!(
        mistake.hint.as_deref().unwrap_or_default().contains(hint),
        "{mistake:?}"
    );
}

#[test]
fn the_example_has_no_mistake_and_says_what_it_seems_to_say() {
    let config = accepted(EXAMPLE);
    assert_eq!(config.control.listen, "127.0.0.1:7443".parse().ok());
    let prod = config.target("prod").unwrap();
    assert_eq!(
        prod.address,
        Address::Tcp(HostPort {
            host: "10.0.0.5".into(),
            port: 5432
        })
    );
    assert_eq!(
        (prod.record, prod.tls, prod.client_tls),
        (RecordLevel::Rows, TlsMode::VerifyFull, ClientTls::Require)
    );
    let wanted = Detectors::CREDENTIALS.with(Entity::Card).with(Entity::Ssn);
    assert_eq!((prod.detect, prod.on_detect), (wanted, OnDetect::Count));
    let password = Some(SecretSource::File("/run/credentials/prod".into()));
    assert_eq!(
        prod.credential,
        Credential {
            user: "app".into(),
            password,
            certificate: None,
        }
    );
    let redacts: Vec<_> = config
        .labels_of("prod")
        .map(|label| (label.columns.len(), label.redact.clone()))
        .collect();
    assert_eq!(
        redacts,
        [
            (2, Redact::KeepLast(4)),
            (1, Redact::KeepDomain),
            (1, Redact::Null)
        ]
    );
    let paths: Vec<_> = config.labels[2]
        .paths
        .iter()
        .map(|path| path.steps().join("/"))
        .collect();
    assert_eq!(paths, ["tax_id", "home/street", "cards/[*]/number"]);
    assert_eq!(config.issuers[0].algorithms, [Algorithm::RS256, Algorithm::ES256]);
    let groups: Vec<_> = config.groups_of(MemberKind::User, "oncall@example.com").collect();
    assert_eq!(groups, ["oncall"]);
    assert_eq!(
        config
            .groups_of(MemberKind::Workload, "oncall@example.com")
            .count(),
        0
    );
    assert_eq!(config.policy.files, ["policies/*.cedar"]);
}

/// A key that is commented out must show the true default, so uncommenting all of them changes nothing.
#[test]
fn the_examples_commented_keys_show_the_defaults() {
    // These have no default: without them there is none of it.
    let shown = [
        "jwks_url",
        "server_names",
        "database_names",
        "client_tls_cert",
        "client_tls_key",
        "client_ca",
        "client_certificate",
        "principal_from_certificate",
        "oauth",
    ];
    let is_key = |rest: &str| {
        rest.split_once(" = ")
            .is_some_and(|(key, _)| !key.contains(' ') && !shown.contains(&key))
    };
    let lines: Vec<&str> = EXAMPLE
        .lines()
        .map(|line| {
            line.strip_prefix("# ")
                .filter(|rest| is_key(rest))
                .unwrap_or(line)
        })
        .collect();
    let changed = lines
        .iter()
        .zip(EXAMPLE.lines())
        .filter(|(line, before)| *line != before)
        .count();
    assert_eq!(changed, 21, "keys with a default");
    let all = lines.join("\n");
    assert_eq!(accepted(&all), accepted(EXAMPLE));
}

#[test]
fn the_example_names_every_key() {
    for (_, title, _, keys) in crate::sections::SECTIONS {
        for key in *keys {
            let is_named = EXAMPLE.lines().any(|line| {
                line.trim_start_matches("# ")
                    .strip_prefix(key)
                    .is_some_and(|rest| rest.starts_with(" = "))
            });
            assert!(is_named, "{title} {key}");
        }
    }
}

#[test]
fn defaults() {
    let config = accepted("");
    assert_eq!(
        config.control,
        ControlConfig {
            listen: None,
            state: StateStore::Sqlite("state.db".into())
        }
    );
    let data = DataConfig {
        workers: Workers::Auto,
        recordings: "recordings/".into(),
        tls: None,
        memory_mb: 256,
        runtime: Runtime::Auto,
        drain_seconds: 20,
        recording_full: RecordingFull::Pause,
        recording_buffer: 16_384,
        commit_ms: 20,
    };
    assert_eq!(config.data, data);
    assert_eq!(data.memory_bytes_max(), 256 << 20);
    let target = TargetConfig {
        name: "prod".into(),
        protocol: Protocol::Postgres,
        listen: Listen::Tcp("127.0.0.1:6432".parse().unwrap()),
        server_names: Vec::new(),
        database_names: Vec::new(),
        address: Address::Tcp(HostPort {
            host: "db.internal".into(),
            port: 5432,
        }),
        database: None,
        catalog_channel: None,
        tls: TlsMode::Prefer,
        tls_ca: None,
        credential: Credential {
            user: "app".into(),
            password: None,
            certificate: None,
        },
        record: RecordLevel::Statements,
        client_tls: ClientTls::Optional,
        client_identity: None,
        client_certificates: None,
        oauth: None,
        hold_seconds: 600,
        hold_in_transaction: HoldInTransaction::Refuse,
        connect_seconds: 5,
        startup_seconds: 8,
        max_sessions: 10_000,
        warm_pool: WarmPool {
            connections: 0,
            seconds: 60,
            share: WarmShare::Lease,
        },
        row_bytes_max_mb: 64,
        statement_bytes_max_mb: 16,
        detect: Detectors::NONE,
        on_detect: OnDetect::Count,
    };
    assert_eq!(
        (target.row_bytes_max(), target.statement_bytes_max()),
        (64 << 20, 16 << 20)
    );
    assert_eq!(accepted(TARGET).targets, [target]);
    let label = accepted(&beside_target(
        "[[label]]\nname='pii'\ntarget='prod'\ncolumns=['a.b.c']",
    ));
    assert_eq!(label.labels[0].redact, Redact::Blank);
}

#[test]
fn values_that_are_given_are_taken() {
    let data = "[data]\nworkers = 0x10\nrecordings = '/srv/r'\ntls_cert = 'c'\ntls_key = 'k'\nmemory_mb = 1_024\n\
        runtime = 'io_uring'\ndrain_seconds = 0\nrecording_full = 'shape'\nrecording_buffer = 64\ncommit_ms = 1000\n";
    let data = accepted(data).data;
    assert_eq!(
        (data.workers, data.memory_mb, data.drain_seconds),
        (Workers::Count(16), 1024, 0)
    );
    assert_eq!(
        (data.runtime, data.recording_full),
        (Runtime::IoUring, RecordingFull::Shape)
    );
    assert_eq!((data.recording_buffer, data.commit_ms), (64, 1000));
    assert_eq!(data.recordings, Path::new("/srv/r"));
    assert_eq!(
        data.tls,
        Some(TlsIdentity {
            cert: "c".into(),
            key: "k".into()
        })
    );
    let state = accepted("[control]\nstate = 'sqlite:/var/lib/x.db'")
        .control
        .state;
    assert_eq!(state, StateStore::Sqlite("/var/lib/x.db".into()));
    for (address, host, port) in [
        ("[::1]:5432", "::1", 5432),
        ("127.0.0.1:1", "127.0.0.1", 1),
        ("db:65535", "db", 65535),
    ] {
        let config = accepted(&target_without("address", &format!("address = '{address}'")));
        assert_eq!(
            config.targets[0].address,
            Address::Tcp(HostPort {
                host: host.into(),
                port
            })
        );
        assert_eq!(config.targets[0].address.to_string(), address);
    }
    for (text, source) in [
        ("file:/run/x", SecretSource::File("/run/x".into())),
        ("env:PROD_PASSWORD", SecretSource::Env("PROD_PASSWORD".into())),
        ("credential:prod", SecretSource::Credential("prod".into())),
    ] {
        let config = accepted(&target_without(
            "credential",
            &format!("credential = {{ user = 'a', password = '{text}' }}"),
        ));
        assert_eq!(config.targets[0].credential.password, Some(source.clone()));
        assert_eq!(source.to_string(), text);
    }
    let config = accepted(&target_without(
        "credential",
        "[target.credential]\nuser = 'a'\npassword = 'env:X'",
    ));
    assert_eq!(config.targets[0].credential.user, "a");
    let columns = r#"[[label]]
name = "pii"
target = "prod"
columns = ["app.t.c_1", '"App"."odd.table"."a ""b"""', "app.größe.x$"]
redact = "keep-last-8""#;
    let label = &accepted(&beside_target(columns)).labels[0];
    let odd = ColumnName {
        schema: "App".into(),
        table: "odd.table".into(),
        column: "a \"b\"".into(),
    };
    assert_eq!((&label.redact, &label.columns[1]), (&Redact::KeepLast(8), &odd));
    assert_eq!(label.columns[2].to_string(), "app.größe.x$");
}

#[test]
fn all_mistakes_are_reported_at_once_with_their_lines() {
    let text = r#"[control]
lisen = "127.0.0.1:7443"
state = "postgres://db/linegate"

[data]
workers = 0
runtime = "iouring"
tls_cert = "cert.pem"

[[target]]
name = "Prod"
protocol = "mysql"
listen = ":6432"
address = "10.0.0.5"
credential = { user = "app", password = "hunter2" }
record = true

[[label]]
name = "pii"
target = "stage"
columns = ["customers.ssn", "app.customers.card"]
redact = "keep-last-9"

[[isuer]]
name = "github"

[policy]
files = []
"#;
    let mistakes = refused(text);
    let lines: Vec<u32> = mistakes.iter().map(|mistake| mistake.line).collect();
    assert_eq!(
        lines,
        [2, 3, 6, 7, 8, 11, 12, 13, 14, 15, 16, 21, 22, 24, 28],
        "{mistakes:#?}"
    );
    let hints = mistakes
        .iter()
        .map(|mistake| mistake.hint.as_deref().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n");
    for hint in [
        "did you mean `listen`?",
        "did you mean `io_uring`?",
        "1 to 256",
        "did you mean [[issuer]]?",
        "`file:/path`",
    ] {
        assert!(hints.contains(hint), "{hint} in {hints}");
    }
    let shown = Config::parse(text, "linegate.toml").unwrap_err().to_string();
    assert!(shown.starts_with("linegate.toml:2:1: unknown key `lisen` in [control]\n  2 | lisen …\n    | ^^^^^\n  hint: did you mean `listen`?\nlinegate.toml:3:9: "), "{shown}");
    assert!(shown.contains("\nlinegate.toml:7:11: `runtime` cannot be `iouring`\n  7 | runtime = \"iouring\"\n    |           ^^^^^^^^^\n"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn broken_toml_is_reported_with_its_line_and_does_not_hide_the_rest() {
    check("[data]\nworkers = = 3", 2, "not TOML", "");
    check("[data]\nworkers = 1\nworkers = 2", 3, "twice", "");
    check("[data\n", 1, "not TOML", "");
    check("[data]\nruntime = 'auto", 2, "not TOML", "");
    let mistakes = refused("[data]\nworkers = = 3\nruntme = 'auto'\n[[target]]\nlisten = 'x'\nname prod\n");
    let lines: Vec<u32> = mistakes.iter().map(|mistake| mistake.line).collect();
    assert_eq!(lines, [2, 3, 5, 6], "{mistakes:#?}");
}

#[test]
fn mistakes_are_data_too() {
    let mistakes = Config::parse("[data]\nworkers = 0", "a.toml").unwrap_err();
    assert_eq!(mistakes.path, "a.toml");
    let expect = Mistake {
        line: 2,
        column: 11,
        what: "`workers` is out of range".into(),
        hint: Some("1 to 256; the default is \"auto\"".into()),
        excerpt: Some("workers = 0".into()),
        marked: 1,
    };
    assert_eq!(mistakes.mistakes, [expect]);
}

proptest! {
    /// Whatever stands in the file: an answer, whose places are in the file.
    #[test]
    fn any_text_gets_an_answer(text in "(\\[{0,2}(data|target|label|x)\\]{0,2}|(name|listen|columns|credential|workers) ?=|[\"'\\[\\]{}.,= äa-z0-9_:#-]{0,8}|\n){0,24}") {
        if let Err(mistakes) = Config::parse(&text, "linegate.toml") {
            prop_assert!(!mistakes.mistakes.is_empty());
            for mistake in &mistakes.mistakes {
                prop_assert!(mistake.line >= 1 && mistake.line as usize <= text.matches('\n').count() + 1);
                prop_assert!(mistake.column >= 1);
            }
            prop_assert!(mistakes.to_string().starts_with("linegate.toml:"));
        }
    }

    /// A slip at any place of the example is an answer too, and never a panic.
    #[test]
    fn the_example_cut_or_changed_anywhere_gets_an_answer(at in 0..EXAMPLE.len(), with in "[\\PC\n]{0,3}", drop in 0..40_usize) {
        let at = (at..=EXAMPLE.len()).find(|at| EXAMPLE.is_char_boundary(*at)).unwrap();
        let end = ((at + drop).min(EXAMPLE.len())..=EXAMPLE.len()).find(|at| EXAMPLE.is_char_boundary(*at)).unwrap();
        let text = format!("{}{with}{}", &EXAMPLE[..at], &EXAMPLE[end..]);
        _ = Config::parse(&text, "linegate.toml").map_err(|mistakes| mistakes.to_string());
    }
}

#[test]
fn paths_start_where_the_documentation_says() {
    let mut config = accepted(EXAMPLE);
    config.resolve_paths(Path::new("/etc/linegate"));
    assert_eq!(
        config.data.tls.unwrap().key,
        PathBuf::from("/etc/linegate/tls/key.pem")
    );
    assert_eq!(
        config.targets[0].tls_ca,
        Some("/etc/linegate/tls/prod-ca.pem".into())
    );
    assert_eq!(
        config.targets[0].credential.password,
        Some(SecretSource::File("/run/credentials/prod".into()))
    );
}
