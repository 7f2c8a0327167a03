//! The API and the link together: a control plane over a temporary directory, a data plane that confirms what it is told,
//! and clients on both sockets.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use hyper::Request;
use hyper_util::rt::TokioIo;
use linegate_identity::token::{self, Attenuation};
use linegate_identity::{ActorChain, Assent, LeaseId, Scope, UnixMillis, hold_id};
use linegate_link::{HoldRequest, ToControl, ToData, decode, encode};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinHandle;

use crate::secrets::Secrets;
use crate::settings::{GroupSettings, IssuerSettings, Settings, TargetSettings};
use crate::{Clock, Control, admin, link, serve};

mod holds;
mod issuers;

const START: u64 = 1_800_000_000_000;

fn settings() -> Settings {
    let target = |name: &str, port, database: Option<&str>| TargetSettings {
        name: name.into(),
        protocol: "postgres".into(),
        host: "127.0.0.1".into(),
        port,
        database: database.map(Into::into),
    };
    let group = |name: &str, members: &[&str]| GroupSettings {
        name: name.into(),
        members: members.iter().map(|member| (*member).to_owned()).collect(),
    };
    Settings {
        targets: vec![target("prod", 6432, Some("shop")), target("staging", 6433, None)],
        issuers: Vec::new(),
        groups: vec![
            group(
                "oncall",
                &[
                    "user:oncall-1",
                    "user:oncall-2",
                    "workload:ci-runner",
                    "user:migrate",
                ],
            ),
            group("security", &["user:security-1"]),
            group("writers", &["user:writer"]),
        ],
    }
}

