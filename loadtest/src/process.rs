//! The process behind a port: its CPU time and its memory, from `/proc`.
//!
//! Source: proc(5): `/proc/net/tcp`, `/proc/PID/stat`, `/proc/PID/smaps_rollup`. Several processes may hold one listener (workers
//! of one master); all of them count, with their descendants, those that have ended and were waited for included.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::Duration;

/// The state of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";
/// How long CPU time must stand still before a sample counts as over, and how often that is tried.
const STILL: Duration = Duration::from_millis(30);
const STILL_TRIES: u32 = 20;

/// All processes that stand behind a listening port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processes(Vec<u32>);

impl Processes {
    /// Those that listen on a port of this machine; `None` when nobody does, or it is not for us to see.
    pub fn listening_on(port: u16) -> Option<Self> {
        let inodes: HashSet<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
            .iter()
            .filter_map(|path| fs::read_to_string(path).ok())
            .flat_map(|table| listeners(&table, port))
            .collect();
        let holders: Vec<u32> = processes().filter(|process| holds(*process, &inodes)).collect();
        (!holders.is_empty()).then_some(Self(holders))
    }

    /// User and system time so far, in seconds, once it stands still: what is written behind after the last byte belongs to
    /// the sample as well.
    pub fn cpu_seconds(&self) -> f64 {
        let mut before = self.cpu_ticks();
        for _ in 0..STILL_TRIES {
            std::thread::sleep(STILL);
            let now = self.cpu_ticks();
            if now == before {
                break;
            }
            before = now;
        }
        before as f64 / rustix::param::clock_ticks_per_second() as f64
    }

    fn cpu_ticks(&self) -> u64 {
        let stats: HashMap<u32, Stat> = processes()
            .filter_map(|process| {
                let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
                Some((process, Stat::read(&text)?))
            })
            .collect();
        stats
            .iter()
            .filter(|(process, _)| self.is_within(**process, &stats))
            .map(|(_, stat)| stat.ticks)
            .sum()
    }

    fn is_within(&self, mut process: u32, stats: &HashMap<u32, Stat>) -> bool {
        for _ in 0..64 {
            if self.0.contains(&process) {
                return true;
            }
            match stats.get(&process) {
                Some(stat) => process = stat.parent,
                None => return false,
            }
        }
        false
    }

    /// Proportional set size of the holders, in KiB; `None` when it is not for us to see.
    pub fn pss_kib(&self) -> Option<u64> {
        self.0
            .iter()
            .map(|process| pss(&fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?))
            .sum()
    }
}

fn processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Inodes of the sockets that listen on a port, from the text of `/proc/net/tcp`.
fn listeners(table: &str, port: u16) -> Vec<String> {
    let wanted = format!(":{port:04X}");
    table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
            (local.ends_with(&wanted) && *state == LISTEN).then(|| (*inode).to_owned())
        })
        .collect()
}

fn holds(process: u32, inodes: &HashSet<String>) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{process}/fd")) else {
        return false;
    };
    entries.flatten().any(|entry| {
        fs::read_link(entry.path()).is_ok_and(|link| {
            link.to_str()
                .and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']'))
                .is_some_and(|inode| inodes.contains(inode))
        })
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// User and system, its own and of children that were waited for.
    ticks: u64,
}

impl Stat {
    /// The name may hold spaces and brackets, so fields count from the last bracket.
    fn read(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            ticks: number(11)? + number(12)? + number(13)? + number(14)?,
        })
    }
}

fn pss(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find(|line| line.starts_with("Pss:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_told_from_connections() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:1932 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n   \
            1: 0100007F:1932 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1\n";
        assert_eq!(listeners(table, 0x1932), ["4711"]);
        assert!(listeners(table, 0x1933).is_empty());
    }

    #[test]
    fn a_name_with_brackets_moves_no_field() {
        let text = "17 (odd ) name) S 4 17 17 0 -1 4194560 10 0 0 0 5 6 7 8 20 0 1 0 100 0 0";
        assert_eq!(Stat::read(text), Some(Stat { parent: 4, ticks: 26 }));
    }

    #[test]
    fn memory_is_read_in_kib() {
        assert_eq!(
            pss("00400000-7fff [rollup]\nRss:  9 kB\nPss:  1234 kB\nPss_Dirty: 7 kB\n"),
            Some(1234)
        );
    }

    #[test]
    fn a_listener_of_our_own_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        let found = Processes::listening_on(port).expect("this process");
        assert_eq!(found, Processes(vec![std::process::id()]));
        assert!(found.pss_kib().is_some_and(|kib| kib > 0));
        drop(listener);
        assert_eq!(Processes::listening_on(port), None);
    }
}
