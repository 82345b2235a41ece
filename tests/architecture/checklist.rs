//! `tests/conformance.md` against the tests that it names, and what comments cite of it and of the decisions.

use crate::source::collect;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Rows of endpoints that are not hosted (D19).
const LEFT_OUT: [u32; 5] = [136, 154, 155, 163, 164];

/// The numbers that must stand in the list, each once.
fn numbers() -> Vec<String> {
    let protocol = (1..=188).filter(|number| !LEFT_OUT.contains(number)).map(|number| number.to_string());
    let lettered = [("P", 10), ("C", 15), ("B", 20)];
    let lettered =
        lettered.iter().flat_map(|(letter, last)| (1..=*last).map(move |n| format!("{letter}{n}")));
    protocol.chain(lettered).collect()
}

/// One line of the list.
struct Row<'a> {
    number: &'a str,
    level: &'a str,
    requirement: &'a str,
    shown: &'a str,
}

/// Every line of a table but its head; one that has not five cells has no number.
fn rows(list: &str) -> impl Iterator<Item = Row<'_>> {
    list.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        let row = match cells[..] {
            [number, _source, level, requirement, shown] => Row { number, level, requirement, shown },
            _ => Row { number: line, level: "", requirement: "", shown: "" },
        };
        (row.number != "#").then_some(row)
    })
}

/// Whether a file below `root` has a test of this name that is not ignored.
fn exists(root: &Path, file: &str, name: &str) -> bool {
    let text = fs::read_to_string(root.join(file)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let defines = |line: &&str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("fn ").and_then(|l| l.strip_prefix(name)).is_some_and(|rest| rest.starts_with('('))
    };
    let Some(at) = lines.iter().position(defines) else { return false };
    // `test! {` is the macro of src/hsm/tests, which gives each test a process of its own.
    let above = lines
        .iter()
        .take(at)
        .rev()
        .take_while(|l| l.starts_with("#[") || l.starts_with("//") || **l == "test! {");
    let above: Vec<&str> = above.copied().collect();
    above.iter().any(|l| l.contains("test]") || l.contains("tokio::test") || *l == "test! {")
        && !above.iter().any(|l| l.starts_with("#[ignore"))
}

/// The findings in the list, one sentence each.
fn mistakes(root: &Path, list: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut missing: BTreeSet<String> = numbers().into_iter().collect();
    for Row { number, level, requirement, shown } in rows(list) {
        let mut wrong = |what: String| found.push(format!("row {number}: {what}"));
        if !missing.remove(number) {
            wrong("stands twice, or is no number of the list".to_owned());
        }
        if !["M", "S", "O", "X"].contains(&level) || requirement.is_empty() {
            wrong(format!("expected a level and a requirement, found {level:?}, {requirement:?}"));
        }
        let tests: Vec<_> = shown.split('`').filter_map(|text| text.rsplit_once("::")).collect();
        let reason = shown.strip_prefix("no test: ").is_some_and(|why| why.len() > 10);
        if tests.is_empty() && !reason && shown != "not built" {
            wrong(format!("expected a test, `no test: ` and why, or `not built`, found {shown:?}"));
        }
        for (file, name) in tests {
            if !exists(root, file, name) {
                wrong(format!("{file} has no test {name}"));
            }
        }
    }
    found.extend(missing.into_iter().map(|number| format!("row {number}: missing")));
    found
}

#[test]
fn the_checklist_has_every_row_once_each_with_tests_that_exist_or_a_reason() {
    let list = fs::read_to_string(Path::new(ROOT).join("tests/conformance.md")).unwrap();
    assert_eq!(mistakes(Path::new(ROOT), &list), Vec::<String>::new());
}

