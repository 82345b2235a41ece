//! Only the client room makes an authenticated client.

use chancery::client::{AuthenticatedClient, Party};
use chancery::config::AuthMethod;

fn claim(party: Party) -> AuthenticatedClient {
    AuthenticatedClient { party, method: AuthMethod::ClientSecretBasic }
}

fn main() {
    let _: fn(Party) -> AuthenticatedClient = claim;
}
