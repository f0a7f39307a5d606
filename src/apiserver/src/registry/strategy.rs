//! Where kinds differ in what the engine does for all of them (upstream's strategies).

/// Kinds whose updates must say which revision they replace.
const CONDITIONAL_ONLY: [(&str, &str); 14] = [
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "apiservices"),
    ("coordination.k8s.io", "leases"),
    ("coordination.k8s.io", "leasecandidates"),
    ("node.k8s.io", "runtimeclasses"),
    ("policy", "poddisruptionbudgets"),
    ("storage.k8s.io", "csistoragecapacities"),
    ("storagemigration.k8s.io", "storageversionmigrations"),
];

/// Kinds that an update creates when they do not exist.
const CREATED_BY_UPDATE: [(&str, &str); 9] = [
    ("", "endpoints"),
    ("", "events"),
    ("", "limitranges"),
    ("", "services"),
    ("coordination.k8s.io", "leases"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("rbac.authorization.k8s.io", "roles"),
];

/// Kinds with a `spec` whose generation is not counted.
const WITHOUT_GENERATION: [(&str, &str); 13] = [
    ("", "limitranges"),
    ("", "namespaces"),
    ("", "nodes"),
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumes"),
    ("", "resourcequotas"),
    ("", "services"),
    ("autoscaling", "horizontalpodautoscalers"),
    ("certificates.k8s.io", "certificatesigningrequests"),
    ("coordination.k8s.io", "leases"),
    ("networking.k8s.io", "ipaddresses"),
    ("networking.k8s.io", "servicecidrs"),
    ("storage.k8s.io", "volumeattachments"),
];

/// Kinds without a `spec` whose generation is counted.
const WITH_GENERATION: [(&str, &str); 3] = [
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("discovery.k8s.io", "endpointslices"),
];

/// Kinds whose dependents stay when nothing is said about them.
const ORPHANED_BY_DEFAULT: [(&str, &str); 2] = [("", "replicationcontrollers"), ("batch", "jobs")];

/// Kinds that a DELETE answers with their last state instead of a Status; besides these, all of
/// `resource.k8s.io`.
const SHOWN_WHEN_DELETED: [(&str, &str); 12] = [
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumes"),
    ("", "pods"),
    ("", "podtemplates"),
    ("", "resourcequotas"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "volumeattachments"),
    ("storage.k8s.io", "volumeattributesclasses"),
];

fn holds(list: &[(&str, &str)], group: &str, resource: &str) -> bool {
    list.contains(&(group, resource))
}

/// Whether an update may leave `resourceVersion` out.
pub(crate) fn allows_unconditional_update(group: &str, resource: &str) -> bool {
    !holds(&CONDITIONAL_ONLY, group, resource)
}

/// Whether an update creates what does not exist.
pub(crate) fn creates_on_update(group: &str, resource: &str) -> bool {
    holds(&CREATED_BY_UPDATE, group, resource)
}

/// Whether changes of the desired state are counted.
pub(crate) fn counts_generation(group: &str, resource: &str, has_spec: bool) -> bool {
    if has_spec {
        !holds(&WITHOUT_GENERATION, group, resource)
    } else {
        holds(&WITH_GENERATION, group, resource)
    }
}

/// Whether dependents stay when nothing is said about them.
pub(crate) fn orphans_by_default(group: &str, resource: &str) -> bool {
    holds(&ORPHANED_BY_DEFAULT, group, resource)
}

/// Whether a DELETE answers with the last state.
pub(crate) fn shows_deleted(group: &str, resource: &str) -> bool {
    group == "resource.k8s.io" || holds(&SHOWN_WHEN_DELETED, group, resource)
}
