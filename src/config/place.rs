//! Positions in the file.

/// A line and a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The first line is 1.
    pub(super) line: usize,
    /// Dotted path, empty for the file's top.
    pub(super) key: String,
}

impl Place {
    /// The same line, one key deeper.
    pub(super) fn below(&self, key: &str, line: usize) -> Self {
        let key = if self.key.is_empty() { key.to_owned() } else { format!("{}.{key}", self.key) };
        Self { line, key }
    }

    /// An entry of a list.
    pub(super) fn entry(&self, index: usize, line: usize) -> Self {
        Self { line, key: format!("{}[{index}]", self.key) }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// Maps byte offsets to lines.
pub(super) struct Lines {
    breaks: Vec<usize>,
}

impl Lines {
    pub(super) fn of(text: &[u8]) -> Self {
        Self {
            breaks: text
                .iter()
                .enumerate()
                .filter(|(_, b)| **b == b'\n')
                .map(|(position, _)| position)
                .collect(),
        }
    }

    /// The line of the byte at `position`; a line break is part of the line that it ends.
    pub(super) fn at(&self, position: usize) -> usize {
        self.breaks.partition_point(|b| *b < position) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_count_from_one_and_end_with_their_break() {
        let lines = Lines::of(b"a\nbc\n\nd");
        let found: Vec<usize> = (0..8).map(|position| lines.at(position)).collect();
        assert_eq!(found, [1, 1, 2, 2, 2, 3, 4, 4]);
    }
}
