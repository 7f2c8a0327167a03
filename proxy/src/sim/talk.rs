//! One end of a simulated connection as peers use it: whole messages in, bytes out.

use std::rc::Rc;

use super::net::{Reader, Stream, Writer};
use crate::slab::{Ingress, Pool};

const POOL_BYTES: usize = 64 << 20;

/// A peer's end.
pub struct Talk {
    reader: Reader,
    /// What it says.
    pub writer: Option<Writer>,
    ingress: Option<Ingress>,
    pool: Rc<Pool>,
}

impl Talk {
    /// Around a connection.
    pub fn new(stream: Stream) -> Self {
        let (reader, writer, _) = stream.split().expect("a simulated socket");
        let pool = Pool::new(POOL_BYTES);
        let ingress = pool.take(1);
        Self {
            reader,
            writer: Some(writer),
            ingress,
            pool,
        }
    }

    /// Says something; false when nobody listens any more.
    pub async fn say(&mut self, bytes: Vec<u8>) -> bool {
        match &mut self.writer {
            Some(writer) => writer.write_vec(bytes).await.0.is_ok(),
            None => false,
        }
    }

    /// The first packet, which has no tag; `None` at the end.
    pub async fn packet(&mut self) -> Option<Vec<u8>> {
        self.whole(0).await
    }

    /// The next message, tag and payload; `None` at the end.
    pub async fn message(&mut self) -> Option<(u8, Vec<u8>)> {
        let whole = self.whole(1).await?;
        Some((whole[0], whole[5..].to_vec()))
    }

    async fn whole(&mut self, tag_bytes: usize) -> Option<Vec<u8>> {
        loop {
            let mut ingress = self.ingress.take()?;
            let data = ingress.data();
            let mut needed = tag_bytes + 4;
            if let Some(size) = data.get(tag_bytes..tag_bytes + 4) {
                let size = u32::from_be_bytes(size.try_into().expect("four bytes"));
                needed = tag_bytes + usize::try_from(size).expect("64 bits");
                if data.len() >= needed {
                    let whole = data[..needed].to_vec();
                    ingress.consume(needed);
                    self.ingress = Some(ingress);
                    return Some(whole);
                }
            }
            if !ingress.prepare(&self.pool, needed) {
                return None; // COPY data of any size may pass; nobody here waits for all of it
            }
            let (read, back) = self.reader.fill(ingress).await;
            self.ingress = Some(back);
            if !matches!(read, Ok(1..)) {
                return None;
            }
        }
    }
}
