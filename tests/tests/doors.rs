//! Doors: sockets of both kinds, minor versions of the protocol and their keys, targets that share a door.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use linegate_tests::doors::{Authority, Knock, TlsWish, cancel_request, lease_for, target};
use linegate_tests::wire::{error_of, rows};
use linegate_tests::{Linegate, Message, Options, Postgres, Said, eventually, places, shop};

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The directory of a server's Unix socket.
fn socket_dir(postgres: &Postgres) -> PathBuf {
    let data = postgres.certificate();
    data.ancestors().nth(2).expect("DIR/data/server.crt").to_owned()
}

/// How linegate logs in at that server, over TCP.
fn backend(postgres: &Postgres) -> String {
    format!(
        "address = \"127.0.0.1:{}\"\ntls = \"disable\"\ncredential = {{ user = \"app_trust\" }}\ndatabase = \"shop\"\n",
        postgres.port()
    )
}

fn key_of(messages: &[Message]) -> Vec<u8> {
    let key = messages.iter().find(|message| message.tag == b'K');
    key.expect("BackendKeyData").body.clone()
}

fn field(message: &Message, code: u8) -> String {
    message.field(code).unwrap_or_default()
}

#[test]
fn clients_of_every_minor_version_get_a_key_that_fits() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let lease = linegate.lease("user:dba", &[], "all");
    for (minor, parameter, spoken, key_bytes) in [
        (0, None, None, 4),
        (0, Some("_pq_.shiny"), Some(0), 4),
        (1, None, None, 4),
        (2, None, None, 32),
        (2, Some("_pq_.shiny"), Some(2), 32),
        (3, None, Some(2), 32),
        (9999, Some("_pq_.shiny"), Some(2), 32),
    ] {
        let mut client = Knock::tcp(loopback(linegate.port()));
        let mut parameters = vec![("user", lease.username.as_str()), ("database", "shop")];
        parameters.extend(parameter.map(|name| (name, "1")));
        client.startup(minor, &parameters);
        let what = format!("3.{minor} {parameter:?}");
        if let Some(spoken) = spoken {
            let message = client.read().expect("an answer");
            assert_eq!(message.tag, b'v', "{what}");
            let mut wanted = vec![0, 3, 0, spoken, 0, 0, 0, u8::from(parameter.is_some())];
            if let Some(name) = parameter {
                wanted.extend_from_slice(name.as_bytes());
                wanted.push(0);
            }
            assert_eq!(message.body, wanted, "{what}");
        }
        client
            .scram(&lease.password, linegate_identity::ScramBinding::None)
            .unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let told = client.read_to(b'Z');
        assert!(
            told.iter().all(|message| message.tag != b'v'),
            "{what}: told once"
        );
        assert_eq!(key_of(&told).len(), 4 + key_bytes, "{what}");
        assert_eq!(told.last().map(|last| last.body.as_slice()), Some(&b"I"[..]));
        assert_eq!(rows(&client.query("SELECT 7")), [["7"]], "{what}");
    }
}

#[test]
fn long_keys_cancel_here_and_open_nothing_at_the_server() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let lease = linegate.lease("user:dba", &[], "all");
    for minor in [0, 2] {
        let mut client = Knock::tcp(loopback(linegate.port()));
        let key = key_of(&client.login(minor, &lease, "shop").expect("a login"));
        let pid = rows(&client.query("SELECT pg_backend_pid()"))[0][0].clone();
        let process = u32::from_be_bytes(key[..4].try_into().expect("four bytes"));
        assert_eq!(process.to_string(), pid, "the process is the server's own");
        client.send(b'Q', b"SELECT pg_sleep(20)\0");
        let runs =
            format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'PgSleep'");
        eventually("the statement runs", || {
            (postgres.sql(&runs) == "1").then_some(())
        });

        let mut around = Knock::tcp(loopback(postgres.port()));
        around.send_bytes(&cancel_request(&key));
        assert!(around.is_over(), "the server has heard");
        let mut wrong = key.clone();
        *wrong.last_mut().expect("a key") ^= 1;
        let longer = [key.as_slice(), &[0]].concat();
        for key in [wrong, key[..7].to_vec(), longer, vec![0; 260], vec![0; 261]] {
            let mut other = Knock::tcp(loopback(linegate.port()));
            other.send_bytes(&cancel_request(&key));
            other.read().err(); // silence, or an error where the key cannot be one
        }
        assert_eq!(postgres.sql(&runs), "1", "no key but its own");

        let mut cancel = Knock::tcp(loopback(linegate.port()));
        cancel.send_bytes(&cancel_request(&key));
        assert!(cancel.is_over(), "closed when the server has heard");
        let messages = client.read_to(b'Z');
        let (code, _) = error_of(&messages).expect("cancelled");
        assert_eq!(code, "57014");
    }
    linegate.assert_unharmed();
}

