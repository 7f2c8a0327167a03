//! Public keys of OIDC issuers: found by discovery or where the operator says, fetched on a schedule and when a data plane
//! meets an unknown key, kept over restarts, pushed to data planes.
//!
//! Sources: OpenID Connect Discovery 1.0, sections 4.1 to 4.3 (document, its `issuer` must be the one asked for);
//! RFC 7517 (JWK set). Only public signing keys are passed on: a symmetric key in a published set would let anyone sign.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use linegate_link::IssuerKeys;
use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::error::Refusal;
use crate::settings::{IssuerSettings, Settings};
use crate::state::KeysRow;
use crate::{Control, to_the_end};

/// Time between scheduled fetches.
const FETCH_PERIOD: Duration = Duration::from_secs(15 * 60);

/// The least time between two fetches, whatever asks for them.
const FETCH_PAUSE: Duration = Duration::from_secs(30);

/// The longest wait for one answer.
const FETCH_WAIT: Duration = Duration::from_secs(10);

/// The longest discovery document or key set.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;

/// The most keys that one issuer may publish.
const KEY_COUNT_MAX: usize = 256;

/// Why an issuer's keys could not be had.
#[derive(Debug)]
pub enum FetchError {
    /// An address that is neither https nor http to this machine.
    Address,
    /// The connection, its certificate, or the time it took.
    Transport(reqwest::Error),
    /// A status other than 200.
    Status(u16),
    /// Longer than allowed.
    TooLong,
    /// Not the JSON that was asked for.
    Malformed,
    /// The discovery document speaks for another issuer.
    OtherIssuer,
    /// No public signing key in the set.
    NoKeys,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("the address must be https (http only to this machine)"),
            Self::Transport(error) => {
                write!(f, "{error}")?;
                let mut cause = std::error::Error::source(error);
                while let Some(error) = cause {
                    write!(f, ": {error}")?;
                    cause = error.source();
                }
                Ok(())
            }
            Self::Status(status) => write!(f, "the issuer answered {status}"),
            Self::TooLong => write!(
                f,
                "the issuer's document is longer than {DOCUMENT_BYTES_MAX} bytes"
            ),
            Self::Malformed => f.write_str("the issuer's document is not what it should be"),
            Self::OtherIssuer => f.write_str("the discovery document names another issuer"),
            Self::NoKeys => f.write_str("the key set has no public signing key"),
        }
    }
}

impl std::error::Error for FetchError {}

/// The tasks that keep keys fresh, one per issuer; they end when this is dropped.
#[derive(Default)]
pub struct Fetchers {
    tasks: BTreeMap<String, (Arc<Notify>, AbortHandle)>,
}

impl Drop for Fetchers {
    fn drop(&mut self) {
        for (_, task) in self.tasks.values() {
            task.abort();
        }
    }
}

impl Fetchers {
    /// Starts one task per issuer.
    pub fn start(control: &Arc<Control>, settings: &Settings) -> Self {
        let start = |issuer: &IssuerSettings| {
            let kick = Arc::new(Notify::new());
            let task = tokio::spawn(keep_fresh(Arc::clone(control), issuer.clone(), Arc::clone(&kick)));
            (issuer.name.clone(), (kick, task.abort_handle()))
        };
        Self {
            tasks: settings.issuers.iter().map(start).collect(),
        }
    }

    /// Asks for a fetch before its time.
    pub fn kick(&self, issuer: &str) {
        if let Some((kick, _)) = self.tasks.get(issuer) {
            kick.notify_one();
        }
    }
}

