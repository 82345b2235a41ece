//! A sealed answer cannot be read.

use chancery::signer::Sealed;

fn peek(sealed: &Sealed) -> &str {
    sealed.as_str()
}

fn main() {
    peek(&Sealed::body("answer".to_owned()).unwrap());
}
