//! What the labels of a namespace ask of its pods (KEP-2579).

use std::collections::BTreeMap;
use std::fmt;

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use super::pod_security_checks::Level;

const PREFIX: &str = "pod-security.kubernetes.io/";
const LATEST: &str = "latest";

/// A level, and the version of Kubernetes whose form of it is meant. The checks are always those of the latest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standard {
    pub(super) level: Level,
    version: String,
}

impl Default for Standard {
    fn default() -> Self {
        Self { level: Level::Privileged, version: LATEST.to_owned() }
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

impl Policy {
    /// Reads the labels. A level that makes no sense is the strictest where it is enforced and the laxest elsewhere.
    pub(super) fn of<'a>(label: impl Fn(&str) -> Option<&'a str>) -> Self {
        let mut errors = ErrorList::new();
        let mut read = |mode: &str, otherwise: Level| {
            let mut standard = Standard::default();
            let key = format!("{PREFIX}{mode}");
            if let Some(text) = label(&key) {
                standard.level = Level::parse(text).unwrap_or_else(|| {
                    errors.push(invalid(&key, text, "must be one of privileged, baseline, restricted"));
                    otherwise
                });
            }
            let key = format!("{key}-version");
            if let Some(text) = label(&key) {
                if is_version(text) {
                    text.clone_into(&mut standard.version);
                } else {
                    errors.push(invalid(&key, text, "must be \"latest\" or \"v1.x\""));
                }
            }
            standard
        };
        let enforce = read("enforce", Level::Restricted);
        let audit = read("audit", Level::Privileged);
        let mut warn = read("warn", Level::Privileged);
        if label("pod-security.kubernetes.io/warn").is_none() && enforce.level > warn.level {
            // What makes pods is never refused: its author is warned that the pods will be.
            warn.clone_from(&enforce);
        }
        Self { enforce, audit, warn, errors }
    }

    /// Of an object's labels.
    pub(super) fn of_object(object: &Value) -> Self {
        Self::of(|key| apimachinery::meta::label(object, key))
    }

    /// Of labels that were read.
    pub(super) fn of_labels(labels: &BTreeMap<String, String>) -> Self {
        Self::of(|key| labels.get(key).map(String::as_str))
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

fn is_version(text: &str) -> bool {
    let minor = text.strip_prefix("v1.");
    text == LATEST || minor.is_some_and(|n| n == "0" || (!n.starts_with('0') && n.parse::<u32>().is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(labels: &[(&str, &str)]) -> Policy {
        let labels =
            labels.iter().map(|(key, text)| (format!("{PREFIX}{key}"), (*text).to_owned())).collect();
        Policy::of_labels(&labels)
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
}
