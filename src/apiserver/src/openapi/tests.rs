//! Whole documents of what is built in.

use super::document::{Section, write_v2, write_v3};
use super::gnostic::GnosticSink;
use super::sink::JsonSink;
use crate::registry::{Resources, RuntimeConfig, Served, Source};
use apimachinery::gvk::{Gvk, Gvr};
use apimachinery::schema::types::ProtobufPath;
use apimachinery::schema::{
    Field, ListType, MapType, PatchStrategy, Scalar, SchemaRef, SchemaSet, Shape, Type, TypeId,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

static RESOURCES: LazyLock<Resources> =
    LazyLock::new(|| Resources::built_in(&RuntimeConfig::parse("api/all").unwrap()));
static V2: LazyLock<Value> = LazyLock::new(|| v2(&RESOURCES));

fn v2(resources: &Resources) -> Value {
    let mut sink = JsonSink::new(Vec::new()).unwrap();
    write_v2(resources, &[], &mut sink).unwrap();
    serde_json::from_slice(&sink.finish().unwrap()).unwrap()
}

fn v3(resources: &Resources, path: &str) -> Value {
    let section = Section::find(resources, path).unwrap();
    serde_json::from_slice(&write_v3(&section, resources, Vec::new()).unwrap()).unwrap()
}

fn schema<'a>(document: &'a Value, name: &str) -> &'a Value {
    document.get("components").map_or(&document["definitions"], |c| &c["schemas"]).get(name).unwrap()
}

/// The same without descriptions.
fn bare(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let said = |(name, value): &(&String, &Value)| !(*name == "description" && value.is_string());
            fields.iter().filter(said).map(|(name, value)| (name.clone(), bare(value))).collect()
        }
        Value::Array(items) => items.iter().map(bare).collect(),
        other => other.clone(),
    }
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

fn assert_references_resolve(document: &Value) {
    let mut found = BTreeSet::new();
    references(document, &mut found);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn every_reference_resolves() {
    assert_references_resolve(&V2);
    for section in Section::all(&RESOURCES) {
        assert_references_resolve(&v3(&RESOURCES, &section.path()));
    }
}

#[test]
fn every_resource_has_the_operations_of_its_verbs() {
    for section in Section::all(&RESOURCES) {
        let Section::Version(group, version) = &section else { continue };
        let document = v3(&RESOURCES, &section.path());
        let mut told: BTreeSet<(String, String, String)> = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            let operations = item.as_object().unwrap().values();
            for action in operations.filter_map(|o| o.get("x-kubernetes-action")).filter_map(Value::as_str) {
                let parts: Vec<&str> = path.split("/{name}").collect();
                let plural = parts[0].rsplit('/').next().unwrap();
                let sub = parts.get(1).map_or("", |sub| sub.trim_matches('/'));
                told.insert((plural.to_owned(), sub.to_owned(), action.to_owned()));
            }
        }
        let assert = |plural: &str, sub: &str, verb: &str| {
            let action = match verb {
                "create" => "post",
                "update" => "put",
                "watch" => "watchlist",
                other => other,
            };
            let told = told.contains(&(plural.to_owned(), sub.to_owned(), action.to_owned()))
                || told.contains(&(plural.to_owned(), sub.to_owned(), "connect".to_owned()));
            assert!(told, "{group} {version} {plural} {sub} {verb}");
        };
        for served in RESOURCES.iter().filter(|s| s.gvr.group == *group && s.gvr.version == *version) {
            served.verbs.iter().for_each(|verb| assert(&served.gvr.resource, "", verb));
            for sub in &served.subresources {
                sub.verbs.iter().for_each(|verb| assert(&served.gvr.resource, &sub.name, verb));
            }
        }
    }
}

