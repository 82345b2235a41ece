//! No release without a receipt.

use chancery::signer::{NotCovered, Released, Sealed};

fn release(sealed: Sealed) -> Result<Released, NotCovered> {
    sealed.release()
}

fn main() {
    let _: fn(Sealed) -> Result<Released, NotCovered> = release;
}