/// A control plane that serves the directory it was started in.
struct House {
    control: Arc<Control>,
    clock: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl House {
    fn open(dir: &Path, settings: Settings) -> Self {
        let clock = Arc::new(AtomicU64::new(START));
        let time = Arc::clone(&clock);
        let now: Clock = Arc::new(move || UnixMillis(time.load(Ordering::SeqCst)));
        let secrets = Secrets::open(dir).expect("a key");
        let control = Control::open(&dir.join("state.db"), secrets, settings, now).expect("a database");
        let bind = |name: &str| serve::bind(&dir.join(name), 0o600).expect("a socket");
        let tasks = vec![
            tokio::spawn(link::serve(Arc::clone(&control), bind("link.sock"))),
            tokio::spawn(serve::serve(
                bind("admin.sock"),
                admin::operator(Arc::clone(&control)),
            )),
            tokio::spawn(serve::serve(
                bind("agents.sock"),
                admin::agents(Arc::clone(&control)),
            )),
        ];
        Self {
            control,
            clock,
            tasks,
        }
    }

    fn pass(&self, seconds: u64) {
        self.clock.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn call(dir: &Path, socket: &str, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let stream = UnixStream::connect(dir.join(socket)).await.expect("it listens");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("it speaks");
    let connection = tokio::spawn(connection);
    let text = body.map(|body| body.to_string()).unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "linegate")
        .body(axum::body::Body::from(Bytes::from(text)))
        .expect("a request");
    let answer = sender.send_request(request).await.expect("an answer");
    let status = answer.status().as_u16();
    let bytes = axum::body::to_bytes(axum::body::Body::new(answer.into_body()), 1 << 20)
        .await
        .expect("a whole answer");
    connection.abort();
    (status, serde_json::from_slice(&bytes).expect("JSON"))
}

async fn post(dir: &Path, path: &str, body: Value) -> (u16, Value) {
    call(dir, "admin.sock", "POST", path, Some(body)).await
}

async fn agent(dir: &Path, path: &str, body: Value) -> (u16, Value) {
    call(dir, "agents.sock", "POST", path, Some(body)).await
}

async fn get(dir: &Path, path: &str) -> Value {
    let (status, answer) = call(dir, "admin.sock", "GET", path, None).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

fn proof(lease: &Value) -> Value {
    json!({ "parent_username": lease["username"], "parent_password": lease["password"] })
}

fn with(mut body: Value, more: Value) -> Value {
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

async fn create(dir: &Path, scope: &str) -> Value {
    let body = json!({"target": "prod", "as": "ci-runner", "actors": ["build/4711"], "scope": scope, "ttl_seconds": 900});
    let (status, lease) = post(dir, "/v1/leases", body).await;
    assert_eq!(status, 201, "{lease}");
    lease
}

async fn derive(dir: &Path, parent: &Value, actor: &str) -> Value {
    let (status, lease) = agent(
        dir,
        "/v1/leases/derive",
        with(proof(parent), json!({"actor": actor})),
    )
    .await;
    assert_eq!(status, 201, "{lease}");
    lease
}

/// A data plane; `next` confirms what wants confirmation.
struct DataPlane {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl DataPlane {
    async fn dial(dir: &Path) -> Self {
        let (read, write) = UnixStream::connect(dir.join("link.sock"))
            .await
            .expect("it listens")
            .into_split();
        let mut plane = Self {
            read: BufReader::new(read),
            write,
        };
        plane
            .say(&ToControl::Hello {
                name: "edge".into(),
                version: 0,
            })
            .await;
        plane
    }

    async fn say(&mut self, message: &ToControl) {
        self.write
            .write_all(&encode(message).expect("short"))
            .await
            .expect("it reads");
    }

    async fn hear(&mut self) -> ToData {
        let mut line = String::new();
        let read = tokio::time::timeout(Duration::from_secs(10), self.read.read_line(&mut line));
        assert!(
            read.await.expect("in time").expect("readable") > 0,
            "control hung up"
        );
        decode(line.as_bytes()).expect("a message")
    }

    async fn next(&mut self) -> ToData {
        let message = self.hear().await;
        let version = match &message {
            ToData::Snapshot { version, .. }
            | ToData::LeaseAdded { version, .. }
            | ToData::LeasesRevoked { version, .. }
            | ToData::Issuer { version, .. } => Some(*version),
            ToData::HoldDecided { .. } => None,
        };
        if let Some(version) = version {
            self.say(&ToControl::Ack { version }).await;
        }
        message
    }

    /// Confirms everything from here on and keeps what was said.
    fn listen(mut self) -> JoinHandle<Vec<ToData>> {
        tokio::spawn(async move {
            let mut heard = Vec::new();
            while let Ok(message) = tokio::time::timeout(Duration::from_secs(2), self.next()).await {
                heard.push(message);
            }
            heard
        })
    }
}

#[tokio::test]
async fn a_lease_is_answered_after_every_data_plane_confirmed_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let _house = House::open(dir, settings());
    let early = create(dir, "read").await;
    assert_eq!(
        early["data_planes"], 0,
        "leases may be minted before a data plane starts"
    );
    let mut plane = DataPlane::dial(dir).await;
    let ToData::Snapshot {
        version,
        leases,
        token_key,
        ..
    } = plane.next().await
    else {
        panic!("a snapshot comes first")
    };
    assert_eq!(leases.len(), 1);
    let path = dir.to_owned();
    let asked = tokio::spawn(async move { create(&path, "read,write").await });
    let ToData::LeaseAdded { version: next, lease } = plane.hear().await else {
        panic!("a lease")
    };
    assert_eq!(next, version + 1);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!asked.is_finished(), "not confirmed yet");
    plane.say(&ToControl::Ack { version: next }).await;
    let answer = asked.await.expect("an answer");
    assert_eq!(answer["data_planes"], 1);
    assert_eq!(answer["chain"], "ci-runner → build/4711");
    assert_eq!(
        (&answer["host"], &answer["port"]),
        (&json!("127.0.0.1"), &json!(6432))
    );
    assert_eq!(
        (&answer["database"], &answer["expires_at"]),
        (&json!("shop"), &json!(START + 900_000))
    );
    assert_eq!(answer["expires_at_text"], "2027-01-15T08:15:00Z");
    let token = answer["token"].as_str().expect("a token");
    let verified =
        token::verify(token, &token_key, UnixMillis(START), &|_| false).expect("signed with that key");
    assert_eq!((verified.lease_id, verified.chain), (lease.id, lease.chain));
    let health = get(dir, "/v1/health").await;
    assert_eq!(
        (&health["leases"], &health["data_planes"][0]["acked_version"]),
        (&json!(2), &json!(next))
    );
    let text = std::fs::read(dir.join("state.db")).expect("readable");
    let wal = std::fs::read(dir.join("state.db-wal")).expect("readable");
    let password = answer["password"].as_str().expect("a password").as_bytes();
    assert!(
        ![text, wal]
            .iter()
            .any(|file| file.windows(password.len()).any(|bytes| bytes == password))
    );
}

#[tokio::test]
async fn a_derived_lease_is_narrower_shorter_and_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let house = House::open(dir, settings());
    let parent = create(dir, "read,table:app.*").await;
    let more = |more: Value| with(proof(&parent), with(json!({"actor": "migrate"}), more));
    let (status, child) = agent(
        dir,
        "/v1/leases/derive",
        more(json!({"scope": "select,table:app.orders", "ttl_seconds": 86400})),
    )
    .await;
    assert_eq!(status, 201, "{child}");
    assert_eq!(child["chain"], "ci-runner → build/4711 → migrate");
    assert_eq!(child["scope"], "select,table:app.orders");
    assert_eq!(child["expires_at"], parent["expires_at"]);
    let (status, no) = agent(dir, "/v1/leases/derive", more(json!({"scope": "read,delete"}))).await;
    assert_eq!(status, 403);
    assert!(no["error"].as_str().expect("text").contains("delete"), "{no}");
    let wrong = with(more(json!({})), json!({"parent_password": child["password"]}));
    assert_eq!(agent(dir, "/v1/leases/derive", wrong).await.0, 401);
    assert_eq!(
        agent(dir, "/v1/leases/derive", more(json!({"scope": "reed"})))
            .await
            .0,
        400
    );
    assert_eq!(
        agent(dir, "/v1/leases/derive", more(json!({"actor": "a → b"})))
            .await
            .0,
        400
    );
    assert_eq!(
        agent(dir, "/v1/leases", json!({"target": "prod", "as": "x"}))
            .await
            .0,
        404,
        "operators only"
    );

    let text = parent["token"].as_str().expect("a token");
    let narrower = Attenuation {
        actor: Some("hop".into()),
        scope: Some(Scope::parse("select").expect("a scope")),
        ..Attenuation::default()
    };
    let token = token::attenuate(text, &narrower, &[5; 32]).expect("narrowed");
    let (status, child) = agent(
        dir,
        "/v1/leases/derive",
        json!({"parent_token": token, "actor": "tool"}),
    )
    .await;
    assert_eq!(status, 201, "{child}");
    assert_eq!(child["chain"], "ci-runner → build/4711 → hop → tool");
    assert_eq!(child["scope"], "select,table:app.*");
    let wide = json!({"parent_token": token, "actor": "tool", "scope": "read"});
    assert_eq!(
        agent(dir, "/v1/leases/derive", wide).await.0,
        403,
        "the token was narrowed"
    );
    let path = format!(
        "/v1/leases/{}/revoke",
        parent["lease_id"].as_str().expect("an id")
    );
    assert_eq!(
        agent(dir, &path, json!({"token": token})).await.0,
        403,
        "a narrowed token ends nothing"
    );

    house.pass(900);
    assert_eq!(
        agent(dir, "/v1/leases/derive", more(json!({}))).await.0,
        401,
        "the parent has ended"
    );
    house.control.sweep().await.expect("swept");
    assert_eq!(get(dir, "/v1/health").await["leases"], 0);
    assert_eq!(
        get(dir, "/v1/leases?all=true").await["leases"][0]["state"],
        "expired"
    );
}

#[tokio::test]
async fn a_revocation_ends_the_whole_tree_and_survives_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let house = House::open(dir, settings());
    let root = create(dir, "read").await;
    let child = derive(dir, &root, "migrate").await;
    let grandchild = derive(dir, &child, "psql").await;
    let sibling = derive(dir, &root, "lint").await;
    let id = |lease: &Value| lease["lease_id"].as_str().expect("an id").to_owned();
    let held = |lease: &Value| json!({"username": lease["username"], "password": lease["password"]});
    let path = |lease: &Value| format!("/v1/leases/{}/revoke", id(lease));

    assert_eq!(
        agent(dir, &path(&child), held(&sibling)).await.0,
        403,
        "not its own"
    );
    assert_eq!(
        agent(dir, &path(&root), held(&child)).await.0,
        403,
        "not its parent"
    );
    assert_eq!(agent(dir, &path(&child), json!({})).await.0, 400, "no proof");
    let mut plane = DataPlane::dial(dir).await;
    plane.next().await;
    let heard = plane.listen();
    let (status, answer) = agent(dir, &path(&child), held(&root)).await;
    assert_eq!(
        (status, &answer["revoked"]),
        (200, &json!([id(&child), id(&grandchild)])),
        "{answer}"
    );
    assert_eq!(
        agent(dir, &path(&grandchild), held(&grandchild)).await,
        (200, json!({"revoked": [], "data_planes": 0}))
    );
    let derived = with(proof(&grandchild), json!({"actor": "x"}));
    assert_eq!(agent(dir, "/v1/leases/derive", derived).await.0, 401);
    let heard = heard.await.expect("heard");
    assert!(
        matches!(heard.as_slice(), [ToData::LeasesRevoked { ids, by, .. }] if ids.len() == 2 && *by == format!("lease:{}", id(&root))),
        "{heard:?}"
    );
    assert_eq!(
        post(
            dir,
            "/v1/leases/lg_aaaaaaaaaaaaaaaa/revoke",
            json!({"by": "user:oncall-1"})
        )
        .await
        .0,
        404
    );
    let version = house.control.book().version();
    drop(house);

    let house = House::open(dir, settings());
    let mut plane = DataPlane::dial(dir).await;
    let ToData::Snapshot {
        version: after,
        leases,
        revoked,
        ..
    } = plane.next().await
    else {
        panic!("a snapshot")
    };
    assert!(after >= version);
    assert_eq!(revoked.len(), 2);
    assert!(
        revoked
            .iter()
            .all(|lease| [id(&child), id(&grandchild)].contains(&lease.0))
    );
    assert_eq!(leases.len(), 2);
    let _heard = plane.listen();
    let (status, answer) = post(dir, &path(&root), json!({"by": "user:oncall-1"})).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        answer["revoked"].as_array().map(Vec::len),
        Some(2),
        "the root and the sibling"
    );
    assert_eq!(get(dir, "/v1/leases").await["leases"], json!([]));
    let all = get(dir, "/v1/leases?all=true").await;
    let shown = all["leases"].as_array().expect("a list");
    assert!(
        shown.iter().all(|lease| lease["state"] == "revoked") && shown.len() == 4,
        "{all}"
    );
    drop(house);
}

