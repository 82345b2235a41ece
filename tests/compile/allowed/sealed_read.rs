//! The digest of a sealed answer is readable.

use chancery::audit::Covered;
use chancery::signer::Sealed;

fn peek(sealed: &Sealed) -> Covered {
    sealed.covered()
}

fn main() {
    peek(&Sealed::body("answer".to_owned()).unwrap());
}
