//! Documents lose the values at their paths and nothing else.

use proptest::prelude::*;

use super::*;
use crate::redact::key::Use;

fn paths(paths: &[&[&str]]) -> Paths {
    let paths: Vec<Vec<String>> = paths
        .iter()
        .map(|path| path.iter().map(|step| (*step).to_owned()).collect())
        .collect();
    Paths::new(&paths).expect("few paths")
}

fn redacted(wanted: &[&[&str]], filler: &Filler, document: &str) -> Option<String> {
    let given = |kind, is_binary, cell: &[u8]| {
        let mut out = b"before".to_vec();
        redact(Form { kind, is_binary }, &paths(wanted), filler, cell, &mut out)?;
        assert!(out.starts_with(b"before"));
        Some(out.split_off(6))
    };
    let text = given(Kind::Json, false, document.as_bytes());
    assert_eq!(given(Kind::Json, true, document.as_bytes()), text);
    assert_eq!(given(Kind::Jsonb, false, document.as_bytes()), text);
    let binary = given(Kind::Jsonb, true, &[b"\x01", document.as_bytes()].concat());
    let with_version = text.as_ref().map(|text| [b"\x01", text.as_slice()].concat());
    assert_eq!(binary, with_version);
    text.map(|text| String::from_utf8(text).expect("UTF-8"))
}

fn nulled(wanted: &[&[&str]], document: &str) -> Option<String> {
    redacted(wanted, &Filler::Plain(Fill::Null), document)
}

