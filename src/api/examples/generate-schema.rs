//! Writes the built-in schema tables of this crate from the facts of a Kubernetes release.
//!
//! ```text
//! cargo run -p api --example generate-schema -- OPENAPI_V2_JSON PROTOBUF_FIELDS_JSON
//! ```
//!
//! The first file is the release's OpenAPI v2 document. The second maps each protobuf message (OpenAPI name without
//! `io.k8s.`, dashes as underscores) to its fields: JSON name to `{"n": number, "t": type}`. Only names, numbers and
//! extensions are taken, no descriptions. The forms written are told in `apimachinery::schema::text` and
//! `api::schema::resources`.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Definitions that the schema knows as scalars, or as JSON of no known form.
const SPECIAL: [(&str, &str); 8] = [
    ("apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON", "JSON"),
    ("apimachinery.pkg.api.resource.Quantity", "Quantity"),
    ("apimachinery.pkg.apis.meta.v1.FieldsV1", "FieldsV1"),
    ("apimachinery.pkg.apis.meta.v1.MicroTime", "MicroTime"),
    ("apimachinery.pkg.apis.meta.v1.Patch", "RawExtension"),
    ("apimachinery.pkg.apis.meta.v1.Time", "Time"),
    ("apimachinery.pkg.runtime.RawExtension", "RawExtension"),
    ("apimachinery.pkg.util.intstr.IntOrString", "IntOrString"),
];

/// Defaults of fields that are keys of list maps: an item that leaves them out is the same as one that says them.
const DEFAULTS: [(&str, &str, &str); 2] = [
    ("api.core.v1.ContainerPort", "protocol", "\"TCP\""),
    ("api.core.v1.ServicePort", "protocol", "\"TCP\""),
];

/// Structs that are no pointers in Go, and so are written as `{}` when nothing is set: what the OpenAPI v2 document
/// does not say. Besides these: metadata, spec and status of every kind with metadata.
const ALWAYS: [(&str, &str); 43] = [
    ("apps.DaemonSetSpec", "template"),
    ("apps.DaemonSetSpec", "updateStrategy"),
    ("apps.DeploymentSpec", "strategy"),
    ("apps.DeploymentSpec", "template"),
    ("apps.ReplicaSetSpec", "template"),
    ("apps.StatefulSetSpec", "template"),
    ("apps.StatefulSetSpec", "updateStrategy"),
    ("authentication.SelfSubjectReviewStatus", "userInfo"),
    ("authentication.TokenReviewStatus", "user"),
    ("autoscaling.HorizontalPodAutoscalerSpec", "scaleTargetRef"),
    ("batch.CronJobSpec", "jobTemplate"),
    ("batch.JobSpec", "template"),
    ("batch.JobTemplateSpec", "metadata"),
    ("batch.JobTemplateSpec", "spec"),
    ("core.Container", "resources"),
    ("core.ContainerStatus", "lastState"),
    ("core.ContainerStatus", "state"),
    ("core.EphemeralContainer", "resources"),
    ("core.Event", "involvedObject"),
    ("core.Event", "source"),
    ("core.NodeDaemonEndpoints", "kubeletEndpoint"),
    ("core.NodeStatus", "daemonEndpoints"),
    ("core.NodeStatus", "nodeInfo"),
    ("core.PersistentVolumeClaimSpec", "resources"),
    ("core.PersistentVolumeClaimTemplate", "metadata"),
    ("core.PersistentVolumeClaimTemplate", "spec"),
    ("core.PodTemplate", "template"),
    ("core.PodTemplateSpec", "metadata"),
    ("core.PodTemplateSpec", "spec"),
    ("core.ServiceStatus", "loadBalancer"),
    ("flowcontrol.FlowSchemaSpec", "priorityLevelConfiguration"),
    ("flowcontrol.LimitedPriorityLevelConfiguration", "limitResponse"),
    ("networking.HTTPIngressPath", "backend"),
    ("networking.IngressServiceBackend", "port"),
    ("networking.IngressStatus", "loadBalancer"),
    ("networking.NetworkPolicySpec", "podSelector"),
    ("rbac.ClusterRoleBinding", "roleRef"),
    ("rbac.RoleBinding", "roleRef"),
    ("resource.AllocationResult", "devices"),
    ("resource.ResourceClaimSpec", "devices"),
    ("resource.ResourceClaimTemplateSpec", "metadata"),
    ("resource.ResourceClaimTemplateSpec", "spec"),
    ("storage.VolumeAttachmentSpec", "source"),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [openapi, protobuf] = arguments.as_slice() else {
        return Err("usage: generate-schema OPENAPI_V2_JSON PROTOBUF_FIELDS_JSON".into());
    };
    let openapi: Value = serde_json::from_slice(&std::fs::read(openapi)?)?;
    let protobuf: Map<String, Value> = serde_json::from_slice(&std::fs::read(protobuf)?)?;
    let into = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/schema");
    std::fs::write(into.join("builtin.txt"), types(&openapi, &protobuf)?)?;
    std::fs::write(into.join("resources.txt"), resources(&openapi)?)?;
    Ok(())
}

