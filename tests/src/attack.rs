//! Attack cases: what `tests/attacks/*.jsonl` says, one JSON object a line (`tests/attacks/README.md` states the form).
//!
//! A line is kept as text until it runs, since placeholders (`{{ssn:3}}`, `{{port}}`, …) differ per run and per server.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::attack_fixture::Secrets;

/// What decides whether a case went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Judge {
    /// No fragment of a secret reaches the client, and `instead`, if given, cannot be told from `steps`.
    Leak,
    /// What the query `effect` answers, over a direct connection, is the same before and after.
    Effect,
    /// The answer equals the direct one, except in masked columns.
    Honest,
}

/// How closely an honest case's answers are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compare {
    /// Every cell outside the masked columns, names, tags and COPY data.
    #[default]
    Rows,
    /// Column names, row counts and tags: for OIDs, plans, times and the like.
    Shape,
    /// Column names and tags: for activity that differs by the moment.
    Works,
}

/// How the case's own transformation of a value is undone before the detector looks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decode {
    /// Letters rotated by 13.
    Rot13,
    /// This text stands between the characters.
    Del(String),
    /// Decimal codes, each combined with this number by exclusive or.
    Xor(u8),
    /// Decimal codes, each too high by this number.
    Add(i64),
    /// Characters of the second text stand for those of the first.
    Translate(String, String),
    /// Numbers in hexadecimal.
    Hexnum,
    /// Decimal numbers, each too high by this one.
    Plus(i128),
}

/// One case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its name, unique in the folder.
    pub id: String,
    /// The chapter of PostgreSQL's manual that it was found in.
    pub chapter: String,
    /// What decides.
    pub judge: Judge,
    /// What the client does.
    pub steps: Vec<Step>,
    /// What it does the other time: a difference tells something about a labelled value.
    #[serde(default)]
    pub instead: Vec<Step>,
    /// Statements of the administrator before it.
    #[serde(default)]
    pub setup: Vec<String>,
    /// And after it.
    #[serde(default)]
    pub teardown: Vec<String>,
    /// The query whose answer must not change.
    #[serde(default)]
    pub effect: Option<String>,
    /// Startup parameters of connection `a`.
    #[serde(default)]
    pub startup: BTreeMap<String, String>,
    /// Names of columns that may differ.
    #[serde(default)]
    pub mask: Vec<String>,
    /// How closely answers are compared.
    #[serde(default)]
    pub compare: Compare,
    /// Extensions that it uses; without them it is skipped.
    #[serde(default)]
    pub needs: Vec<String>,
    /// The oldest `server_version_num` that it makes sense on.
    #[serde(default)]
    pub min: u32,
    /// And the newest; 0 is any.
    #[serde(default)]
    pub max: u32,
    /// How its own encoding is undone.
    #[serde(default)]
    pub decode: Vec<Decode>,
    /// The client sent the value itself, so that seeing it is no leak.
    #[serde(default)]
    pub own: bool,
    /// Run over TLS in every run, not only when its turn comes.
    #[serde(default)]
    pub tls: bool,
    /// What it is about, for readers.
    #[serde(default)]
    pub note: String,
}

/// One step; exactly one of `q`, `hex`, `x`, `frames`, `copy`, `listen`, `admin`, `sleep` says what.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Step {
    /// The connection's name; `a` if none.
    pub on: Option<String>,
    /// A Query message.
    pub q: Option<String>,
    /// A Query message whose text is these bytes, hexadecimal.
    pub hex: Option<String>,
    /// Parse, Bind, Describe, Execute, Sync.
    pub x: Option<String>,
    /// Parameters in text format.
    pub params: Vec<Option<String>>,
    /// Result formats, 0 text and 1 binary, as Bind carries them.
    pub result: Vec<u16>,
    /// `portal` (default), `statement` or `none`.
    pub describe: Option<String>,
    /// The prepared statement's name.
    pub name: String,
    /// The portal's name.
    pub portal: String,
    /// The most rows of an Execute; 0 is all.
    pub rows: i32,
    /// Single messages, sent at once; see the README.
    pub frames: Vec<serde_json::Value>,
    /// Send in pieces of so many bytes.
    pub split: usize,
    /// CopyData and CopyDone.
    pub copy: Option<String>,
    /// Read whatever comes for so many milliseconds.
    pub listen: Option<u64>,
    /// A statement of the administrator, in between.
    pub admin: Option<String>,
    /// Milliseconds.
    pub sleep: Option<u64>,
}

