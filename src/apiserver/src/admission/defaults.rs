//! The plugins that are on by default, in order.

use std::sync::Arc;

use super::certificates::{
    CertificateApproval, CertificateSigning, CertificateSubjectRestriction, ClusterTrustBundleAttest,
};
use super::chain::{Chain, Plugin};
use super::default_ingress_class::DefaultIngressClass;
use super::default_storage_class::DefaultStorageClass;
use super::default_toleration_seconds::DefaultTolerationSeconds;
use super::limit_ranger::LimitRanger;
use super::namespace_lifecycle::NamespaceLifecycle;
use super::node_restriction::NodeRestriction;
use super::persistent_volume_claim_resize::PersistentVolumeClaimResize;
use super::pod_security::PodSecurity;
use super::pod_topology_labels::PodTopologyLabels;
use super::priority::Priority;
use super::rbac_escalation::RbacEscalation;
use super::resource_quota::ResourceQuota;
use super::runtime_class::RuntimeClass;
use super::service_account::ServiceAccount;
use super::storage_object_in_use_protection::StorageObjectInUseProtection;
use super::taint_nodes_by_condition::TaintNodesByCondition;
use crate::authorization::{Authorizer, Rbac};
use crate::registry::Registry;

/// What plugins decide by.
#[derive(Clone)]
pub struct AdmissionConfig {
    /// The stored objects.
    pub registry: Registry,
    /// Asked about verbs that only plugins know: `escalate`, `bind`, `approve`, `sign`, `attest`.
    pub authorizer: Arc<dyn Authorizer>,
    /// Whose rules are whose.
    pub rbac: Arc<Rbac>,
}

/// The chain of a stock API server with NodeRestriction, as far as plugins are compiled in.
pub fn default_chain(config: &AdmissionConfig) -> Chain {
    let registry = || config.registry.clone();
    let authorizer = || Arc::clone(&config.authorizer);
    // Order matters: defaults before what checks them.
    let plugins: Vec<Arc<dyn Plugin>> = vec![
        Arc::new(NamespaceLifecycle::new(registry())),
        Arc::new(LimitRanger::new(registry())),
        Arc::new(ServiceAccount::new(registry())),
        Arc::new(NodeRestriction::new(registry())),
        Arc::new(TaintNodesByCondition),
        Arc::new(PodSecurity::new(registry())),
        Arc::new(Priority::new(registry())),
        Arc::new(DefaultTolerationSeconds),
        Arc::new(DefaultStorageClass::new(registry())),
        Arc::new(StorageObjectInUseProtection),
        Arc::new(PersistentVolumeClaimResize::new(registry())),
        Arc::new(RuntimeClass::new(registry())),
        Arc::new(CertificateApproval::new(authorizer())),
        Arc::new(CertificateSigning::new(authorizer())),
        Arc::new(ClusterTrustBundleAttest::new(authorizer())),
        Arc::new(CertificateSubjectRestriction),
        Arc::new(DefaultIngressClass::new(registry())),
        Arc::new(PodTopologyLabels::new(registry())),
        Arc::new(RbacEscalation::new(registry(), authorizer(), Arc::clone(&config.rbac))),
        // Last: what is refused after it would stay reserved.
        Arc::new(ResourceQuota::new(registry())),
    ];
    Chain::new(plugins)
}

#[cfg(test)]
#[path = "defaults_tests.rs"]
mod tests;
