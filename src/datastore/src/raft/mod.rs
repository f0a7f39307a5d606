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
//! | `snapshot`, `receive` | copies of the state: made and installed; on their way in |
//! | `wire` | requests and replies between nodes |
//! | `transport` | who carries them: HTTP/2 over TLS; in memory, for tests |
//! | `network` | openraft's view of the other nodes |
//! | `proposer` | groups of commands on their way to the leader |
//! | `merge` | those of all nodes, at the leader: one entry |
//! | `barrier` | consistent reads |
//! | `authors` | when entries begin to tell who made them |
//! | `feed` | the log for spares, from whoever has it |
//! | `options` | how a node takes part |
//! | `node` | one node of a cluster: starts, serves, stops |
//! | `membership` | changes of the members |
//! | `plan`, `roles` | who votes: what should change, and its doing |
//! | `transfer` | handing the leadership over |
//! | `status` | how the cluster is |
//! | `retention` | how much of the log is kept |
//! | `upkeep` | starting again after failures |

mod authors;
mod barrier;
pub(crate) mod core;
mod feed;
mod log_store;
mod machine;
mod membership;
mod merge;
mod network;
mod node;
mod options;
mod plan;
mod proposer;
mod receive;
mod retention;
mod roles;
pub(crate) mod snapshot;
mod status;
mod transfer;
mod transport;
pub(crate) mod types;
mod upkeep;
mod wire;

pub use membership::{Change, ChangeError};
pub use node::Cluster;
pub use options::{ClusterOptions, Ticket, Timing};
pub use plan::{Candidate, Goal, Step, plan};
pub use status::{MemberStatus, NodeReport, Status};
pub use transport::http::{Answerer, HttpTransport, serve};
pub use transport::memory::Switchboard;
pub use transport::{Endpoint, Peer, Transport, TransportError};
pub use types::{Member, Role};

pub(crate) use self::core::{Core, Identity};
