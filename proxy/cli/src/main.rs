//! `linegate`: the command line of the appliance.
//!
//! It starts both processes on one box (`up`), asks the control plane over its Unix sockets (`lease`, `run`, `holds`, …),
//! and reads configuration, policy and recordings by itself where no process has to run (`check`, `explain`, `audit`,
//! `replay`). Each command family is one module; this file holds the grammar of the command line and nothing else.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

mod against;
mod check;
mod client;
mod database;
mod explain;
mod failure;
mod holds;
mod labels;
mod lease;
mod output;
mod parent_death;
mod reading;
mod records;
mod role;
mod role_check;
mod run;
mod span;
mod up;

use failure::Failure;
use span::Ttl;

/// Stand on the wire in front of PostgreSQL: lease, decide, mask, hold and record.
#[derive(Debug, Parser)]
#[command(name = "linegate", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command understands.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Print JSON for programs instead of text for people.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Where the control plane listens: its state directory or one of its sockets (env: LINEGATE_CONTROL).
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,
    /// The state directory of `linegate up`.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start control plane and data plane on this box and stay in front of them.
    Up(ConfigArg),
    /// Check configuration and policies; shows every mistake at once.
    Check(check::CheckArgs),
    /// Create, derive, list and revoke leases.
    #[command(subcommand)]
    Lease(lease::LeaseCommand),
    /// Run a command under its own lease, which ends with it.
    Run(run::RunArgs),
    /// Show the statements that wait for a person.
    Holds,
    /// Let a held statement run, once.
    Approve(holds::ApproveArgs),
    /// Refuse a held statement.
    Deny(holds::DenyArgs),
    /// Show one recorded session as its client saw it.
    Replay(records::ReplayArgs),
    /// Answer from the recordings: who started it, which agents acted, who approved.
    #[command(subcommand)]
    Audit(records::AuditCommand),
    /// Show what policy would say to a statement, without running it.
    Explain(explain::ExplainArgs),
    /// Show which columns of a target are sensitive, configured and carried.
    Labels(labels::LabelsArgs),
    /// Print the SQL for the least-privilege role that linegate should use at a target, or check the present one.
    Role(role::RoleArgs),
}

/// The configuration file.
#[derive(Clone, Debug, Args)]
pub(crate) struct ConfigArg {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "linegate.toml")]
    pub(crate) config: PathBuf,
}

/// What a new lease should be, shared by `lease create`, `lease derive` and `run`.
#[derive(Clone, Debug, Args)]
pub(crate) struct LeaseBounds {
    /// What the lease may do at most: `read`, `write`, `all`, or effect classes and tables.
    #[arg(long)]
    pub(crate) scope: Option<String>,
    /// How long it lasts: 90s, 15m, 1h.
    #[arg(long, default_value = "15m")]
    pub(crate) ttl: Ttl,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.global.json;
    match dispatch(cli) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.print(json);
            ExitCode::from(failure.code())
        }
    }
}

/// One thread: `up` ties its children's lives to the thread that spawned them, so that thread must be the process's.
fn dispatch(cli: Cli) -> Result<u8, Failure> {
    let Cli { global, command } = cli;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        match command {
            Command::Up(args) => up::up(&global, &args).await,
            Command::Check(args) => check::check(&global, &args).await,
            Command::Lease(command) => lease::lease(&global, command).await,
            Command::Run(args) => run::run(&global, args).await,
            Command::Holds => holds::list(&global).await,
            Command::Approve(args) => holds::approve(&global, args).await,
            Command::Deny(args) => holds::deny(&global, args).await,
            Command::Replay(args) => records::replay(&global, &args),
            Command::Audit(command) => records::audit(&global, &command),
            Command::Explain(args) => explain::explain(&global, &args).await,
            Command::Labels(args) => labels::labels(&global, &args).await,
            Command::Role(args) => role::role(&global, &args).await,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_of_the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_command_after_the_dashes_keeps_its_own_options() {
        let cli = Cli::try_parse_from([
            "linegate", "run", "--target", "shop", "--", "psql", "--json", "-c", "SELECT 1",
        ])
        .expect("parses");
        assert!(!cli.global.json);
        let Command::Run(args) = cli.command else {
            panic!("not a run")
        };
        assert_eq!(args.command, ["psql", "--json", "-c", "SELECT 1"]);
    }

    #[test]
    fn global_options_may_stand_anywhere() {
        let cli = Cli::try_parse_from(["linegate", "lease", "list", "--state-dir", "/s", "--json"])
            .expect("parses");
        assert!(cli.global.json);
        assert_eq!(cli.global.state_dir.as_deref(), Some(std::path::Path::new("/s")));
    }
}
