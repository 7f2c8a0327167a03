//! Lease tokens: what holds, what narrows, and what denies.

use proptest::prelude::*;

use super::*;
use crate::lease::example_lease;

const NOW: UnixMillis = UnixMillis(1_000);

fn key() -> TokenKey {
    TokenKey::from_random(&[1; 32]).unwrap()
}

fn lease() -> LeaseGrant {
    let mut lease = example_lease(1, "write,table:app.*", 5_000);
    lease.chain = lease.chain.with_actor("build/4711").unwrap();
    lease
}

fn minted() -> String {
    key().mint(&lease(), &[2; 32]).unwrap()
}

fn check(token: &str) -> Result<VerifiedToken, TokenError> {
    verify(token, &key().public_hex(), NOW, &|_| false)
}

/// A block of somebody who does not use `attenuate`.
fn with_block_of(block: BlockBuilder) -> String {
    let token = UnverifiedBiscuit::from(parse(&minted()).unwrap().as_slice()).unwrap();
    let token = token
        .append_with_keypair(&key_pair(&[3; 32]).unwrap(), block)
        .unwrap();
    render(token.to_vec().unwrap()).unwrap()
}

fn with_block(source: &str) -> String {
    with_block_of(BlockBuilder::new().code(source).unwrap())
}

#[test]
fn a_token_says_what_its_lease_says() {
    let verified = check(&minted()).unwrap();
    let lease = lease();
    assert_eq!(verified.lease_id, lease.id);
    assert_eq!(verified.chain, lease.chain);
    assert_eq!(
        (verified.target, verified.scope, verified.expires_at),
        (lease.target, lease.scope, lease.expires_at)
    );
    assert_eq!(verified.revocation_ids.len(), 1);
    assert!(
        minted().starts_with("lgt_") && minted().len() < 700,
        "{}",
        minted().len()
    );
}

#[test]
fn a_hop_narrows_and_never_widens() {
    let narrower = Attenuation {
        actor: Some("migrate".into()),
        expires_at: Some(UnixMillis(2_000)),
        scope: Some(Scope::parse("read,ddl").unwrap()),
    };
    let token = attenuate(&minted(), &narrower, &[3; 32]).unwrap();
    let wider = Attenuation {
        actor: Some("psql".into()),
        expires_at: Some(UnixMillis(9_000)),
        scope: Some(Scope::all()),
    };
    let verified = check(&attenuate(&token, &wider, &[4; 32]).unwrap()).unwrap();
    assert_eq!(
        verified.chain.to_string(),
        "ci-runner → build/4711 → migrate → psql"
    );
    assert_eq!(verified.scope.to_string(), "read,table:app.*");
    assert_eq!(verified.expires_at, UnixMillis(2_000));
    assert_eq!(verified.revocation_ids.len(), 3);
    assert_eq!(
        verified.revocation_ids[..2],
        check(&token).unwrap().revocation_ids
    );
}

