//! docs/compliance.md says the truth: every requirement is in it, and every test that it names exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::borders::{files, root};

/// The families of identifiers, with the first and last number of each.
const FAMILIES: [(&str, u32, u32); 21] = [
    ("CONST", 1, 8),
    ("SID", 1, 10),
    ("MSG", 0, 17),
    ("OPT", 1, 14),
    ("OBJ", 1, 11),
    ("DISC", 1, 13),
    ("RESP", 1, 13),
    ("DREL", 1, 12),
    ("DIV", 1, 2),
    ("CACHE", 1, 4),
    ("NEG", 1, 13),
    ("END", 1, 8),
    ("SYN", 1, 5),
    ("FLO", 1, 7),
    ("FLR", 1, 7),
    ("FREL", 1, 6),
    ("DULL", 1, 9),
    ("RAP", 1, 6),
    ("SIZE", 1, 4),
    ("SEC", 1, 2),
    ("ROB", 1, 4),
];

/// A row of the table.
struct Row {
    id: String,
    status: String,
    source: String,
    tests: Vec<String>,
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(root().join("docs/compliance.md")).expect("docs/compliance.md");
    let lines = text.lines().filter(|line| line.starts_with("| C-"));
    lines
        .map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [id, _, _, status, source, tests] = cells[..] else { panic!("not six cells: {line}") };
            Row {
                id: id.to_owned(),
                status: status.to_owned(),
                source: source.to_owned(),
                tests: tests.split('`').skip(1).step_by(2).map(str::to_owned).collect(),
            }
        })
        .collect()
}

/// The names of all test functions, and in which files they are.
fn tests() -> Vec<(String, String)> {
    ["src", "grasptests"].into_iter().flat_map(tests_in).collect()
}

fn tests_in(directory: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (path, text) in files(directory) {
        for behind in text.split("#[test]").skip(1) {
            let name = behind.split("fn ").nth(1).and_then(|rest| rest.split('(').next());
            found.extend(name.map(|name| (name.trim().to_owned(), path.clone())));
        }
    }
    found
}

#[test]
fn every_requirement_is_listed_once() {
    let expected: Vec<String> = FAMILIES
        .iter()
        .flat_map(|(family, first, last)| {
            (*first..=*last).map(move |number| format!("C-{family}-{number:02}"))
        })
        .collect();
    let listed: Vec<String> = rows().into_iter().map(|row| row.id).collect();
    assert_eq!(listed, expected);
}

#[test]
fn every_test_that_is_named_exists() {
    let known: BTreeSet<_> = tests().into_iter().map(|(name, _)| name).collect();
    for row in rows() {
        for test in &row.tests {
            assert!(known.contains(test), "{}: there is no test {test}", row.id);
        }
    }
}

/// Other names in code have fewer words.
#[test]
fn every_test_that_a_document_on_security_names_exists() {
    let directories = ["src", "grasptests", "asa_examples"];
    let known: BTreeSet<_> = directories.into_iter().flat_map(tests_in).map(|(name, _)| name).collect();
    for document in ["SECURITY.md", "docs/security.md", "docs/domain-profile.md", "docs/compliance.md"] {
        let text = fs::read_to_string(root().join(document)).expect(document);
        let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
        let is_test = |word: &&str| {
            word.matches('_').count() >= 4
                && word.chars().all(|character| character == '_' || character.is_ascii_alphanumeric())
        };
        let named: Vec<_> = quoted.filter(is_test).collect();
        assert!(!named.is_empty(), "{document}");
        for test in named {
            assert!(known.contains(test), "{document}: there is no test {test}");
        }
    }
}

#[test]
fn what_is_fulfilled_has_a_source_and_a_test_and_what_is_not_has_a_reason() {
    for Row { id, status, source, tests } in rows() {
        match status.split_once(": ") {
            None => {
                assert_eq!(status, "yes", "{id}");
                assert!(!tests.is_empty(), "{id} has no test");
            }
            Some((kind, why)) => {
                assert!(["not applicable", "not yet"].contains(&kind) && why.len() > 3, "{id}: {status}");
            }
        }
        for file in source.split('`').skip(1).step_by(2) {
            assert!(root().join(file).is_file(), "{id}: there is no {file}");
        }
    }
}

/// The other way round: a test that bears the name of a requirement is in its row.
#[test]
fn every_test_named_after_a_requirement_is_listed() {
    let rows = rows();
    for (name, path) in
        tests().into_iter().filter(|(_, path)| path.starts_with("grasptests/tests/conformance/"))
    {
        let mut words = name.split('_');
        let (Some("c"), Some(family), Some(number)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let id = format!("C-{}-{number}", family.to_uppercase());
        let row = rows.iter().find(|row| row.id == id);
        assert!(row.is_some_and(|row| row.tests.contains(&name)), "{id} does not list {name} of {path}");
    }
}

/// A file that no module names would not be compiled, and nobody would miss its tests.
#[test]
fn every_file_of_the_tests_belongs_to_a_test_program() {
    for directory in ["grasptests/tests", "grasptests/lab/tests", "asa_examples/tests"] {
        let all: BTreeMap<_, _> = files(directory).into_iter().collect();
        for path in all.keys() {
            let (folder, name) = path.rsplit_once('/').expect("a file in a folder");
            let (folder, name) = match name {
                "main.rs" => continue,
                "mod.rs" => folder.rsplit_once('/').expect("a module in a folder"),
                _ => (folder, name.trim_end_matches(".rs")),
            };
            let parents = ["main.rs", "mod.rs"].map(|parent| all.get(&format!("{folder}/{parent}")));
            let named = parents
                .into_iter()
                .flatten()
                .any(|text| text.lines().any(|line| line.ends_with(&format!("mod {name};"))));
            assert!(named, "{path} is in no module");
        }
    }
}
