//! Commands about what changed.

use super::{Location, OutputFlag};
use clap::Args;
use jiff::SignedDuration;
use std::path::PathBuf;

/// Flags of `knarr history`.
#[derive(Args, Debug)]
pub struct History {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// What changed: RESOURCE, RESOURCE/NAME or RESOURCE NAME (default: everything but Events and Leases)
    #[arg(value_name = "RESOURCE")]
    pub resource: Option<String>,
    /// Name of one object
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// In this namespace alone
    #[arg(short = 'n', long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Only what changed since then, such as 10m or 1h30m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub since: Option<SignedDuration>,
    /// Ask as this kubeconfig says (default: as the administrator)
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Also changes of nothing but the status
    #[arg(long)]
    pub status: bool,
    /// How to show it.
    #[command(flatten)]
    pub output: OutputFlag,
}

/// Flags of `knarr undo`.
#[derive(Args, Debug)]
pub struct Undo {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// The object: RESOURCE/NAME or RESOURCE NAME
    #[arg(value_name = "RESOURCE")]
    pub resource: String,
    /// Its name
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Its namespace
    #[arg(short = 'n', long, default_value = "default", value_name = "NAMESPACE")]
    pub namespace: String,
    /// Put it back to what it was at this revision (default: before its last change)
    #[arg(long, value_name = "REVISION")]
    pub to_revision: Option<u64>,
    /// Ask as this kubeconfig says (default: as the administrator)
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Only tell what would change
    #[arg(long)]
    pub dry_run: bool,
}

/// A time that has passed, as Go and people write it: `10m`, `1h30m`, `2d`.
pub fn duration(text: &str) -> Result<SignedDuration, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<i64>().ok());
    let parsed = match days {
        Some(days) => days.checked_mul(24).map(SignedDuration::from_hours),
        None if text == "0" => Some(SignedDuration::ZERO),
        None => text.parse::<SignedDuration>().ok(),
    };
    parsed
        .filter(|duration| !duration.is_negative())
        .ok_or_else(|| "give a time such as 90s, 10m, 1h30m or 2d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_and_go_write_them() {
        for (text, seconds) in [("10m", 600), ("1h30m", 5400), ("2d", 172_800), ("5m0s", 300), ("0", 0)] {
            assert_eq!(duration(text).map(|d| d.as_secs()), Ok(seconds), "{text}");
        }
        for wrong in ["", "10", "-5m", "soon", "9999999999999999999d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
