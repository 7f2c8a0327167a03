//! `linegate check`: configuration and policies, every mistake at once.
//!
//! Mistakes go to standard error and the status is 1; with `--json` they are a list on standard output. Policies can be
//! checked only once the configuration says which they are. With `--against`, a configuration without mistakes is then tried on
//! recorded statements (`against`).

use std::path::Path;

use linegate_config::{Config, Member, MemberKind};
use linegate_policy::{Engine, GroupSpec};
use serde::Serialize;
use serde_json::json;

use crate::against::{self, AgainstArgs};
use crate::failure::Failure;
use crate::{ConfigArg, Global, output};

/// What to check.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    against: AgainstArgs,
}

/// One mistake, in the configuration or in a policy.
#[derive(Debug, Serialize)]
pub(crate) struct Mistake {
    file: String,
    line: u32,
    what: String,
    hint: Option<String>,
    /// What a person reads: with the line itself where it may be shown.
    #[serde(skip)]
    text: String,
}

impl Mistake {
    fn policy(problem: &linegate_policy::PolicyProblem) -> Self {
        Self {
            file: problem.file.clone(),
            line: problem.line,
            what: problem.message.clone(),
            hint: None,
            text: problem.to_string(),
        }
    }

    fn file(file: String, what: String) -> Self {
        let text = format!("{file}: {what}");
        Self {
            file,
            line: 0,
            what,
            hint: None,
            text,
        }
    }
}

/// A configuration without mistakes.
pub(crate) struct Checked {
    pub(crate) config: Config,
    pub(crate) engine: Engine,
}

/// Checks and says what was found.
pub(crate) async fn check(global: &Global, args: &CheckArgs) -> Result<u8, Failure> {
    let (checked, mistakes) = match load(&args.config.config) {
        Ok(checked) => (Some(checked), Vec::new()),
        Err(mistakes) => (None, mistakes),
    };
    if let (Some(checked), Some(recordings)) = (&checked, &args.against.against) {
        return against::against(global, checked, recordings, args.against.offline).await;
    }
    let code = u8::from(!mistakes.is_empty());
    let targets: Vec<&str> = checked
        .iter()
        .flat_map(|checked| &checked.config.targets)
        .map(|target| target.name.as_str())
        .collect();
    let policies = checked.as_ref().map(|checked| checked.engine.policies_count());
    if global.json {
        output::json(&json!({
            "ok": mistakes.is_empty(), "mistakes": mistakes, "targets": targets, "policies": policies,
        }))?;
        return Ok(code);
    }
    if let Some(count) = policies {
        output::write(&format!(
            "{}: {} target(s), {count} policies, no mistakes\n",
            args.config.config.display(),
            targets.len()
        ))?;
        return Ok(code);
    }
    for mistake in &mistakes {
        eprintln!("{}", mistake.text);
    }
    let found = match mistakes.len() {
        1 => "1 mistake".to_owned(),
        count => format!("{count} mistakes"),
    };
    eprintln!("linegate: {found}; nothing was changed");
    Ok(code)
}

/// Reads the configuration and every policy it names.
pub(crate) fn load(path: &Path) -> Result<Checked, Vec<Mistake>> {
    let config = Config::load(path).map_err(|found| {
        let label = found.path.clone();
        let each = found.mistakes.iter().map(|one| {
            let alone = linegate_config::Mistakes {
                path: label.clone(),
                mistakes: vec![one.clone()],
            };
            Mistake {
                file: label.clone(),
                line: one.line,
                what: one.what.clone(),
                hint: one.hint.clone(),
                text: alone.to_string(),
            }
        });
        each.collect::<Vec<_>>()
    })?;
    let base = path.parent().unwrap_or(Path::new(""));
    let files = config
        .policy_files(base)
        .map_err(|error| vec![Mistake::file(path.display().to_string(), error.to_string())])?;
    let (mut texts, mut mistakes) = (Vec::new(), Vec::new());
    for file in files {
        let label = file.display().to_string();
        match std::fs::read_to_string(&file) {
            Ok(text) => texts.push((label, text)),
            Err(error) => mistakes.push(Mistake::file(label, format!("cannot be read: {error}"))),
        }
    }
    let engine = match Engine::compile(&texts, &groups(&config)) {
        Ok(engine) => Some(engine),
        Err(problems) => {
            mistakes.extend(problems.iter().map(Mistake::policy));
            None
        }
    };
    match engine {
        Some(engine) if mistakes.is_empty() => Ok(Checked { config, engine }),
        _ => Err(mistakes),
    }
}

fn groups(config: &Config) -> Vec<GroupSpec> {
    let member = |member: &Member| match member.kind {
        MemberKind::User => format!("user:{}", member.name),
        MemberKind::Workload => format!("workload:{}", member.name),
    };
    let group = |name: &String, members: &[Member]| GroupSpec {
        name: name.clone(),
        members: members.iter().map(member).collect(),
    };
    config
        .groups
        .iter()
        .map(|one| group(&one.name, &one.members))
        .collect()
}
