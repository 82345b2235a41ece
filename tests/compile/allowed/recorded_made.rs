//! A recorded answer becomes the body of a reply.

use chancery::door::Recorded;

fn reply(recorded: Recorded) -> String {
    recorded.into_body()
}

fn main() {
    let _: fn(Recorded) -> String = reply;
}
