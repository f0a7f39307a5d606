//! `knarr pause`: process 1 of a pod's sandbox. It holds the namespaces, reaps orphans and ends when told.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use std::process::ExitCode;

/// Waits for signals for ever; SIGINT and SIGTERM end it.
///
/// # Errors
/// When the kernel refuses to block signals.
pub fn run() -> anyhow::Result<ExitCode> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD] {
        signals.add(signal);
    }
    signals.thread_block()?;
    loop {
        match signals.wait()? {
            Signal::SIGCHLD => reap(),
            _ => return Ok(ExitCode::SUCCESS),
        }
    }
}

fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            break;
        }
    }
}
