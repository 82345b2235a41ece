//! What is sealed cannot be copied: one record, one release.

use chancery::signer::Sealed;

fn main() {
    let sealed = Sealed::new("answer".to_owned());
    let _copy = sealed.clone();
}
