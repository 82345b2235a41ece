//! Mistakes of a configuration, each with its line and the expected value.

use super::place::Place;
use crate::exit::{self, Status};
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// One mistake: `KEY: expected …, found …`. Never holds a value that could be a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// Line in the file, from 1; 0 for the whole file.
    pub line: usize,
    /// Dotted path of the key: `http.limits.body_bytes`, `clients[0].scope`; empty for the file as a whole.
    pub key: String,
    /// The expected value.
    pub expected: String,
    /// The found value.
    pub found: String,
}

impl Mistake {
    pub(super) fn at(place: &Place, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { line: place.line, key: place.key.clone(), expected: expected.into(), found: found.into() }
    }
}

/// Every mistake of one file, in the order of its lines.
#[derive(Debug, thiserror::Error)]
pub struct Mistakes {
    file: PathBuf,
    unreadable: bool,
    list: Vec<Mistake>,
}

impl Mistakes {
    pub(super) fn new(file: &Path, mut list: Vec<Mistake>) -> Self {
        list.sort_by_key(|m| m.line);
        Self { file: file.to_owned(), unreadable: false, list }
    }

    /// A file that could not be read.
    pub(super) fn unreadable(file: &Path, expected: &str, found: String) -> Self {
        let mistake = Mistake { line: 0, key: String::new(), expected: expected.to_owned(), found };
        Self { file: file.to_owned(), unreadable: true, list: vec![mistake] }
    }

    /// The file of the mistakes.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The mistakes; at least one.
    pub fn list(&self) -> &[Mistake] {
        &self.list
    }

    /// For the process, [`exit::NO_INPUT`] if the file could not be read, else [`exit::CONFIG`].
    pub const fn exit_status(&self) -> Status {
        if self.unreadable { exit::NO_INPUT } else { exit::CONFIG }
    }
}

impl fmt::Display for Mistakes {
    /// One line for each: `FILE:LINE: KEY: expected …, found …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.list.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:", self.file.display())?;
            if mistake.line > 0 {
                write!(f, "{}:", mistake.line)?;
            }
            if !mistake.key.is_empty() {
                write!(f, " {}:", mistake.key)?;
            }
            write!(f, " expected {}, found {}", mistake.expected, mistake.found)?;
        }
        Ok(())
    }
}
