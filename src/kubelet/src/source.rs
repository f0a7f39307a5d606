//! What the kubelet's server asks for.

use crate::kubelet::Kubelet;
use crate::pod;
use crate::runtime_manager::{ObservedContainer, ObservedPod, State, observed_pods};
use crate::server::stats::NodeStatistics;
use crate::server::{ContainerHandle, ContainerInstance, PodHandle, PodSource};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStatus, Pod, PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

#[async_trait]
impl PodSource for Kubelet {
    fn pods(&self) -> Vec<Arc<Pod>> {
        let status = &self.workers().syncer().parts().status;
        let with_status = |pod: Arc<Pod>| match status.get(pod::uid(&pod)) {
            Some(status) => Arc::new(Pod { status: Some((*status).clone()), ..(*pod).clone() }),
            None => pod,
        };
        self.workers().pods().into_iter().map(|(pod, _)| with_status(pod)).collect()
    }

    fn cgroup(&self, pod: &Pod) -> String {
        self.workers().syncer().parts().cgroups.pod_path(pod)
    }

    async fn running_pods(&self) -> Vec<Pod> {
        let pods = observed_pods(self.runtime().as_ref()).await.unwrap_or_default();
        pods.into_values().filter(ObservedPod::anything_running).map(running_pod).collect()
    }

    async fn lookup(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<PodHandle> {
        let named = |pod: &Pod| {
            pod::namespace(pod) == namespace
                && pod::name(pod) == name
                && uid.is_none_or(|uid| uid == pod::uid(pod))
        };
        let mut found: Vec<(Arc<Pod>, bool)> =
            self.workers().pods().into_iter().filter(|(pod, _)| named(pod)).collect();
        // Of two pods of one name the one that is being stopped is the older.
        found.sort_by_key(|(_, active)| !*active);
        let (pod, _) = found.into_iter().next()?;
        let syncer = self.workers().syncer();
        let observed = syncer.parts().runtime.observe(pod::uid(&pod)).await.ok()?;
        let ephemeral = pod::ephemeral_containers(&pod);
        let containers = pod::init_containers(&pod).iter().chain(pod::containers(&pod)).chain(&ephemeral);
        Some(PodHandle {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: pod::uid(&pod).to_owned(),
            sandbox_id: observed.active_sandbox().map(|sandbox| sandbox.id.clone()),
            containers: containers
                .map(|container| {
                    let reason =
                        syncer.waiting_reason(pod::uid(&pod), &container.name).map(|reason| reason.reason);
                    handle(container, &observed, reason, !pod::init_containers(&pod).is_empty())
                })
                .collect(),
        })
    }

    async fn statistics(&self) -> NodeStatistics {
        self.collector().collect().await
    }

    fn configuration(&self) -> Value {
        let config = self.config();
        json!({
            "kind": "KubeletConfiguration",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "cgroupDriver": "cgroupfs",
            "clusterDNS": config.cluster_dns.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "clusterDomain": config.cluster_domain,
            "containerLogMaxFiles": config.log_max_files,
            "containerLogMaxSize": format!("{}Mi", config.log_max_bytes / 1024 / 1024),
            "containerRuntimeEndpoint": format!("unix://{}", config.runtime_endpoint.display()),
            "imageGCHighThresholdPercent": config.image_gc.high_percent,
            "imageGCLowThresholdPercent": config.image_gc.low_percent,
            "maxParallelImagePulls": config.parallel_pulls,
            "maxPods": config.max_pods,
            "nodeStatusReportFrequency": "5m0s",
            "podLogsDir": config.pod_logs_dir,
            "podPidsLimit": config.pod_pids_limit.unwrap_or(-1),
            "port": config.port,
            "resolvConf": config.resolv_conf,
            "serializeImagePulls": config.parallel_pulls == 1,
            "systemReserved": config.system_reserved,
        })
    }

    fn healthy(&self) -> Result<(), String> {
        self.relists_healthy()
    }

    fn probe_metrics(&self) -> String {
        self.workers().syncer().parts().probes.metrics().render()
    }

    fn metrics(&self) -> String {
        let pods = self.workers().pods();
        let active = pods.iter().filter(|(_, active)| *active).count();
        let mut text = String::new();
        let _ = writeln!(text, "# HELP kubelet_node_name [ALPHA] The node's name. The count is always 1.");
        let _ = writeln!(text, "# TYPE kubelet_node_name gauge");
        let _ = writeln!(text, "kubelet_node_name{{node=\"{}\"}} 1", self.config().node_name);
        let _ = writeln!(
            text,
            "# HELP kubelet_desired_pods [ALPHA] The number of pods the kubelet is being instructed to run."
        );
        let _ = writeln!(text, "# TYPE kubelet_desired_pods gauge");
        let _ = writeln!(text, "kubelet_desired_pods{{static=\"\"}} {active}");
        let _ = writeln!(
            text,
            "# HELP kubelet_active_pods [ALPHA] The number of pods the kubelet considers active and which are being considered when admitting new pods."
        );
        let _ = writeln!(text, "# TYPE kubelet_active_pods gauge");
        let _ = writeln!(text, "kubelet_active_pods{{static=\"\"}} {active}");
        text
    }
}

fn handle(
    container: &Container,
    observed: &ObservedPod,
    reason: Option<String>,
    has_init: bool,
) -> ContainerHandle {
    let mut instances = observed.containers.iter().filter(|instance| instance.name == container.name);
    let current = instances.next();
    let previous = instances.find(|instance| instance.state == State::Exited);
    let creating = if has_init { "PodInitializing" } else { "ContainerCreating" };
    let waiting_reason = match current {
        Some(current) if current.state == State::Running => None,
        Some(_) => reason,
        None => Some(reason.unwrap_or_else(|| creating.to_owned())),
    };
    ContainerHandle {
        name: container.name.clone(),
        tty: container.tty.unwrap_or(false),
        stdin: container.stdin.unwrap_or(false),
        current: current.map(instance),
        previous: previous.map(instance),
        waiting_reason,
    }
}

fn instance(observed: &ObservedContainer) -> ContainerInstance {
    ContainerInstance {
        id: observed.id.clone(),
        log_path: PathBuf::from(&observed.log_path),
        running: observed.state == State::Running,
    }
}

fn running_pod(observed: ObservedPod) -> Pod {
    let running = |container: &&ObservedContainer| container.state == State::Running;
    let containers = observed.containers.iter().filter(running);
    Pod {
        metadata: ObjectMeta {
            name: Some(observed.name.clone()),
            namespace: Some(observed.namespace.clone()),
            uid: Some(observed.uid.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            containers: containers
                .clone()
                .map(|container| Container {
                    name: container.name.clone(),
                    image: Some(container.image.clone()),
                    ..Container::default()
                })
                .collect(),
            ..PodSpec::default()
        }),
        status: Some(PodStatus {
            container_statuses: Some(
                containers
                    .map(|container| ContainerStatus {
                        name: container.name.clone(),
                        image: container.image.clone(),
                        image_id: container.image_id.clone(),
                        container_id: Some(container.id.clone()),
                        state: Some(ContainerState {
                            running: Some(ContainerStateRunning::default()),
                            ..ContainerState::default()
                        }),
                        ..ContainerStatus::default()
                    })
                    .collect(),
            ),
            ..PodStatus::default()
        }),
    }
}
