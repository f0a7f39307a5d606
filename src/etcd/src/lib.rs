//! etcd's API over the datastore, for those who look into a cluster with etcd's tools: reading, watching, snapshots.
//!
//! - Purpose: `etcdctl get`, `watch`, `endpoint status|health|hashkv`, `member list`, `snapshot save` against a node.
//! - Not here: writing. Whatever would change something is refused; objects are written through the Kubernetes API.
//! - Upstream counterpart: `etcd/server/etcdserver/api/v3rpc`.
//!
//! ```text
//!  etcdctl --h2, TLS--> server --> grpc --> kv, watch, cluster, maintenance --> datastore::Datastore
//! ```
//!
//! Keys are where kube-apiserver has them in etcd (`/registry/pods/NAMESPACE/NAME`), values the JSON of the objects.
//! What is encrypted at rest is shown as it is stored; past revisions and watches show it without its value. How often a
//! key was changed since it was created is not kept: `version` is 1 for what was never changed, and 2 for all else.
//!
//! | module | what |
//! |---|---|
//! | `messages` | the messages, with etcd's field numbers |
//! | `grpc` | gRPC's framing over HTTP/2 |
//! | `keys` | where etcd has a key |
//! | `view` | what all answers have in common |
//! | `kv`, `watch`, `maintenance` | the services |
//! | `server` | connections, and who may |

mod grpc;
mod keys;
mod kv;
mod maintenance;
mod messages;
mod server;
mod view;
mod watch;

pub use maintenance::SnapshotFile;
pub use server::serve;
pub use view::{View, ViewOptions};
