//! The plugins that are on by default, in order.

use std::sync::Arc;

use storage::StorageError;

use super::certificates::{
    CertificateApproval, CertificateSigning, CertificateSubjectRestriction, ClusterTrustBundleAttest,
};
use super::chain::{Chain, Plugin};
use super::control::AdmissionControl;
use super::counts::Counts;
use super::default_ingress_class::DefaultIngressClass;
use super::default_storage_class::DefaultStorageClass;
use super::limit_ranger::LimitRanger;
use super::matching::Matcher;
use super::namespace_lifecycle::NamespaceLifecycle;
use super::node_restriction::NodeRestriction;
use super::optional::{
    AlwaysAdmit, AlwaysDeny, AlwaysPullImages, DenyServiceExternalIps, EventRateLimit,
    ExtendedResourceToleration, LimitPodHardAntiAffinityTopology, NamespaceAutoProvision, NamespaceExists,
    OwnerReferencesPermissionEnforcement, PodNodeSelector,
};
use super::persistent_volume_claim_resize::PersistentVolumeClaimResize;
use super::pod_security::PodSecurity;
use super::pod_topology_labels::PodTopologyLabels;
use super::policy::{self, MutatingAdmissionPolicy, ValidatingAdmissionPolicy};
use super::priority::Priority;
use super::rbac_escalation::RbacEscalation;
use super::resource_quota::ResourceQuota;
use super::runtime_class::RuntimeClass;
use super::service_account::ServiceAccount;
use super::storage_object_in_use_protection::StorageObjectInUseProtection;
use super::taint_nodes_by_condition::TaintNodesByCondition;
use super::webhook::{MutatingAdmissionWebhook, Tools, ValidatingAdmissionWebhook};
use crate::authorization::{Authorizer, Rbac};
use crate::outbound::Outbound;
use crate::registry::{LiveResources, Registry};

/// What plugins decide by.
#[derive(Clone)]
pub struct AdmissionConfig {
    /// The stored objects.
    pub registry: Registry,
    /// Asked about verbs that only plugins know: `escalate`, `bind`, `approve`, `sign`, `attest`.
    pub authorizer: Arc<dyn Authorizer>,
    /// Whose rules are whose.
    pub rbac: Arc<Rbac>,
    /// Everything that is served: webhooks and policies may ask for another version of a resource.
    pub resources: Arc<LiveResources>,
    /// Calls webhooks.
    pub outbound: Outbound,
    /// How plugins are configured.
    pub control: AdmissionControl,
}

/// The chain of a stock API server with NodeRestriction, as far as plugins are compiled in.
///
/// # Errors
/// When the configurations of webhooks and policies cannot be read.
pub async fn default_chain(config: &AdmissionConfig) -> Result<Chain, StorageError> {
    let registry = || config.registry.clone();
    let authorizer = || Arc::clone(&config.authorizer);
    let counts = Arc::<Counts>::default();
    let tools = Tools {
        outbound: config.outbound.clone(),
        credentials: Arc::clone(&config.control.mutating),
        matcher: Arc::new(Matcher::new(registry(), Arc::clone(&config.resources))),
        authorizer: authorizer(),
        counts: Arc::clone(&counts),
    };
    let policy_tools = policy::Tools {
        registry: registry(),
        matcher: Arc::clone(&tools.matcher),
        authorizer: authorizer(),
        counts: Arc::clone(&counts),
    };
    let mutating_policies = MutatingAdmissionPolicy::start(policy_tools.clone()).await?;
    let validating_policies = ValidatingAdmissionPolicy::start(policy_tools).await?;
    let mutating_webhooks = MutatingAdmissionWebhook::start(&config.registry, tools.clone()).await?;
    let tools = Tools { credentials: Arc::clone(&config.control.validating), ..tools };
    let validating_webhooks = ValidatingAdmissionWebhook::start(&config.registry, tools).await?;
    // Order matters: defaults before what checks them.
    let plugins: Vec<Arc<dyn Plugin>> = vec![
        Arc::new(AlwaysAdmit),
        Arc::new(NamespaceAutoProvision(registry())),
        Arc::new(NamespaceLifecycle::new(registry())),
        Arc::new(NamespaceExists(registry())),
        Arc::new(LimitPodHardAntiAffinityTopology),
        Arc::new(LimitRanger::new(registry())),
        Arc::new(ServiceAccount::new(registry())),
        Arc::new(NodeRestriction::new(registry())),
        Arc::new(TaintNodesByCondition),
        Arc::new(AlwaysPullImages),
        Arc::new(PodSecurity::new(registry(), Arc::clone(&config.control.pod_security))),
        Arc::new(PodNodeSelector::new(registry(), Arc::clone(&config.control.node_selectors))),
        Arc::new(Priority::new(registry())),
        Arc::new(config.control.toleration_seconds),
        Arc::new(EventRateLimit::new(&config.control.rate_limits)),
        Arc::new(ExtendedResourceToleration),
        Arc::new(DefaultStorageClass::new(registry())),
        Arc::new(StorageObjectInUseProtection),
        Arc::new(OwnerReferencesPermissionEnforcement::new(authorizer(), Arc::clone(&config.resources))),
        Arc::new(PersistentVolumeClaimResize::new(registry())),
        Arc::new(RuntimeClass::new(registry())),
        Arc::new(CertificateApproval::new(authorizer())),
        Arc::new(CertificateSigning::new(authorizer())),
        Arc::new(ClusterTrustBundleAttest::new(authorizer())),
        Arc::new(CertificateSubjectRestriction),
        Arc::new(DefaultIngressClass::new(registry())),
        Arc::new(PodTopologyLabels::new(registry())),
        Arc::new(DenyServiceExternalIps),
        Arc::new(mutating_policies),
        Arc::new(mutating_webhooks),
        Arc::new(validating_policies),
        Arc::new(validating_webhooks),
        Arc::new(RbacEscalation::new(registry(), authorizer(), Arc::clone(&config.rbac))),
        // Last: what is refused after it would stay reserved.
        Arc::new(ResourceQuota::new(registry(), Arc::clone(&config.control.limited_resources))),
        Arc::new(AlwaysDeny),
    ];
    let plugins = plugins.into_iter().filter(|plugin| config.control.choice.uses(plugin.name())).collect();
    Ok(Chain::new(plugins).counting(counts))
}

#[cfg(test)]
#[path = "defaults_tests.rs"]
mod tests;
