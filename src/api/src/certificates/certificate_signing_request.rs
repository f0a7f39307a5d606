//! CertificateSigningRequest (KEP-1513).

use super::names::signer_name;
use super::pem;
use crate::Kind;
use crate::columns;
use crate::validation::Errors;
use crate::{validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use apimachinery::time;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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
        let request = decoded(spec, "request");
        if pem::blocks(&request).first().is_none_or(|block| block.label != "CERTIFICATE REQUEST") {
            let detail = "PEM block type must be CERTIFICATE REQUEST";
            errors.invalid(&path.child("request"), value::field(spec, "request").clone(), detail);
        }
        if value::list(spec, "usages").is_empty() {
            errors.required(&path.child("usages"), "");
        }
        let usages = || value::texts(spec, "usages").enumerate();
        for (i, usage) in usages().filter(|(_, usage)| !USAGES.contains(usage)) {
            errors.not_supported(&path.child("usages").index(i), usage, &USAGES);
        }
        for (i, usage) in usages() {
            if usages().take(i).any(|(_, before)| before == usage) {
                errors.duplicate(&path.child("usages").index(i), usage);
            }
        }
        if value::text(spec, "signerName") == LEGACY_SIGNER {
            let detail = "the legacy signerName is not allowed via this API version";
            errors.invalid(&path.child("signerName"), LEGACY_SIGNER, detail);
        } else {
            signer_name(value::text(spec, "signerName"), &path.child("signerName"), &mut errors);
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
        let path = Path::new("status").child("certificate");
        if new != before && !value::is_empty_value(before) {
            errors.forbidden(&path, "updates may not modify existing certificate content");
        }
        if new != before
            && let Some(problem) = certificate_problem(object)
        {
            errors.invalid(&path, "<certificate data>", problem);
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
        let (whole, path, kind) = (&path, path.index(i), value::text(condition, "type"));
        if kind.is_empty() {
            errors.required(&path.child("type"), "");
        }
        let status = value::text(condition, "status");
        if status.is_empty() {
            errors.required(&path.child("status"), "");
        } else if matches!(kind, "Approved" | "Denied" | "Failed") {
            validation::one_of(condition, "status", &path, &["True"], &mut errors);
        } else {
            validation::one_of(condition, "status", &path, &["False", "True", "Unknown"], &mut errors);
        }
        let excluded = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if seen.contains(&excluded) {
            errors.invalid(whole, kind, "Approved and Denied conditions are mutually exclusive");
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

/// The text in a field of base64; empty where there is none.
fn decoded(object: &Value, name: &str) -> String {
    let bytes = STANDARD.decode(value::text(object, name)).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What is wrong with an issued certificate.
fn certificate_problem(object: &Value) -> Option<String> {
    let text = decoded(value::field(object, "status"), "certificate");
    let blocks = pem::blocks(&text);
    if text.is_empty() {
        return None;
    }
    for block in &blocks {
        if block.label != "CERTIFICATE" {
            let found = Value::from(block.label);
            return Some(format!("only CERTIFICATE PEM blocks are allowed, found {found}"));
        }
        if block.has_headers {
            return Some("no PEM block headers are permitted".to_owned());
        }
    }
    blocks.is_empty().then(|| "must contain at least one CERTIFICATE PEM block".to_owned())
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

    const REQUEST: &str =
        "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg==";

    #[test]
    fn a_request_is_one() {
        let object = json!({"spec": {"request": "eA==", "signerName": "example.com/s", "usages": ["any"]}});
        let errors = CertificateSigningRequest.validate(&object);
        assert_eq!(
            errors[0].to_string(),
            "spec.request: Invalid value: \"eA==\": PEM block type must be CERTIFICATE REQUEST"
        );
        assert_eq!(errors.len(), 1);
    }

    #[test]
    fn a_certificate_is_issued_once() {
        let told = |certificate: &str, old: &Value| -> Vec<String> {
            let object = json!({"status": {"certificate": STANDARD.encode(certificate)}});
            CertificateSigningRequest
                .validate_status_update(&object, old)
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        let good = "-----BEGIN CERTIFICATE-----\nAQ==\n-----END CERTIFICATE-----\n";
        assert!(told(good, &json!({})).is_empty());
        assert_eq!(
            told(&good.replace("CERTIFICATE", "KEY"), &json!({})),
            [
                "status.certificate: Invalid value: \"<certificate data>\": only CERTIFICATE PEM blocks are allowed, found \"KEY\""
            ]
        );
        assert_eq!(
            told("x", &json!({"status": {"certificate": STANDARD.encode(good)}})),
            [
                "status.certificate: Forbidden: updates may not modify existing certificate content",
                "status.certificate: Invalid value: \"<certificate data>\": must contain at least one CERTIFICATE PEM block"
            ]
        );
    }

    #[test]
    fn a_decision_is_made_one_way() {
        let object = json!({"status": {"conditions": [
            {"type": "Approved", "status": "True"}, {"type": "Denied", "status": "False"}, {"type": "x"}]}});
        let old = json!({"status": {"conditions": [{"type": "Failed", "status": "True"}]}});
        let told: Vec<String> = CertificateSigningRequest
            .validate_subresource_update("approval", &object, &old)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            told,
            [
                "status.conditions[1].status: Unsupported value: \"False\": supported values: \"True\"",
                "status.conditions: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive",
                "status.conditions[2].status: Required value",
                "status.conditions: Forbidden: updates may not remove a condition of type \"Failed\"",
            ]
        );
    }

    #[test]
    fn usages_are_known_ones_and_each_is_named_once() {
        let told = |signer: &str, usages: &[&str]| -> Vec<String> {
            let object = json!({"spec": {"request": REQUEST, "signerName": signer, "usages": usages}});
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
