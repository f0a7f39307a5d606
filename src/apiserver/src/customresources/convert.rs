//! Conversion between the versions of a custom resource: by changing what they say they are, or by a webhook
//! (`apiextensions.k8s.io` ConversionReview).

use super::definition::{Conversion, Definition};
use crate::outbound::{Endpoint, Limits, Outbound};
use apimachinery::meta;
use apimachinery::status::{Result, Status};
use bytes::Bytes;
use http::{Method, Request, header};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// What a webhook has to answer within (upstream's).
const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer that is read: a page of 500 objects of the largest size that etcd takes would be more, but
/// nobody has such.
const ANSWER_MAX_BYTES: usize = 256 * 1024 * 1024;
/// Objects sent in one request: an answer has to come in time.
const BATCH: usize = 500;
/// Versions of the review that we speak, best first.
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// Converts the objects of one definition.
#[derive(Debug)]
pub(super) struct Converter {
    kind: String,
    webhook: Option<Webhook>,
}

struct Webhook {
    outbound: Outbound,
    endpoint: std::result::Result<Endpoint, String>,
    review_version: std::result::Result<&'static str, String>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Converter {
    /// The conversion that a definition asks for.
    pub(super) fn new(definition: &Definition, outbound: &Outbound) -> Self {
        Self {
            kind: definition.accepted.kind.clone(),
            webhook: Webhook::new(&definition.conversion, outbound),
        }
    }

    /// Whether a webhook converts.
    pub(super) fn asks_webhook(&self) -> bool {
        self.webhook.is_some()
    }

    /// Tells an object to be of another version, where that is all there is to it.
    pub(super) fn relabel(object: &mut Value, api_version: &str) {
        api::value::set(object, "apiVersion", api_version);
    }

    /// Converts objects to a version (`group/version`).
    ///
    /// # Errors
    /// 500 when the webhook does not do it right.
    pub(super) async fn convert(&self, mut objects: Vec<Value>, to: &str) -> Result<Vec<Value>> {
        let Some(webhook) = &self.webhook else {
            objects.iter_mut().for_each(|object| Self::relabel(object, to));
            return Ok(objects);
        };
        let mut out = Vec::with_capacity(objects.len());
        let mut rest = objects.into_iter().peekable();
        while rest.peek().is_some() {
            let batch: Vec<Value> = rest.by_ref().take(BATCH).collect();
            let from = batch.first().map_or("", |object| api::value::text(object, "apiVersion")).to_owned();
            let converted = webhook.convert(batch, to).await.map_err(|why| {
                Status::internal(format!("conversion webhook for {from}, Kind={} failed: {why}", self.kind))
            })?;
            out.extend(converted);
        }
        Ok(out)
    }
}

impl Webhook {
    fn new(conversion: &Conversion, outbound: &Outbound) -> Option<Self> {
        if conversion.strategy != "Webhook" {
            return None;
        }
        let webhook = conversion.webhook.as_ref();
        let endpoint = match webhook {
            Some(webhook) => Endpoint::from_config(&webhook.client_config),
            None => Err("webhook conversion strategy without a webhook".to_owned()),
        };
        let known = webhook.map_or(&[][..], |webhook| &webhook.conversion_review_versions);
        let review_version = REVIEW_VERSIONS
            .into_iter()
            .min_by_key(|version| known.iter().position(|k| k == version).unwrap_or(usize::MAX))
            .filter(|version| known.iter().any(|k| k == version))
            .ok_or_else(|| format!("does not support any of the ConversionReview versions {known:?}"));
        Some(Self { outbound: outbound.clone(), endpoint, review_version })
    }

    async fn convert(&self, objects: Vec<Value>, to: &str) -> std::result::Result<Vec<Value>, String> {
        let endpoint = self.endpoint.as_ref()?;
        let api_version = format!("apiextensions.k8s.io/{}", self.review_version.as_ref()?);
        let uid = uuid::Uuid::new_v4().to_string();
        let review = json!({
            "kind": "ConversionReview",
            "apiVersion": api_version,
            "request": {"uid": uid, "desiredAPIVersion": to, "objects": objects},
        });
        let body = serde_json::to_vec(&review).map(Bytes::from).map_err(|e| e.to_string())?;
        let url = endpoint.url("", None).map_err(|e| e.to_string())?;
        let url =
            format!("{url}{}timeout={}s", if url.query().is_some() { "&" } else { "?" }, TIMEOUT.as_secs());
        let request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(body)
            .map_err(|e| e.to_string())?;
        let limits = Limits { timeout: TIMEOUT, max_bytes: ANSWER_MAX_BYTES };
        let answer = self.outbound.call(endpoint, request, limits).await.map_err(|e| e.to_string())?;
        if !answer.status().is_success() {
            let text = String::from_utf8_lossy(answer.body());
            return Err(match text.trim() {
                "" => format!("the server responded with the status code {}", answer.status().as_u16()),
                text => text.chars().take(1024).collect(),
            });
        }
        let mut answer: Value = serde_json::from_slice(answer.body()).map_err(|e| e.to_string())?;
        let converted = check_review(&mut answer, &api_version, &uid)?;
        check_objects(&objects, converted, to)
    }
}

