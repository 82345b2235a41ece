//! Ends a process that has loaded a module.

/// Ends the process with `status` at once, without the module's destructors and exit handlers, which `exit` would run:
/// threads inside the module still use what these would free.
///
/// Flush all output before.
pub fn leave(status: u8) -> ! {
    #[expect(
        unsafe_code,
        reason = "_exit(2) takes a number, touches no memory of ours and does not come back"
    )]
    unsafe {
        nix::libc::_exit(status.into())
    }
}
