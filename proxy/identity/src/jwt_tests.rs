//! Id-tokens signed here, by keys made here.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use proptest::prelude::*;
use serde_json::json;
use std::sync::LazyLock;

use super::*;

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
const NOW_SECONDS: u64 = NOW.0 / 1000;

struct Keys {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    jwks: String,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let rsa = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let ed = Ed25519KeyPair::from_seed_unchecked(&[5; 32]).unwrap();
    let (n, e) = {
        let public = rsa.public_key();
        (
            public.modulus().big_endian_without_leading_zero().to_vec(),
            public.exponent().big_endian_without_leading_zero().to_vec(),
        )
    };
    let point = ec.public_key().as_ref().to_vec();
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let jwks = json!({ "keys": [
        { "kty": "RSA", "kid": "rsa", "use": "sig", "alg": "RS256", "n": encode(&n), "e": encode(&e) },
        { "kty": "EC", "kid": "ec", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..]) },
        { "kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": encode(ed.public_key().as_ref()) },
        { "kty": "RSA", "kid": "enc", "use": "enc", "n": encode(&n), "e": encode(&e) },
        { "kty": "oct", "kid": "oct", "k": encode(b"shared") },
        { "kty": "AKP", "kid": "new", "pub": "something of next year" },
    ]})
    .to_string();
    Keys { rsa, ec, ed, jwks }
});

fn issuer() -> IssuerKeysView<'static> {
    IssuerKeysView {
        issuer: "https://ci.example",
        audience: "linegate",
        principal: "repo/{repository}/env/{environment}",
        kind: PrincipalKind::Workload,
        jwks: &KEYS.jwks,
        algorithms: &JwtAlgorithm::ALL,
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://ci.example", "aud": "linegate", "sub": "build",
        "iat": NOW_SECONDS, "nbf": NOW_SECONDS, "exp": NOW_SECONDS + 300,
        "repository": "shop/backend", "environment": "prod",
        "run": 4711, "kubernetes.io": { "namespace": "ci", "a/b": { "~": true } },
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn signed(header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encode(header), encode(claims));
    let random = SystemRandom::new();
    let signature = match header["alg"].as_str() {
        Some("ES256") => KEYS
            .ec
            .sign(&random, message.as_bytes())
            .unwrap()
            .as_ref()
            .to_vec(),
        Some("EdDSA") => KEYS.ed.sign(message.as_bytes()).as_ref().to_vec(),
        _ => {
            let mut signature = vec![0; KEYS.rsa.public_modulus_len()];
            KEYS.rsa
                .sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature)
                .unwrap();
            signature
        }
    };
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn token(claims: &Value) -> String {
    signed(&json!({ "alg": "EdDSA", "kid": "ed" }), claims)
}

fn check(token: &str) -> Result<VerifiedJwt, JwtError> {
    verify(token, &issuer(), NOW)
}

fn refusal(claims: &Value) -> JwtError {
    check(&token(claims)).unwrap_err()
}

#[test]
fn every_pinned_algorithm_holds() {
    for (alg, kid) in [("RS256", "rsa"), ("ES256", "ec"), ("EdDSA", "ed")] {
        let verified = check(&signed(
            &json!({ "alg": alg, "kid": kid, "typ": "JWT" }),
            &claims(),
        ))
        .unwrap();
        assert_eq!(verified.principal.name, "repo/shop/backend/env/prod", "{alg}");
        assert_eq!(verified.principal.kind, PrincipalKind::Workload);
        assert_eq!(
            verified.expires_at,
            UnixMillis((NOW_SECONDS + 300) * 1000 + LEEWAY_MS)
        );
        assert_eq!(verified.claims["run"], 4711);
    }
}

#[test]
fn the_header_chooses_only_among_what_is_pinned() {
    let only_rsa = IssuerKeysView {
        algorithms: &[JwtAlgorithm::Rs256],
        ..issuer()
    };
    assert_eq!(
        verify(&token(&claims()), &only_rsa, NOW),
        Err(JwtError::Algorithm)
    );
    for header in [
        json!({ "alg": "none", "kid": "ed" }),
        json!({ "alg": "HS256", "kid": "oct" }),
        json!({ "alg": "RS512", "kid": "rsa" }),
        json!({ "alg": "EdDSA", "kid": "rsa" }),
        json!({ "alg": "RS256", "kid": "enc" }),
        json!({ "alg": "RS256", "kid": "oct" }),
        json!({ "kid": "ed" }),
    ] {
        assert_eq!(
            check(&signed(&header, &claims())),
            Err(JwtError::Algorithm),
            "{header}"
        );
    }
}

