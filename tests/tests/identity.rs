//! Id-tokens of a CI provider as passwords: what a configured issuer signed opens a session, and nothing else does.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use linegate_tests::{Linegate, Options, Postgres, Said, eventually, places, postgres};
use serde_json::{Value, json};

/// An issuer on loopback: its discovery document, its key set, and its private key.
struct Issuer {
    url: String,
    key: EcdsaKeyPair,
}

impl Issuer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let point = key.public_key().as_ref();
        let (x, y) = (
            URL_SAFE_NO_PAD.encode(&point[1..33]),
            URL_SAFE_NO_PAD.encode(&point[33..]),
        );
        let jwk =
            json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "k1", "x": x, "y": y });
        let jwks = json!({ "keys": [jwk] }).to_string();
        let discovery = json!({
            "issuer": url, "jwks_uri": format!("{url}/keys"), "id_token_signing_alg_values_supported": ["ES256"],
        });
        let discovery = discovery.to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut request = [0; 4096];
                let read = stream.read(&mut request).unwrap_or(0);
                let body = if request[..read].starts_with(b"GET /keys") {
                    &jwks
                } else {
                    &discovery
                };
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _gone = stream.write_all(format!("{head}{body}").as_bytes());
            }
        });
        Self { url, key }
    }

    fn sign(&self, claims: &Value) -> String {
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": "k1" });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature = self
            .key
            .sign(&SystemRandom::new(), signed.as_bytes())
            .expect("signs");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn claims(&self) -> Value {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs();
        json!({
            "iss": self.url, "aud": "linegate", "sub": "job:4711", "runner": "ci-runner",
            "iat": now, "nbf": now - 5, "exp": now + 300,
        })
    }
}

fn connect(linegate: &Linegate, token: &str, tls: &str) -> Said {
    let mut command = std::process::Command::new("psql");
    command.args([
        "-XqAt",
        "-h",
        "127.0.0.1",
        "-p",
        &linegate.port().to_string(),
        "-U",
        "oidc",
        "-d",
        "shop",
    ]);
    command.args(["-c", "SELECT card_number FROM app.customers WHERE id = 1"]);
    Said::by(
        command
            .env("PGPASSWORD", token)
            .env("PGSSLMODE", tls)
            .env("PGCONNECT_TIMEOUT", "20"),
    )
}

#[test]
fn an_id_token_opens_a_session_and_forgeries_do_not() {
    let issuer = Issuer::start();
    let postgres = Postgres::start();
    let dir = places::temporary("lg-oidc-");
    let pair: (PathBuf, PathBuf) = (dir.path().join("key.pem"), dir.path().join("crt.pem"));
    postgres::self_signed(&pair.0, &pair.1);
    let more = format!(
        "[[issuer]]\nname = \"ci\"\nurl = \"{}\"\naudience = \"linegate\"\nprincipal = \"{{runner}}\"\nalgorithms = [\"ES256\"]\n",
        issuer.url
    );
    let mut linegate = Linegate::start_with(
        &postgres,
        Options {
            more,
            client_cert: Some(pair),
            ..Options::default()
        },
    );

    let good = issuer.sign(&issuer.claims());
    let said = eventually("the issuer's keys arrived", || {
        Some(connect(&linegate, &good, "require")).filter(|said| said.ok)
    });
    assert!(
        said.out.trim().ends_with("1111") && !said.out.contains("4111111111111111"),
        "masked: {}",
        said.out
    );

    let changed = |name: &str, value: Value| {
        let mut claims = issuer.claims();
        claims[name] = value;
        claims
    };
    let other = Issuer::start();
    let mut cut = good.clone();
    cut.truncate(cut.rfind('.').expect("three parts") + 1);
    let none = {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        format!(
            "{header}.{}.",
            URL_SAFE_NO_PAD.encode(issuer.claims().to_string())
        )
    };
    for (what, token) in [
        ("expired", issuer.sign(&changed("exp", json!(1_700_000_000)))),
        (
            "for another audience",
            issuer.sign(&changed("aud", json!("elsewhere"))),
        ),
        (
            "of another issuer",
            issuer.sign(&changed("iss", json!("https://issuer.example"))),
        ),
        (
            "not valid yet",
            issuer.sign(&changed("nbf", json!(4_000_000_000u64))),
        ),
        (
            "without the principal's claim",
            issuer.sign(&changed("runner", Value::Null)),
        ),
        ("signed with another key", other.sign(&issuer.claims())),
        ("without a signature", cut),
        ("with the algorithm none", none),
        ("not a token at all", "hunter2".to_owned()),
    ] {
        let said = connect(&linegate, &token, "require");
        assert!(!said.ok, "a token {what} opened a session: {}", said.all());
        assert!(!said.err.contains(&token), "the answer repeats the token");
    }
    assert!(
        !connect(&linegate, &good, "disable").ok,
        "a token never crosses the wire in the clear"
    );

    let unknown = issuer.sign(&changed("runner", json!("somebody")));
    assert!(
        !connect(&linegate, &unknown, "require").ok,
        "proven, but no policy lets it in"
    );

    assert_eq!(linegate.stop(), Some(0));
    let sessions = linegate
        .cli(&["audit", "sessions", "--principal", "ci-runner"])
        .good()
        .out;
    assert!(
        sessions.contains("ci-runner"),
        "who it was is on record: {sessions}"
    );
}
