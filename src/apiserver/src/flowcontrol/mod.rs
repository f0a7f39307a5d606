//! API Priority and Fairness: who is answered first when there is more to do than the server can (KEP-1040).
//!
//! A request is put into a flow by the first FlowSchema that matches it, and its schema names a priority level.
//! Levels have seats of their own and lend what they do not use; within a level, flows are dealt onto queues
//! (shuffle sharding) and queues take turns by the work they have had (fair queuing), so that one noisy flow
//! does not starve the others.
//!
//! | module | what lives there |
//! |---|---|
//! | [`queue_set`] | the scheduler of one level: pure, its time is a parameter |
//! | [`shuffle_shard`] | which queues a flow may use |
//! | [`allocation`] | how many seats each level has, and lends |
//! | [`rules`] | which requests a FlowSchema matches |
//! | [`configuration`] | the objects in the store, compiled |
//! | [`follow`] | following the objects, and writing their conditions |
//! | [`work`] | how many seats a request takes |
//! | [`watchers`] | how many watches a write wakes |
//! | [`level`] | a level with requests that wait in it |
//! | [`retry_after`] | how long refused clients are told to wait |
//! | [`control`] | the way of a request through all of it |
//! | [`statistics`], [`dump`] | `apiserver_flowcontrol_*`, `/debug/api_priority_and_fairness/` |
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/util/flowcontrol`.

mod allocation;
mod configuration;
mod control;
mod dump;
mod follow;
mod level;
mod queue_set;
mod retry_after;
mod rules;
mod shuffle_shard;
mod statistics;
mod watchers;
mod work;

pub(crate) use control::{FlowControl, Outcome};
pub(crate) use follow::Follower;
pub(crate) use work::{WATCHERS_PER_SEAT, Work, seats};
