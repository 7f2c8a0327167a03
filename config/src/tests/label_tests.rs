//! Checks of labels, groups and policies, one mistake each.

use super::{accepted, beside_target, check, target_without};

#[test]
fn every_check_of_labels() {
    let label = |lines: &str| beside_target(&format!("[[label]]\nname='pii'\ntarget='prod'\n{lines}"));
    check(
        &label("columns=['a.b.c']").replace("target='prod'", "target='prd'"),
        9,
        "there is no target `prd`",
        "did you mean `prod`?",
    );
    check(
        &label("columns=['a.b.c']").replace("target='prod'", "target='other'"),
        9,
        "there is no target `other`",
        "`prod`",
    );
    check(
        "[[label]]\nname='pii'\ntarget='prod'\ncolumns=['a.b.c']",
        3,
        "there is no target `prod`",
        "no [[target]]",
    );
    check(&label(""), 7, "[[label]] has no `columns`", "schema.table.column");
    check(&label("columns=[]"), 10, "`columns` is empty", "");
    check(&label("columns='a.b.c'"), 10, "must be a list of texts", "");
    check(
        &label("columns=[1]"),
        10,
        "must be a list of texts, but is a whole number",
        "",
    );
    check(
        &label("columns=['a.b.c', '']"),
        10,
        "is empty or holds a control character",
        "",
    );
    for (column, hint) in [
        ("b.c", "schema, table and column"),
        ("a.b.c.d", "schema, table and column"),
        ("a.b.*", "name each column"),
        ("a.B.c", "small letters"),
        ("a..c", "schema, table and column"),
        ("a.b c.d", "double quotes"),
        ("a.\"b.c", "open"),
        ("a.\"\".c", "empty"),
        ("a.\"b\"x.c", "after a closing quote"),
    ] {
        check(
            &label(&format!("columns=['{column}']")),
            10,
            "is not a column",
            hint,
        );
    }
    for redact in ["keep-last-0", "keep-last-9", "keep-last-", "keep-last-256"] {
        check(
            &label(&format!("columns=['a.b.c']\nredact='{redact}'")),
            11,
            "impossible number",
            "keep-last-8",
        );
    }
    check(
        &label("columns=['a.b.c']\nredact='hash'"),
        11,
        "`redact` cannot be `hash`",
        "keep-last-N",
    );
    check(
        &label("columns=['a.b.c']\npaths=['$.x']"),
        11,
        "`paths` need a `redact` that fits",
        "`redact = \"null\"`",
    );
    check(
        &label("columns=['a.b.c']\npaths=['$.x']\nredact='keep-last-4'"),
        11,
        "`paths` need",
        "pseudonym",
    );
    check(
        &label("columns=['a.b.c']\npaths=['x']\nredact='null'"),
        11,
        "`x` is not a JSON path",
        "$.home",
    );
    for redact in ["null", "blank", "pseudonym", "constant:x"] {
        let text = label(&format!("columns=['a.b.c']\npaths=['$.x[*]']\nredact='{redact}'"));
        assert_eq!(accepted(&text).labels[0].redact.to_string(), redact);
    }
    check(
        &label("columns=['a.b.c']\nredact='round:one'"),
        11,
        "`round:one` names no step",
        "round:1000",
    );
    check(
        &label("columns=['a.b.c']\npaths=[]\nredact='null'"),
        11,
        "`paths` is empty",
        "",
    );
    check(
        &label("columns=['a.b.c', 'a.b.c']"),
        10,
        "`a.b.c` has label `pii` on line 10 already",
        "",
    );
    let second = |redact: &str| {
        format!(
            "columns=['a.b.c']\n[[label]]\nname='other'\ntarget='prod'\ncolumns=['a.b.c']\nredact='{redact}'"
        )
    };
    check(
        &label(&second("null")),
        14,
        "`a.b.c` is `blank` on line 10 but `null` here",
        "one redaction",
    );
    assert_eq!(accepted(&label(&second("blank"))).labels.len(), 2);
    let paths = "columns=['a.b.c']\nredact='null'\npaths=['$.x']\n[[label]]\nname='pii'\ntarget='prod'\ncolumns=['a.b.c']\nredact='null'\npaths=['$.y']";
    assert_eq!(accepted(&label(paths)).labels.len(), 2);
    // A target that could not be read is not also missed by its labels.
    let unnamed = format!(
        "{}[[label]]\nname='pii'\ntarget='prod'\ncolumns=['a.b.c']",
        target_without("name", "")
    );
    check(&unnamed, 1, "[[target]] has no `name`", "");
}

#[test]
fn every_check_of_groups_and_policy() {
    let group = |members: &str| format!("[[group]]\nname='oncall'\nmembers={members}");
    assert!(accepted(&group("[]")).groups[0].members.is_empty());
    for member in ["oncall", "user:", "team:x", ":x"] {
        check(
            &group(&format!("['{member}']")),
            3,
            "is not a member",
            "user:NAME",
        );
    }
    check(
        &group("['user:a', 'user:a']"),
        3,
        "`user:a` is a member twice",
        "",
    );
    check("[[group]]\nname='oncall'", 1, "[[group]] has no `members`", "");
    check("[[group]]\nmembers=[]", 1, "[[group]] has no `name`", "");
    check(
        &format!("{}\n{}", group("[]"), group("[]")),
        5,
        "`oncall` is a group's name on line 2 already",
        "",
    );
    check("[policy]", 1, "[policy] has no `files`", "policies/*.cedar");
    check("[policy]\nfiles = []", 2, "`files` is empty", "");
    check(
        "[policy]\nfiles = ['*/a.cedar']",
        2,
        "not a path of policy files",
        "last part only",
    );
    check(
        "[policy]\nfiles = ['a?.cedar']",
        2,
        "not a path of policy files",
        "only wildcard",
    );
    check(
        "[policy]\nfiles = ['policies/']",
        2,
        "not a path of policy files",
        "name files",
    );
}
