//! Images: pulling with policy, secrets and back-off; removing the unused when the disk fills.

mod credentials;
mod gc;
mod manager;
mod reference;

pub use credentials::Keyring;
pub use gc::{DiskUse, ImageGc, ImageGcPolicy};
pub use manager::{ImageManager, PullRequest};
