//! Shared caches: one list+watch per kind per process, indexed stores, event handlers.

mod core;
mod shared;
mod slim;
mod store;
#[cfg(test)]
mod tests;

pub use self::core::{HandlerGuard, Subscription};
pub use shared::{Informer, Scope, SharedInformers};
pub use store::{Event, Store, index};
