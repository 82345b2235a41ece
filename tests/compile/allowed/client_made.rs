//! By credentials that fit, they are.

use chancery::client::{AuthError, AuthenticatedClient, Directory, Presented, authenticate};

fn prove(directory: &Directory, presented: &Presented<'_>) -> Result<AuthenticatedClient, AuthError> {
    authenticate(directory, presented)
}

fn main() {
    let _: fn(&Directory, &Presented<'_>) -> Result<AuthenticatedClient, AuthError> = prove;
}
