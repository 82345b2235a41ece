//! One program for all targets: `CHANCERY_FUZZ` names the one that the bytes go to. libFuzzer makes the bytes from what
//! they reach. A panic, an overflow, a debug assertion, a broken property below or too much memory is a finding.

#![no_main]

mod claims;
mod edge;
mod log;
mod socket;

use std::sync::OnceLock;

type Target = fn(&[u8]);

/// Name and function. A directory of the same name in `corpus` holds its inputs.
const TARGETS: [(&str, Target); 16] = [
    ("form", edge::form),
    ("accept", edge::accept),
    ("basic", edge::basic),
    ("jwt", edge::jwt),
    ("assertion", edge::assertion),
    ("details", claims::details),
    ("claim", claims::claim),
    ("words", claims::words),
    ("frame", log::frame),
    ("segment", log::segment),
    ("note", log::note),
    ("tile", log::tile),
    ("bundle", log::bundle),
    ("frames", socket::frames),
    ("ask", socket::ask),
    ("answer", socket::answer),
];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    static TARGET: OnceLock<Target> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("CHANCERY_FUZZ").unwrap_or_default();
        let known = TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ");
        let found = TARGETS.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("CHANCERY_FUZZ: expected one of {known}, found {name:?}")).1
    });
    target(bytes);
});
