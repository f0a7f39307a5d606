//! ResourceSlice (KEP-4381).

use super::{devices, names, v1beta1};
use crate::Kind;
use crate::columns;
use crate::core::pod::validation::node_selector_without_values;
use crate::validation::{Errors, csi_driver_name};
use crate::{validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::status::Status;
use apimachinery::table::Column;
use apimachinery::validation as forms;
use jiff::Timestamp;
use serde_json::Value;

const WHERE: &str =
    "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";

/// ResourceSlice.
pub struct ResourceSlice;

impl Kind for ResourceSlice {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("resource.k8s.io", "ResourceSlice")
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let spec = value::field(object, "spec");
        vec![
            ("spec.nodeName", value::text(spec, "nodeName").to_owned()),
            ("spec.driver", value::text(spec, "driver").to_owned()),
        ]
    }

    fn prepare_for_create(&self, object: &mut Value) {
        devices::drop_disabled(object, None);
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        devices::drop_disabled(object, Some(old));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let (spec, mut errors) = (value::field(object, "spec"), ErrorList::new());
        of_spec(spec, &Value::Null, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let (spec, before) = (value::field(object, "spec"), value::field(old, "spec"));
        let (path, mut errors) = (Path::new("spec"), ErrorList::new());
        let (pool, pool_before) = (value::field(spec, "pool"), value::field(before, "pool"));
        validation::immutable(pool, pool_before, "name", &path.child("pool"), &mut errors);
        validation::immutable(spec, before, "driver", &path, &mut errors);
        validation::immutable(spec, before, "nodeName", &path, &mut errors);
        of_spec(spec, before, &mut errors);
        errors
    }

    fn convert(&self, object: &mut Value, from: &str, to: &str) -> Result<(), Status> {
        v1beta1::whole(object, &["spec"], (from, to), v1beta1::convert_devices)
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("Node"),
            Column::new("Driver"),
            Column::new("Pool"),
            Column::age(),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = value::field(object, "spec");
        vec![
            columns::name(object),
            columns::or_none(value::text(spec, "nodeName")),
            columns::text_cell(spec, "driver"),
            Value::from(value::text_at(spec, &["pool", "name"])),
            columns::age(object, now),
        ]
    }
}

fn of_spec(spec: &Value, old: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec");
    csi_driver_name(spec, "driver", &path, errors);
    let (pool, pool_path) = (value::field(spec, "pool"), || path.child("pool"));
    names::pool(pool, "name", &pool_path(), errors);
    let slices = value::int(pool, "resourceSliceCount").unwrap_or(0);
    if slices <= 0 {
        errors.invalid(&pool_path().child("resourceSliceCount"), slices, "must be greater than zero");
    }
    let generation = value::int(pool, "generation").unwrap_or(0);
    if generation < 0 {
        let problem = "must be greater than or equal to zero";
        errors.invalid(&pool_path().child("generation"), generation, problem);
    }
    nodes(spec, &path, errors);
    devices::validate(spec, old, &path, errors);
}

/// Where the devices are: told in one way.
fn nodes(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let mut given = Vec::new();
    match value::field(spec, "nodeName").as_str() {
        None => {}
        Some("") => {
            let problem = "must be either unset or set to a non-empty string";
            errors.invalid(&path.child("nodeName"), "", problem);
        }
        Some(name) => {
            given.push("`nodeName`");
            errors.check(path, "nodeName", name, forms::dns1123_subdomain(name));
        }
    }
    if value::has(spec, "nodeSelector") {
        given.push("`nodeSelector`");
        let (selector, path) = (value::field(spec, "nodeSelector"), path.child("nodeSelector"));
        node_selector_without_values(selector, &path, errors);
        if value::list(selector, "nodeSelectorTerms").len() != 1 {
            errors.invalid(
                &path.child("nodeSelectorTerms"),
                value::field(selector, "nodeSelectorTerms").clone(),
                "must have exactly one node selector term",
            );
        }
    }
    for (name, shown) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")]
    {
        match value::boolean(spec, name) {
            None => {}
            Some(true) => given.push(shown),
            Some(false) => errors.invalid(&path.child(name), false, "must be either unset or set to true"),
        }
    }
    match given.len() {
        0 => errors.required(path, WHERE),
        1 => {}
        _ => errors.invalid(
            path,
            format!("{{{}}}", given.join(", ")),
            format!("{WHERE}, but multiple fields are set"),
        ),
    }
}
