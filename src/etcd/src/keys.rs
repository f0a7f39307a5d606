//! Where kube-apiserver has an object in etcd.
//!
//! Our keys are `/registry/GROUP/RESOURCE/...` for every resource (the group of core is `core`). etcd's have no group for
//! built-in resources, and some resources have names of old there.

use std::borrow::Cow;

/// Groups of Kubernetes' own whose names look like those of custom resources.
const BUILT_IN: [&str; 18] = [
    "admissionregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "imagepolicy.k8s.io",
    "internal.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy.k8s.io",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

/// Where etcd has what is under a key here.
pub(crate) fn in_etcd(key: &str) -> Cow<'_, str> {
    let parts = key.strip_prefix("/registry/").and_then(|rest| rest.split_once('/'));
    let Some((group, rest)) = parts else { return Cow::Borrowed(key) };
    let built_in = !group.contains('.') || BUILT_IN.contains(&group);
    if !built_in {
        return Cow::Borrowed(key);
    }
    let (resource, name) = rest.split_once('/').unwrap_or((rest, ""));
    let place = match (group, resource) {
        ("core", "services") => "services/specs",
        ("core", "endpoints") => "services/endpoints",
        ("core", "nodes") => "minions",
        ("core", "replicationcontrollers") => "controllers",
        ("networking.k8s.io", "ingresses") => "ingress",
        (_, resource) => resource,
    };
    Cow::Owned(format!("/registry/{place}/{name}"))
}

/// Whether a key is in a range of etcd: the key alone when the end is empty; all from the key on when the end is a zero
/// byte.
pub(crate) fn in_range(key: &[u8], from: &[u8], end: &[u8]) -> bool {
    match end {
        [] => key == from,
        [0] => key >= from,
        end => key >= from && key < end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_where_kube_apiserver_has_them() {
        for (here, there) in [
            ("/registry/core/pods/default/a", "/registry/pods/default/a"),
            ("/registry/core/namespaces/default", "/registry/namespaces/default"),
            ("/registry/core/nodes/n", "/registry/minions/n"),
            ("/registry/core/services/default/s", "/registry/services/specs/default/s"),
            ("/registry/core/endpoints/default/s", "/registry/services/endpoints/default/s"),
            ("/registry/apps/deployments/default/d", "/registry/deployments/default/d"),
            (
                "/registry/rbac.authorization.k8s.io/clusterroles/system:node",
                "/registry/clusterroles/system:node",
            ),
            ("/registry/networking.k8s.io/ingresses/a/b", "/registry/ingress/a/b"),
            (
                "/registry/apiregistration.k8s.io/apiservices/v1.",
                "/registry/apiregistration.k8s.io/apiservices/v1.",
            ),
            (
                "/registry/apiextensions.k8s.io/customresourcedefinitions/w",
                "/registry/apiextensions.k8s.io/customresourcedefinitions/w",
            ),
            (
                "/registry/gateway.networking.k8s.io/gateways/a/b",
                "/registry/gateway.networking.k8s.io/gateways/a/b",
            ),
            ("/registry/example.com/widgets/a/b", "/registry/example.com/widgets/a/b"),
            ("/other", "/other"),
        ] {
            assert_eq!(in_etcd(here), there);
        }
    }

    #[test]
    fn ranges_are_etcds() {
        assert!(in_range(b"a", b"a", b"") && !in_range(b"ab", b"a", b""));
        assert!(in_range(b"b", b"a", b"\0") && !in_range(b"a", b"b", b"\0") && in_range(b"a", b"\0", b"\0"));
        assert!(in_range(b"a", b"a", b"b") && in_range(b"a/x", b"a", b"b") && !in_range(b"b", b"a", b"b"));
    }
}
