//! `AuthorizationConfiguration` (`apiserver.config.k8s.io`): which authorizers are asked, in which order.

use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use apimachinery::field::{ErrorList, FieldError, Path};
use serde::Deserialize;

use super::conditions::Conditions;
use super::webhook::{FailurePolicy, Settings};
use crate::settings_file::{self, ConfigurationError, GoDuration};

/// Kind of the object in the file.
const KIND: &str = "AuthorizationConfiguration";
/// Authorizers that a file may name.
const TYPES: [&str; 5] = ["AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook"];
/// Webhooks may take no longer.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Authorizers in order.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthorizationConfiguration {
    /// The authorizers.
    #[serde(default)]
    pub authorizers: Vec<AuthorizerConfiguration>,
    /// Where the policies of ABAC are, which only flags can name.
    #[serde(skip)]
    pub abac_policy: Option<PathBuf>,
}

/// One authorizer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AuthorizerConfiguration {
    /// `Node`, `RBAC`, `Webhook`, `AlwaysAllow`, `AlwaysDeny`; from flags also `ABAC`.
    #[serde(rename = "type")]
    pub kind: String,
    /// A name for metrics and messages.
    pub name: String,
    /// How the webhook is asked.
    pub webhook: Option<WebhookConfiguration>,
}

/// How a webhook is asked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WebhookConfiguration {
    /// How long permissions are remembered; five minutes if not said.
    #[serde(rename = "authorizedTTL")]
    pub authorized_ttl: Option<GoDuration>,
    /// How long refusals are remembered; half a minute if not said.
    #[serde(rename = "unauthorizedTTL")]
    pub unauthorized_ttl: Option<GoDuration>,
    /// How long an answer may take.
    pub timeout: Option<GoDuration>,
    /// `v1` or `v1beta1`.
    pub subject_access_review_version: String,
    /// `v1`.
    pub match_condition_subject_access_review_version: String,
    /// `NoOpinion` or `Deny`.
    pub failure_policy: String,
    /// Where it is.
    pub connection_info: ConnectionInfo,
    /// Which requests it is asked about.
    pub match_conditions: Vec<MatchCondition>,
}

/// Where a webhook is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ConnectionInfo {
    /// `KubeConfigFile`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The file.
    pub kube_config_file: Option<PathBuf>,
}

/// A condition on requests.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MatchCondition {
    /// In CEL, over `request`: the `spec` of a SubjectAccessReview.
    pub expression: String,
}

/// An authorizer, checked.
pub(super) enum Checked {
    /// One of ours, by its type.
    Own(String),
    /// ABAC, with its policies.
    Abac(PathBuf),
    /// A webhook.
    Webhook {
        /// The kubeconfig file.
        kubeconfig: PathBuf,
        /// How long an answer may take.
        timeout: Duration,
        /// How it is asked.
        settings: Settings,
        /// When it is asked.
        conditions: Conditions,
    },
}

impl AuthorizationConfiguration {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or is no AuthorizationConfiguration.
    pub fn load(path: &FilePath) -> Result<Self, ConfigurationError> {
        settings_file::load(path, KIND)
    }

    /// What `--authorization-mode` and its flags say.
    pub fn from_modes(modes: &[String], webhook: Option<WebhookConfiguration>) -> Self {
        let authorizers = modes.iter().map(|mode| AuthorizerConfiguration {
            kind: mode.clone(),
            name: mode.to_lowercase(),
            webhook: webhook.clone().filter(|_| mode == "Webhook"),
        });
        Self { authorizers: authorizers.collect(), abac_policy: None }
    }

    /// Checks it, in upstream's words.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub(super) fn check(&self) -> Result<Vec<Checked>, ConfigurationError> {
        let mut errors = ErrorList::new();
        let mut checked = Vec::new();
        let root = Path::new("authorizers");
        if self.authorizers.is_empty() {
            errors.push(FieldError::required(&root, "at least one authorization mode must be defined"));
        }
        for (index, authorizer) in self.authorizers.iter().enumerate() {
            let at = root.index(index);
            let earlier = self.authorizers.get(..index).unwrap_or_default();
            if let ("ABAC", Some(path)) = (authorizer.kind.as_str(), &self.abac_policy) {
                checked.push(Checked::Abac(path.clone()));
            } else if let Some(one) = check(authorizer, earlier, &at, &mut errors) {
                checked.push(one);
            }
        }
        if errors.is_empty() { Ok(checked) } else { Err(ConfigurationError::Invalid(errors)) }
    }
}

