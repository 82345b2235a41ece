//! It can be handed on.

use chancery::signer::Sealed;

fn main() {
    let sealed = Sealed::body("answer".to_owned()).unwrap();
    let _moved = sealed;
}
