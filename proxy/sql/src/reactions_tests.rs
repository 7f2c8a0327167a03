//! What a statement does besides what it says, in a database whose foreign keys, views and functions are known. Each was seen
//! on a server first (`tests/differential`).

use linegate_identity::Effects;
use linegate_policy::catalog::{Cascade, Reactions};
use linegate_policy::{Catalog, Column, LabelIndex, Relation, Statement};

use super::{read, read_with};

fn relation(oid: u32, name: &str, kind: u8, sources: &[u32]) -> Relation {
    let column = |(number, name): (i16, &str)| Column {
        number,
        name: name.to_owned(),
        type_oid: 23,
    };
    let columns = (1..).zip(["id", "title"]).map(column).collect();
    Relation {
        sources: sources.to_vec(),
        ..Relation::new(oid, "app", name, kind, columns)
    }
}

/// `lines` points at `orders`, without an action; `open` shows `orders`, and `late` shows `open`; `counted` and, through it,
/// `shown` call `wipe`; `uses` goes with the rows of `parts_1`, a partition of `all_parts`.
fn index() -> LabelIndex {
    let key = Cascade {
        relation: 20_001,
        ..Cascade::default()
    };
    let catalog = Catalog {
        relations: vec![
            Relation {
                reactions: Reactions {
                    cascades: vec![key],
                    ..Reactions::default()
                },
                ..relation(20_000, "orders", b'r', &[])
            },
            relation(20_001, "lines", b'r', &[]),
            relation(20_002, "open", b'v', &[20_000]),
            relation(20_003, "late", b'v', &[20_002]),
            Relation {
                reactions: Reactions {
                    calls: true,
                    ..Reactions::default()
                },
                ..relation(20_004, "counted", b'v', &[20_001])
            },
            relation(20_005, "shown", b'v', &[20_004]),
            relation(20_006, "shapes", b'v', &[1259]),
            relation(20_007, "far_shapes", b'v', &[20_006]),
            relation(20_010, "all_parts", b'p', &[20_011]),
            Relation {
                reactions: Reactions {
                    cascades: vec![Cascade {
                        relation: 20_012,
                        deletes_on_delete: true,
                        ..key
                    }],
                    ..Reactions::default()
                },
                ..relation(20_011, "parts_1", b'r', &[20_010])
            },
            relation(20_012, "uses", b'r', &[]),
        ],
        user_functions: ["wipe".to_owned(), "title".to_owned()].into(),
        ..Catalog::default()
    };
    LabelIndex::resolve(&catalog, &[]).0
}

fn known(text: &str) -> Statement {
    read_with(text.as_bytes(), Some(&index()))
}

fn written(text: &str) -> String {
    let statement = known(text);
    let names: Vec<String> = statement.writes.iter().map(ToString::to_string).collect();
    format!("{}: {}", statement.effects, names.join(" "))
}

#[test]
fn truncate_empties_what_points_at_it() {
    assert_eq!(
        written("TRUNCATE app.orders CASCADE"),
        "truncate: app.lines app.orders"
    );
    assert_eq!(written("TRUNCATE app.lines"), "truncate: app.lines");
    assert_eq!(
        written("DELETE FROM app.orders"),
        "delete: app.orders",
        "a key without an action holds it back"
    );
}

#[test]
fn where_nothing_goes_along_cascade_may_be_restrict() {
    let weaker = |text: &str| known(text).leads.weaker;
    for text in [
        "DROP TABLE app.orders CASCADE",
        "TRUNCATE app.orders CASCADE",
        "ALTER TABLE app.lines DROP COLUMN title CASCADE",
        "DROP SCHEMA app CASCADE",
        "DROP TABLE app.all_parts CASCADE",
        "DROP VIEW app.shown CASCADE; DROP TABLE app.lines CASCADE",
    ] {
        assert_eq!(weaker(text), None, "{text}");
    }
    for (text, expected) in [
        ("DROP VIEW app.shown CASCADE", "DROP VIEW app.shown RESTRICT"),
        (
            "TRUNCATE app.orders, app.lines CASCADE",
            "TRUNCATE app.orders, app.lines RESTRICT",
        ),
        ("DROP SCHEMA empty CASCADE", "DROP SCHEMA empty RESTRICT"),
        ("DROP TYPE app.kind CASCADE", "DROP TYPE app.kind RESTRICT"),
    ] {
        assert_eq!(weaker(text).as_deref(), Some(expected));
    }
}

#[test]
fn keys_to_partitions_count_for_the_whole_table() {
    assert_eq!(
        written("DELETE FROM app.all_parts WHERE id = 1"),
        "delete: app.all_parts app.uses"
    );
    assert_eq!(
        written("UPDATE app.all_parts SET id = 1"),
        "update+delete: app.all_parts app.uses",
        "a row may move to another partition"
    );
    assert_eq!(written("UPDATE app.lines SET id = 1"), "update: app.lines");
}

