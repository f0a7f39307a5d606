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

/// What certificates may be used for.
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
/// The signer of requests from before there were signers.
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";

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
        if value::text(spec, "signerName") == LEGACY_SIGNER {
            let detail = "the legacy signerName is not allowed via this API version";
            errors.invalid(&path.child("signerName"), LEGACY_SIGNER, detail);
        }
        if value::list(spec, "usages").is_empty() {
            errors.required(&path.child("usages"), "");
        }
        let mut seen = Vec::new();
        for (i, usage) in value::texts(spec, "usages").enumerate() {
            let path = path.child("usages").index(i);
            if !USAGES.contains(&usage) {
                errors.not_supported(&path, usage, &USAGES);
            }
            if seen.contains(&usage) {
                errors.duplicate(&path, usage);
            }
            seen.push(usage);
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

    /// A plain update changes metadata only.
    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        value::copy(object, old, "spec");
        value::copy(object, old, "status");
    }

    /// Whoever signs sets the certificate and `Failed`, and leaves the decision alone.
    fn prepare_for_status_update(&self, object: &mut Value, old: &Value) {
        value::copy(object, old, "spec");
        keep_conditions(object, old, &DECISIONS);
    }

    /// Whoever decides leaves the rest alone.
    fn prepare_for_subresource_update(&self, _subresource: &str, object: &mut Value, old: &Value) {
        value::copy(object, old, "spec");
        let certificate = value::at(old, &["status", "certificate"]).clone();
        keep_conditions(object, old, &["Failed"]);
        if let Some(status) = value::ensure_object(object, "status") {
            match certificate {
                Value::Null => drop(value::remove(status, "certificate")),
                certificate => value::set(status, "certificate", certificate),
            }
        }
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validation::immutable(object, old, "spec", &Path::default(), &mut errors);
        errors
    }

    fn validate_status_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = conditions(object, old);
        let (new, before) =
            (value::at(object, &["status", "certificate"]), value::at(old, &["status", "certificate"]));
        if !before.is_null() && new != before {
            errors.invalid(
                &Path::new("status").child("certificate"),
                new.clone(),
                "may not be changed once set",
            );
        }
        errors
    }

    fn validate_subresource_update(&self, _subresource: &str, object: &Value, old: &Value) -> ErrorList {
        conditions(object, old)
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

/// The conditions that say whether a certificate is to be signed.
const DECISIONS: [&str; 2] = ["Approved", "Denied"];

/// Conditions of these types are those of the old object, whatever the client sent.
fn keep_conditions(object: &mut Value, old: &Value, kinds: &[&str]) {
    let is_kept = |condition: &&Value| kinds.contains(&value::text(condition, "type"));
    let of = |object: &Value| value::list_at(object, &["status", "conditions"]).to_vec();
    let (sent, before) = (of(object), of(old));
    let mut all: Vec<Value> = before.iter().filter(is_kept).cloned().collect();
    all.extend(sent.iter().filter(|condition| !is_kept(condition)).cloned());
    if let Some(status) = value::ensure_object(object, "status") {
        if all.is_empty() {
            value::remove(status, "conditions");
        } else {
            value::set(status, "conditions", all);
        }
    }
}

/// A decision is made once, one way, and does not go.
fn conditions(object: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("status").child("conditions");
    let all = value::list_at(object, &["status", "conditions"]);
    let mut seen: Vec<&str> = Vec::new();
    for (i, condition) in all.iter().enumerate() {
        let (path, kind) = (path.index(i), value::text(condition, "type"));
        if kind.is_empty() {
            errors.required(&path.child("type"), "");
        }
        let status = value::text(condition, "status");
        if status.is_empty() {
            errors.required(&path.child("status"), "");
        } else if matches!(kind, "Approved" | "Denied" | "Failed") && status != "True" {
            errors.not_supported(&path.child("status"), status, &["True"]);
        }
        let excluded = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if seen.contains(&excluded) {
            errors.invalid(
                &path.child("type"),
                kind,
                "Approved and Denied conditions are mutually exclusive",
            );
        }
        if seen.contains(&kind) {
            errors.duplicate(&path.child("type"), kind);
        }
        seen.push(kind);
    }
    for condition in value::list_at(old, &["status", "conditions"]) {
        let kind = value::text(condition, "type");
        if matches!(kind, "Approved" | "Denied" | "Failed") && !seen.contains(&kind) {
            errors.forbidden(&path, format!("updates may not remove a condition of type \"{kind}\""));
        }
    }
    errors
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn usages_are_known_ones_and_each_is_named_once() {
        let told = |signer: &str, usages: &[&str]| -> Vec<String> {
            let object = json!({"spec": {"request": "eA==", "signerName": signer, "usages": usages}});
            CertificateSigningRequest.validate(&object).iter().map(ToString::to_string).collect()
        };
        assert!(told("example.com/s", &["client auth", "digital signature"]).is_empty());
        assert_eq!(
            told("example.com/s", &["signing", "signing"]),
            ["spec.usages[1]: Duplicate value: \"signing\""]
        );
        assert!(
            told("example.com/s", &["flying"])[0]
                .starts_with("spec.usages[0]: Unsupported value: \"flying\"")
        );
        assert_eq!(
            told(LEGACY_SIGNER, &["signing"]),
            [
                "spec.signerName: Invalid value: \"kubernetes.io/legacy-unknown\": the legacy signerName is not \
              allowed via this API version"
            ]
        );
    }
}