/// A line of a case file and the case that it is.
#[derive(Clone, Debug)]
pub struct Line {
    text: String,
    /// The case with its placeholders unfilled: for names and conditions.
    pub case: Case,
}

/// What placeholders stand for on one server.
#[derive(Clone, Debug)]
pub struct Places<'a> {
    /// The secrets of the run.
    pub secrets: &'a Secrets,
    /// The server's own port.
    pub port: u16,
    /// A number that is used once.
    pub once: u32,
}

impl Line {
    /// The case as it runs on one server.
    pub fn case(&self, places: &Places<'_>) -> Case {
        let filled = fill(&self.text, places);
        serde_json::from_str(&filled).unwrap_or_else(|error| panic!("{}: {error}: {filled}", self.case.id))
    }
}

/// Every case of the folder, in the order of files and lines.
pub fn load(folder: &Path) -> Vec<Line> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("tests/attacks is in the repository")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
        .collect();
    files.sort();
    let mut lines: Vec<Line> = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a case file is readable");
        for (index, text) in text.lines().enumerate().filter(|(_, text)| !text.is_empty()) {
            let case: Case = serde_json::from_str(text)
                .unwrap_or_else(|error| panic!("{}:{}: {error}", file.display(), index + 1));
            assert!(
                lines.iter().all(|line| line.case.id != case.id),
                "two cases are called {}",
                case.id
            );
            assert_eq!(
                case.judge == Judge::Effect,
                case.effect.is_some(),
                "{}: effect",
                case.id
            );
            lines.push(Line {
                text: text.to_owned(),
                case,
            });
        }
    }
    lines
}

/// Replaces `{{…}}`. Values are letters, digits and a few signs, so that they need no escape in JSON.
fn fill(text: &str, places: &Places<'_>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after
            .split_once("}}")
            .unwrap_or_else(|| panic!("an open placeholder: {text}"));
        out.push_str(before);
        out.push_str(&value_of(name, places));
        rest = after;
    }
    out.push_str(rest);
    out
}

fn value_of(name: &str, places: &Places<'_>) -> String {
    let parts: Vec<&str> = name.split(':').collect();
    let number = |text: &str| {
        text.parse::<usize>()
            .unwrap_or_else(|_| panic!("a number, not {text}"))
    };
    match parts.as_slice() {
        ["port"] => places.port.to_string(),
        ["once"] => format!("{}_{}", std::process::id(), places.once),
        [field, person] => places.secrets.field(number(person), field),
        [field, person, from, to] => {
            places.secrets.field(number(person), field)[number(from)..number(to)].to_owned()
        }
        _ => panic!("unknown placeholder {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled() {
        let secrets = Secrets::new(7);
        let places = Places {
            secrets: &secrets,
            port: 5432,
            once: 1,
        };
        let ssn = secrets.field(2, "ssn");
        assert_eq!(
            fill("a {{ssn:2}} {{ssn:2:0:3}} {{port}}", &places),
            format!("a {ssn} {} 5432", &ssn[..3])
        );
    }

    #[test]
    fn an_unknown_field_of_a_case_is_an_error() {
        let line = r#"{"id":"x","chapter":"y","judge":"leak","steps":[{"q":"SELECT 1","typo":1}]}"#;
        assert!(serde_json::from_str::<Case>(line).is_err());
    }
}