fn check(
    authorizer: &AuthorizerConfiguration,
    earlier: &[AuthorizerConfiguration],
    at: &Path,
    errors: &mut ErrorList,
) -> Option<Checked> {
    let kind = authorizer.kind.as_str();
    if kind.is_empty() {
        errors.push(FieldError::required(&at.child("type"), ""));
        return None;
    }
    if !TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(&at.child("type"), kind, &TYPES));
        return None;
    }
    if kind != "Webhook" && earlier.iter().any(|other| other.kind == kind) {
        errors.push(FieldError::duplicate(&at.child("type"), kind));
        return None;
    }
    let name = authorizer.name.as_str();
    let wrong = apimachinery::validation::dns1123_subdomain(name);
    if name.is_empty() {
        errors.push(FieldError::required(&at.child("name"), ""));
    } else if earlier.iter().any(|other| other.name == name) {
        errors.push(FieldError::duplicate(&at.child("name"), name));
    } else if !wrong.is_empty() {
        let detail = format!("authorizer name is invalid: {}", wrong.join(", "));
        errors.push(FieldError::invalid(&at.child("name"), name, detail));
    }
    match (kind, &authorizer.webhook) {
        ("Webhook", None) => {
            errors.push(FieldError::required(&at.child("webhook"), "required when type=Webhook"));
            None
        }
        ("Webhook", Some(webhook)) => check_webhook(webhook, at, errors),
        (_, Some(_)) => {
            let detail = "may only be specified when type=Webhook";
            errors.push(FieldError::invalid(&at.child("webhook"), "non-null", detail));
            None
        }
        (_, None) => Some(Checked::Own(kind.to_owned())),
    }
}

fn check_webhook(webhook: &WebhookConfiguration, at: &Path, errors: &mut ErrorList) -> Option<Checked> {
    let before = errors.len();
    let timeout = match webhook.timeout.map(|timeout| timeout.0) {
        None => {
            errors.push(FieldError::required(&at.child("timeout"), ""));
            Duration::ZERO
        }
        Some(timeout) if timeout.is_zero() || timeout > LONGEST_TIMEOUT => {
            let detail = "must be > 0s and <= 30s";
            errors.push(FieldError::invalid(&at.child("timeout"), GoDuration(timeout).to_string(), detail));
            timeout
        }
        Some(timeout) => timeout,
    };
    let version = webhook.subject_access_review_version.as_str();
    known(&at.child("subjectAccessReviewVersion"), version, &["v1", "v1beta1"], errors);
    let conditions_version = webhook.match_condition_subject_access_review_version.as_str();
    let conditions_at = at.child("matchConditionSubjectAccessReviewVersion");
    if !conditions_version.is_empty() {
        known(&conditions_at, conditions_version, &["v1"], errors);
    } else if !webhook.match_conditions.is_empty() {
        errors.push(FieldError::required(&conditions_at, "required if match conditions are specified"));
    }
    known(&at.child("failurePolicy"), &webhook.failure_policy, &["NoOpinion", "Deny"], errors);
    let kubeconfig = check_connection(&webhook.connection_info, &at.child("connectionInfo"), errors);
    let expressions: Vec<String> = webhook.match_conditions.iter().map(|c| c.expression.clone()).collect();
    let conditions = Conditions::compile(&expressions, &at.child("matchConditions"), errors);
    if errors.len() > before {
        return None;
    }
    let lifetime = |given: Option<GoDuration>, seconds| given.map_or(Duration::from_secs(seconds), |d| d.0);
    Some(Checked::Webhook {
        kubeconfig: kubeconfig?,
        timeout,
        settings: Settings {
            version: version.to_owned(),
            authorized: lifetime(webhook.authorized_ttl, 5 * 60),
            unauthorized: lifetime(webhook.unauthorized_ttl, 30),
            failure: if webhook.failure_policy == "Deny" {
                FailurePolicy::Deny
            } else {
                FailurePolicy::NoOpinion
            },
        },
        conditions,
    })
}