async fn keep_fresh(control: Arc<Control>, issuer: IssuerSettings, kick: Arc<Notify>) {
    loop {
        let began = Instant::now();
        let pause = match fetch(&issuer).await {
            Ok(jwks) => match control.keys_fetched(&issuer, jwks).await {
                Ok(()) => FETCH_PERIOD,
                Err(error) => {
                    tracing::warn!(issuer = issuer.name, %error, "issuer keys were not kept");
                    FETCH_PAUSE
                }
            },
            Err(error) => {
                tracing::warn!(issuer = issuer.name, %error, "issuer keys were not fetched; cached keys serve on");
                FETCH_PAUSE
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = kick.notified() => tokio::time::sleep_until(began + FETCH_PAUSE).await,
        }
    }
}

impl Control {
    /// Keeps freshly fetched keys and pushes them.
    async fn keys_fetched(self: &Arc<Self>, issuer: &IssuerSettings, jwks: String) -> Result<(), Refusal> {
        let (control, issuer) = (Arc::clone(self), issuer.clone());
        to_the_end(async move {
            let _turn = control.turn.lock().await;
            if !control.settings().issuers.contains(&issuer) {
                return Ok(()); // a reload was faster than the issuer
            }
            let version = control.book().next_version();
            let row = KeysRow {
                name: issuer.name.clone(),
                source: issuer.source().to_owned(),
                jwks,
                fetched_at: control.now(),
            };
            let keys = keys(&issuer, &row);
            control.store(move |store| store.keep_keys(version, &row)).await?;
            let _told = control.book().set_keys(keys); // nobody waits for it
            tracing::info!(issuer = issuer.name, "issuer keys fetched");
            Ok(())
        })
        .await
    }
}

fn keys(issuer: &IssuerSettings, row: &KeysRow) -> IssuerKeys {
    IssuerKeys {
        name: issuer.name.clone(),
        issuer: issuer.url.clone(),
        audience: issuer.audience.clone(),
        principal: issuer.principal.clone(),
        jwks: row.jwks.clone(),
        fetched_at: row.fetched_at,
    }
}

/// Cached keys that the configuration still points at.
pub fn usable(settings: &Settings, cached: &[KeysRow]) -> Vec<IssuerKeys> {
    let cached = |issuer: &&IssuerSettings| {
        cached
            .iter()
            .find(|row| row.name == issuer.name && row.source == issuer.source())
    };
    settings
        .issuers
        .iter()
        .filter_map(|issuer| Some(keys(issuer, cached(&issuer)?)))
        .collect()
}

/// Fetches an issuer's public keys.
pub async fn fetch(issuer: &IssuerSettings) -> Result<String, FetchError> {
    let client = Client::builder()
        .timeout(FETCH_WAIT)
        .redirect(reqwest::redirect::Policy::none()) // the address is the operator's word, not the network's
        .build()
        .map_err(FetchError::Transport)?;
    let jwks_url = match &issuer.jwks_url {
        Some(url) => url.clone(),
        None => discover(&client, &issuer.url).await?,
    };
    public_keys(&get(&client, &jwks_url).await?)
}

async fn discover(client: &Client, url: &str) -> Result<String, FetchError> {
    #[derive(Deserialize)]
    struct Discovery {
        issuer: String,
        jwks_uri: String,
    }
    let base = url.trim_end_matches('/');
    let document = get(client, &format!("{base}/.well-known/openid-configuration")).await?;
    let document: Discovery = serde_json::from_slice(&document).map_err(|_| FetchError::Malformed)?;
    if document.issuer != url {
        return Err(FetchError::OtherIssuer);
    }
    Ok(document.jwks_uri)
}

async fn get(client: &Client, url: &str) -> Result<Vec<u8>, FetchError> {
    let mut answer = client
        .get(checked(url)?)
        .send()
        .await
        .map_err(FetchError::Transport)?;
    if answer.status().as_u16() != 200 {
        return Err(FetchError::Status(answer.status().as_u16()));
    }
    let mut document = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(FetchError::Transport)? {
        if document.len() + piece.len() > DOCUMENT_BYTES_MAX {
            return Err(FetchError::TooLong);
        }
        document.extend_from_slice(&piece);
    }
    Ok(document)
}

/// https anywhere, http to this machine only: keys that anybody on the way can replace prove nothing.
fn checked(url: &str) -> Result<Url, FetchError> {
    let url = Url::parse(url).map_err(|_| FetchError::Address)?;
    let host = url.host_str().ok_or(FetchError::Address)?;
    let is_local = host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_local => Ok(url),
        _ => Err(FetchError::Address),
    }
}

/// The public signing keys of a JWK set, with their public members only.
fn public_keys(document: &[u8]) -> Result<String, FetchError> {
    /// Members that a verifier reads (RFC 7517, section 4; RFC 7518, section 6; RFC 8037, section 2).
    const MEMBERS: [&str; 10] = ["kty", "use", "key_ops", "alg", "kid", "crv", "x", "y", "n", "e"];
    let mut set: Value = serde_json::from_slice(document).map_err(|_| FetchError::Malformed)?;
    let Some(Value::Array(keys)) = set.get_mut("keys").map(Value::take) else {
        return Err(FetchError::Malformed);
    };
    let signs = |key: &Value| {
        matches!(key["kty"].as_str(), Some("RSA" | "EC" | "OKP"))
            && matches!(key["use"].as_str(), None | Some("sig"))
    };
    let mut kept = Vec::new();
    for mut key in keys.into_iter().filter(signs) {
        if let Some(members) = key.as_object_mut() {
            members.retain(|name, _| MEMBERS.contains(&name.as_str()));
        }
        kept.push(key);
    }
    match kept.len() {
        0 => Err(FetchError::NoKeys),
        1..=KEY_COUNT_MAX => Ok(serde_json::json!({ "keys": kept }).to_string()),
        _ => Err(FetchError::TooLong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_travel_over_https_or_not_at_all() {
        for good in [
            "https://issuer.example/x",
            "http://127.0.0.1:80/x",
            "http://[::1]/x",
            "http://localhost:9/x",
        ] {
            assert!(checked(good).is_ok(), "{good}");
        }
        for bad in [
            "http://issuer.example/x",
            "http://127.0.0.1.example/",
            "ftp://localhost/",
            "file:///etc",
            "x",
        ] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_public_signing_keys_are_passed_on() {
        let set = br#"{"keys":[
            {"kty":"RSA","kid":"a","use":"sig","n":"AQ","e":"AQAB","d":"private"},
            {"kty":"oct","kid":"b","k":"shared"},
            {"kty":"EC","kid":"c","use":"enc","crv":"P-256"},
            {"kty":"OKP","kid":"d","crv":"Ed25519","x":"AQ"}]}"#;
        let kept: Value = serde_json::from_str(&public_keys(set).expect("two keys")).expect("json");
        let ids: Vec<_> = kept["keys"]
            .as_array()
            .expect("keys")
            .iter()
            .map(|key| key["kid"].as_str())
            .collect();
        assert_eq!(ids, [Some("a"), Some("d")]);
        assert!(kept["keys"][0].get("d").is_none(), "private members stay out");
        assert!(matches!(
            public_keys(br#"{"keys":[{"kty":"oct","k":"x"}]}"#),
            Err(FetchError::NoKeys)
        ));
        assert!(matches!(public_keys(b"[]"), Err(FetchError::Malformed)));
    }
}
