//! Secret: <https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/secret-v1/>.

use super::config_map::{MAX_DATA_BYTES, decoded_length, immutable_data, key_form};
use super::key_pair;
use crate::columns::{age, name};
use crate::kind::Kind;
use crate::validation::{Errors, immutable};
use crate::value::{default_text, ensure_object, entries, field, remove, set, text};
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::meta;
use apimachinery::table::Column;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

/// The kind.
#[derive(Debug)]
pub struct Secret;

impl Kind for Secret {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("", "Secret")
    }

    /// `stringData` is only for writing: it ends up in `data`.
    fn default(&self, object: &mut Value) {
        default_text(object, "type", "Opaque");
        let Some(Value::Object(plain)) = remove(object, "stringData") else { return };
        if plain.is_empty() {
            return;
        }
        if let Some(data) = ensure_object(object, "data") {
            for (key, value) in plain {
                set(data, &key, STANDARD.encode(value.as_str().unwrap_or("")));
            }
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let mut total = 0;
        for (key, value) in entries(object, "data") {
            key_form("data", key, &mut errors);
            total += decoded_length(value);
        }
        if total > MAX_DATA_BYTES {
            errors.push(FieldError::too_long(&Path::new("data"), MAX_DATA_BYTES));
        }
        of_type(object, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        immutable(object, old, "type", &Path::default(), &mut errors);
        immutable_data(object, old, &["data"], &mut errors);
        errors.extend(self.validate(object));
        errors
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        if text(object, "type") != "kubernetes.io/tls" {
            return Vec::new();
        }
        key_pair::problem(field(object, "data")).into_iter().collect()
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("type", text(object, "type").to_owned())]
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("Type"), Column::new("Data").integer(), Column::age()]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            name(object),
            Value::from(text(object, "type")),
            Value::from(entries(object, "data").count()),
            age(object, now),
        ]
    }
}

/// What secrets of well-known types must hold.
fn of_type(object: &Value, errors: &mut ErrorList) {
    let data = field(object, "data");
    let path = Path::new("data");
    let require = |keys: &[&str], errors: &mut ErrorList| {
        for key in keys {
            if data.get(key).is_none() {
                errors.required(&path.key(key), "");
            }
        }
    };
    match text(object, "type") {
        "kubernetes.io/service-account-token" => {
            const ACCOUNT: &str = "kubernetes.io/service-account.name";
            if meta::annotation(object, ACCOUNT).is_none_or(str::is_empty) {
                errors.required(&Path::new("metadata").child("annotations").key(ACCOUNT), "");
            }
        }
        "kubernetes.io/dockercfg" => json_key(data, ".dockercfg", errors),
        "kubernetes.io/dockerconfigjson" => json_key(data, ".dockerconfigjson", errors),
        "kubernetes.io/basic-auth" if data.get("username").is_none() && data.get("password").is_none() => {
            require(&["username", "password"], errors);
        }
        "kubernetes.io/ssh-auth" if text(data, "ssh-privatekey").is_empty() => {
            errors.required(&path.key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => require(&["tls.crt", "tls.key"], errors),
        _ => {}
    }
}

fn json_key(data: &Value, key: &str, errors: &mut ErrorList) {
    let path = Path::new("data").key(key);
    let Some(encoded) = data.get(key).and_then(Value::as_str) else {
        errors.required(&path, "");
        return;
    };
    let problem = match STANDARD.decode(encoded) {
        Ok(bytes) => {
            serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes).err().map(|e| e.to_string())
        }
        Err(e) => Some(e.to_string()),
    };
    if let Some(problem) = problem {
        errors.invalid(&path, "<secret contents redacted>", problem);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn plain_text_becomes_data() {
        let mut object = json!({"stringData": {"a": "hi"}, "data": {"b": "eA=="}});
        Secret.default(&mut object);
        assert_eq!(object, json!({"type": "Opaque", "data": {"a": "aGk=", "b": "eA=="}}));
    }

    #[test]
    fn known_types_need_their_keys() {
        let found = |object: Value| -> Vec<String> {
            Secret.validate(&object).iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            found(json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}})),
            ["data[tls.key]: Required value"]
        );
        assert!(
            found(json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "e30="}}))
                .is_empty()
        );
        assert_eq!(
            found(json!({"type": "kubernetes.io/ssh-auth", "data": {"ssh-privatekey": ""}})),
            ["data[ssh-privatekey]: Required value"]
        );
        assert!(
            found(json!({"type": "kubernetes.io/dockercfg", "data": {".dockercfg": "W10="}}))[0]
                .starts_with("data[.dockercfg]: Invalid value: \"<secret contents redacted>\": ")
        );
        assert_eq!(
            found(json!({"type": "kubernetes.io/basic-auth", "data": {}})),
            ["data[username]: Required value", "data[password]: Required value"]
        );
        assert_eq!(
            found(json!({"type": "kubernetes.io/service-account-token"})),
            ["metadata.annotations[kubernetes.io/service-account.name]: Required value"]
        );
        let changed = Secret.validate_update(&json!({"type": "b"}), &json!({"type": "a"}));
        assert_eq!(changed[0].to_string(), "type: Invalid value: \"b\": field is immutable");
    }
}