#[test]
fn identifiers_of_operations_are_unique() {
    let mut seen = BTreeSet::new();
    let items = V2["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
    for id in items.filter_map(|operation| operation.get("operationId")?.as_str()) {
        assert!(seen.insert(id.to_owned()), "{id}");
    }
    assert!(seen.contains("connectCoreV1GetNamespacedPodProxyWithPath"));
    assert!(seen.contains("watchRbacAuthorizationV1NamespacedRoleList"));
}

#[test]
fn everything_has_a_description() {
    let document = v3(&RESOURCES, "api/v1");
    let image = &schema(&document, "io.k8s.api.core.v1.Container")["properties"]["image"];
    assert!(image["description"].as_str().unwrap().starts_with("Container image name."));
    let list = schema(&document, "io.k8s.api.core.v1.PodList");
    assert_eq!(list["description"], "PodList is a list of objects of kind Pod.");
    for (name, definition) in V2["definitions"].as_object().unwrap() {
        // What the API itself says nothing about.
        let silent = ["io.k8s.api.admissionregistration.v1alpha1.MatchCondition"];
        assert!(definition.get("description").is_some() || silent.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn a_definition_has_what_clients_patch_and_apply_by() {
    let port = bare(schema(&V2, "io.k8s.api.core.v1.Container"))["properties"]["ports"].clone();
    assert_eq!(
        port,
        json!({
            "type": "array",
            "items": {"$ref": "#/definitions/io.k8s.api.core.v1.ContainerPort"},
            "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
            "x-kubernetes-list-type": "map",
            "x-kubernetes-patch-merge-key": "containerPort",
            "x-kubernetes-patch-strategy": "merge",
        })
    );
    let volumes = bare(schema(&V2, "io.k8s.api.core.v1.PodSpec"))["properties"]["volumes"].clone();
    assert_eq!(volumes["x-kubernetes-patch-strategy"], "merge,retainKeys");
    assert_eq!(
        bare(schema(&V2, "io.k8s.api.apps.v1.Deployment")),
        json!({
            "type": "object",
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": {"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
                "spec": {"$ref": "#/definitions/io.k8s.api.apps.v1.DeploymentSpec"},
                "status": {"$ref": "#/definitions/io.k8s.api.apps.v1.DeploymentStatus"},
            },
            "x-kubernetes-group-version-kind": [{"group": "apps", "kind": "Deployment", "version": "v1"}],
        })
    );
    assert_eq!(
        bare(schema(&V2, "io.k8s.apimachinery.pkg.util.intstr.IntOrString")),
        json!({"type": "string", "format": "int-or-string"})
    );
    assert_eq!(
        bare(schema(&V2, "io.k8s.api.core.v1.ConfigMap"))["properties"]["binaryData"],
        json!({"type": "object", "additionalProperties": {"type": "string", "format": "byte"}})
    );
    assert_eq!(schema(&V2, "io.k8s.api.core.v1.LocalObjectReference")["x-kubernetes-map-type"], "atomic");
}

#[test]
fn v3_tells_defaults_and_wraps_references_that_have_neighbours() {
    let document = v3(&RESOURCES, "apis/apps/v1");
    assert_eq!(
        bare(schema(&document, "io.k8s.api.core.v1.ContainerPort")),
        json!({
            "type": "object",
            "required": ["containerPort"],
            "properties": {
                "containerPort": {"type": "integer", "format": "int32", "default": 0},
                "hostIP": {"type": "string"},
                "hostPort": {"type": "integer", "format": "int32"},
                "name": {"type": "string"},
                "protocol": {"type": "string", "default": "TCP"},
            },
        })
    );
    let reference = |name: &str| json!([{"$ref": format!("#/components/schemas/{name}")}]);
    let deployment = bare(schema(&document, "io.k8s.api.apps.v1.DeploymentSpec"));
    assert_eq!(
        deployment["properties"]["template"],
        json!({"allOf": reference("io.k8s.api.core.v1.PodTemplateSpec"), "default": {}})
    );
    assert_eq!(deployment["required"], json!(["selector", "template"]));
    let list = bare(schema(&document, "io.k8s.api.apps.v1.DeploymentList"));
    assert_eq!(
        list["properties"]["items"]["items"],
        json!({"allOf": reference("io.k8s.api.apps.v1.Deployment"), "default": {}})
    );
    assert_eq!(
        bare(schema(&document, "io.k8s.api.core.v1.ResourceRequirements"))["properties"]["limits"],
        json!({
            "type": "object",
            "additionalProperties": {
                "$ref": "#/components/schemas/io.k8s.apimachinery.pkg.api.resource.Quantity",
            },
        })
    );
    assert_eq!(
        bare(schema(&document, "io.k8s.apimachinery.pkg.util.intstr.IntOrString")),
        json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
    );
}

#[test]
fn a_patch_tells_its_options_at_the_operation_itself() {
    let document = v3(&RESOURCES, "apis/apps/v1");
    let item = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
    let patch = &item["patch"];
    let names: Vec<&str> =
        patch["parameters"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    assert_eq!(patch["parameters"][2]["in"], "query");
    assert_eq!(patch["x-kubernetes-action"], "patch");
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "kind": "Deployment", "version": "v1"})
    );
    assert!(patch["requestBody"]["content"].get("application/apply-patch+yaml").is_some());
    let scale = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["get"];
    assert_eq!(scale["x-kubernetes-group-version-kind"]["kind"], "Scale");
    assert_eq!(scale["operationId"], "readAppsV1NamespacedDeploymentScale");
    // Clients of v2 that do not follow references look for these.
    let patch = &V2["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    let written_out: Vec<&str> =
        patch["parameters"].as_array().unwrap().iter().filter_map(|p| p.get("name")?.as_str()).collect();
    assert_eq!(written_out, ["body", "dryRun", "fieldValidation"]);
}

/// A custom resource whose types have no names.
fn custom_resource() -> Served {
    let field = |name: &'static str, ty: TypeId| Field {
        name: name.into(),
        ty,
        required: name == "size",
        always: false,
        map_type: MapType::Unset,
        patch: PatchStrategy::default(),
        merge_key: None,
        protobuf: ProtobufPath::default(),
        default: (name == "color").then(|| Box::new(json!("red"))),
    };
    let structure = |fields: Vec<Field>| {
        Type::new(Shape::Struct { fields: fields.into(), map_type: MapType::Unset, fills: false })
    };
    let mut set = SchemaSet::default();
    let string = set.add(Type::new(Shape::Scalar(Scalar::String)));
    let number = set.add(Type::new(Shape::Scalar(Scalar::Int64)));
    let tags = set.add(Type::new(Shape::List { item: string, list_type: ListType::Set }));
    let mut spec = structure(vec![field("size", number), field("color", string), field("tags", tags)]);
    spec.preserve_unknown = true;
    let spec = set.add(spec);
    let meta =
        set.import(api::schema::schema_named("apimachinery.pkg.apis.meta.v1.ObjectMeta").unwrap().node());
    let root = set.add(structure(vec![
        field("apiVersion", string),
        field("kind", string),
        field("metadata", meta),
        field("spec", spec),
    ]));
    let of = RESOURCES.get("", "v1", "configmaps").unwrap();
    let resource = Arc::new(api::Resource {
        gvr: Gvr::new("example.com", "v1", "widgets"),
        gvk: Gvk::new("example.com", "v1", "Widget"),
        list_kind: "WidgetList".to_owned(),
        singular: "widget".to_owned(),
        short_names: Vec::new(),
        categories: Vec::new(),
        namespaced: true,
        verbs: of.verbs,
        subresources: Vec::new(),
        kind: of.kind.clone(),
        schema: LazyLock::new(Box::new(move || SchemaRef::new(Arc::new(set), root))),
        storage_version: "v1".to_owned(),
        storage: Gvr::new("example.com", "v1", "widgets"),
    });
    Served::new(Source::Dynamic(Arc::clone(&resource)), Source::Dynamic(resource))
}

#[test]
fn custom_resources_are_in_the_documents_like_all_others() {
    let mut resources = RESOURCES.clone();
    let before = Section::Version("apps".to_owned(), "v1".to_owned()).hash(&resources);
    resources.add(custom_resource());
    let document = v3(&resources, "apis/example.com/v1");
    assert_references_resolve(&document);
    assert_eq!(
        bare(schema(&document, "com.example.v1.Widget")),
        json!({
            "type": "object",
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": {"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
                "spec": {
                    "type": "object",
                    "required": ["size"],
                    "properties": {
                        "size": {"type": "integer", "format": "int64"},
                        "color": {"type": "string", "default": "red"},
                        "tags": {
                            "type": "array",
                            "items": {"type": "string"},
                            "x-kubernetes-list-type": "set",
                        },
                    },
                    "x-kubernetes-preserve-unknown-fields": true,
                },
            },
            "x-kubernetes-group-version-kind": [{"group": "example.com", "kind": "Widget", "version": "v1"}],
        })
    );
    let list = schema(&document, "com.example.v1.WidgetList");
    assert_eq!(list["properties"]["items"]["items"]["$ref"], "#/components/schemas/com.example.v1.Widget");
    let path = "/apis/example.com/v1/namespaces/{namespace}/widgets/{name}";
    assert_eq!(document["paths"][path]["patch"]["operationId"], "patchExampleComV1NamespacedWidget");
    assert!(v2(&resources)["definitions"].get("com.example.v1.Widget").is_some());
    // Others do not have to be fetched again.
    assert_eq!(Section::Version("apps".to_owned(), "v1".to_owned()).hash(&resources), before);
}