fn check_review(answer: &mut Value, api_version: &str, uid: &str) -> std::result::Result<Vec<Value>, String> {
    let (kind, version) = (api::value::text(answer, "kind"), api::value::text(answer, "apiVersion"));
    if kind != "ConversionReview" || version != api_version {
        return Err(format!(
            "invalid response: expected {api_version}, Kind=ConversionReview, got {version}, Kind={kind}"
        ));
    }
    let Some(response) = api::value::object_mut(answer, "response") else {
        return Err("no response provided".to_owned());
    };
    // Reviews of v1beta1 may leave the uid out.
    let echoed = api::value::text(response, "uid");
    if echoed != uid && !(echoed.is_empty() && api_version.ends_with("/v1beta1")) {
        return Err(format!("expected response.uid={uid:?}, got {echoed:?}"));
    }
    let result = api::value::field(response, "result");
    match api::value::text(result, "status") {
        "Success" => {}
        "Failure" => {
            return Err(match api::value::text(result, "message") {
                "" => "response.result.message was empty".to_owned(),
                message => message.to_owned(),
            });
        }
        other => return Err(format!("response.result.status was {other:?}, not \"Success\"")),
    }
    match api::value::remove(response, "convertedObjects") {
        Some(Value::Array(objects)) => Ok(objects),
        _ => Ok(Vec::new()),
    }
}

/// Nothing of an object's identity may change, and of its metadata only labels and annotations do.
fn check_objects(
    originals: &[Value],
    converted: Vec<Value>,
    to: &str,
) -> std::result::Result<Vec<Value>, String> {
    if originals.len() != converted.len() {
        return Err(format!("webhook returned {} objects, expected {}", converted.len(), originals.len()));
    }
    let checked = originals.iter().zip(converted).enumerate().map(|(index, (original, mut object))| {
        let at = |what: &str| format!("invalid converted object at index {index}: {what}");
        let version = api::value::text(&object, "apiVersion");
        if version != to {
            return Err(at(&format!("invalid groupVersion (expected {to}, received {version})")));
        }
        let (kind, had) = (api::value::text(&object, "kind"), api::value::text(original, "kind"));
        if kind != had {
            return Err(at(&format!("invalid kind (expected {had}, received {kind})")));
        }
        for field in ["name", "namespace", "uid"] {
            let (new, old) = (meta::string(&object, field), meta::string(original, field));
            if new != old {
                return Err(at(&format!("must have the same {field}, expected {old:?}, received {new:?}")));
            }
        }
        restore_metadata(original, &mut object);
        Ok(object)
    });
    checked.collect()
}

fn restore_metadata(original: &Value, object: &mut Value) {
    let mut metadata = meta::metadata(original).cloned().unwrap_or_default();
    let given = meta::metadata(object).cloned().unwrap_or_default();
    for field in ["labels", "annotations"] {
        metadata.remove(field);
        if let Some(value) = given.get(field).filter(|value| value.as_object().is_some_and(is_not_empty)) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    api::value::set(object, "metadata", metadata);
}

fn is_not_empty(map: &Map<String, Value>) -> bool {
    !map.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(version: &str, metadata: Value) -> Value {
        json!({"apiVersion": format!("example.com/{version}"), "kind": "Widget", "metadata": metadata})
    }

    #[test]
    fn of_metadata_only_labels_and_annotations_change() {
        let original = object("v1", json!({"name": "a", "uid": "1", "generation": 2, "labels": {"a": "b"}}));
        let answer =
            object("v2", json!({"name": "a", "uid": "1", "generation": 9, "annotations": {"c": "d"}}));
        let converted = check_objects(&[original], vec![answer], "example.com/v2").unwrap();
        assert_eq!(
            converted[0]["metadata"],
            json!({"name": "a", "uid": "1", "generation": 2, "annotations": {"c": "d"}})
        );
    }

    #[test]
    fn a_webhook_that_changes_identity_is_refused() {
        let original = || vec![object("v1", json!({"name": "a", "uid": "1"}))];
        for (answer, why) in [
            (vec![], "webhook returned 0 objects, expected 1"),
            (
                vec![object("v1", json!({"name": "a", "uid": "1"}))],
                "invalid groupVersion (expected example.com/v2, received example.com/v1)",
            ),
            (vec![object("v2", json!({"name": "b", "uid": "1"}))], "must have the same name"),
            (vec![object("v2", json!({"name": "a", "uid": "2"}))], "must have the same uid"),
        ] {
            let error = check_objects(&original(), answer, "example.com/v2").unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_review_has_to_succeed() {
        let mut answer = json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
            "response": {"uid": "u", "result": {"status": "Failure", "message": "no"}}});
        assert_eq!(check_review(&mut answer, "apiextensions.k8s.io/v1", "u").unwrap_err(), "no");
        assert!(
            check_review(&mut answer, "apiextensions.k8s.io/v1", "w").unwrap_err().contains("response.uid")
        );
    }
}
