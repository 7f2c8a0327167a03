//! Certificates that are checked in other ways than a browser would.
//!
//! [`AnyCertificate`]: TLS that promises encryption and not identity, as libpq's `prefer` and `require`. [`ByAuthority`]: the
//! authority counts and the name does not, as `verify-ca`. [`WhoHoldsTheKey`]: a client shows that it holds the key of its
//! certificate; which authority must have signed it is asked when the target is known.
//! Source: PostgreSQL manual, "SSL Support", Protection Provided in Different Modes; RFC 8446, "Certificate Verify".

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};

/// Signatures of the handshake, which prove who holds a key, are checked as for any certificate.
macro_rules! signatures_as_any {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.any
                .verify_tls12_signature(message, certificate, signed)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.any
                .verify_tls13_signature(message, certificate, signed)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.any.supported_verify_schemes()
        }
    };
}

/// Accepts every certificate, and checks that whoever shows it holds its key.
#[derive(Debug)]
pub struct AnyCertificate(Arc<CryptoProvider>);

impl AnyCertificate {
    /// With the provider's signature algorithms.
    pub fn new(provider: Arc<CryptoProvider>) -> Self {
        Self(provider)
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Accepts a server whose certificate one of these authorities signed, whatever it is called.
#[derive(Debug)]
pub struct ByAuthority {
    roots: RootCertStore,
    any: AnyCertificate,
}

impl ByAuthority {
    /// Trusts these authorities.
    pub fn new(roots: RootCertStore, provider: Arc<CryptoProvider>) -> Self {
        Self {
            roots,
            any: AnyCertificate::new(provider),
        }
    }
}

impl ServerCertVerifier for ByAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let known = self.any.0.signature_verification_algorithms.all;
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, known)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures_as_any!();
}

/// Asks clients for a certificate, takes none for an answer, and checks that whoever shows one holds its key. Nothing may be
/// concluded from the certificate before its chain was verified.
#[derive(Debug)]
pub struct WhoHoldsTheKey {
    any: AnyCertificate,
    hints: Vec<DistinguishedName>,
}

impl WhoHoldsTheKey {
    /// Tells clients which authorities are known here.
    pub fn new(hints: Vec<DistinguishedName>, provider: Arc<CryptoProvider>) -> Self {
        Self {
            any: AnyCertificate::new(provider),
            hints,
        }
    }
}

impl ClientCertVerifier for WhoHoldsTheKey {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    signatures_as_any!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::crypto::aws_lc_rs;

    #[test]
    fn any_certificate_will_do_for_any_name() {
        let any = AnyCertificate::new(Arc::new(aws_lc_rs::default_provider()));
        let name = ServerName::try_from("db.example").expect("a name");
        let (certificate, now) = (
            CertificateDer::from(vec![0]),
            UnixTime::since_unix_epoch(Default::default()),
        );
        assert!(any.verify_server_cert(&certificate, &[], &name, &[], now).is_ok());
        assert!(
            !any.supported_verify_schemes().is_empty(),
            "signatures are checked"
        );
    }
}
