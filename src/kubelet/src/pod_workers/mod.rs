//! One task per pod: [`state`] is the pure machine (events in, work out), [`workers`](PodWorkers) runs it,
//! [`PodSyncer`] does the work.

mod state;
mod syncer;
mod syncer_end;
mod workers;

pub use state::Update;
pub use syncer::{PodSyncer, SyncerParts};
pub use workers::{PodWorkers, WeakPodWorkers};
