//! Once it is.

use chancery::audit::Receipt;
use chancery::signer::Sealed;

fn release(sealed: Sealed, receipt: &Receipt) {
    let _ = sealed.release(receipt);
}

fn main() {
    let _: fn(Sealed, &Receipt) = release;
}
