//! Values that a record commits to, with their salts, until they are written into its payload.

use crate::audit::{Commitment, Disclosure, Opened, Salt, TooLong};
use crate::random;
use std::borrow::Cow;

/// Committed values with their salts, owned.
pub(super) struct Disclosed {
    /// One salt for each field, drawn in one call.
    salts: [u8; 5 * size_of::<Salt>()],
    values: Vec<(&'static str, Salt, String)>,
}

impl Default for Disclosed {
    fn default() -> Self {
        Self { salts: random::bytes(), values: Vec::new() }
    }
}

impl Disclosed {
    /// Commits to the value of a field, and keeps the opening.
    pub(super) fn commit(
        &mut self,
        name: &'static str,
        value: String,
    ) -> Result<Option<Commitment>, TooLong> {
        let (salts, _) = self.salts.as_chunks();
        let salt = salts.get(self.values.len()).copied().unwrap_or_else(random::bytes);
        let commitment = Commitment::to(name, value.as_bytes(), &salt)?;
        self.values.push((name, salt, value));
        Ok(Some(commitment))
    }

    /// Whether there is no commitment.
    pub(super) const fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Upper limit of its JSON in bytes: escapes may double strings (control characters are refused when parsed).
    pub(super) fn bound(&self) -> usize {
        self.values.iter().map(|(name, _, value)| name.len() + 2 * value.len() + 64).sum()
    }

    /// The openings for the payload.
    pub(super) fn opened(&self) -> Disclosure<'_> {
        let opened = self
            .values
            .iter()
            .map(|(name, salt, value)| (Cow::Borrowed(*name), Opened(*salt, Cow::Borrowed(value.as_str()))));
        Disclosure { disclosed: opened.collect(), ..Disclosure::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_salt_is_used_twice() {
        let mut salts = HashSet::new();
        for _ in 0..3 {
            let mut disclosed = Disclosed::default();
            // One more than the salts.
            for name in ["a", "b", "c", "d", "e", "f"] {
                let commitment = disclosed.commit(name, "value".to_owned()).unwrap().unwrap();
                assert!(disclosed.opened().opens(name, &commitment));
            }
            salts.extend(disclosed.values.iter().map(|(_, salt, _)| *salt));
        }
        assert_eq!(salts.len(), 18);
        assert!(!salts.contains(&[0; size_of::<Salt>()]));
    }
}