#[test]
fn cascade_takes_along_what_depends_on_it() {
    assert_eq!(
        written("DROP TABLE app.orders CASCADE"),
        "drop: app.late app.lines app.open app.orders"
    );
    assert_eq!(written("DROP VIEW app.open CASCADE"), "drop: app.late app.open");
    assert_eq!(written("DROP TABLE app.orders"), "drop: app.orders");
    assert_eq!(
        written("ALTER TABLE app.orders DROP COLUMN title CASCADE"),
        "alter+drop: app.late app.lines app.open app.orders"
    );
    assert_eq!(
        written("ALTER TABLE app.lines DROP COLUMN title CASCADE"),
        "alter+drop: app.counted app.lines app.shown"
    );
    assert_eq!(
        written("ALTER TABLE app.shown DROP COLUMN title CASCADE"),
        "alter: app.shown"
    );
    let unknown = read(b"ALTER TABLE app.orders DROP COLUMN title CASCADE");
    assert_eq!(unknown.effects, Effects::ALTER.with(Effects::DROP));
}

#[test]
fn what_no_name_tells_is_opaque() {
    for text in [
        "DROP SCHEMA app CASCADE",
        "DROP TYPE app.kind CASCADE",
        "DROP FUNCTION app.wipe() CASCADE",
        "DROP OWNED BY somebody",
        "ALTER SCHEMA app RENAME TO other",
        "GRANT SELECT ON ALL TABLES IN SCHEMA app TO somebody",
        "ALTER DOMAIN app.d ADD CHECK (value NOT LIKE '1%')",
        "ALTER DOMAIN app.d SET NOT NULL",
        "ALTER DOMAIN app.d VALIDATE CONSTRAINT c",
        "ALTER TYPE app.kind ALTER ATTRIBUTE a TYPE text CASCADE",
        "SELECT brin_summarize_new_values('app.i')",
        "SELECT app.wipe()",
        "SELECT wipe(1)",
        "SELECT o.wipe FROM app.orders o",
        "SELECT (o).wipe FROM app.orders o",
        "SELECT * FROM app.counted",
        "SELECT * FROM app.shown",
        "UPDATE app.shown SET title = 'x'",
        "DELETE FROM app.orders WHERE id IN (SELECT id FROM shown)",
    ] {
        assert!(!known(text).opaque.is_empty(), "{text}");
    }
    for text in [
        "DROP TABLE app.orders CASCADE",
        "DROP SCHEMA app",
        "ALTER DOMAIN app.d DROP NOT NULL",
        "GRANT SELECT ON app.orders TO somebody",
        "SELECT o.title FROM app.orders o",
        "SELECT * FROM app.open",
        "SELECT lower('X')",
        "INSERT INTO app.lines VALUES (1)",
    ] {
        assert!(known(text).opaque.is_empty(), "{text}");
    }
}

#[test]
fn a_view_of_a_catalog_is_one() {
    for text in [
        "UPDATE app.shapes SET title = 1",
        "INSERT INTO app.far_shapes VALUES (1, 2)",
        "DELETE FROM far_shapes",
        "COPY app.shapes FROM STDIN",
    ] {
        let found = known(text);
        let expected = Effects::ALTER.with(Effects::ROLE).with(Effects::SET);
        assert!(found.effects.contains(expected), "{text}");
        assert!(!found.opaque.is_empty() && found.changes_catalog, "{text}");
    }
    assert!(known("SELECT * FROM app.far_shapes").opaque.is_empty());
    let copied = read(b"COPY pg_catalog.pg_auth_members FROM STDIN");
    assert!(copied.effects.contains(Effects::ROLE) && !copied.opaque.is_empty());
}

