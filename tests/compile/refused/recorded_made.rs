//! The gateway cannot make a `Recorded`: only an answer of the signer does.

use chancery::door::Recorded;

fn main() {
    let _ = Recorded { body: "answer".to_owned() };
}
