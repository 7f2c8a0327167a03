//! The backend's loop: one listener, all its sessions, one epoll.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;

use super::memory::Memory;
use super::session::{Next, Session};
use crate::failure::Failure;
use crate::target::Target;

const READ_BYTES: usize = 64 << 10;
const EVENTS: usize = 256;
/// The listener's name among events; sessions count from 1.
const LISTENER: u64 = 0;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

struct Served {
    stream: TcpStream,
    session: Session,
    watched: epoll::EventFlags,
    next: Next,
}

/// Serves for ever. `listening` is told the address.
pub fn serve(listen: SocketAddr, real: Target, listening: impl FnOnce(SocketAddr)) -> Result<(), Failure> {
    let mut memory = Memory::new(real);
    memory.greeting(&Vec::new(), None)?; // the real server answers, or nothing begins
    let listener = TcpListener::bind(listen)?;
    rustix::net::listen(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(
        &epoll,
        &listener,
        epoll::EventData::new_u64(LISTENER),
        epoll::EventFlags::IN,
    )?;
    listening(listener.local_addr()?);
    let mut sessions: HashMap<u64, Served> = HashMap::new();
    let mut last = LISTENER;
    let mut buffer = vec![0; READ_BYTES];
    let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
    loop {
        events.clear();
        match epoll::wait(&epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let id = event.data.u64();
            if id == LISTENER {
                accept(&listener, &epoll, &mut sessions, &mut last);
            } else if let Some(served) = sessions.get_mut(&id)
                && served
                    .turn(event.flags, &mut memory, &mut buffer, &epoll, id)
                    .is_err()
            {
                sessions.remove(&id); // closing takes it out of the epoll
            }
        }
    }
}

/// A connection that cannot be taken is its client's loss; the others go on.
fn accept(
    listener: &TcpListener,
    epoll: &impl std::os::fd::AsFd,
    sessions: &mut HashMap<u64, Served>,
    last: &mut u64,
) {
    while let Ok((stream, _)) = listener.accept() {
        *last += 1;
        let watched = epoll::EventFlags::IN;
        let is_ready = stream.set_nonblocking(true).is_ok()
            && stream.set_nodelay(true).is_ok()
            && epoll::add(epoll, &stream, epoll::EventData::new_u64(*last), watched).is_ok();
        if is_ready {
            let session = Session::new(*last as u32); // a process id for the client to show, nothing more
            sessions.insert(
                *last,
                Served {
                    stream,
                    session,
                    watched,
                    next: Next::Open,
                },
            );
        }
    }
}

impl Served {
    /// Reads once, answers, writes. An error means that the session is over.
    fn turn(
        &mut self,
        flags: epoll::EventFlags,
        memory: &mut Memory,
        buffer: &mut [u8],
        epoll: &impl std::os::fd::AsFd,
        id: u64,
    ) -> io::Result<()> {
        let over = || io::Error::from(io::ErrorKind::ConnectionAborted);
        if flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP) {
            return Err(over());
        }
        if self.next == Next::Open && self.session.is_hungry() && flags.contains(epoll::EventFlags::IN) {
            match self.stream.read(buffer) {
                Ok(0) => return Err(over()),
                Ok(read) => self.next = self.session.take(&buffer[..read], memory),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        let was_hungry = self.session.is_hungry();
        self.session.write(&mut self.stream)?;
        if !was_hungry && self.session.is_hungry() && self.next == Next::Open {
            self.next = self.session.advance(memory);
            self.session.write(&mut self.stream)?;
        }
        if self.next == Next::Close && !self.session.has_output() {
            return Err(over());
        }
        let mut wanted = epoll::EventFlags::empty();
        if self.session.is_hungry() && self.next == Next::Open {
            wanted |= epoll::EventFlags::IN;
        }
        if self.session.has_output() {
            wanted |= epoll::EventFlags::OUT;
        }
        if wanted != self.watched {
            epoll::modify(epoll, &self.stream, epoll::EventData::new_u64(id), wanted)?;
            self.watched = wanted;
        }
        Ok(())
    }
}
