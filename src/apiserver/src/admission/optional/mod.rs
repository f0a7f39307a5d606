//! Admission plugins that are off unless `--enable-admission-plugins` names them, and the choice of plugins.

mod always;
mod always_pull_images;
mod deny_service_external_ips;
mod event_rate_limit;
mod extended_resource_toleration;
mod limit_pod_hard_anti_affinity_topology;
mod namespaces;
mod owner_references;
mod pod_node_selector;

pub(super) use always::{AlwaysAdmit, AlwaysDeny};
pub(super) use always_pull_images::AlwaysPullImages;
pub(super) use deny_service_external_ips::DenyServiceExternalIps;
pub(super) use event_rate_limit::{EventRateLimit, RateLimits};
pub(super) use extended_resource_toleration::ExtendedResourceToleration;
pub(super) use limit_pod_hard_anti_affinity_topology::LimitPodHardAntiAffinityTopology;
pub(super) use namespaces::{NamespaceAutoProvision, NamespaceExists};
pub(super) use owner_references::OwnerReferencesPermissionEnforcement;
pub(super) use pod_node_selector::{NodeSelectors, PodNodeSelector};

use std::collections::BTreeSet;

/// Plugins that are off by default.
const OFF: [&str; 11] = [
    "AlwaysAdmit",
    "AlwaysDeny",
    "AlwaysPullImages",
    "DenyServiceExternalIPs",
    "EventRateLimit",
    "ExtendedResourceToleration",
    "LimitPodHardAntiAffinityTopology",
    "NamespaceAutoProvision",
    "NamespaceExists",
    "OwnerReferencesPermissionEnforcement",
    "PodNodeSelector",
];

/// Plugins that are on by default.
const ON: [&str; 23] = [
    "CertificateApproval",
    "CertificateSigning",
    "CertificateSubjectRestriction",
    "ClusterTrustBundleAttest",
    "DefaultIngressClass",
    "DefaultStorageClass",
    "DefaultTolerationSeconds",
    "LimitRanger",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "NamespaceLifecycle",
    "NodeRestriction",
    "PersistentVolumeClaimResize",
    "PodSecurity",
    "PodTopologyLabels",
    "Priority",
    "ResourceQuota",
    "RuntimeClass",
    "ServiceAccount",
    "StorageObjectInUseProtection",
    "TaintNodesByCondition",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
];

/// Which plugins are used; those that are on by default if nothing is said.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    enabled: BTreeSet<String>,
    disabled: BTreeSet<String>,
}

impl Choice {
    /// Enables and disables plugins.
    ///
    /// # Errors
    /// A sentence, when a name is that of no plugin, or is given twice.
    pub fn new(enabled: &[String], disabled: &[String]) -> Result<Self, String> {
        for (flag, names) in [("enable-admission-plugins", enabled), ("disable-admission-plugins", disabled)]
        {
            if let Some(unknown) = names.iter().find(|name| !ON.iter().chain(&OFF).any(|known| known == name))
            {
                return Err(format!("{flag} plugin {unknown:?} is unknown"));
            }
        }
        let choice =
            Self { enabled: enabled.iter().cloned().collect(), disabled: disabled.iter().cloned().collect() };
        let both: Vec<&str> = choice.enabled.intersection(&choice.disabled).map(String::as_str).collect();
        if !both.is_empty() {
            let both = both.join(" ");
            return Err(format!(
                "[{both}] in enable-admission-plugins and disable-admission-plugins overlapped"
            ));
        }
        Ok(choice)
    }

    /// Whether a plugin is used.
    pub(super) fn uses(&self, name: &str) -> bool {
        if OFF.contains(&name) { self.enabled.contains(name) } else { !self.disabled.contains(name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_off_is_enabled_and_what_is_on_is_disabled() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let choice = |enabled: &[&str], disabled: &[&str]| Choice::new(&names(enabled), &names(disabled));
        let some = choice(&["AlwaysPullImages", "LimitRanger"], &["PodSecurity"]).unwrap();
        assert!(some.uses("AlwaysPullImages") && some.uses("LimitRanger") && some.uses("ServiceAccount"));
        assert!(!some.uses("PodSecurity") && !some.uses("AlwaysDeny"));
        assert_eq!(choice(&["Odd"], &[]).unwrap_err(), "enable-admission-plugins plugin \"Odd\" is unknown");
        assert_eq!(
            choice(&["PodSecurity"], &["PodSecurity"]).unwrap_err(),
            "[PodSecurity] in enable-admission-plugins and disable-admission-plugins overlapped"
        );
    }
}
