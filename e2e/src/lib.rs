//! What the end-to-end tests stand on: a network namespace as a machine, a registry with images built from
//! Debian packages, the built `knarr` binary, and stock kubectl.
//!
//! The subject is chosen by `KNARR_BIN` (default: the debug build), the clients by `KNARR_TOOLS` (filled by
//! `e2e/tools.sh`). Everything runs in a namespace without any route out.
//!
//! | module | what |
//! |---|---|
//! | [`machine`] | a network namespace with an address of its own |
//! | [`network`] | machines that reach each other |
//! | [`image`] | OCI images made of files of this machine |
//! | [`registry`] | a read-only OCI registry on the machine's loopback |
//! | [`node`] | a running `knarr server` and kubectl against it |
//! | [`newer`] | the binary as if it were of another version |
//! | [`traces`] | what a node may leave behind |
//! | [`wait`] | waiting on conditions |
//! | [`browser`] | a Chromium without a window |
//! | [`api`] | an HTTPS client for measuring |
//! | [`cluster`] | nodes that are one cluster, and what can happen to them |
//! | [`debian`] | a Debian with its service manager, for packages |
//! | [`disk`] | a disk that is slow |
//! | `power` | what a machine loses with its power |
//! | [`load`] | clients that write down what they are told |
//! | [`visitors`] | people who use Services all the time |
//! | [`history`] | whether all that they were told can be true |

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "end-to-end tests")]

pub mod api;
pub mod browser;
pub mod cluster;
pub mod debian;
pub mod disk;
pub mod history;
pub mod image;
pub mod load;
pub mod machine;
pub mod network;
pub mod newer;
pub mod node;
mod power;
pub mod registry;
pub mod traces;
pub mod visitors;
pub mod wait;
