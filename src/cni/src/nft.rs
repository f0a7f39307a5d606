//! Runs `nft`: one transaction a call.

use apimachinery::family::Family;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};

/// nft's words for a family.
pub trait NftFamily {
    /// The family's name, which is also the word for its packets' header.
    fn ip(self) -> &'static str;

    /// The type of its addresses in sets.
    fn address_type(self) -> &'static str;
}

impl NftFamily for Family {
    fn ip(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    fn address_type(self) -> &'static str {
        match self {
            Self::V4 => "ipv4_addr",
            Self::V6 => "ipv6_addr",
        }
    }
}

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
