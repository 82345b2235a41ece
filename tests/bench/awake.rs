//! Keeps the processors from sleeping while the run measures.
//!
//! With one connection, processors rest between any two steps, and a sleeping processor of a virtual machine takes 20 to
//! 40 µs to wake: several of those in each answer say more of the machine than of the daemon. A host that cares for
//! response times is set up in the same way (tuned's profile `latency-performance`).

use std::fs::File;
use std::io::Write;

/// As long as it lives, no processor sleeps.
pub(crate) struct Awake {
    _request: File,
}

impl Awake {
    /// Asks the kernel (`Documentation/power/pm_qos_interface.rst`); `None` when it may not be asked, which takes root.
    pub(crate) fn ask() -> Option<Self> {
        let mut request = File::options().write(true).open("/dev/cpu_dma_latency").ok()?;
        // The longest time in µs that waking may take. It counts until the file is closed.
        request.write_all(&0_i32.to_ne_bytes()).ok()?;
        Some(Self { _request: request })
    }
}
