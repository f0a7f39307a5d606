//! Several nodes: how one joins, and what they tell each other and the commands beside them.
//!
//! ```text
//!  knarr join ──> open paths of the API server (protocol, remote): pinned TLS, token
//!  knarr leave, remove-node, status ──> socket of the node's own server (local)
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`target`] | `HOST:PORT/TOKEN/CHECK` |
//! | [`protocol`] | what a node that joins and the cluster say to each other |
//! | [`remote`] | the joining side's connection |
//! | [`token`] | tokens, kept hashed in Secrets |
//! | [`facts`] | what a node remembers of the cluster that it joined |
//! | [`networks`] | networks of one family or of both |
//! | [`local`] | commands and the server of the same node |

pub mod facts;
pub mod local;
pub mod networks;
pub mod protocol;
pub mod remote;
pub mod target;
pub mod token;
