//! What goes to the server: gathered, sent at once, and what is true when it takes no more.

use std::time::Duration;

use codecs::postgres::build::frontend as tell;

use super::{Asking, client_gone};
use crate::rt;
use crate::rt::sync::Soon;
use crate::session::postgres::Ended;
use crate::session::postgres::pipeline::Expect;

/// What a session keeps of the memory for it between turns.
const KEPT_BYTES_MAX: usize = 4 << 10;
/// How long the last words of a server may take that reads no more, from one time that something arrives to the next, and how
/// often it is looked.
const LAST_WORDS_WAIT: Duration = Duration::from_secs(5);
const LAST_WORDS_POLL: Duration = Duration::from_millis(2);

impl Asking {
    pub(super) fn forward(&mut self, whole: &[u8], expect: Option<Expect>) {
        if let Some(expect) = expect {
            self.session.pipeline.borrow_mut().push(expect);
        }
        self.out.extend_from_slice(whole);
    }

    /// Sends what is gathered.
    pub(super) async fn flush(&mut self) -> Result<(), Ended> {
        if self.out.is_empty() {
            return Ok(());
        }
        let (result, back) = self.writer.write_vec(std::mem::take(&mut self.out)).await;
        if back.capacity() <= KEPT_BYTES_MAX {
            self.out = back;
        }
        result.map_err(|error| {
            self.is_unheard = true;
            let name = &self.session.target.config.name;
            Ended {
                why: format!("writing to the server failed: {error}"),
                say: Some((*b"57P01", format!("the server of {name} closed the connection"))),
            }
        })
    }

    /// The server took no more. What it said before it left is still on its way, and may say why: the answering loop hears it to
    /// its end, as a client of the server itself would, and that ends the session.
    pub(super) async fn hear_out(&self) {
        let session = &self.session;
        let mut heard = session.totals.get();
        let mut waited = Duration::ZERO;
        while waited < LAST_WORDS_WAIT && session.ended.borrow().is_none() {
            rt::sleep(LAST_WORDS_POLL).await;
            waited += LAST_WORDS_POLL;
            let now = session.totals.get();
            if now != heard {
                (heard, waited) = (now, Duration::ZERO);
            }
        }
    }

    /// Has the server answer everything so far, and waits until it has.
    pub(in super::super) fn settle(&mut self) -> Soon<'_, Result<(), Ended>> {
        Soon::later(self.settled_all())
    }

    async fn settled_all(&mut self) -> Result<(), Ended> {
        if !self.session.pipeline.borrow().is_idle() {
            tell::flush(&mut self.out);
        }
        self.flush().await?;
        self.session.say_local().await.map_err(client_gone)?;
        self.session.drain().await;
        match &*self.session.ended.borrow() {
            Some(ended) => Err((**ended).clone()),
            None => Ok(()),
        }
    }
}
