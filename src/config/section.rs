//! Reads one table of the file, key by key.
//!
//! serde stops at the first mistake; an operator needs all of them. So the file is parsed into a table with positions,
//! and each section reads its keys one by one: a missing or wrong value is noted as a mistake. Keys that a section does
//! not read are unknown and refused at its end; the reference in `config/` is checked against the same list.

use super::mistake::Mistake;
use super::place::{Lines, Place, Placed};
use super::values::{self, Wrong, shown};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Keys of later versions: unknown, with a clearer message.
const LATER: [&str; 9] = [
    "http.tls.client_ca",
    "keys.uri",
    "resource_servers.introspection_encrypted_response_alg",
    "resource_servers.introspection_encrypted_response_enc",
    "resource_servers.jwks",
    "resource_servers.jwks_uri",
    "resource_servers.jwks_file",
    "clients.jwks_file",
    "clients.jwks_uri",
];

/// Handling of a missing key.
#[derive(Clone, Copy)]
pub(super) enum Need {
    /// A mistake.
    Required,
    /// `None`; the caller decides.
    Optional,
    /// This TOML is parsed instead.
    Default(&'static str),
}

/// State of reading one file.
pub(super) struct Collector<'c> {
    pub(super) lines: Lines,
    /// Relative paths start here.
    pub(super) base: &'c Path,
    pub(super) mistakes: Vec<Mistake>,
    /// Every key that was read, without list positions, with its default.
    pub(super) known: BTreeMap<String, Option<&'static str>>,
}

/// One table.
pub(super) struct Section<'s, 't, 'c> {
    table: &'s DeTable<'t>,
    place: Place,
    schema: String,
    asked: Vec<&'static str>,
    collector: &'s mut Collector<'c>,
}

impl<'s, 't, 'c> Section<'s, 't, 'c> {
    /// Reads the whole file's table with `read`.
    pub(super) fn top<R>(
        table: &DeTable<'t>,
        collector: &mut Collector<'c>,
        read: impl FnOnce(&mut Section<'_, 't, 'c>) -> R,
    ) -> R {
        let place = Place { line: 1, key: String::new() };
        Section { table, place, schema: String::new(), asked: Vec::new(), collector }.through(read)
    }

    /// Reads a table and then refuses keys that were not read.
    fn through<R>(mut self, read: impl FnOnce(&mut Self) -> R) -> R {
        let result = read(&mut self);
        for (key, _) in self.table {
            let name: &str = key.get_ref();
            if self.asked.contains(&name) {
                continue;
            }
            let line = self.collector.lines.at(key.span().start);
            let expected = if LATER.contains(&join(&self.schema, name).as_str()) {
                "no such key yet (a later version reads it)".to_owned()
            } else if let Some(meant) = meant(name, &self.asked) {
                format!("a known key (did you mean {meant:?}?)")
            } else {
                format!("a known key (one of {})", self.asked.join(", "))
            };
            let place = self.place.below(&shown_key(name), line);
            self.collector.mistakes.push(Mistake::at(&place, expected, "an unknown key"));
        }
        result
    }

    pub(super) const fn place(&self) -> &Place {
        &self.place
    }

    /// Relative paths start here.
    pub(super) const fn base(&self) -> &'c Path {
        self.collector.base
    }

    pub(super) fn mistake(&mut self, place: &Place, expected: impl Into<String>, found: impl Into<String>) {
        self.collector.mistakes.push(Mistake::at(place, expected, found));
    }

    /// Whether the key is there, right or wrong.
    pub(super) fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    /// The value as written, and its place.
    fn find(
        &mut self,
        name: &'static str,
        default: Option<&'static str>,
    ) -> Option<(&'s DeValue<'t>, Place)> {
        self.asked.push(name);
        self.collector.known.insert(join(&self.schema, name), default);
        let value = self.table.get(name)?;
        let place = self.place.below(name, self.collector.lines.at(value.span().start));
        Some((value.get_ref(), place))
    }

