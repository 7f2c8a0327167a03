//! Linegate's own parts, put together for the simulator: configuration, policy, lease, catalog, a core, and nothing beside it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use linegate_config::Config;
use linegate_identity::{
    ActorChain, LeaseGrant, LeaseId, Principal, PrincipalKind, Scope, ScramVerifier, UnixMillis,
};
use linegate_policy::LabelIndex;
use linegate_policy::catalog::{Catalog, Column, Relation};

use super::client::{self, Told};
use super::hostile;
use super::net::{self, pair};
use super::server::{self, Heard, TABLE_OID};
use super::{EPOCH_MS, below, sleep, spawn};
use crate::core::Core;
use crate::counters::Counters;
use crate::rt::sync::{Bell, Slot};
use crate::rt::{self, net::Peer};
use crate::session::postgres::{Session, serve::serve, silence};
use crate::shared::{CatalogView, Shared, lock};
use crate::{policy_service, recorder, start};

const USER: &str = "lg_simulatedleaseaa";
const SECRET: &str = "simulated";
const RING_ENTRIES: usize = 64;
const CONFIG: &str = r#"
[control]
state = "sqlite:state.db"
[data]
workers = 1
[[target]]
name = "shop"
protocol = "postgres"
listen = "127.0.0.1:1"
address = "127.0.0.1:2"
tls = "disable"
credential = { user = "app" }
record = "rows"
warm_pool = 2
[[label]]
name = "pii"
target = "shop"
columns = ["app.people.ssn"]
redact = "keep-last-4"
[policy]
files = ["*.cedar"]
"#;
const POLICY: &str = r#"
permit (principal, action in [Action::"connect", Action::"select", Action::"transaction", Action::"set"], resource);
"#;

/// What all simulations share.
#[derive(Clone)]
pub struct Ground {
    shared: Arc<Shared>,
    /// Sessions that took up a warm connection, in all simulations.
    pub reused: Rc<Cell<u64>>,
}

impl Ground {
    /// Made once.
    pub fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("linegate-sim-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary directory");
        std::fs::write(dir.join("linegate.toml"), CONFIG).expect("our own directory");
        std::fs::write(dir.join("sim.cedar"), POLICY).expect("our own directory");
        let config = Config::load(&dir.join("linegate.toml")).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let bell = Bell::for_anyone;
        let shared = start::share(config, &dir, &dir, std::iter::once(bell()), bell());
        let _left = std::fs::remove_dir_all(&dir);
        let shared = shared.unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        lock(&shared.leases).insert(lease());
        shared.has_snapshot.store(true, Ordering::Release);
        publish_catalog(&shared);
        Self {
            shared,
            reused: Rc::default(),
        }
    }
}

fn lease() -> LeaseGrant {
    let principal = Principal {
        kind: PrincipalKind::Workload,
        name: "ci-runner".to_owned(),
        groups: Vec::new(),
    };
    LeaseGrant {
        id: LeaseId::parse(USER).expect("an id"),
        parent: None,
        chain: ActorChain::new(principal),
        target: "shop".to_owned(),
        scope: Scope {
            effects: linegate_identity::Effects::all(),
            tables: None,
        },
        expires_at: UnixMillis(EPOCH_MS + 3_600_000),
        verifier: ScramVerifier::derive(SECRET.as_bytes(), b"some salt", 1),
    }
}

fn publish_catalog(shared: &Shared) {
    let column = |number, name: &str, type_oid| Column {
        number,
        name: name.to_owned(),
        type_oid,
    };
    let columns = vec![column(1, "id", 23), column(2, "name", 25), column(3, "ssn", 25)];
    let catalog = Catalog {
        epoch: 1,
        relations: vec![Relation::new(TABLE_OID, "app", "people", b'r', columns)],
        ..Catalog::default()
    };
    for database in ["shop", "app"] {
        let cell = shared.catalog("shop", database);
        let reading = cell.reading();
        let (labels, missing) = LabelIndex::resolve(&catalog, &shared.targets["shop"].labels);
        assert!(missing.is_empty(), "{missing:?}");
        let view = CatalogView {
            epoch: 1,
            labels,
            fingerprint: [0; 32],
            version: None,
        };
        cell.publish(reading, Some(view));
        cell.confirm(reading, cell.checking());
    }
}

