//! CancelRequest: ends a hold, or asks the server to cancel what it runs.
//!
//! Source: PostgreSQL manual, "Message Flow": Canceling Requests in Progress; "Message Formats": BackendKeyData. A client gets a
//! key of linegate's own with the process id of its server, so that nobody can cancel around linegate.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use codecs::postgres::build::{backend as say, frontend as tell};
use linegate_recording::SessionId;

use super::hold::{HoldOutcome, Refusal};
use super::{Session, back_door};
use crate::clock;
use crate::core::Core;
use crate::rt::net::Deadline;
use crate::shared::{CoreMessage, Shared, lock};
use crate::slab::Ingress;

/// How long a client's request is kept open for the server's sake.
const HEARD_WAIT: Duration = Duration::from_secs(5);
const HEARD_POLL: Duration = Duration::from_millis(1);

/// Protocol 3.0 knows no other length.
const SHORT_BYTES: usize = 4;
/// As long as the servers' own in protocol 3.2.
const LONG_BYTES: usize = 32;

/// What a CancelRequest has to name: process and secret.
pub type CancelKey = (u32, Arc<[u8]>);

/// A session's key on both sides. The process is the server's own, which clients know by other ways too.
pub struct Keys {
    process_id: u32,
    client: Arc<[u8]>,
    server: Box<[u8]>,
}

impl Keys {
    /// A new key for a client that speaks that minor version, beside the server's.
    pub fn issue(core: &Core, (process_id, server): (u32, Box<[u8]>), minor: u16) -> Self {
        let cancels = lock(&core.shared.cancels);
        loop {
            let client: Arc<[u8]> = if minor >= 2 {
                Arc::from(clock::random::<LONG_BYTES>())
            } else {
                Arc::from(clock::random::<SHORT_BYTES>())
            };
            // Processes of several servers may have one number, and four bytes are few.
            if !cancels.contains_key(&(process_id, client.clone())) {
                return Self {
                    process_id,
                    client,
                    server,
                };
            }
        }
    }

    /// The client's.
    pub fn of_client(&self) -> CancelKey {
        (self.process_id, self.client.clone())
    }

    /// Appends the client's BackendKeyData.
    pub fn tell(&self, out: &mut Vec<u8>) {
        say::backend_key_data(out, self.process_id, &self.client);
    }
}

/// A statement that is still being decided: the server knows nothing of it, so a request is acted on here.
#[derive(Default)]
pub struct Undecided(Cell<Standing>);

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Standing {
    /// There is none.
    #[default]
    None,
    Waits,
    Cancelled,
}

/// While this lives, requests are for the statement that is being decided.
pub struct Heeding(Rc<Session>);

impl Heeding {
    /// Of a session's next statement.
    pub fn of(session: &Rc<Session>) -> Self {
        session.undecided.0.set(Standing::Waits);
        Self(session.clone())
    }
}

impl Drop for Heeding {
    fn drop(&mut self) {
        self.0.undecided.0.set(Standing::None);
    }
}

impl Undecided {
    /// Whether the request was for it.
    fn cancel(&self) -> bool {
        let waits = self.0.get() != Standing::None;
        if waits {
            self.0.set(Standing::Cancelled);
        }
        waits
    }

    /// Whether nobody waits for the decision any more.
    pub fn is_cancelled(&self) -> bool {
        self.0.get() == Standing::Cancelled
    }

    /// What the client is told instead of an answer, in the server's words.
    pub fn refusal(&self) -> Option<Refusal> {
        self.is_cancelled().then(|| Refusal {
            sqlstate: *b"57014",
            message: "canceling statement due to user request".to_owned(),
            hint: None,
        })
    }
}

/// Carries a request to the core that owns the session and waits until it has been acted on: a client that sees its request closed
/// sends its next statement, which a signal on its way must not hit. An unknown key is ignored, as servers do.
pub async fn request(core: &Core, process_id: u32, secret: Vec<u8>) {
    let found = lock(&core.shared.cancels)
        .get(&(process_id, secret.into()))
        .cloned();
    let Some(entry) = found else { return };
    let heard = Heard::default();
    core.shared.cores[entry.core].put(CoreMessage::Cancel(entry.session, heard.clone()));
    let mut waited = Duration::ZERO;
    while !heard.is_over() && waited < HEARD_WAIT {
        crate::rt::sleep(HEARD_POLL).await;
        waited += HEARD_POLL;
    }
}

/// On the session's own core.
pub fn act(core: &Rc<Core>, id: SessionId, heard: Heard) {
    let Some(session) = core.sessions.borrow().get(&id).cloned() else {
        return;
    };
    if let Some(waiting) = session.hold.borrow_mut().take() {
        waiting.slot.put(HoldOutcome::Gone("cancelled"));
        return;
    }
    if session.pipeline.borrow().is_idle() && session.undecided.cancel() {
        return;
    }
    crate::rt::spawn(async move {
        at_server(&session).await;
        drop(heard);
    });
}

/// Shared by who asks and who acts; when the latter lets go, the request has been heard.
#[derive(Clone, Default)]
pub struct Heard(Arc<()>);

impl Heard {
    fn is_over(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

/// Asks the server to cancel what the session runs, and waits until it has heard.
pub(super) async fn at_server(session: &Session) {
    let keys = &session.cancel_keys;
    if keys.server.is_empty() || !session.parting.cancels() {
        return; // the server gave none, or serves somebody else by now
    }
    let Ok(mut link) = back_door::dial(&session.target, &session.core.pool).await else {
        return session.parting.cancel_heard(); // nothing was said
    };
    let deadline = Deadline::new(Shared::connect_time(&session.target), &link.switch);
    let mut bytes = Vec::new();
    tell::cancel_request(&mut bytes, keys.process_id, &keys.server);
    let _ = link.writer.write_vec(bytes).await;
    // The server acts and closes: its closing says that the signal was sent.
    let read = link.reader.fill(Ingress::default(), 1).await.0;
    if matches!(read, Ok(0)) && !deadline.is_over() {
        session.parting.cancel_heard();
    }
}
