//! linegated: the data plane. Worker threads carry bytes; policy, catalog, recorder and control threads stand beside them.

mod alloc;
mod catalog;
mod catalog_listener;
mod changing;
mod clock;
mod control_link;
mod core;
mod counters;
mod doors;
mod link;
mod meters;
mod outstanding;
mod policy_service;
mod pseudonym_key;
mod rarely;
mod recorder;
mod rt;
mod session;
mod settings;
mod shared;
#[cfg(any(test, fuzzing))]
mod sim;
mod slab;
mod start;
mod tls;
mod warm_pool;
mod worker;

use std::ffi::OsString;
use std::io::IsTerminal as _;
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

/// Colours are for people who look at a terminal and did not refuse them (<https://no-color.org>).
fn may_colour(no_color: Option<OsString>, is_terminal: bool) -> bool {
    is_terminal && no_color.is_none_or(|value| value.is_empty())
}

fn main() -> ExitCode {
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("LINEGATE_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(may_colour(
            std::env::var_os("NO_COLOR"),
            std::io::stderr().is_terminal(),
        ))
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

#[cfg(test)]
mod tests {
    use super::may_colour;

    #[test]
    fn logs_are_coloured_on_a_terminal_only() {
        assert!(may_colour(None, true));
        assert!(may_colour(Some("".into()), true));
        assert!(!may_colour(Some("1".into()), true));
        assert!(!may_colour(None, false));
    }
}
