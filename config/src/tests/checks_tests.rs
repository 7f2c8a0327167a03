//! Each check by itself: one mistake, its line, what is said and what is hinted.

use super::{TARGET, accepted, check, target_with, target_without};
use crate::{Config, Detectors, Entity, OnDetect, WarmPool, WarmShare};

#[test]
fn every_check_of_control_and_data() {
    check(
        "[control]\nlisten = 7443",
        2,
        "`listen` must be a text in quotes, but is a whole number",
        "",
    );
    check(
        "[control]\nlisten = 'localhost:7443'",
        2,
        "not an address to listen on",
        "127.0.0.1:6432",
    );
    check(
        "[control]\nlisten = '127.0.0.1'",
        2,
        "not an address to listen on",
        "add the port",
    );
    check("[control]\nlisten = ''", 2, "`listen` is empty", "");
    check(
        "[control]\nstate = 'postgres://x/y'",
        2,
        "only SQLite",
        "sqlite:state.db",
    );
    check(
        "[control]\nstate = 'state.db'",
        2,
        "only SQLite",
        "sqlite:state.db",
    );
    check(
        "[control]\nrecord = 'rows'",
        2,
        "unknown key `record` in [control]",
        "belongs in [[target]]",
    );
    check(
        "[control]\nbanana = 1",
        2,
        "unknown key `banana`",
        "[control] knows `listen` and `state`",
    );
    check(
        "[[control]]\nlisten = '127.0.0.1:1'",
        1,
        "must be the section [control]",
        "single brackets",
    );
    check(
        "control = 1",
        1,
        "must be the section [control]",
        "single brackets",
    );
    check(
        "[data]\nworkers = 257",
        2,
        "`workers` is out of range",
        "1 to 256",
    );
    check("[data]\nworkers = -1", 2, "`workers` is out of range", "1 to 256");
    check(
        "[data]\nworkers = 'all'",
        2,
        "`workers` cannot be `all`",
        "`auto`",
    );
    check(
        "[data]\nworkers = 1.5",
        2,
        "`workers` must be a text in quotes, but is a number with a fraction",
        "",
    );
    check(
        "[data]\nrecordings = 's3://bucket/p'",
        2,
        "recordings go to a directory",
        "recordings/",
    );
    check(
        "[data]\ntls_cert = 'c'",
        2,
        "`tls_cert` without `tls_key`",
        "both",
    );
    check("[data]\ntls_key = 'k'", 2, "`tls_key` without `tls_cert`", "both");
    check(
        "[data]\ntls_cert = 'c'\ntls_key = '-----BEGIN PRIVATE KEY-----'",
        3,
        "not the path of a file",
        "",
    );
    check(
        "[data]\nmemory_mb = 15",
        2,
        "`memory_mb` is out of range",
        "16 to 65536; the default is 256",
    );
    check("[data]\nmemory_mb = 65537", 2, "`memory_mb` is out of range", "");
    check(
        "[data]\nmemory_mb = '256'",
        2,
        "`memory_mb` must be a whole number without quotes, but is a text",
        "",
    );
    check(
        "[data]\nmemory_mb = 99999999999999999999",
        2,
        "`memory_mb` is out of range",
        "",
    );
    check(
        "[data]\nruntime = 'tokio'",
        2,
        "`runtime` cannot be `tokio`",
        "`auto`, `epoll` or `io_uring`",
    );
    check(
        "[data]\ndrain_seconds = 86401",
        2,
        "`drain_seconds` is out of range",
        "",
    );
    check(
        "[data]\nrecording_full = 'drop'",
        2,
        "`recording_full` cannot be `drop`",
        "`pause` or `shape`",
    );
    check(
        "[data]\nrecording_buffer = 1",
        2,
        "`recording_buffer` is out of range",
        "",
    );
    check(
        "[data]\ncommit_ms = 0",
        2,
        "`commit_ms` is out of range",
        "1 to 1000",
    );
    check(
        "[dta]\nworkers = 1",
        1,
        "unknown section `dta`",
        "did you mean [data]?",
    );
    check("workers = 1", 1, "unknown section `workers`", "belongs in [data]");
    check("[zebra]", 1, "unknown section `zebra`", "`[control]`, `[data]`");
}

