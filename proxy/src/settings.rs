//! From the operator's configuration to what threads need: policies, labels, TLS, targets, doors.

use std::collections::HashMap;
use std::io;
use std::net::ToSocketAddrs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;
use linegate_config::{Address, Config, Listen, MemberKind, TargetConfig, TlsIdentity, TlsMode};
use linegate_identity::{AnyCertificate, ByAuthority, NameTemplate, WhoHoldsTheKey, end_point};
use linegate_policy::{Engine, GroupSpec, LabelSpec, PolicyProblem};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DistinguishedName, RootCertStore, ServerConfig};

use crate::doors::{ClientChain, Door, DoorTls, OpenSocket};
use crate::rt::net::Place;
use crate::session::postgres::back_keys::BackKeys;
use crate::shared::Target;
use crate::tls::{ALPN, Certificates, Shown};

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
        keys: BackKeys::default(),
        tls: backend_tls(target)?.map(Arc::new),
        clients: client_chain(target)?,
        sessions: AtomicU64::new(0),
        config: target.clone(),
    })
}

/// What a target's name resolves to now. Blocks.
pub fn resolve(address: &Address) -> io::Result<Vec<Place>> {
    match address {
        Address::Tcp(address) => {
            let found = (address.host.as_str(), address.port).to_socket_addrs()?;
            Ok(found.map(Place::Tcp).collect())
        }
        Address::Unix(socket) => Ok(vec![Place::Unix(socket.path())]),
    }
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
    let builder = match target.tls {
        TlsMode::Disable => return Ok(None),
        // As libpq's prefer and require: encrypted, whoever it is.
        TlsMode::Prefer | TlsMode::Require => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate::new(provider()))),
        TlsMode::VerifyCa => {
            let authorities = ByAuthority::new(backend_roots(target)?, provider());
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(authorities))
        }
        TlsMode::VerifyFull => builder.with_root_certificates(backend_roots(target)?),
    };
    let mut config = match &target.credential.certificate {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let (chain, key) = identity_of(&identity.cert, &identity.key)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(io::Error::other)?
        }
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Some(config))
}

fn backend_roots(target: &TargetConfig) -> io::Result<RootCertStore> {
    let system = Path::new("/etc/ssl/certs/ca-certificates.crt");
    roots(target.tls_ca.as_deref().unwrap_or(system))
}

/// The authorities in a PEM file.
fn roots(file: &Path) -> io::Result<RootCertStore> {
    let failed = |error: String| io::Error::other(format!("{}: {error}", file.display()));
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| failed(error.to_string()))? {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        store
            .add(certificate)
            .map_err(|error| failed(error.to_string()))?;
    }
    if store.is_empty() {
        return Err(failed("there is no certificate in it".to_owned()));
    }
    Ok(store)
}

/// A certificate, leaf first, and its key.
fn identity_of(
    cert: &Path,
    key: &Path,
) -> io::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let failed = |path: &Path, error: String| io::Error::other(format!("{}: {error}", path.display()));
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(cert)
        .map_err(|error| failed(cert, error.to_string()))?
        .collect();
    let chain = chain.map_err(|error| failed(cert, error.to_string()))?;
    if chain.is_empty() {
        return Err(failed(cert, "there is no certificate in it".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, error.to_string()))?;
    Ok((chain, key))
}

/// What clients' certificates must be.
fn client_chain(target: &TargetConfig) -> io::Result<Option<ClientChain>> {
    let Some(asked) = &target.client_certificates else {
        return Ok(None);
    };
    let store = Arc::new(roots(&asked.ca)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(store, provider())
        .build()
        .map_err(io::Error::other)?;
    let template = asked.principal.as_deref().map(|text| {
        NameTemplate::read(text)
            .ok_or_else(|| io::Error::other(format!("`{text}` names no principal of a certificate")))
    });
    Ok(Some(ClientChain {
        verifier,
        is_required: asked.is_required,
        principal: template.transpose()?,
    }))
}

/// Where clients knock: targets that listen at one place share a door. Opens Unix sockets, which all cores share.
pub fn doors(config: &Config, targets: &HashMap<String, Arc<Target>>) -> Result<Vec<Arc<Door>>, Vec<String>> {
    let mut shared: Vec<(Listen, Vec<Arc<Target>>)> = Vec::new();
    for target in &config.targets {
        let Some(made) = targets.get(&target.name).cloned() else {
            continue;
        };
        // Port 0 is a new one each time.
        let is_new = matches!(&target.listen, Listen::Tcp(address) if address.port() == 0);
        match shared
            .iter_mut()
            .find(|(listen, _)| *listen == target.listen && !is_new)
        {
            Some((_, guests)) => guests.push(made),
            None => shared.push((target.listen.clone(), vec![made])),
        }
    }
    let mut doors = Vec::new();
    for (listen, targets) in shared {
        let (tls, socket) = match &listen {
            Listen::Tcp(_) => {
                let tls =
                    door_tls(config, &targets).map_err(|error| vec![format!("TLS at {listen}: {error}")])?;
                (tls, None)
            }
            Listen::Unix(socket) => {
                let open = OpenSocket::bind(socket);
                let failed = |error| vec![format!("{listen} cannot be listened on: {error}")];
                (None, Some(open.map_err(failed)?))
            }
        };
        doors.push(Arc::new(Door {
            listen,
            targets,
            tls,
            socket,
        }));
    }
    Ok(doors)
}

fn shown(identity: &TlsIdentity) -> io::Result<Arc<Shown>> {
    let (chain, key) = identity_of(&identity.cert, &identity.key)?;
    let end_point = chain.first().and_then(|own| end_point(own));
    let certified = CertifiedKey::from_der(chain, key, &provider());
    let failed = |error| io::Error::other(format!("{}: {error}", identity.cert.display()));
    Ok(Arc::new(Shown {
        certified: Arc::new(certified.map_err(failed)?),
        end_point,
    }))
}

/// TLS towards the clients of these targets.
fn door_tls(config: &Config, targets: &[Arc<Target>]) -> io::Result<Option<DoorTls>> {
    let Some(identity) = &config.data.tls else {
        return Ok(None);
    };
    let mut certificates = Certificates {
        rest: shown(identity)?,
        own: HashMap::new(),
    };
    for target in targets.iter().map(|target| &target.config) {
        if let Some(identity) = &target.client_identity {
            let shown = shown(identity)?;
            let names = target.server_names.iter().cloned();
            certificates.own.extend(names.map(|name| (name, shown.clone())));
        }
    }
    let certificates = Arc::new(certificates);
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let asked: Vec<_> = targets
        .iter()
        .filter_map(|target| target.clients.as_ref())
        .collect();
    let builder = if asked.is_empty() {
        builder.with_no_client_auth()
    } else {
        let mut hints: Vec<DistinguishedName> = Vec::new();
        for name in asked.iter().flat_map(|asked| asked.verifier.root_hint_subjects()) {
            if !hints.iter().any(|hint| hint.as_ref() == name.as_ref()) {
                hints.push(name.clone());
            }
        }
        builder.with_client_cert_verifier(Arc::new(WhoHoldsTheKey::new(hints, provider())))
    };
    let mut config = builder.with_cert_resolver(certificates.clone());
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Some(DoorTls {
        config: Arc::new(config),
        certificates,
    }))
}
