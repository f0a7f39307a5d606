//! What tests run the kubelet against: an API server of a few lines and a runtime without processes.

mod api;
mod ending;
mod runtime;
mod scenario;
mod world;

pub use api::FakeApi;
pub use runtime::{Behaviour, FakeRuntime};
pub use world::World;
