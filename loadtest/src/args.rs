//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as Group, Parser, Subcommand};

use crate::failure::Failure;
use crate::statement::Protocol;
use crate::target::{Target, password_in};

/// Measures what stands between a client and a PostgreSQL server.
#[derive(Parser)]
#[command(name = "linegate-loadtest", version)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Serve or measure.
#[derive(Subcommand)]
pub enum Command {
    /// A PostgreSQL at memory speed: answers from memory what the real server behind it answered once.
    Backend(Backend),
    /// Measures one workload, direct and through each target, in pairs.
    #[command(subcommand)]
    Run(Box<Run>),
}

/// The backend's.
#[derive(Group)]
pub struct Backend {
    /// Address and port; port 0 takes a free one, which `ready ADDRESS` names.
    #[arg(long)]
    pub listen: SocketAddr,
    /// The real server.
    #[arg(long, value_name = "HOST:PORT")]
    pub behind: String,
    /// Login role at the real server.
    #[arg(long)]
    pub user: String,
    /// File with its password, where the real server asks for one.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Database at the real server, whatever clients ask for.
    #[arg(long)]
    pub database: String,
}

impl Backend {
    /// The real server.
    pub fn real(&self) -> Result<Target, Failure> {
        let mut real = Target::direct(&self.behind).map_err(Failure)?;
        real.name = "the real server".into();
        real.user.clone_from(&self.user);
        real.database.clone_from(&self.database);
        if let Some(path) = &self.password_file {
            real.password = Some(password_in(path).map_err(Failure)?);
        }
        Ok(real)
    }
}

/// The workload.
#[derive(Subcommand)]
pub enum Run {
    /// One statement with a long answer.
    Stream {
        /// What every workload takes.
        #[command(flatten)]
        common: Common,
        /// The statement.
        #[arg(long, default_value = "SELECT * FROM narrow_1024")]
        sql: String,
        /// Ask for the rows in binary, by the extended protocol.
        #[arg(long)]
        binary: bool,
        /// Accept an answer of another length when it has as many rows: NULL for a value changes the length.
        #[arg(long)]
        lengths_may_differ: bool,
    },
    /// The same with COPY TO STDOUT.
    Copy {
        /// What every workload takes.
        #[command(flatten)]
        common: Common,
        /// What is copied: a relation, or a query in brackets.
        #[arg(long, default_value = "narrow_1024")]
        from: String,
    },
    /// Small statements over many connections.
    Queries {
        /// What every workload takes.
        #[command(flatten)]
        common: Common,
        /// How they are said.
        #[arg(long, value_enum, default_value_t = Protocol::Simple)]
        protocol: Protocol,
        /// Connections; one table each.
        #[arg(long, value_delimiter = ',', default_value = "1,16,64,256", value_parser = clap::value_parser!(u32).range(1..=20_000))]
        clients: Vec<u32>,
        /// Open loop: statements due a second. Without it every connection asks as soon as it was answered.
        #[arg(long, value_parser = positive)]
        rate: Option<f64>,
        /// How long one sample lasts.
        #[arg(long, default_value = "3", value_parser = positive)]
        seconds: f64,
        /// The statement.
        #[arg(long, default_value = "SELECT 1")]
        sql: String,
        /// Where latencies go, as an HdrHistogram log.
        #[arg(long, value_name = "FILE")]
        hlog: Option<PathBuf>,
    },
    /// Sessions that come and go: connect, log in, one statement, close.
    Churn {
        /// What every workload takes.
        #[command(flatten)]
        common: Common,
        /// Sessions at a time.
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
        clients: u32,
        /// How long one sample lasts.
        #[arg(long, default_value = "3", value_parser = positive)]
        seconds: f64,
        /// The statement.
        #[arg(long, default_value = "SELECT 1")]
        sql: String,
        /// Where latencies go, as an HdrHistogram log.
        #[arg(long, value_name = "FILE")]
        hlog: Option<PathBuf>,
    },
    /// Sessions that do nothing, and their memory.
    Idle {
        /// What every workload takes; pairs mean nothing here.
        #[command(flatten)]
        common: Common,
        /// How many.
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        connections: u32,
        /// Seconds before memory is looked at.
        #[arg(long, default_value = "3", value_parser = positive)]
        settle: f64,
        /// The statement that each session runs first.
        #[arg(long, default_value = "SELECT 1")]
        sql: String,
        /// How often it runs it.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        times: u32,
    },
}

/// What every workload takes.
#[derive(Group)]
pub struct Common {
    /// The server itself: `HOST:PORT[/DATABASE][,user=U][,password=P|,password-file=FILE][,tls][,beside=SQL]`.
    #[arg(long, value_parser = Target::direct)]
    pub direct: Target,
    /// A path to it, NAME= in front of the same; may be given again.
    #[arg(long = "target", value_parser = Target::named)]
    pub targets: Vec<Target>,
    /// Pairs that are kept; one more round comes first and is dropped.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub pairs: u32,
    /// What tables and plots are called.
    #[arg(long)]
    pub title: Option<String>,
    /// Appends one JSON line a path.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Writes a plot; with several tables, of the last one.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|number| (1e-3..=1e9).contains(number))
        .ok_or_else(|| "expected a number above 0".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_comparison_is_read() {
        let line = "linegate-loadtest run queries --direct 127.0.0.1:1 --target a=127.0.0.1:2 --target b=127.0.0.1:3,tls \
                    --clients 1,64 --rate 5000 --protocol prepared";
        let args = Args::try_parse_from(line.split_ascii_whitespace()).expect("well formed");
        let Command::Run(run) = args.command else {
            panic!("a measurement");
        };
        let Run::Queries {
            common,
            clients,
            rate,
            protocol,
            ..
        } = *run
        else {
            panic!("queries");
        };
        assert_eq!(
            (clients, rate, protocol),
            (vec![1, 64], Some(5000.0), Protocol::Prepared)
        );
        assert_eq!(common.targets.len(), 2);
        assert!(common.targets[1].tls);
        assert_eq!(common.pairs, 5);
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "run stream",
            "run stream --direct x",
            "run queries --direct h:1 --clients 0",
            "run queries --direct h:1 --rate 0",
            "run churn --direct h:1 --seconds -1",
            "run idle --direct h:1 --target h:2",
        ] {
            let words = std::iter::once("linegate-loadtest").chain(line.split_ascii_whitespace());
            assert!(Args::try_parse_from(words).is_err(), "{line}");
        }
    }
}
