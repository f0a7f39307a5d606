//! ClusterTrustBundle (KEP-3257).

use crate::Kind;
use crate::columns;
use crate::validation::{self, Errors};
use crate::value;
use apimachinery::field::{ErrorList, Path};
use apimachinery::meta;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// ClusterTrustBundle.
pub struct ClusterTrustBundle;

impl Kind for ClusterTrustBundle {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("certificates.k8s.io", "ClusterTrustBundle")
    }

    fn name_rule(&self) -> crate::NameRule {
        crate::NameRule::PathSegment
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let (path, spec, mut errors) = (Path::new("spec"), value::field(object, "spec"), ErrorList::new());
        validation::required_text(spec, "trustBundle", &path, &mut errors);
        let (name, signer) = (meta::name(object), value::text(spec, "signerName"));
        let own = Path::new("metadata").child("name");
        if !signer.is_empty() {
            let prefix = format!("{}:", signer.replace('/', ":"));
            if !name.starts_with(&prefix) {
                let detail =
                    format!("ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}");
                errors.invalid(&own, name, detail);
            }
        } else if name.contains(':') {
            errors.invalid(
                &own,
                name,
                "ClusterTrustBundle without signer name must not have \":\" in its name",
            );
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        let (new, old) = (value::field(object, "spec"), value::field(old, "spec"));
        validation::immutable(new, old, "signerName", &Path::new("spec"), &mut errors);
        errors
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("spec.signerName", value::text_at(object, &["spec", "signerName"]).to_owned())]
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("SignerName")]
    }

    fn row(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        let spec = value::field(object, "spec");
        vec![columns::name(object), columns::or_none(value::text(spec, "signerName"))]
    }
}