#[tokio::test]
async fn a_data_plane_that_never_confirms_costs_the_lease_and_nobody_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let house = House::open(dir, settings());
    let mut plane = DataPlane::dial(dir).await;
    plane.hear().await;
    let (status, no) = post(dir, "/v1/leases", json!({"target": "prod", "as": "ci-runner"})).await;
    assert_eq!(status, 503, "{no}");
    assert!(no["error"].as_str().expect("text").contains("edge"), "{no}");
    assert_eq!(house.control.book().lease_count(), 0, "nobody has its secret");
    assert!(matches!(plane.hear().await, ToData::LeaseAdded { .. }));
    assert!(matches!(plane.hear().await, ToData::LeasesRevoked { .. }));
    plane.say(&ToControl::Ack { version: 1_000_000 }).await;
    let mut line = String::new();
    assert_eq!(
        plane.read.read_line(&mut line).await.expect("readable"),
        0,
        "a version that never was ends the link"
    );
    assert_eq!(create(dir, "read").await["data_planes"], 0);
}

#[tokio::test]
async fn requests_that_make_no_sense_are_answered_with_a_hint() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let _house = House::open(dir, settings());
    let cases = [
        ("/v1/leases", json!({"target": "nowhere", "as": "x"}), 404),
        ("/v1/leases", json!({"target": "prod"}), 400),
        (
            "/v1/leases",
            json!({"target": "prod", "as": "x", "sudo": true}),
            400,
        ),
        (
            "/v1/leases",
            json!({"target": "prod", "as": "x", "ttl_seconds": 0}),
            400,
        ),
        (
            "/v1/leases",
            json!({"target": "prod", "as": "x", "actors": vec!["a"; 17]}),
            400,
        ),
        ("/v1/leases/derive", json!({"actor": "a"}), 400),
        (
            "/v1/leases/derive",
            json!({"actor": "a", "parent_token": "nonsense"}),
            401,
        ),
        ("/v1/nothing", json!({}), 404),
        ("/v1/health", json!({}), 405),
    ];
    for (path, body, expected) in cases {
        let (status, answer) = post(dir, path, body.clone()).await;
        assert_eq!(status, expected, "{path} {body}");
        assert!(
            answer["error"].is_string() && answer["hint"].is_string(),
            "{answer}"
        );
    }
    let targets = get(dir, "/v1/targets").await;
    assert_eq!(targets["targets"][0]["name"], "prod");
}
