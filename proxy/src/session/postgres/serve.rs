//! One connection from its first byte to its last entry in the record.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use codecs::postgres::Limits;
use codecs::postgres::backend::TransactionStatus;
use codecs::postgres::build::backend as say;
use linegate_config::{RecordLevel, WarmShare};
use linegate_identity::UnixMillis;
use linegate_recording::{Entry, Level, SessionId};

use super::budget::Spending;
use super::fresh::Fresh;
use super::front_door::{self, Client, Opened, Proven};
use super::lexing::Lexing;
use super::names::Names;
use super::parting::{self, Parting};
use super::pipeline::Pipeline;
use super::startup_settings::Settings;
use super::{Ended, Front, Session, alone, answer, ask, back_door, cancel, scrub};
use crate::clock;
use crate::core::{Core, Deadline};
use crate::doors::Door;
use crate::link::{Link, LinkReader, LinkWriter};
use crate::rt::{
    self,
    net::{Peer, Stream},
    sync::Slot,
};
use crate::shared::{CancelEntry, Shared, Target, lock};
use crate::warm_pool::Key;

/// `NAMEDATALEN`: names are shorter.
const NAME_BYTES: usize = 64;

/// The server has no room for another connection.
const TOO_MANY_CONNECTIONS: [u8; 5] = *b"53300";
/// How long a server may take to end the connections that were kept there.
const ROOM_WAIT: Duration = Duration::from_millis(50);

/// Serves a connection to its end.
pub async fn serve(core: Rc<Core>, door: Arc<Door>, stream: Stream, peer: Peer) {
    core.counters.accepted.one();
    let Ok(link) = Link::new(stream, core.pool.clone()) else {
        return;
    };
    let logged_in = Rc::new(Cell::new(false));
    let login_ms = u64::from(door.startup_seconds()) * 1000;
    core.at(
        UnixMillis(clock::now().0 + login_ms),
        Deadline::Login(link.switch.clone(), logged_in.clone()),
    );
    match front_door::open(door, link).await {
        Ok(Opened::Cancel {
            mut link,
            process_id,
            secret,
        }) => {
            cancel::request(&core, process_id, secret).await;
            link.writer.farewell().await;
        }
        Ok(Opened::Client(client)) => welcome(&core, *client, peer, &logged_in).await,
        Err((mut link, ended)) => {
            // Whoever only looks whether the port is open is no news.
            match &ended.say {
                Some(_) => tracing::info!(%peer, why = %ended.why, "login refused"),
                None => tracing::debug!(%peer, why = %ended.why, "no login"),
            }
            core.counters.login_refused.one();
            if let Some((sqlstate, message)) = &ended.say {
                let mut bytes = Vec::new();
                say::error_response(&mut bytes, "FATAL", sqlstate, message, None, None);
                let _ = link.writer.write_vec(bytes).await;
            }
            link.writer.farewell().await;
        }
    }
    logged_in.set(true);
}

async fn welcome(core: &Rc<Core>, mut client: Client, peer: Peer, logged_in: &Rc<Cell<bool>>) {
    let target = client.target.clone();
    let opened = match front_door::prove(core, &mut client).await {
        Ok(proven) => open(core, &target, &mut client, proven, peer).await,
        Err(ended) => Err(ended),
    };
    logged_in.set(true);
    match opened {
        Ok(ready) => Box::pin(begin(core, ready, client)).await,
        Err(ended) => {
            tracing::info!(target = %target.config.name, %peer, why = %ended.why, "login refused");
            core.counters.login_refused.one();
            client.refuse(&ended).await;
        }
    }
}

/// A session that is about to begin.
struct Ready {
    make: Box<dyn FnOnce(Front, rt::net::Switch) -> Rc<Session>>,
    backend: back_door::Backend,
}