#[test]
fn the_first_packets_are_answered_as_a_server_would() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let mut client = Knock::tcp(loopback(linegate.port()));
    client.send_bytes(&[0, 0, 0, 8, 4, 210, 22, 48]); // GSSENCRequest
    assert_eq!(client.byte().ok(), Some(b'N'));
    client.send_bytes(&[0, 0, 0, 8, 4, 210, 22, 47]); // SSLRequest
    assert_eq!(client.byte().ok(), Some(b'N'), "there is no certificate");
    let lease = linegate.lease("user:dba", &[], "all");
    client.login(0, &lease, "shop").expect("in the clear, then");
    for request in [48, 47] {
        let mut client = Knock::tcp(loopback(linegate.port()));
        let request = [0, 0, 0, 8, 4, 210, 22, request];
        client.send_bytes(&request);
        assert_eq!(client.byte().ok(), Some(b'N'));
        client.send_bytes(&request);
        let refused = client.read().expect("words");
        assert_eq!(
            (refused.tag, field(&refused, b'C')),
            (b'E', "08P01".to_owned()),
            "a second one"
        );
    }
    let mut client = Knock::tcp(loopback(linegate.port()));
    client.send_bytes(&[0x16, 3, 1, 0, 5]);
    assert!(client.is_over(), "TLS where none is offered");
}

