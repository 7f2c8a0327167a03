//! Servers that fall silent: a machine that froze keeps its connections open and says nothing, for ever.
//!
//! A session that waits for its server looks the same whether a statement takes long or nobody is there. So a core looks at
//! its sessions every second, and where one has waited for [`WAITED`] without hearing anything, the server itself is asked, on
//! a connection of its own, what every server answers at once: an SSLRequest (PostgreSQL manual, "SSL Session Encryption").
//! Only a server that takes the connection, or loses the packets, and says nothing for [`ANSWER`] counts as gone: its
//! sessions that wait end with a clear error. Any answer, a refusal and an end are signs of life.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use codecs::postgres::build::frontend as tell;
use linegate_recording::SessionId;

use super::{Ended, Session};
use crate::core::Core;
use crate::link::Link;
use crate::rt::net::{Place, Stream};
use crate::rt::{self};
use crate::shared::Target;
use crate::slab::Ingress;

/// How often a core looks.
const LOOK: Duration = Duration::from_secs(1);
/// A session that heard nothing for so many looks makes linegate ask.
const WAITED: u32 = 3;
/// How long a server may take to answer. Together with the wait and the look it stays below ten seconds.
const ANSWER: Duration = Duration::from_secs(5);

/// What a session had heard, and had still to hear, when it was looked at.
type Heard = (u64, usize);

/// Looks after the sessions of a core for as long as it lives.
pub async fn watch(core: Rc<Core>) {
    let mut waiting: HashMap<SessionId, (Heard, u32)> = HashMap::new();
    loop {
        rt::sleep(LOOK).await;
        let quiet = look(&core, &mut waiting);
        let mut asked = HashSet::new();
        for session in quiet {
            if asked.insert(session.target.config.name.clone()) {
                // A task of its own: another target's silence is not waited for.
                rt::spawn(ask(core.clone(), session.target.clone()));
            }
            waiting.remove(&session.id); // counted anew: one question at a time
        }
    }
}

/// Sessions that have waited long enough without hearing anything.
fn look(core: &Core, waiting: &mut HashMap<SessionId, (Heard, u32)>) -> Vec<Rc<Session>> {
    let mut quiet = Vec::new();
    let sessions = core.sessions.borrow();
    waiting.retain(|id, _| sessions.contains_key(id));
    for (id, session) in sessions.iter() {
        let Some(heard) = owed(session) else {
            waiting.remove(id);
            continue;
        };
        let (before, looks) = waiting.entry(*id).or_insert((heard, 0));
        if *before != heard {
            (*before, *looks) = (heard, 0);
            continue;
        }
        *looks += 1;
        if *looks >= WAITED {
            quiet.push(session.clone());
        }
    }
    quiet
}

/// What a session has heard, if the server owes it anything.
fn owed(session: &Session) -> Option<Heard> {
    let pipeline = session.pipeline.borrow();
    // A hold waits for a person, COPY FROM for the client.
    let waits = pipeline.len() > 0 && !pipeline.is_copying_in() && session.hold.borrow().is_none();
    waits.then(|| (session.totals.get().1, pipeline.len()))
}

/// Asks a server for a sign of life; where there is none, ends the sessions of this core that still wait for it.
async fn ask(core: Rc<Core>, target: Arc<Target>) {
    let of_target = |session: &&Rc<Session>| Arc::ptr_eq(&session.target, &target);
    let before: Vec<(Rc<Session>, Heard)> = core
        .sessions
        .borrow()
        .values()
        .filter(of_target)
        .filter_map(|session| Some((session.clone(), owed(session)?)))
        .collect();
    let addresses = target.addresses.load_full();
    for place in addresses.iter() {
        if is_alive(&core, place).await {
            return;
        }
    }
    let name = &target.config.name;
    tracing::warn!(target = %name, "the server is silent: it does not even answer a new connection");
    for (session, heard) in before {
        if owed(&session) == Some(heard) {
            session.end(Ended {
                why: "the server fell silent".to_owned(),
                say: Some((
                    *b"08006",
                    format!("the server of {name} does not answer any more"),
                )),
            });
        }
    }
}

async fn is_alive(core: &Core, place: &Place) -> bool {
    let stream = match rt::within(ANSWER, Stream::connect(place)).await {
        None => return false, // nobody even refuses
        Some(Err(_)) => return true,
        Some(Ok(stream)) => stream,
    };
    let Ok(mut link) = Link::new(stream, core.pool.clone()) else {
        return true; // linegate's own trouble
    };
    let deadline = rt::net::Deadline::new(ANSWER, &link.switch);
    let mut request = Vec::new();
    tell::ssl_request(&mut request);
    let _ = link.writer.write_vec(request).await;
    let _ = link.reader.fill(Ingress::default(), 1).await;
    !deadline.is_over()
}
