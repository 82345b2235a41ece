//! Software verification alone.

use super::Outcome;
use super::cost::{self, Cost, Pace};
use super::samples::Verifiers;
use std::time::Duration;

/// Verifies a signed answer of the daemon over and over, hashing included, with `threads` threads.
pub(crate) fn measure(
    keys: &Verifiers,
    jwt: &str,
    threads: usize,
    time: Duration,
    pace: Pace,
) -> Outcome<Cost> {
    let (key, input, signature) = keys.parts(jwt)?;
    let operations = (0..threads).map(|_| || Ok(key.verify(input.as_bytes(), &signature)?)).collect();
    cost::measure(operations, time, pace)
}
