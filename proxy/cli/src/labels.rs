//! `linegate labels`: which columns of a target are sensitive, as configured and as they spread.
//!
//! Labels follow inheritance, partitions, generated columns and views, so the list is read from the target's database.
//! With `--offline`, or where it cannot be asked, the configured columns are all that can be said.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::json;

use crate::check::Checked;
use crate::failure::Failure;
use crate::{ConfigArg, Global, database, output, reading};

#[derive(Debug, Args)]
pub(crate) struct LabelsArgs {
    /// The protected server.
    #[arg(long)]
    target: String,
    /// The database, where the target leaves it to the client.
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// Show the configuration only.
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    config: ConfigArg,
}

/// One labelled column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Labelled {
    column: String,
    label: String,
    /// `configured`, `carried` or `missing`.
    how: &'static str,
}

/// Lists labelled columns. A configured column that the database lacks is shown and makes the status 1.
pub(crate) async fn labels(global: &Global, args: &LabelsArgs) -> Result<u8, Failure> {
    let Checked { config, .. } = reading::checked(&args.config)?;
    let target = reading::target(&config, &args.target)?;
    let specs = reading::label_specs(&config, &target.name);
    let configured: BTreeSet<(String, String)> = specs
        .iter()
        .flat_map(|spec| {
            let column =
                |(schema, table, name): &(String, String, String)| format!("{schema}.{table}.{name}");
            spec.columns
                .iter()
                .map(move |place| (column(place), spec.name.clone()))
        })
        .collect();
    let index = match args.offline {
        true => Err("--offline".to_owned()),
        false => database::labels(target, args.database.as_deref(), &specs)
            .await
            .map_err(|failure| failure.message().to_owned()),
    };
    let found: BTreeSet<(String, String)> = match &index {
        Err(_) => configured.clone(),
        Ok((index, _)) => index
            .labelled_columns()
            .into_iter()
            .map(|(schema, table, column, label)| (format!("{schema}.{table}.{column}"), label.to_owned()))
            .collect(),
    };
    let mut list: Vec<Labelled> = found
        .union(&configured)
        .map(|(column, label)| {
            let place = (column.clone(), label.clone());
            Labelled {
                column: column.clone(),
                label: label.clone(),
                how: match (configured.contains(&place), found.contains(&place)) {
                    (true, true) => "configured",
                    (true, false) => "missing",
                    _ => "carried",
                },
            }
        })
        .collect();
    list.sort();
    let missing = list.iter().any(|one| one.how == "missing");
    let note = match &index {
        Ok((_, unresolved)) if unresolved.is_empty() => None,
        Ok((_, unresolved)) => Some(unresolved.join("; ")),
        Err(why) => Some(format!(
            "the database was not asked ({why}): views, partitions and generated columns that carry a label do not show"
        )),
    };
    if global.json {
        let columns: Vec<_> = list
            .iter()
            .map(|one| {
                json!({
                    "column": one.column, "label": one.label, "how": one.how,
                    "redaction": reading::redaction(&config, &target.name, &one.label),
                })
            })
            .collect();
        output::json(&json!({
            "target": target.name, "catalog": index.is_ok(), "columns": columns, "note": note,
        }))?;
        return Ok(u8::from(missing));
    }
    let rows: Vec<Vec<String>> = list
        .iter()
        .map(|one| {
            let how = reading::redaction(&config, &target.name, &one.label);
            vec![one.column.clone(), one.label.clone(), one.how.to_owned(), how]
        })
        .collect();
    output::write(&output::table(&["COLUMN", "LABEL", "HOW", "REDACTION"], &rows))?;
    if let Some(note) = note {
        eprintln!("linegate: {note}");
    }
    Ok(u8::from(missing))
}
