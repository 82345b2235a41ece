//! Its digest can.

use chancery::signer::Sealed;

fn peek(sealed: &Sealed) -> &[u8; 32] {
    sealed.digest()
}

fn main() {
    peek(&Sealed::new("answer".to_owned()));
}
