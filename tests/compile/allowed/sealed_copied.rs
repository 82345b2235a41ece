//! It can be handed on.

use chancery::signer::Sealed;

fn main() {
    let sealed = Sealed::new("answer".to_owned());
    let _moved = sealed;
}
