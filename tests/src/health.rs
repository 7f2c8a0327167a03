//! What a process holds, as the kernel counts it.

use std::time::{Duration, Instant};

/// Memory and descriptors of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holds {
    /// Its own memory, and its share of what it shares with others.
    pub kibibytes: u64,
    /// Open descriptors.
    pub descriptors: usize,
}

impl Holds {
    /// What the process holds now.
    pub fn of(pid: i32) -> Self {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("it runs");
        let kibibytes = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Pss:"))
            .and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
            .expect("a proportional size");
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .expect("it runs")
            .count();
        Self {
            kibibytes,
            descriptors,
        }
    }

    /// What it holds when it rests: the least of each that is seen while `wait` passes. Allocators give back late.
    pub fn at_rest(pid: i32, wait: Duration) -> Self {
        let deadline = Instant::now() + wait;
        let mut least = Self::of(pid);
        while Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(100));
            let now = Self::of(pid);
            least.kibibytes = least.kibibytes.min(now.kibibytes);
            least.descriptors = least.descriptors.min(now.descriptors);
        }
        least
    }
}
