//! Circles of files: a file stands above those that it names, so no chain of names leads back to it.

use crate::source::{Reference, Source, module_path};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Each file with the files that it names, and the line where it does.
type Arrows<'a> = BTreeMap<&'a str, BTreeMap<&'a str, usize>>;

/// One text for each circle: its files, and the arrows between them.
pub(crate) fn circles(sources: &[Source]) -> Vec<String> {
    let arrows = arrows(sources);
    let below: BTreeMap<&str, BTreeSet<&str>> =
        arrows.keys().map(|file| (*file, reached(&arrows, file))).collect();
    let reaches = |from: &str, to: &str| below.get(from).is_some_and(|files| files.contains(to));
    let circles: BTreeSet<Vec<&str>> = arrows
        .keys()
        .filter(|file| reaches(file, file))
        .map(|file| {
            arrows.keys().copied().filter(|other| reaches(file, other) && reaches(other, file)).collect()
        })
        .collect();
    let text = |circle: &Vec<&str>| {
        let inside =
            circle.iter().flat_map(|from| arrows.get(from).into_iter().flatten().map(move |to| (from, to)));
        let named = inside.filter(|(_, (to, _))| circle.contains(to));
        let lines: Vec<_> = named.map(|(from, (to, line))| format!("    {from}:{line} names {to}")).collect();
        format!("{} files name each other in a circle:\n{}", circle.len(), lines.join("\n"))
    };
    circles.iter().map(text).collect()
}

fn reached<'a>(arrows: &Arrows<'a>, from: &str) -> BTreeSet<&'a str> {
    let (mut found, mut left) = (BTreeSet::new(), vec![from]);
    while let Some(file) = left.pop() {
        for to in arrows.get(file).into_iter().flat_map(BTreeMap::keys) {
            if found.insert(*to) {
                left.push(to);
            }
        }
    }
    found
}

/// A `pub use` is no arrow of its own: a path that leads through it counts as one to the file behind it. Neither is an
/// arrow what a module names of its own parts.
fn arrows(sources: &[Source]) -> Arrows<'_> {
    let files: BTreeMap<&str, &Source> = sources.iter().map(|s| (module_path(s.path()), s)).collect();
    let mut arrows = Arrows::new();
    for source in sources {
        let to = arrows.entry(source.path()).or_default();
        for Reference { path, line, .. } in source.references().iter().filter(|r| !r.public_use) {
            if let Some(file) = file_of(&files, source, path).filter(|file| !is_in(file, source)) {
                to.entry(file).or_insert(*line);
            }
        }
    }
    arrows
}

/// Whether `file` is `source` or a part of its module.
fn is_in(file: &str, source: &Source) -> bool {
    Path::new(module_path(file)).starts_with(module_path(source.path()))
}

/// The file that defines what `path` names in `from`, behind any `pub use`.
fn file_of<'a>(files: &BTreeMap<&str, &'a Source>, from: &Source, path: &[String]) -> Option<&'a str> {
    // A module below this one, or another crate, unless it begins at the root.
    let (module, names) = match path {
        [root, names @ ..] if root == "crate" => (Vec::new(), names),
        names => (module_path(from.path()).split('/').map(str::to_owned).collect(), names),
    };
    let (above, names) = (module.len(), [module.as_slice(), names].concat());
    let (source, rest) = (above + 1..=names.len())
        .rev()
        .filter_map(|n| names.split_at_checked(n))
        .find_map(|(module, rest)| Some((*files.get(module.join("/").as_str())?, rest)))?;
    let handed_on = source.references().iter().find(|r| r.public_use && r.path.last() == rest.first());
    match handed_on.filter(|r| r.path != path) {
        Some(reference) => {
            let rest = rest.get(1..).unwrap_or_default();
            file_of(files, source, &[reference.path.as_slice(), rest].concat())
        }
        None => Some(source.path()),
    }
}
