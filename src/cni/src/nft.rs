//! Runs `nft`: one transaction a call.

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::process::{Command, Stdio};

/// A family of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(address: &IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The family's name, which is also the word for its packets' header.
    pub fn ip(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    /// The type of its addresses in sets.
    pub fn address_type(self) -> &'static str {
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
