//! What is served: `/version`, and discovery of groups, versions and resources, classic and aggregated.

mod documents;
mod serve;
mod version;

pub use serve::{Discovery, DiscoveryCache};
pub use version::{git_version, version};