/// A core, what stands beside it, and a server; what that hears.
fn begin(shared: &Arc<Shared>) -> (Rc<Core>, Heard) {
    net::begin();
    let (policy, mut policy_hand) = policy_service::by_hand(shared.clone());
    let (recording, mut recorder_hand) = recorder::by_hand(RING_ENTRIES);
    let core = Core::new(
        0,
        shared.clone(),
        Arc::new(Counters::default()),
        recording,
        policy,
    );
    let beside = core.clone();
    spawn(async move {
        loop {
            // The threads beside a core take their time as well.
            sleep(Duration::from_millis(1 + below(3) as u64)).await;
            while let Some(reply) = policy_hand.step() {
                beside.deliver(reply);
            }
            recorder_hand.drain();
            beside.tick();
        }
    });
    spawn(silence::watch(core.clone()));
    let heard = Heard::default();
    spawn(server::listen(heard.clone()));
    (core, heard)
}

/// Nothing that is refused has reached the server, every session has ended, and no task has panicked.
async fn end(core: &Rc<Core>, heard: &Heard) -> Result<(), String> {
    if heard.borrow().iter().any(|text| text.starts_with("DELETE")) {
        return Err("the server heard a statement that was refused".to_owned());
    }
    ended(core).await?;
    match rt::PANICS.load(Ordering::Relaxed) {
        0 => Ok(()),
        _ => Err("a task panicked".to_owned()),
    }
}

/// One simulation with a client that says these bytes once it is in.
pub async fn assailed(ground: Ground, bytes: Vec<u8>) -> Result<(), String> {
    let (core, heard) = begin(&ground.shared);
    let (near, far) = pair([None, None]);
    let door = ground.shared.doors[0].clone();
    let peer = Peer::Tcp(([127, 0, 0, 1], 9).into());
    spawn(serve(core.clone(), door, far, peer));
    let heard_by_client = hostile::assail(near, USER, SECRET, bytes).await;
    // The line to the server may break by itself, also during the login.
    if !net::is_broken() {
        heard_by_client?;
    }
    end(&core, &heard).await
}

/// The same with a conversation of which parts are changed, doubled or left out.
#[cfg(test)]
pub async fn assailed_by_chance(ground: Ground) -> Result<(), String> {
    let mut bytes = client::Conversation::new().parts.concat();
    for _ in 0..below(4) {
        let at = below(bytes.len());
        let end = (at + 1 + below(40)).min(bytes.len());
        match below(4) {
            0 => bytes[at] ^= 1 << below(8),
            1 => bytes[at] = b"QPBDECSHfFdcpX"[below(14)],
            2 => drop(bytes.drain(at..end)),
            _ => {
                let part = bytes[at..end].to_vec();
                let to = below(bytes.len());
                drop(bytes.splice(to..to, part));
            }
        }
    }
    assailed(ground, bytes).await
}

/// One simulation: one core, a server, and one to three clients.
pub async fn play(ground: Ground) -> Result<(), String> {
    let shared = ground.shared;
    // Half of the time all come at once.
    let comes_ms = [0, 60][below(2)];
    let (core, heard) = begin(&shared);
    let mut ends = Vec::new();
    for number in 0..1 + below(3) as u64 {
        let breaks = [0, 1].map(|_| (below(12) == 0).then(|| below(2000)));
        let (near, far) = pair(breaks);
        let door = shared.doors[0].clone();
        let peer = Peer::Tcp(([127, 0, 0, 1], 9).into());
        let serving = core.clone();
        spawn(async move {
            sleep(Duration::from_millis(number * comes_ms)).await;
            serve(serving, door, far, peer).await;
        });
        let end: Slot<Told> = Slot::default();
        ends.push(end.clone());
        spawn(async move { end.put(client::talk(near, USER.to_owned(), SECRET.to_owned()).await) });
    }
    for end in ends {
        let told = end.wait().await;
        if let Some(wrong) = told.wrong {
            return Err(wrong);
        }
        if !told.is_whole && !net::is_broken() {
            return Err("a conversation over a good line ended early".to_owned());
        }
    }
    end(&core, &heard).await?;
    let reused = &ground.reused;
    reused.set(reused.get() + core.counters.warm_reused.get());
    Ok(())
}

/// Every session ends with its client.
async fn ended(core: &Rc<Core>) -> Result<(), String> {
    for _ in 0..2000 {
        if core.sessions.borrow().is_empty() {
            return Ok(());
        }
        sleep(Duration::from_millis(10)).await;
    }
    let state = |session: &Rc<Session>| {
        let why = session.ended.borrow().as_ref().map(|ended| ended.why.clone());
        let owed = session.pipeline.borrow().len();
        format!(
            "ended {why:?}, {owed} owed, {} references",
            Rc::strong_count(session)
        )
    };
    let left: Vec<String> = core.sessions.borrow().values().map(state).collect();
    Err(format!(
        "a session is left though its client is gone: {}",
        left.join("; ")
    ))
}
