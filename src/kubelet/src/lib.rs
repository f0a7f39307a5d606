//! The kubelet: makes the pods that are bound to this node run, and tells the API server how they and the node
//! are doing.
//!
//! What it is not: it decides nothing about placement, owns no network and no images format; those are the
//! scheduler's, the CNI plugin's and the container runtime's. Upstream counterpart: `k8s.io/kubernetes/pkg/kubelet`.
//!
//! ```text
//!   API server ──pods──> pod_workers ──actions──> runtime_manager ──CRI──> containerd
//!        ^                 ^   ^  │                                           │
//!        │    prober ──────┘   │  └──volume_manager, cm, images               │
//!        └──status             └───────────── pleg <──────────events──────────┘
//! ```
//!
//! The middle is pure: what to do for a pod ([`runtime_manager`]'s `compute_pod_actions`), its status
//! (`status::generate`), its life (`pod_workers`' state), who is evicted, what goes into a volume are functions
//! of what was observed, with tests. The rim runs them: one task per pod, level-triggered, so that a restarted
//! kubelet adopts what runs.
//!
//! | module | what it is |
//! |---|---|
//! | `admission` | whether the node takes a pod |
//! | `cm` | cgroups, shares, quotas, OOM scores |
//! | `dns`, `hosts`, `env`, `fields`, `expansion` | what containers find in their environment |
//! | `eviction` | thresholds, ranking, evictions |
//! | `gc`, `log_rotation`, `pod_logs` | dead containers, orphans, images, logs |
//! | `images` | pulls, credentials, image garbage |
//! | `lease`, `node_status` | the Node and its heartbeat |
//! | `objects` | ConfigMaps and Secrets that pods refer to |
//! | `pleg` | what changed at the runtime |
//! | `pod_workers` | a pod's life on its node |
//! | `prober` | liveness, readiness, startup |
//! | `runtime_manager` | sandboxes and containers |
//! | `seen_through` | changes by the runtime that outlive who asked for them |
//! | [`server`] | the HTTPS server on port 10250 |
//! | `status` | pod statuses |
//! | `volume_manager` | volumes |

mod admission;
mod backoff;
mod cm;
mod config;
mod dns;
mod env;
mod error;
mod events;
mod eviction;
mod evictions;
mod expansion;
mod fields;
mod gc;
mod hosts;
mod images;
mod kubelet;
mod lease;
mod log_rotation;
mod node_status;
mod objects;
mod pleg;
mod pod;
mod pod_logs;
mod pod_workers;
mod prober;
mod resources;
mod runtime_manager;
mod runtime_state;
mod seen_through;
pub mod server;
mod source;
mod status;
mod stop;
#[cfg(test)]
mod testing;
mod volume_manager;

pub use config::{Config, MAX_PODS, outside_logs};
pub use error::KubeletError;
pub use eviction::{Limit, Signal, Thresholds};
pub use images::ImageGcPolicy;
pub use kubelet::Kubelet;
pub use node_status::primary_v6;
pub use stop::{StopOptions, end_pod_cgroups, stop_all_pods};

use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Connects to the container runtime and runs the kubelet until cancelled. Pods go on running afterwards.
///
/// The runtime need not be up yet: the node is registered at once and becomes ready when the runtime does.
///
/// # Errors
/// When the kubelet's directories or cgroups cannot be made.
pub async fn run(config: Config, cancel: CancellationToken) -> Result<(), KubeletError> {
    let runtime = Arc::new(cri::Client::new(&config.runtime_endpoint)?);
    let kubelet = Kubelet::new(config, runtime.clone(), runtime, &cancel)?;
    kubelet.run(cancel).await;
    Ok(())
}