fn known(at: &Path, value: &str, values: &[&str], errors: &mut ErrorList) {
    if value.is_empty() {
        errors.push(FieldError::required(at, ""));
    } else if !values.contains(&value) {
        errors.push(FieldError::not_supported(at, value, values));
    }
}

fn check_connection(info: &ConnectionInfo, at: &Path, errors: &mut ErrorList) -> Option<PathBuf> {
    let file_at = at.child("kubeConfigFile");
    match info.kind.as_str() {
        "" => errors.push(FieldError::required(&at.child("type"), "")),
        "InClusterConfig" => {
            // There is no pod whose account could be used.
            let detail = "this server runs outside of the cluster: use KubeConfigFile";
            errors.push(FieldError::forbidden(&at.child("type"), detail));
        }
        "KubeConfigFile" => match info.kube_config_file.as_deref() {
            None => errors.push(FieldError::required(&file_at, "")),
            Some(path) if path.as_os_str().is_empty() => errors.push(FieldError::required(&file_at, "")),
            Some(path) => {
                let shown = path.display().to_string();
                let wrong = match std::fs::metadata(path) {
                    _ if !path.is_absolute() => "must be an absolute path".to_owned(),
                    Err(error) => format!("error loading file: {error}"),
                    Ok(metadata) if !metadata.is_file() => "must be a regular file".to_owned(),
                    Ok(_) => return Some(path.to_owned()),
                };
                errors.push(FieldError::invalid(&file_at, shown, wrong));
            }
        },
        other => errors.push(FieldError::not_supported(
            &at.child("type"),
            other,
            &["InClusterConfig", "KubeConfigFile"],
        )),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(yaml: &str) -> String {
        let head = format!("apiVersion: apiserver.config.k8s.io/v1\nkind: {KIND}\n");
        let parsed = settings_file::parse::<AuthorizationConfiguration>(&format!("{head}{yaml}"), KIND);
        match parsed.and_then(|parsed| parsed.check()) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_sound_configuration_passes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display();
        assert_eq!(
            errors(&format!(
                "authorizers:
- {{type: Node, name: node}}
- {{type: RBAC, name: rbac}}
- type: Webhook
  name: hook
  webhook: {{timeout: 3s, authorizedTTL: 1m30s, subjectAccessReviewVersion: v1, failurePolicy: Deny,
    connectionInfo: {{type: KubeConfigFile, kubeConfigFile: {path}}}}}"
            )),
            ""
        );
    }

    #[test]
    fn everything_wrong_is_told_at_its_place() {
        for (yaml, told) in [
            (
                "authorizers: []",
                "authorizers: Required value: at least one authorization mode must be defined",
            ),
            ("authorizers: [{type: X, name: x}]", "authorizers[0].type: Unsupported value: \"X\""),
            (
                "authorizers: [{type: RBAC, name: x}, {type: RBAC, name: z}]",
                "authorizers[1].type: Duplicate value: \"RBAC\"",
            ),
            (
                "authorizers: [{type: RBAC, name: x}, {type: Node, name: x}]",
                "authorizers[1].name: Duplicate value: \"x\"",
            ),
            ("authorizers: [{type: RBAC, name: X}]", "authorizers[0].name: Invalid value: \"X\""),
            (
                "authorizers: [{type: Webhook, name: x}]",
                "authorizers[0].webhook: Required value: required when type=Webhook",
            ),
            ("authorizers: [{type: RBAC, name: x, webhook: {}}]", "may only be specified when type=Webhook"),
            (
                "authorizers: [{type: Webhook, name: x, webhook: {timeout: 31s}}]",
                "authorizers[0].timeout: Invalid value: \"31s\": must be > 0s and <= 30s",
            ),
            (
                "authorizers: [{type: Webhook, name: x, webhook: {connectionInfo: {type: KubeConfigFile, kubeConfigFile: a}}}]",
                "authorizers[0].connectionInfo.kubeConfigFile: Invalid value: \"a\": must be an absolute path",
            ),
            ("authorizer: []", "unknown field"),
        ] {
            let found = errors(yaml);
            assert!(found.contains(told), "{yaml}: {found}");
        }
    }
}
