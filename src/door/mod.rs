//! The door between the two processes: messages of the gateway to the signer, their transport, and the connection. It
//! names neither how an answer is signed nor where it is recorded.
//!
//! | file | holds |
//! |---|---|
//! | `client` | [`SignerClient`]: sends asks, waits for a signer that is away, and receives [`Recorded`] |
//! | `channel`, `estimate` | many asks in flight over one socket; the estimated time of one more |
//! | `message` | the messages |
//! | `frame`, `wire` | messages as bytes; non-blocking socket calls |
//! | `link`, `child` | the connection: to a separate signer, or to a child of the gateway |

mod channel;
mod child;
mod client;
mod estimate;
pub(crate) mod frame;
mod link;
pub mod message;
pub(crate) mod wire;

pub use child::keep_child;
pub use client::{AskError, Outage, Published, Recorded, SignerClient, SignerState};
pub use link::{Link, bind, check_peer, keep_separate};
pub use message::SignerStatus;
