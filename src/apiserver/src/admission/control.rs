//! The file of `--admission-control-config-file`, which configures admission plugins, and which of them are used.

use super::default_toleration_seconds::DefaultTolerationSeconds;
use super::limited_resources::LimitedResources;
use super::optional::{Choice, NodeSelectors, RateLimits};
use super::pod_security_policy::PodSecurityConfiguration;
use crate::remote::Credentials;
use crate::settings_file::{self, ConfigurationError};
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MUTATING: &str = "MutatingAdmissionWebhook";
const VALIDATING: &str = "ValidatingAdmissionWebhook";
const POD_SECURITY: &str = "PodSecurity";
const RESOURCE_QUOTA: &str = "ResourceQuota";
const POD_NODE_SELECTOR: &str = "PodNodeSelector";
const EVENT_RATE_LIMIT: &str = "EventRateLimit";

/// How admission plugins are configured. By default no webhook is shown anything.
#[derive(Clone, Debug, Default)]
pub struct AdmissionControl {
    /// For webhooks that change objects.
    pub(super) mutating: Arc<Credentials>,
    /// For webhooks that refuse them.
    pub(super) validating: Arc<Credentials>,
    /// What is asked of pods.
    pub(super) pod_security: Arc<PodSecurityConfiguration>,
    /// What may be used only where a quota allows it.
    pub(super) limited_resources: Arc<LimitedResources>,
    /// Which nodes the pods of namespaces go to.
    pub(super) node_selectors: Arc<NodeSelectors>,
    /// How many Events are taken.
    pub(super) rate_limits: Arc<RateLimits>,
    /// How long pods stay on nodes that fail.
    pub toleration_seconds: DefaultTolerationSeconds,
    /// Which plugins are used.
    pub(super) choice: Choice,
}

/// `AdmissionConfiguration` of `apiserver.config.k8s.io`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    plugins: Vec<Plugin>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plugin {
    name: String,
    /// A file with the configuration.
    #[serde(default)]
    path: PathBuf,
    /// The configuration itself.
    configuration: Option<Value>,
}

/// `WebhookAdmissionConfiguration` of `apiserver.config.k8s.io`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Webhooks {
    kube_config_file: PathBuf,
}

impl Plugin {
    /// Its configuration.
    fn text(&self, folder: &Path) -> Result<String, ConfigurationError> {
        match &self.configuration {
            Some(configuration) => Ok(configuration.to_string()),
            None => settings_file::read(&folder.join(&self.path)),
        }
    }
}

impl AdmissionControl {
    /// Enables plugins that are off by default, and disables others.
    ///
    /// # Errors
    /// A sentence, when a name is that of no plugin, or is given twice.
    pub fn choose(&mut self, enabled: &[String], disabled: &[String]) -> Result<(), String> {
        self.choice = Choice::new(enabled, disabled)?;
        Ok(())
    }

    /// Reads the file. Paths in it are relative to its directory.
    ///
    /// # Errors
    /// When it, or what it names, cannot be used, or it configures a plugin that has no configuration here.
    pub fn load(path: &Path) -> Result<Self, ConfigurationError> {
        let file: File = settings_file::load(path, "AdmissionConfiguration")?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut control = Self::default();
        for plugin in file.plugins {
            let into = match plugin.name.as_str() {
                POD_SECURITY => {
                    control.pod_security = Arc::new(PodSecurityConfiguration::parse(&plugin.text(folder)?)?);
                    continue;
                }
                RESOURCE_QUOTA => {
                    control.limited_resources = Arc::new(LimitedResources::parse(&plugin.text(folder)?)?);
                    continue;
                }
                POD_NODE_SELECTOR => {
                    control.node_selectors = Arc::new(NodeSelectors::parse(&plugin.text(folder)?)?);
                    continue;
                }
                EVENT_RATE_LIMIT => {
                    control.rate_limits = Arc::new(RateLimits::parse(&plugin.text(folder)?)?);
                    continue;
                }
                MUTATING => &mut control.mutating,
                VALIDATING => &mut control.validating,
                other => {
                    let why = format!("the admission plugin {other:?} cannot be configured");
                    return Err(ConfigurationError::Unusable(why));
                }
            };
            let webhooks: Webhooks =
                settings_file::parse(&plugin.text(folder)?, "WebhookAdmissionConfiguration")?;
            let credentials = Credentials::load(&folder.join(&webhooks.kube_config_file));
            *into = Arc::new(credentials.map_err(ConfigurationError::Unusable)?);
        }
        Ok(control)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn load(plugin: &Value) -> Result<AdmissionControl, ConfigurationError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admission.yaml");
        let api = "apiserver.config.k8s.io/v1";
        let config = json!({"apiVersion": api, "kind": "AdmissionConfiguration", "plugins": [plugin]});
        std::fs::write(&path, config.to_string()).unwrap();
        let webhooks =
            json!({"apiVersion": api, "kind": "WebhookAdmissionConfiguration", "kubeConfigFile": "users"});
        std::fs::write(folder.path().join("webhooks.yaml"), webhooks.to_string()).unwrap();
        std::fs::write(folder.path().join("users"), "users:\n- {name: '*', user: {token: t}}\n").unwrap();
        AdmissionControl::load(&path)
    }

    #[test]
    fn plugins_are_configured_in_the_file_or_in_one_of_their_own() {
        let endpoint = crate::outbound::Endpoint::from_config(&json!({"url": "https://a"})).unwrap();
        let apart = load(&json!({"name": MUTATING, "path": "webhooks.yaml"})).unwrap();
        assert!(apart.mutating.of(&endpoint).is_some() && apart.validating.of(&endpoint).is_none());
        let inline = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "WebhookAdmissionConfiguration",
            "kubeConfigFile": "users"});
        let within = load(&json!({"name": VALIDATING, "configuration": inline})).unwrap();
        assert!(within.validating.of(&endpoint).is_some());
        let refused = load(&json!({"name": "ImagePolicyWebhook", "path": "x"})).unwrap_err().to_string();
        assert_eq!(refused, "the admission plugin \"ImagePolicyWebhook\" cannot be configured");
        let missing = load(&json!({"name": MUTATING, "path": "none.yaml"})).unwrap_err();
        assert!(matches!(missing, ConfigurationError::Read { .. }), "{missing}");
    }
}
