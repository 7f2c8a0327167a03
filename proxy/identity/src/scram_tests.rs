//! SCRAM-SHA-256: the published exchange, and everybody who strays from it.

use proptest::prelude::*;

use super::*;

const MOCK: [u8; 32] = [9; 32];

/// RFC 7677, section 3.
const CLIENT_FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const SERVER_FIRST: &[u8] =
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const CLIENT_FINAL: &[u8] = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_FINAL: &[u8] = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn rfc_7677_server() -> ScramServer {
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let verifier = ScramVerifier::derive(b"pencil", &salt, 4096);
    let mut server = ScramServer::new(Some(&verifier), &MOCK, "user", [0; 18]);
    server.nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".into();
    server
}

#[test]
fn both_sides_speak_rfc_7677() {
    let mut client = ScramClient::with_nonce("user", "pencil", "rOprNGfwEbeRWgbNEkqO".into());
    assert_eq!(client.first(), CLIENT_FIRST);
    assert_eq!(client.respond(SERVER_FIRST).unwrap(), CLIENT_FINAL);
    assert_eq!(client.verify(SERVER_FINAL), Ok(()));
    let mut server = rfc_7677_server();
    assert_eq!(server.first(CLIENT_FIRST).unwrap(), SERVER_FIRST);
    assert_eq!(server.last(CLIENT_FINAL).unwrap(), SERVER_FINAL);
}

#[test]
fn keys_that_are_kept_answer_their_own_challenges_only() {
    let verifier = ScramVerifier::derive(b"secret", &[7; SALT_BYTES], 64);
    fn begin(verifier: &ScramVerifier) -> (ScramClient, ScramServer, ScramChallenge) {
        let client = ScramClient::new("secret", [1; 18]);
        let mut server = ScramServer::new(Some(verifier), &MOCK, "lg_someone", [2; 18]);
        let challenge = client.challenge(&server.first(&client.first()).unwrap()).unwrap();
        (client, server, challenge)
    }
    let (_, _, challenge) = begin(&verifier);
    let keys = challenge.derive("secret");
    // Another exchange of the same verifier, without any rounds.
    let (mut client, server, challenge) = begin(&verifier);
    assert!(keys.are_for(&challenge));
    let answer = client.answer(&challenge, &keys).unwrap();
    assert_eq!(client.verify(&server.last(&answer).unwrap()), Ok(()));
    for (salt, rounds) in [([8; SALT_BYTES], 64), ([7; SALT_BYTES], 65)] {
        let other = ScramVerifier::derive(b"secret", &salt, rounds);
        let (mut client, _, challenge) = begin(&other);
        assert!(!keys.are_for(&challenge));
        assert_eq!(client.answer(&challenge, &keys), Err(ScramError::ServerMalformed));
    }
    let (mut client, server, challenge) = begin(&verifier);
    let answer = client.answer(&challenge, &challenge.derive("other")).unwrap();
    assert_eq!(server.last(&answer), Err(ScramError::Refused));
}

fn exchange(verifier: Option<&ScramVerifier>, password: &str) -> Result<(), ScramError> {
    let mut client = ScramClient::new(password, [1; 18]);
    let mut server = ScramServer::new(verifier, &MOCK, "lg_someone", [2; 18]);
    let client_final = client.respond(&server.first(&client.first())?)?;
    client.verify(&server.last(&client_final)?)
}

#[test]
fn only_the_secret_opens() {
    let verifier = ScramVerifier::derive(b"secret", &[7; SALT_BYTES], 64);
    assert_eq!(exchange(Some(&verifier), "secret"), Ok(()));
    assert_eq!(exchange(Some(&verifier), "secret "), Err(ScramError::Refused));
    assert_eq!(exchange(Some(&verifier), ""), Err(ScramError::Refused));
    assert_eq!(exchange(None, "secret"), Err(ScramError::Refused));
    let empty = ScramVerifier::derive(b"", &[7; SALT_BYTES], 1);
    assert_eq!(exchange(Some(&empty), ""), Ok(()));
}

#[test]
fn passwords_are_prepared_as_postgresql_does() {
    let composed = ScramVerifier::derive("p\u{e9}\u{a0}".as_bytes(), &[7; 16], 2);
    assert_eq!(exchange(Some(&composed), "pe\u{301} "), Ok(()));
    let prohibited = ScramVerifier::derive(b"a\x07b", &[7; 16], 2);
    assert_eq!(
        exchange(Some(&prohibited), "a\x07b"),
        Ok(()),
        "used as it is where SASLprep refuses"
    );
}