#[test]
fn a_checklist_with_a_mistake_is_refused() {
    let list = fs::read_to_string(Path::new(ROOT).join("tests/conformance.md")).unwrap();
    let line = |number: &str| {
        let begin = format!("| {number} |");
        list.lines().find(|line| line.starts_with(&begin)).unwrap().to_owned()
    };
    let in_place_of_38 = |shown: &str| list.replace(&line("38"), &format!("| 38 | x | M | y | {shown} |"));
    for (changed, says) in [
        (list.replace(&line("2"), ""), "row 2: missing"),
        (list.replace(&line("2"), &line("1")), "row 1: stands twice"),
        (
            list.replace(&line("P3"), &line("P3").replace("| P3 |", "| P30 |")),
            "row P30: stands twice, or is no number",
        ),
        (list.replace(&line("38"), &line("38").replace("| M |", "| must |")), "row 38: expected a level"),
        (list.replace(&line("38"), "| 38 | x | M |"), "row | 38 | x | M |: stands twice, or is no number"),
        (in_place_of_38(""), "row 38: expected a test"),
        (in_place_of_38("no test: why"), "row 38: expected a test"),
        (in_place_of_38("`tests/appliance/tls.rs::a_test_that_is_not_there`"), "has no test a_test"),
        (in_place_of_38("`tests/appliance/none.rs::a`"), "tests/appliance/none.rs has no test a"),
        (in_place_of_38("`tests/appliance/generations.rs::make`"), "has no test make"),
        (in_place_of_38("`tests/appliance/generations.rs::makes_a_key`"), "has no test makes_a_key"),
    ] {
        let found = mistakes(Path::new(ROOT), &changed);
        assert!(found.iter().any(|mistake| mistake.contains(says)), "expected {says:?}, found {found:?}");
    }
}

/// Decisions and rows that a text cites: `D4`, `row 31`, `rows 72 to 83, 85 and P4`.
fn citations(text: &str) -> Vec<String> {
    let is_number = |word: &str, letters: &str| {
        let digits = word.strip_prefix(|c| letters.contains(c)).unwrap_or(word);
        !digits.is_empty() && digits.len() <= 3 && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for part in text.split(|c| !is_word(c) && c != ' ' && c != ',') {
        let mut listing = false;
        for word in part.split(|c| !is_word(c)).filter(|word| !word.is_empty()) {
            let row = listing && is_number(word, "PCB");
            let goes_on = row || (listing && matches!(word, "to" | "and"));
            listing = goes_on || matches!(word, "row" | "rows" | "Row" | "Rows");
            if row || (word.starts_with('D') && word.len() <= 3 && is_number(word, "D")) {
                found.push(word.to_owned());
            }
        }
    }
    found
}

#[test]
fn every_cited_decision_and_row_exists() {
    assert_eq!(
        citations("(D4, row 31); 503: rows 72 to 83, 85 and P4. 12 rows, \"row\" D, D800, xD4"),
        ["D4", "31", "72", "83", "85", "P4"]
    );
    let root = Path::new(ROOT);
    let decisions = fs::read_to_string(root.join("src/manual/decisions.rs")).unwrap();
    let mut known: BTreeSet<String> = numbers().into_iter().collect();
    for heading in decisions.lines().filter_map(|line| line.strip_prefix("//! ## ")) {
        assert!(known.insert(heading.to_owned()), "{heading} stands twice in decisions.rs");
    }
    let mut texts = Vec::new();
    for directory in ["src", "tests"] {
        collect(root, &root.join(directory), &mut texts).unwrap();
    }
    for file in
        ["README.md", "CHANGELOG.md", "tests/conformance.md", "config/reference.toml", "config/chancery.toml"]
    {
        texts.push((file.to_owned(), fs::read_to_string(root.join(file)).unwrap()));
    }
    let mut cited = 0;
    for (file, text) in texts.iter().filter(|(file, _)| !file.ends_with("checklist.rs")) {
        for citation in citations(text) {
            assert!(
                known.contains(&citation),
                "{file} cites {citation}, which is neither in decisions.rs nor in conformance.md"
            );
            cited += 1;
        }
    }
    assert!(cited > 100, "found only {cited} citations: is the finder broken?");
}
