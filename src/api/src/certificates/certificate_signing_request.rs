//! CertificateSigningRequest (KEP-1513).

use crate::Kind;
use crate::columns;
use crate::validation::Errors;
use crate::{validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use apimachinery::time;
use jiff::SignedDuration;
use jiff::Timestamp;
use serde_json::Value;

/// CertificateSigningRequest.
pub struct CertificateSigningRequest;

impl Kind for CertificateSigningRequest {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("certificates.k8s.io", "CertificateSigningRequest")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["csr"]
    }

    fn name_rule(&self) -> crate::NameRule {
        crate::NameRule::PathSegment
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let (spec, path, mut errors) = (value::field(object, "spec"), Path::new("spec"), ErrorList::new());
        validation::required_text(spec, "request", &path, &mut errors);
        if validation::required_text(spec, "signerName", &path, &mut errors)
            && !value::text(spec, "signerName").contains('/')
        {
            let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
            errors.invalid(&path.child("signerName"), value::text(spec, "signerName"), detail);
        }
        if value::list(spec, "usages").is_empty() {
            errors.required(&path.child("usages"), "");
        }
        // Shorter ones cannot be renewed in time (KEP-2784).
        if let Some(seconds) = value::int(spec, "expirationSeconds")
            && seconds < 600
        {
            errors.invalid(
                &path.child("expirationSeconds"),
                seconds,
                "may not specify a duration less than 600 seconds (10 minutes)",
            );
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validation::immutable(object, old, "spec", &Path::default(), &mut errors);
        errors
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("spec.signerName", value::text_at(object, &["spec", "signerName"]).to_owned())]
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::age(),
            Column::new("SignerName"),
            Column::new("Requestor"),
            Column::new("RequestedDuration"),
            Column::new("Condition"),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = value::field(object, "spec");
        let duration = match value::int(spec, "expirationSeconds") {
            Some(seconds) => Value::from(time::human_duration(SignedDuration::from_secs(seconds))),
            None => columns::none(),
        };
        vec![
            columns::name(object),
            columns::age(object, now),
            columns::text_cell(spec, "signerName"),
            columns::text_cell(spec, "username"),
            duration,
            Value::from(state(object)),
        ]
    }
}

/// `Pending`, `Approved,Issued`, `Denied`, ...
fn state(object: &Value) -> String {
    let has = |kind: &str| columns::last_condition(object, kind).is_some();
    let mut text = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied".to_owned(),
        (_, true) => "Approved".to_owned(),
        _ => "Pending".to_owned(),
    };
    if has("Failed") {
        text.push_str(",Failed");
    }
    if !value::text_at(object, &["status", "certificate"]).is_empty() {
        text.push_str(",Issued");
    }
    text
}
