//! The files in `config/` are valid, and the reference has every key with its real default.

use super::super::load::parse_all;
use super::{KEYS, read_at};
use std::path::Path;

const MINIMAL: &str = include_str!("../../../config/minimal.toml");
const CHANCERY: &str = include_str!("../../../config/chancery.toml");
const REFERENCE: &str = include_str!("../../../config/reference.toml");

#[test]
fn every_example_is_without_mistakes() {
    for (name, text) in [("minimal", MINIMAL), ("chancery", CHANCERY), ("reference", REFERENCE)] {
        if let Err(mistakes) = read_at(Path::new(name), text) {
            panic!("{mistakes}");
        }
    }
}

/// Each line of a TOML text that sets a key, also in a comment: table, key, rest of the line.
fn lines(text: &str) -> Vec<(String, String, String)> {
    let mut table = String::new();
    let mut list = Vec::new();
    for line in text.lines() {
        if let Some(header) = line.strip_prefix('[') {
            let end = header.find(']').unwrap();
            table = header[..end].trim_start_matches('[').to_owned();
        } else if let Some((key, value)) = line.trim_start_matches("# ").split_once('=') {
            let key = key.trim();
            if key.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit()) {
                list.push((table.clone(), key.to_owned(), value.trim().to_owned()));
            }
        }
    }
    list
}

#[test]
fn the_reference_names_every_key_with_its_real_default() {
    let bytes = REFERENCE.as_bytes();
    let (_, mistakes, known) = parse_all(Path::new("r"), bytes, &|_| Ok(KEYS.as_bytes().to_vec()));
    assert!(mistakes.is_empty());
    assert!(known.len() > 60, "the reference must open every table: {} keys", known.len());
    let lines = lines(REFERENCE);
    for (path, default) in &known {
        let (table, key) = path.rsplit_once('.').unwrap_or(("", path));
        let values: Vec<&str> =
            lines.iter().filter(|(t, k, _)| t == table && k == key).map(|(_, _, v)| v.as_str()).collect();
        assert!(!values.is_empty(), "the reference does not name {path}");
        if let Some(default) = default {
            let shown = values.iter().any(|v| v.split(" #").next().unwrap_or_default().trim() == *default);
            assert!(shown, "{path}: the default is {default}, the reference shows {values:?}");
        } else {
            let told = values.iter().any(|_| true) && required_or_explained(table, key);
            assert!(
                told,
                "{path} has no fixed default: the reference must say \"required\", \"default:\" or why"
            );
        }
    }
    for (table, key, _) in &lines {
        let path = if table.is_empty() { key.clone() } else { format!("{table}.{key}") };
        assert!(known.contains_key(&path), "the reference names {path}, which nothing reads");
    }
}

/// Whether the comment of a key without a fixed default explains its absence.
fn required_or_explained(table: &str, key: &str) -> bool {
    let mut current = "";
    let mut lines = REFERENCE.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(header) = line.strip_prefix('[') {
            current = header.split(']').next().unwrap_or_default().trim_start_matches('[');
        }
        let named = line.trim_start_matches("# ").split_once('=').is_some_and(|(k, _)| k.trim() == key);
        if current == table && named {
            let comment = format!("{line} {}", lines.peek().unwrap_or(&""));
            return ["required", "default:", "this or", "alone"].iter().any(|word| comment.contains(word));
        }
    }
    false
}
