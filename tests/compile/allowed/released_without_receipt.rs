//! With one, there is.

use chancery::audit::Receipt;
use chancery::signer::{NotCovered, Released, Sealed};

fn release(sealed: Sealed, receipt: Receipt) -> Result<Released, NotCovered> {
    sealed.release(receipt)
}

fn main() {
    let _: fn(Sealed, Receipt) -> Result<Released, NotCovered> = release;
}
