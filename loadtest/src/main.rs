//! `linegate-loadtest`: what a path costs beside a direct connection, and a PostgreSQL backend fast enough to be out of the way.
//!
//! `backend` serves; every other command measures one workload over `--direct` and each `--target`, in pairs.

mod args;
mod backend;
mod client;
mod failure;
mod latency;
mod measure;
mod plot;
mod process;
mod report;
mod rounds;
mod statement;
mod target;
mod workload;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Args, Command};

fn main() -> ExitCode {
    raise_file_limit();
    let result = match Args::parse().command {
        Command::Backend(args) => args.real().and_then(|real| {
            backend::serve(args.listen, real, |address| println!("ready {address}"))
                .map(|()| ExitCode::SUCCESS)
        }),
        Command::Run(args) => measure::run(&args),
    };
    result.unwrap_or_else(|failure| {
        eprintln!("linegate-loadtest: {failure}");
        ExitCode::FAILURE
    })
}

/// Thousands of connections need as many descriptors; what the system refuses shows when they run out.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _refused = setrlimit(Resource::Nofile, raised);
}
