//! Volumes of pods under `<root>/pods/<uid>/volumes`: what they hold is computed by pure functions
//! ([`payload`]), files are written by [`atomic_writer`], everything is idempotent so that a restarted kubelet
//! simply does it again.

mod atomic_writer;
mod clean_up;
mod empty_dir;
mod host_path;
mod manager;
mod mounts;
mod ownership;
mod payload;
mod persistent;
mod projected;
mod subpath;
mod tokens;

pub use clean_up::{CleanUpError, unmount_below};
#[cfg(test)]
pub use manager::Mounted;
pub use manager::{PodVolumes, VolumeManager};
pub use subpath::prepare_subpath;
