//! A released answer can be sent.

use chancery::signer::Released;

fn send(released: Released) -> String {
    released.into_string()
}

fn main() {
    let _: fn(Released) -> String = send;
}