fn object<'a>(value: &'a Value, field: &str) -> Result<&'a Map<String, Value>> {
    value.get(field).and_then(Value::as_object).ok_or_else(|| format!("no object {field}").into())
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

// ---- types ----

fn types(openapi: &Value, protobuf: &Map<String, Value>) -> Result<String> {
    let mut definitions = object(openapi, "definitions")?.clone();
    add_partial_object_metadata(&mut definitions);
    let mut out = String::from("# Generated by `cargo run -p api --example generate-schema`. Do not edit.\n");
    for (full_name, definition) in &definitions {
        let name = short(full_name);
        if SPECIAL.iter().any(|(special, _)| *special == name) || name.contains("JSONSchemaPropsOr") {
            continue;
        }
        let atomic = text(definition, "x-kubernetes-map-type") == "atomic";
        writeln!(out, ": {name}{}", if atomic { " atomic" } else { "" })?;
        for gvk in
            definition.get("x-kubernetes-group-version-kind").and_then(Value::as_array).into_iter().flatten()
        {
            writeln!(out, "= {} {}", api_version(gvk), text(gvk, "kind"))?;
        }
        if let Some(unions) = definition.get("x-kubernetes-unions") {
            writeln!(out, "~ {unions}")?;
        }
        let Ok(properties) = object(definition, "properties") else { continue };
        let required: BTreeSet<&str> = definition
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let numbers = numbers(name, protobuf);
        for (property, schema) in properties {
            let mark = if required.contains(property.as_str()) { "!" } else { "" };
            let number = numbers.get(&normal(property)).map_or("-", String::as_str);
            let ty = type_text(schema).map_err(|err| format!("{name}.{property}: {err}"))?;
            let words = words(name, property, schema, properties);
            writeln!(out, "{property}{mark} {ty} {number}{words}")?;
        }
    }
    Ok(out)
}

/// Every client may ask for these in place of objects; the OpenAPI document leaves them out.
fn add_partial_object_metadata(definitions: &mut Map<String, Value>) {
    let meta = "io.k8s.apimachinery.pkg.apis.meta.v1";
    let gvks = |kind: &str| {
        json!([{"group": "meta.k8s.io", "version": "v1", "kind": kind},
               {"group": "meta.k8s.io", "version": "v1beta1", "kind": kind}])
    };
    let reference = |name: &str| json!({"$ref": format!("#/definitions/{meta}.{name}")});
    definitions.insert(
        format!("{meta}.PartialObjectMetadata"),
        json!({"x-kubernetes-group-version-kind": gvks("PartialObjectMetadata"), "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": reference("ObjectMeta")}}),
    );
    definitions.insert(
        format!("{meta}.PartialObjectMetadataList"),
        json!({"x-kubernetes-group-version-kind": gvks("PartialObjectMetadataList"), "required": ["items"],
            "properties": {"apiVersion": {"type": "string"}, "kind": {"type": "string"},
                "metadata": reference("ListMeta"),
                "items": {"type": "array", "items": reference("PartialObjectMetadata")}}}),
    );
}