#[test]
fn an_unknown_user_looks_like_any_other() {
    let ask = |user: &str, key: [u8; 32]| {
        let answer = ScramServer::new(None, &key, user, [2; 18])
            .first(b"n,,n=,r=abc")
            .unwrap();
        String::from_utf8(answer).unwrap()
    };
    assert_eq!(ask("lg_one", MOCK), ask("lg_one", MOCK));
    assert_ne!(ask("lg_one", MOCK), ask("lg_two", MOCK));
    assert_ne!(ask("lg_one", MOCK), ask("lg_one", [8; 32]));
    let real = ScramVerifier::derive(b"secret", &[7; SALT_BYTES], ITERATIONS);
    let real = ScramServer::new(Some(&real), &MOCK, "lg_one", [2; 18])
        .first(b"n,,n=,r=abc")
        .unwrap();
    assert_eq!(real.len(), ask("lg_one", MOCK).len());
}

/// An exchange over a channel: what the server offers, what the client binds to.
fn over(offered: Option<&[u8]>, client: ScramBinding) -> Result<(), ScramError> {
    let verifier = ScramVerifier::derive(b"secret", &[7; SALT_BYTES], 64);
    let mut server = ScramServer::new(Some(&verifier), &MOCK, "lg_someone", [2; 18]);
    if let Some(digest) = offered {
        server = server.offering(digest.to_vec());
    }
    let mut client = ScramClient::new("secret", [1; 18]).over(client);
    let answer = match client.mechanism() {
        MECHANISM_PLUS => server.first_bound(&client.first())?,
        _ => server.first(&client.first())?,
    };
    let client_final = client.respond(&answer)?;
    client.verify(&server.last(&client_final)?)
}

#[test]
fn a_bound_exchange_holds_for_one_certificate() {
    let end_point = |byte: u8| ScramBinding::EndPoint(vec![byte; 32]);
    assert_eq!(over(Some(&[1; 32]), end_point(1)), Ok(()));
    assert_eq!(
        over(Some(&[1; 32]), end_point(2)),
        Err(ScramError::ChannelBinding),
        "somebody else's certificate"
    );
    assert_eq!(
        over(None, end_point(1)),
        Err(ScramError::ChannelBinding),
        "not offered"
    );
    assert_eq!(
        over(Some(&[1; 32]), ScramBinding::None),
        Ok(()),
        "nobody has to bind"
    );
    assert_eq!(over(None, ScramBinding::NotOffered), Ok(()));
}

#[test]
fn an_offer_that_was_taken_away_is_noticed() {
    assert_eq!(
        over(Some(&[1; 32]), ScramBinding::NotOffered),
        Err(ScramError::Downgrade)
    );
    let server = || rfc_7677_server().offering(vec![1; 32]);
    for (wrong, error) in [
        ("n,,n=,r=abc", ScramError::ChannelBinding),
        ("y,,n=,r=abc", ScramError::ChannelBinding),
        ("p=tls-unique,,n=,r=abc", ScramError::ChannelBinding),
        ("p=,,n=,r=abc", ScramError::ChannelBinding),
        ("x,,n=,r=abc", ScramError::Malformed),
    ] {
        assert_eq!(server().first_bound(wrong.as_bytes()), Err(error), "{wrong}");
    }
    let bound = b"p=tls-server-end-point,,n=,r=abc";
    assert_eq!(
        server().first(bound),
        Err(ScramError::ChannelBinding),
        "the other mechanism"
    );
    // The header without the digest, and the plain one, do not pass for the whole.
    for said in ["p=tls-server-end-point,,", "n,,"] {
        let mut server = server();
        server.first_bound(bound).unwrap();
        let nonce = format!("abc{}", server.nonce);
        let last = format!("c={},r={nonce},p=AAAA", STANDARD.encode(said));
        assert_eq!(
            server.last(last.as_bytes()),
            Err(ScramError::ChannelBinding),
            "{said}"
        );
    }
}

