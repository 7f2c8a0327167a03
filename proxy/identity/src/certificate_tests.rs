//! Certificates and what they say. All were made with openssl and are their own authorities.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;

use super::*;

/// `O=Example, CN=client one`, names of every kind, ECDSA with SHA-256.
const EC_256: &str = "MIIB5jCCAYygAwIBAgIUQXM2dqIcZqqTet/0cvZz3nPU3fcwCgYIKoZIzj0EAwIwJzEQMA4GA1UECgwHRXhhbXBsZTETMBEG\
    A1UEAwwKY2xpZW50IG9uZTAgFw0yNjExMjEyMjE1MzdaGA8yMTI2MTAyODIyMTUzN1owJzEQMA4GA1UECgwHRXhhbXBsZTET\
    MBEGA1UEAwwKY2xpZW50IG9uZTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABJSJJr188UvnU+NCwJz+ms/3VGEEHfQLSVOO\
    02ikcVjFXZswVRmB6sZ8yWvPvWu51Orn4HHofUSXqhY8MnQLzwGjgZMwgZAwHQYDVR0OBBYEFKTnt3oeAJwc0mMAxqoNzfDK\
    yBDEMB8GA1UdIwQYMBaAFKTnt3oeAJwc0mMAxqoNzfDKyBDEMA8GA1UdEwEB/wQFMAMBAf8wPQYDVR0RBDYwNIILb25lLmV4\
    YW1wbGWBD29uZUBleGFtcGxlLmNvbYYUc3BpZmZlOi8vZXhhbXBsZS9vbmUwCgYIKoZIzj0EAwIDSAAwRQIhALt6oUnLyrNz\
    ynhm/z1tHx8nEt8vj2Uj2LCnrPI3IIqCAiBZwzexTMSwUfGhvv28E7Y4IVJTcz+uBl8ZGsC6cVCcIw==";
/// `CN=a, CN=b`, ECDSA with SHA-384.
const EC_384: &str = "MIIBwzCCAUqgAwIBAgIUW114jZ0/g/OM9woJkXE07FZRzhQwCgYIKoZIzj0EAwMwGDEKMAgGA1UEAwwBYTEKMAgGA1UEAwwB\
    YjAgFw0yNjExMjEyMjE1MzdaGA8yMTI2MTAyODIyMTUzN1owGDEKMAgGA1UEAwwBYTEKMAgGA1UEAwwBYjB2MBAGByqGSM49\
    AgEGBSuBBAAiA2IABAt60zLg/TyO91ENg65eUlqxa/4YgbedHH7LvRwtj4A5JVlqr4EXtXrFZSBqqM+sA8dcbfy2kWaFjdIj\
    yeYirYEgfTV9aMeRDBdze/UftdgjEiicmbicN2LI4y5Qrm8iNqNTMFEwHQYDVR0OBBYEFEyU9PlqyV/NezaaJVteU3OLzmkq\
    MB8GA1UdIwQYMBaAFEyU9PlqyV/NezaaJVteU3OLzmkqMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwMDZwAwZAIwbm7r\
    PDTi2RNBI8DtbksPzQaXzdtaQwfon677CverRpGbG2Xi9PDy3hZVDew+esxnAjB0rHP8KQS6sFnQo2+GnWE6v0tI30H0BmBy\
    Q+YwbAhCryvoVTyI9uCfkckf7QAHvh0=";
