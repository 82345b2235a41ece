//! A receipt is made by the log alone.

use chancery::audit::Receipt;

fn main() {
    let _ = Receipt::new(7, None);
}
