//! From the operator's configuration to what threads need: policies, labels, TLS, targets.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;
use linegate_config::{Config, HostPort, MemberKind, TargetConfig, TlsMode};
use linegate_identity::AnyCertificate;
use linegate_policy::{Engine, GroupSpec, LabelSpec, PolicyProblem};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::shared::Target;

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
        labels: config.labels_of(&target.name).map(LabelSpec::from).collect(),
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
                .with_custom_certificate_verifier(Arc::new(AnyCertificate::new(provider())))
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