    /// Reads one value; `None` when it is absent or wrong (then the mistake is noted).
    pub(super) fn get<T>(
        &mut self,
        name: &'static str,
        need: Need,
        expected: &str,
        convert: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Option<Placed<T>> {
        let default = if let Need::Default(text) = need { Some(text) } else { None };
        let found = self.find(name, default).map(|(value, place)| {
            let converted = convert(value).map_err(|wrong| (wrong, shown_of(name, value)));
            (converted, place)
        });
        let (converted, place) = match (found, default) {
            (Some(found), _) => found,
            (None, Some(text)) => {
                let place = self.place.below(name, self.place.line);
                let converted = DeValue::parse(text)
                    .map_err(|_| (Wrong::default(), text.to_owned()))
                    .and_then(|v| convert(v.get_ref()).map_err(|wrong| (wrong, text.to_owned())));
                (converted, place)
            }
            (None, None) => {
                if matches!(need, Need::Required) {
                    let place = self.place.below(name, self.place.line);
                    self.mistake(&place, expected, "nothing");
                }
                return None;
            }
        };
        match converted {
            Ok(value) => Some(Placed { value, place }),
            Err((wrong, shown)) => {
                let expected = wrong.expected.as_deref().unwrap_or(expected);
                self.mistake(&place, expected, wrong.found.unwrap_or(shown));
                None
            }
        }
    }

    /// A required path; relative ones start at the directory of the file.
    pub(super) fn path(&mut self, name: &'static str, expected: &str) -> Option<Placed<PathBuf>> {
        let base = self.base();
        self.get(name, Need::Required, expected, |v| values::path(v, base))
    }

    pub(super) fn optional_path(&mut self, name: &'static str, expected: &str) -> Option<Placed<PathBuf>> {
        let base = self.base();
        self.get(name, Need::Optional, expected, |v| values::path(v, base))
    }

    /// An integer with a default.
    pub(super) fn number<T: TryFrom<u64>>(
        &mut self,
        name: &'static str,
        default: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<T> {
        let expected = format!("an integer from {} to {}", range.start(), range.end());
        let number = self.get(name, Need::Default(default), &expected, |v| values::count(v, &range))?;
        T::try_from(number.value).ok()
    }

    /// A size in bytes with a default.
    pub(super) fn size<T: TryFrom<u64>>(
        &mut self,
        name: &'static str,
        default: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<T> {
        let (least, most) = (values::shown_size(*range.start()), values::shown_size(*range.end()));
        let expected = format!("a size from {least} to {most}: \"64KiB\", \"1MiB\" or an integer of bytes");
        let size = self.get(name, Need::Default(default), &expected, |v| values::size(v, &range))?;
        T::try_from(size.value).ok()
    }

    /// A time span with a default.
    pub(super) fn duration(
        &mut self,
        name: &'static str,
        default: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Placed<Duration>> {
        let (least, most) = (values::shown_duration(*range.start()), values::shown_duration(*range.end()));
        let expected = format!("a time span from {least} to {most}: \"250ms\", \"2s\", \"5m\" or \"1h\"");
        self.get(name, Need::Default(default), &expected, |v| values::duration(v, &range))
    }

    /// `true` or `false`, with a default.
    pub(super) fn flag(&mut self, name: &'static str, default: &'static str) -> Option<bool> {
        let flag = self
            .get(name, Need::Default(default), "true or false", |v| v.as_bool().ok_or_else(Wrong::default))?;
        Some(flag.value)
    }

    /// Reads a list of `least` to `most` different values; notes each wrong entry, any of which invalidates the list.
    pub(super) fn list<T: PartialEq>(
        &mut self,
        name: &'static str,
        need: Need,
        (least, most): (usize, usize),
        expected: &str,
        convert: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Option<Vec<Placed<T>>> {
        let whole = format!("a list of {least} to {most}, each {expected}");
        let default = if let Need::Default(text) = need { Some(text) } else { None };
        let Some((value, place)) = self.find(name, default) else {
            let place = self.place.below(name, self.place.line);
            if matches!(need, Need::Required) {
                self.mistake(&place, whole, "nothing");
            }
            let default = DeValue::parse(default?).ok()?.into_inner();
            let placed = |entry: &Spanned<DeValue<'_>>| {
                convert(entry.get_ref()).ok().map(|value| Placed { value, place: place.clone() })
            };
            return default.as_array()?.iter().map(placed).collect();
        };
        let DeValue::Array(entries) = value else {
            self.mistake(&place, whole, shown(value));
            return None;
        };
        if !(least..=most).contains(&entries.len()) {
            self.mistake(&place, whole, entries.len().to_string());
            return None;
        }
        let mut list: Vec<Placed<T>> = Vec::with_capacity(entries.len());
        let mut right = true;
        for (i, entry) in entries.iter().enumerate() {
            let place = place.entry(i, self.collector.lines.at(entry.span().start));
            match convert(entry.get_ref()) {
                Ok(value) if list.iter().any(|other| other.value == value) => {
                    right = false;
                    self.mistake(&place, "each value once", format!("{} again", shown(entry.get_ref())));
                }
                Ok(value) => list.push(Placed { value, place }),
                Err(wrong) => {
                    right = false;
                    let found = wrong.found.unwrap_or_else(|| shown(entry.get_ref()));
                    self.mistake(&place, wrong.expected.as_deref().unwrap_or(expected), found);
                }
            }
        }
        right.then_some(list)
    }

    pub(super) fn table<R>(
        &mut self,
        name: &'static str,
        need: Need,
        read: impl FnOnce(&mut Section<'_, 't, 'c>) -> R,
    ) -> Option<R> {
        self.asked.push(name);
        let (schema, header) = (join(&self.schema, name), self.place.below(name, 0).key);
        let expected = format!("a table [{header}]");
        match self.table.get(name).map(|v| (v.get_ref(), v.span().start)) {
            Some((DeValue::Table(table), start)) => {
                let place = self.place.below(name, self.collector.lines.at(start));
                let section =
                    Section { table, place, schema, asked: Vec::new(), collector: &mut *self.collector };
                Some(section.through(read))
            }
            Some((value, start)) => {
                let place = self.place.below(name, self.collector.lines.at(start));
                self.mistake(&place, expected, shown(value));
                None
            }
            None => match need {
                Need::Required => {
                    let place = self.place.below(name, self.place.line);
                    self.mistake(&place, expected, "nothing");
                    None
                }
                Need::Optional => None,
                // All its keys have defaults: an empty table fills them in.
                Need::Default(_) => {
                    let (table, place) = (DeTable::new(), self.place.below(name, self.place.line));
                    let collector = &mut *self.collector;
                    Some(Section { table: &table, place, schema, asked: Vec::new(), collector }.through(read))
                }
            },
        }
    }

    /// Reads a list of tables: `[[name]]`, each through `read`; absent means none.
    pub(super) fn tables<R>(
        &mut self,
        name: &'static str,
        read: impl Fn(&mut Section<'_, 't, 'c>) -> R,
    ) -> Vec<R> {
        self.asked.push(name);
        let schema = join(&self.schema, name);
        let Some(value) = self.table.get(name) else { return Vec::new() };
        let place = self.place.below(name, self.collector.lines.at(value.span().start));
        let DeValue::Array(entries) = value.get_ref() else {
            self.mistake(&place, format!("entries that each begin with [[{name}]]"), shown(value.get_ref()));
            return Vec::new();
        };
        let mut list = Vec::with_capacity(entries.len());
        for (i, entry) in entries.iter().enumerate() {
            let place = place.entry(i, self.collector.lines.at(entry.span().start));
            if let DeValue::Table(table) = entry.get_ref() {
                let (schema, collector) = (schema.clone(), &mut *self.collector);
                let section = Section { table, place, schema, asked: Vec::new(), collector };
                list.push(section.through(&read));
            } else {
                let found = shown(entry.get_ref());
                self.mistake(&place, format!("an entry that begins with [[{name}]]"), found);
            }
        }
        list
    }
}

fn join(schema: &str, name: &str) -> String {
    if schema.is_empty() { name.to_owned() } else { format!("{schema}.{name}") }
}

/// The key among `known` that `typed` was probably meant to be: at most a third of its letters differ.
fn meant<'k>(typed: &str, known: &[&'k str]) -> Option<&'k str> {
    // A key longer than any of ours is no slip of the finger; the bound keeps hostile files cheap.
    let near = |word: &str, distance: usize| typed.len() <= 64 && distance <= (word.len() / 3).max(1);
    let nearest = known.iter().map(|word| (strsim::levenshtein(typed, word), *word)).min();
    nearest.filter(|(distance, word)| near(word, *distance)).map(|(_, word)| word)
}

/// A value for a message, except where a secret may have been written by mistake.
fn shown_of(name: &str, value: &DeValue<'_>) -> String {
    if name.contains("pin") || name.contains("secret") { "another value".to_owned() } else { shown(value) }
}

/// A key for a message: short and without control characters.
fn shown_key(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::meant;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["listen", "operations_listen", "tls"];
        assert_eq!(meant("lisen", &known), Some("listen"));
        assert_eq!(meant("operation_listen", &known), Some("operations_listen"));
        assert_eq!(meant("certificate", &known), None);
    }
}
