//! The answering loop, and what is left of it while the server owes nothing: most sessions wait for their client most of the time.

use std::rc::Rc;

use codecs::postgres::rows::Place;
use masking_simd::Cell;

use super::pieces::Pieces;
use super::{Flow, Result};
use crate::link::LinkReader;
use crate::rt;
use crate::session::postgres::{Ended, Session};
use crate::slab::Ingress;

/// What is left of a [`Flow`] while the server owes nothing.
struct Resting {
    session: Rc<Session>,
    cells: Vec<Cell>,
    transaction_touched: bool,
    pieces: Pieces,
}

/// Carries answers until the server's stream or the session ends, or the server has forgotten the session. What is left is the
/// half that they came by.
///
/// Not an `async fn`, as `ask::run` is none.
pub fn run(session: Rc<Session>, mut reader: LinkReader) -> impl Future<Output = LinkReader> {
    let mut resting = Resting {
        session,
        cells: Vec::new(),
        transaction_touched: false,
        pieces: Pieces::default(),
    };
    async move {
        let (mut ingress, mut needed) = (Ingress::default(), 1);
        loop {
            let held = ingress.data().len();
            let read = reader.fill(ingress, needed).await;
            // Boxed: it is large, and a session to which the server owes nothing holds none of it.
            match Box::pin(Flow::of(resting).work(&mut reader, read, held)).await {
                Some((rests, empty, more)) => (resting, ingress, needed) = (rests, empty, more),
                None => break,
            }
            if reader.is_seldom() {
                resting.cells = Vec::new();
                resting.session.pipeline.borrow_mut().rest();
            }
        }
        reader
    }
}

impl Flow {
    fn of(resting: Resting) -> Self {
        Self {
            session: resting.session,
            place: Place::default(),
            cells: resting.cells,
            result: Result::default(),
            muted: false,
            query_plan: None,
            transaction_touched: resting.transaction_touched,
            server_left: false,
            pieces: resting.pieces,
            read_bytes: 0,
            waits: false,
        }
    }

    /// Carries what was read behind the `held` bytes that were there, and what comes after it, as long as the server owes anything.
    /// Answers with what stays, what to read into and how much the next message needs; `None` when the stream or the session has ended.
    async fn work(
        mut self,
        reader: &mut LinkReader,
        (mut read, mut ingress): (std::io::Result<usize>, Ingress),
        mut held: usize,
    ) -> Option<(Resting, Ingress, usize)> {
        loop {
            self.read_bytes = ingress.data().len() - held;
            if !matches!(read, Ok(1..)) {
                self.server_closed(read);
                return None;
            }
            let needed;
            if self.session.parting.is_resetting() {
                needed = self.session.hear_reset(&mut ingress)?;
            } else {
                match self.answer(ingress).await {
                    Ok(carried) => (ingress, needed) = carried,
                    Err(ended) => {
                        self.session.end(ended);
                        return None;
                    }
                }
            }
            if ingress.data().is_empty() && self.may_rest() {
                let resting = Resting {
                    session: self.session,
                    cells: self.cells,
                    transaction_touched: self.transaction_touched,
                    pieces: self.pieces,
                };
                return Some((resting, ingress, needed));
            }
            if self.waits && !reader.holds_more() {
                rt::moment().await;
                self.pieces.waited();
            }
            held = ingress.data().len();
            (read, ingress) = reader.fill(ingress, needed).await;
        }
    }

    /// Whether nothing is under way: all that it knows besides what rests is as new.
    fn may_rest(&self) -> bool {
        let is_as_new = self.place.at_boundary() && self.result.is_new() && self.query_plan.is_none();
        is_as_new && !self.muted && !self.server_left && self.session.pipeline.borrow().is_idle()
    }

    /// The server says nothing more.
    fn server_closed(&self, read: std::io::Result<usize>) {
        let session = &self.session;
        if let Err(error) = read {
            tracing::debug!(session = %session.id, %error, "reading from the server failed");
        }
        if self.server_left {
            if let Some(ended) = &mut *session.ended.borrow_mut() {
                ended.say = None; // the client has heard the last of it
            }
            return session.end(Ended::quietly("the server ended the session"));
        }
        let name = &session.target.config.name;
        session.end(Ended {
            why: "the server closed the connection".into(),
            say: Some((*b"57P01", format!("the server of {name} closed the connection"))),
        });
    }
}