#[test]
fn values_at_paths_go_and_the_rest_stays_byte_for_byte() {
    let cases: [(&[&[&str]], &str, &str); 16] = [
        (
            &[&["a"]],
            r#"{"a": 1, "b" : [1,2 ]}"#,
            r#"{"a": null, "b" : [1,2 ]}"#,
        ),
        (
            &[&["a"]],
            r#"{"b":{"a":1},"a":{"x":[{}]}}"#,
            r#"{"b":{"a":1},"a":null}"#,
        ),
        (
            &[&["h", "s"]],
            r#"{"h": {"s": "x", "t": 1}}"#,
            r#"{"h": {"s": null, "t": 1}}"#,
        ),
        (
            &[&["h", "s"], &["t"]],
            r#" { "t" : "x" , "h":{"s":"y"}}  "#,
            r#" { "t" : null , "h":{"s":null}}  "#,
        ),
        (
            &[&["l", "[*]"]],
            r#"{"l": [1, "two", {"c": 3}]}"#,
            r#"{"l": [null, null, null]}"#,
        ),
        (
            &[&["l", "[*]", "c"]],
            r#"{"l": [{"c": 1, "d": 2}, {"d": 3}]}"#,
            r#"{"l": [{"c": null, "d": 2}, {"d": 3}]}"#,
        ),
        (&[&["[*]"]], "[1,[2],null]", "[null,null,null]"),
        (&[&[]], r#"{"a": 1}"#, "null"),
        (&[&["zz"]], r#"{"a": "zz"}"#, r#"{"a": "zz"}"#),
        // Names are compared by their characters, however they are spelled.
        (
            &[&["tax_id"]],
            r#"{"tax\u005fid": 1}"#,
            r#"{"tax\u005fid": null}"#,
        ),
        (
            &[&["größe\n😀"]],
            r#"{"gr\u00f6ße\n\ud83d\ude00": 1}"#,
            r#"{"gr\u00f6ße\n\ud83d\ude00": null}"#,
        ),
        (&[&["a"]], r#"{"a":1,"a":2}"#, r#"{"a":null,"a":null}"#),
        // Doubt replaces more.
        (
            &[&["h", "s"]],
            r#"{"h":[{"s":1},[{"s":2,"t":3}]]}"#,
            r#"{"h":[{"s":null},[{"s":null,"t":3}]]}"#,
        ),
        (
            &[&["l", "[*]", "c"]],
            r#"{"l": {"c": 1, "d": 2}}"#,
            r#"{"l": {"c": null, "d": 2}}"#,
        ),
        (
            &[&["h", "s"]],
            r#"{"h": "{\"s\": 1}", "s": 2}"#,
            r#"{"h": null, "s": 2}"#,
        ),
        (&[&["h", "s"]], r#""text""#, "null"),
    ];
    for (wanted, document, expected) in cases {
        assert_eq!(nulled(wanted, document).as_deref(), Some(expected), "{document}");
    }
}

#[test]
fn what_is_not_one_document_is_not_shown() {
    let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let odd = [
        "",
        " ",
        "{",
        "[1",
        "[1,]",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{a:1}",
        "1 2",
        "01",
        "1.",
        "1e",
        "-",
        "+1",
        "tru",
        "\"a",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"a\nb\"",
        "'a'",
        "[1}",
        "{]",
        "nul",
        "[1]]",
        "\u{feff}1",
        "NaN",
        ".5",
        &deep(201),
    ];
    for document in odd {
        assert_eq!(nulled(&[&["zz"]], document), None, "{document}");
        assert!(!is_document(document.as_bytes()), "{document}");
    }
    assert!(nulled(&[&["zz"]], &deep(200)).is_some());
    let form = |is_binary| Form {
        kind: Kind::Jsonb,
        is_binary,
    };
    let filler = Filler::Plain(Fill::Null);
    let mut out = Vec::new();
    for cell in [&b""[..], b"{}", b"\x02{}", b"\x00{}"] {
        assert_eq!(
            redact(form(true), &paths(&[&["a"]]), &filler, cell, &mut out),
            None
        );
    }
    assert_eq!(
        redact(form(false), &paths(&[&["a"]]), &filler, b"\"\xff\"", &mut out),
        None,
        "not UTF-8"
    );
}

#[test]
fn fillers_keep_what_they_promise() {
    let document = r#"{"a": "J\u00f6rg", "b": "Jörg", "n": -1.5, "t": true, "o": {}, "z": null, "": "x"}"#;
    let all: &[&[&str]] = &[&["a"], &["b"], &["n"], &["t"], &["o"], &["z"]];
    assert_eq!(
        redacted(all, &Filler::Plain(Fill::Blank), document).as_deref(),
        Some(r#"{"a": "*********", "b": "*****", "n": null, "t": null, "o": null, "z": null, "": "x"}"#)
    );
    assert_eq!(
        redacted(all, &Filler::constant("\"\\\n"), document).as_deref(),
        Some(
            r#"{"a": "\"\\\u000a", "b": "\"\\\u000a", "n": "\"\\\u000a", "t": "\"\\\u000a", "o": "\"\\\u000a", "z": null, "": "x"}"#
        )
    );
    let key = Key::derive(&[5; 32], Use::Text);
    let mut token = Vec::new();
    write_token(&mut key.derived("Jörg".as_bytes()), &mut token);
    let token = String::from_utf8(token).expect("ASCII");
    let given = redacted(all, &Filler::Token(key), document).expect("a document");
    assert!(
        given.starts_with(&format!(r#"{{"a": "{token}", "b": "{token}", "n": ""#)),
        "{given}"
    );
    assert!(
        given.ends_with(r#""t": null, "o": null, "z": null, "": "x"}"#),
        "{given}"
    );
}

#[test]
fn growth_and_paths_are_bounded() {
    let many = format!("[{}]", ["1"; 1000].join(","));
    assert!(nulled(&[&["[*]"]], &many).is_some(), "null for a digit");
    let key = Key::derive(&[5; 32], Use::Text);
    assert_eq!(
        redacted(&[&["[*]"]], &Filler::Token(key), &many),
        None,
        "a token for a digit"
    );
    assert_eq!(Paths::new(&[]), None);
    assert_eq!(Paths::new(&vec![vec!["a".to_owned()]; PATHS_MAX + 1]), None);
    assert_eq!(Paths::new(&[vec!["a".to_owned(); STEPS_MAX + 1]]), None);
    let longest = vec!["a".to_owned(); STEPS_MAX];
    assert!(Paths::new(&vec![longest; PATHS_MAX]).is_some());
}

/// A document and where a secret is in it.
fn document() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        (-1e6..1e6_f64).prop_map(|number| number.to_string()),
        "[a-zA-Zö ]{0,8}".prop_map(|text| format!("\"{text}\"")),
        Just("\"SECRET\\u0020VALUE\"".to_owned()),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(|all| format!("[{}]", all.join(", "))),
            proptest::collection::vec(("[abc]", inner), 0..4).prop_map(|all| {
                let members: Vec<_> = all
                    .iter()
                    .map(|(name, value)| format!("\"{name}\" :{value}"))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

/// Byte positions of `"name" :` in a document.
fn has_member(document: &str, name: &str) -> bool {
    document.contains(&format!("\"{name}\" :"))
}

proptest! {
    #[test]
    fn documents_stay_documents(document in document(), deep in any::<bool>()) {
        let wanted: &[&[&str]] = if deep { &[&["a", "b"], &["c", "[*]"]] } else { &[&["a"]] };
        let given = nulled(wanted, &document).expect("a document");
        prop_assert!(is_document(given.as_bytes()));
        prop_assert_eq!(nulled(wanted, &given), Some(given.clone()), "what is gone is gone");
        if !has_member(&document, "a") && !has_member(&document, "c") && document.starts_with('{') {
            prop_assert_eq!(given, document);
        }
    }

    #[test]
    fn a_value_under_the_name_is_gone(secret in "[a-zA-Z0-9]{6,12}", around in document(), pad in " {0,2}") {
        let document = format!("{{\"x\":{around},\"a\"{pad}:{pad}{{\"k\":[\"{secret}\"]}}}}");
        let given = nulled(&[&["a"]], &document).expect("a document");
        prop_assert!(!given.contains(&secret) || around.contains(&secret));
        let given = redacted(&[&["a"]], &Filler::Plain(Fill::Blank), &document).expect("a document");
        prop_assert!(!given.contains(&secret) || around.contains(&secret));
    }

    #[test]
    fn noise_never_panics(cell: Vec<u8>, text in "[\\[\\]{}:,\"\\\\u0-9a-c tn]{0,40}") {
        for form in [(Kind::Json, false), (Kind::Jsonb, true)].map(|(kind, is_binary)| Form { kind, is_binary }) {
            for cell in [cell.as_slice(), text.as_bytes()] {
                let _ = redact(form, &paths(&[&["a"], &["b", "[*]", "c"]]), &Filler::Plain(Fill::Blank), cell, &mut Vec::new());
            }
        }
    }
}
