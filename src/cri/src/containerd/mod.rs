//! The containerd that Knarr configures, starts and looks after.
//!
//! | module | job |
//! |---|---|
//! | [`config`] | what the caller decides, and where everything lies |
//! | [`version`] | which containerd is installed |
//! | [`toml`] | containerd's own configuration file, for 1.6, 1.7 and 2.x |
//! | [`registries`] | `registries.yaml` in k3s' format to containerd's `hosts.toml` |
//! | [`host`] | what the machine allows: capabilities, inotify limits, runc or crun |
//! | [`process`] | a containerd process: identity that survives our restart, waiting for its end |
//! | [`service`] | containerd as a service of its own |
//! | [`shims`] | shims that containerd has lost |
//! | [`supervisor`] | start or adopt, wait until ready, restart with back-off, stop |

pub mod config;
pub mod error;
pub mod host;
mod process;
pub mod registries;
mod service;
mod shims;
pub mod supervisor;
pub mod toml;
pub mod version;

pub use config::Config;
pub use error::ContainerdError;
pub use supervisor::Supervisor;
pub use version::find_program;
