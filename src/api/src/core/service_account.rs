//! ServiceAccount: <https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/service-account-v1/>.

use crate::columns::{age, name};
use crate::kind::Kind;
use crate::value::{list, list_mut};
use apimachinery::meta;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// Lets pods of the account mount only the secrets that it lists.
const ENFORCE_SECRETS: &str = "kubernetes.io/enforce-mountable-secrets";

/// The kind.
#[derive(Debug)]
pub struct ServiceAccount;

impl Kind for ServiceAccount {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("", "ServiceAccount")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["sa"]
    }

    fn prepare_for_create(&self, object: &mut Value) {
        clean_secrets(object);
    }

    fn prepare_for_update(&self, object: &mut Value, _old: &Value) {
        clean_secrets(object);
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let noted = meta::annotation(object, ENFORCE_SECRETS).is_some();
        let words = "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets";
        noted.then(|| format!("metadata.annotations[{ENFORCE_SECRETS}]: {words}")).into_iter().collect()
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("Secrets").integer(), Column::age()]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![name(object), Value::from(list(object, "secrets").len()), age(object, now)]
    }
}

/// Only the names of secrets are kept.
fn clean_secrets(object: &mut Value) {
    for secret in list_mut(object, "secrets") {
        if let Some(fields) = secret.as_object_mut() {
            fields.retain(|name, _| name == "name");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_names_of_secrets_are_kept() {
        let mut object = json!({"secrets": [{"name": "a", "namespace": "b", "kind": "Secret"}]});
        ServiceAccount.prepare_for_create(&mut object);
        assert_eq!(object, json!({"secrets": [{"name": "a"}]}));
    }

    #[test]
    fn the_annotation_for_secrets_is_deprecated() {
        let object = json!({"metadata": {"annotations": {ENFORCE_SECRETS: "true"}}});
        assert_eq!(
            ServiceAccount.warnings(&object),
            [
                "metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
            ]
        );
    }
}
