//! Texts and their lineage, as tables: a text, and what is found in it as one line.
//!
//! The line: the result columns (`-` clean, `=ssn` exactly that column, `~email+ssn` computed, `?` not told), then what is
//! looked up, probed, moved and exposed, and whether something is unknown.

use linegate_policy::catalog::{Function, Reactions};
use linegate_policy::{
    Catalog, Column, ColumnId, Flow, LabelIndex, LabelSpec, Lineage, RedactSpec, Relation,
};

mod chosen;
mod conditions;
mod outputs;
mod random;
mod spread;
mod tested;
mod writes;

const INT4: u32 = 23;
const TEXT: u32 = 25;
const JSONB: u32 = 3802;
const TIMESTAMPTZ: u32 = 1184;

/// Columns as `name type`, where the type is text unless it is said.
fn relation(oid: u32, name: &str, kind: u8, columns: &str) -> Relation {
    let columns = (1..).zip(columns.split_whitespace()).map(|(number, column)| {
        let (name, kind) = column.split_once(':').unwrap_or((column, "text"));
        Column {
            number,
            name: name.to_owned(),
            type_oid: match kind {
                "int" => INT4,
                "jsonb" => JSONB,
                "time" => TIMESTAMPTZ,
                _ => TEXT,
            },
        }
    });
    Relation::new(oid, "app", name, kind, columns.collect())
}

fn view(oid: u32, name: &str, kind: u8, columns: &str, sources: &[u32], body: &str) -> Relation {
    Relation {
        sources: sources.to_vec(),
        body: Some(body.to_owned()),
        ..relation(oid, name, kind, columns)
    }
}

fn function(name: &str, body: Option<&str>) -> Function {
    Function {
        schema: "app".to_owned(),
        name: name.to_owned(),
        arguments_count: 1,
        argument_types: vec![25],
        sql_body: body.map(str::to_owned),
    }
}

fn catalog() -> Catalog {
    let functions = vec![
        function(
            "customer_email",
            Some("SELECT email FROM app.customers WHERE id = $1"),
        ),
        function(
            "find_customers",
            Some("SELECT * FROM app.customers WHERE name LIKE $1"),
        ),
        function("guess", Some("SELECT id FROM app.customers WHERE ssn LIKE $1")),
        function(
            "order_total",
            Some("SELECT sum(amount) FROM app.orders WHERE customer_id = $1"),
        ),
        function(
            "spent_by",
            Some("SELECT app.order_total(c.id) FROM app.customers c WHERE c.id = who"),
        ),
        function(
            "bump",
            Some("UPDATE app.counters SET n = n + 1 WHERE name = 'calls' RETURNING n"),
        ),
        function(
            "phone_of",
            Some(
                "BEGIN ATOMIC\n SELECT customers.phone\n    FROM app.customers\n   WHERE (customers.id = who);\nEND",
            ),
        ),
        function("twice", Some("RETURN (n * 2)")),
        function("customer_doc", None),
    ];
    let mut relations = vec![
        relation(
            100,
            "customers",
            b'r',
            "id:int name email ssn card_number phone notes profile:jsonb created_at:time",
        ),
        relation(
            101,
            "api_tokens",
            b'r',
            "id:int customer_id:int token created_at:time",
        ),
        relation(
            102,
            "orders",
            b'r',
            "id:int customer_id:int amount:int status note created_at:time",
        ),
        relation(103, "products", b'r', "id:int sku title price:int tags"),
        relation(104, "audit_log", b'r', "id:int at:time what"),
        relation(105, "counters", b'r', "name n:int"),
        relation(106, "newsletter", b'r', "id:int email"),
        view(
            200,
            "customer_contact",
            b'v',
            "id:int name contact tel",
            &[100],
            " SELECT customers.id, customers.name, customers.email AS contact, customers.phone AS tel FROM app.customers;",
        ),
        view(
            201,
            "order_report",
            b'v',
            "id:int amount:int status name",
            &[100, 102],
            "SELECT o.id, o.amount, o.status, c.name FROM (app.orders o JOIN app.customers c ON ((c.id = o.customer_id)))",
        ),
        view(
            202,
            "customer_label",
            b'v',
            "id:int label",
            &[100],
            "SELECT id, ((name || ' <'::text) || email) AS label FROM app.customers",
        ),
        view(
            203,
            "customer_dir",
            b'm',
            "id:int name ref",
            &[100],
            "SELECT id, name, ssn AS ref FROM app.customers",
        ),
        view(
            204,
            "contact_again",
            b'v',
            "c",
            &[200],
            "SELECT contact AS c FROM app.customer_contact",
        ),
        view(
            205,
            "by_function",
            b'v',
            "mail",
            &[102],
            "SELECT app.customer_email(customer_id) AS mail FROM app.orders",
        ),
        view(
            206,
            "by_code",
            b'v',
            "doc",
            &[102],
            "SELECT app.customer_doc(customer_id) AS doc FROM app.orders",
        ),
        view(
            207,
            "over_code",
            b'v',
            "doc",
            &[206],
            "SELECT doc FROM app.by_code",
        ),
        view(
            208,
            "customer_all",
            b'v',
            "id:int name email ssn card_number phone notes profile:jsonb created_at:time",
            &[100],
            "SELECT id, name, email, ssn, card_number, phone, notes, profile, created_at FROM app.customers",
        ),
        Relation {
            schema: "pg_temp_3".to_owned(),
            ..relation(300, "guesses", b'r', "g")
        },
        Relation {
            schema: "archive".to_owned(),
            ..relation(301, "customers", b'r', "id:int email closed:time")
        },
    ];
    relations[5].reactions = Reactions {
        triggers: true,
        ..Reactions::default()
    };
    // customers.notes is generated from phone in one table only, to see it carried.
    relations.push(Relation {
        generated: vec![(3, 2)],
        ..relation(302, "leads", b'r', "id:int phone digits")
    });
    Catalog {
        epoch: 1,
        user_functions: functions.iter().map(|function| function.name.clone()).collect(),
        functions,
        relations,
        ..Catalog::default()
    }
}

