//! A released answer is consumed: it is not released again.

use chancery::audit::Receipt;
use chancery::signer::Sealed;

fn release(sealed: Sealed, receipts: [Receipt; 2]) {
    let [one, other] = receipts;
    let _ = sealed.release(one);
    let _ = sealed.release(other);
}

fn main() {
    let _: fn(Sealed, [Receipt; 2]) = release;
}
