//! Nor by its field.

use chancery::signer::Sealed;

fn peek(sealed: Sealed) -> String {
    sealed.bytes
}

fn main() {
    peek(Sealed::body("answer".to_owned()).unwrap());
}
