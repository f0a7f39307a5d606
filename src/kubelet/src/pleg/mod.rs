//! Pod lifecycle events: tells workers when the runtime changed something under them. Containerd's events say
//! when to look; a relist says what there is, and is repeated as a net under lost events.

mod changes;
mod containerd_events;
mod relist;

pub use containerd_events::follow;
pub use relist::Pleg;
