//! The order of groups and versions in discovery.

use std::cmp::Ordering;

/// Compares two versions as Kubernetes ranks them: GA above beta above alpha, then the larger number; anything
/// of another form is below and in alphabetical order.
pub fn compare(a: &str, b: &str) -> Ordering {
    match (parse(a), parse(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        (None, None) => b.cmp(a),
    }
}

/// Stability (alpha 0, beta 1, GA 2), major and minor number of a version such as `v2beta1`.
fn parse(version: &str) -> Option<(u8, u32, u32)> {
    let rest = version.strip_prefix('v')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (major, tail) = rest.split_at(end);
    let major = major.parse().ok()?;
    if tail.is_empty() {
        return Some((2, major, 0));
    }
    let (stability, minor) = match tail.strip_prefix("beta") {
        Some(minor) => (1, minor),
        None => (0, tail.strip_prefix("alpha")?),
    };
    Some((stability, major, minor.parse().ok()?))
}

/// Rank of a built-in group in discovery, as kube-apiserver's own APIServices rank them
/// (`groupPriorityMinimum`); higher comes first.
pub fn group_priority(group: &str) -> i32 {
    match group {
        "apiregistration.k8s.io" => 20000,
        "" => 18000,
        "apps" => 17800,
        "events.k8s.io" => 17750,
        "authentication.k8s.io" => 17700,
        "authorization.k8s.io" => 17600,
        "autoscaling" => 17500,
        "batch" => 17400,
        "certificates.k8s.io" => 17300,
        "networking.k8s.io" => 17200,
        "policy" => 17100,
        "rbac.authorization.k8s.io" => 17000,
        "storage.k8s.io" => 16800,
        "admissionregistration.k8s.io" | "apiextensions.k8s.io" => 16700,
        "scheduling.k8s.io" => 16600,
        "coordination.k8s.io" => 16500,
        "node.k8s.io" => 16300,
        "discovery.k8s.io" => 16200,
        "flowcontrol.apiserver.k8s.io" => 16100,
        "internal.apiserver.k8s.io" => 16000,
        "resource.k8s.io" => 15900,
        "storagemigration.k8s.io" => 15800,
        // What an APIService of a custom resource's group gets.
        _ => 1000,
    }
}

/// Rank of a version within its group (`versionPriority` of an APIService).
pub fn version_priority(version: &str) -> i32 {
    match parse(version) {
        Some((2, major, _)) => 15 + i32::try_from(major.saturating_sub(1)).unwrap_or(0) * 15,
        Some((1, _, minor)) => 9 + i32::try_from(minor).unwrap_or(0).min(5),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_versions_come_before_beta_and_alpha() {
        let mut versions = vec!["v1alpha1", "v2", "v1beta2", "v1", "v1beta1", "v10", "x"];
        versions.sort_by(|a, b| compare(b, a));
        assert_eq!(versions, ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "x"]);
    }
}
