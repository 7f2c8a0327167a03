//! CancelRequest: ends a hold, or asks the server to cancel what it runs.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use codecs::postgres::build::frontend as tell;
use linegate_recording::SessionId;

use super::hold::HoldOutcome;
use super::{Session, back_door};
use crate::core::Core;
use crate::shared::{CoreMessage, lock};

/// How long a client's request is kept open for the server's sake.
const HEARD_WAIT: Duration = Duration::from_secs(5);
const HEARD_POLL: Duration = Duration::from_millis(1);

/// Carries a request to the core that owns the session and waits until it has been acted on: a client that sees its request closed
/// sends its next statement, which a signal on its way must not hit. An unknown key is ignored, as servers do.
pub async fn request(core: &Core, process_id: u32, secret: Vec<u8>) {
    let found = lock(&core.shared.cancels).get(&(process_id, secret)).cloned();
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
    if let Some((_, _, slot)) = session.hold.borrow_mut().take() {
        slot.put(HoldOutcome::Gone("cancelled"));
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
    let Ok(mut link) = back_door::dial(&session.target, &session.core.pool).await else {
        return;
    };
    let mut bytes = Vec::new();
    let (process_id, secret) = &session.cancel_key;
    tell::cancel_request(&mut bytes, *process_id, secret);
    let _ = link.writer.write_vec(bytes).await;
    // The server acts and closes: its closing says that the signal was sent.
    if let Ok(ingress) = link.reader.ingress() {
        let _ = link.reader.fill(ingress, 1).await;
    }
}
