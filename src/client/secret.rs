//! A presented secret: compared, forgotten, never shown.

use crate::config::SecretHashes;
use crate::sha256::sha256;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

/// Bytes of the longest secret; a generated one of 128 bits (FAPI 2.0 §5.4.1) has 22 to 32.
const MAX_SECRET: usize = 1024;

/// Hashes that every comparison walks through, so that its time tells neither whether a caller is known nor how many
/// secrets it has. A configuration may register as many.
const SLOTS: usize = 4;

/// Stands in the slots that nothing is registered for; never matches.
const NOBODY: [u8; 32] = [0; 32];

/// The secret that somebody presented. Wiped when dropped; has neither `Debug` nor `PartialEq`.
pub(super) struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// `None` if it is longer than any secret.
    pub(super) fn new(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        (bytes.len() <= MAX_SECRET).then_some(Self(bytes))
    }

    /// Whether its SHA-256 is among `registered`; the same work for every caller, known (`Some`) or not.
    pub(super) fn is_one_of(&self, registered: Option<&SecretHashes>) -> bool {
        let presented = sha256(&self.0);
        let registered = registered.map_or(&[][..], |hashes| &hashes.0);
        let mut right = Choice::from(0);
        for slot in 0..registered.len().max(SLOTS) {
            let (hash, counts) = registered.get(slot).map_or((&NOBODY, 0), |hash| (hash, 1));
            right |= presented.ct_eq(hash) & Choice::from(counts);
        }
        right.into()
    }
}
