//! Design notes, kept beside the code so that they change with it.

pub mod crash;
pub mod decisions;
pub mod defaults;
pub mod glossary;
pub mod threats;
