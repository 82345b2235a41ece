//! It can be handed on.

use chancery::audit::Receipt;

fn hand_on(receipt: Receipt) -> Receipt {
    receipt
}

fn main() {
    let _: fn(Receipt) -> Receipt = hand_on;
}