async fn open(
    core: &Rc<Core>,
    target: &Arc<Target>,
    client: &mut Client,
    proven: Proven,
    peer: Peer,
) -> Result<Ready, Ended> {
    if core.shared.draining.load(Ordering::Relaxed) {
        return Err(Ended::saying(b"57P03", "linegate is shutting down"));
    }
    if core.recording_fails() {
        return Err(Ended::saying(
            b"53100",
            "linegate cannot record now, so it opens no sessions",
        ));
    }
    if target.sessions.load(Ordering::Relaxed) >= u64::from(target.config.max_sessions) {
        return Err(Ended::saying(
            b"53300",
            "linegate: too many sessions for this target",
        ));
    }
    let lease = proven.lease;
    let database = target.config.database.clone().or_else(|| client.database.clone());
    let database = database.unwrap_or_else(|| target.config.credential.user.clone());
    if database.len() >= NAME_BYTES {
        // The server would cut it, and open another one.
        return Err(Ended::saying(
            b"3D000",
            "linegate: the database's name is too long",
        ));
    }
    let standing = core
        .open(&lease, &database)
        .await
        .map_err(|why| Ended::saying(b"28000", format!("linegate: {}", why.public())))?;
    let application = client
        .parameters
        .iter()
        .find(|(name, _)| name == "application_name")
        .map(|(_, value)| value.clone());
    let catalog = core.shared.catalog(&target.config.name, &database);
    let mut settings = Settings::read(&client.parameters)?;
    settings.decide(core, &standing, &catalog).await?;
    let is_masked = !standing.masks.is_empty();
    let of = (&*lease, proven.token_ids.as_slice());
    let (backend, key) = login(core, client, of, &database, &settings, is_masked).await?;
    core.counters.logged_in.one();
    let id = SessionId::from_random(clock::random());
    let entry = Entry::SessionOpened {
        lease: lease.id.to_string(),
        chain: std::iter::once(&lease.chain.principal.name)
            .chain(&lease.chain.actors)
            .cloned()
            .collect(),
        principal_kind: lease.chain.principal.kind.as_str().to_owned(),
        target: target.config.name.clone(),
        database: database.clone(),
        role: target.config.credential.user.clone(),
        client_addr: peer.to_string(),
        application,
        level: level(target.config.record),
    };
    core.record(id, entry).await;
    let (statements, path_moved) = (settings.count(), settings.move_path());
    let has_temporary = settings.may_make_temporary();
    let lexing = Lexing::default();
    settings
        .pairs
        .iter()
        .for_each(|(name, value)| lexing.note_changed(name, value));
    settings.record(core, id).await;
    target.sessions.fetch_add(1, Ordering::Relaxed);
    let meter = {
        let leases = lock(&core.shared.leases);
        core.shared.meters.open(&leases, &lease, clock::now())
    };
    let (core, target) = (core.clone(), target.clone());
    let limits = Limits {
        frame_bytes_max: frame_bytes_max(&target),
    };
    let cancel_keys = cancel::Keys::issue(&core, backend.cancel_key.clone(), client.minor);
    let back_switch = backend.link.switch.clone();
    let parting = Parting::new(parting::Login {
        greeting: key.as_ref().map_or(Vec::new(), |_| backend.greeting.clone()),
        key,
        cancel_key: backend.cancel_key.clone(),
        place: backend.place.clone(),
        since: backend.since,
    });
    let make = Box::new(move |front, front_switch| {
        Rc::new(Session {
            id,
            core,
            target,
            lease,
            token_ids: proven.token_ids.into(),
            database: database.into(),
            limits,
            standing: RefCell::new(standing),
            spending: Spending::new(meter),
            catalog,
            pipeline: RefCell::new(Pipeline::default()),
            plans: RefCell::default(),
            copies: RefCell::default(),
            front,
            front_switch,
            back_switch,
            cancel_keys,
            undecided: cancel::Undecided::default(),
            parting,
            ended: RefCell::new(None),
            prepared_touched: Cell::new(false),
            path_moved: Cell::new(path_moved),
            has_temporary: Cell::new(has_temporary),
            names: Names::default(),
            fresh: Fresh::default(),
            lexing,
            at_boundary: Cell::new(true),
            drained: RefCell::new(None),
            hold: RefCell::new(None),
            uses_known: RefCell::new(None),
            epoch: Cell::new(((u64::MAX, u64::MAX, u64::MAX, 0), 0)),
            described: Cell::new(0),
            statements: Cell::new(statements),
            totals: Cell::new((0, 0, 0)),
        })
    });
    Ok(Ready { make, backend })
}