#[test]
fn names_come_through_as_they_were() {
    let mut lease = lease();
    for name in [
        r#"a"b"#,
        r"c\d",
        "100%22",
        "e\\\"%5C%25",
        "prüfstand; scope(\"all\")",
        "数据",
    ] {
        lease.chain = lease.chain.with_actor(name).unwrap();
    }
    lease.chain.principal.groups = vec!["%".into(), "user".into()];
    lease.scope = Scope::parse(r#"read,table:"My, ""App""".orders"#).unwrap();
    let token = key().mint(&lease, &[2; 32]).unwrap();
    let verified = check(&attenuate(&token, &Attenuation::default(), &[3; 32]).unwrap()).unwrap();
    assert_eq!((verified.chain, verified.scope), (lease.chain, lease.scope));
}

#[test]
fn what_is_not_understood_denies() {
    for source in [
        "check if time($t), $t < 2030-01-01T00:00:00Z",
        "reject if operation(\"write\")",
        "hop($x) <- actor($y, $x)",
        "lease(\"lg_aaaaaaaaaaaaaaaa\")",
        "principal(\"user\", \"root\")",
        "actor(1, \"root\")",
        "group(\"dba\")",
        "target(\"other\")",
        "rows(5)",
        "hop(1)",
        "hop(\"a\", \"b\")",
        "hop(\"a\"); hop(\"b\")",
        "hop(hex:00)",
        "hop([\"a\"])",
        "scope(\"read\"); scope(\"all\")",
        "scope(\"raed\")",
        "expires(2030-01-01T00:00:00Z)",
        "expires(-1)",
        "expires(true)",
    ] {
        assert_eq!(
            check(&with_block(source)),
            Err(TokenError::NotUnderstood { block: 1 }),
            "{source}"
        );
    }
    assert!(check(&with_block("hop(\"a\"); scope(\"read\"); expires(2000)")).is_ok());
}

#[test]
fn a_string_cannot_pass_for_more_than_one_fact() {
    for value in ["x\");\nscope(\"all", "x\", \"y", "x\\", "x\u{0}", "x\r"] {
        let token = with_block_of(BlockBuilder::new().fact(fact("hop", &[string(value)])).unwrap());
        assert_eq!(
            check(&token),
            Err(TokenError::NotUnderstood { block: 1 }),
            "{value:?}"
        );
    }
}

#[test]
fn what_a_block_says_beside_its_facts_is_not_understood() {
    let trusting = with_block_of(BlockBuilder::new().scope(biscuit_auth::builder::Scope::Previous));
    assert_eq!(check(&trusting), Err(TokenError::NotUnderstood { block: 1 }));
    let context = with_block_of(BlockBuilder::new().context("anything".into()));
    assert!(matches!(check(&context), Err(TokenError::NotUnderstood { .. })));
}

#[test]
fn a_token_has_one_spelling() {
    // A field number that the format does not know, in a part that no signature covers.
    let mut bytes = parse(&minted()).unwrap().to_vec();
    let key_field = bytes
        .windows(4)
        .position(|part| part == [0x12, 0x24, 0x08, 0x00])
        .unwrap()
        + 2;
    bytes[key_field] = 0x18;
    assert_eq!(check(&render(bytes).unwrap()), Err(TokenError::Malformed));
}

#[test]
fn foreign_signatures_are_not_understood() {
    let token = Biscuit::from(parse(&minted()).unwrap().as_slice(), key().0.public()).unwrap();
    let foreign = key_pair(&[8; 32]).unwrap();
    let request = token.third_party_request().unwrap();
    let block = request
        .create_block(
            &foreign.private(),
            BlockBuilder::new().code("hop(\"a\")").unwrap(),
        )
        .unwrap();
    let token = token.append_third_party(foreign.public(), block).unwrap();
    let token = render(token.to_vec().unwrap()).unwrap();
    assert!(matches!(check(&token), Err(TokenError::NotUnderstood { .. })));
}

#[test]
fn a_name_in_a_later_block_is_checked_too() {
    assert!(matches!(
        check(&with_block("hop(\"a → b\")")),
        Err(TokenError::Chain(ChainError::Name(_)))
    ));
    let bad = Attenuation {
        actor: Some("a\nb".into()),
        ..Attenuation::default()
    };
    assert!(matches!(
        attenuate(&minted(), &bad, &[3; 32]),
        Err(TokenError::Chain(_))
    ));
}

#[test]
fn the_authority_block_must_be_whole() {
    let next = key_pair(&[2; 32]).unwrap();
    let mint = |source: &str| {
        let builder = Biscuit::builder().code(source).unwrap();
        let token = builder
            .build_with_key_pair(&key().0, SymbolTable::new(), &next)
            .unwrap();
        check(&render(token.to_vec().unwrap()).unwrap())
    };
    let whole = "lease(\"lg_aaaaaaaaaaaaaaaa\"); principal(\"user\", \"oncall\"); target(\"prod\"); scope(\"read\"); \
                 expires(5000)";
    assert!(mint(whole).is_ok());
    for part in whole.split("; ") {
        let rest = whole
            .split("; ")
            .filter(|other| *other != part)
            .collect::<Vec<_>>()
            .join("; ");
        assert_eq!(
            mint(&rest),
            Err(TokenError::NotUnderstood { block: 0 }),
            "without {part}"
        );
        let twice = mint(&format!("{whole}; {part}"));
        assert_eq!(twice, Err(TokenError::NotUnderstood { block: 0 }), "{part} twice");
    }
    assert_eq!(
        mint(&format!("{whole}; actor(1, \"a\")")),
        Err(TokenError::NotUnderstood { block: 0 })
    );
    assert_eq!(
        mint(&format!("{whole}; hop(\"a\")")),
        Err(TokenError::NotUnderstood { block: 0 })
    );
}

#[test]
fn revoking_a_block_or_the_lease_ends_the_token() {
    let token = attenuate(&minted(), &Attenuation::default(), &[3; 32]).unwrap();
    let verified = check(&token).unwrap();
    for id in [
        verified.lease_id.as_str(),
        &verified.revocation_ids[0],
        &verified.revocation_ids[1],
    ] {
        let revoked = verify(&token, &key().public_hex(), NOW, &|asked| asked == id);
        assert_eq!(revoked, Err(TokenError::Revoked), "{id}");
    }
    let sibling = attenuate(&minted(), &Attenuation::default(), &[5; 32]).unwrap();
    let child = &verified.revocation_ids[1];
    assert!(verify(&sibling, &key().public_hex(), NOW, &|asked| asked == child).is_ok());
}

#[test]
fn an_ended_foreign_or_changed_token_does_not_open() {
    let token = minted();
    let at = |now| verify(&token, &key().public_hex(), now, &|_| false);
    assert!(at(UnixMillis(4_999)).is_ok());
    assert_eq!(at(UnixMillis(5_000)), Err(TokenError::Expired));
    let other = TokenKey::from_random(&[9; 32]).unwrap();
    assert_eq!(
        verify(&token, &other.public_hex(), NOW, &|_| false),
        Err(TokenError::Signature)
    );
    assert_eq!(verify(&token, "00", NOW, &|_| false), Err(TokenError::BadKey));
    assert_eq!(check("lgt_"), Err(TokenError::Malformed));
    assert_eq!(
        check(token.trim_start_matches("lgt_")),
        Err(TokenError::Malformed)
    );
    let bytes = parse(&token).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1;
        assert!(check(&render(changed).unwrap()).is_err(), "byte {at}");
    }
    for cut in 0..bytes.len() {
        assert!(
            check(&render(bytes[..cut].to_vec()).unwrap()).is_err(),
            "cut at {cut}"
        );
    }
}

