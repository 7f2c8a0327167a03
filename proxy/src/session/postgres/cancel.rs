//! CancelRequest: ends a hold, or asks the server to cancel what it runs.

use std::rc::Rc;

use codecs::postgres::build::frontend as tell;
use linegate_recording::SessionId;

use super::hold::HoldOutcome;
use super::{Session, back_door};
use crate::core::Core;
use crate::shared::{CoreMessage, lock};

/// Carries a request to the core that owns the session. An unknown key is ignored, as servers do.
pub fn request(core: &Core, process_id: u32, secret: Vec<u8>) {
    let found = lock(&core.shared.cancels).get(&(process_id, secret)).cloned();
    if let Some(entry) = found {
        core.shared.cores[entry.core].put(CoreMessage::Cancel(entry.session));
    }
}

/// On the session's own core.
pub fn act(core: &Rc<Core>, id: SessionId) {
    let Some(session) = core.sessions.borrow().get(&id).cloned() else {
        return;
    };
    if let Some((_, _, slot)) = session.hold.borrow_mut().take() {
        slot.put(HoldOutcome::Gone("cancelled"));
        return;
    }
    crate::rt::spawn(async move { at_server(&session).await });
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