#[test]
fn keys_are_found_by_id() {
    let unknown = check(&signed(&json!({ "alg": "EdDSA", "kid": "rotated" }), &claims()));
    assert_eq!(unknown, Err(JwtError::UnknownKey("rotated".into())));
    assert!(
        check(&signed(&json!({ "alg": "EdDSA" }), &claims())).is_ok(),
        "the only key that fits"
    );
    let empty = IssuerKeysView {
        jwks: r#"{"keys":[]}"#,
        ..issuer()
    };
    assert_eq!(
        verify(&signed(&json!({ "alg": "EdDSA" }), &claims()), &empty, NOW),
        Err(JwtError::NoKeyId)
    );
    for broken in ["", "[]", r#"{"keys":{}}"#] {
        let broken = IssuerKeysView {
            jwks: broken,
            ..issuer()
        };
        assert_eq!(verify(&token(&claims()), &broken, NOW), Err(JwtError::BadKeys));
    }
    assert_eq!(
        check(&signed(&json!({ "alg": "EdDSA", "kid": 7 }), &claims())),
        Err(JwtError::Malformed)
    );
    let critical = json!({ "alg": "EdDSA", "kid": "ed", "crit": ["b64"], "b64": false });
    assert_eq!(check(&signed(&critical, &claims())), Err(JwtError::Critical));
}

#[test]
fn a_changed_token_does_not_hold() {
    let token = token(&claims());
    let mut parts: Vec<_> = token.split('.').map(str::to_owned).collect();
    parts[1] = URL_SAFE_NO_PAD.encode(with("environment", json!("dev")).to_string());
    assert_eq!(check(&parts.join(".")), Err(JwtError::Signature));
    assert_eq!(check(&token[..token.len() - 8]), Err(JwtError::Signature));
    assert_eq!(check(&format!("{token}.x")), Err(JwtError::Malformed));
    assert_eq!(check(&token.repeat(50)), Err(JwtError::TooLong));
    let other_key = signed(&json!({ "alg": "EdDSA", "kid": "ed" }), &claims());
    let es = signed(&json!({ "alg": "ES256", "kid": "ec" }), &claims());
    let swapped = format!(
        "{}.{}",
        es.rsplit_once('.').unwrap().0,
        other_key.rsplit_once('.').unwrap().1
    );
    assert_eq!(check(&swapped), Err(JwtError::Signature));
}

#[test]
fn time_is_the_callers() {
    let at = |seconds: u64| verify(&token(&claims()), &issuer(), UnixMillis(seconds * 1000)).map(|_| ());
    assert_eq!(at(NOW_SECONDS + 359), Ok(()));
    assert_eq!(at(NOW_SECONDS + 360), Err(JwtError::Expired));
    assert_eq!(at(NOW_SECONDS - 60), Ok(()));
    assert_eq!(at(NOW_SECONDS - 61), Err(JwtError::NotYet));
    assert_eq!(refusal(&with("iat", json!(NOW_SECONDS + 61))), JwtError::NotYet);
    assert_eq!(refusal(&without("exp")), JwtError::Claim("exp"));
    for bad in [json!("soon"), json!(-1), json!(1e300), json!(null)] {
        assert_eq!(
            refusal(&with("exp", bad.clone())),
            JwtError::Claim("exp"),
            "{bad}"
        );
        assert_eq!(
            refusal(&with("nbf", bad.clone())),
            JwtError::Claim("nbf"),
            "{bad}"
        );
    }
    assert!(check(&token(&with("exp", json!(NOW_SECONDS as f64 + 0.5)))).is_ok());
    assert!(check(&token(&without("nbf"))).is_ok() && check(&token(&without("iat"))).is_ok());
}