#[test]
fn a_lock_on_the_servers_own_catalogs_is_more_than_a_lock() {
    let catalog = Catalog {
        relations: vec![
            Relation::new(3256, "pg_catalog", "pg_policy", b'r', Vec::new()),
            relation(20_000, "orders", b'r', &[]),
            relation(20_001, "over", b'v', &[3256]),
            relation(20_002, "over_over", b'v', &[20_001]),
        ],
        ..Catalog::default()
    };
    let index = LabelIndex::resolve(&catalog, &[]).0;
    let effects = |text: &str| read_with(text.as_bytes(), Some(&index)).effects;
    for text in [
        "LOCK TABLE pg_catalog.pg_policy",
        "LOCK app.orders, pg_policy IN SHARE MODE",
        "LOCK app.over_over",
    ] {
        assert_eq!(effects(text), Effects::LOCK.with(Effects::SERVER), "{text}");
    }
    assert_eq!(effects("LOCK TABLE app.orders"), Effects::LOCK);
    let reads = Effects::SELECT.with(Effects::LOCK);
    assert_eq!(effects("SELECT * FROM app.orders FOR UPDATE"), reads);
    assert_eq!(
        effects("SELECT * FROM pg_policy FOR UPDATE"),
        reads.with(Effects::SERVER)
    );
    for (text, holds_up) in [
        ("SELECT 1 FROM app.over FOR SHARE", true),
        ("SELECT 1 FROM app.over", false),
        ("REINDEX TABLE pg_catalog.pg_policy", true),
        ("REINDEX TABLE pg_policy", true),
        ("REINDEX INDEX pg_class_oid_index", true),
        ("VACUUM FULL pg_policy", true),
        ("CLUSTER pg_policy USING pg_policy_oid_index", true),
        ("VACUUM pg_policy", false),
        ("ANALYZE pg_policy", false),
        ("REINDEX TABLE app.orders", false),
        ("VACUUM FULL orders", false),
    ] {
        assert_eq!(effects(text).contains(Effects::SERVER), holds_up, "{text}");
    }
    assert!(effects("SET allow_system_table_mods = on").contains(Effects::SERVER));
}

#[test]
fn what_calls_somebodys_functions_by_another_name_is_opaque() {
    let catalog = Catalog {
        relations: vec![relation(20_000, "orders", b'r', &[])],
        calling: ["=~=".to_owned(), "app.=".to_owned(), "mood".to_owned()].into(),
        ..Catalog::default()
    };
    let index = LabelIndex::resolve(&catalog, &[]).0;
    let found = |text: &str, code: &[&str]| {
        let code = crate::Recoded {
            used: code.iter().map(|name| (*name).to_owned()).collect(),
            ..crate::Recoded::default()
        };
        crate::read_beside(text.as_bytes(), Some(&index), &code).opaque
    };
    for text in [
        "SELECT 1 OPERATOR(app.=~=) 2",
        "SELECT 1 =~= ANY (SELECT id FROM app.orders)",
        "SELECT id FROM app.orders ORDER BY id USING =~=",
        "SELECT CASE 1 WHEN 2 THEN 3 END OPERATOR(app.=) 4",
        "SELECT 'x'::app.mood",
        "SELECT '{x}'::mood[]",
        "SELECT CAST(title AS app.\"MOOD\") FROM app.orders",
        "SELECT app.unheard_of(id) FROM app.orders",
    ] {
        assert_eq!(found(text, &[]), [super::FUNCTION], "{text}");
    }
    for text in [
        "SELECT f(1)",
        "SELECT (o).f FROM app.orders o",
        "SELECT o.f FROM app.orders o",
        "SELECT 1 <<< 2",
        "SELECT 'x'::app.color",
        "TABLE app.fresh",
        "INSERT INTO app.fresh VALUES (1)",
    ] {
        let names = ["f", "<<<", "color", "fresh"];
        assert!(found(text, &names).contains(&super::OPEN_CODE), "{text}");
        assert!(!found(text, &["other"]).contains(&super::OPEN_CODE), "{text}");
        assert!(found(text, &["*"]).contains(&super::OPEN_CODE), "{text}");
    }
    for text in [
        "SELECT CASE id WHEN 2 THEN 3 END FROM app.orders",
        "SELECT 1 IN (SELECT id FROM app.orders)",
    ] {
        assert_eq!(found(text, &["="]), [super::OPEN_CODE], "{text}");
        assert!(found(text, &["other"]).is_empty(), "{text}");
    }
    for text in [
        "COMMIT",
        "SET search_path = app",
        "SHOW search_path",
        "SELECT 1 = 2, 'x'::text",
    ] {
        assert!(found(text, &["other"]).is_empty(), "{text}");
    }
    assert!(found("COMMIT", &["*"]).is_empty());
    let changed = crate::Recoded {
        changed: ["orders".to_owned()].into(),
        ..crate::Recoded::default()
    };
    let found = |text: &str| crate::read_beside(text.as_bytes(), Some(&index), &changed).opaque;
    assert_eq!(found("DELETE FROM app.\"Orders\""), [super::OPEN_CODE]);
    assert!(found("SELECT id FROM app.orders").is_empty());
}

#[test]
fn what_happens_to_a_schema_happens_to_what_is_in_it() {
    for text in ["DROP SCHEMA app CASCADE", "ALTER SCHEMA app RENAME TO other"] {
        let writes = known(text).writes;
        for name in ["orders", "lines", "late"] {
            assert!(writes.iter().any(|written| written.name == name), "{text}");
        }
        assert!(
            !known(&text.replace("app", "elsewhere"))
                .writes
                .iter()
                .any(|name| name.name == "orders")
        );
    }
}