fn frame_bytes_max(target: &Target) -> u32 {
    let largest_mb = target
        .config
        .row_bytes_max_mb
        .max(target.config.statement_bytes_max_mb)
        .min(1023);
    largest_mb << 20
}

fn level(level: RecordLevel) -> Level {
    match level {
        RecordLevel::Statements => Level::Statements,
        RecordLevel::Shape => Level::Shape,
        RecordLevel::Rows => Level::Rows,
    }
}

/// Logs in at the server with what the client set, as far as it may; or takes up a connection that did just so, and that no
/// session uses any more.
async fn login(
    core: &Rc<Core>,
    client: &Client,
    (lease, token_ids): (&linegate_identity::LeaseGrant, &[String]),
    database: &str,
    settings: &Settings,
    is_masked: bool,
) -> Result<(back_door::Backend, Option<Key>), Ended> {
    let mut parameters = settings.pairs.clone();
    if is_masked {
        // Whatever the server's or the role's defaults are: statements are read under these.
        for (name, value) in [("client_encoding", "UTF8"), ("standard_conforming_strings", "on")] {
            parameters.retain(|(theirs, _)| !theirs.eq_ignore_ascii_case(name));
            parameters.push((name.into(), value.into()));
        }
    }
    let (target, minor) = (&client.target, client.minor);
    let warm = target.config.warm_pool;
    let name = lease.chain.application_name(&lease.id);
    // A connection that several leases use in turn is told whose it is each time: RESET leads back to none of them.
    let naming = (warm.connections > 0 && warm.share == WarmShare::Principal)
        .then(|| format!("SET application_name = {}", literal(&name)));
    let first_name = if naming.is_some() {
        "linegate".to_owned()
    } else {
        name
    };
    parameters.push(("application_name".into(), first_name));
    let time = Shared::connect_time(target);
    let key = (warm.connections > 0).then(|| {
        let whose = (target.config.credential.user.as_str(), database);
        Key::new(warm.share, (lease, token_ids), whose, &parameters, minor)
    });
    while let Some(key) = &key
        && let Some(mut backend) = take_warm(core, target, key)
    {
        let named = match &naming {
            Some(naming) => backend.run(naming, time).await,
            None => Ok(()),
        };
        if named.is_ok() {
            core.counters.warm_reused.one();
            return Ok((backend, Some(key.clone())));
        }
        core.counters.warm_closed.one();
    }
    let mut backend = back_door::connect_minor(target, &core.pool, database, &parameters, minor).await;
    let is_full = |ended: &Ended| matches!(ended.say, Some((TOO_MANY_CONNECTIONS, _)));
    if backend.as_ref().is_err_and(is_full) {
        let closed = core.warm.borrow_mut().clear_of(&target.config.name);
        core.counters.warm_closed.add(closed);
        if closed > 0 {
            rt::sleep(ROOM_WAIT).await;
            backend = back_door::connect_minor(target, &core.pool, database, &parameters, minor).await;
        }
    }
    let mut backend = backend.inspect_err(|_| core.counters.backend_failed.one())?;
    if let Some(naming) = &naming {
        let named = backend.run(naming, time).await;
        named.map_err(|why| Ended {
            why: format!("the server connection could not be named: {why}"),
            say: Some((
                *b"08001",
                "linegate: the server did not let linegate in".to_owned(),
            )),
        })?;
    }
    Ok((backend, key))
}

/// A warm connection for that key, if there is one.
fn take_warm(core: &Core, target: &Target, key: &Key) -> Option<back_door::Backend> {
    let places = target.addresses.load();
    let mut warm = core.warm.borrow_mut();
    let taken = warm.take(&target.config.name, key, &places, clock::now());
    core.counters.warm_closed.add(taken.closed);
    taken.connection?.into_backend().ok()
}

