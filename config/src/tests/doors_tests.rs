//! Doors: sockets of both kinds, targets that share one, what clients show besides their leases.

use super::*;

const DATA: &str = "[data]\ntls_cert = 'c'\ntls_key = 'k'\n";

/// Targets at one door; each has these lines more.
fn sharing(all: &[(&str, &str)]) -> String {
    let target = |(name, lines): &(&str, &str)| {
        format!("{}{lines}\n", TARGET.replace("\"prod\"", &format!("\"{name}\"")))
    };
    let targets: String = all.iter().map(target).collect();
    format!("{targets}{DATA}")
}

#[test]
fn sockets_of_both_kinds_are_read() {
    let socket = |directory: &str, port| UnixSocket {
        directory: directory.into(),
        port,
    };
    for (text, wanted) in [
        ("unix:/run/postgresql", socket("/run/postgresql", 5432)),
        ("unix:/run/postgresql/", socket("/run/postgresql", 5432)),
        ("unix:/run/lg/.s.PGSQL.6432", socket("/run/lg", 6432)),
        ("unix:/.s.PGSQL.1", socket("/", 1)),
    ] {
        let config = accepted(&target_without("listen", &format!("listen = '{text}'")));
        assert_eq!(config.targets[0].listen, Listen::Unix(wanted.clone()), "{text}");
        let config = accepted(&target_without("address", &format!("address = '{text}'")));
        assert_eq!(config.targets[0].address, Address::Unix(wanted), "{text}");
        assert_eq!(
            config.targets[0].tls,
            TlsMode::Disable,
            "a Unix socket has no TLS"
        );
    }
    assert_eq!(socket("/run/lg", 6432).to_string(), "unix:/run/lg/.s.PGSQL.6432");
    for text in ["[::1]:6432", "[::]:6432", "0.0.0.0:6432"] {
        let config = accepted(&target_without("listen", &format!("listen = '{text}'")));
        assert_eq!(config.targets[0].listen.to_string(), text);
    }
    let long = format!("unix:/{}", "d".repeat(100));
    for (text, hint) in [
        ("unix:run", "an absolute path"),
        ("unix:/run/lg.sock", ".s.PGSQL.PORT"),
        ("unix:/run/.s.PGSQL.x", "ends with a port"),
        ("unix:/run/.s.PGSQL.0", "ends with a port"),
        (long.as_str(), "107 bytes"),
    ] {
        check(
            &target_without("listen", &format!("listen = '{text}'")),
            6,
            "is not a Unix socket",
            hint,
        );
    }
    check(
        &target_without("address", "address = '/run/postgresql'"),
        6,
        "not a server's address",
        "`unix:/run/postgresql`",
    );
    check(
        &target_without("address", "address = 'unix:/run/postgresql'\ntls = 'require'"),
        7,
        "cannot be had over a Unix socket",
        "leave it out",
    );
}

#[test]
fn targets_share_a_door_where_something_tells_them_apart() {
    let config = accepted(&sharing(&[
        ("prod", "server_names = ['Prod.DB.example.', 'prod']"),
        ("stage", "server_names = ['stage.db.example']"),
        ("shop", "database_names = ['shop', 'Shop']"),
        ("both", "server_names = ['prod']\ndatabase_names = ['shop']"),
        ("rest", ""),
    ]));
    assert_eq!(config.targets[0].server_names, ["prod.db.example", "prod"]);
    assert_eq!(config.targets[2].database_names, ["shop", "Shop"]);
    check(
        &sharing(&[("prod", ""), ("stage", "server_names = ['x']"), ("rest", "")]),
        18,
        "listened on by line 4 already",
        "`server_names` or `database_names`",
    );
    check(
        &sharing(&[
            ("prod", "server_names = ['a', 'b']"),
            ("stage", "server_names = ['c', 'B']"),
        ]),
        11,
        "server name `b` leads to the target that listens on line 4 already",
        "names of its own",
    );
    check(
        &sharing(&[
            ("prod", "database_names = ['a']"),
            ("stage", "database_names = ['a']"),
        ]),
        11,
        "database name `a` leads to",
        "names of its own",
    );
    let both = "server_names = ['s']\ndatabase_names = ['a']";
    check(
        &sharing(&[("prod", both), ("stage", both)]),
        12,
        "server name `s` and database name `a` lead",
        "names of its own",
    );
    accepted(&sharing(&[
        ("prod", both),
        ("stage", "server_names = ['s']\ndatabase_names = ['b']"),
    ]));
    let sockets = sharing(&[("prod", ""), ("stage", "database_names = ['a']")]);
    accepted(&sockets.replace("127.0.0.1:6432", "unix:/run/lg"));
}

#[test]
fn names_that_lead_to_a_target_are_checked() {
    check(
        &format!("{}{DATA}", target_with("server_names = ['*.example']")),
        7,
        "`*.example` is not a server name",
        "no wildcards",
    );
    check(
        &format!("{}{DATA}", target_with("server_names = ['10.0.0.1']")),
        7,
        "is not a server name",
        "no addresses",
    );
    check(
        &format!("{}{DATA}", target_with("database_names = ['a', 'a']")),
        7,
        "`a` stands here twice",
        "",
    );
    check(
        &target_with("server_names = ['a']"),
        7,
        "come with TLS, and there is no certificate",
        "tls_cert",
    );
    let unix = target_without("listen", "listen = 'unix:/run/lg'\nserver_names = ['a']");
    check(
        &format!("{unix}{DATA}"),
        7,
        "a Unix socket has none",
        "an address and a port",
    );
}

