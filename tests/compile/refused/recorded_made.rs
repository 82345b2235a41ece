//! The gateway cannot claim that something was recorded: only the signer's word makes it so.

use chancery::door::Recorded;

fn main() {
    let _ = Recorded { body: "answer".to_owned() };
}
