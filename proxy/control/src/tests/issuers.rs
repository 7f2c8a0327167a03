//! Keys of issuers: found, pushed to data planes, kept.

use super::*;

/// Answers every connection with one document by path, and counts.
async fn issuer(documents: impl Fn(&str) -> String + Send + 'static) -> std::net::SocketAddr {
    use tokio::io::AsyncReadExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let count = stream.read(&mut request).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&request[..count]).into_owned();
            let body = documents(text.split(' ').nth(1).unwrap_or_default());
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _sent = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    address
}

#[tokio::test]
async fn issuer_keys_are_discovered_pushed_and_kept_over_a_restart() {
    const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"one","x":"AQ","d":"private"}]}"#;
    let own = Arc::new(std::sync::OnceLock::new());
    let known = Arc::clone(&own);
    let address = issuer(move |path| match path {
        "/.well-known/openid-configuration" => {
            let base: &String = known.get().expect("set");
            json!({"issuer": base, "jwks_uri": format!("{base}/keys")}).to_string()
        }
        "/keys" => KEYS.to_owned(),
        _ => String::new(),
    })
    .await;
    let url = format!("http://{address}");
    own.set(url.clone()).expect("once");
    let ci = |url: String| Settings {
        issuers: vec![IssuerSettings {
            name: "ci".into(),
            url,
            audience: "linegate".into(),
            principal: "repo/{repository}".into(),
            jwks_url: None,
        }],
        ..settings()
    };
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let house = House::open(dir, ci(url.clone()));
    let mut plane = DataPlane::dial(dir).await;
    plane.next().await;
    house.control.fetch_keys();
    let ToData::Issuer { keys, .. } = plane.next().await else {
        panic!("keys")
    };
    assert_eq!(
        (keys.issuer.as_str(), keys.audience.as_str()),
        (url.as_str(), "linegate")
    );
    assert!(
        keys.jwks.contains("one") && !keys.jwks.contains("private"),
        "{}",
        keys.jwks
    );

    house.control.reload(settings()).await.expect("reloaded");
    let ToData::Snapshot { issuers, .. } = plane.next().await else {
        panic!("a snapshot after a reload")
    };
    assert_eq!(issuers, [], "an issuer that left takes its keys with it");
    drop((house, plane));

    let _house = House::open(dir, ci(url));
    let mut plane = DataPlane::dial(dir).await;
    let ToData::Snapshot { issuers, .. } = plane.next().await else {
        panic!("a snapshot")
    };
    assert_eq!(issuers, [keys], "cached keys serve");
    drop(_house);
    let _house = House::open(dir, ci("https://elsewhere.example".into()));
    let mut plane = DataPlane::dial(dir).await;
    let ToData::Snapshot { issuers, .. } = plane.next().await else {
        panic!("a snapshot")
    };
    assert_eq!(issuers, [], "keys of another address do not");
}
