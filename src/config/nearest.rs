//! "Did you mean …": the known word that is nearest to a mistyped one.

/// The word among `known` that `typed` was probably meant to be: at most a third of its letters differ.
pub(super) fn nearest<'k>(typed: &str, known: &[&'k str]) -> Option<&'k str> {
    // Longer than any key, so no typo; the bound limits the work for hostile files.
    if typed.len() > 64 {
        return None;
    }
    known
        .iter()
        .map(|word| (distance(typed, word), *word))
        .min()
        .filter(|(distance, word)| *distance <= (word.len() / 3).max(1))
        .map(|(_, word)| word)
}

/// Levenshtein: letters to change, add or take away.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((to, pair), left) in b.iter().zip(row.windows(2)).zip(1_usize..) {
            let (diagonal, above) = match pair {
                [diagonal, above] => (*diagonal, *above),
                _ => (left, left),
            };
            let change = diagonal + usize::from(from != *to);
            let before = next.last().copied().unwrap_or(left);
            next.push(change.min(above + 1).min(before + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_recognised_and_another_word_is_not() {
        let known = ["listen", "operations_listen", "tls"];
        assert_eq!(nearest("lisen", &known), Some("listen"));
        assert_eq!(nearest("operation_listen", &known), Some("operations_listen"));
        assert_eq!(nearest("certificate", &known), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
