//! CSIDriver (KEP-557).

use crate::validation::Errors;
use crate::{Kind, columns, validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// The shortest life of a token that a driver can ask for.
const MIN_TOKEN_SECONDS: i64 = 600;
/// The longest.
const MAX_TOKEN_SECONDS: i64 = 1 << 32;
/// How often a node may be asked how many volumes it takes (KEP-4876).
const MIN_UPDATE_PERIOD_SECONDS: i64 = 10;

/// CSIDriver.
pub struct CSIDriver;

impl Kind for CSIDriver {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("storage.k8s.io", "CSIDriver")
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = value::ensure_object(object, "spec") else { return };
        value::default(spec, "attachRequired", true);
        for name in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
            value::default(spec, name, false);
        }
        value::default_text(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        if value::list(spec, "volumeLifecycleModes").is_empty() {
            value::set(spec, "volumeLifecycleModes", vec!["Persistent"]);
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let (spec, path, mut errors) = (value::field(object, "spec"), Path::new("spec"), ErrorList::new());
        let policies = ["File", "None", "ReadWriteOnceWithFSType"];
        validation::one_of(spec, "fsGroupPolicy", &path, &policies, &mut errors);
        token_requests(spec, &path, &mut errors);
        for mode in value::texts(spec, "volumeLifecycleModes") {
            if !matches!(mode, "Persistent" | "Ephemeral") {
                let known = ["Persistent", "Ephemeral"];
                errors.not_supported(&path.child("volumeLifecycleModes"), mode, &known);
            }
        }
        if let Some(period) = value::int(spec, "nodeAllocatableUpdatePeriodSeconds")
            && period < MIN_UPDATE_PERIOD_SECONDS
        {
            errors.invalid(
                &path.child("nodeAllocatableUpdatePeriodSeconds"),
                period,
                format!("must be greater than or equal to {MIN_UPDATE_PERIOD_SECONDS} seconds"),
            );
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        let (spec, old, path) = (value::field(object, "spec"), value::field(old, "spec"), Path::new("spec"));
        if value::field(spec, "attachRequired") != value::field(old, "attachRequired") {
            // The path is upstream's.
            let attach = value::field(spec, "attachRequired").clone();
            errors.invalid(&path.child("attachedRequired"), attach, "field is immutable");
        }
        validation::immutable(spec, old, "volumeLifecycleModes", &path, &mut errors);
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("AttachRequired"),
            Column::new("PodInfoOnMount"),
            Column::new("StorageCapacity"),
            Column::new("TokenRequests"),
            Column::new("RequiresRepublish"),
            Column::new("Modes"),
            Column::age(),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = value::field(object, "spec");
        let tokens = value::list(spec, "tokenRequests").iter().map(|t| value::text(t, "audience"));
        let modes = columns::joined(value::texts(spec, "volumeLifecycleModes"));
        let unset = |text: String| Value::from(if text.is_empty() { "<unset>".to_owned() } else { text });
        vec![
            columns::name(object),
            Value::from(value::is_true(spec, "attachRequired")),
            Value::from(value::is_true(spec, "podInfoOnMount")),
            Value::from(value::is_true(spec, "storageCapacity")),
            unset(columns::joined(tokens)),
            Value::from(value::is_true(spec, "requiresRepublish")),
            if modes.is_empty() { columns::none() } else { Value::from(modes) },
            columns::age(object, now),
        ]
    }
}

/// Tokens of pods that the driver gets: one for each audience.
fn token_requests(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let requests = value::list(spec, "tokenRequests");
    for (i, request) in requests.iter().enumerate() {
        let own = || path.child("tokenRequests").index(i);
        let audience = value::text(request, "audience");
        if requests.iter().take(i).any(|earlier| value::text(earlier, "audience") == audience) {
            errors.duplicate(&own().child("audience"), audience);
            continue;
        }
        let Some(seconds) = value::int(request, "expirationSeconds") else { continue };
        let problem = if seconds < MIN_TOKEN_SECONDS {
            "may not specify a duration less than 10 minutes"
        } else if seconds > MAX_TOKEN_SECONDS {
            "may not specify a duration larger than 2^32 seconds"
        } else {
            continue;
        };
        errors.invalid(&own().child("expirationSeconds"), seconds, problem);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn driver(spec: &Value) -> Value {
        let mut object = json!({ "spec": spec });
        CSIDriver.default(&mut object);
        object
    }

    fn told(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn tokens_live_ten_minutes_at_least() {
        assert_eq!(told(&CSIDriver.validate(&driver(&json!({})))), Vec::<String>::new());
        assert_eq!(
            told(&CSIDriver.validate(&driver(&json!({
                "fsGroupPolicy": "Always", "volumeLifecycleModes": ["Inline"],
                "nodeAllocatableUpdatePeriodSeconds": 9,
                "tokenRequests": [{"audience": "a", "expirationSeconds": 599}, {"audience": "a"},
                    {"audience": "b", "expirationSeconds": 4_294_967_297_i64}],
            })))),
            [
                "spec.fsGroupPolicy: Unsupported value: \"Always\": supported values: \"File\", \"None\", \"ReadWriteOnceWithFSType\"",
                "spec.tokenRequests[0].expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
                "spec.tokenRequests[1].audience: Duplicate value: \"a\"",
                "spec.tokenRequests[2].expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds",
                "spec.volumeLifecycleModes: Unsupported value: \"Inline\": supported values: \"Persistent\", \"Ephemeral\"",
                "spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds",
            ]
        );
    }

    #[test]
    fn whether_volumes_are_attached_stays() {
        let (new, old) = (driver(&json!({"attachRequired": false})), driver(&json!({})));
        assert_eq!(
            told(&CSIDriver.validate_update(&new, &old)),
            ["spec.attachedRequired: Invalid value: false: field is immutable"]
        );
    }
}
