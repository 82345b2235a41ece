//! Exit statuses of every command: those of sysexits(3), with what each means here. README lists them for operators.

/// What a process ends with.
pub type Status = u8;

/// Done.
pub const OK: Status = 0;
/// Wrong arguments.
pub const USAGE: Status = 64;
/// A damaged or rolled-back log; an export that does not verify.
pub const DATA: Status = 65;
/// A file that is not there or cannot be read.
pub const NO_INPUT: Status = 66;
/// The service that a command needs is not running, or not installed; there is no log to show.
pub const UNAVAILABLE: Status = 69;
/// A PKCS#11 call that did not return.
pub const SOFTWARE: Status = 70;
/// The operating system refused something: a port that is taken, no thread, no file.
pub const OS: Status = 71;
/// An output that exists already.
pub const CANNOT_CREATE: Status = 73;
/// Reading or writing failed: the log's or the store's disk.
pub const IO: Status = 74;
/// What may pass by itself: every state of the token but a refused PIN; a service that must be stopped and runs; an
/// auditor's export too soon after others.
pub const TEMPORARY: Status = 75;
/// The token refused the PIN, which nothing may try again; a command that this account may not give.
pub const NO_PERMISSION: Status = 77;
/// The configuration, or the PIN's file; a log that is missing, or there before `audit init`.
pub const CONFIG: Status = 78;