/// `CN=pss`, RSASSA-PSS with SHA-512.
const PSS_512: &str = "MIIDaTCCAhygAwIBAgIUTLGYJ48BXEvFlHchn5M7U8NjNPowQgYJKoZIhvcNAQEKMDWgDzANBglghkgBZQMEAgMFAKEcMBoG\
    CSqGSIb3DQEBCDANBglghkgBZQMEAgMFAKIEAgIAvjAOMQwwCgYDVQQDDANwc3MwIBcNMjYxMTIxMjIxNTM3WhgPMjEyNjEw\
    MjgyMjE1MzdaMA4xDDAKBgNVBAMMA3BzczCCASIwDQYJKoZIhvcNAQEBBQADggEPADCCAQoCggEBAKRg4RwTjQJ7LmKN2GuL\
    1al27Dh8OJOKMKnOs2s4PTxRjzBorqgeUM5C2E3TVPeJXLAcPzDq/NWdwERuegGSvUk/O76lgvhs0q/N8beTcIhUhswewLJq\
    oD+4x69FgxB0NadOjPc9apXjcXzIyOF427tfHUI4k4mLXiz6+IaeGL/WG2P5qnuQvOUchhggtYrCQpI6Tfo9CF8sCBAoApJn\
    qhs/JIaTyIs8qr2zWWW5ZrCyFn69k/NxGJBOjxoKdXU8eJNIL1A0B1rxK4ngFG4wjV068pP3K0XRv/+qZRRvVEyaW6HrEfIr\
    vYnob6St+s+zmOvmIUpd0HyrDi29Nw+C0NUCAwEAAaNTMFEwHQYDVR0OBBYEFJNrGhPA7IvOtpQsaxWRDqK/9TQGMB8GA1Ud\
    IwQYMBaAFJNrGhPA7IvOtpQsaxWRDqK/9TQGMA8GA1UdEwEB/wQFMAMBAf8wQgYJKoZIhvcNAQEKMDWgDzANBglghkgBZQME\
    AgMFAKEcMBoGCSqGSIb3DQEBCDANBglghkgBZQMEAgMFAKIEAgIAvgOCAQEAawrccDUEXGC3J5mxa4vJaNXpMR1yNTNFJ+4o\
    gbXLAtuXcDwnSIxVNYeOIMGdgWBpsrGFY/LUA1Of/zeK/I7MBME49bVdYTS0Jtw5ks2VYCDxTP+WFuAvtRUaatN7g8aKzKub\
    kOgMJFMwx8WnZiLvR/jxbt9R37956Pefv0hPMQ2++kHk6uMqw0vaw2MqpJrte0gweSfYLmsMCGtX1kSSoEsZp2GZkL/4JEIj\
    RZaeRq3inXHzWODgH/0MgEjzOA4bNt+EtMOCm2JJR/JRKQHcKVtaZCqsZwNz7OfhHrrQCiKLrVFIVS47NYepw51sq19G0CrP\
    D3zBhFXZETaPzgR9zQ==";
/// `CN=sha1`, RSA with SHA-1.
const RSA_SHA1: &str = "MIIDATCCAemgAwIBAgIUVD2yX5J1yIZmxCHneNGY/G1XtEMwDQYJKoZIhvcNAQEFBQAwDzENMAsGA1UEAwwEc2hhMTAgFw0y\
    NjExMjEyMjE1MzdaGA8yMTI2MTAyODIyMTUzN1owDzENMAsGA1UEAwwEc2hhMTCCASIwDQYJKoZIhvcNAQEBBQADggEPADCC\
    AQoCggEBAJ91g5BGFO5t9QitYgX0LyzTRUuesA7ywsmedBuZjjvhvhZ34hP2H1cn3vu9+cHjGwm1Qz2c+aVSS33+8rjcyYjY\
    ZoZxZuUh6/BoOf0RJpvKIBqGtgoVO59YY7MYU+vS+ivyk54Y8UnrMd6dnzZod/WWyV6wqtb7ITR6rB5Cm3nTBWvWG8bFDyaX\
    NpfLD5Ms6f6UhKcel3EljYSIoHCO1MZAV7HPRXvqUMpfJ6OJEBQDmZkh5YsdV45tbw/HPEbPZTrsdyKqLQXBLbNmKs7TvGLi\
    hgE7wWiO+PwpAJ9PLcG0JkabMMF7xeXJYmz/82NzcZBPAepMSstZjG/zjyOqQwkCAwEAAaNTMFEwHQYDVR0OBBYEFN29A9d5\
    sxUDsu1COg36iFKluu97MB8GA1UdIwQYMBaAFN29A9d5sxUDsu1COg36iFKluu97MA8GA1UdEwEB/wQFMAMBAf8wDQYJKoZI\
    hvcNAQEFBQADggEBAC9gFsbm5M1fSxh67P41AoagtzeHj5rLM2RzjvLuaqO/dZp1hfPVs7lO1bmx0+Lv/E/sogmHoDq8p6mm\
    7iAOwg1Ad/YJVE0JYedUgAk2Nzn91lz1FTrj/Rli+lQUKOuFav1+7YYRAHp+d+bU9UUH6+WNj2M/88CqNCixe304//bQ/L/4\
    W4ETRRXvbLQ9h8ITX486od+vx5RzviBBtJrwabGtR7CUAUMx22A02bQ1PodNK4KdhHT660FKvlP3Cyv3ZeWWGEW2d6LL5d6g\
    7yghpl1OWXHSilj3ZzVZeKCXU+sTNeUEI6n/siq9Rp6FsGsvSkUo4tzEv73HSdbL4Z/cD6Y=";
