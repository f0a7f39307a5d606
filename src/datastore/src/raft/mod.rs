//! Several nodes, one state: openraft around this crate's log and state machine.
//!
//! openraft's types stay within this module. Two things are particular:
//!
//! - **A proposal is applied once.** Each node numbers the groups of commands that it proposes ([`Origin`]), and
//!   the state machine takes only the next number of each node. So a group whose fate is not known may simply be
//!   proposed again, at whoever leads now. The node that proposed it answers its writers when it applies the group
//!   itself: no outcome travels, and who has written reads what they wrote.
//! - **A snapshot is the rows.** The state is on the disk as it is applied, so nothing is copied until a node needs
//!   it; then SQLite writes a consistent copy, which is installed in one transaction.
//!
//! A sole voter does without all that (see [`crate::writer`] and docs/decisions/0005): this module is started when
//! a second node comes.
//!
//! ```text
//!  writers --> Proposer --> leader's openraft --> LogStore ---> log rows, fsync
//!                 ^              |  Network          |
//!                 |              v                   v committed
//!                 +-- answers -- other nodes      Machine ----> rows, cache (no fsync: the log has it)
//! ```
//!
//! | module | what |
//! |---|---|
//! | `types` | what is replicated; members |
//! | `core` | what storage, proposer and readers share; jobs on the writer's thread |
//! | `log_store`, `machine` | openraft's view of log and state machine |
//! | `snapshot` | copies of the state: made, received, installed |
//! | `wire` | requests and replies between nodes |
//! | `transport` | who carries them; in memory, for tests |
//! | `network` | openraft's view of the other nodes |
//! | `proposer` | groups of commands on their way to the leader |
//! | `barrier` | consistent reads |
//! | `node` | one node of a cluster: starts, serves, changes members, stops |
//! | `plan`, `roles` | who votes: what should change, and its doing |

mod barrier;
mod core;
mod log_store;
mod machine;
mod network;
mod node;
mod plan;
mod proposer;
mod roles;
mod snapshot;
mod transport;
mod types;
mod wire;

pub use node::{
    Change, ChangeError, Cluster, ClusterOptions, MemberStatus, NodeReport, Status, Ticket, Timing,
};
pub use plan::{Candidate, Goal, Step, plan};
pub use transport::memory::Switchboard;
pub use transport::{Endpoint, Peer, Transport, TransportError};
pub use types::{Member, Role};

pub(crate) use self::core::{Core, Identity};