#[test]
fn issuer_and_audience_are_exact() {
    assert_eq!(
        refusal(&with("iss", json!("https://ci.example/"))),
        JwtError::Issuer
    );
    assert_eq!(
        refusal(&with("iss", json!(["https://ci.example"]))),
        JwtError::Issuer
    );
    assert_eq!(refusal(&without("iss")), JwtError::Issuer);
    assert_eq!(refusal(&with("aud", json!("linegate2"))), JwtError::Audience);
    assert_eq!(refusal(&with("aud", json!([]))), JwtError::Audience);
    assert_eq!(refusal(&without("aud")), JwtError::Audience);
    assert!(check(&token(&with("aud", json!(["other", "linegate"])))).is_ok());
    assert_eq!(
        unverified_issuer(&token(&claims())).as_deref(),
        Some("https://ci.example")
    );
    assert_eq!(unverified_issuer("a.b.c"), None);
}

#[test]
fn the_principal_is_named_by_its_claims() {
    let named = |template, claims: &Value| {
        verify(
            &token(claims),
            &IssuerKeysView {
                principal: template,
                ..issuer()
            },
            NOW,
        )
        .map(|it| it.principal.name)
    };
    assert_eq!(named("{sub}", &claims()).unwrap(), "build");
    assert_eq!(named("run-{run}", &claims()).unwrap(), "run-4711");
    assert_eq!(
        named(
            "k8s/{/kubernetes.io/namespace}/{/kubernetes.io/a~1b/~0}",
            &claims()
        )
        .unwrap(),
        "k8s/ci/true"
    );
    assert_eq!(
        named("{actor}", &claims()),
        Err(JwtError::MissingClaim("actor".into()))
    );
    assert_eq!(
        named("{/kubernetes.io/x}", &claims()),
        Err(JwtError::MissingClaim("/kubernetes.io/x".into()))
    );
    assert_eq!(
        named("{kubernetes.io}", &claims()),
        Err(JwtError::MissingClaim("kubernetes.io".into()))
    );
    assert_eq!(
        named("{sub}", &with("sub", json!(""))),
        Err(JwtError::MissingClaim("sub".into()))
    );
    assert!(matches!(
        named("{sub}", &with("sub", json!("a\u{7}b"))),
        Err(JwtError::Name(_))
    ));
    assert!(matches!(
        named("{sub}", &with("sub", json!("x".repeat(129)))),
        Err(JwtError::Name(_))
    ));
    assert!(matches!(
        named("{sub}", &with("sub", json!("a → b"))),
        Err(JwtError::Name(_))
    ));
    for template in ["", "everybody", "{sub", "sub}", "{}", "{sub}{run}", "{a{sub}}"] {
        assert_eq!(named(template, &claims()), Err(JwtError::Template), "{template}");
        assert_eq!(check_template(template), Err(JwtError::Template));
    }
    assert_eq!(check_template("repo/{repository}/env/{environment}"), Ok(()));
}

#[test]
fn a_claim_cannot_move_the_border_to_the_next() {
    for repository in ["shop/backend/env/prod", "x/env/", "shop/env"] {
        let refused = refusal(&with("repository", json!(repository)));
        assert_eq!(
            refused,
            JwtError::AmbiguousClaim("repository".into()),
            "{repository}"
        );
    }
    assert!(
        check(&token(&with("environment", json!("a/env/b")))).is_ok(),
        "nothing follows the last claim"
    );
}

#[test]
fn errors_do_not_repeat_the_token() {
    let error = JwtError::UnknownKey("k\u{1b}[31m".repeat(100));
    assert!(!error.public().contains('k') || !error.public().contains('\u{1b}'));
    assert!(error.to_string().len() < 700 && !error.to_string().contains('\u{1b}'));
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "[A-Za-z0-9_.-]{0,120}|.{0,40}", header in ".{0,60}", claims in ".{0,60}") {
        prop_assert!(check(&text).is_err());
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let token = format!("{}.{}.AAAA", encode(&header), encode(&claims));
        prop_assert!(check(&token).is_err());
        let _ = unverified_issuer(&token);
    }

    #[test]
    fn any_template_is_answered(template in "[a{}/~]{0,12}|.{0,20}") {
        let _ = expand(&template, claims().as_object().unwrap());
    }

    #[test]
    fn two_pairs_of_claims_never_share_a_name(one in "[ab-]{1,6}", two in "[ab-]{1,6}", three in "[ab-]{1,6}", four in "[ab-]{1,6}") {
        let name = |x: &str, y: &str| expand("{x}-b-{y}", json!({ "x": x, "y": y }).as_object().unwrap());
        if let (Ok(first), Ok(second)) = (name(&one, &two), name(&three, &four)) {
            prop_assert_eq!(first == second, (&one, &two) == (&three, &four));
        }
    }
}
