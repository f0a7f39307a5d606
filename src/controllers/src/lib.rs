//! The control loops of Kubernetes.
//!
//! Upstream counterpart: kube-controller-manager. Controllers are clients of the API server like any other:
//! they read shared caches and write through the API as `system:kube-controller-manager`. Each is one file (or
//! folder) of one shape: what it watches, how an event becomes a key, and `reconcile(key)`; see
//! `docs/adding-a-controller.md`.
//!
//! ```text
//!   informers ── events ──> keys ──> workqueue ──> reconcile(key): read caches ─> plan (pure) ─> write
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`framework`] | the shared shape and the runner |
//! | [`manager`] | the list of all controllers, leader election |
//! | everything else | one controller each, or facts that several share |

pub mod framework;
mod history;
pub mod manager;
mod node_affinity;
mod node_taints;
mod ownership;
mod percent;
mod pod_control;
mod pods;
mod revision;
mod service_pods;

mod bootstrap_tokens;
mod certificates;
mod clusterrole_aggregation;
mod cronjob;
mod daemonset;
mod deployment;
mod disruption;
mod endpoints;
mod endpointslice;
mod endpointslice_mirroring;
mod ephemeral_volume;
mod garbage_collector;
mod horizontal_pod_autoscaler;
mod job;
mod legacy_token_cleaner;
mod namespace;
mod node_ipam;
mod node_lifecycle;
mod persistent_volume;
mod pod_gc;
mod replicaset;
mod replicationcontroller;
mod resource_quota;
mod root_ca_publisher;
mod service_account_tokens;
mod service_cidrs;
mod serviceaccount;
mod statefulset;
mod storage_version_migrator;
mod taint_eviction;
mod ttl_after_finished;
mod validating_admission_policy_status;
mod volume_protection;

pub use cronjob::{Schedule, ScheduleError};
pub use manager::{Config, ControllersError, run};
pub use node_ipam::{NODE_PREFIX_V4, NODE_PREFIX_V6, NodePrefixes};
pub use node_lifecycle::NODE_MONITOR_GRACE_PERIOD;
