//! Nor by its field.

use chancery::signer::Sealed;

fn peek(sealed: Sealed) -> String {
    sealed.bytes
}

fn main() {
    peek(Sealed::new("answer".to_owned()));
}
