//! Why it is as it is: notes that live beside the code, so that they change with it.

pub mod crash;
pub mod decisions;
pub mod defaults;
pub mod glossary;
pub mod threats;
