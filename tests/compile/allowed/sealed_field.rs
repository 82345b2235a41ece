//! A released answer is readable.

use chancery::signer::Released;

fn read(released: &Released) -> &str {
    released.as_str()
}

fn main() {
    let _: fn(&Released) -> &str = read;
}
