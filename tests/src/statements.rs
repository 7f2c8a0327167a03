//! Statements of any kind over labelled and other columns, made by chance from what a server says of its own functions and
//! operators. Most of them the server itself would refuse, or linegate; the others say what a client may learn.

use std::collections::HashMap;

use crate::Postgres;
use crate::chance::Chance;

/// Types that expressions are made of: the server's name, and whether something labelled has it.
const TYPES: [&str; 16] = [
    "text",
    "int4",
    "int8",
    "bool",
    "numeric",
    "float8",
    "_text",
    "jsonb",
    "json",
    "bytea",
    "date",
    "timestamptz",
    "interval",
    "money",
    "tsrange",
    "varbit",
];

/// Columns with labels, and what is found in them, by type. `p` and `y` are the relations' names.
const LABELLED: [(&str, &[&str]); 14] = [
    (
        "text",
        &["p.ssn", "p.email", "y.pin", "substring(p.ssn from '^5')"],
    ),
    (
        "int4",
        &[
            "y.salary",
            "regexp_instr(p.ssn, '^5')",
            "strpos(p.ssn, '1')",
            "length(p.email)",
        ],
    ),
    ("int8", &["p.account"]),
    (
        "bool",
        &["p.ssn ~ '^5'", "(y.salary < 60000)", "(p.ssn LIKE '5%')"],
    ),
    ("numeric", &["y.rate"]),
    ("float8", &["y.weight"]),
    ("_text", &["p.aliases", "regexp_match(p.ssn, '^5')"]),
    ("jsonb", &["p.doc", "p.doc->'tax'", "p.doc->'home'"]),
    ("json", &["y.raw"]),
    ("bytea", &["p.blob"]),
    ("date", &["y.born"]),
    ("interval", &["y.lasts"]),
    ("money", &["y.bonus"]),
    ("tsrange", &["y.span"]),
];

/// What a client puts beside them: values, columns without labels, and what fails when it is evaluated.
const CLEAN: [(&str, &[&str]); 16] = [
    (
        "text",
        &[
            "'x'",
            "p.name",
            "('x' || 1 / (p.id - p.id))",
            "NULL::text",
            "''",
            "'-'",
            "repeat('x', 3)",
        ],
    ),
    (
        "int4",
        &[
            "1",
            "p.id",
            "1 / (p.id - p.id)",
            "0",
            "-1",
            "'nosuch'::text::regclass::int",
            "2147483647",
            "'-2147483648'",
            "(SELECT 1 / 0)",
            "NULL::int",
            "g.g",
        ],
    ),
    (
        "int8",
        &[
            "1::int8",
            "g.g",
            "'-9223372036854775808'",
            "1 / (p.id - p.id)::int8",
        ],
    ),
    (
        "bool",
        &["true", "(1 / (p.id - p.id) = 1)", "p.active", "NULL::bool"],
    ),
    ("numeric", &["1.5", "1.0 / (p.id - p.id)", "'NaN'", "1e300"]),
    ("float8", &["1e308::float8", "0::float8", "'NaN'"]),
    (
        "_text",
        &[
            "ARRAY['a']",
            "'{}'",
            "ARRAY[[p.name]]",
            "NULL::text[]",
            "ARRAY[NULL]",
        ],
    ),
    (
        "jsonb",
        &[
            "'{}'",
            "'1'::jsonb",
            "jsonb_build_object('a', 1 / (p.id - p.id))",
            "'[1]'",
        ],
    ),
    ("json", &["'{}'", "'1'::json"]),
    ("bytea", &["'\\x00'::bytea"]),
    ("date", &["'2024-01-01'::date", "p.made::date"]),
    ("timestamptz", &["p.made", "'infinity'"]),
    ("interval", &["'1 day'::interval", "'178000000 years'::interval"]),
    ("money", &["'1'::money"]),
    ("tsrange", &["'[2024-01-02,2024-01-03)'::tsrange", "'empty'"]),
    ("varbit", &["B'1'", "B'10110'"]),
];

