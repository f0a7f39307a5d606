//! Events are served by two groups and stored once: as core/v1, as upstream stores them.

const EVENTS: &str = "events.k8s.io/v1";

/// The stored name of a field that a selector of events.k8s.io names.
pub(crate) fn stored_field<'a>(api_version: &str, field: &'a str) -> &'a str {
    if api_version != EVENTS {
        return field;
    }
    match field {
        "regarding.kind" => "involvedObject.kind",
        "regarding.namespace" => "involvedObject.namespace",
        "regarding.name" => "involvedObject.name",
        "regarding.uid" => "involvedObject.uid",
        "regarding.apiVersion" => "involvedObject.apiVersion",
        "regarding.resourceVersion" => "involvedObject.resourceVersion",
        "regarding.fieldPath" => "involvedObject.fieldPath",
        "reportingController" => "reportingComponent",
        other => other,
    }
}
