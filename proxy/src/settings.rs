//! From the operator's configuration to what threads need: policies, labels, TLS, targets.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;
use linegate_config::{Config, HostPort, LabelConfig, MemberKind, Redact, TargetConfig, TlsMode};
use linegate_policy::redact::{Constant, DateUnit, Kept};
use linegate_policy::{Engine, GroupSpec, LabelSpec, PolicyProblem, RedactSpec};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

use crate::shared::Target;

/// The policy crate's view of a label.
pub fn label_spec(label: &LabelConfig) -> LabelSpec {
    LabelSpec {
        name: label.name.clone(),
        columns: label
            .columns
            .iter()
            .map(|column| (column.schema.clone(), column.table.clone(), column.column.clone()))
            .collect(),
        paths: label.paths.iter().map(|path| path.steps().to_vec()).collect(),
        redact: redact_spec(&label.redact),
    }
}

/// The policy crate's view of a redaction.
fn redact_spec(redact: &Redact) -> RedactSpec {
    match redact {
        Redact::Blank => RedactSpec::Blank,
        Redact::KeepLast(count) => RedactSpec::KeepLast(*count),
        Redact::KeepDomain => RedactSpec::KeepDomain,
        Redact::Digits { first, last } => RedactSpec::Digits(Kept {
            first: *first,
            last: *last,
        }),
        Redact::DateYear => RedactSpec::Date(DateUnit::Year),
        Redact::DateMonth => RedactSpec::Date(DateUnit::Month),
        Redact::Round(step) => RedactSpec::Round(*step),
        Redact::Pseudonym => RedactSpec::Pseudonym,
        // The configuration has bounded it; if it had not, NULL shows less.
        Redact::Constant(text) => Constant::new(text).map_or(RedactSpec::Null, RedactSpec::Constant),
        Redact::Null => RedactSpec::Null,
    }
}

/// Groups as policy sees them.
pub fn group_specs(config: &Config) -> Vec<GroupSpec> {
    config
        .groups
        .iter()
        .map(|group| GroupSpec {
            name: group.name.clone(),
            members: group
                .members
                .iter()
                .map(|member| match member.kind {
                    MemberKind::User => format!("user:{}", member.name),
                    MemberKind::Workload => format!("workload:{}", member.name),
                })
                .collect(),
        })
        .collect()
}

/// Reads and compiles the policies.
pub fn compile_policy(config: &Config, directory: &Path) -> Result<Engine, Vec<String>> {
    let files = config
        .policy_files(directory)
        .map_err(|error| vec![format!("policy files: {error}")])?;
    let mut texts = Vec::new();
    let mut mistakes = Vec::new();
    for file in files {
        match std::fs::read_to_string(&file) {
            Ok(text) => texts.push((file.display().to_string(), text)),
            Err(error) => mistakes.push(format!("{}: {error}", file.display())),
        }
    }
    let shown = |problem: &PolicyProblem| format!("{}:{}: {}", problem.file, problem.line, problem.message);
    match Engine::compile(&texts, &group_specs(config)) {
        Ok(engine) if mistakes.is_empty() => Ok(engine),
        Ok(_) => Err(mistakes),
        Err(problems) => {
            mistakes.extend(problems.iter().map(shown));
            Err(mistakes)
        }
    }
}

/// Every target with its secret, its TLS and its address.
pub fn targets(config: &Config) -> Result<HashMap<String, Arc<Target>>, Vec<String>> {
    let mut all = HashMap::new();
    let mut mistakes = Vec::new();
    for target in &config.targets {
        match one_target(config, target) {
            Ok(made) => drop(all.insert(target.name.clone(), Arc::new(made))),
            Err(mistake) => mistakes.push(format!("target {}: {mistake}", target.name)),
        }
    }
    if mistakes.is_empty() {
        Ok(all)
    } else {
        Err(mistakes)
    }
}

fn one_target(config: &Config, target: &TargetConfig) -> io::Result<Target> {
    let password = target
        .credential
        .password
        .as_ref()
        .map(|source| source.load())
        .transpose()?;
    let addresses = resolve(&target.address).unwrap_or_default();
    if addresses.is_empty() {
        tracing::warn!(target = %target.name, "the address does not resolve now; it is tried again");
    }
    Ok(Target {
        labels: config.labels_of(&target.name).map(label_spec).collect(),
        addresses: ArcSwap::from_pointee(addresses),
        password,
        tls: backend_tls(target)?.map(Arc::new),
        sessions: AtomicU64::new(0),
        config: target.clone(),
    })
}

/// What a target's name resolves to now. Blocks.
pub fn resolve(address: &HostPort) -> io::Result<Vec<SocketAddr>> {
    (address.host.as_str(), address.port)
        .to_socket_addrs()
        .map(Iterator::collect)
}

fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    // AES-GCM first: ChaCha20 costs six times as much here.
    provider
        .cipher_suites
        .sort_by_key(|suite| format!("{:?}", suite.suite()).contains("CHACHA"));
    Arc::new(provider)
}

fn backend_tls(target: &TargetConfig) -> io::Result<Option<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    Ok(match target.tls {
        TlsMode::Disable => None,
        // As libpq's prefer and require: encrypted, whoever it is.
        TlsMode::Prefer | TlsMode::Require => Some(
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider())))
                .with_no_client_auth(),
        ),
        TlsMode::VerifyFull => Some(
            builder
                .with_root_certificates(roots(target)?)
                .with_no_client_auth(),
        ),
    })
}

fn roots(target: &TargetConfig) -> io::Result<RootCertStore> {
    let system = Path::new("/etc/ssl/certs/ca-certificates.crt");
    let file = target.tls_ca.as_deref().unwrap_or(system);
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(io::Error::other)? {
        store
            .add(certificate.map_err(io::Error::other)?)
            .map_err(io::Error::other)?;
    }
    Ok(store)
}

/// TLS towards clients.
pub fn client_tls(config: &Config) -> io::Result<Option<Arc<ServerConfig>>> {
    let Some(identity) = &config.data.tls else {
        return Ok(None);
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&identity.cert)
        .map_err(io::Error::other)?
        .collect();
    let key = PrivateKeyDer::from_pem_file(&identity.key).map_err(io::Error::other)?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain.map_err(io::Error::other)?, key)
        .map_err(io::Error::other)?;
    Ok(Some(Arc::new(config)))
}

/// Accepts any certificate: the mode promises encryption, not identity. Signatures are still checked.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
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
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