fn short(full_name: &str) -> &str {
    full_name.strip_prefix("io.k8s.").unwrap_or(full_name)
}

fn api_version(gvk: &Value) -> String {
    match text(gvk, "group") {
        "" => text(gvk, "version").to_owned(),
        group => format!("{group}/{}", text(gvk, "version")),
    }
}

fn type_text(schema: &Value) -> Result<String> {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let name = short(reference.strip_prefix("#/definitions/").unwrap_or(reference));
        if let Some((_, special)) = SPECIAL.iter().find(|(special, _)| *special == name) {
            return Ok((*special).to_owned());
        }
        if let Some((package, form)) = name.rsplit_once('.').filter(|(_, form)| form.contains("PropsOr")) {
            return Ok(format!("{form}:{package}.JSONSchemaProps"));
        }
        return Ok(name.to_owned());
    }
    let ty = text(schema, "type");
    Ok(match (ty, text(schema, "format")) {
        ("string", "") => "string".to_owned(),
        ("string", "byte") => "bytes".to_owned(),
        ("boolean", "") => "bool".to_owned(),
        ("integer", format @ ("int32" | "int64")) => format.to_owned(),
        ("number", "double") => "double".to_owned(),
        ("array", "") => {
            let how = match text(schema, "x-kubernetes-list-type") {
                "map" => {
                    let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
                    let keys: Vec<&str> = keys.into_iter().flatten().filter_map(Value::as_str).collect();
                    format!("map:{}", keys.join(","))
                }
                other => other.to_owned(),
            };
            format!("[{how}]{}", type_text(schema.get("items").ok_or("array without items")?)?)
        }
        ("object", "") => {
            let values = schema.get("additionalProperties").ok_or("object without properties")?;
            format!("{{{}}}{}", text(schema, "x-kubernetes-map-type"), type_text(values)?)
        }
        (ty, format) => return Err(format!("unexpected type {ty:?} with format {format:?}").into()),
    })
}

/// What follows the number.
fn words(name: &str, property: &str, schema: &Value, siblings: &Map<String, Value>) -> String {
    let mut words = String::new();
    let strategy = text(schema, "x-kubernetes-patch-strategy");
    let merge_key = text(schema, "x-kubernetes-patch-merge-key");
    for part in strategy.split(',').filter(|part| !part.is_empty()) {
        if part == "merge" && !merge_key.is_empty() {
            words.push_str(&format!(" merge={merge_key}"));
        } else {
            words.push_str(&format!(" {part}"));
        }
    }
    if schema.get("$ref").is_some() {
        match text(schema, "x-kubernetes-map-type") {
            "" => {}
            map_type => words.push_str(&format!(" {map_type}")),
        }
    }
    if always(name, property, schema, siblings) {
        words.push_str(" always");
    }
    if let Some((_, _, default)) = DEFAULTS.iter().find(|(ty, field, _)| *ty == name && *field == property) {
        words.push_str(&format!(" default={default}"));
    }
    words
}

fn always(name: &str, property: &str, schema: &Value, siblings: &Map<String, Value>) -> bool {
    let reference = text(schema, "$ref");
    if reference.is_empty() || SPECIAL.iter().any(|(special, _)| reference.ends_with(special)) {
        return false;
    }
    // `api.core.v1.Pod` is `core.Pod` in the tables above, whatever its version.
    let parts: Vec<&str> = name.split('.').collect();
    let group_type = match parts.as_slice() {
        ["api", group, _, ty] => format!("{group}.{ty}"),
        [.., ty] => format!("other.{ty}"),
        [] => String::new(),
    };
    let listed =
        |table: &[(&str, &str)]| table.iter().any(|(ty, field)| *ty == group_type && *field == property);
    let is_kind = ["apiVersion", "kind", "metadata"].iter().all(|field| siblings.contains_key(*field));
    listed(&ALWAYS) || is_kind && matches!(property, "metadata" | "spec" | "status")
}

