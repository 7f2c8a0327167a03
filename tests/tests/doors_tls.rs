//! TLS at the doors: direct negotiation, channel binding, client certificates, tokens by OAUTHBEARER, and what linegate asks
//! of servers.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use linegate_identity::ScramBinding;
use linegate_tests::doors::{Authority, Identity, Knock, TlsWish};
use linegate_tests::wire::rows;
use linegate_tests::{Lease, Linegate, Message, Options, Postgres, Said, places};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConnection, ServerConfig, ServerConnection, StreamOwned};

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A linegate whose clients see a certificate for localhost, and more lines in its target.
fn with_tls(postgres: &Postgres, authority: &Authority, options: Options) -> Linegate {
    let own = authority.issue("linegate", "/CN=localhost", "DNS:localhost,IP:127.0.0.1");
    let options = Options {
        client_cert: Some((own.key, own.cert)),
        ..options
    };
    Linegate::start_with(postgres, options)
}

fn mechanisms(data: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(data).into_owned();
    text.split('\0')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn code(message: &Message) -> String {
    message.field(b'C').unwrap_or_default()
}

fn psql(linegate: &Linegate, user: &str, more: &[(&str, &str)]) -> Said {
    let mut command = Command::new("psql");
    command.args([
        "-XqAt",
        "-h",
        "localhost",
        "-p",
        &linegate.port().to_string(),
        "-U",
        user,
    ]);
    command.args(["-d", "shop", "-c", "SELECT count(*) FROM app.orders"]);
    command
        .env("PGHOSTADDR", "127.0.0.1")
        .env("PGCONNECT_TIMEOUT", "20")
        .env("HOME", "/nowhere");
    Said::by(command.envs(more.iter().copied()))
}

#[test]
fn tls_begins_after_a_request_or_at_once_by_name() {
    let postgres = Postgres::start();
    let linegate = with_tls(&postgres, &Authority::new(), Options::default());
    let lease = linegate.lease("user:dba", &[], "all");
    let knock = |is_direct: bool, alpn: &[&'static str]| {
        let wish = TlsWish {
            is_direct,
            alpn: alpn.to_vec(),
            ..TlsWish::default()
        };
        Knock::tls(loopback(linegate.port()), &wish)
    };
    for (is_direct, alpn) in [
        (true, vec!["postgresql"]),
        (true, vec!["h2", "postgresql"]),
        (false, vec!["postgresql"]),
        (false, vec![]),
    ] {
        let mut client = knock(is_direct, &alpn).expect("TLS");
        let named = client.alpn.as_deref();
        assert_eq!(
            named,
            (!alpn.is_empty()).then_some(&b"postgresql"[..]),
            "{is_direct} {alpn:?}"
        );
        client.login(2, &lease, "shop").expect("a login");
        assert_eq!(rows(&client.query("SELECT 7")), [["7"]]);
        let big = client.query("SELECT n, repeat('x', 1000) FROM generate_series(1, 500) n");
        assert_eq!(rows(&big).len(), 500);
    }
    let mut unnamed = knock(true, &[]).expect("the handshake itself is well");
    let refused = unnamed.read().expect("words");
    assert_eq!((refused.tag, code(&refused)), (b'E', "08P01".to_owned()));
    for is_direct in [true, false] {
        let refused = knock(is_direct, &["h2"]).err().expect("another protocol's name");
        assert!(
            refused.to_string().contains("NoApplicationProtocol"),
            "told why: {refused}"
        );
    }
    // A second handshake within the first, and one that comes too late.
    let mut client = knock(true, &["postgresql"]).expect("TLS");
    client.send_bytes(&[0, 0, 0, 8, 4, 210, 22, 47]);
    assert_eq!(
        client.read().map(|message| code(&message)).ok().as_deref(),
        Some("08P01")
    );
    let mut client = Knock::tcp(loopback(linegate.port()));
    client.send_bytes(&[0, 0, 0, 8, 4, 210, 22, 48]);
    assert_eq!(client.byte().ok(), Some(b'N'), "GSSENCRequest");
    client.send_bytes(&[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0]);
    assert!(client.is_over());
    // A handshake and a login in pieces of one byte.
    for is_direct in [true, false] {
        let wish = TlsWish {
            is_direct,
            piece_bytes: 1,
            ..TlsWish::default()
        };
        let mut client = Knock::tls(loopback(linegate.port()), &wish).expect("TLS");
        client.login(2, &lease, "shop").expect("a login");
        assert_eq!(rows(&client.query("SELECT 7")), [["7"]]);
    }
    // The same, which does not end well.
    let mut client = Knock::tcp(loopback(linegate.port()));
    for byte in [0x16, 3, 1, 0, 5, 9, 9, 9, 9, 9] {
        client.send_bytes(&[byte]);
    }
    while client.byte().is_ok() {} // an alert at most
    linegate.assert_unharmed();
}

#[test]
fn a_handshake_that_stalls_is_ended() {
    let postgres = Postgres::start();
    let options = Options {
        target: "startup_seconds = 1".to_owned(),
        ..Options::default()
    };
    let linegate = with_tls(&postgres, &Authority::new(), options);
    for sent in [
        &[][..],
        &[0x16],
        &[0x16, 3, 1, 2, 0, 1, 0, 1],
        &[0, 0, 0, 8, 4, 210, 22, 47],
    ] {
        let since = std::time::Instant::now();
        let mut client = Knock::tcp(loopback(linegate.port()));
        client.send_bytes(sent);
        while client.byte().is_ok() {} // the answer to a request
        assert!(since.elapsed() < Duration::from_secs(10), "{sent:?}");
    }
    linegate.assert_unharmed();
}

#[test]
fn channels_are_bound_at_the_front_and_nobody_can_take_the_offer_away() {
    let postgres = Postgres::start();
    let authority = Authority::new();
    let linegate = with_tls(&postgres, &authority, Options::default());
    let lease = linegate.lease("user:dba", &[], "all");
    let begin = |is_tls: bool| {
        let mut client = if is_tls {
            Knock::tls(loopback(linegate.port()), &TlsWish::default()).expect("TLS")
        } else {
            Knock::tcp(loopback(linegate.port()))
        };
        client.startup(0, &[("user", &lease.username), ("database", "shop")]);
        client
    };
    assert_eq!(
        mechanisms(&begin(true).asked().expect("SASL").1),
        ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]
    );
    assert_eq!(
        mechanisms(&begin(false).asked().expect("SASL").1),
        ["SCRAM-SHA-256"]
    );

    let mut client = begin(true);
    let digest = client.end_point.clone().expect("a certificate");
    client
        .scram(&lease.password, ScramBinding::EndPoint(digest.clone()))
        .expect("bound to the certificate");
    assert_eq!(client.read_to(b'Z').last().map(|last| last.tag), Some(b'Z'));
    begin(true)
        .scram(&lease.password, ScramBinding::None)
        .expect("binding is the client's choice");
    for (is_tls, binding, what, wanted) in [
        (
            true,
            ScramBinding::EndPoint(vec![7; 32]),
            "another certificate",
            "08P01",
        ),
        (
            true,
            ScramBinding::NotOffered,
            "the offer was taken away",
            "08P01",
        ),
        (false, ScramBinding::EndPoint(digest), "not offered", "28000"),
    ] {
        let refused = begin(is_tls).scram(&lease.password, binding).expect_err(what);
        assert_eq!(code(&refused), wanted, "{what}: {:?}", refused.field(b'M'));
    }
    begin(false)
        .scram(&lease.password, ScramBinding::NotOffered)
        .expect("honest, where nothing is offered");
    // libpq binds by itself.
    let ca = authority.cert().display().to_string();
    let more = [
        ("PGPASSWORD", lease.password.as_str()),
        ("PGCHANNELBINDING", "require"),
        ("PGSSLMODE", "verify-full"),
        ("PGSSLROOTCERT", &ca),
    ];
    assert_eq!(psql(&linegate, &lease.username, &more).good().out.trim(), "1000");
}

