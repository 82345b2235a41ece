//! Randomness as an argument: the only file that calls the system's generator.

/// `N` unpredictable bytes.
///
/// # Panics
///
/// When the operating system has no randomness.
#[expect(clippy::disallowed_methods, reason = "the one place that draws randomness")]
#[expect(clippy::expect_used, reason = "without randomness every token and salt could be guessed")]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    aws_lc_rs::rand::fill(&mut out).expect("the system's random number generator failed");
    out
}
