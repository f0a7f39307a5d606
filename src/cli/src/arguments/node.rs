//! Commands about this node.

use super::Location;
use clap::{Args, ValueEnum};

/// Flags of `knarr start`.
#[derive(Args, Debug)]
pub struct Start {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// Flags for `knarr server`, after `--`
    #[arg(last = true)]
    pub server: Vec<String>,
}

/// Flags of `knarr stop`.
#[derive(Args, Debug)]
pub struct Stop {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
}

/// Flags of `knarr reset`.
#[derive(Args, Debug)]
pub struct Reset {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// Also remove images and the volumes of pods
    #[arg(long)]
    pub destroy_storage: bool,
}

/// Flags of `knarr status`.
#[derive(Args, Debug)]
pub struct Status {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// Wait until the node is Ready
    #[arg(short = 'w', long)]
    pub wait_ready: bool,
    /// Seconds to wait at most; 0 waits for ever
    #[arg(short = 't', long, default_value_t = 0, value_name = "SECONDS")]
    pub timeout: u64,
    /// How to show it
    #[arg(long, short = 'o', visible_alias = "output", default_value = "pretty", value_name = "FORMAT")]
    pub format: Format,
    /// Only tell whether this add-on is enabled
    #[arg(short = 'a', long, value_name = "ADDON")]
    pub addon: Option<String>,
}

/// Formats of `knarr status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Pretty,
    /// One line per add-on.
    Short,
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

/// Flags of `knarr config`.
#[derive(Args, Debug)]
pub struct Config {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// Use the loopback address in place of the node's
    #[arg(short = 'l', long)]
    pub use_loopback: bool,
}