/// Stands between linegate and its server with a certificate of its own, and passes on what both say.
fn somebody_between(server: u16, identity: &Identity) -> u16 {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&identity.cert)
        .expect("PEM")
        .collect();
    let key = PrivateKeyDer::from_pem_file(&identity.key).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider's versions")
        .with_no_client_auth()
        .with_single_cert(chain.expect("PEM"), key)
        .expect("a pair");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for victim in listener.incoming().map_while(Result::ok) {
            let config = config.clone();
            std::thread::spawn(move || relay(victim, config, server).ok());
        }
    });
    port
}

fn relay(mut victim: TcpStream, config: Arc<ServerConfig>, server: u16) -> io::Result<()> {
    let mut request = [0; 8];
    victim.read_exact(&mut request)?;
    let mut upstream = TcpStream::connect(loopback(server))?;
    upstream.write_all(&request)?;
    let mut answer = [0];
    upstream.read_exact(&mut answer)?;
    victim.write_all(&answer)?;
    let name = ServerName::try_from("localhost").expect("a name");
    let towards = ClientConnection::new(TlsWish::default().config(), name).map_err(io::Error::other)?;
    let mut victim = StreamOwned::new(ServerConnection::new(config).map_err(io::Error::other)?, victim);
    let mut upstream = StreamOwned::new(towards, upstream);
    while victim.conn.is_handshaking() {
        victim.conn.complete_io(&mut victim.sock)?;
    }
    while upstream.conn.is_handshaking() {
        upstream.conn.complete_io(&mut upstream.sock)?;
    }
    victim.sock.set_nonblocking(true)?;
    upstream.sock.set_nonblocking(true)?;
    loop {
        let moved = pass(&mut victim, &mut upstream)? | pass(&mut upstream, &mut victim)?;
        if !moved {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn pass(from: &mut impl Read, to: &mut impl Write) -> io::Result<bool> {
    let mut piece = [0; 4096];
    match from.read(&mut piece) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(count) => to
            .write_all(&piece[..count])
            .and_then(|()| to.flush())
            .map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

#[test]
fn a_bound_login_at_the_server_finds_out_who_stands_between() {
    let postgres = Postgres::start_tls();
    let authority = Authority::new();
    let fake = authority.issue("between", "/CN=localhost", "DNS:localhost,IP:127.0.0.1");
    let between = somebody_between(postgres.port(), &fake);
    let start = |role: &'static str, port: Option<u16>| {
        let linegate = Linegate::start_with(
            &postgres,
            Options {
                role,
                backend_tls: "require",
                backend_port: port,
                ..Options::default()
            },
        );
        let lease = linegate.lease("user:dba", &[], "all");
        let said = linegate.psql(
            &lease,
            &["-c", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"],
        );
        (said, linegate)
    };
    assert_eq!(start("app", None).0.good().out.trim(), "t", "without anybody");
    assert_eq!(
        start("app_plain", Some(between)).0.good().out.trim(),
        "t",
        "a password in the clear is what he is after"
    );
    let (said, linegate) = start("app", Some(between));
    assert!(!said.ok, "a bound exchange passed somebody: {}", said.all());
    assert!(said.err.contains("did not let linegate in"), "{}", said.err);
    assert!(linegate.log().contains("channel binding"), "{}", linegate.log());
}

/// A server whose certificate that authority signed for another name, and which takes certificates of clients.
fn strange_server(authority: &Authority, hba: &str) -> (Postgres, tempfile::TempDir) {
    let dir = places::temporary("lg-strange-");
    let own = authority.issue("server", "/CN=elsewhere.example", "DNS:elsewhere.example");
    let at = |name: &str| dir.path().join(name);
    for (from, to) in [
        (&own.key, "server.key"),
        (&own.cert, "server.crt"),
        (&authority.cert(), "ca.crt"),
    ] {
        std::fs::copy(from, at(to)).expect("our own directory");
    }
    std::fs::set_permissions(at("server.key"), std::fs::Permissions::from_mode(0o600)).expect("our own file");
    std::fs::write(at("hba"), format!("local all all trust\n{hba}\n")).expect("our own directory");
    if rustix::process::geteuid().is_root() {
        places::must(
            Command::new("chown")
                .arg("-R")
                .arg("postgres:postgres")
                .arg(dir.path()),
        );
    }
    let setting = |name: &str, file: &str| format!("{name}={}", at(file).display());
    let settings = [
        "ssl=on".to_owned(),
        setting("ssl_key_file", "server.key"),
        setting("ssl_cert_file", "server.crt"),
        setting("ssl_ca_file", "ca.crt"),
        setting("hba_file", "hba"),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    (Postgres::start_with(&settings), dir)
}

#[test]
fn every_tls_mode_asks_of_the_server_what_it_says() {
    let authority = Authority::new();
    let (postgres, _files) = strange_server(&authority, "host all app 127.0.0.1/32 scram-sha-256");
    let other = Authority::new();
    let connects = |mode: &'static str, ca: Option<&Authority>| {
        let target = ca.map_or_else(String::new, |ca| format!("tls_ca = \"{}\"", ca.cert().display()));
        let linegate = Linegate::start_with(
            &postgres,
            Options {
                backend_tls: mode,
                target,
                ..Options::default()
            },
        );
        let lease = linegate.lease("user:dba", &[], "all");
        let said = linegate.psql(
            &lease,
            &["-c", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"],
        );
        said.ok.then(|| said.out.trim().to_owned())
    };
    let yes = Some("t".to_owned());
    assert_eq!(connects("disable", None), Some("f".to_owned()));
    assert_eq!(connects("prefer", None), yes);
    assert_eq!(connects("require", None), yes, "whoever answers");
    assert_eq!(connects("verify-ca", Some(&authority)), yes, "whatever its name");
    assert_eq!(connects("verify-ca", Some(&other)), None, "another authority");
    assert_eq!(connects("verify-full", Some(&authority)), None, "another name");
}

#[test]
fn linegate_shows_the_server_a_certificate() {
    let authority = Authority::new();
    let (postgres, _files) = strange_server(&authority, "hostssl all app 127.0.0.1/32 cert");
    let start = |identity: &Identity| {
        let dir = places::temporary("lg-cert-");
        let credential = format!(
            "credential = {{ user = \"app\", tls_cert = \"{}\", tls_key = \"{}\" }}",
            identity.cert.display(),
            identity.key.display()
        );
        let text = format!(
            "listen = \"127.0.0.1:{}\"\naddress = \"127.0.0.1:{}\"\ntls = \"verify-ca\"\ntls_ca = \"{}\"\n{credential}\n",
            places::free_port(),
            postgres.port(),
            authority.cert().display()
        );
        let more = linegate_tests::doors::target("certified", &text);
        let linegate = Linegate::start_with(
            &postgres,
            Options {
                more,
                ..Options::default()
            },
        );
        let lease = linegate_tests::doors::lease_for(&linegate, "certified", "user:dba");
        let mut command = linegate.psql_command(&lease);
        let port = lease.whole["port"].as_u64().expect("a port").to_string();
        let said = Said::by(
            command
                .env("PGPORT", port)
                .args(["-qAt", "-c", "SELECT current_user"]),
        );
        drop(dir);
        said
    };
    assert_eq!(
        start(&authority.issue("app", "/CN=app", "")).good().out.trim(),
        "app"
    );
    assert!(
        !start(&authority.issue("other", "/CN=somebody", "")).ok,
        "a certificate for another role"
    );
    assert!(
        !start(&Authority::new().issue("app", "/CN=app", "")).ok,
        "of another authority"
    );
}

#[test]
fn a_client_certificate_is_asked_for_besides_the_lease() {
    let postgres = Postgres::start();
    let (authority, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let target = format!("client_ca = \"{}\"", clients.cert().display());
    let linegate = with_tls(
        &postgres,
        &authority,
        Options {
            target,
            ..Options::default()
        },
    );
    let lease = linegate.lease("user:dba", &[], "all");
    let good = clients.issue("one", "/CN=laptop one", "");
    let login = |identity: Option<&Identity>, password: &str| {
        let wish = TlsWish {
            identity: identity.cloned(),
            ..TlsWish::default()
        };
        let mut client = Knock::tls(loopback(linegate.port()), &wish).expect("TLS itself asks for nothing");
        let lease = Lease {
            password: password.to_owned(),
            ..lease.clone()
        };
        client.login(0, &lease, "shop").map_err(|error| code(&error))
    };
    login(Some(&good), &lease.password).expect("a certificate and a lease");
    assert_eq!(
        login(Some(&good), "wrong").err().as_deref(),
        Some("28P01"),
        "the lease still counts"
    );
    assert_eq!(login(None, &lease.password).err().as_deref(), Some("28000"));
    let strange = others.issue("one", "/CN=laptop one", "");
    assert_eq!(
        login(Some(&strange), &lease.password).err().as_deref(),
        Some("28000")
    );
    let mut plain = Knock::tcp(loopback(linegate.port()));
    let refused = plain
        .login(0, &lease, "shop")
        .expect_err("no TLS, no certificate");
    assert_eq!(code(&refused), "28000");
    // Any other user name with a token: the certificate is asked for as well.
    let (cert, key) = (good.cert.display().to_string(), good.key.display().to_string());
    let shown = [
        ("PGPASSWORD", lease.token.as_str()),
        ("PGSSLMODE", "require"),
        ("PGSSLCERT", &cert),
        ("PGSSLKEY", &key),
    ];
    assert_eq!(psql(&linegate, "app", &shown).good().out.trim(), "1000");
    assert!(!psql(&linegate, "app", &shown[..2]).ok);
}

#[test]
fn a_certificate_alone_is_a_principal_where_the_target_says_so() {
    let postgres = Postgres::start();
    let (authority, clients) = (Authority::new(), Authority::new());
    let target = format!(
        "client_ca = \"{}\"\nclient_certificate = \"optional\"\nprincipal_from_certificate = \"workload:{{cn}}\"",
        clients.cert().display()
    );
    let mut linegate = with_tls(
        &postgres,
        &authority,
        Options {
            target,
            ..Options::default()
        },
    );
    let run = |user: &str, password: &str, identity: Option<&Identity>| {
        let files = identity.map(|one| (one.cert.display().to_string(), one.key.display().to_string()));
        let mut more = vec![("PGSSLMODE", "require"), ("PGPASSWORD", password)];
        if let Some((cert, key)) = &files {
            more.extend([("PGSSLCERT", cert.as_str()), ("PGSSLKEY", key.as_str())]);
        }
        psql(&linegate, user, &more)
    };
    let runner = clients.issue("runner", "/CN=ci-runner", "");
    assert_eq!(run("whoever", "", Some(&runner)).good().out.trim(), "1000");
    let unknown = clients.issue("unknown", "/CN=somebody", "");
    assert!(
        !run("whoever", "", Some(&unknown)).ok,
        "proven, but no policy lets it in"
    );
    let two = clients.issue("two", "/CN=ci-runner/CN=ci-runner", "");
    assert!(!run("whoever", "", Some(&two)).ok, "two names are none");
    let strange = Authority::new().issue("runner", "/CN=ci-runner", "");
    assert!(!run("whoever", "", Some(&strange)).ok, "another authority's word");
    let lease = linegate.lease("user:dba", &[], "all");
    for identity in [None, Some(&runner)] {
        assert_eq!(
            run(&lease.username, &lease.password, identity).good().out.trim(),
            "1000",
            "a lease is a lease"
        );
    }
    assert_eq!(
        run("whoever", &lease.token, None).good().out.trim(),
        "1000",
        "a token without a certificate"
    );
    assert_eq!(linegate.stop(), Some(0));
    let sessions = linegate
        .cli(&["audit", "sessions", "--principal", "ci-runner", "--json"])
        .good()
        .json();
    let found = sessions["sessions"].as_array().expect("a list");
    assert_eq!(found.len(), 1, "{sessions}");
    assert_eq!(found[0]["lease"], "cert:ci-runner", "{sessions}");
}

#[test]
fn tokens_come_by_oauthbearer() {
    let postgres = Postgres::start();
    let authority = Authority::new();
    let linegate = with_tls(
        &postgres,
        &authority,
        Options {
            target: "oauth = { issuer = \"sso\", scope = \"openid db\", user = \"oauth\" }".to_owned(),
            more: "[[issuer]]\nname = \"sso\"\nurl = \"http://127.0.0.1:9/realm/\"\naudience = \"linegate\"\nprincipal = \"{sub}\"\n"
                .to_owned(),
            ..Options::default()
        },
    );
    let lease = linegate.lease("user:dba", &[], "all");
    let begin = |user: &str| {
        let mut client = Knock::tls(loopback(linegate.port()), &TlsWish::default()).expect("TLS");
        client.startup(2, &[("user", user), ("database", "shop")]);
        client
    };
    let bearer = |token: &str| format!("n,,\x01auth=Bearer {token}\x01\x01");
    let mut client = begin("oauth");
    let (kind, data) = client.asked().expect("SASL");
    assert_eq!((kind, mechanisms(&data)), (10, vec!["OAUTHBEARER".to_owned()]));
    client.sasl("OAUTHBEARER", bearer(&lease.token).as_bytes());
    assert_eq!(client.asked().expect("AuthenticationOk").0, 0);
    assert_eq!(client.read_to(b'Z').last().map(|last| last.tag), Some(b'Z'));
    assert_eq!(rows(&client.query("SELECT 7")), [["7"]]);

    for message in [
        "n,,\x01auth=\x01\x01".to_owned(),
        bearer("hunter2"),
        bearer(&lease.token[..lease.token.len() - 8]),
    ] {
        let mut client = begin("oauth");
        client.asked().expect("SASL");
        client.sasl("OAUTHBEARER", message.as_bytes());
        let (kind, data) = client.asked().expect("where to get a token");
        assert_eq!(kind, 11);
        let told: serde_json::Value = serde_json::from_slice(&data).expect("JSON");
        assert_eq!(
            told["openid-configuration"],
            "http://127.0.0.1:9/realm/.well-known/openid-configuration"
        );
        assert_eq!(
            (&told["status"], &told["scope"]),
            (&"invalid_token".into(), &"openid db".into())
        );
        client.send(b'p', b"\x01");
        let refused = client.asked().expect_err("not let in");
        assert_eq!(code(&refused), "28P01", "{message:?}");
    }
    for (mechanism, message, wanted) in [
        ("OAUTHBEARER", "n,,auth".to_owned(), "08P01"),
        (
            "OAUTHBEARER",
            format!("n,a=admin,\x01auth=Bearer {}\x01\x01", lease.token),
            "08P01",
        ),
        ("SCRAM-SHA-256", "n,,n=,r=abc".to_owned(), "28000"),
    ] {
        let mut client = begin("oauth");
        client.asked().expect("SASL");
        client.sasl(mechanism, message.as_bytes());
        assert_eq!(
            code(&client.asked().expect_err("malformed")),
            wanted,
            "{mechanism} {message:?}"
        );
    }
    // Other names send the token as their password; nobody sends one in the clear.
    assert_eq!(begin("app").asked().expect("a password").0, 3);
    let mut plain = Knock::tcp(loopback(linegate.port()));
    plain.startup(0, &[("user", "oauth"), ("database", "shop")]);
    assert_eq!(mechanisms(&plain.asked().expect("SASL").1), ["SCRAM-SHA-256"]);
}