/// A target on a Unix socket that reaches its server over one, and the same on IPv6.
#[test]
fn unix_sockets_and_ipv6_lead_to_the_server() {
    for runtime in ["auto", "epoll"] {
        let postgres = Postgres::start();
        let dir = places::temporary("lg-sock-");
        let port = places::free_port();
        let wide = places::free_port();
        let local = target(
            "local",
            &format!(
                "listen = \"unix:{}/.s.PGSQL.6432\"\naddress = \"unix:{}/.s.PGSQL.{}\"\n\
                 credential = {{ user = \"app\" }}\ndatabase = \"shop\"\nclient_tls = \"optional\"",
                dir.path().display(),
                socket_dir(&postgres).display(),
                postgres.port()
            ),
        );
        let six = target(
            "six",
            &format!("listen = \"[::1]:{port}\"\n{}", backend(&postgres)),
        );
        let both = target(
            "both",
            &format!("listen = \"[::]:{wide}\"\n{}", backend(&postgres)),
        );
        let mut linegate = Linegate::start_with(
            &postgres,
            Options {
                data: format!("runtime = \"{runtime}\""),
                more: format!("{local}{six}{both}"),
                ..Options::default()
            },
        );
        let socket = dir.path().join(".s.PGSQL.6432");
        let lease = lease_for(&linegate, "local", "user:dba");
        let mut client = Knock::unix(&socket);
        client.login(2, &lease, "shop").expect("a login");
        let big = client.query("SELECT n, repeat('x', 1000) FROM generate_series(1, 3000) n");
        assert_eq!(rows(&big).len(), 3000, "{runtime}");
        let address = rows(&client.query("SELECT coalesce(host(inet_client_addr()), 'a Unix socket')"));
        assert_eq!(address, [["a Unix socket"]], "how linegate reached the server");
        drop(client);

        // libpq finds the socket by directory and port, asks for no TLS, and may send a token as its password.
        let psql = |host: &str, port: u16, user: &str, password: &str| {
            let mut command = std::process::Command::new("psql");
            command.args([
                "-XqAt",
                "-h",
                host,
                "-p",
                &port.to_string(),
                "-U",
                user,
                "-d",
                "shop",
            ]);
            command.args(["-c", "SELECT count(*) FROM app.orders"]);
            Said::by(command.env("PGPASSWORD", password).env("PGCONNECT_TIMEOUT", "20"))
        };
        let place = dir.path().display().to_string();
        assert_eq!(
            psql(&place, 6432, &lease.username, &lease.password)
                .good()
                .out
                .trim(),
            "1000"
        );
        assert_eq!(
            psql(&place, 6432, "anybody", &lease.token).good().out.trim(),
            "1000"
        );
        assert!(!psql(&place, 6432, "anybody", "hunter2").ok);

        let lease = lease_for(&linegate, "six", "user:dba");
        assert_eq!(
            psql("::1", port, &lease.username, &lease.password)
                .good()
                .out
                .trim(),
            "1000"
        );
        let mut client = Knock::tcp((Ipv6Addr::LOCALHOST, port));
        client.login(0, &lease, "shop").expect("a login");
        drop(client);
        let lease = lease_for(&linegate, "both", "user:dba");
        for host in ["::1", "127.0.0.1"] {
            assert_eq!(
                psql(host, wide, &lease.username, &lease.password)
                    .good()
                    .out
                    .trim(),
                "1000"
            );
        }

        assert_eq!(linegate.stop(), Some(0));
        assert!(!socket.exists(), "the socket leaves with linegate");
        let sessions = linegate.cli(&["audit", "sessions", "--json"]).good().json();
        let peers = |target: &str| -> Vec<String> {
            let all = sessions["sessions"].as_array().expect("a list");
            let of_target = all.iter().filter(|session| session["target"] == target);
            of_target
                .map(|session| session["client_addr"].as_str().expect("an address").to_owned())
                .collect()
        };
        let uid = rustix::process::geteuid().as_raw();
        let own = format!("unix:uid={uid},pid=");
        assert!(
            peers("local").iter().all(|peer| peer.starts_with(&own)),
            "{:?}",
            peers("local")
        );
        assert_eq!(peers("local").len(), 3);
        assert!(
            peers("six").iter().all(|peer| peer.starts_with("[::1]:")),
            "{:?}",
            peers("six")
        );
        let wide: Vec<String> = peers("both");
        assert!(wide.iter().any(|peer| peer.starts_with("[::1]:")), "{wide:?}");
        assert!(
            wide.iter().any(|peer| peer.starts_with("127.0.0.1:")),
            "not written as IPv6: {wide:?}"
        );
    }
}

#[test]
fn a_socket_that_somebody_listens_on_is_not_taken() {
    let postgres = Postgres::start();
    let taken = socket_dir(&postgres);
    let config = |listen: String| {
        let dir = places::temporary("lg-sock-");
        let text = target("local", &format!("listen = \"{listen}\"\n{}", backend(&postgres)));
        std::fs::write(dir.path().join("linegate.toml"), text).expect("our own directory");
        dir
    };
    let start = |dir: &tempfile::TempDir| {
        let mut command = std::process::Command::new(places::program("linegated"));
        command.arg("--config").arg(dir.path().join("linegate.toml"));
        Said::by(command.arg("--state-dir").arg(dir.path().join("state")))
    };
    let listen = format!("unix:{}/.s.PGSQL.{}", taken.display(), postgres.port());
    let said = start(&config(listen));
    assert!(
        !said.ok && said.all().contains("cannot be listened on"),
        "{}",
        said.all()
    );
    assert_eq!(postgres.sql("SELECT 1"), "1", "the server keeps its socket");
    let said = start(&config("unix:/nowhere/at/all".to_owned()));
    assert!(
        !said.ok && said.all().contains("/nowhere/at/all"),
        "{}",
        said.all()
    );
}

