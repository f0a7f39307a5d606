//! AdmissionReview: what a webhook is asked, and its answer.

use super::configuration::ReviewVersion;
use crate::admission::chain::Request;
use crate::admission::matching::{Versioned, request_body};
use base64::Engine;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A review that asks about a request.
pub(super) fn question(
    version: ReviewVersion,
    uid: &str,
    request: &Request<'_>,
    seen: &Versioned<'_>,
) -> Value {
    let mut body = request_body(request, &seen.invocation);
    body.insert("uid".to_owned(), json!(uid));
    body.insert("object".to_owned(), seen.object.as_ref().clone());
    body.insert("oldObject".to_owned(), seen.old.as_ref().clone());
    json!({"kind": "AdmissionReview", "apiVersion": version.api_version(), "request": body})
}

/// What a webhook decided.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Answer {
    pub(super) allowed: bool,
    /// A `metav1.Status`, for refusals; null when there is none.
    pub(super) status: Value,
    /// A JSON patch; `None` when nothing is to be changed.
    pub(super) patch: Option<Value>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) warnings: Vec<String>,
}

/// Why an answer cannot be used.
#[derive(Debug, PartialEq)]
pub(super) enum Unusable {
    /// It is no AdmissionReview: the call has failed.
    Undecodable(String),
    /// It is one, but not in order.
    Invalid(String),
    /// Its patch is none.
    Patch(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    api_version: String,
    response: Option<Response>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    allowed: bool,
    #[serde(default)]
    status: Value,
    patch: Option<String>,
    patch_type: Option<String>,
    audit_annotations: Option<BTreeMap<String, String>>,
    warnings: Option<Vec<String>>,
}

/// Reads an answer.
///
/// # Errors
/// When it cannot be used.
pub(super) fn answer(
    version: ReviewVersion,
    uid: &str,
    mutating: bool,
    body: &[u8],
) -> Result<Answer, Unusable> {
    let review: Review = serde_json::from_slice(body)
        .map_err(|e| Unusable::Undecodable(format!("couldn't get version/kind; json parse error: {e}")))?;
    let invalid = |why: String| Err(Unusable::Invalid(why));
    let Some(response) = review.response else { return invalid("webhook response was absent".to_owned()) };
    let v1 = version == ReviewVersion::V1;
    if v1 && response.uid != uid {
        return invalid(format!("expected response.uid={uid:?}, got {:?}", response.uid));
    }
    let (group_version, kind) = (version.api_version(), review.kind.as_str());
    let same = kind == "AdmissionReview" && review.api_version == group_version;
    // The older version was answered without saying what the answer is.
    let unsaid = !v1 && kind.is_empty() && review.api_version.is_empty();
    if !same && !unsaid {
        return invalid(format!(
            "expected webhook response of {group_version}, Kind=AdmissionReview, got {}, Kind={kind}",
            review.api_version
        ));
    }
    let patch = response.patch.filter(|patch| !patch.is_empty());
    if mutating && v1 {
        match (&patch, response.patch_type.as_deref()) {
            (Some(_), None) => {
                return invalid("webhook returned response.patch but not response.patchType".to_owned());
            }
            (None, Some(_)) => {
                return invalid("webhook returned response.patchType but not response.patch".to_owned());
            }
            (Some(_), Some(kind)) if kind != "JSONPatch" => {
                return invalid(format!("webhook returned invalid response.patchType of {kind:?}"));
            }
            _ => {}
        }
    } else if !mutating && v1 {
        if patch.is_some() {
            return invalid("validating webhook may not return response.patch".to_owned());
        }
        if response.patch_type.is_some() {
            return invalid("validating webhook may not return response.patchType".to_owned());
        }
    }
    Ok(Answer {
        allowed: response.allowed,
        status: response.status,
        patch: patch.filter(|_| mutating).map(|text| read_patch(&text)).transpose()?,
        annotations: response.audit_annotations.unwrap_or_default(),
        warnings: response.warnings.unwrap_or_default(),
    })
}

fn read_patch(text: &str) -> Result<Value, Unusable> {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text)
        .map_err(|e| Unusable::Undecodable(format!("illegal base64 data: {e}")))?;
    serde_json::from_slice(&bytes).map_err(|e| Unusable::Patch(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mutating: bool, response: Value) -> Result<Answer, Unusable> {
        let review =
            json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response});
        answer(ReviewVersion::V1, "u", mutating, review.to_string().as_bytes())
    }

    fn invalid(why: &str) -> Result<Answer, Unusable> {
        Err(Unusable::Invalid(why.to_owned()))
    }

    #[test]
    fn answers_have_to_be_in_order() {
        assert_eq!(read(true, Value::Null), invalid("webhook response was absent"));
        assert_eq!(
            read(true, json!({"uid": "x", "allowed": true})),
            invalid("expected response.uid=\"u\", got \"x\"")
        );
        assert_eq!(
            read(true, json!({"uid": "u", "allowed": true, "patch": "W10="})),
            invalid("webhook returned response.patch but not response.patchType")
        );
        assert_eq!(
            read(false, json!({"uid": "u", "allowed": true, "patchType": "JSONPatch"})),
            invalid("validating webhook may not return response.patchType")
        );
        let other = br#"{"kind":"Pod","apiVersion":"v1","response":{"uid":"u"}}"#;
        assert_eq!(
            answer(ReviewVersion::V1, "u", true, other),
            invalid(
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got v1, Kind=Pod"
            )
        );
        assert!(matches!(answer(ReviewVersion::V1, "u", true, b"hi"), Err(Unusable::Undecodable(_))));
    }

    #[test]
    fn a_patch_is_read() {
        let patch = base64::engine::general_purpose::STANDARD.encode(r#"[{"op":"remove","path":"/a"}]"#);
        let answer =
            read(true, json!({"uid": "u", "allowed": true, "patch": patch, "patchType": "JSONPatch"}));
        assert_eq!(answer.unwrap().patch, Some(json!([{"op": "remove", "path": "/a"}])));
    }

    #[test]
    fn the_older_version_need_not_say_what_it_is() {
        let answer = answer(ReviewVersion::V1Beta1, "u", true, br#"{"response":{"allowed":true}}"#);
        assert!(answer.unwrap().allowed);
    }
}
