//! A sealed answer cannot be copied: one record, one release.

use chancery::signer::Sealed;

fn main() {
    let sealed = Sealed::body("answer".to_owned()).unwrap();
    let _copy = sealed.clone();
}
