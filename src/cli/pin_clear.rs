//! `chancery pin clear`: removes the mark of a refused PIN.

use super::{ConfigFile, fail, load};
use crate::config::Process;
use crate::exit::{self, Status};
use crate::signer::clear_refused_pin;

/// Prints the content of the mark. The token is not used.
pub fn run(args: &ConfigFile) -> Status {
    let config = match load(args, Process::Signer) {
        Ok(config) => config,
        Err(status) => return status,
    };
    match clear_refused_pin(&config) {
        Ok(Some(said)) => {
            say!("cleared: {said}");
            say!("the next start gives the configured PIN to the token once");
            0
        }
        Ok(None) => {
            say!("no PIN is marked as refused");
            0
        }
        Err(error) => fail(&error, exit::IO),
    }
}
