//! The binary under test as if it were of another version: what an upgrade brings.

use crate::machine::text_of;
use crate::node::knarr_bin;
use anyhow::Result;
use std::path::Path;
use std::process::Command;

/// The version of the binary under test.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The other version: as long, with another last digit.
pub fn version() -> String {
    let (kept, last) = VERSION.split_at(VERSION.len() - 1);
    format!("{kept}{}", if last == "9" { "8" } else { "9" })
}

/// Writes a copy that says to have the other version where the cluster looks: of the kubelet, and of the image that
/// add-ons run.
///
/// # Errors
/// When a file cannot be read or written.
pub fn write(path: &Path) -> Result<()> {
    std::fs::copy(knarr_bin(), path)?;
    let (own, other) = (VERSION.replace('.', "\\."), version());
    let script = format!("s/\\(+knarr\\|knarr.local\\/knarr:\\){own}/\\1{other}/g");
    let output = Command::new("sed").env("LC_ALL", "C").args(["-i", &script]).arg(path).output()?;
    text_of("sed", output).map(drop)
}
