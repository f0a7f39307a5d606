//! The shape that all controllers share.

mod context;
mod controller;
mod runner;
mod watches;

pub use context::Context;
pub use controller::{Action, Controller, ReconcileError};
pub use runner::run;
pub use watches::{Keys, Watches};
