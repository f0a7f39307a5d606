//! From requests and limits to CFS shares, quotas and memory limits.

use crate::resources;
use k8s_cri::v1::LinuxContainerResources;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::collections::HashMap;

/// Shares of one whole core.
const SHARES_PER_CPU: i64 = 1024;
/// The kernel's least.
const MIN_SHARES: i64 = 2;
/// The kernel's most.
const MAX_SHARES: i64 = 262_144;
/// Microseconds: the kernel's default CFS period.
pub const QUOTA_PERIOD_MICROSECONDS: i64 = 100_000;
/// Microseconds: the kernel refuses smaller quotas.
const MIN_QUOTA_MICROSECONDS: i64 = 1000;

/// CFS shares of a CPU request in millicores.
pub fn milli_cpu_to_shares(milli: i64) -> i64 {
    if milli <= 0 {
        return MIN_SHARES;
    }
    (milli.saturating_mul(SHARES_PER_CPU) / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

/// CFS quota in microseconds per period of a CPU limit in millicores; 0 when unlimited.
pub fn milli_cpu_to_quota(milli: i64) -> i64 {
    if milli <= 0 {
        return 0;
    }
    (milli.saturating_mul(QUOTA_PERIOD_MICROSECONDS) / 1000).max(MIN_QUOTA_MICROSECONDS)
}

/// What a pod's own cgroup is limited to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CpuLimits {
    /// CFS shares.
    pub shares: i64,
    /// CFS quota in microseconds, absent when unlimited.
    pub quota: Option<i64>,
    /// CFS period in microseconds.
    pub period: i64,
    /// Bytes, absent when unlimited.
    pub memory: Option<i64>,
}

/// The limits of the pod's cgroup: requests give shares; limits count only where every container has one.
pub fn pod_limits(pod: &Pod) -> CpuLimits {
    CpuLimits {
        shares: milli_cpu_to_shares(resources::pod_request(pod, "cpu")),
        quota: resources::is_limited(pod, "cpu")
            .then(|| milli_cpu_to_quota(resources::pod_limit(pod, "cpu")))
            .filter(|quota| *quota > 0),
        period: QUOTA_PERIOD_MICROSECONDS,
        memory: resources::is_limited(pod, "memory")
            .then(|| resources::pod_limit(pod, "memory"))
            .filter(|bytes| *bytes > 0),
    }
}

/// What the kernel can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KernelFeatures {
    /// The unified cgroup hierarchy.
    pub cgroup_v2: bool,
    /// Limits of swap.
    pub swap: bool,
}

/// CRI's `LinuxContainerResources` of a container.
pub fn container_resources(
    pod: &Pod,
    container: &Container,
    memory_capacity: i64,
    kernel: KernelFeatures,
) -> LinuxContainerResources {
    let request = resources::amount(resources::requests(container), "cpu");
    let limit = resources::amount(resources::limits(container), "cpu").unwrap_or(0);
    let memory_limit = resources::amount(resources::limits(container), "memory").unwrap_or(0);
    // A limit without a request counts as the request, as the API's defaults have it.
    let shares = match request {
        Some(request) => milli_cpu_to_shares(request),
        None if limit > 0 => milli_cpu_to_shares(limit),
        None => MIN_SHARES,
    };
    LinuxContainerResources {
        cpu_period: QUOTA_PERIOD_MICROSECONDS,
        cpu_quota: milli_cpu_to_quota(limit),
        cpu_shares: shares,
        memory_limit_in_bytes: memory_limit,
        oom_score_adj: super::oom_score_adj(pod, container, memory_capacity),
        unified: unified(kernel),
        // Swap is not given to pods: equal to the memory limit means none (KEP-2400, NoSwap).
        memory_swap_limit_in_bytes: if kernel.swap && !kernel.cgroup_v2 { memory_limit } else { 0 },
        hugepage_limits: hugepages(container),
        ..LinuxContainerResources::default()
    }
}

/// Files of cgroup v2 that CRI has no fields for.
fn unified(kernel: KernelFeatures) -> HashMap<String, String> {
    let mut files = HashMap::new();
    if kernel.cgroup_v2 {
        // Memory that runs out, the container's or its pod's, ends the whole container, not a random part of it.
        files.insert("memory.oom.group".to_owned(), "1".to_owned());
        if kernel.swap {
            // Unlike v1, this also holds for a container whose memory has no limit.
            files.insert("memory.swap.max".to_owned(), "0".to_owned());
        }
    }
    files
}

fn hugepages(container: &Container) -> Vec<k8s_cri::v1::HugepageLimit> {
    resources::limits(container)
        .into_iter()
        .flatten()
        .filter_map(|(name, quantity)| {
            let size = name.strip_prefix("hugepages-")?;
            // CRI spells 2Mi as 2MB.
            let page_size = format!("{}B", size.strip_suffix('i').unwrap_or(size));
            Some(k8s_cri::v1::HugepageLimit {
                page_size,
                limit: u64::try_from(resources::value(quantity)).unwrap_or(0),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cpu_becomes_shares_and_quota() {
        assert_eq!(milli_cpu_to_shares(0), 2);
        assert_eq!(milli_cpu_to_shares(250), 256);
        assert_eq!(milli_cpu_to_quota(0), 0);
        assert_eq!(milli_cpu_to_quota(5), 1000);
        assert_eq!(milli_cpu_to_quota(500), 50_000);
    }

    #[test]
    fn containers_end_as_a_whole_and_do_not_swap() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": {"containers": [
            {"name": "open"}, {"name": "closed", "resources": {"limits": {"memory": "1Mi"}}}]}}))
        .unwrap();
        let of = |index: usize, cgroup_v2, swap| {
            let container = &crate::pod::containers(&pod)[index];
            let resources = container_resources(&pod, container, 1 << 30, KernelFeatures { cgroup_v2, swap });
            let mut files: Vec<_> = resources.unified.into_iter().collect();
            files.sort();
            (files, resources.memory_swap_limit_in_bytes)
        };
        let file = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let whole = file("memory.oom.group", "1");
        for container in [0, 1] {
            assert_eq!(of(container, true, true), (vec![whole.clone(), file("memory.swap.max", "0")], 0));
            assert_eq!(of(container, true, false), (vec![whole.clone()], 0));
        }
        assert_eq!(of(0, false, true), (vec![], 0));
        assert_eq!(of(1, false, true), (vec![], 1 << 20));
    }

    #[test]
    fn a_pod_is_limited_only_when_all_its_containers_are() {
        let pod = |second: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"metadata": {}, "spec": {"containers": [
                {"name": "a", "resources": {"limits": {"cpu": "1", "memory": "64Mi"}}}, second]}}))
            .unwrap()
        };
        let open = pod_limits(&pod(json!({"name": "b"})));
        assert_eq!((open.quota, open.memory), (None, None));
        let closed =
            pod_limits(&pod(json!({"name": "b", "resources": {"limits": {"cpu": "1", "memory": "64Mi"}}})));
        assert_eq!((closed.quota, closed.memory), (Some(200_000), Some(128 << 20)));
    }
}
