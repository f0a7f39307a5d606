//! StorageVersionMigration (KEP-4192).

use crate::Kind;
use crate::validation::{Errors, conditions, immutable};
use crate::value;
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation as forms;
use serde_json::Value;

const RUNNING: &str = "Running";
const SUCCEEDED: &str = "Succeeded";
const FAILED: &str = "Failed";

/// StorageVersionMigration.
pub struct StorageVersionMigration;

impl Kind for StorageVersionMigration {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("storagemigration.k8s.io", "StorageVersionMigration")
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (resource, path) =
            (value::at(object, &["spec", "resource"]), Path::new("spec").child("resource"));
        let (name, group) = (value::text(resource, "resource"), value::text(resource, "group"));
        if name.is_empty() {
            errors.required(&path.child("resource"), "resource is required to be set");
        } else {
            joined(forms::dns1035_label(name), name, || path.child("resource"), &mut errors);
        }
        if !group.is_empty() {
            joined(forms::dns1123_subdomain(group), group, || path.child("group"), &mut errors);
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        immutable(object, old, "spec", &Path::default(), &mut errors);
        errors
    }

    fn validate_status_update(&self, object: &Value, old: &Value) -> ErrorList {
        let (status, old) = (value::field(object, "status"), value::field(old, "status"));
        let (path, mut errors) = (Path::new("status"), ErrorList::new());
        let version = value::text(status, "resourceVersion");
        let own = || path.child("resourceVersion");
        let decimal = version.bytes().all(|b| b.is_ascii_digit()) && !version.starts_with('0');
        if value::has(status, "resourceVersion") && (version.is_empty() || !decimal) {
            errors.invalid(&own(), version, format!("resource version is not well formed: {version}"));
        }
        conditions(status, "conditions", &path, &mut errors);
        let known = value::text(old, "resourceVersion");
        if !known.is_empty() && known != version {
            errors.invalid(&own(), version, "field is immutable");
        }
        let now = |kind: &str| holds(status, kind);
        let before = |kind: &str| holds(old, kind);
        for (wrong, detail) in [
            (
                now(SUCCEEDED) && now(FAILED),
                "Both success and failed conditions cannot be true at the same time",
            ),
            (
                now(SUCCEEDED) && now(RUNNING),
                "Running condition cannot be true when success condition is true",
            ),
            (now(FAILED) && now(RUNNING), "Running condition cannot be true when failed condition is true"),
            (
                before(SUCCEEDED) && !now(SUCCEEDED),
                "Success condition cannot be set to false once it is true",
            ),
            (before(FAILED) && !now(FAILED), "Failed condition cannot be set to false once it is true"),
        ] {
            if wrong {
                errors.invalid(&path.child("conditions"), value::field(status, "conditions").clone(), detail);
            }
        }
        errors
    }
}

/// One error for all that is wrong with a text.
fn joined(problems: Vec<String>, text: &str, path: impl FnOnce() -> Path, errors: &mut ErrorList) {
    if !problems.is_empty() {
        errors.invalid(&path(), text, problems.join(","));
    }
}

fn holds(status: &Value, kind: &str) -> bool {
    value::list(status, "conditions")
        .iter()
        .any(|c| value::text(c, "type") == kind && value::text(c, "status") == "True")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_migration_is_of_one_resource_for_ever() {
        let of = |resource: &str| json!({"spec": {"resource": {"group": "", "resource": resource}}});
        assert!(StorageVersionMigration.validate(&of("secrets")).is_empty());
        let told: Vec<String> =
            StorageVersionMigration.validate(&of("")).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["spec.resource.resource: Required value: resource is required to be set"]);
        assert_eq!(StorageVersionMigration.validate_update(&of("pods"), &of("secrets")).len(), 1);
    }
    #[test]
    fn a_migration_ends_once() {
        let status = |kinds: &[&str], version: &str| {
            let conditions: Vec<Value> = kinds
                .iter()
                .map(|kind| {
                    json!({"type": kind, "status": "True", "reason": "R", "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"})
                })
                .collect();
            json!({"status": {"conditions": conditions, "resourceVersion": version}})
        };
        let told = |new: &Value, old: &Value| -> Vec<String> {
            StorageVersionMigration
                .validate_status_update(new, old)
                .iter()
                .map(|e| {
                    let text = e.to_string();
                    let (path, rest) = text.split_once(": ").unwrap();
                    format!("{path}: {}", rest.rsplit(": ").next().unwrap())
                })
                .collect()
        };
        let (running, done) = (status(&[RUNNING], "5"), status(&[SUCCEEDED], "5"));
        assert_eq!(told(&done, &running), Vec::<String>::new());
        assert_eq!(
            told(&running, &done),
            ["status.conditions: Success condition cannot be set to false once it is true"]
        );
        assert_eq!(
            told(&status(&[SUCCEEDED, RUNNING], "6"), &running),
            [
                "status.resourceVersion: field is immutable",
                "status.conditions: Running condition cannot be true when success condition is true",
            ]
        );
        assert_eq!(told(&status(&[], "x"), &json!({})), ["status.resourceVersion: x"]);
    }
}
