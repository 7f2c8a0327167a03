//! What servers may answer at the back door: versions, keys of every length, exchanges that end too early. The servers here are
//! scripts, since no real one would say most of it.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use linegate_tests::doors::{Knock, lease_for, target};
use linegate_tests::wire::{error_of, framed};
use linegate_tests::{Lease, Linegate, Message, Options, Postgres, SOON, places};

const CANCEL_REQUEST: u32 = (1234 << 16) | 5678;

/// What a scripted server was told.
enum Told {
    /// The minor version of a StartupMessage.
    Startup(u16),
    /// Process and key of a CancelRequest.
    Cancel(Vec<u8>),
    /// Terminate.
    Terminate,
}

/// A server that says `greeting` to whoever logs in, and answers queries with nothing. One that sleeps is awoken by a cancel.
struct Script {
    port: u16,
    told: Receiver<Told>,
}

impl Script {
    fn start(greeting: impl Fn(u16) -> Vec<u8> + Send + Sync + Clone + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        let (tell, told) = channel();
        let (wake, asleep) = channel();
        let asleep = std::sync::Arc::new(std::sync::Mutex::new(asleep));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (greeting, tell, wake, asleep) =
                    (greeting.clone(), tell.clone(), wake.clone(), asleep.clone());
                std::thread::spawn(move || serve(client, &greeting, &tell, &wake, &asleep).ok());
            }
        });
        Self { port, told }
    }

    /// The next thing that linegate's sessions told; its own connections, which read the catalog, speak 3.0.
    fn next(&self) -> Told {
        self.told.recv_timeout(SOON).expect("linegate says something")
    }
}

fn serve(
    mut client: TcpStream,
    greeting: &impl Fn(u16) -> Vec<u8>,
    tell: &Sender<Told>,
    wake: &Sender<()>,
    asleep: &std::sync::Mutex<Receiver<()>>,
) -> io::Result<()> {
    let packet = sized(&mut client)?;
    let version = u32::from_be_bytes(packet[..4].try_into().expect("four bytes"));
    if version == CANCEL_REQUEST {
        let _ = tell.send(Told::Cancel(packet[4..].to_vec()));
        let _ = wake.send(());
        return Ok(());
    }
    let minor = version as u16;
    let is_catalog = packet.windows(16).any(|part| part == b"linegate catalog");
    if !is_catalog {
        let _ = tell.send(Told::Startup(minor));
    }
    client.write_all(&greeting(minor))?;
    loop {
        let mut tag = [0];
        client.read_exact(&mut tag)?;
        let body = sized(&mut client)?;
        if tag == *b"X" {
            if !is_catalog {
                let _ = tell.send(Told::Terminate);
            }
            return Ok(());
        }
        let answer = if body.starts_with(b"SELECT sleep") {
            let _ = asleep.lock().expect("one sleeps at a time").recv_timeout(SOON);
            framed(b'E', b"SERROR\0VERROR\0C57014\0Mcancelled\0\0")
        } else {
            framed(b'I', b"")
        };
        client.write_all(&[answer, framed(b'Z', b"I")].concat())?;
    }
}

fn sized(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut size = [0; 4];
    client.read_exact(&mut size)?;
    let mut body = vec![0; u32::from_be_bytes(size) as usize - 4];
    client.read_exact(&mut body)?;
    Ok(body)
}

fn key_data(secret: &[u8]) -> Vec<u8> {
    framed(b'K', &[&77_u32.to_be_bytes(), secret].concat())
}

fn ok() -> Vec<u8> {
    framed(b'R', &[0; 4])
}

fn ready() -> Vec<u8> {
    framed(b'Z', b"I")
}

/// A linegate before that script, and a lease for it. The real server is not dialled.
fn before(postgres: &Postgres, script: &Script) -> (Linegate, u16, Lease) {
    let port = places::free_port();
    let lines = format!(
        "listen = \"127.0.0.1:{port}\"\naddress = \"127.0.0.1:{}\"\ntls = \"disable\"\ndatabase = \"shop\"\n\
         credential = {{ user = \"app\", password = \"env:PATH\" }}",
        script.port
    );
    let linegate = Linegate::start_with(
        postgres,
        Options {
            more: target("script", &lines),
            ..Options::default()
        },
    );
    let lease = lease_for(&linegate, "script", "user:dba");
    (linegate, port, lease)
}

fn login(port: u16, minor: u16, lease: &Lease) -> Result<(Knock, Vec<Message>), Message> {
    let mut client = Knock::tcp(SocketAddr::from(([127, 0, 0, 1], port)));
    client.login(minor, lease, "shop").map(|told| (client, told))
}

