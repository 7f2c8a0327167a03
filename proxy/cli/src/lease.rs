//! `linegate lease`: create on the operator's socket, derive from a lease one holds, list, revoke.
//!
//! Secrets are printed here, by `create` and `derive`, and by no other command.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::client::{self, Control, Door};
use crate::failure::Failure;
use crate::{Global, LeaseBounds, output};

/// The environment variable that carries the user name of the lease a process runs under.
pub(crate) const USER_ENV: &str = "LINEGATE_LEASE_USER";
/// The environment variable that carries that lease's secret.
pub(crate) const PASSWORD_ENV: &str = "LINEGATE_LEASE_PASSWORD";
/// The environment variable that carries that lease's token.
const TOKEN_ENV: &str = "LINEGATE_LEASE_TOKEN";

/// What can be done with leases.
#[derive(Debug, Subcommand)]
pub(crate) enum LeaseCommand {
    /// Give a principal a lease (the operator's socket only; it is recorded).
    Create(CreateArgs),
    /// Give the next hop a lease within one's own.
    Derive(DeriveArgs),
    /// Show leases.
    List(ListArgs),
    /// End a lease, every lease derived from it, and their open sessions.
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The protected server.
    #[arg(long)]
    target: String,
    /// Who: user:NAME, workload:NAME, or NAME.
    #[arg(long = "as", value_name = "PRINCIPAL")]
    principal: String,
    /// An agent between the principal and the connection; repeat it, outermost first.
    #[arg(long = "actor", value_name = "NAME")]
    actors: Vec<String>,
    #[command(flatten)]
    bounds: LeaseBounds,
}

#[derive(Debug, Args)]
pub(crate) struct DeriveArgs {
    /// The name of the next hop.
    #[arg(long)]
    actor: String,
    /// The parent lease's user name (env: LINEGATE_LEASE_USER).
    #[arg(long, value_name = "USER")]
    parent_user: Option<String>,
    /// A file that holds the parent lease's secret; otherwise LINEGATE_LEASE_PASSWORD or LINEGATE_LEASE_TOKEN is used.
    #[arg(long, value_name = "FILE")]
    parent_password_file: Option<std::path::PathBuf>,
    #[command(flatten)]
    bounds: LeaseBounds,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Show ended leases as well.
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// The lease; without one, the lease in the environment revokes itself.
    id: Option<String>,
    /// Who revokes it, for the record.
    #[arg(long, value_name = "PRINCIPAL")]
    by: Option<String>,
}

/// The lease a process finds in its environment.
pub(crate) struct Held {
    /// Its user name, which is also its id.
    pub(crate) username: String,
    /// Its secret.
    pub(crate) password: String,
}

impl Held {
    /// Both halves, or nothing.
    pub(crate) fn from_environment() -> Option<Self> {
        let read = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Some(Self {
            username: read(USER_ENV)?,
            password: read(PASSWORD_ENV)?,
        })
    }
}

/// Runs one lease command.
pub(crate) async fn lease(global: &Global, command: LeaseCommand) -> Result<u8, Failure> {
    let control = Control::find(global);
    match command {
        LeaseCommand::Create(args) => {
            let lease = create(
                &control,
                &args.target,
                &args.principal,
                &args.actors,
                &args.bounds,
            )
            .await?;
            show(global, &lease)?;
        }
        LeaseCommand::Derive(args) => {
            let lease = derive(&control, parent(&args)?, &args.actor, &args.bounds).await?;
            show(global, &lease)?;
        }
        LeaseCommand::List(args) => list(global, &control, args.all).await?,
        LeaseCommand::Revoke(args) => revoke(global, &control, args).await?,
    }
    Ok(0)
}

/// Asks for a lease on the operator's socket.
pub(crate) async fn create(
    control: &Control,
    target: &str,
    principal: &str,
    actors: &[String],
    bounds: &LeaseBounds,
) -> Result<Value, Failure> {
    let mut body =
        json!({ "target": target, "as": principal, "actors": actors, "ttl_seconds": bounds.ttl.seconds });
    if let Some(scope) = &bounds.scope {
        body["scope"] = json!(scope);
    }
    control.post(Door::Admin, "/v1/leases", &body).await
}