#[test]
fn every_check_of_issuers() {
    let issuer = |lines: &str| {
        format!("[[issuer]]\nname='i'\nurl='https://i.example'\naudience='a'\nprincipal='{{sub}}'\n{lines}")
    };
    assert_eq!(
        accepted(&issuer(
            "jwks_url='http://127.0.0.1:8080/keys'\nalgorithms=['EdDSA']"
        ))
        .issuers[0]
            .algorithms[0]
            .name(),
        "EdDSA"
    );
    check(
        "[[issuer]]\nname='i'\nurl='https://i.example'\naudience='a'",
        1,
        "[[issuer]] has no `principal`",
        "{sub}",
    );
    check(
        "[[issuer]]\nname='i'\nurl='https://i.example'\nprincipal='{sub}'",
        1,
        "[[issuer]] has no `audience`",
        "",
    );
    check(
        &issuer("algorithms=['HS256']"),
        6,
        "`HS256` proves nothing",
        "`RS256`",
    );
    check(
        &issuer("algorithms=['none']"),
        6,
        "`none` proves nothing",
        "`RS256`",
    );
    check(
        &issuer("algorithms=['RS265']"),
        6,
        "`algorithms` cannot be `RS265`",
        "did you mean `RS256`?",
    );
    check(&issuer("algorithms=[]"), 6, "`algorithms` is empty", "");
    check(
        &issuer("algorithms='RS256'"),
        6,
        "`algorithms` must be a list of texts",
        "",
    );
    check(
        &issuer("jwks_url='http://i.example/keys'"),
        6,
        "not a URL",
        "https",
    );
    for (url, hint) in [
        ("i.example", "https://idp"),
        ("ftp://i.example", "use https"),
        ("http://10.0.0.1", "use https"),
        ("https://u:p@i.example", "no user"),
        ("https://", "a host"),
        ("https://i.example?x", "without `?`"),
    ] {
        check(
            &issuer("").replace("https://i.example", url),
            3,
            "not a URL",
            hint,
        );
    }
    for (principal, what) in [
        ("ci", "same for every token"),
        ("{sub", "`{` without its `}`"),
        ("sub}", "`}` without its `{`"),
        ("a{}", "without a proper name"),
    ] {
        check(&issuer("").replace("{sub}", principal), 5, what, "claim");
    }
    check(
        &issuer("").replace("name='i'", "name='i i'"),
        2,
        "cannot be a name",
        "letters",
    );
    let twice = format!("{}{}", issuer(""), issuer(""));
    check(&twice, 7, "`i` is an issuer's name on line 2 already", "");
    check(
        &issuer("").replace("[[issuer]]", "[issuer]"),
        1,
        "needs double brackets",
        "[[issuer]]",
    );
}