/// A string constant that reads the same under any settings.
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// Begins a session: its two loops are tasks of their own, so that neither is looked at when the other has news, and what the
/// login needed is given back while they run.
async fn begin(core: &Rc<Core>, ready: Ready, client: Client) {
    let Ready { make, backend } = ready;
    let (front, ahead) = (client.link, client.ingress);
    let (mut reader, mut back) = (front.reader, backend.link);
    drop(backend.ingress); // the server says nothing more until it is asked
    let session = make(Front::new(front.writer), front.switch);
    let registered = Registered::new(&session);
    if let Err(error) = greet(&session, client.owed, &backend.greeting).await {
        let why = format!("the client left during the login: {error}");
        session.end(Ended::quietly(why));
        return close(core.clone(), registered, None).await;
    }
    reader.begin_session();
    back.reader.begin_session();
    let left = Slot::default();
    let asker = Asker {
        session,
        left: left.clone(),
    };
    rt::spawn(async move {
        let session = asker.session.clone();
        let what = ask::run(session, reader, back.writer, ahead).await;
        asker.left.put(Some(Box::new(what)));
    });
    let core = core.clone();
    rt::spawn(async move {
        let reader = answer::run(registered.session.clone(), back.reader).await;
        Box::pin(async move {
            let halves = left.wait().await.map(|left| (reader, left.0));
            close(core, registered, halves).await;
        })
        .await;
    });
}

/// The task that carries what the client says; the other one waits for what it leaves.
struct Asker {
    session: Rc<Session>,
    left: Slot<Option<Box<ask::Left>>>,
}

impl Drop for Asker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.session.back_switch.off();
            self.session.front_switch.off();
        }
        self.left.put(None); // unless something was left
    }
}

/// Tells the client that it is in, behind what it was owed.
async fn greet(session: &Session, mut hello: Vec<u8>, greeting: &[u8]) -> std::io::Result<()> {
    // The lease, or a part of its token, may have ended while the backend was asked.
    if parting::is_over(session) {
        session.end_lease("the lease has ended", "");
    }
    say::authentication_ok(&mut hello);
    match scrub::greeting(session, greeting) {
        Ok(greeting) => hello.extend_from_slice(&greeting),
        Err(ended) => session.end(ended),
    }
    session.cancel_keys.tell(&mut hello);
    say::ready_for_query(&mut hello, TransactionStatus::Idle);
    session.front.turn().await.write(hello).await.0
}

/// The last words, the last entry. The server connection waits for another session, if it may.
async fn close(core: Rc<Core>, registered: Registered, back: Option<(LinkReader, LinkWriter)>) {
    let session = registered.session.clone();
    session.say_goodbye().await;
    drop(registered); // from here on nobody ends the session: what is parked is the pool's
    if let Some((reader, writer)) = back {
        session.park(reader, writer);
    }
    let entry = ended_entry(&session);
    core.record(session.id, entry).await;
}

fn ended_entry(session: &Session) -> Entry {
    let (rows, bytes_out, bytes_in) = session.totals.get();
    let why = session.ended.borrow().as_ref().map(|ended| ended.why.clone());
    Entry::SessionEnded {
        why: why.unwrap_or_else(|| "a fault of linegate's own".into()),
        statements: session.statements.get(),
        rows,
        bytes_in,
        bytes_out,
    }
}

/// A session's places in the registers; given up when it ends, even by a panic.
struct Registered {
    session: Rc<Session>,
}

impl Registered {
    fn new(session: &Rc<Session>) -> Self {
        let core = &session.core;
        core.sessions.borrow_mut().insert(session.id, session.clone());
        let entry = CancelEntry {
            core: core.index,
            session: session.id,
        };
        lock(&core.shared.cancels).insert(session.cancel_keys.of_client(), entry);
        core.at(session.lease.expires_at, Deadline::Lease(Rc::downgrade(session)));
        Self {
            session: session.clone(),
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let core = &self.session.core;
        lock(&core.shared.cancels).remove(&self.session.cancel_keys.of_client());
        core.sessions.borrow_mut().remove(&self.session.id);
        if self.session.catalog.changing.is_changing(self.session.id) {
            if std::thread::panicking() {
                self.session.catalog.mark_stale();
                self.session.catalog.changing.ends(self.session.id);
            } else {
                alone::abandon(self.session.clone());
            }
        }
        core.counters.ended.one();
        if std::thread::panicking() {
            self.session.back_switch.off();
            self.session.front_switch.off();
            core.record_now(self.session.id, ended_entry(&self.session));
        }
    }
}