const AGGREGATES: [&str; 14] = [
    "max",
    "min",
    "sum",
    "avg",
    "array_agg",
    "count",
    "bool_or",
    "json_agg",
    "jsonb_agg",
    "stddev",
    "bit_and",
    "mode() WITHIN GROUP (ORDER BY 1), max",
    "string_agg",
    "xmlagg",
];

/// A function: its name and the types of its arguments.
type Signature = (String, Vec<&'static str>);

/// Makes statements.
pub struct Statements {
    /// Functions and operators by the type of their result. An operator's name stands between its arguments.
    functions: HashMap<&'static str, Vec<Signature>>,
    operators: HashMap<&'static str, Vec<Signature>>,
    chance: Chance,
}

impl Statements {
    /// From what the server has.
    pub fn of(postgres: &Postgres, seed: u64) -> Self {
        let functions = postgres.sql(
            "SELECT proname || ' ' || t.typname || ' ' || (SELECT string_agg(a.typname, ' ' ORDER BY n)
                                 FROM unnest(proargtypes) WITH ORDINALITY x (o, n) JOIN pg_type a ON a.oid = o)
               FROM pg_proc JOIN pg_type t ON t.oid = prorettype
              WHERE pronamespace = 11 AND prokind = 'f' AND NOT proretset AND pronargs BETWEEN 1 AND 4
                AND provolatile <> 'v' AND proname !~ '^(pg_|has_|RI_|.*(in|out|recv|send|sel|support)$)'",
        );
        let operators = postgres.sql(
            "SELECT oprname || ' ' || t.typname || ' ' || l.typname || ' ' || r.typname
               FROM pg_operator JOIN pg_type t ON t.oid = oprresult JOIN pg_type l ON l.oid = oprleft
               JOIN pg_type r ON r.oid = oprright WHERE oprnamespace = 11",
        );
        let made = Self {
            functions: signatures(&functions),
            operators: signatures(&operators),
            chance: Chance::new(seed, 0),
        };
        assert!(
            made.functions.values().map(Vec::len).sum::<usize>() > 300,
            "few functions"
        );
        made
    }

    /// The next statement: one row, or none.
    pub fn make(&mut self) -> String {
        let kind = self.kind();
        let depth = 1 + self.chance.below(3);
        let value = self.value(kind, depth, true);
        let other_kind = self.kind();
        let other = self.value(other_kind, 1, false);
        let one = "p.id = 1 AND y.id = 1";
        let from = match format!("{value}{other}").contains("g.g") {
            true => "lab.people p, lab.pay y, generate_series(1, 3) g",
            false => "lab.people p, lab.pay y",
        };
        let aggregate = self.chance.pick(&AGGREGATES);
        let separator = if aggregate == "string_agg" { ", ','" } else { "" };
        match self.chance.below(19) {
            0..=5 => format!("SELECT {value} FROM {from} WHERE {one}"),
            6 => format!("SELECT {aggregate}({value}{separator}) FROM {from} WHERE y.id = 1"),
            7 => {
                let call = self
                    .chance
                    .pick(&["lag", "lead", "first_value", "max", "count", "sum"]);
                let window = self.chance.pick(&["ORDER BY p.id", "", "PARTITION BY p.id"]);
                format!("SELECT {call}({value}) OVER ({window}) FROM {from} WHERE y.id = 1")
            }
            8 | 9 => {
                let kept = self.chance.pick(&["", "MATERIALIZED ", "NOT MATERIALIZED "]);
                let shown = self.chance.pick(&[
                    "a",
                    "b",
                    "s",
                    "s IS NULL",
                    "a IS NULL",
                    "count(a)",
                    "(s).a",
                    "to_json(s)",
                    "coalesce(a, NULL)",
                    "s.*",
                    "nullif(a, a)",
                ]);
                format!(
                    "WITH s AS {kept}(SELECT {value} a, {other} b FROM {from} WHERE {one}) SELECT {shown} FROM s"
                )
            }
            10 => format!("SELECT x.a, x.b FROM {from}, LATERAL (SELECT {value} a, {other} b) x WHERE {one}"),
            11 => {
                let options = self.chance.pick(&["", "CSV", "CSV NULL 'x'", "BINARY"]);
                format!("COPY (SELECT {value} FROM {from} WHERE {one}) TO STDOUT {options}")
            }
            12 => {
                let more = self.value(kind, 1, false).replace("g.g", "1");
                format!(
                    "SELECT {value} FROM {from} WHERE {one} UNION ALL SELECT {more} FROM lab.people p WHERE p.id = 1"
                )
            }
            13 => format!("SELECT ARRAY(SELECT {value} FROM {from} WHERE {one})"),
            14 => {
                let more = self.value(kind, 1, false).replace("g.g", "1");
                format!("SELECT v FROM {from}, LATERAL (VALUES ({value}), ({more})) q (v) WHERE {one}")
            }
            15 => format!("EXPLAIN (COSTS OFF) SELECT {value} FROM {from} WHERE {one}"),
            16 => format!("SELECT max(v) FROM (SELECT {value} v FROM {from} WHERE {one}) s"),
            17 => {
                let outer = self.chance.pick(&["JOIN", "LEFT JOIN", "FULL JOIN"]);
                let value = value.replace("g.g", "1").replace("y.", "p.");
                format!(
                    "SELECT count(*) FROM lab.people p {outer} lab.people q ON q.name = ({value})::text WHERE p.id = 1"
                )
            }
            _ => format!("SELECT {value}, {other} FROM {from} WHERE {one}"),
        }
    }

    fn kind(&mut self) -> &'static str {
        self.chance.choose(&TYPES)
    }

    /// An expression of a type. `is_labelled`: something in it is, as a rule.
    fn value(&mut self, kind: &'static str, depth: usize, is_labelled: bool) -> String {
        if !is_labelled && (depth == 0 || !self.chance.one_in(3)) {
            return self.leaf(&CLEAN, kind);
        }
        if is_labelled && (depth == 0 || self.chance.one_in(4)) {
            return self.leaf(&LABELLED, kind);
        }
        let depth = depth.saturating_sub(1);
        match self.chance.below(20) {
            0..=6 => self.called(kind, depth, is_labelled),
            7..=9 => self.operated(kind, depth, is_labelled),
            10 | 11 => {
                let [one, two] = self.two(kind, depth, is_labelled);
                format!("coalesce({one}, {two})")
            }
            12 => {
                let [one, two] = self.two(kind, depth, is_labelled);
                format!("nullif({one}, {two})")
            }
            13 => {
                let [one, two] = self.two(kind, depth, is_labelled);
                let call = self.chance.pick(&["greatest", "least"]);
                format!("{call}({one}, {two})")
            }
            14 => {
                let [one, two] = self.two(kind, depth, is_labelled);
                let condition = self.value("bool", 1, false);
                format!("CASE WHEN {condition} THEN {one} ELSE {two} END")
            }
            15 | 16 => {
                let from = self.kind();
                let value = self.value(from, depth, is_labelled);
                format!(
                    "({value})::{}",
                    kind.strip_prefix('_')
                        .map_or(kind.to_owned(), |kind| format!("{kind}[]"))
                )
            }
            17 => format!("(SELECT {})", self.value(kind, depth, is_labelled)),
            _ => self.special(kind, depth, is_labelled),
        }
    }

    /// Forms of one type.
    fn special(&mut self, kind: &'static str, depth: usize, is_labelled: bool) -> String {
        let some = self.kind();
        match (kind, self.chance.below(4)) {
            ("bool", 0) => {
                let value = self.value(some, depth, is_labelled);
                let test = self.chance.pick(&["IS NULL", "IS NOT NULL"]);
                format!("(({value}) {test})")
            }
            ("bool", 1) => {
                let [one, two] = [
                    self.value("text", depth, is_labelled),
                    self.value("int4", depth, false),
                ];
                let test =
                    self.chance
                        .pick(&["IS NULL", "IS NOT NULL", "IS DISTINCT FROM NULL", "= ROW('x', 1)"]);
                format!("(ROW({one}, {two}) {test})")
            }
            ("bool", 2) => {
                let [one, two] = self.two("text", depth, is_labelled);
                let third = self.value("text", depth, false);
                let test = self.chance.pick(&["IN", "NOT IN"]);
                format!("({one} {test} ({two}, {third}))")
            }
            ("bool", _) => {
                let [one, two] = self.two("bool", depth, is_labelled);
                let joint = self.chance.pick(&["AND", "OR"]);
                format!("({one} {joint} {two})")
            }
            ("text", 0) => {
                let array = self.value("_text", depth, is_labelled);
                let place = self.value("int4", depth, false);
                format!("({array})[{place}]")
            }
            ("text", 1) => {
                let value = self.value("text", depth, is_labelled);
                let part = self
                    .chance
                    .pick(&["from 2", "for 3", "from $$(.)-$$", "from 0 for 2"]);
                format!("substring({value} {part})")
            }
            ("_text", 0 | 1) => {
                let [one, two] = self.two("text", depth, is_labelled);
                format!("ARRAY[{one}, {two}]")
            }
            ("json", 0 | 1) => {
                let [one, two] = self.two("text", depth, is_labelled);
                format!("row_to_json(ROW({one}, {two}))")
            }
            _ => self.leaf(if is_labelled { &LABELLED } else { &CLEAN }, kind),
        }
    }

    fn called(&mut self, kind: &'static str, depth: usize, is_labelled: bool) -> String {
        let Some((name, types)) = one_of(&self.functions, kind, &mut self.chance) else {
            return self.leaf(&LABELLED, kind);
        };
        let arguments = self.several(&types, depth, is_labelled);
        format!("{name}({})", arguments.join(", "))
    }

    fn operated(&mut self, kind: &'static str, depth: usize, is_labelled: bool) -> String {
        let Some((name, types)) = one_of(&self.operators, kind, &mut self.chance) else {
            return self.leaf(&LABELLED, kind);
        };
        let arguments = self.several(&types, depth, is_labelled);
        format!("({})", arguments.join(&format!(" {name} ")))
    }

    fn two(&mut self, kind: &'static str, depth: usize, is_labelled: bool) -> [String; 2] {
        let values = self.several(&[kind, kind], depth, is_labelled);
        values.try_into().expect("two of two")
    }

    /// Values of which one is labelled.
    fn several(&mut self, types: &[&'static str], depth: usize, is_labelled: bool) -> Vec<String> {
        let at = self.chance.below(types.len());
        let mut values = Vec::with_capacity(types.len());
        for (index, kind) in types.iter().enumerate() {
            let is_labelled = is_labelled && (index == at || self.chance.one_in(6));
            values.push(self.value(kind, depth, is_labelled));
        }
        values
    }

    fn leaf(&mut self, of: &[(&str, &[&str])], kind: &str) -> String {
        let found = of.iter().chain(&CLEAN).find(|(name, _)| *name == kind);
        let (_, values) = found.expect("every type has values");
        self.chance.pick(values).to_owned()
    }
}

/// Signatures of which every type is one of [`TYPES`], one a line.
fn signatures(lines: &str) -> HashMap<&'static str, Vec<Signature>> {
    let mut found: HashMap<&'static str, Vec<Signature>> = HashMap::new();
    for line in lines.lines() {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default().to_owned();
        let types: Option<Vec<&'static str>> = words.map(known).collect();
        if let Some([result, arguments @ ..]) = types.as_deref() {
            found.entry(result).or_default().push((name, arguments.to_vec()));
        }
    }
    // The same order whatever the server's is.
    found.values_mut().for_each(|list| list.sort());
    found
}

fn known(name: &str) -> Option<&'static str> {
    let name = match name {
        "anyelement" | "anycompatible" | "anynonarray" => "text",
        "anyarray" | "anycompatiblearray" => "_text",
        "anyrange" => "tsrange",
        "varchar" | "bpchar" | "name" => "text",
        name => name,
    };
    TYPES.iter().find(|kind| **kind == name).copied()
}

fn one_of(
    from: &HashMap<&'static str, Vec<Signature>>,
    kind: &str,
    chance: &mut Chance,
) -> Option<Signature> {
    let list = from.get(kind)?;
    list.get(chance.below(list.len())).cloned()
}