#[test]
fn sizes_are_bounded() {
    let hop = |token: &str| attenuate(token, &Attenuation::default(), &[3; 32]);
    let mut token = minted();
    for _ in 1..BLOCKS_MAX {
        token = hop(&token).unwrap();
    }
    assert_eq!(check(&token).unwrap().revocation_ids.len(), BLOCKS_MAX);
    assert_eq!(hop(&token), Err(TokenError::TooManyBlocks));
    let unverified = UnverifiedBiscuit::from(parse(&token).unwrap().as_slice()).unwrap();
    let longer = unverified
        .append_with_keypair(&key_pair(&[3; 32]).unwrap(), BlockBuilder::new())
        .unwrap();
    assert_eq!(
        check(&render(longer.to_vec().unwrap()).unwrap()),
        Err(TokenError::TooManyBlocks)
    );
    assert_eq!(
        check(&format!("lgt_{}", "A".repeat(TOKEN_BYTES_MAX))),
        Err(TokenError::TooLong)
    );
    let mut lease = lease();
    lease.chain.principal.groups = (0..200).map(|index| format!("{index:0>128}")).collect();
    assert_eq!(key().mint(&lease, &[2; 32]), Err(TokenError::TooLong));
    assert_eq!(
        key().mint(&example_lease(1, "read", u64::MAX), &[2; 32]),
        Err(TokenError::NotMade),
        "an end that the token cannot hold"
    );
}

#[test]
fn a_scope_that_would_not_read_back_is_not_written() {
    let tables = (0..100).map(|index| format!("app.t{index:0>50}")).collect();
    let wide = Scope {
        tables: Some(tables),
        ..Scope::all()
    };
    assert_eq!(
        key().mint(
            &LeaseGrant {
                scope: wide.clone(),
                ..lease()
            },
            &[2; 32]
        ),
        Err(TokenError::TooLong)
    );
    let narrower = Attenuation {
        scope: Some(wide),
        ..Attenuation::default()
    };
    assert_eq!(
        attenuate(&minted(), &narrower, &[3; 32]),
        Err(TokenError::TooLong)
    );
}

#[test]
fn no_text_of_an_error_or_key_holds_a_secret() {
    assert!(!format!("{:?}", key()).contains(&hex::encode([1; 32])));
    assert_eq!(
        TokenError::Signature.public(),
        TokenError::Malformed.public(),
        "forgers learn nothing"
    );
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "(lgt_)?[A-Za-z0-9_-]{0,200}|.{0,40}") {
        prop_assert!(check(&text).is_err());
        let _ = attenuate(&text, &Attenuation::default(), &[3; 32]);
    }

    #[test]
    fn any_damage_is_answered(at in any::<proptest::sample::Index>(), with in proptest::collection::vec(any::<u8>(), 0..8)) {
        let mut bytes = parse(&with_block("hop(\"a\"); expires(2000)")).unwrap().to_vec();
        let at = at.index(bytes.len());
        let end = bytes.len().min(at + with.len());
        let original = bytes.clone();
        bytes.splice(at..end, with);
        let token = render(bytes.clone()).unwrap();
        prop_assert_eq!(check(&token).is_ok(), bytes == original);
        let _ = attenuate(&token, &Attenuation::default(), &[3; 32]);
    }

    #[test]
    fn text_survives_the_block(value in any::<String>()) {
        let Term::Str(escaped) = text(&value) else { panic!("not a string") };
        prop_assert!(!escaped.contains(['"', '\\']));
        prop_assert_eq!(untext(&escaped), value);
    }
}
