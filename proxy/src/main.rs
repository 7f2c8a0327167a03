//! linegated: the data plane. Worker threads carry bytes; policy, catalog, recorder and control threads stand beside them.

mod alloc;
mod catalog;
mod clock;
mod control_link;
mod core;
mod counters;
mod link;
mod meters;
mod policy_service;
mod pseudonym_key;
mod recorder;
mod rt;
mod session;
mod settings;
mod shared;
mod slab;
mod start;
mod tls;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// The data plane of linegate.
#[derive(Parser)]
#[command(name = "linegated", version)]
struct Arguments {
    /// The configuration.
    #[arg(long, default_value = "linegate.toml")]
    config: PathBuf,
    /// Where sockets, keys and recordings live.
    #[arg(long)]
    state_dir: PathBuf,
}

fn main() -> ExitCode {
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("LINEGATE_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    match start::run(&arguments.config, &arguments.state_dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(mistakes) => {
            for mistake in mistakes {
                eprintln!("{mistake}");
            }
            ExitCode::FAILURE
        }
    }
}