#[test]
fn targets_that_share_a_door_are_told_apart_by_name() {
    let postgres = Postgres::start();
    let other = Postgres::start();
    other.sql("CREATE TABLE app.here (n int); INSERT INTO app.here VALUES (2); GRANT SELECT ON app.here TO app_trust");
    let authority = Authority::new();
    let server = authority.issue(
        "server",
        "/CN=localhost",
        "DNS:localhost,DNS:two.example,DNS:both.example",
    );
    let door = places::free_port();
    let listen = format!("listen = \"127.0.0.1:{door}\"\n");
    let one = target(
        "one",
        &format!(
            "{listen}database_names = [\"one\", \"One\"]\n{}",
            backend(&postgres)
        ),
    );
    let own = authority.issue("two", "/CN=two.example", "DNS:two.example");
    let two = target(
        "two",
        &format!(
            "{listen}server_names = [\"two.example\"]\nclient_tls_cert = \"{}\"\nclient_tls_key = \"{}\"\n{}",
            own.cert.display(),
            own.key.display(),
            backend(&other)
        ),
    );
    let both = target(
        "both",
        &format!(
            "{listen}server_names = [\"two.example\"]\ndatabase_names = [\"one\"]\nclient_tls = \"require\"\n{}",
            backend(&postgres)
        ),
    );
    let linegate = Linegate::start_with(
        &postgres,
        Options {
            more: format!("{one}{two}{both}"),
            client_cert: Some((server.key, server.cert)),
            ..Options::default()
        },
    );
    let leases = ["one", "two", "both"].map(|name| (name, lease_for(&linegate, name, "user:dba")));
    let lease = |name: &str| &leases.iter().find(|(one, _)| *one == name).expect("a lease").1;
    let knock = |server_name: Option<&'static str>| match server_name {
        None => Knock::tcp(loopback(door)),
        Some(name) => {
            let wish = TlsWish {
                server_name: Some(name),
                ..TlsWish::default()
            };
            Knock::tls(loopback(door), &wish).expect("TLS")
        }
    };
    for (server_name, database, wanted) in [
        (None, "one", "one"),
        (None, "One", "one"),
        (Some("localhost"), "one", "one"),
        (Some("two.example"), "shop", "two"),
        (Some("two.example"), "two", "two"),
        (Some("TWO.Example"), "One", "two"),
        (Some("two.example"), "one", "both"),
    ] {
        for (name, _) in &leases {
            let opened = knock(server_name).login(0, lease(name), database);
            let what = format!("{server_name:?} {database}: a lease for {name}");
            match opened {
                Ok(_) => assert_eq!(*name, wanted, "{what} opened {wanted}"),
                Err(error) => {
                    assert_ne!(*name, wanted, "{what}: {error:?}");
                    assert_eq!(field(&error, b'M'), "this lease is for another target", "{what}");
                }
            }
        }
    }
    let mut client = knock(Some("two.example"));
    client.login(0, lease("two"), "shop").expect("a login");
    assert_eq!(
        rows(&client.query("SELECT n FROM app.here")),
        [["2"]],
        "the other server"
    );
    for (server_name, database) in [
        (None, "two"),
        (Some("localhost"), "shop"),
        (Some("both.example"), "two"),
    ] {
        let mut client = knock(server_name);
        let refused = client
            .login(0, lease("two"), database)
            .expect_err("nobody is behind that name");
        assert_eq!(field(&refused, b'C'), "3D000", "{server_name:?} {database}");
    }
    // One name has a certificate of its own, which SCRAM is bound to there.
    let digest = |name| knock(Some(name)).end_point;
    assert!(digest("two.example").is_some() && digest("two.example") != digest("localhost"));
    assert_eq!(digest("TWO.example"), digest("two.example"));
    assert_eq!(digest("unknown.example"), digest("localhost"));
    // The command line says what leads there.
    let whole = &lease("one").whole;
    assert_eq!(
        (whole["database"].as_str(), whole["port"].as_u64()),
        (Some("one"), Some(u64::from(door))),
        "{whole}"
    );
    assert_eq!(lease("both").whole["host"], "two.example");
    assert_eq!(shop::TARGET, "shop", "the other door stays");
    let own = linegate.lease("user:dba", &[], "all");
    Knock::tcp(loopback(linegate.port()))
        .login(0, &own, "shop")
        .expect("a door of its own");
}
