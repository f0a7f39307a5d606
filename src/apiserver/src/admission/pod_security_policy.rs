//! What the labels of a namespace ask of its pods (KEP-2579).

use std::collections::BTreeMap;
use std::fmt;

use apimachinery::field::{ErrorList, FieldError, Path};
use serde::Deserialize;
use serde_json::Value;

use super::pod_security_checks::{Level, Version};
use crate::settings_file::{self, ConfigurationError};

const PREFIX: &str = "pod-security.kubernetes.io/";
const CONFIGURATION_GROUP: &str = "pod-security.admission.config.k8s.io";
const MODES: [&str; 3] = ["enforce", "audit", "warn"];

/// A level, and the version of Kubernetes whose form of it is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standard {
    pub(super) level: Level,
    pub(super) version: Version,
}

impl Default for Standard {
    fn default() -> Self {
        Self { level: Level::Privileged, version: Version::LATEST }
    }
}

impl fmt::Display for Standard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.level.as_str(), self.version)
    }
}

/// What is refused, noted for the audit log and warned of.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Policy {
    pub(super) enforce: Standard,
    pub(super) audit: Standard,
    pub(super) warn: Standard,
    /// What of the labels makes no sense.
    pub(super) errors: ErrorList,
}

/// What is asked of pods where no labels say it, and of whom nothing is asked (`PodSecurityConfiguration`).
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PodSecurityConfiguration {
    /// By the modes, such as `enforce` and `enforce-version`.
    #[serde(default)]
    defaults: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) exemptions: Exemptions,
}

/// Of whom nothing is asked.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Exemptions {
    usernames: Vec<String>,
    runtime_classes: Vec<String>,
    namespaces: Vec<String>,
}

impl PodSecurityConfiguration {
    /// Reads it.
    ///
    /// # Errors
    /// When it is none, or its defaults make no sense.
    pub(super) fn parse(text: &str) -> Result<Self, ConfigurationError> {
        let read: Self = settings_file::parse_of(CONFIGURATION_GROUP, text, "PodSecurityConfiguration")?;
        if let Some(key) = read.defaults.keys().find(|key| !MODES.contains(&key.trim_end_matches("-version")))
        {
            return Err(ConfigurationError::Parse(format!(
                "strict decoding error: unknown field \"defaults.{key}\""
            )));
        }
        let errors = Policy::of(|_| None, &read).errors;
        if errors.is_empty() { Ok(read) } else { Err(ConfigurationError::Invalid(errors)) }
    }

    /// What a namespace that nothing is asked of is told of labels that ask something; `None` when there are none.
    pub(super) fn ignored(
        &self,
        policy: &Policy,
        namespace: &str,
        labelled: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let defaults = Policy::of(|_| None, self);
        if policy.asks_nothing()
            || [policy.enforce, policy.audit, policy.warn]
                == [defaults.enforce, defaults.audit, defaults.warn]
        {
            return None;
        }
        let asked = [("enforce", policy.enforce), ("audit", policy.audit), ("warn", policy.warn)]
            .into_iter()
            .filter(|(_, asked)| asked.level != Level::Privileged)
            .filter(|(mode, _)| {
                labelled(&format!("{PREFIX}{mode}")) || labelled(&format!("{PREFIX}{mode}-version"))
            })
            .map(|(mode, asked)| format!("{mode}={asked}"))
            .collect::<Vec<_>>()
            .join(", ");
        Some(format!(
            "namespace {namespace:?} is exempt from Pod Security, and the policy ({asked}) will be ignored"
        ))
    }

    fn default_of(&self, mode: &str) -> Option<&str> {
        self.defaults.get(mode).map(String::as_str)
    }
}

impl Exemptions {
    /// Why nothing is asked of the pods of a namespace or user; in the words of the audit annotation.
    pub(super) fn of_request(&self, namespace: &str, user: &str) -> Option<&'static str> {
        if self.has_namespace(namespace) {
            return Some("namespace");
        }
        self.usernames.iter().any(|exempt| exempt == user).then_some("user")
    }

    /// Whether nothing is asked of the pods of a namespace.
    pub(super) fn has_namespace(&self, namespace: &str) -> bool {
        self.namespaces.iter().any(|exempt| exempt == namespace)
    }

    /// Why nothing is asked of a pod.
    pub(super) fn of_pod(&self, spec: &Value) -> Option<&'static str> {
        let class = spec.get("runtimeClassName").and_then(Value::as_str).unwrap_or("");
        self.runtime_classes.iter().any(|exempt| exempt == class).then_some("runtimeClass")
    }
}

