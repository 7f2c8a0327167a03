//! A target's database, asked with the target's own credential: what `explain`, `labels` and `role --check` look at.
//!
//! Read-only: catalog queries of `linegate_sql::catalog` and of `role`, over one connection that ends with the command.
//! Source: PostgreSQL manual, "Message Flow", "SSL Session Encryption". TLS modes mean what they mean to the data plane.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use linegate_config::{Address, TargetConfig, TlsMode};
use linegate_identity::{AnyCertificate, ByAuthority};
use linegate_policy::{Catalog, LabelIndex, LabelSpec};
use linegate_sql::catalog::{Loader, POSTLUDE, SETTINGS, VIEW};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use crate::failure::Failure;

/// How long one query may take; the catalog of a large schema is read in seconds.
const QUERY_TIMEOUT: Duration = Duration::from_secs(60);
/// The system's authorities.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// An open connection.
pub(crate) struct Database {
    client: Client,
}

impl Database {
    /// Logs in at a target as linegate itself would. `database` is for targets that leave it to the client.
    pub(crate) async fn connect(target: &TargetConfig, database: Option<&str>) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(format!("target {} cannot be asked: {error}", target.name))
        };
        let mut config = Config::new();
        config
            .user(&target.credential.user)
            .application_name("linegate cli")
            .connect_timeout(Duration::from_secs(u64::from(target.connect_seconds.max(1))));
        match &target.address {
            Address::Tcp(address) => config.host(&address.host).port(address.port),
            Address::Unix(socket) => config.host_path(&socket.directory).port(socket.port),
        };
        if let Some(name) = target.database.as_deref().or(database) {
            config.dbname(name);
        }
        if let Some(source) = &target.credential.password {
            config.password(source.load().map_err(|error| failed(&error))?.expose());
        }
        config.ssl_mode(match target.tls {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
        });
        let client = match target.tls {
            TlsMode::Disable => {
                let (client, connection) = config
                    .connect(NoTls)
                    .await
                    .map_err(|error| failed(&said(&error)))?;
                tokio::spawn(connection); // it ends with the client
                client
            }
            _ => {
                let tls = Tls(Arc::new(client_tls(target).map_err(|error| failed(&error))?));
                let (client, connection) =
                    config.connect(tls).await.map_err(|error| failed(&said(&error)))?;
                tokio::spawn(connection);
                client
            }
        };
        Ok(Self { client })
    }

    /// Runs one query and returns its rows as text cells.
    pub(crate) async fn rows(&self, query: &str) -> Result<Vec<Vec<Option<String>>>, Failure> {
        let answer = tokio::time::timeout(QUERY_TIMEOUT, self.client.simple_query(query));
        let messages = answer
            .await
            .map_err(|_| Failure::new("the target did not answer in time"))?
            .map_err(|error| Failure::new(format!("the target refused a catalog query: {}", said(&error))))?;
        let row = |message: SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => Some(
                (0..row.len())
                    .map(|cell| row.get(cell).map(str::to_owned))
                    .collect(),
            ),
            _ => None,
        };
        Ok(messages.into_iter().filter_map(row).collect())
    }

    /// Reads the catalog, in one consistent view.
    pub(crate) async fn catalog(&self) -> Result<Catalog, Failure> {
        for query in SETTINGS.iter().chain(VIEW) {
            self.rows(query).await?;
        }
        let mut loader = Loader::new();
        for (index, query) in Loader::queries() {
            for row in self.rows(query).await? {
                let cells: Vec<Option<&[u8]>> = row
                    .iter()
                    .map(|cell| cell.as_deref().map(str::as_bytes))
                    .collect();
                loader
                    .row(index, &cells)
                    .map_err(|error| Failure::new(format!("the catalog cannot be read: {error}")))?;
            }
        }
        for query in POSTLUDE {
            self.rows(query).await?;
        }
        Ok(loader.finish(1))
    }
}

/// The labels of a target in its database as it is now, and what they name that is not there.
pub(crate) async fn labels(
    target: &TargetConfig,
    database: Option<&str>,
    specs: &[LabelSpec],
) -> Result<(LabelIndex, Vec<String>), Failure> {
    let catalog = Database::connect(target, database).await?.catalog().await?;
    Ok(crate::reading::resolve(&catalog, specs))
}

/// The server's own words, which tokio-postgres keeps one level down.
fn said(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(server) => format!("{} ({})", server.message(), server.code().code()),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

fn client_tls(target: &TargetConfig) -> io::Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let builder = match target.tls {
        // `prefer` and `require` promise encryption, not identity.
        TlsMode::Disable | TlsMode::Prefer | TlsMode::Require => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate::new(provider))),
        TlsMode::VerifyCa => {
            let authorities = ByAuthority::new(roots(target)?, provider);
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(authorities))
        }
        TlsMode::VerifyFull => builder.with_root_certificates(roots(target)?),
    };
    let Some(identity) = &target.credential.certificate else {
        return Ok(builder.with_no_client_auth());
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&identity.cert)
        .map_err(io::Error::other)?
        .collect();
    let key = PrivateKeyDer::from_pem_file(&identity.key).map_err(io::Error::other)?;
    builder
        .with_client_auth_cert(chain.map_err(io::Error::other)?, key)
        .map_err(io::Error::other)
}

fn roots(target: &TargetConfig) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let file = target.tls_ca.as_deref().unwrap_or(Path::new(SYSTEM_ROOTS));
    for certificate in CertificateDer::pem_file_iter(file).map_err(io::Error::other)? {
        roots
            .add(certificate.map_err(io::Error::other)?)
            .map_err(io::Error::other)?;
    }
    Ok(roots)
}

/// rustls for tokio-postgres.
#[derive(Clone)]
struct Tls(Arc<ClientConfig>);

impl<S> MakeTlsConnect<S> for Tls
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Encrypted<S>;
    type TlsConnect = Handshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, domain: &str) -> io::Result<Handshake> {
        Ok(Handshake {
            config: self.0.clone(),
            name: ServerName::try_from(domain.to_owned()).map_err(io::Error::other)?,
        })
    }
}

struct Handshake {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl<S> TlsConnect<S> for Handshake
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let connector = tokio_rustls::TlsConnector::from(self.config);
        Box::pin(async move { Ok(Encrypted(connector.connect(self.name, stream).await?)) })
    }
}

/// An encrypted stream, named here so that it can be what tokio-postgres asks for.
struct Encrypted<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}
