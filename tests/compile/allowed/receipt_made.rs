//! The holder of a receipt can read it.

use chancery::audit::Receipt;

fn number(receipt: &Receipt) -> u64 {
    receipt.sequence()
}

fn main() {
    let _: fn(&Receipt) -> u64 = number;
}