/// Asks for a lease within another; `parent` proves that one holds it.
pub(crate) async fn derive(
    control: &Control,
    parent: Value,
    actor: &str,
    bounds: &LeaseBounds,
) -> Result<Value, Failure> {
    let mut body = parent;
    body["actor"] = json!(actor);
    body["ttl_seconds"] = json!(bounds.ttl.seconds);
    if let Some(scope) = &bounds.scope {
        body["scope"] = json!(scope);
    }
    control.post(Door::Agents, "/v1/leases/derive", &body).await
}

/// Ends one's own lease.
pub(crate) async fn revoke_held(control: &Control, held: &Held) -> Result<Value, Failure> {
    let path = format!("/v1/leases/{}/revoke", client::id(&held.username)?);
    control
        .post(
            Door::Agents,
            &path,
            &json!({ "username": held.username, "password": held.password }),
        )
        .await
}

/// The proof of the parent, from the options or the environment. Secrets are not taken from the command line, which
/// every user of the machine can read.
fn parent(args: &DeriveArgs) -> Result<Value, Failure> {
    let read = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let none = || {
        Failure::new("no parent lease").hint(format!(
            "set {USER_ENV} and {PASSWORD_ENV}, or {TOKEN_ENV}, as `linegate run` does"
        ))
    };
    let password = match &args.parent_password_file {
        Some(file) => Some(
            std::fs::read_to_string(file)
                .map_err(|error| Failure::new(format!("cannot read {}: {error}", file.display())))?
                .trim_end_matches(['\r', '\n'])
                .to_owned(),
        ),
        None => read(PASSWORD_ENV),
    };
    match (
        args.parent_user.clone().or_else(|| read(USER_ENV)),
        password,
        read(TOKEN_ENV),
    ) {
        (Some(username), Some(password), _) => {
            Ok(json!({ "parent_username": username, "parent_password": password }))
        }
        (_, _, Some(token)) => Ok(json!({ "parent_token": token })),
        _ => Err(none()),
    }
}

/// A new lease with its secret.
fn show(global: &Global, lease: &Value) -> Result<(), Failure> {
    if global.json {
        return output::json(lease);
    }
    let mut text = String::new();
    let fields = [
        ("lease", "lease_id"),
        ("chain", "chain"),
        ("target", "target"),
        ("scope", "scope"),
        ("expires", "expires_at_text"),
        ("host", "host"),
        ("port", "port"),
        ("database", "database"),
        ("username", "username"),
        ("password", "password"),
        ("token", "token"),
    ];
    for (label, field) in fields {
        if !lease[field].is_null() {
            text.push_str(&format!("{label:<10}{}\n", output::cell(&lease[field])));
        }
    }
    output::write(&text)
}

async fn list(global: &Global, control: &Control, all: bool) -> Result<(), Failure> {
    let answer = control.get(Door::Admin, &format!("/v1/leases?all={all}")).await?;
    if global.json {
        return output::json(&answer);
    }
    let list = items(&answer, "leases");
    let rows = output::rows(
        list,
        &["lease_id", "chain", "target", "scope", "expires_at_text", "state"],
    );
    output::write(&output::table(
        &["LEASE", "CHAIN", "TARGET", "SCOPE", "EXPIRES", "STATE"],
        &rows,
    ))
}

async fn revoke(global: &Global, control: &Control, args: RevokeArgs) -> Result<(), Failure> {
    let answer = match (&args.id, Held::from_environment()) {
        (Some(id), _) => {
            let by = args
                .by
                .unwrap_or_else(|| format!("user:{}", crate::run::login_name()));
            let path = format!("/v1/leases/{}/revoke", client::id(id)?);
            control.post(Door::Admin, &path, &json!({ "by": by })).await?
        }
        (None, Some(held)) => revoke_held(control, &held).await?,
        (None, None) => return Err(Failure::new("which lease?").hint("`linegate lease list` shows them")),
    };
    if global.json {
        return output::json(&answer);
    }
    let ended: Vec<String> = items(&answer, "revoked").iter().map(output::cell).collect();
    output::write(&format!("revoked {}\n", ended.join(" ")))
}

/// A list that stands alone or under its name.
pub(crate) fn items<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer
        .as_array()
        .or_else(|| answer[name].as_array())
        .map(Vec::as_slice)
        .unwrap_or_default()
}
