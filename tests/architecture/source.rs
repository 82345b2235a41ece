//! Which paths a file names: `use` trees and paths, resolved against the module that they stand in.

use crate::tokens::{Token, starts_path, tokenize, without_tests};
use std::path::Path;
use std::{fs, io};

/// One path that a file names, cut to what matters: `["crate", "hsm"]` or `["std", "fs"]`.
#[derive(Debug)]
pub(crate) struct Reference {
    /// Line in the file, from 1.
    pub(crate) line: usize,
    /// First and second segment; `*` for a glob or an alias of the crate's root.
    pub(crate) path: Vec<String>,
    /// Whether it stands in a `pub use`.
    pub(crate) public_use: bool,
}

/// One file below `src`.
pub(crate) struct Source {
    path: String,
    tokens: Vec<Token>,
    /// Without what only tests compile.
    compiled: Vec<Token>,
    test_modules: Vec<String>,
    lines: usize,
}

/// Every `.rs` file below `src`, those that only tests compile marked as such.
pub(crate) fn read_all(src: &Path) -> io::Result<Vec<Source>> {
    let mut texts = Vec::new();
    collect(src, src, &mut texts)?;
    let parse = |(path, text): &(String, String), only_tests| Source::parse(path, text, only_tests);
    let first: Vec<Source> = texts.iter().map(|file| parse(file, false)).collect();
    let of_tests: Vec<&String> = first.iter().flat_map(|s| &s.test_modules).collect();
    Ok(texts
        .iter()
        .map(|file| {
            let module = file.0.trim_end_matches(".rs").trim_end_matches("/mod");
            let below = |prefix: &&String| {
                module
                    .strip_prefix(prefix.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            parse(file, of_tests.iter().any(below))
        })
        .collect())
}

/// Every `.rs` file below `directory`: its path from `root`, and its text.
pub(crate) fn collect(root: &Path, directory: &Path, into: &mut Vec<(String, String)>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, into)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            into.push((name, fs::read_to_string(&path)?));
        }
    }
    into.sort();
    Ok(())
}

impl Source {
    /// `path` is relative to `src`. With `only_tests` nothing in it counts as compiled.
    pub(crate) fn parse(path: &str, text: &str, only_tests: bool) -> Self {
        let tokens = tokenize(text);
        let module = path.trim_end_matches(".rs").trim_end_matches("/mod");
        let (mut compiled, names) = without_tests(&tokens);
        if only_tests {
            compiled.clear();
        }
        let test_modules = names.into_iter().map(|name| format!("{module}/{name}")).collect();
        Self { path: path.to_owned(), tokens, compiled, test_modules, lines: text.lines().count() }
    }

    /// Relative to `src`.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The first part of the path: `http`, `clock`, `main`.
    pub(crate) fn room(&self) -> &str {
        self.path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// Lines of the whole file.
    pub(crate) fn lines(&self) -> usize {
        self.lines
    }

    /// Modules that are declared here under `cfg(test)` and lie in files of their own: `audit/tests`.
    pub(crate) fn test_modules(&self) -> &[String] {
        &self.test_modules
    }

    /// Where this identifier stands first, tests included.
    pub(crate) fn line_of_word(&self, word: &str) -> Option<usize> {
        self.tokens.iter().find(|t| t.text == word).map(|t| t.line)
    }

    /// Every path that the compiled part names.
    pub(crate) fn references(&self) -> Vec<Reference> {
        let module = self.path.trim_end_matches(".rs").trim_end_matches("/mod");
        let own =
            module.split('/').filter(|part| !matches!(*part, "lib" | "main")).map(str::to_owned).collect();
        Finder { tokens: &self.compiled, modules: vec![(own, 0)], found: Vec::new(), public_use: false }.run()
    }
}

struct Finder<'a> {
    tokens: &'a [Token],
    /// The file's own module, then each inline module around this place, with the depth of braces where it began.
    modules: Vec<(Vec<String>, usize)>,
    found: Vec<Reference>,
    public_use: bool,
}