#[test]
fn a_client_that_strays_is_refused() {
    for (wrong, error) in [
        ("p=tls-server-end-point,,n=,r=abc", ScramError::ChannelBinding),
        ("n,a=admin,n=,r=abc", ScramError::OtherIdentity),
        ("n,x,n=,r=abc", ScramError::Malformed),
        ("x,,n=,r=abc", ScramError::Malformed),
        ("n,,m=ext,n=,r=abc", ScramError::Malformed),
        ("n,,n=,r=", ScramError::Malformed),
        ("n,,n=,r=a b", ScramError::Malformed),
        ("n,,n=", ScramError::Malformed),
        ("n,,n=,r=a\0", ScramError::Malformed),
        ("", ScramError::Malformed),
    ] {
        assert_eq!(rfc_7677_server().first(wrong.as_bytes()), Err(error), "{wrong}");
    }
    let mut server = rfc_7677_server();
    server.first(b"y,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
    assert_eq!(server.first(CLIENT_FIRST), Err(ScramError::OutOfPhase));
    assert_eq!(
        server.last(CLIENT_FINAL),
        Err(ScramError::ChannelBinding),
        "began with y, ended with n"
    );
    assert_eq!(rfc_7677_server().last(CLIENT_FINAL), Err(ScramError::OutOfPhase));
    let last = |text: &str| {
        let mut server = rfc_7677_server();
        server.first(CLIENT_FIRST).unwrap();
        server.last(text.as_bytes()).unwrap_err()
    };
    assert_eq!(last("c=biws,r=other,p=AAAA"), ScramError::Nonce);
    let text = std::str::from_utf8(CLIENT_FINAL).unwrap();
    assert_eq!(last(&text[..text.len() - 4]), ScramError::Malformed);
    assert_eq!(last(&text.replace("p=dH", "p=dI")), ScramError::Refused);
}

#[test]
fn a_server_that_strays_is_refused() {
    for (wrong, error) in [
        ("r=mine,s=W22Z,i=4096", ScramError::ServerMalformed),
        ("r=other+,s=W22Z,i=4096", ScramError::ServerMalformed),
        ("r=mine+,s=,i=4096", ScramError::ServerMalformed),
        ("r=mine+,s=W22Z,i=0", ScramError::Iterations),
        ("r=mine+,s=W22Z,i=+5", ScramError::Iterations),
        ("r=mine+,s=W22Z,i=1000001", ScramError::Iterations),
        ("r=mine+,s=W22Z,i=99999999999", ScramError::Iterations),
        ("m=ext,r=mine+,s=W22Z,i=1", ScramError::ServerMalformed),
    ] {
        let mut client = ScramClient::with_nonce("", "pencil", "mine".into());
        assert_eq!(client.respond(wrong.as_bytes()), Err(error), "{wrong}");
    }
    let long_salt = format!("r=mine+,s={},i=1", STANDARD.encode([0; SALT_BYTES_MAX + 1]));
    let mut client = ScramClient::with_nonce("", "pencil", "mine".into());
    assert_eq!(
        client.respond(long_salt.as_bytes()),
        Err(ScramError::ServerMalformed)
    );
    let ended = |server_final: &[u8]| {
        let mut client = ScramClient::with_nonce("", "pencil", "mine".into());
        client.respond(b"r=mine+,s=W22Z,i=1").unwrap();
        client.verify(server_final)
    };
    assert_eq!(ended(SERVER_FINAL), Err(ScramError::ServerSignature));
    assert_eq!(ended(b"e=other-error"), Err(ScramError::ServerRefused));
    assert_eq!(ended(b"v="), Err(ScramError::ServerSignature));
    assert_eq!(
        ScramClient::new("pencil", [0; 18]).verify(SERVER_FINAL),
        Err(ScramError::ServerMalformed)
    );
}

#[test]
fn a_verifier_that_does_not_read_is_the_operators() {
    let mut verifier = ScramVerifier::derive(b"secret", &[7; 16], 1);
    verifier.stored_key = "short".into();
    let error = exchange(Some(&verifier), "secret").unwrap_err();
    assert_eq!((error, error.fault()), (ScramError::BadVerifier, Fault::Operator));
}

proptest! {
    #[test]
    fn a_server_answers_any_bytes(first in proptest::collection::vec(any::<u8>(), 0..80), last in "[ -~]{0,120}") {
        let mut server = rfc_7677_server();
        let _ = server.first(&first);
        let _ = server.first(CLIENT_FIRST);
        prop_assert!(server.last(last.as_bytes()).is_err());
    }

    #[test]
    fn a_server_answers_any_fields(first in "[nyp],(a=x)?,(n=|m=)[a-z]{0,3},r=[ -~]{0,9}", last in "c=(biws|eSws),r=[!-~]{0,40}(,p=[A-Za-z0-9+/=]{0,48})?") {
        let mut server = rfc_7677_server();
        let _ = server.first(first.as_bytes());
        prop_assert!(server.last(last.as_bytes()).is_err());
    }

    #[test]
    fn a_client_answers_any_text(first in "(r=mine[ -~]{0,9}|[ -~]{0,9}),s=[A-Za-z0-9=]{0,9},i=[0-9-]{0,2}", last in "[ve]=[ -~]{0,50}") {
        let mut client = ScramClient::with_nonce("", "pencil", "mine".into());
        let _ = client.respond(first.as_bytes());
        prop_assert!(client.verify(last.as_bytes()).is_err());
    }
}
