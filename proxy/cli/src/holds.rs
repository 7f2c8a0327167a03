//! `linegate holds`, `approve` and `deny`: statements that wait for a person.

use clap::Args;
use serde_json::{Value, json};

use crate::client::{self, Control, Door};
use crate::failure::Failure;
use crate::{Global, lease, output, run};

#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// The hold, as `linegate holds` shows it.
    id: String,
    /// Who approves; never a member of the statement's own chain.
    #[arg(long = "as", value_name = "PRINCIPAL")]
    principal: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DenyArgs {
    /// The hold, as `linegate holds` shows it.
    id: String,
    /// Who refuses.
    #[arg(long = "as", value_name = "PRINCIPAL")]
    principal: Option<String>,
    /// Why; the client is told.
    #[arg(long)]
    reason: String,
}

/// Shows what waits. The statement is printed whole below its row: an approver must see what will run.
pub(crate) async fn list(global: &Global) -> Result<u8, Failure> {
    let answer = Control::find(global).get(Door::Admin, "/v1/holds").await?;
    if global.json {
        output::json(&answer)?;
        return Ok(0);
    }
    let list = lease::items(&answer, "holds");
    if list.is_empty() {
        output::write("nothing waits\n")?;
        return Ok(0);
    }
    let mut text = String::new();
    for hold in list {
        text.push_str(&format!(
            "{}  {}\n",
            output::cell(&hold["id"]),
            output::flat(&output::cell(&hold["target"]))
        ));
        for (label, field) in [
            ("chain", "chain"),
            ("effects", "effects"),
            ("tables", "relations"),
            ("session set", "settings"),
            ("reason", "reason"),
            ("needs", "needs"),
        ] {
            let is_none = hold[field].as_array().is_none_or(Vec::is_empty);
            if !(is_none && field == "settings") {
                let value = match field {
                    "needs" => needs(&hold[field]),
                    _ => chain_or_cell(&hold[field]),
                };
                text.push_str(&format!("  {label:<12}{value}\n"));
            }
        }
        for line in lines(&output::cell(&hold["statement"])) {
            text.push_str("  | ");
            text.push_str(&line);
            text.push('\n');
        }
        let parameters = hold["parameters"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        for (index, value) in parameters.iter().enumerate() {
            text.push_str(&parameter(index, value, &hold["parameter_types"][index]));
        }
    }
    output::write(&text)?;
    Ok(0)
}

/// A statement's lines as the server cuts them: a comment ends at a carriage return as well.
fn lines(statement: &str) -> Vec<String> {
    let text = statement.replace("\r\n", "\n");
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let lines = text.split(['\n', '\r']);
    lines.map(|line| line.chars().map(plain).collect()).collect()
}

/// A character of what a person approves. What looks like a space and is none to the server is marked, as is what cannot be seen.
fn plain(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() || c != ' ' && c.is_whitespace() => char::REPLACEMENT_CHARACTER,
        // What is blank or nothing: Hangul and Khitan fillers, Khmer vowels, an empty Braille pattern and notehead, a separator.
        '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{16fe4}' | '\u{17b4}' | '\u{17b5}'
        | '\u{2800}' | '\u{1d159}' | '\u{180e}' => char::REPLACEMENT_CHARACTER,
        c => output::printable(c),
    }
}

/// A parameter's value, whole: an approver must see what will run. In quotes, so that `NULL` is no text.
fn parameter(index: usize, value: &Value, of: &Value) -> String {
    let value = match value.as_str() {
        None => "NULL".to_owned(),
        Some(text) => {
            let text: String = text.chars().map(plain).collect();
            format!("'{}'", text.replace('\'', "''"))
        }
    };
    match of.as_str().filter(|of| !of.is_empty()) {
        Some(of) => format!("  ${} ({}) = {value}\n", index + 1, output::flat(of)),
        None => format!("  ${} = {value}\n", index + 1),
    }
}

/// A chain comes as text or as its parts.
fn chain_or_cell(value: &Value) -> String {
    match (value["principal"]["name"].as_str(), value["actors"].as_array()) {
        (Some(name), Some(actors)) => std::iter::once(name.to_owned())
            .chain(actors.iter().map(output::cell))
            .collect::<Vec<_>>()
            .join(" → "),
        _ => output::flat(&output::cell(value)),
    }
}

/// What each rule asks for: all of it.
fn needs(value: &Value) -> String {
    let parts = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let parts: Vec<String> = parts
        .iter()
        .map(|part| output::flat(&output::cell(part)))
        .collect();
    parts.join(" and ")
}

/// Approves once.
pub(crate) async fn approve(global: &Global, args: ApproveArgs) -> Result<u8, Failure> {
    let body = json!({ "as": principal(args.principal) });
    decide(global, &args.id, "approve", &body).await
}

/// Refuses with a reason.
pub(crate) async fn deny(global: &Global, args: DenyArgs) -> Result<u8, Failure> {
    let body = json!({ "as": principal(args.principal), "reason": args.reason });
    decide(global, &args.id, "deny", &body).await
}

fn principal(named: Option<String>) -> String {
    named.unwrap_or_else(|| format!("user:{}", run::login_name()))
}

async fn decide(global: &Global, id: &str, verb: &str, body: &Value) -> Result<u8, Failure> {
    let path = format!("/v1/holds/{}/{verb}", client::id(id)?);
    let answer = Control::find(global).post(Door::Admin, &path, body).await?;
    if global.json {
        output::json(&answer)?;
        return Ok(0);
    }
    let waits = answer["state"]
        .as_str()
        .is_some_and(|state| state.starts_with("waiting"));
    let said = match (verb, waits) {
        ("approve", true) => "approved; more approvals are needed",
        ("approve", false) => "approved",
        _ => "refused",
    };
    output::write(&format!("{id} {said} as {}\n", output::cell(&body["as"])))?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_in_parts_reads_like_a_chain() {
        let parts = json!({ "principal": { "kind": "workload", "name": "ci-runner" }, "actors": ["build", "migrate"] });
        assert_eq!(chain_or_cell(&parts), "ci-runner → build → migrate");
        assert_eq!(chain_or_cell(&json!("a → b")), "a → b");
        assert_eq!(chain_or_cell(&json!(["select", "drop"])), "select, drop");
    }

    #[test]
    fn a_statement_is_shown_as_the_server_reads_it() {
        for (text, shown) in [
            ("a -- b\rOR true", &["a -- b", "OR true"][..]),
            ("a\r\nb\n", &["a", "b"]),
            ("x\tWHERE\u{a0}id", &["x WHERE\u{fffd}id"]),
            ("a\u{1d159}b", &["a\u{fffd}b"]),
            ("a\u{3164}b\u{200b}c\u{c}d", &["a\u{fffd}b\u{fffd}c\u{fffd}d"]),
            ("\u{e9}\u{4e2d}", &["\u{e9}\u{4e2d}"]),
        ] {
            assert_eq!(lines(text), shown);
        }
    }

    #[test]
    fn null_is_no_text_and_a_type_stands_beside_its_value() {
        assert_eq!(
            parameter(0, &Value::Null, &json!("integer")),
            "  $1 (integer) = NULL\n"
        );
        assert_eq!(parameter(1, &json!("it's"), &json!("")), "  $2 = 'it''s'\n");
    }
}
