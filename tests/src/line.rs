//! A line with faults: a small proxy between a client and linegate, or between linegate and its server.
//!
//! Bytes pass as they are until the [`Fault`] of the line's [`Plan`] comes: after so many bytes of one direction, counted from
//! the beginning of a connection or from where a marker went by towards the server. [`Line::thaw`] ends a stall. Linegate's own
//! connections, which read catalogs, are spared.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::chance::Chance;
use crate::malformed::answers;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    /// From who dialled the line.
    Server,
    /// To who dialled the line.
    Client,
}

/// What happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Every byte goes by itself.
    Bytewise,
    /// Nothing goes this way any more, until it thaws.
    Stall,
    /// This way ends; the other one goes on.
    HalfClose,
    /// Both ways end in order.
    Close,
    /// Both ways are reset.
    Reset,
    /// What the server says is changed by chance, and the connection ends if that is not understood. The marker's number
    /// says which change of this seed.
    Change(u64),
}

/// When which fault comes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What must have gone by towards the server before anything is counted; empty: nothing.
    pub marker: Vec<u8>,
    /// The direction that is counted and that the fault is of.
    pub toward: Toward,
    /// After so many bytes.
    pub after: usize,
    /// What happens.
    pub fault: Fault,
}

impl Plan {
    /// A line without faults.
    pub fn clean() -> Self {
        Self {
            marker: Vec::new(),
            toward: Toward::Server,
            after: 0,
            fault: Fault::None,
        }
    }

    /// A fault after so many bytes of a connection.
    pub fn after(toward: Toward, after: usize, fault: Fault) -> Self {
        Self {
            toward,
            after,
            fault,
            ..Self::clean()
        }
    }

    /// The same, counted from a marker on.
    pub fn from_marker(marker: &str, toward: Toward, after: usize, fault: Fault) -> Self {
        Self {
            marker: marker.as_bytes().to_vec(),
            ..Self::after(toward, after, fault)
        }
    }
}

/// After a change, a server that is not understood says nothing for so long before its connection ends.
const SILENCE: Duration = Duration::from_millis(150);
/// What linegate calls itself where it reads catalogs.
const SPARED: &[u8] = b"linegate catalog";
const POLL: Duration = Duration::from_millis(5);

/// A line.
pub struct Line {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    plan: Mutex<Plan>,
    thaws: AtomicU64,
    happened: AtomicU64,
}

/// What both directions of a connection share.
struct Connection {
    line: Arc<Shared>,
    plan: Plan,
    /// The marker went by; what followed it there, up to 20 bytes.
    marked: Mutex<Option<Vec<u8>>>,
    over: AtomicBool,
    reset: AtomicBool,
    spared: AtomicBool,
}

impl Line {
    /// A line to a loopback port, without faults yet.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let own = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Shared {
            plan: Mutex::new(Plan::clean()),
            thaws: AtomicU64::new(0),
            happened: AtomicU64::new(0),
        });
        let line = shared.clone();
        // Ends with the test's process.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                join(client, port, &line);
            }
        });
        Self { port: own, shared }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What happens to connections from now on; those that are open keep theirs.
    pub fn set(&self, plan: Plan) {
        *self.shared.plan.lock().expect("no holder panics") = plan;
    }

    /// Lets everything that stalls go on.
    pub fn thaw(&self) {
        self.shared.thaws.fetch_add(1, Ordering::SeqCst);
    }

    /// How many faults have come so far.
    pub fn happened(&self) -> u64 {
        self.shared.happened.load(Ordering::SeqCst)
    }
}

fn join(client: TcpStream, port: u16, line: &Arc<Shared>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
        return; // the server is away: the client sees an end
    };
    for socket in [&client, &server] {
        let _gone = socket.set_nodelay(true);
    }
    let connection = Arc::new(Connection {
        line: line.clone(),
        plan: line.plan.lock().expect("no holder panics").clone(),
        marked: Mutex::default(),
        over: AtomicBool::new(false),
        reset: AtomicBool::new(false),
        spared: AtomicBool::new(false),
    });
    for (toward, from, to) in [
        (Toward::Server, &client, &server),
        (Toward::Client, &server, &client),
    ] {
        let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else {
            return;
        };
        let connection = connection.clone();
        thread::spawn(move || connection.pump(toward, from, to));
    }
}

