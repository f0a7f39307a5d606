//! The store behind the API server: commands, a log, a deterministic state machine, SQLite.
//!
//! - Purpose: implements [`storage::Storage`] durably. Nothing is acknowledged before it is on disk; writes
//!   that arrive together share one log entry, one transaction and one fsync.
//! - Not here: what the values mean (crate `apiserver`), the watch cache itself (crate `storage`).
//! - Upstream counterpart: `k8s.io/apiserver/pkg/storage/etcd3` and etcd.
//!
//! ```text
//!  create/update/delete      queue         writer thread                      readers
//!  ---------------------> proposals ---> Entry{commands} ---> StateMachine   get/list/watch
//!                                             |  log + rows, one commit         |
//!                                             v                                 v
//!                                          state.db  ---- then publish ---> WatchCache
//!                                             ^------- older revisions ---------'
//! ```
//!
//! One node is a cluster with one voter: it needs nobody's consent, so an entry goes straight into the rows. With
//! more nodes, [`raft`] replicates entries, and each node applies them with the same [`StateMachine`], in the same
//! transaction as the applied position.
//!
//! Files, all below one directory of mode 0700: `state.db` (with SQLite's `-wal` and `-shm` beside it),
//! `lock`, which names the process that has the directory open, and snapshots while they are sent or received.
//!
//! | module | what |
//! |---|---|
//! | `command` | commands and log entries as data |
//! | `state_machine` | what they do to the rows |
//! | `log` | the log table |
//! | `schema` | tables, settings, versions |
//! | `directory` | the directory and its lock |
//! | `writer`, `direct` | the thread that commits, and commits without it |
//! | `checkpointer`, `room` | keep SQLite's write-ahead log short, and its file longer than that |
//! | `doubt` | after a sync has failed |
//! | `reader` | past revisions |
//! | `executor`, `limits` | threads or none; sizes at which it tidies up |
//! | `bug` | known bugs, for tests that should catch them |
//! | `maintenance` | how an open store is, its file's size, what it knows of a key |
//! | `offline` | copies for keeping, and the ways back: restoring one, going on alone |
//! | `raft` | several nodes |
//! | `options` | how to open it, and what it counts |
//! | `store`, `interface` | the whole; as `storage::Storage` |
//! | `error` | why it did not open; SQLite's errors in words |

pub mod bug;
mod checkpointer;
mod command;
mod direct;
mod directory;
mod doubt;
mod error;
mod executor;
mod interface;
mod limits;
mod log;
pub mod maintenance;
pub mod offline;
mod options;
pub mod raft;
mod reader;
mod room;
mod schema;
mod state_machine;
mod store;
mod writer;

pub use command::{Command, DecodeError, Entry, Operation};
pub use error::OpenError;
pub use executor::Executor;
pub use limits::Limits;
pub use log::Position;
pub use options::{Options, Statistics};
pub use state_machine::{Applied, Outcome, Rejection, StateMachine};
pub use store::Datastore;
