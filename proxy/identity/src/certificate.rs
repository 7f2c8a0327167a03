//! What a certificate says: names of its holder, its end, and the digest that channels are bound to.
//!
//! Source: RFC 5280, "Subject", "Subject Alternative Name", "Validity"; RFC 5929, section 4 (tls-server-end-point); RFC 4055,
//! "RSASSA-PSS". Whether anybody may believe it is for the chain's verification to say, which is rustls'.

use std::fmt;

use aws_lc_rs::digest;
use x509_cert::der::asn1::{ContextSpecific, ObjectIdentifier, PrintableStringRef, Utf8StringRef};
use x509_cert::der::{Decode, SliceReader, TagNumber};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::spki::{AlgorithmIdentifierOwned, AlgorithmIdentifierRef};

use crate::{Fault, PrincipalKind, UnixMillis};

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");

/// The holder's names, and until when they are vouched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Common names of the subject.
    pub common_names: Vec<String>,
    /// Alternative names that are host names.
    pub hosts: Vec<String>,
    /// Alternative names that are mail addresses.
    pub emails: Vec<String>,
    /// Alternative names that are URIs, such as SPIFFE ids.
    pub uris: Vec<String>,
    /// The end of its validity.
    pub not_after: UnixMillis,
}

impl Certificate {
    /// Reads a certificate, DER.
    pub fn read(der: &[u8]) -> Result<Self, CertificateError> {
        let read = x509_cert::Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
        let subject = &read.tbs_certificate;
        let mut names = Self {
            common_names: Vec::new(),
            hosts: Vec::new(),
            emails: Vec::new(),
            uris: Vec::new(),
            not_after: UnixMillis(
                u64::try_from(subject.validity.not_after.to_unix_duration().as_millis()).unwrap_or(u64::MAX),
            ),
        };
        let attributes = subject.subject.0.iter().flat_map(|set| set.0.iter());
        for attribute in attributes.filter(|attribute| attribute.oid == COMMON_NAME) {
            let value = &attribute.value;
            let text = value
                .decode_as::<Utf8StringRef<'_>>()
                .map(|text| text.as_str().to_owned())
                .or_else(|_| {
                    value
                        .decode_as::<PrintableStringRef<'_>>()
                        .map(|text| text.as_str().to_owned())
                });
            // In another alphabet it is a name that nobody here can compare.
            names.common_names.extend(text.ok());
        }
        let alternatives = subject
            .get::<SubjectAltName>()
            .map_err(|_| CertificateError::Malformed)?;
        for name in alternatives.map(|(_, names)| names.0).unwrap_or_default() {
            match name {
                GeneralName::DnsName(name) => names.hosts.push(name.as_str().to_owned()),
                GeneralName::Rfc822Name(name) => names.emails.push(name.as_str().to_owned()),
                GeneralName::UniformResourceIdentifier(name) => names.uris.push(name.as_str().to_owned()),
                _ => {}
            }
        }
        Ok(names)
    }
}

/// How a principal's name is made of a certificate: `workload:{uri}`, `user:{email}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTemplate {
    kind: PrincipalKind,
    text: String,
}

/// What stands for a name in a template.
const FIELDS: [&str; 4] = ["cn", "dns", "email", "uri"];

impl NameTemplate {
    /// Reads a template; `None` where it names no kind, no field, or a field that there is not.
    pub fn read(text: &str) -> Option<Self> {
        let (kind, text) = text.split_once(':')?;
        let kind = PrincipalKind::by_name(kind)?;
        let mut rest = text;
        let mut is_any = false;
        while let Some((before, after)) = rest.split_once('{') {
            let (field, after) = after.split_once('}')?;
            if before.contains('}') || !FIELDS.contains(&field) {
                return None;
            }
            (rest, is_any) = (after, true);
        }
        (is_any && !rest.contains('}')).then(|| Self {
            kind,
            text: text.to_owned(),
        })
    }

    /// Person or machine.
    pub fn kind(&self) -> PrincipalKind {
        self.kind
    }

    /// The name that a certificate stands for. A field must have one value: of two, nobody could say which is meant.
    pub fn name(&self, certificate: &Certificate) -> Result<String, CertificateError> {
        let mut name = String::new();
        let mut rest = self.text.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            let (field, after) = after.split_once('}').ok_or(CertificateError::Malformed)?;
            let values = match field {
                "cn" => &certificate.common_names,
                "dns" => &certificate.hosts,
                "email" => &certificate.emails,
                _ => &certificate.uris,
            };
            let [value] = values.as_slice() else {
                return Err(CertificateError::NotOneName);
            };
            name.push_str(before);
            name.push_str(value);
            rest = after;
        }
        name.push_str(rest);
        Ok(name)
    }
}

/// The digest of a server's certificate that `tls-server-end-point` binds to: by the hash of its signature, SHA-256 for MD5
/// and SHA-1. `None` where the signature has no hash of its own (Ed25519), so that there is nothing to bind to.
pub fn end_point(der: &[u8]) -> Option<Vec<u8>> {
    let read = x509_cert::Certificate::from_der(der).ok()?;
    let algorithm = hash_of(&read.signature_algorithm)?;
    Some(digest::digest(algorithm, der).as_ref().to_vec())
}

fn hash_of(signature: &AlgorithmIdentifierOwned) -> Option<&'static digest::Algorithm> {
    if signature.oid == RSASSA_PSS {
        let parameters = signature.parameters.as_ref()?;
        let mut reader = SliceReader::new(parameters.value()).ok()?;
        let hash = ContextSpecific::<AlgorithmIdentifierRef<'_>>::decode_explicit(&mut reader, TagNumber::N0)
            .ok()?;
        return match hash {
            None => Some(&digest::SHA256), // the default is SHA-1
            Some(hash) => by_name(&hash.value.oid.to_string()),
        };
    }
    by_name(&signature.oid.to_string())
}

/// The hash of a signature algorithm or of a hash by its object identifier.
fn by_name(identifier: &str) -> Option<&'static digest::Algorithm> {
    Some(match identifier {
        // md5WithRSA, sha1WithRSA, ecdsa-with-SHA1, SHA-1
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" | "1.3.14.3.2.26" => {
            &digest::SHA256
        }
        "1.2.840.113549.1.1.11" | "1.2.840.10045.4.3.2" | "2.16.840.1.101.3.4.2.1" => &digest::SHA256,
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" | "2.16.840.1.101.3.4.2.2" => &digest::SHA384,
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" | "2.16.840.1.101.3.4.2.3" => &digest::SHA512,
        "1.2.840.113549.1.1.14" | "1.2.840.10045.4.3.1" | "2.16.840.1.101.3.4.2.4" => &digest::SHA224,
        _ => return None,
    })
}

/// Why a certificate names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateError {
    /// It does not read.
    Malformed,
    /// The name that the template asks for is missing, or there are several.
    NotOneName,
}

impl CertificateError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        Fault::Client
    }

    /// What the client may read.
    pub fn public(&self) -> &'static str {
        match self {
            Self::Malformed => "the client certificate does not read",
            Self::NotOneName => "the client certificate does not name exactly one principal",
        }
    }
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.public())
    }
}

impl std::error::Error for CertificateError {}

#[cfg(test)]
#[path = "certificate_tests.rs"]
mod tests;
