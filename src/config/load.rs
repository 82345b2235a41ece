//! Parses bytes into a configuration, or into every mistake in them.

use super::file::{self, File};
use super::grant_keys;
use super::mistake::{Mistake, Mistakes};
use super::place::{Lines, Place};
use super::section::{Collector, Section};
use super::{Config, GrantKey, HostProblem, rules, used};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use toml::de::DeTable;

/// The largest configuration, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// Reads a file that the configuration names.
pub type ReadFile<'r> = &'r dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// Reads and checks a configuration file and the JWK sets that it names. Relative paths start at its directory.
///
/// # Errors
///
/// Every mistake at once; only the syntax error while the file is no TOML in UTF-8.
pub fn load(path: &Path) -> Result<Config, Mistakes> {
    let expected = "a readable file of at most 1 MiB";
    // Absolute, so that a later change of the working directory has no effect.
    let file = std::path::absolute(path).map_err(|e| Mistakes::unreadable(path, expected, e.to_string()))?;
    let bytes =
        read_file(&file, MAX_BYTES).map_err(|e| Mistakes::unreadable(path, expected, e.to_string()))?;
    parse(&file, &bytes, &|named| read_file(named, grant_keys::MAX_BYTES))
}

/// As [`load`], from bytes: `file` gives the name in messages and the directory of relative paths, `read` the JWK sets.
///
/// # Errors
/// As [`load`].
pub fn parse(file: &Path, bytes: &[u8], read: ReadFile<'_>) -> Result<Config, Mistakes> {
    let (config, mistakes, _) = parse_all(file, bytes, read);
    match config {
        Some(config) if mistakes.is_empty() => Ok(config),
        _ => Err(Mistakes::new(file, mistakes)),
    }
}

/// Every key that the file may have, without list positions, with its default as TOML.
pub(super) type KeyDefaults = BTreeMap<String, Option<&'static str>>;

/// The configuration if there is no mistake, the mistakes, and every key that was read.
pub(super) fn parse_all(
    file: &Path,
    bytes: &[u8],
    read: ReadFile<'_>,
) -> (Option<Config>, Vec<Mistake>, KeyDefaults) {
    let lines = Lines::of(bytes);
    let top = |line| Place { line, key: String::new() };
    let refused = |line, expected: &str, found: String| {
        (None, vec![Mistake::at(&top(line), expected, found)], KeyDefaults::new())
    };
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            return refused(lines.at(error.valid_up_to()), "UTF-8", "other bytes".to_owned());
        }
    };
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            // The parser's message never quotes the file.
            let line = error.span().map_or(1, |span| lines.at(span.start));
            return refused(line, "TOML", error.message().replace('\n', " "));
        }
    };
    let base = file.parent().unwrap_or(Path::new(""));
    let mut collector = Collector { lines, base, mistakes: Vec::new(), known: KeyDefaults::new() };
    let file = Section::top(table.get_ref(), &mut collector, file::read);
    let Collector { mut mistakes, known, .. } = collector;
    rules::check(&file, &mut mistakes);
    let keys = grant_keys(&file, read, &mut mistakes);
    (used::config(file, keys), mistakes, known)
}

/// The keys of each front server.
fn grant_keys(file: &File, read: ReadFile<'_>, mistakes: &mut Vec<Mistake>) -> Vec<Option<Vec<GrantKey>>> {
    let mut sets = Vec::new();
    for issuer in &file.grant_issuers {
        let Some(path) = &issuer.jwks_file else {
            sets.push(None);
            continue;
        };
        let set = match read(&path.value) {
            Ok(bytes) => grant_keys::parse(&bytes),
            Err(error) => Err(vec![("a readable file".to_owned(), error.to_string())]),
        };
        match set {
            Ok(keys) => sets.push(Some(keys)),
            Err(wrong) => {
                sets.push(None);
                for (expected, found) in wrong {
                    let found = format!("{found}, in {}", path.value.display());
                    mistakes.push(Mistake::at(&path.place, expected, found));
                }
            }
        }
    }
    sets
}

/// Sets the line of each problem's key in `file`, if the key is still there.
pub fn find_lines(file: &Path, problems: &mut [HostProblem]) {
    let Ok(text) = read_file(file, MAX_BYTES).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    else {
        return;
    };
    let (lines, Ok(table)) = (Lines::of(text.as_bytes()), DeTable::parse(&text)) else { return };
    for problem in problems.iter_mut().filter(|problem| problem.line == 0) {
        let mut below = Some(table.get_ref());
        for name in problem.key.split('.') {
            let Some((key, value)) = below.and_then(|table| table.get_key_value(name)) else { break };
            problem.line = lines.at(key.span().start);
            below = value.get_ref().as_table();
        }
    }
}

/// A regular file of at most `most` bytes: a pipe or a device would block or never end.
fn read_file(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        return Err(io::Error::other(format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}
