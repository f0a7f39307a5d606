//! ClusterTrustBundle (KEP-3257).

use super::names::{signer_name, trust_bundle_name};
use super::pem;
use crate::Kind;
use crate::columns;
use crate::validation::{self, Errors};
use crate::value;
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::meta;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// The longest bundle.
const BUNDLE_MAX_BYTES: usize = 1024 * 1024;

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
        let (path, mut errors) = (Path::new("spec"), name_and_signer(object));
        anchors(value::text_at(object, &["spec", "trustBundle"]), &path.child("trustBundle"), &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let (new, before) = (value::field(object, "spec"), value::field(old, "spec"));
        let same = value::text(new, "trustBundle") == value::text(before, "trustBundle");
        // A bundle that was let in stays.
        let mut errors = if same { name_and_signer(object) } else { self.validate(object) };
        validation::immutable(new, before, "signerName", &Path::new("spec"), &mut errors);
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

fn name_and_signer(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (name, signer) = (meta::name(object), value::text_at(object, &["spec", "signerName"]));
    errors.check(&Path::new("metadata"), "name", name, trust_bundle_name(name, signer));
    if !signer.is_empty() {
        signer_name(signer, &Path::new("spec").child("signerName"), &mut errors);
    }
    errors
}

/// At least one certificate, none of them twice, nothing else.
fn anchors(bundle: &str, path: &Path, errors: &mut ErrorList) {
    const OMITTED: &str = "<value omitted>";
    if bundle.len() > BUNDLE_MAX_BYTES {
        return errors.push(FieldError::too_long(path, BUNDLE_MAX_BYTES));
    }
    let blocks = pem::blocks(bundle);
    let before = errors.len();
    for (i, block) in blocks.iter().enumerate() {
        if block.label != "CERTIFICATE" {
            errors.invalid(path, OMITTED, format!("entry {i} has bad block type: {}", block.label));
        } else if block.has_headers {
            errors.invalid(path, OMITTED, format!("entry {i} has PEM block headers"));
        }
    }
    if errors.len() > before {
        return;
    }
    if blocks.is_empty() {
        errors.invalid(path, OMITTED, "at least one trust anchor must be provided");
    }
    for (i, block) in blocks.iter().enumerate() {
        let same = || blocks.iter().enumerate().filter(|(_, other)| other.bytes == block.bytes);
        if same().count() > 1 && same().next().is_some_and(|(first, _)| first == i) {
            let indices = same().map(|(i, _)| i.to_string()).collect::<Vec<_>>().join(" ");
            errors.invalid(path, OMITTED, format!("duplicate trust anchor (indices [{indices}])"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_bundle_is_of_certificates() {
        let told = |bundle: &str| -> Vec<String> {
            let object = json!({"metadata": {"name": "b"}, "spec": {"trustBundle": bundle}});
            ClusterTrustBundle.validate(&object).iter().map(ToString::to_string).collect()
        };
        let block = |label: &str| format!("-----BEGIN {label}-----\nAQ==\n-----END {label}-----\n");
        assert!(told(&block("CERTIFICATE")).is_empty());
        assert_eq!(
            told(""),
            [
                "spec.trustBundle: Invalid value: \"<value omitted>\": at least one trust anchor must be provided"
            ]
        );
        assert_eq!(
            told(&block("CERTIFICATE").repeat(2)),
            ["spec.trustBundle: Invalid value: \"<value omitted>\": duplicate trust anchor (indices [0 1])"]
        );
        assert_eq!(
            told(&block("KEY")),
            ["spec.trustBundle: Invalid value: \"<value omitted>\": entry 0 has bad block type: KEY"]
        );
    }
}