#[test]
fn what_clients_show_besides_their_leases_is_checked() {
    let lines = "client_ca = 'ca.pem'\nclient_certificate = 'optional'\nprincipal_from_certificate = 'workload:{uri}'";
    let config = accepted(&format!("{}{DATA}", target_with(lines)));
    assert_eq!(
        config.targets[0].client_certificates,
        Some(ClientCertificates {
            ca: "ca.pem".into(),
            is_required: false,
            principal: Some("workload:{uri}".into()),
        })
    );
    let config = accepted(&format!("{}{DATA}", target_with("client_ca = 'ca.pem'")));
    assert!(
        config.targets[0]
            .client_certificates
            .as_ref()
            .unwrap()
            .is_required
    );
    check(
        &target_with("client_ca = 'ca.pem'"),
        7,
        "client certificates come with TLS, and there is no certificate",
        "tls_cert",
    );
    for lines in [
        "client_certificate = 'require'",
        "principal_from_certificate = 'user:{cn}'",
    ] {
        check(
            &format!("{}{DATA}", target_with(lines)),
            7,
            "is not looked at without `client_ca`",
            "clients-ca.pem",
        );
    }
    for template in ["{cn}", "user:", "user:{sub}", "robot:{cn}", "user:{cn"] {
        let lines = format!("client_ca = 'ca'\nprincipal_from_certificate = '{template}'");
        check(
            &format!("{}{DATA}", target_with(&lines)),
            8,
            "names no principal",
            "`workload:{uri}`",
        );
    }
    let mut config = config;
    config.resolve_paths(Path::new("/etc/linegate"));
    assert_eq!(
        config.targets[0].client_certificates.as_ref().unwrap().ca,
        Path::new("/etc/linegate/ca.pem")
    );
}

#[test]
fn a_certificate_may_be_a_targets_own() {
    let own = "client_tls_cert = 'c'\nclient_tls_key = '/k'\nserver_names = ['a']";
    let mut config = accepted(&format!("{}{DATA}", target_with(own)));
    config.resolve_paths(Path::new("/etc"));
    assert_eq!(
        config.targets[0].client_identity,
        Some(TlsIdentity {
            cert: "/etc/c".into(),
            key: "/k".into()
        })
    );
    for (lines, line, what) in [
        ("client_tls_cert = 'c'", 7, "without `client_tls_key`"),
        ("client_tls_key = 'k'", 7, "without `client_tls_cert`"),
        (
            "client_tls_cert = 'c'\nclient_tls_key = 'k'",
            7,
            "no client asks for `client_tls_cert`",
        ),
    ] {
        check(&format!("{}{DATA}", target_with(lines)), line, what, "");
    }
}

#[test]
fn oauth_names_an_issuer_that_there_is() {
    let issuer =
        "[[issuer]]\nname = 'sso'\nurl = 'https://idp.example'\naudience = 'a'\nprincipal = '{sub}'\n";
    let config = accepted(&format!(
        "{}{DATA}{issuer}",
        target_with("oauth = { issuer = 'sso' }")
    ));
    assert_eq!(
        config.targets[0].oauth,
        Some(OauthConfig {
            issuer: "sso".into(),
            scope: "openid".into(),
            user: None,
        })
    );
    let whole = "oauth = { issuer = 'sso', scope = 'openid db', user = 'oauth' }";
    let config = accepted(&format!("{}{DATA}{issuer}", target_with(whole)));
    assert_eq!(
        config.targets[0].oauth.as_ref().unwrap().user.as_deref(),
        Some("oauth")
    );
    for (lines, what, hint) in [
        (
            "oauth = { issuer = 'ssso' }",
            "there is no issuer `ssso`",
            "`sso`",
        ),
        ("oauth = { }", "oauth has no `issuer`", "add"),
        ("oauth = 'sso'", "`oauth` must be a table", "issuer"),
        (
            "oauth = { issuer = 'sso', scopes = 'x' }",
            "unknown key `scopes` in oauth",
            "`scope`",
        ),
    ] {
        check(&format!("{}{DATA}{issuer}", target_with(lines)), 7, what, hint);
    }
    check(
        &format!("{}{issuer}", target_with("oauth = { issuer = 'sso' }")),
        7,
        "tokens cross TLS only, and there is no certificate",
        "tls_cert",
    );
}

#[test]
fn a_certificate_for_the_server_needs_tls_and_both_halves() {
    let target = |credential: &str, more: &str| {
        target_without(
            "credential",
            &format!("credential = {{ user = 'a', {credential} }}\n{more}"),
        )
    };
    let mut config = accepted(&target(
        "tls_cert = 'c', tls_key = '/k'",
        "tls = 'verify-ca'\ntls_ca = 'ca.pem'",
    ));
    assert_eq!(
        (config.targets[0].tls, &config.targets[0].tls_ca),
        (TlsMode::VerifyCa, &Some("ca.pem".into()))
    );
    config.resolve_paths(Path::new("/etc"));
    assert_eq!(
        config.targets[0].credential.certificate,
        Some(TlsIdentity {
            cert: "/etc/c".into(),
            key: "/k".into()
        })
    );
    check(
        &target("tls_cert = 'c'", ""),
        6,
        "`tls_cert` without `tls_key`",
        "both",
    );
    check(
        &target("tls_key = 'k'", ""),
        6,
        "`tls_key` without `tls_cert`",
        "both",
    );
    check(
        &target("tls_cert = 'c', tls_key = 'k'", "tls = 'disable'"),
        6,
        "over TLS only",
        "`require`",
    );
}