fn specs() -> Vec<LabelSpec> {
    let spec = |name: &str, columns: &[(&str, &str)], redact, paths: &[&[&str]]| LabelSpec {
        name: name.to_owned(),
        columns: columns
            .iter()
            .map(|(table, column)| ("app".to_owned(), (*table).to_owned(), (*column).to_owned()))
            .collect(),
        paths: paths
            .iter()
            .map(|path| path.iter().map(|key| (*key).to_owned()).collect())
            .collect(),
        redact,
    };
    vec![
        spec("mail", &[("customers", "email")], RedactSpec::Blank, &[]),
        spec(
            "numbers",
            &[("customers", "ssn"), ("customers", "card_number")],
            RedactSpec::KeepLast(4),
            &[],
        ),
        spec(
            "phones",
            &[("customers", "phone"), ("leads", "phone")],
            RedactSpec::KeepLast(2),
            &[],
        ),
        spec(
            "profile",
            &[("customers", "profile")],
            RedactSpec::Null,
            &[&["tax_id"], &["home", "street"]],
        ),
        spec("token", &[("api_tokens", "token")], RedactSpec::Null, &[]),
    ]
}

fn index() -> LabelIndex {
    let (mut index, missing) = LabelIndex::resolve(&catalog(), &specs());
    assert_eq!(missing, Vec::<String>::new());
    super::follow(&mut index);
    index
}

fn lineage(index: &LabelIndex, text: &str) -> Lineage {
    let statement = crate::read_with(text.as_bytes(), Some(index));
    statement
        .lineage
        .unwrap_or_else(|| panic!("the text is not read: {text}"))
}

fn shown(index: &LabelIndex, column: &ColumnId) -> String {
    let known = index.known_by_oid(column.relation).expect("a relation");
    let at = known
        .columns
        .iter()
        .find(|known| known.number == column.attribute);
    let name = at.map_or("?", |column| column.name.as_str());
    match known.name {
        "customers" | "api_tokens" => name.to_owned(),
        relation => format!("{relation}.{name}"),
    }
}

fn line(index: &LabelIndex, found: &Lineage) -> String {
    let names = |columns: &mut dyn Iterator<Item = &ColumnId>, by: &str| {
        let names: Vec<String> = columns.map(|column| shown(index, column)).collect();
        names.join(by)
    };
    let mut line = match &found.outputs {
        None => "?".to_owned(),
        Some(flows) => {
            let flows: Vec<String> = flows
                .iter()
                .map(|flow| match flow {
                    Flow::Clean => "-".to_owned(),
                    Flow::Exactly(column) => format!("={}", shown(index, column)),
                    Flow::Tainted(columns) => format!("~{}", names(&mut columns.iter(), "+")),
                })
                .collect();
            flows.join(" ")
        }
    };
    let sets = [
        ("lookup", &found.lookups),
        ("probe", &found.probes),
        ("moved", &found.moved),
        ("exposed", &found.exposed),
    ];
    for (what, set) in sets {
        if !set.is_empty() {
            line.push_str(&format!(" | {what} {}", names(&mut set.iter(), " ")));
        }
    }
    if !found.unknown.is_empty() {
        line.push_str(" | unknown");
    }
    line
}

/// Compares every text's line with the expected one; all differences are told at once.
fn check(cases: &[(&str, &str)]) {
    check_with(&index(), cases);
}

fn check_with(index: &LabelIndex, cases: &[(&str, &str)]) {
    let mut wrong = String::new();
    for (text, expected) in cases {
        let found = line(index, &lineage(index, text));
        if found != *expected {
            wrong.push_str(&format!("\n{text}\n  found    {found}\n  expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