/// Protobuf numbers of a message's fields by normalised JSON name; those of messages that JSON inlines as paths.
fn numbers(name: &str, protobuf: &Map<String, Value>) -> BTreeMap<String, String> {
    let mut numbers = BTreeMap::new();
    let message_name = name.replace("apiextensions-apiserver", "apiextensions_apiserver");
    let message_name = message_name.replace("kube-aggregator", "kube_aggregator");
    collect(&message_name, "", protobuf, &mut numbers);
    numbers
}

fn collect(message: &str, prefix: &str, protobuf: &Map<String, Value>, into: &mut BTreeMap<String, String>) {
    const INLINED: [&str; 9] = [
        "deviceConfiguration",
        "ephemeralContainerCommon",
        "handler",
        "ingressRuleValue",
        "localObjectReference",
        "persistentVolumeSource",
        "rule",
        "ruleWithOperations",
        "volumeSource",
    ];
    for (field, facts) in protobuf.get(message).and_then(Value::as_object).into_iter().flatten() {
        let path = format!("{prefix}{}", facts.get("n").and_then(Value::as_u64).unwrap_or_default());
        let ty = text(facts, "t");
        if INLINED.contains(&field.as_str()) && protobuf.contains_key(ty) {
            collect(ty, &format!("{path}."), protobuf, into);
        }
        into.entry(normal(field)).or_insert(path);
    }
}

/// JSON and protobuf write some names differently: `$ref` and `ref`, `uid` and `uID`.
fn normal(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

// ---- resources ----

#[derive(Default)]
struct Row {
    kind: String,
    api_version: String,
    namespaced: bool,
    verbs: BTreeSet<&'static str>,
}

/// Group and version, plural, subresource.
type Key = (String, String, String);

fn resources(openapi: &Value) -> Result<String> {
    let mut rows: BTreeMap<Key, Row> = BTreeMap::new();
    for (path, item) in object(openapi, "paths")? {
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group_version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => ((*version).to_owned(), rest),
            ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
            _ => continue,
        };
        let (watch, rest) = match rest {
            ["watch", rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let (namespaced, rest) = match rest {
            ["namespaces", "{namespace}", rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let (plural, subresource) = match rest {
            [plural] | [plural, "{name}"] => (*plural, ""),
            [plural, "{name}", subresource] | [plural, "{name}", subresource, "{path}"] => {
                (*plural, *subresource)
            }
            _ => continue,
        };
        let row = rows.entry((group_version, plural.to_owned(), subresource.to_owned())).or_default();
        row.namespaced |= namespaced;
        if watch {
            row.verbs.insert("watch");
            continue;
        }
        for (method, operation) in item.as_object().into_iter().flatten() {
            let Some(gvk) = operation.get("x-kubernetes-group-version-kind") else { continue };
            let verb = match (method.as_str(), text(operation, "x-kubernetes-action")) {
                ("get", "list") => "list",
                ("get", _) => "get",
                ("post", _) => "create",
                ("put", _) => "update",
                ("patch", _) => "patch",
                ("delete", "deletecollection") => "deletecollection",
                ("delete", _) => "delete",
                _ => continue,
            };
            row.verbs.insert(verb);
            row.kind = text(gvk, "kind").to_owned();
            row.api_version = api_version(gvk);
        }
    }
    let mut out = String::from("# Generated by `cargo run -p api --example generate-schema`. Do not edit.\n");
    for ((group_version, plural, subresource), row) in &rows {
        let verbs = row.verbs.iter().copied().collect::<Vec<_>>().join(",");
        if subresource.is_empty() {
            let scope = if row.namespaced { "namespaced" } else { "cluster" };
            writeln!(out, "{group_version} {plural} {} {scope} {verbs}", row.kind)?;
        } else {
            writeln!(out, "/{subresource} {} {} {verbs}", row.api_version, row.kind)?;
        }
    }
    Ok(out)
}
