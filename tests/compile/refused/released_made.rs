//! Nothing is released by saying so.

use chancery::signer::Released;

fn main() {
    let _ = Released { bytes: "answer".to_owned(), sequence: 7 };
}