/// `CN=ed`, Ed25519.
const ED_25519: &str = "MIIBMDCB46ADAgECAhQ6inyh3vhjHlcHSzRaZjzp5bM56DAFBgMrZXAwDTELMAkGA1UEAwwCZWQwIBcNMjYxMTIxMjIxNTM3\
    WhgPMjEyNjEwMjgyMjE1MzdaMA0xCzAJBgNVBAMMAmVkMCowBQYDK2VwAyEA/V5ZeeY4LL3laci75oFBb5/FGa9LrFFgNGVf\
    098Ny+ajUzBRMB0GA1UdDgQWBBQuKiOUPrzwIzyFfH9AXym/HHdDhjAfBgNVHSMEGDAWgBQuKiOUPrzwIzyFfH9AXym/HHdD\
    hjAPBgNVHRMBAf8EBTADAQH/MAUGAytlcANBAGzqQ06QkEEFkktQT2gARu1U83gAAgJ+yf5U454ASP16kGnnl/3Bzm2INC5f\
    DY8sdSL9I5APvtjn2jB4FtpqDQo=";

fn der(text: &str) -> Vec<u8> {
    STANDARD.decode(text).expect("base64")
}

#[test]
fn names_and_the_end_are_read() {
    let read = Certificate::read(&der(EC_256)).expect("a certificate");
    assert_eq!(read.common_names, ["client one"]);
    assert_eq!(read.hosts, ["one.example"]);
    assert_eq!(read.emails, ["one@example.com"]);
    assert_eq!(read.uris, ["spiffe://example/one"]);
    assert_eq!(read.not_after.0 / 1000, 4948899337, "openssl says 2126-10-28");
    let plain = Certificate::read(&der(EC_384)).expect("a certificate");
    assert_eq!((plain.common_names.len(), plain.uris.len()), (2, 0));
    for cut in [0, 1, 100, der(EC_256).len() - 1] {
        assert_eq!(
            Certificate::read(&der(EC_256)[..cut]),
            Err(CertificateError::Malformed)
        );
    }
}

#[test]
fn a_channel_is_bound_by_the_hash_of_the_signature() {
    // By `openssl dgst`.
    for (certificate, digest) in [
        (
            EC_256,
            "7a46cdec3d71fa2dacf1478b979662da335ac2587b51c5b3b5988f96ce01868d",
        ),
        (
            EC_384,
            "325eff1a05919b6cf2805d141ab6b4ac965de419136ab13e051a21b6fd0d9856afac3a9445b2ba37b220ba5e8dcf802e",
        ),
        (
            PSS_512,
            "2e4b8bf8937e78a29e5aaf8bd78267c33ab76afc9f6a321bded205942dee444397715f81af7e7f75d71e554fcf9ed68f\
             12f590ec2ee31a6cd7f2ca7fbd1696c0",
        ),
        (
            RSA_SHA1,
            "571830f40c41a90c9b4bf65d43e2da619cc9eebeec7f43c8eabb2aa6683ef6d5",
        ),
    ] {
        assert_eq!(
            end_point(&der(certificate)).map(hex::encode).as_deref(),
            Some(digest)
        );
    }
    assert_eq!(
        end_point(&der(ED_25519)),
        None,
        "a signature without a hash of its own"
    );
    assert_eq!(end_point(b"no certificate"), None);
}

#[test]
fn a_template_names_one_principal_or_none() {
    let one = Certificate::read(&der(EC_256)).expect("a certificate");
    let two = Certificate::read(&der(EC_384)).expect("a certificate");
    let template = |text: &str| NameTemplate::read(text).expect("a template");
    assert_eq!(template("user:{email}").kind(), PrincipalKind::User);
    assert_eq!(
        template("user:{email}").name(&one),
        Ok("one@example.com".to_owned())
    );
    assert_eq!(
        template("workload:{uri}").name(&one),
        Ok("spiffe://example/one".to_owned())
    );
    assert_eq!(
        template("workload:tls/{cn}@{dns}!").name(&one),
        Ok("tls/client one@one.example!".to_owned())
    );
    assert_eq!(
        template("user:{cn}").name(&two),
        Err(CertificateError::NotOneName),
        "two"
    );
    assert_eq!(
        template("user:{uri}").name(&two),
        Err(CertificateError::NotOneName),
        "none"
    );
    for wrong in [
        "",
        "{cn}",
        "robot:{cn}",
        "user:",
        "user:cn",
        "user:{sub}",
        "user:{cn",
        "user:cn}",
        "user:{cn}}",
        "user:{{cn}}",
    ] {
        assert_eq!(NameTemplate::read(wrong), None, "{wrong}");
    }
}

proptest! {
    #[test]
    fn arbitrary_certificates_never_panic(bytes: Vec<u8>, at in 0_usize..490, byte: u8) {
        let _ = (Certificate::read(&bytes), end_point(&bytes));
        let mut changed = der(EC_256);
        changed[at] = byte;
        let _ = (Certificate::read(&changed), end_point(&changed));
    }
}
