//! Events (core/v1) about what components do, for people who run `kubectl describe`.
//!
//! Upstream counterpart: client-go's `tools/record`. Recording never blocks: a queue holds what is to be
//! written, and is full when the API server is too slow to be told. Repeated events become counts, floods of
//! similar ones become one, and a source that writes too much about one object is cut off for a while.

mod correlator;
mod recorder;

pub use recorder::{EventRecorder, EventType, object_reference};
