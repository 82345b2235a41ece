//! A receipt cannot be copied.

use chancery::audit::Receipt;

fn copy(receipt: &Receipt) -> Receipt {
    receipt.clone()
}

fn main() {
    let _: fn(&Receipt) -> Receipt = copy;
}
