//! The Node object: registration, and a status that is posted when something in it changes.

mod addresses;
mod capacity;
mod conditions;
mod images;
mod info;
mod manager;
mod node;

pub use addresses::{detect_addresses, primary_v6};
pub use capacity::{allocatable, measure_capacity};
pub use manager::{NodeStatusManager, NodeStatusParts};
