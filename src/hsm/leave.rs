//! The end of a process that has a module in it.

/// Ends the process with `status` at once. Neither the module's destructors nor its exit handlers run, as they would after
/// `exit`: threads may still be inside, and what they use would be taken away under them.
///
/// What was to be written out must have been written before.
pub fn leave(status: u8) -> ! {
    #[expect(
        unsafe_code,
        reason = "_exit(2) takes a number, touches no memory of ours and does not come back"
    )]
    unsafe {
        nix::libc::_exit(status.into())
    }
}