impl Policy {
    /// Reads the labels. A level that makes no sense is the strictest where it is enforced and the laxest elsewhere.
    pub(super) fn of<'a>(
        label: impl Fn(&str) -> Option<&'a str>,
        configured: &'a PodSecurityConfiguration,
    ) -> Self {
        let mut errors = ErrorList::new();
        let mut read = |mode: &str, otherwise: Level| {
            let mut standard = Standard::default();
            let key = format!("{PREFIX}{mode}");
            if let Some(text) = label(&key).or_else(|| configured.default_of(mode)) {
                standard.level = Level::parse(text).unwrap_or_else(|| {
                    errors.push(invalid(&key, text, "must be one of privileged, baseline, restricted"));
                    otherwise
                });
            }
            let key = format!("{key}-version");
            if let Some(text) = label(&key).or_else(|| configured.default_of(&format!("{mode}-version"))) {
                standard.version = Version::parse(text).unwrap_or_else(|| {
                    errors.push(invalid(&key, text, "must be \"latest\" or \"v1.x\""));
                    Version::LATEST
                });
            }
            standard
        };
        let enforce = read("enforce", Level::Restricted);
        let audit = read("audit", Level::Privileged);
        let mut warn = read("warn", Level::Privileged);
        if label("pod-security.kubernetes.io/warn").is_none() && enforce.level > warn.level {
            // What makes pods is never refused: its author is warned that the pods will be.
            warn = enforce;
        }
        Self { enforce, audit, warn, errors }
    }

    /// Of an object's labels.
    pub(super) fn of_object(object: &Value, configured: &PodSecurityConfiguration) -> Self {
        Self::of(|key| apimachinery::meta::label(object, key), configured)
    }

    /// Of labels that were read.
    pub(super) fn of_labels(
        labels: &BTreeMap<String, String>,
        configured: &PodSecurityConfiguration,
    ) -> Self {
        Self::of(|key| labels.get(key).map(String::as_str), configured)
    }

    /// Whether nothing is asked.
    pub(super) fn asks_nothing(&self) -> bool {
        self.errors.is_empty()
            && [&self.enforce, &self.audit, &self.warn].iter().all(|mode| mode.level == Level::Privileged)
    }
}

fn invalid(key: &str, text: &str, why: &str) -> FieldError {
    FieldError::invalid(&Path::new("metadata").child("labels").key(key), text, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(labels: &[(&str, &str)]) -> Policy {
        let labels =
            labels.iter().map(|(key, text)| (format!("{PREFIX}{key}"), (*text).to_owned())).collect();
        Policy::of_labels(&labels, &PodSecurityConfiguration::default())
    }

    #[test]
    fn labels_say_what_is_asked_and_by_which_version() {
        assert!(policy(&[]).asks_nothing());
        assert!(policy(&[("enforce", "privileged")]).asks_nothing());
        let asked = policy(&[("enforce", "baseline"), ("enforce-version", "v1.25"), ("audit", "restricted")]);
        assert_eq!(asked.enforce.to_string(), "baseline:v1.25");
        assert_eq!(asked.audit.to_string(), "restricted:latest");
        assert_eq!(asked.warn, asked.enforce, "what is enforced is warned of unless said otherwise");
        let asked = policy(&[("enforce", "baseline"), ("warn", "privileged")]);
        assert_eq!(asked.warn.level, Level::Privileged);
    }

    #[test]
    fn what_makes_no_sense_is_strict_where_it_is_enforced() {
        let asked = policy(&[("enforce", "x"), ("audit", "y"), ("warn-version", "v1.01")]);
        assert_eq!((asked.enforce.level, asked.audit.level), (Level::Restricted, Level::Privileged));
        let errors: Vec<String> = asked.errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert_eq!(
            errors[2],
            "metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"v1.01\": must be \"latest\" or \"v1.x\""
        );
    }

    #[test]
    fn what_is_configured_holds_where_no_label_says_otherwise() {
        let read = |text: &str| {
            let text = format!(
                "apiVersion: pod-security.admission.config.k8s.io/v1\nkind: PodSecurityConfiguration\n{text}"
            );
            PodSecurityConfiguration::parse(&text)
        };
        let configured = read("defaults: {enforce: baseline, enforce-version: v1.30}\nexemptions: {namespaces: [kube-system], usernames: [op], runtimeClasses: [vm]}").unwrap();
        let labels = BTreeMap::new();
        assert_eq!(Policy::of_labels(&labels, &configured).enforce.to_string(), "baseline:v1.30");
        let labels = BTreeMap::from([(format!("{PREFIX}enforce"), "restricted".to_owned())]);
        assert_eq!(Policy::of_labels(&labels, &configured).enforce.level, Level::Restricted);
        let exempt = &configured.exemptions;
        assert_eq!(exempt.of_request("kube-system", "op"), Some("namespace"));
        assert_eq!((exempt.of_request("a", "op"), exempt.of_request("a", "b")), (Some("user"), None));
        assert_eq!(exempt.of_pod(&serde_json::json!({"runtimeClassName": "vm"})), Some("runtimeClass"));
        assert_eq!(exempt.of_pod(&serde_json::json!({})), None);
        let asked = Policy::of_labels(&labels, &configured);
        let told = configured.ignored(&asked, "kube-system", |key| labels.contains_key(key));
        assert_eq!(
            told.unwrap(),
            "namespace \"kube-system\" is exempt from Pod Security, and the policy (enforce=restricted:v1.30) will be ignored"
        );
        let default = Policy::of(|_| None, &configured);
        assert_eq!(configured.ignored(&default, "kube-system", |_| false), None);
        assert!(read("defaults: {enforce: strict}").is_err());
        assert!(read("defaults: {enforced: baseline}").is_err());
    }
}
