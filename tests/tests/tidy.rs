//! The house stays in order: what STYLE asks of every file, and what the map of the repository promises.

use std::fs;
use std::path::{Path, PathBuf};

use linegate_tests::places::repository;

/// The longest source file, in lines; beyond it a module has more than one job.
const LINES_MAX: usize = 700;

/// The longest file of tests: cases are read one at a time.
const TEST_LINES_MAX: usize = 1200;

/// Files outside `masking-simd` that may hold unsafe code; each says at the block why it is sound.
const UNSAFE_ALLOWED: [&str; 5] = [
    "proxy/cli/src/parent_death.rs",
    "proxy/sql/src/parse.rs",
    "proxy/src/alloc.rs",
    "proxy/src/rt/net.rs",
    "proxy/src/slab.rs",
];

/// The top level of the repository, as README and DESIGN fix it.
const TOP: [&str; 8] = [
    "Cargo.toml",
    "proxy",
    "codecs",
    "masking-simd",
    "bench",
    "loadtest",
    "appliance-image",
    "config",
];

fn sources() -> Vec<(String, String)> {
    let root = repository();
    let mut found = Vec::new();
    walk(&root, &root, &mut found);
    assert!(found.len() > 40, "the sources were not found: {}", found.len());
    found.sort();
    found
}

fn walk(root: &Path, dir: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).expect("a readable directory").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if name.to_string_lossy().starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            walk(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("sources are UTF-8");
            let relative = path
                .strip_prefix(root)
                .expect("below the root")
                .to_string_lossy()
                .into_owned();
            found.push((relative, text));
        }
    }
}

/// A module of unit tests in a file of its own.
fn is_tests(path: &str) -> bool {
    path.contains("src/") && (path.ends_with("/tests.rs") || path.ends_with("_tests.rs"))
}

/// Reports every file that breaks a rule, so that one run shows them all.
fn none(what: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{what}:\n  {}", broken.join("\n  "));
}

#[test]
fn no_file_has_more_than_one_job() {
    let long = sources().into_iter().filter_map(|(path, text)| {
        let lines = text.lines().count();
        let max = if is_tests(&path) {
            TEST_LINES_MAX
        } else {
            LINES_MAX
        };
        (path.contains("src/") && lines > max).then(|| format!("{path}: {lines} lines"))
    });
    none("files that are too long", long.collect());
}

#[test]
fn every_file_opens_by_saying_what_it_is_for() {
    let silent = sources()
        .into_iter()
        .filter(|(path, text)| !text.starts_with("//!") && !is_tests(path));
    none(
        "files that do not begin with `//!`",
        silent.map(|(path, _)| path).collect(),
    );
}

#[test]
fn unsafe_code_stays_in_its_places() {
    let stray = sources().into_iter().filter_map(|(path, text)| {
        let allowed =
            path.starts_with("masking-simd/") || UNSAFE_ALLOWED.iter().any(|one| path.starts_with(one));
        let line = text
            .lines()
            .position(|line| is_code_with(line, &["unsafe ", "unsafe{"]))?;
        (!allowed).then(|| format!("{path}:{}", line + 1))
    });
    none("unsafe code outside its places", stray.collect());
    let root = repository();
    let stale = UNSAFE_ALLOWED.iter().filter(|path| {
        let text = fs::read_to_string(root.join(path)).unwrap_or_default();
        !text
            .lines()
            .any(|line| is_code_with(line, &["unsafe ", "unsafe{"]))
    });
    none(
        "allowed, but without unsafe code",
        stale.map(|path| (*path).to_owned()).collect(),
    );
}

#[test]
fn nothing_is_left_to_do_or_to_debug() {
    // In pieces, so that this file does not break its own rule.
    let words = ["todo", "unimplemented", "dbg"].map(|word| format!("{word}!("));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let marks = ["FIX", "TO"]
        .into_iter()
        .zip(["ME", "DO"])
        .map(|(a, b)| format!("{a}{b}"))
        .collect::<Vec<_>>();
    let mut left = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            let marked = marks.iter().any(|mark| line.contains(&format!("// {mark}")));
            if is_code_with(line, &words) || marked {
                left.push(format!("{path}:{}", number + 1));
            }
        }
    }
    none("work left in the sources", left);
}