#[test]
fn every_check_of_targets() {
    for key in ["name", "protocol", "listen", "address", "credential"] {
        check(
            &target_without(key, ""),
            1,
            &format!("[[target]] has no `{key}`"),
            &format!("add `{key} = "),
        );
    }
    for name in ["Prod", "a b", "-a", "prod_1", &"a".repeat(64)] {
        check(
            &target_without("name", &format!("name = '{name}'")),
            6,
            "cannot be a target's name",
            "small letters",
        );
    }
    check(
        &target_without("protocol", "protocol = 'mysql'"),
        6,
        "`mysql` is not available in this version",
        "`postgres`",
    );
    check(
        &target_without("protocol", "protocol = 'postgresql'"),
        6,
        "cannot be `postgresql`",
        "did you mean `postgres`?",
    );
    check(
        &target_without("protocol", "protocol = 'oracle'"),
        6,
        "cannot be `oracle`",
        "`postgres`",
    );
    check(
        &target_without("listen", "listen = '*:6432'"),
        6,
        "not an address to listen on",
        "0.0.0.0:PORT",
    );
    for (address, hint) in [
        ("10.0.0.5", "add the port"),
        ("::1", "brackets"),
        ("[::1]", "[::1]:5432"),
        ("[db]:5432", "brackets"),
        ("db:0", "1 to 65535"),
        ("db:70000", "1 to 65535"),
        ("db:x", "1 to 65535"),
        (":5432", "DNS name"),
        ("a..b:5432", "DNS name"),
        ("d b:5432", "DNS name"),
        ("postgres://db:5432", "without a scheme"),
    ] {
        check(
            &target_without("address", &format!("address = '{address}'")),
            6,
            "not a server's address",
            hint,
        );
    }
    check(&target_with("database = ''"), 7, "`database` is empty", "");
    check(
        &target_with("database = \"a\\u0000b\""),
        7,
        "holds a control character",
        "",
    );
    check(
        &target_with("tls = 'verify-all'"),
        7,
        "`tls` cannot be `verify-all`",
        "`verify-full`",
    );
    check(
        &target_with("tls = 'verify-ca'"),
        7,
        "anybody with a certificate of a public authority",
        "`verify-full`",
    );
    check(
        &target_with("tls = 'allow'"),
        7,
        "`tls` cannot be `allow`",
        "`prefer`",
    );
    check(&target_with("tls = true"), 7, "`tls` must be a text", "");
    check(
        &target_with("tls_ca = 'ca.pem'"),
        7,
        "not looked at",
        "verify-full",
    );
    check(
        &target_with("record = 'all'"),
        7,
        "`record` cannot be `all`",
        "`statements`, `shape` or `rows`",
    );
    check(
        &target_with("client_tls = 'never'"),
        7,
        "`client_tls` cannot be `never`",
        "`optional` or `require`",
    );
    check(
        &target_with("client_tls = 'require'"),
        7,
        "no client could connect",
        "tls_cert",
    );
    accepted(&target_with(
        "client_tls = 'require'\n[data]\ntls_cert = 'c'\ntls_key = 'k'",
    ));
    check(
        &target_with("hold_in_transaction = 'yes'"),
        7,
        "`hold_in_transaction` cannot be `yes`",
        "`refuse` or `wait`",
    );
    check(
        &target_with("warm_pool_share = 'lease'"),
        7,
        "`warm_pool_share` is not looked at without `warm_pool`",
        "`warm_pool = 8`",
    );
    check(
        &target_with("warm_pool = 8\nwarm_pool_share = 'everybody'"),
        8,
        "`warm_pool_share` cannot be `everybody`",
        "`lease` or `principal`",
    );
    check(
        &target_with("warm_pool = 1025"),
        7,
        "`warm_pool` is out of range",
        "0 to 1024",
    );
    let warm = accepted(&target_with(
        "warm_pool = 8\nwarm_pool_seconds = 5\nwarm_pool_share = 'principal'",
    ));
    let expected = WarmPool {
        connections: 8,
        seconds: 5,
        share: WarmShare::Principal,
    };
    assert_eq!(warm.targets[0].warm_pool, expected);
    accepted(&target_with("warm_pool = 0\nwarm_pool_seconds = 5"));
    for key in [
        "hold_seconds",
        "connect_seconds",
        "startup_seconds",
        "max_sessions",
        "row_bytes_max_mb",
        "statement_bytes_max_mb",
    ] {
        check(
            &target_with(&format!("{key} = 0")),
            7,
            &format!("`{key}` is out of range"),
            "the default is",
        );
        check(
            &target_with(&format!("{key} = 4294967296")),
            7,
            &format!("`{key}` is out of range"),
            "1 to ",
        );
        check(
            &target_with(&format!("{key} = '5s'")),
            7,
            &format!("`{key}` must be a whole number"),
            "",
        );
    }
    let detected = |lines: &str| {
        let target = accepted(&target_with(lines)).targets.remove(0);
        (target.detect, target.on_detect)
    };
    let some = Detectors::PERSONAL.with(Entity::Jwt);
    assert_eq!(detected("detect = ['jwt', 'personal']"), (some, OnDetect::Count));
    assert_eq!(
        detected("detect = ['all']\non_detect = 'redact'"),
        (Detectors::ALL, OnDetect::Redact)
    );
    let none = (Detectors::NONE, OnDetect::End);
    assert_eq!(detected("detect = []\non_detect = 'end'"), none);
    for (name, hint) in [
        ("crad", "did you mean `card`?"),
        ("persnal", "did you mean `personal`?"),
        ("everything under the sun", "`aws-key-id`"),
    ] {
        let what = format!("there is no detector `{name}`");
        check(
            &target_with(&format!("detect = ['card', '{name}']")),
            7,
            &what,
            hint,
        );
    }
    check(
        &target_with("on_detect = 'end'"),
        7,
        "not looked at without `detect`",
        "detect = [",
    );
    check(
        &target_with("detect = ['card']\non_detect = 'stop'"),
        8,
        "`on_detect` cannot be `stop`",
        "`count`, `redact` or `end`",
    );
    check(
        &target_with("recrod = 'rows'"),
        7,
        "unknown key `recrod` in [[target]]",
        "did you mean `record`?",
    );
    check(
        &target_with("redact = 'null'"),
        7,
        "unknown key `redact` in [[target]]",
        "belongs in [[label]]",
    );
    let other = TARGET.replace("6432", "6433");
    check(
        &format!("{TARGET}{other}"),
        8,
        "`prod` is a target's name on line 2 already",
        "",
    );
    let other = TARGET.replace("prod", "stage");
    check(
        &format!("{TARGET}{other}"),
        10,
        "listened on by line 4 already",
        "own port",
    );
    check(
        &format!("{TARGET}{}", other.replace("127.0.0.1", "0.0.0.0")),
        10,
        "overlaps with `127.0.0.1:6432` on line 4",
        "own port",
    );
    check(
        &target_with("[control]\nlisten = '127.0.0.1:6432'"),
        4,
        "listened on by line 8 already",
        "own port",
    );
    accepted(&format!("{TARGET}{other}").replace(":6432", ":0"));
    accepted(&format!("{TARGET}{}", other.replace("127.0.0.1", "127.0.0.2")));
}

