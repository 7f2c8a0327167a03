//! Children that end when this process ends, however it ends: `PR_SET_PDEATHSIG`, prctl(2).
//!
//! The signal is tied to the *thread* that spawned the child, so callers spawn from the process's main thread. The only
//! unsafe code of this crate is here: code between fork and exec may only make calls that are safe after a fork.

use std::io;

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};
use tokio::process::Command;

/// Arranges that the child receives SIGTERM when this process is gone.
pub(crate) fn end_with_parent(command: &mut Command) {
    let parent = getpid();
    let ask = move || {
        set_parent_process_death_signal(Some(Signal::TERM))?;
        // The parent may have gone between fork and prctl; then no signal would ever come.
        if getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(
                rustix::io::Errno::SRCH.raw_os_error(),
            ))
        }
    };
    // SAFETY: `ask` makes two system calls and allocates nothing, so it is safe between fork and exec.
    unsafe { command.pre_exec(ask) };
}
