//! How every component but the API server itself uses the Kubernetes API.
//!
//! Upstream counterpart: client-go. Components get a [`kube::Client`] from [`connect`]: over the in-process
//! service on a control-plane node, over mutual TLS on a worker. On top of it:
//!
//! ```text
//!   API server ── list+watch ──> reflector ──> informer store ──> listers (synchronous reads)
//!                                                   └──> handlers ──> workqueue ──> reconcile ──> rest (writes)
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`balancer`] | all API servers behind one client |
//! | [`connect`] | building a client: in process, mutual TLS, kubeconfig |
//! | [`dial`] | hosts by name, connections to the first address that answers |
//! | [`discovery`] | which resources are served |
//! | [`rest`] | typed requests with shallow generics, error classes |
//! | [`reflector`] | the list+watch loop |
//! | [`informer`] | shared caches with indexes and event handlers |
//! | [`workqueue`] | deduplicating queue with delays and back-off |
//! | [`expectations`] | creations and deletions not yet seen by the cache |
//! | [`OwnWrites`] | whether a cache shows what was written |
//! | [`leader_election`] | one active instance, by Lease |
//! | [`events`] | core/v1 Events with aggregation |
//! | [`metrics`] | what `/metrics` tells of requests and queues |
//! | [`upload`] | bodies that are too large for memory |
//! | [`nodes`] | what several parts ask of a Node |
//! | [`selector`] | label selectors over typed objects |
//!
//! It is not a general client library: it has what knarr's parts need.

pub mod balancer;
pub mod connect;
mod connector;
pub mod dial;
pub mod discovery;
pub mod events;
pub mod expectations;
pub mod informer;
mod key;
pub mod leader_election;
pub mod metrics;
pub mod nodes;
mod own_writes;
pub mod reflector;
pub mod rest;
pub mod selector;
pub mod upload;
pub mod workqueue;

pub use balancer::{Balancer, BalancerError};
pub use connect::{ConnectError, balanced, from_kubeconfig, in_cluster, in_process, mtls};
pub use events::{EventRecorder, EventType, object_reference};
pub use expectations::Expectations;
pub use informer::{Event, Informer, Scope, SharedInformers};
pub use key::ObjectKey;
pub use leader_election::LeaderElection;
pub use own_writes::OwnWrites;
pub use rest::{Object, Rest};
pub use selector::Selector;
pub use upload::{UploadError, Uploader};
pub use workqueue::WorkQueue;
