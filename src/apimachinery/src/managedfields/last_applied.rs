//! `kubectl.kubernetes.io/last-applied-configuration`: what client-side `kubectl apply` remembers, and how an object
//! passes from it to server-side apply without conflicts.

use serde_json::{Map, Value};

use super::compare::compare;
use super::extract;
use super::field_set::FieldSet;
use crate::meta;
use crate::schema::Node;

/// The annotation's name.
pub(super) const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The manager whose applies take part: others have opted out.
pub(super) const MANAGER: &str = "kubectl";

/// Most bytes of all annotations together, as Kubernetes validates them.
const MAX_ANNOTATION_BYTES: usize = 256 * 1024;

/// The fields that client-side apply set last and nobody changed since: applying them is no conflict.
pub(super) fn unchanged_fields(schema: Node<'_>, live: &Value) -> FieldSet {
    let Some(mut applied) =
        meta::annotation(live, ANNOTATION).and_then(|text| serde_json::from_str(text).ok())
    else {
        return FieldSet::default();
    };
    if extract::check(schema, &mut applied).is_err() {
        return FieldSet::default();
    }
    let mut fields = extract::fields(schema, &applied);
    let differences = compare(schema, live, &applied);
    fields.subtract(&differences.modified);
    fields.subtract(&differences.added);
    fields.subtract(&differences.removed);
    fields
}

/// Makes the annotation, where the object has it, say what was applied now; so that a later client-side apply goes on
/// from there. Left out if the annotations would grow too large.
pub(super) fn renew(object: &mut Value, applied: &Value) {
    if meta::annotation(object, ANNOTATION).is_none() {
        return;
    }
    let mut applied = applied.clone();
    if let Some(Value::Object(metadata)) = applied.get_mut("metadata") {
        metadata.remove("managedFields");
        if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
            annotations.remove(ANNOTATION);
        }
    }
    let text = format!("{applied}\n");
    let others: usize = meta::annotations(object)
        .map(|annotations: &Map<String, Value>| {
            let others = annotations.iter().filter(|(name, _)| *name != ANNOTATION);
            others.map(|(name, value)| name.len() + value.as_str().map_or(0, str::len)).sum()
        })
        .unwrap_or_default();
    if others + ANNOTATION.len() + text.len() <= MAX_ANNOTATION_BYTES {
        meta::set_annotation(object, ANNOTATION, &text);
    } else if let Some(Value::Object(annotations)) = object.pointer_mut("/metadata/annotations") {
        annotations.remove(ANNOTATION);
    }
}