impl Finder<'_> {
    fn run(mut self) -> Vec<Reference> {
        let (mut at, mut depth) = (0, 0_usize);
        while at < self.tokens.len() {
            match self.text(at) {
                "{" => depth += 1,
                "}" => {
                    depth = depth.saturating_sub(1);
                    self.modules.retain(|(_, began)| *began <= depth);
                }
                "mod" if self.text(at + 2) == "{" => {
                    let mut path = self.here();
                    path.push(self.text(at + 1).to_owned());
                    self.modules.push((path, depth + 1));
                }
                "use" => {
                    self.public_use = self.is_public(at);
                    at = self.path(at + 1, None);
                    self.public_use = false;
                    continue;
                }
                text if starts_path(text) && !self.is_inside_path(at) && self.text(at + 1) == "::" => {
                    at = self.path(at, None);
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
        self.found
    }

    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |t| t.text.as_str())
    }

    fn here(&self) -> Vec<String> {
        self.modules.last().map(|(path, _)| path.clone()).unwrap_or_default()
    }

    /// After `::` or `.` a word is no start of a path; a leading `::` is.
    fn is_inside_path(&self, at: usize) -> bool {
        let before = |n: usize| at.checked_sub(n).map_or("", |i| self.text(i));
        before(1) == "." || (before(1) == "::" && (starts_path(before(2)) || before(2) == ">"))
    }

    fn is_public(&self, at: usize) -> bool {
        let before = |n: usize| at.checked_sub(n).map_or("", |i| self.text(i));
        before(1) == "pub" || (before(1) == ")" && (2..9).any(|n| before(n) == "(" && before(n + 1) == "pub"))
    }

    /// Reads one path or `use` tree from `at`, below `base` (`None`: at its very start); returns where it ended.
    fn path(&mut self, mut at: usize, mut base: Option<Vec<String>>) -> usize {
        if self.text(at) == "::" {
            at += 1;
        }
        loop {
            let word = self.text(at).to_owned();
            let line = self.tokens.get(at).map_or(0, |t| t.line);
            base = match (word.as_str(), base) {
                ("crate" | "chancery", None) => Some(vec!["crate".to_owned()]),
                ("self", None) => Some(rooted(self.here())),
                ("super", None) => Some(rooted(parent(self.here()))),
                ("self", base) => base,
                ("super", Some(base)) => Some(parent(base)),
                ("{", base) => return self.group(at, base.as_ref()),
                ("*", Some(mut base)) => {
                    base.push("*".to_owned());
                    Some(base)
                }
                (word, base) if starts_path(word) => {
                    let mut path = base.unwrap_or_default();
                    path.push(word.to_owned());
                    Some(path)
                }
                (_, base) => return self.note(line, base, at),
            };
            at += 1;
            let at_root =
                base.as_ref().is_some_and(|b| b.len() == 1 && b.first().is_some_and(|w| w == "crate"));
            if self.text(at) == "::" {
                at += 1;
            } else {
                if at_root && self.text(at) == "as" {
                    base = Some(vec!["crate".to_owned(), "*".to_owned()]);
                }
                return self.note(line, base, at);
            }
        }
    }

    fn group(&mut self, mut at: usize, base: Option<&Vec<String>>) -> usize {
        loop {
            // On `{` or `,`: one tree follows, or the end.
            at += 1;
            if !matches!(self.text(at), "," | "}" | "") {
                at = self.path(at, base.cloned());
            }
            while !matches!(self.text(at), "," | "}" | "") {
                at += 1;
            }
            if self.text(at) != "," {
                return at + 1;
            }
        }
    }

    fn note(&mut self, line: usize, path: Option<Vec<String>>, at: usize) -> usize {
        if let Some(mut path) = path.filter(|p| p.len() > 1) {
            path.truncate(2);
            self.found.push(Reference { line, path, public_use: self.public_use });
        }
        at
    }
}

fn rooted(mut path: Vec<String>) -> Vec<String> {
    path.insert(0, "crate".to_owned());
    path
}

/// Of a module path with or without `crate` before it; the root is its own parent, which the compiler refuses anyway.
fn parent(mut path: Vec<String>) -> Vec<String> {
    if path.len() > 1 || path.first().is_some_and(|w| w != "crate") {
        path.pop();
    }
    path
}
