//! Sessions that come and go: connect, log in, one statement, close; again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use codecs::postgres::build::frontend as tell;

use crate::client::Client;
use crate::failure::Failure;
use crate::latency::Latency;
use crate::rounds::Sample;
use crate::target::Target;

/// `clients` threads, each with one session at a time, for `length`.
pub fn sample(target: &Target, sql: &str, clients: u32, length: Duration) -> Result<Sample, Failure> {
    let stop = AtomicBool::new(false);
    let began = Instant::now();
    let results: Vec<Result<(u64, Latency), Failure>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|_| {
                scope.spawn(|| {
                    let result = come_and_go(target, sql, began + length, &stop);
                    if result.is_err() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    result
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(Failure::new("a client thread ended early")))
            })
            .collect()
    });
    let seconds = began.elapsed().as_secs_f64();
    let mut latency = Latency::new()?;
    let mut sessions = 0;
    for result in results {
        let (count, own) = result?;
        sessions += count;
        latency.add(&own)?;
    }
    Ok(Sample {
        work: sessions as f64,
        seconds,
        bytes: 0,
        rows: 0,
        latency: Some(latency),
    })
}

fn come_and_go(
    target: &Target,
    sql: &str,
    until: Instant,
    stop: &AtomicBool,
) -> Result<(u64, Latency), Failure> {
    let mut batch = Vec::new();
    tell::query(&mut batch, sql.as_bytes());
    let mut latency = Latency::new()?;
    let mut sessions = 0;
    while Instant::now() < until && !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let mut client = Client::open(target)?;
        client.run(&batch)?;
        client.close()?;
        latency.record(began.elapsed());
        sessions += 1;
    }
    Ok((sessions, latency))
}
