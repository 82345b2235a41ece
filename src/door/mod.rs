//! The door between the two processes: what the gateway asks, how that crosses the socket, and what keeps the socket
//! open. It knows neither how an answer is signed nor where it is recorded.
//!
//! | file | holds |
//! |---|---|
//! | `client` | [`SignerClient`]: asks, waits for a signer that is away, and receives [`Recorded`] |
//! | `line`, `tempo` | many asks in flight over one socket; how fast they are answered |
//! | `message` | what may be asked and answered |
//! | `frame`, `wire` | messages as bytes; bytes on a socket, without waiting for it |
//! | `link`, `child` | what keeps the socket open: to a service beside the gateway, or to a child of its own |

mod child;
mod client;
pub(crate) mod frame;
mod line;
mod link;
pub mod message;
mod tempo;
pub(crate) mod wire;

pub use child::keep_child;
pub use client::{AskError, Outage, Published, Recorded, SignerClient, SignerState};
pub use link::{Link, bind, check_peer, keep_separate};
pub use message::SignerStatus;
