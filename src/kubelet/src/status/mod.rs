//! The status of pods: computed by pure functions ([`generate`]), posted by the [`StatusManager`].

mod conditions;
mod containers;
mod generate;
mod manager;
mod patch;
mod phase;
#[cfg(test)]
mod tests;

pub use containers::WaitingReason;
pub use generate::{Override, StatusInputs, failed_status, generate};
pub use manager::StatusManager;
pub use phase::Phase;