#[test]
fn a_password_in_the_file_is_refused_and_never_shown() {
    for (lines, what) in [
        (
            "credential = { user = 'app', password = 'hunter2' }",
            "must not be written into this file",
        ),
        (
            "credential = { user = 'app', password = 'plain:hunter2' }",
            "must not be written into this file",
        ),
        (
            "credential = { user = 'app', password = 'file:' }",
            "must not be written into this file",
        ),
        (
            "credential = { user = 'app', password = 'env:hunter2!' }",
            "names no environment variable",
        ),
        (
            "credential = { user = 'app', password = 'credential:../hunter2' }",
            "names no credential",
        ),
        (
            "credential = { user = 'app', password = ['hunter2'] }",
            "must be a text in quotes",
        ),
        ("credential = 'app:hunter2'", "`credential` must be a table"),
        (
            "credential = { password = 'env:hunter2' }",
            "credential has no `user`",
        ),
        (
            "credential = { user = 'app', pasword = 'hunter2' }",
            "unknown key `pasword`",
        ),
        (
            "passwort = 'hunter2'\ncredential = { user = 'app' }",
            "unknown key `passwort`",
        ),
        (
            "pw = 'hunter2'\ncredential = { user = 'app' }",
            "unknown key `pw`",
        ),
        ("credential = { user = 'app', password = 'hunter2 }", "not TOML"),
        (
            "[target.credential]\nuser = 'app'\npw = 'hunter2'",
            "unknown key `pw`",
        ),
        (
            "[target.credential]\nuser = 'app'\n'password' = 'hunter2'",
            "must not be written",
        ),
    ] {
        let mistakes = Config::parse(&target_without("credential", lines), "linegate.toml").unwrap_err();
        assert_eq!(mistakes.mistakes.len(), 1, "{mistakes}");
        assert!(mistakes.to_string().contains(what), "{mistakes}");
        assert!(
            !format!("{mistakes} {mistakes:?}").contains("hunter2"),
            "{mistakes}"
        );
    }
}