#[test]
fn codecs_has_no_dependencies_no_io_and_no_unsafe() {
    let manifest = fs::read_to_string(repository().join("codecs/Cargo.toml")).expect("the crate is there");
    let section = manifest.split("[dependencies]").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let named: Vec<&str> = section.lines().filter(|line| line.contains('=')).collect();
    assert!(named.is_empty(), "codecs depends on {named:?}");
    let io = [
        "std::net",
        "std::fs",
        "std::time",
        "std::thread",
        "std::env",
        "async fn",
        "unsafe ",
    ];
    let stray = sources().into_iter().filter_map(|(path, text)| {
        let outside_tests = text.split("#[cfg(test)]").next().unwrap_or_default();
        let line = outside_tests.lines().position(|line| is_code_with(line, &io))?;
        path.starts_with("codecs/src/")
            .then(|| format!("{path}:{}", line + 1))
    });
    none("I/O, clocks or async in codecs", stray.collect());
}

#[test]
fn the_data_path_does_not_look_at_people_or_tests() {
    let manifest = fs::read_to_string(repository().join("proxy/Cargo.toml")).expect("the crate is there");
    for foreign in [
        "axum",
        "hyper",
        "reqwest",
        "rusqlite",
        "tokio",
        "linegate-control",
        "linegate-tests",
    ] {
        let depends = manifest.lines().any(|line| {
            line.split(['.', ' ', '='])
                .next()
                .is_some_and(|name| name == foreign)
        });
        assert!(!depends, "the process that carries rows depends on {foreign}");
    }
    let pure = ["proxy/policy", "proxy/sql", "proxy/identity", "config"];
    for name in pure {
        let manifest =
            fs::read_to_string(repository().join(name).join("Cargo.toml")).expect("the crate is there");
        assert!(
            !manifest.contains("tokio") && !manifest.contains("monoio"),
            "{name} is pure"
        );
    }
}

#[test]
fn the_top_level_is_what_the_map_says() {
    let root = repository();
    let files = [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "LICENSE",
        "Makefile",
        ".ci/run",
        "deny.toml",
        "tests",
    ];
    let missing = TOP.iter().chain(&files).filter(|name| !root.join(name).exists());
    none(
        "missing from the top level",
        missing.map(|name| (*name).to_owned()).collect(),
    );
    // A folder whose capability is not built yet holds a README that says what comes, and no empty crate.
    for name in ["bench", "loadtest", "appliance-image"] {
        let folder = root.join(name);
        assert!(folder.join("README.md").is_file(), "{name} has no README.md");
        let readme = fs::read_to_string(folder.join("README.md")).expect("readable");
        assert!(!readme.trim().is_empty(), "{name}/README.md is empty");
        if folder.join("Cargo.toml").exists() {
            assert!(has_sources(&folder), "{name} is an empty crate");
        }
    }
    let license = fs::read_to_string(root.join("LICENSE")).expect("readable");
    assert!(license.contains("Apache License") && license.contains("Version 2.0"));
}

#[test]
fn every_crate_takes_part_in_the_workspaces_rules() {
    for manifest in manifests() {
        let text = fs::read_to_string(&manifest).expect("readable");
        let place = manifest.display();
        assert!(
            text.contains("[lints]\nworkspace = true"),
            "{place} does not take the workspace's lints"
        );
        for key in ["edition", "rust-version", "license"] {
            assert!(
                text.contains(&format!("{key}.workspace = true")),
                "{place} has a {key} of its own"
            );
        }
        let own_crate = manifest.parent().expect("a directory").join("src");
        assert!(
            fs::read_dir(&own_crate).is_ok_and(|dir| dir.count() > 0),
            "{place} is an empty crate"
        );
    }
}

fn manifests() -> Vec<PathBuf> {
    let root = repository();
    let text = fs::read_to_string(root.join("Cargo.toml")).expect("readable");
    let members = text
        .split("members = [")
        .nth(1)
        .and_then(|rest| rest.split(']').next())
        .expect("a workspace");
    let members = members
        .split(',')
        .map(|name| name.trim().trim_matches('"'))
        .filter(|name| !name.is_empty());
    members.map(|name| root.join(name).join("Cargo.toml")).collect()
}

fn has_sources(folder: &Path) -> bool {
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    !found.is_empty()
}

/// Whether a line holds one of these outside a comment and outside a string.
fn is_code_with(line: &str, words: &[&str]) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    words.iter().any(|word| {
        code.find(word).is_some_and(|at| {
            let before = &code[..at];
            let starts_word = !before
                .chars()
                .next_back()
                .is_some_and(|c| c.is_alphanumeric() || c == '_');
            starts_word && before.matches('"').count().is_multiple_of(2)
        })
    })
}
