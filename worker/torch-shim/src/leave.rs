//! The end of a process that libtorch's threads may still be busy in.

use std::ffi::c_int;

// SAFETY: POSIX's `_exit` takes any number, touches no memory of ours and does not return.
unsafe extern "C" {
    safe fn _exit(status: c_int) -> !;
}

/// Ends the process without tidying up. The destructors that `exit` runs would take libtorch apart under the threads that
/// still compute, which then read what is gone. What was written to standard error is out; nothing else is waited for.
pub fn leave(code: i32) -> ! {
    _exit(code)
}
