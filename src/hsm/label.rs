//! Labels of keys: `<purpose>-<algorithm in lower case>-<generation>`, for example `introspection-es256-1`.

use crate::jose::Algorithm;
use std::fmt;
use std::str::FromStr;

/// The name of one generation of a key series.
///
/// Generations count from 1. Two labels are ordered by purpose, algorithm and generation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyLabel {
    purpose: String,
    algorithm: Algorithm,
    generation: u32,
}

/// A text that is no key label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a key label <purpose>-<algorithm in lower case>-<generation> such as introspection-es256-1, found {0:?}"
)]
pub struct KeyLabelError(pub String);

impl KeyLabel {
    /// The label of one generation; `purpose` is lower-case letters, digits and inner hyphens, at most 64 of them.
    pub fn new(purpose: &str, algorithm: Algorithm, generation: u32) -> Result<Self, KeyLabelError> {
        let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let label = Self { purpose: purpose.to_owned(), algorithm, generation };
        let edges = !purpose.starts_with('-') && !purpose.ends_with('-');
        if purpose.is_empty()
            || purpose.len() > 64
            || !edges
            || !purpose.bytes().all(inner)
            || generation == 0
        {
            return Err(KeyLabelError(label.to_string()));
        }
        Ok(label)
    }

    /// The purpose, for example `access-token`.
    pub fn purpose(&self) -> &str {
        &self.purpose
    }

    /// The one algorithm of the key.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// 1 for the first.
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// The next generation.
    #[must_use]
    pub fn next(&self) -> Self {
        Self { generation: self.generation.saturating_add(1), ..self.clone() }
    }

    /// The generations of one series among a token's labels, oldest first; other labels are skipped.
    pub fn series<'a>(
        labels: impl IntoIterator<Item = &'a str>,
        purpose: &str,
        algorithm: Algorithm,
    ) -> Vec<Self> {
        let mut series: Vec<Self> = labels
            .into_iter()
            .filter_map(|text| text.parse().ok())
            .filter(|label: &Self| label.purpose == purpose && label.algorithm == algorithm)
            .collect();
        series.sort();
        series
    }
}

impl fmt::Display for KeyLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.purpose, self.algorithm.name().to_ascii_lowercase(), self.generation)
    }
}

impl FromStr for KeyLabel {
    type Err = KeyLabelError;

    /// Accepts exactly the output of [`fmt::Display`]: no two texts name one key.
    fn from_str(text: &str) -> Result<Self, KeyLabelError> {
        let wrong = || KeyLabelError(text.to_owned());
        let mut parts = text.rsplitn(3, '-');
        let (Some(generation), Some(algorithm), Some(purpose)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let algorithm = Algorithm::ALL
            .into_iter()
            .find(|known| known.name().to_ascii_lowercase() == algorithm)
            .ok_or_else(wrong)?;
        let generation = generation.parse().map_err(|_| wrong())?;
        let label = Self::new(purpose, algorithm, generation).map_err(|_| wrong())?;
        // "+1" and "01" parse as numbers, but are no generations.
        if label.to_string() == text { Ok(label) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_label_reads_as_the_design_writes_it() {
        let label: KeyLabel = "audit-checkpoint-es256-12".parse().unwrap();
        assert_eq!(label, KeyLabel::new("audit-checkpoint", Algorithm::ES256, 12).unwrap());
        assert_eq!(label.next().to_string(), "audit-checkpoint-es256-13");
    }

    #[test]
    fn malformed_labels_are_refused() {
        for text in [
            "",
            "introspection",
            "introspection-es256",
            "es256-1",
            "-es256-1",
            "introspection-es256-0",
            "introspection-es256-01",
            "introspection-es256-+1",
            "introspection-ES256-1",
            "Introspection-es256-1",
            "introspection-es512-1",
            "introspection-es256-4294967296",
            "in trospection-es256-1",
            "introspection--es256-1",
        ] {
            assert!(text.parse::<KeyLabel>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_series_holds_its_own_generations_in_order_of_number() {
        let labels = [
            "introspection-es256-10",
            "introspection-es256-9",
            "access-token-es256-1",
            "introspection-rs256-2",
            "somebody else's key",
            "introspection-es256-1",
        ];
        let series = KeyLabel::series(labels, "introspection", Algorithm::ES256);
        assert_eq!(series.iter().map(KeyLabel::generation).collect::<Vec<_>>(), [1, 9, 10]);
    }

    proptest! {
        #[test]
        fn every_label_survives_its_text(
            purpose in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?",
            algorithm in prop::sample::select(Algorithm::ALL.to_vec()),
            generation in 1_u32..,
        ) {
            let label = KeyLabel::new(&purpose, algorithm, generation).unwrap();
            prop_assert_eq!(label.to_string().parse(), Ok(label));
        }

        #[test]
        fn a_text_that_parses_is_the_text_that_is_written(text in "[a-zA-Z0-9+-]{0,24}(-(es256|eddsa|RS256))?-[0-9+]{1,11}") {
            if let Ok(label) = text.parse::<KeyLabel>() {
                prop_assert_eq!(label.to_string(), text);
            }
        }
    }
}
