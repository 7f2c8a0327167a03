//! SCRAM messages from either side, bearer tokens and certificates: malformed ones are refused, and nobody gets in without the
//! secret.

use std::sync::LazyLock;

use linegate_identity::{
    Certificate, ScramBinding, ScramClient, ScramServer, ScramVerifier, bearer, end_point,
};

static VERIFIER: LazyLock<ScramVerifier> =
    LazyLock::new(|| ScramVerifier::derive(b"a secret that is not in any seed", b"0123456789abcdef", 1));

/// `data` holds up to three messages between line ends, for the server and for the client.
pub fn check(data: &[u8]) {
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let (one, two, three) = (
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
    );
    for verifier in [Some(&*VERIFIER), None] {
        let mut server = ScramServer::new(verifier, &[7; 32], "somebody", [1; 18]);
        if let Ok(answer) = server.first(one) {
            let said = String::from_utf8(answer).expect("what a server says is text");
            assert!(said.starts_with("r=") && said.contains(",s=") && said.contains(",i="));
            assert!(server.first(one).is_err(), "a second first message");
            assert!(server.last(two).is_err(), "in without the secret");
        }
        let mut server = ScramServer::new(verifier, &[7; 32], "somebody", [1; 18]).offering(vec![3; 32]);
        if server.first_bound(one).is_ok() {
            assert!(one.starts_with(b"p=tls-server-end-point,,"));
            assert!(server.last(two).is_err(), "in without the secret");
        }
        let mut server = ScramServer::new(verifier, &[7; 32], "somebody", [1; 18]).offering(vec![3; 32]);
        assert!(
            !one.starts_with(b"y") || server.first(one).is_err(),
            "the offer was taken away"
        );
    }
    // Clients' certificates are read after their chain was verified, and this does not rest on it.
    let _ = (Certificate::read(data), end_point(data));
    if let Ok(Some(token)) = bearer(one) {
        assert!(!token.is_empty() && one.ends_with(b"\x01\x01"));
    }
    // A round costs; what asks for many is refused above the bound, and is not worth the fuzzer's time below it.
    let asks_for_many = three
        .windows(3)
        .any(|window| window.starts_with(b"i=") && window[2] != b'1')
        || three
            .windows(6)
            .any(|window| window.starts_with(b"i=1") && window[3..].iter().all(u8::is_ascii_digit));
    if !asks_for_many {
        let bound = ScramClient::new("secret", [2; 18]).over(ScramBinding::EndPoint(vec![3; 32]));
        assert!(bound.first().starts_with(b"p=tls-server-end-point,,n=,r="));
        let mut client = ScramClient::new("secret", [2; 18]);
        let first = client.first();
        assert!(first.starts_with(b"n,,n=,r="));
        if client.respond(three).is_ok() {
            assert!(client.respond(three).is_err(), "a second answer");
            assert!(client.verify(two).is_err(), "a server without the verifier");
        }
    }
    let _ = ScramClient::new("secret", [2; 18]).verify(one);
}
