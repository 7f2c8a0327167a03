//! Labels over a small shop, and how they spread.

use super::*;
use crate::catalog::Column;
use crate::tests::name;

fn relation(oid: u32, schema: &str, name: &str, kind: u8, columns: &[&str], sources: &[u32]) -> Relation {
    let columns = (1..).zip(columns);
    let columns = columns.map(|(number, name)| Column {
        number,
        name: (*name).to_owned(),
        type_oid: 25,
    });
    Relation {
        sources: sources.to_vec(),
        ..Relation::new(oid, schema, name, kind, columns.collect())
    }
}

/// A shop: customers (email, ssn labelled) with a partition, views over them, orders, a namesake in another schema.
pub(crate) fn shop() -> Catalog {
    Catalog {
        epoch: 7,
        relations: vec![
            relation(
                10,
                "app",
                "customers",
                b'p',
                &["id", "name", "email", "ssn"],
                &[11],
            ),
            relation(
                11,
                "app",
                "customers_eu",
                b'r',
                &["ssn", "email", "id", "name", "vat"],
                &[10],
            ),
            relation(12, "app", "orders", b'r', &["id", "customer_id", "total"], &[]),
            relation(13, "app", "people", b'v', &["id", "name"], &[10]),
            relation(14, "app", "people_daily", b'm', &["day", "count"], &[13]),
            relation(15, "archive", "orders", b'r', &["id"], &[]),
            relation(16, "app", "audit", b'r', &["id", "what"], &[12]),
            relation(17, "app", "order_totals", b'v', &["total"], &[12]),
            relation(18, "app", "cards", b'r', &["id", "number"], &[]),
            relation(1259, "pg_catalog", "pg_class", b'r', &["oid", "relname"], &[]),
            relation(3118, "pg_catalog", "pg_stats", b'v', &["schemaname"], &[]),
        ],
        user_functions: ["peek", "lower"].map(str::to_owned).into(),
        ..Catalog::default()
    }
}

pub(crate) fn specs() -> Vec<LabelSpec> {
    let column = |table: &str, name: &str| ("app".to_owned(), table.to_owned(), name.to_owned());
    vec![
        LabelSpec {
            name: "pii".to_owned(),
            columns: vec![column("customers", "email"), column("customers", "ssn")],
            paths: Vec::new(),
            redact: RedactSpec::Blank,
        },
        LabelSpec {
            name: "cards".to_owned(),
            columns: vec![column("cards", "number"), column("customers", "ssn")],
            paths: Vec::new(),
            redact: RedactSpec::KeepLast(4),
        },
    ]
}

pub(crate) fn index() -> LabelIndex {
    let (index, missing) = LabelIndex::resolve(&shop(), &specs());
    assert_eq!(missing, Vec::<String>::new());
    index
}

/// Both catalogs in turn, the second knowing the first.
fn after(change: impl Fn(&mut Catalog)) -> (LabelIndex, Vec<String>) {
    let (first, _) = LabelIndex::resolve(&shop(), &specs());
    let mut changed = shop();
    change(&mut changed);
    LabelIndex::resolve_after(&changed, &specs(), Some(&first))
}

#[test]
fn a_label_stays_on_its_column_whatever_the_column_is_called() {
    let all = MaskScope::all(&specs());
    let is_masked =
        |index: &LabelIndex, oid, attribute| matches!(index.origin(oid, attribute, &all), Origin::Masked(_));
    // email (3) and name (2) change names.
    let (index, warnings) = after(|catalog| {
        catalog.relations[0].columns[2].name = "contact".to_owned();
        catalog.relations[0].columns[1].name = "email".to_owned();
    });
    assert!(is_masked(&index, 10, 3), "the column that was labelled");
    assert!(is_masked(&index, 10, 2), "the column that the label names now");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("app.customers.contact"), "{warnings:?}");
    // The partition is detached, and the table moves to another schema under another name.
    let (index, warnings) = after(|catalog| {
        for relation in &mut catalog.relations[..2] {
            relation.sources.clear();
        }
        catalog.relations[0].schema = "attic".to_owned();
        catalog.relations[0].name = "old".to_owned();
    });
    for (oid, attribute) in [(10, 3), (10, 4), (11, 1), (11, 2)] {
        assert!(is_masked(&index, oid, attribute), "{oid}.{attribute}");
    }
    assert!(!is_masked(&index, 10, 2) && !is_masked(&index, 11, 5));
    assert!(
        warnings.len() > 4,
        "what is kept and what is missing: {warnings:?}"
    );
    // A new table of the old name starts with what the configuration says of it.
    let (index, _) = after(|catalog| {
        catalog.relations[0].oid = 20;
        catalog.relations[0].sources.clear();
        catalog.relations[1].sources.clear();
    });
    assert!(is_masked(&index, 20, 3) && is_masked(&index, 11, 2));
}

