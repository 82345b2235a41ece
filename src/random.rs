//! Randomness as an argument: the one place that asks the system's generator.

/// `N` bytes that nobody can foresee.
///
/// # Panics
/// When the operating system has no randomness to give: then nothing here may go on.
#[expect(clippy::disallowed_methods, reason = "the one place that draws randomness")]
#[expect(clippy::expect_used, reason = "without randomness every token and salt could be guessed")]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    aws_lc_rs::rand::fill(&mut out).expect("the system's random number generator failed");
    out
}