#[test]
fn keys_of_every_length_are_kept_and_used() {
    let postgres = Postgres::start();
    for (length, minor) in [(4, 0), (4, 2), (32, 2), (256, 2)] {
        let secret: Vec<u8> = (0..length).map(|at| at as u8).collect();
        let key = key_data(&secret);
        let script = Script::start(move |_| [ok(), key.clone(), ready()].concat());
        let (_linegate, port, lease) = before(&postgres, &script);
        let (mut client, told) = login(port, minor, &lease).expect("a login");
        let Told::Startup(asked) = script.next() else {
            panic!("a startup packet comes first");
        };
        assert_eq!(asked, minor, "the server is asked for what the client asked for");
        let own = &told
            .iter()
            .find(|message| message.tag == b'K')
            .expect("a key")
            .body;
        assert_eq!(own[..4], 77_u32.to_be_bytes());
        assert_ne!(own[4..], secret, "not the server's");
        client.send(b'Q', b"SELECT sleep()\0");
        std::thread::sleep(std::time::Duration::from_millis(200));
        let mut cancel = Knock::tcp(SocketAddr::from(([127, 0, 0, 1], port)));
        cancel.send_bytes(&linegate_tests::doors::cancel_request(own));
        let Told::Cancel(heard) = script.next() else {
            panic!("a cancel request");
        };
        assert_eq!(
            heard,
            [&77_u32.to_be_bytes(), secret.as_slice()].concat(),
            "{length}"
        );
        assert!(cancel.is_over());
        let answer = client.read_to(b'Z');
        assert_eq!(error_of(&answer).map(|(code, _)| code).as_deref(), Some("57014"));
    }
}

#[test]
fn the_server_hears_that_a_session_ends() {
    let postgres = Postgres::start();
    let script = Script::start(move |_| [ok(), key_data(&[7; 4]), ready()].concat());
    let (_linegate, port, lease) = before(&postgres, &script);
    for says_so in [true, false] {
        let (mut client, _) = login(port, 0, &lease).expect("a login");
        assert!(matches!(script.next(), Told::Startup(0)));
        client.send(b'Q', b"SELECT 1\0");
        client.read_to(b'Z');
        if says_so {
            client.send(b'X', b"");
        }
        drop(client);
        assert!(matches!(script.next(), Told::Terminate), "says so: {says_so}");
    }
}

#[test]
fn what_no_server_may_answer_ends_the_login() {
    let postgres = Postgres::start();
    let negotiated = |minor: u8, count: u8, options: &[u8]| {
        framed(b'v', &[&[0, 3, 0, minor, 0, 0, 0, count], options].concat())
    };
    let sasl = |kind: u8, data: &[u8]| framed(b'R', &[&[0, 0, 0, kind], data].concat());
    let bad: [(&str, Vec<u8>); 8] = [
        (
            "a version that nobody asked for",
            [negotiated(3, 0, b""), ok(), ready()].concat(),
        ),
        (
            "an option that nobody named",
            [negotiated(0, 1, b"_pq_.x\0"), ok(), ready()].concat(),
        ),
        (
            "a count without options",
            [negotiated(0, 200, b""), ok(), ready()].concat(),
        ),
        (
            "a key that is too short",
            [ok(), key_data(b"abc"), ready()].concat(),
        ),
        (
            "a key that is too long",
            [ok(), key_data(&[7; 257]), ready()].concat(),
        ),
        ("a mechanism that nobody knows", sasl(10, b"MAGIC\0\0")),
        ("binding without TLS", sasl(10, b"SCRAM-SHA-256-PLUS\0\0")),
        (
            "the end in the middle",
            [sasl(10, b"SCRAM-SHA-256\0\0"), ok(), ready()].concat(),
        ),
    ];
    for (what, greeting) in bad {
        let script = Script::start(move |_| greeting.clone());
        let (linegate, port, lease) = before(&postgres, &script);
        let refused = login(port, 2, &lease)
            .err()
            .unwrap_or_else(|| panic!("{what} passed"));
        assert_eq!(refused.field(b'C').as_deref(), Some("08001"), "{what}");
        assert!(
            !refused.field(b'M').unwrap_or_default().contains("127.0.0.1"),
            "{what}"
        );
        linegate.assert_unharmed();
    }
    for (what, greeting) in [
        (
            "an older version",
            [negotiated(0, 0, b""), ok(), key_data(b"abcd"), ready()].concat(),
        ),
        ("no key at all", [ok(), ready()].concat()),
    ] {
        let script = Script::start(move |_| greeting.clone());
        let (_linegate, port, lease) = before(&postgres, &script);
        let (mut client, told) = login(port, 2, &lease).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert!(
            told.iter().any(|message| message.tag == b'K'),
            "{what}: linegate can cancel holds"
        );
        client.send(b'Q', b"SELECT 1\0");
        assert_eq!(
            client.read_to(b'Z').last().map(|last| last.tag),
            Some(b'Z'),
            "{what}"
        );
    }
}
