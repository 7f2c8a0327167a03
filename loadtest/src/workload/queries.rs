//! Small statements over many connections, one thread, one epoll.
//!
//! Closed loop: every connection asks again as soon as it has its answer. Open loop: statements are due at a fixed rate, whoever is
//! free takes the next, and a statement's clock starts when it was due.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};

use crate::client::{Client, Transport};
use crate::failure::Failure;
use crate::latency::Latency;
use crate::rounds::Sample;
use crate::statement::{Batch, Watch};
use crate::target::Target;

const READ_BYTES: usize = 64 << 10;
/// Events taken at once.
const EVENTS: usize = 256;
/// How long after the end answers may still come.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the load is made.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Connections.
    pub clients: u32,
    /// Statements due a second; `None` is the closed loop.
    pub rate: Option<f64>,
    /// How long statements are sent.
    pub length: Duration,
}

struct Connection {
    transport: Transport,
    watch: Watch,
    /// When the statement under way was due.
    due: Option<Instant>,
}

struct Loop<'a> {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    batch: &'a Batch,
    load: Load,
    latency: Latency,
    done: u64,
    under_way: usize,
    /// Statements that are due and have no connection yet, and connections that have no statement.
    waiting: VecDeque<Instant>,
    free: Vec<usize>,
}

/// Opens the connections, warms each with one statement, and makes the load.
pub fn sample(target: &Target, batch: &Batch, load: Load) -> Result<Sample, Failure> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut connections = Vec::new();
    for index in 0..load.clients {
        let mut client = Client::open(target)?;
        if let Some(first) = &batch.first {
            client.run(first).map_err(|failure| failure.during("preparing"))?;
        }
        client.run(&batch.each)?;
        client.transport.socket().set_nonblocking(true)?;
        epoll::add(
            &epoll,
            &client.transport,
            epoll::EventData::new_u64(u64::from(index)),
            epoll::EventFlags::IN,
        )?;
        connections.push(client);
    }
    let mut run = Loop {
        epoll,
        connections: connections
            .into_iter()
            .map(|client| Connection {
                transport: client.transport,
                watch: Watch::default(),
                due: None,
            })
            .collect(),
        batch,
        load,
        latency: Latency::new()?,
        done: 0,
        under_way: 0,
        waiting: VecDeque::new(),
        free: (0..load.clients as usize).rev().collect(),
    };
    let began = Instant::now();
    run.run(began)?;
    let seconds = began.elapsed().as_secs_f64();
    run.close();
    Ok(Sample {
        work: run.done as f64,
        seconds,
        bytes: 0,
        rows: 0,
        latency: Some(run.latency),
    })
}

impl Loop<'_> {
    fn run(&mut self, began: Instant) -> Result<(), Failure> {
        let end = began + self.load.length;
        let mut buffer = vec![0; READ_BYTES];
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        let mut due_count = 0_u64;
        if self.load.rate.is_none() {
            while let Some(index) = self.free.pop() {
                self.ask(index, Instant::now())?;
            }
        }
        loop {
            let now = Instant::now();
            let mut timeout = end.saturating_duration_since(now);
            if let Some(rate) = self.load.rate {
                loop {
                    let due = began + Duration::from_secs_f64(due_count as f64 / rate);
                    if due > now || due >= end {
                        timeout = timeout.min(due.saturating_duration_since(now));
                        break;
                    }
                    self.waiting.push_back(due);
                    due_count += 1;
                }
                while let (Some(due), Some(index)) =
                    (self.waiting.front().copied(), self.free.last().copied())
                {
                    self.waiting.pop_front();
                    self.free.pop();
                    self.ask(index, due)?;
                }
            }
            if now >= end {
                if self.under_way == 0 && self.waiting.is_empty() {
                    return Ok(());
                }
                if now > end + PATIENCE {
                    let late = self.under_way + self.waiting.len();
                    return Err(Failure::new(format!(
                        "{late} answers are missing {} s after the end",
                        PATIENCE.as_secs()
                    )));
                }
                timeout = PATIENCE;
            }
            let timeout = Timespec::try_from(timeout).map_err(|_| Failure::new("a time is out of range"))?;
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let index = event.data.u64() as usize;
                if self.answered(index, &mut buffer)? {
                    let now = Instant::now();
                    if self.load.rate.is_none() && now < end {
                        self.ask(index, now)?;
                    } else {
                        self.free.push(index);
                    }
                }
            }
        }
    }

    fn ask(&mut self, index: usize, due: Instant) -> Result<(), Failure> {
        let connection = &mut self.connections[index];
        connection.due = Some(due);
        self.under_way += 1;
        let mut bytes = self.batch.each.as_slice();
        while !bytes.is_empty() {
            match connection.transport.write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll(
                        &mut [PollFd::new(connection.transport.socket(), PollFlags::OUT)],
                        None,
                    )?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(connection.transport.flush()?)
    }

    /// Reads what is there; `true` when the statement under way has its whole answer.
    fn answered(&mut self, index: usize, buffer: &mut [u8]) -> Result<bool, Failure> {
        let connection = &mut self.connections[index];
        loop {
            match connection.transport.read(buffer) {
                Ok(0) => return Err(Failure::new("a connection was closed under load")),
                Ok(read) => {
                    connection.watch.pass(&buffer[..read])?;
                    // A plain socket that gave less is empty; TLS may hold more in its session.
                    if read == buffer.len() || matches!(connection.transport, Transport::Tls(_)) {
                        continue;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            break;
        }
        if connection.watch.errors > 0 {
            return Err(Failure::new("a statement was refused under load"));
        }
        if connection.watch.ready == 0 {
            return Ok(false);
        }
        connection.watch.ready = 0;
        let due = connection
            .due
            .take()
            .ok_or_else(|| Failure::new("an answer that nobody asked for"))?;
        self.latency.record(due.elapsed());
        self.done += 1;
        self.under_way -= 1;
        Ok(true)
    }

    fn close(&mut self) {
        let mut bytes = Vec::new();
        codecs::postgres::build::frontend::terminate(&mut bytes);
        for mut connection in self.connections.drain(..) {
            let _gone = connection.transport.write_all(&bytes);
        }
    }
}