/// The fields of a protobuf message whose values have a length.
fn fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(message: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (first, rest) = message.split_first().unwrap();
            *message = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let value = varint(&mut message);
        if tag & 7 == 2 {
            let (field, rest) = message.split_at(usize::try_from(value).unwrap());
            found.push((tag >> 3, field));
            message = rest;
        }
    }
    found
}

fn all(message: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    fields(message).into_iter().filter(move |(n, _)| *n == number).map(|(_, field)| field)
}

fn one(message: &[u8], number: u64) -> &[u8] {
    all(message, number).next().unwrap()
}

#[test]
fn the_protobuf_form_holds_what_the_json_form_holds() {
    let mut sink = GnosticSink::new(Vec::new());
    write_v2(&RESOURCES, &[], &mut sink).unwrap();
    let document = sink.finish();
    assert_eq!(one(&document, 1), b"2.0");
    let names = |number, entries| -> BTreeSet<String> {
        all(&document, number)
            .flat_map(|collection| all(collection, entries))
            .map(|entry| String::from_utf8(one(entry, 1).to_vec()).unwrap())
            .collect()
    };
    for (collection, number, entries) in [("paths", 8, 2), ("definitions", 9, 1), ("parameters", 10, 1)] {
        let expected: BTreeSet<String> = V2[collection].as_object().unwrap().keys().cloned().collect();
        assert_eq!(names(number, entries), expected);
    }
    let path = b"/apis/apps/v1/namespaces/{namespace}/deployments/{name}";
    let paths: Vec<&[u8]> = all(&document, 8).flat_map(|paths| all(paths, 2)).collect();
    let patch = one(one(paths.into_iter().find(|path_item| one(path_item, 1) == path).unwrap(), 2), 8);
    let kind =
        all(patch, 13).find(|extension| one(extension, 1) == b"x-kubernetes-group-version-kind").unwrap();
    let yaml: Value = serde_json::from_slice(one(one(kind, 2), 2)).unwrap();
    assert_eq!(yaml, json!({"group": "apps", "kind": "Deployment", "version": "v1"}));
    // ParametersItem.parameter, Parameter.non_body_parameter, .query_parameter_sub_schema, .name
    let query: Vec<&[u8]> = all(patch, 8)
        .flat_map(|item| all(item, 1))
        .flat_map(|parameter| all(parameter, 2))
        .flat_map(|parameter| all(parameter, 3))
        .map(|parameter| one(parameter, 4))
        .collect();
    assert_eq!(query, [b"dryRun".as_slice(), b"fieldValidation".as_slice()]);
}
