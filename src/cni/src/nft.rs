//! Runs `nft`: one transaction a call.

use std::io::{self, Write as _};
use std::process::{Command, Stdio};

/// Applies a script: all of it or nothing.
///
/// # Errors
/// When nft is not installed or refuses it, with what it said.
pub fn apply(script: &str) -> io::Result<()> {
    run(&["-f", "-"], script).map(drop)
}

/// Runs `nft` and answers what it printed.
///
/// # Errors
/// When nft is not installed or fails, with what it said.
pub fn run(arguments: &[&str], input: &str) -> io::Result<String> {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| {
            io::Error::new(e.kind(), format!("cannot run nft; install the package nftables: {e}"))
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(io::Error::other(format!("nft: {}", String::from_utf8_lossy(&output.stderr).trim())))
}