impl Connection {
    fn pump(&self, toward: Toward, mut from: TcpStream, mut to: TcpStream) {
        let plan = &self.plan;
        let is_mine = plan.toward == toward && plan.fault != Fault::None;
        let mut counted = 0;
        let mut came = false;
        let mut seen = Vec::new();
        let mut piece = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            let bytes = &piece[..count];
            if toward == Toward::Server && bytes.windows(SPARED.len()).any(|window| window == SPARED) {
                self.spared.store(true, Ordering::SeqCst);
            }
            if toward == Toward::Server && !plan.marker.is_empty() {
                self.look(&mut seen, bytes);
            }
            if !is_mine || came && plan.fault != Fault::Bytewise || !self.is_armed() {
                if to.write_all(bytes).is_err() {
                    break;
                }
                continue;
            }
            let clean = (plan.after.saturating_sub(counted)).min(bytes.len());
            counted += bytes.len();
            if to.write_all(&bytes[..clean]).is_err() {
                break;
            }
            if counted <= plan.after && plan.fault != Fault::Bytewise {
                continue;
            }
            if !came {
                self.line.happened.fetch_add(1, Ordering::SeqCst);
            }
            came = true;
            let rest = bytes[clean..].to_vec();
            if !self.happen(&rest, &mut from, &mut to) {
                break;
            }
        }
        self.over.store(true, Ordering::SeqCst);
        if !self.reset.load(Ordering::SeqCst) {
            let _gone = to.shutdown(Shutdown::Write);
        }
    }

    /// The fault; false when nothing more goes this way.
    fn happen(&self, rest: &[u8], from: &mut TcpStream, to: &mut TcpStream) -> bool {
        match self.plan.fault {
            Fault::None => to.write_all(rest).is_ok(),
            Fault::Bytewise => rest.iter().all(|byte| to.write_all(&[*byte]).is_ok()),
            Fault::Stall => {
                let thaws = self.line.thaws.load(Ordering::SeqCst);
                while self.line.thaws.load(Ordering::SeqCst) == thaws && !self.over.load(Ordering::SeqCst) {
                    thread::sleep(POLL);
                }
                to.write_all(rest).is_ok()
            }
            Fault::HalfClose => false,
            Fault::Close => {
                let _gone = from.shutdown(Shutdown::Both);
                let _gone = to.shutdown(Shutdown::Both);
                false
            }
            Fault::Reset => {
                self.reset.store(true, Ordering::SeqCst);
                for socket in [&*from, &*to] {
                    let _gone = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
                }
                // A reset needs the last descriptor to go; shutting down first wakes the other direction, which holds one.
                let _gone = from.shutdown(Shutdown::Read);
                let _gone = to.shutdown(Shutdown::Read);
                false
            }
            Fault::Change(seed) => {
                let number = self.number();
                let changed = answers::changed(&mut Chance::new(seed, number), rest);
                if to.write_all(&changed).is_err() {
                    return false;
                }
                let _gone = from.set_read_timeout(Some(SILENCE));
                let mut more = [0; 4096];
                while let Ok(bytes @ 1..) = from.read(&mut more) {
                    if to.write_all(&more[..bytes]).is_err() {
                        break;
                    }
                }
                false
            }
        }
    }

    /// Looks for the marker in what goes towards the server.
    fn look(&self, seen: &mut Vec<u8>, bytes: &[u8]) {
        let mut marked = self.marked.lock().expect("no holder panics");
        if marked.is_some() {
            return;
        }
        seen.extend_from_slice(bytes);
        let marker = &self.plan.marker;
        if let Some(at) = seen.windows(marker.len()).position(|window| window == marker) {
            let rest = &seen[at + marker.len()..];
            *marked = Some(rest[..rest.len().min(20)].to_vec());
        } else {
            let keep = seen.len().min(marker.len() - 1);
            seen.drain(..seen.len() - keep);
        }
    }

    fn is_armed(&self) -> bool {
        let is_spared = self.spared.load(Ordering::SeqCst);
        !is_spared && (self.plan.marker.is_empty() || self.marked.lock().expect("no holder panics").is_some())
    }

    /// The decimal number behind the marker.
    fn number(&self) -> u64 {
        let marked = self.marked.lock().expect("no holder panics");
        let digits = marked.iter().flatten().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
    }
}
