//! `knarr version`.

use crate::arguments::tools::{Version, VersionFormat};
use crate::server::KUBERNETES_VERSION;
use anyhow::Result;
use apimachinery::platform::platform;
use serde_json::json;
use std::process::ExitCode;

/// The version of this program, as it is written.
pub const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));

/// Prints the versions.
///
/// # Errors
/// Never at present.
pub fn run(options: &Version) -> Result<ExitCode> {
    let value = json!({"knarr": VERSION, "kubernetes": KUBERNETES_VERSION, "platform": platform()});
    match options.output {
        VersionFormat::Pretty => println!("Knarr {VERSION} (Kubernetes {KUBERNETES_VERSION})"),
        VersionFormat::Short => println!("{VERSION}"),
        VersionFormat::Yaml => print!("{}", apimachinery::decode::to_yaml(&value)?),
        VersionFormat::Json => println!("{value:#}"),
    }
    Ok(ExitCode::SUCCESS)
}