#[test]
fn keys_are_known_by_name_and_truth_values_are_none() {
    let mut catalog = shop();
    catalog.relations[0].keys = vec![1, 3];
    catalog.relations[0].columns[2].type_oid = 16;
    let (index, _) = LabelIndex::resolve(&catalog, &specs());
    let known = index.known_by_oid(10).expect("it is there");
    assert!(known.is_key("id") && !known.is_key("name") && !known.is_key("email") && !known.is_key("none"));
}

#[test]
fn temporary_schemas_go_by_one_name() {
    let mut catalog = shop();
    catalog.relations[2].schema = "pg_temp_3".to_owned();
    let (index, _) = LabelIndex::resolve(&catalog, &specs());
    let of = |text| {
        index
            .candidates(&name(text))
            .map(|(schema, _)| schema.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("pg_temp.orders"), ["pg_temp"]);
    let mut any = of("orders");
    any.sort();
    assert_eq!(any, ["archive", "pg_temp"]);
}

#[test]
fn functions_of_known_extensions_are_known_unless_others_share_the_name() {
    let mut catalog = shop();
    let pure = |name: &str| ("ext".to_owned(), name.to_owned());
    catalog.extension_functions = [pure("similarity"), pure("min"), pure("peek")].into();
    let (index, _) = LabelIndex::resolve(&catalog, &specs());
    for (text, expected) in [
        ("similarity", true),
        ("ext.similarity", true),
        ("min", true),
        ("other.similarity", false),
        ("peek", false),
        ("levenshtein", false),
    ] {
        assert_eq!(index.knows_function(&name(text)), expected, "{text}");
    }
}

fn hiding(labels: &[&str]) -> MaskScope {
    MaskScope {
        hidden: labels.iter().map(|label| (*label).to_owned()).collect(),
        ..MaskScope::default()
    }
}

#[test]
fn columns_spread_by_name_to_partitions_and_back() {
    let masks = MaskScope::all(&specs());
    let index = index();
    assert_eq!(index.origin(10, 3, &masks), Origin::Masked(RedactSpec::Blank));
    assert_eq!(
        index.origin(11, 2, &masks),
        Origin::Masked(RedactSpec::Blank),
        "email of the partition"
    );
    assert_eq!(
        index.origin(11, 1, &masks),
        Origin::Masked(RedactSpec::Blank),
        "ssn: the stricter of two labels"
    );
    assert_eq!(
        index.origin(11, 1, &hiding(&["cards"])),
        Origin::Masked(RedactSpec::KeepLast(4))
    );
    assert_eq!(index.origin(11, 3, &masks), Origin::Clear);
    assert_eq!(index.origin(10, 0, &masks), Origin::MaskedWhole);
    assert_eq!(index.origin(10, -1, &masks), Origin::MaskedWhole);
    assert_eq!(
        index.origin(10, 9, &masks),
        Origin::Unknown,
        "a column newer than the catalog"
    );
    assert_eq!(index.origin(12, 0, &masks), Origin::Clear);
    assert_eq!(index.origin(999, 1, &masks), Origin::Unknown);
    assert_eq!(index.origin(10, 3, &MaskScope::default()), Origin::Clear);

    let child_first = LabelSpec {
        name: "pii".to_owned(),
        columns: vec![("app".to_owned(), "customers_eu".to_owned(), "email".to_owned())],
        paths: Vec::new(),
        redact: RedactSpec::Null,
    };
    let (index, _) = LabelIndex::resolve(&shop(), &[child_first]);
    assert_eq!(
        index.origin(10, 3, &masks),
        Origin::Masked(RedactSpec::Null),
        "a scan of the parent shows the child"
    );
}

#[test]
fn views_over_labelled_relations_are_derived() {
    let masks = MaskScope::all(&specs());
    let index = index();
    assert_eq!(index.origin(13, 1, &masks), Origin::Derived);
    assert_eq!(index.origin(14, 2, &masks), Origin::Derived, "through two steps");
    assert_eq!(index.origin(17, 1, &masks), Origin::Clear);
    assert_eq!(index.origin(13, 1, &hiding(&["other"])), Origin::Clear);
    assert!(index.touches(&name("app.people_daily")) && !index.touches(&name("order_totals")));
    assert_eq!(
        index.labels_of(&name("people")).into_iter().collect::<Vec<_>>(),
        ["cards", "pii"]
    );
}

#[test]
fn an_unqualified_name_means_every_relation_of_that_name() {
    let index = index();
    assert!(index.touches(&name("customers")) && index.touches(&name("app.customers")));
    assert!(!index.touches(&name("archive.customers")) && !index.touches(&name("nowhere")));
    let orders = name("orders");
    let mut found: Vec<_> = index.candidates(&orders).collect();
    found.sort_unstable();
    assert_eq!(found, [("app", "orders"), ("archive", "orders")]);
    assert!(index.touches_masked(&name("customers"), &hiding(&["cards"])));
    assert!(!index.touches_masked(&name("cards"), &hiding(&["pii"])));
}

#[test]
fn a_rule_that_reads_a_labelled_relation_derives_its_table() {
    let mut catalog = shop();
    catalog
        .relations
        .push(relation(20, "app", "inbox", b'r', &["line"], &[10]));
    let (index, _) = LabelIndex::resolve(&catalog, &specs());
    assert_eq!(index.origin(20, 1, &MaskScope::all(&specs())), Origin::Derived);
}

#[test]
fn what_the_catalog_lacks_is_said() {
    let mut specs = specs();
    specs[0].columns = vec![
        ("app".to_owned(), "customers".to_owned(), "fax".to_owned()),
        ("app".to_owned(), "clients".to_owned(), "email".to_owned()),
    ];
    let (_, missing) = LabelIndex::resolve(&shop(), &specs);
    assert_eq!(
        missing,
        [
            "label pii: relation app.customers has no column fax",
            "label pii: no relation app.clients"
        ]
    );
}

#[test]
fn the_stricter_redaction_wins() {
    use RedactSpec::{Blank, KeepLast, Null};
    assert_eq!(KeepLast(4).stricter(KeepLast(2)), KeepLast(2));
    assert_eq!(KeepLast(0).stricter(Blank), Blank);
    assert_eq!(Null.stricter(Blank), Null);
    assert_eq!(Blank.stricter(KeepLast(9)), Blank);
}

#[test]
fn a_followed_view_carries_what_its_columns_hold() {
    use crate::lineage::{ColumnId, Flow};
    let column = |relation, attribute| ColumnId { relation, attribute };
    let masks = MaskScope::all(&specs());
    let mut index = index();
    assert!(!index.set_view(13, &[Flow::Clean]), "another number of columns");
    assert_eq!(index.origin(13, 1, &masks), Origin::Derived);
    let email = column(10, 3);
    assert!(index.set_view(13, &[Flow::Exactly(email), Flow::Tainted([column(10, 4)].into())]));
    assert_eq!(index.origin(13, 1, &masks), Origin::Masked(RedactSpec::Blank));
    assert_eq!(
        index.origin(13, 2, &masks),
        Origin::Masked(RedactSpec::Null),
        "no redaction of a label fits what is computed"
    );
    assert!(index.carries(column(13, 1), email) && index.carries(email, column(13, 1)));
    assert!(
        !index.carries(column(13, 1), column(10, 4)),
        "ssn bears another label as well"
    );
    assert!(!index.carries(column(12, 3), email) && index.carries(column(12, 3), column(12, 1)));
    assert!(index.set_view(14, &[Flow::Clean, Flow::Clean]));
    assert_eq!(index.origin(14, 1, &masks), Origin::Clear);
    assert!(!index.touches(&name("people_daily")));
    index.mark_derived(13);
    assert_eq!(index.origin(13, 1, &masks), Origin::Derived);
    assert_eq!(
        index.origin(14, 1, &masks),
        Origin::Derived,
        "and what is over it"
    );
}

#[test]
fn generated_columns_carry_what_they_read() {
    let mut catalog = shop();
    catalog.relations[0].generated = vec![(2, 4)];
    let (index, _) = LabelIndex::resolve(&catalog, &specs());
    let masks = MaskScope::all(&specs());
    assert_eq!(index.origin(10, 2, &masks), Origin::Masked(RedactSpec::Null));
}

#[test]
fn a_temporary_schema_is_any_of_them() {
    let mut catalog = shop();
    catalog
        .relations
        .push(relation(30, "pg_temp_4", "cards", b'v', &["number"], &[18]));
    let (index, _) = LabelIndex::resolve(&catalog, &specs());
    assert!(index.touches(&name("pg_temp.cards")) && !index.touches(&name("pg_tempo.cards")));
}

#[test]
fn a_label_that_lost_its_table_masks_every_newer_one() {
    let named = |oid, name: &str, columns: &[&str]| Catalog {
        relations: vec![
            relation(oid, "app", name, b'r', columns, &[]),
            relation(20_000, "app", "orders", b'r', &["id"], &[]),
        ],
        ..Catalog::default()
    };
    let labels = [LabelSpec {
        name: "pii".into(),
        columns: vec![("app".into(), "customers".into(), "ssn".into())],
        paths: Vec::new(),
        redact: RedactSpec::Blank,
    }];
    let masks = MaskScope::all(&labels);
    let (first, _) = LabelIndex::resolve(&named(20_001, "customers", &["id", "ssn"]), &labels);
    assert_eq!(first.origin(20_001, 2, &masks), Origin::Masked(RedactSpec::Blank));
    // Made anew elsewhere, and renamed before it was read: it may be any table that is newer.
    let (second, warnings) =
        LabelIndex::resolve_after(&named(20_009, "people", &["id", "ssn"]), &labels, Some(&first));
    assert_eq!(second.origin(20_009, 2, &masks), Origin::Masked(RedactSpec::Null));
    assert_eq!(
        second.origin(20_000, 1, &masks),
        Origin::Clear,
        "older tables are known"
    );
    assert!(
        warnings.iter().any(|warning| warning.contains("app.people")),
        "{warnings:?}"
    );
    let (third, _) =
        LabelIndex::resolve_after(&named(20_010, "people", &["id", "ssn"]), &labels, Some(&second));
    assert_eq!(
        third.origin(20_010, 1, &masks),
        Origin::Masked(RedactSpec::Null),
        "still lost"
    );
    let (found, _) = LabelIndex::resolve_after(&named(20_011, "customers", &["ssn"]), &labels, Some(&third));
    assert_eq!(found.origin(20_011, 1, &masks), Origin::Masked(RedactSpec::Blank));
    assert_eq!(found.origin(20_000, 1, &masks), Origin::Clear);
    // Suspicion ends with its reason, also for a table that stays.
    let mut both = named(20_010, "people", &["id", "ssn"]);
    both.relations
        .push(relation(20_011, "app", "customers", b'r', &["ssn"], &[]));
    let (found, _) = LabelIndex::resolve_after(&both, &labels, Some(&third));
    assert_eq!(found.origin(20_010, 1, &masks), Origin::Clear);
    assert_eq!(found.origin(20_011, 1, &masks), Origin::Masked(RedactSpec::Blank));
}

#[test]
fn a_foreign_table_may_show_anything() {
    let catalog = Catalog {
        relations: vec![relation(20_000, "app", "elsewhere", b'f', &["a", "b"], &[])],
        ..Catalog::default()
    };
    let (index, _) = LabelIndex::resolve(&catalog, &specs());
    let masks = MaskScope::all(&specs());
    assert_eq!(index.origin(20_000, 2, &masks), Origin::Masked(RedactSpec::Null));
}

#[test]
fn a_partition_made_anew_and_detached_keeps_its_marks() {
    let labels = [LabelSpec {
        name: "pii".into(),
        columns: vec![("app".into(), "visits".into(), "trail".into())],
        paths: Vec::new(),
        redact: RedactSpec::Blank,
    }];
    let masks = MaskScope::all(&labels);
    let shop = |parent, child, columns: &[&str], parents: &[u32]| Catalog {
        relations: vec![
            relation(parent, "app", "visits", b'p', &["id", "trail"], &[]),
            relation(child, "app", "visits_low", b'r', columns, parents),
        ],
        ..Catalog::default()
    };
    let (first, _) = LabelIndex::resolve(&shop(20_000, 20_001, &["id", "trail"], &[20_000]), &labels);
    assert_eq!(first.origin(20_001, 2, &masks), Origin::Masked(RedactSpec::Blank));
    let detached = shop(20_100, 20_101, &["trail", "id"], &[]);
    let (second, _) = LabelIndex::resolve_after(&detached, &labels, Some(&first));
    assert_eq!(
        second.origin(20_101, 1, &masks),
        Origin::Masked(RedactSpec::Blank)
    );
    assert_eq!(second.origin(20_101, 2, &masks), Origin::Clear);
}
