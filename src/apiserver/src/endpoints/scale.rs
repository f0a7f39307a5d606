//! The `scale` subresource: how many replicas there are and shall be, the same for every kind that scales.

use super::body::{self, Expected};
use super::context::Context;
use super::create::writer;
use super::get;
use super::negotiation::Offer;
use super::patch::{Patch, PatchType};
use super::response;
use super::update::settle_name;
use super::write_options::WriteOptions;
use crate::ApiServer;
use crate::body::Body;
use crate::registry::Served;
use crate::registry::writer::Change;
use api::ScalePaths;
use apimachinery::field::{FieldError, Path};
use apimachinery::gvk::Gvk;
use apimachinery::labels::Selector;
use apimachinery::meta;
use apimachinery::schema::SchemaRef;
use apimachinery::status::{Result, Status};
use http::Response;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Answers a request for a scale.
pub(crate) async fn scale(
    server: &ApiServer,
    context: &Context,
    served: &Arc<Served>,
    request_body: Body,
) -> Result<Response<Body>> {
    let Some(paths) = served.rules().scale() else { return Err(Status::no_such_path()) };
    let form = context.form(Offer::PLAIN)?;
    if context.info.verb == "get" {
        let object = get::find(server, context, served).await?;
        let tree: Value = serde_json::from_slice(&object.value).map_err(Status::internal)?;
        if !paths.replicas_optional && at(&tree, &paths.spec_replicas).is_none() {
            let path = &paths.spec_replicas;
            return Err(Status::internal(format!("the spec replicas field {path:?} does not exist")));
        }
        return response::value(200, &of(&tree, &paths), form.media);
    }
    let wish = Wish::read(context, served, request_body).await?;
    let writer = writer(server, context, served, &wish.options);
    let namespace = if served.namespaced { context.info.namespace.as_str() } else { "" };
    let stored = writer
        .update(namespace, &context.info.name, |old| {
            let mut scale = of(old, &paths);
            wish.change(context, &mut scale)?;
            let replicas = checked_replicas(&scale, &context.info.name)?;
            let mut object = old.clone();
            set_at(&mut object, &paths.spec_replicas, Value::from(replicas));
            // Whoever read the scale read the object's revision with it.
            meta::set(&mut object, "resourceVersion", meta::resource_version(&scale));
            Ok(Change { object, tracked: false })
        })
        .await?;
    let tree: Value = serde_json::from_slice(&stored).map_err(Status::internal)?;
    response::value(200, &of(&tree, &paths), form.media)
}

/// What the client wants the scale to be.
struct Wish {
    options: WriteOptions,
    gvk: Gvk,
    schema: SchemaRef,
    how: How,
}

enum How {
    Replace(Value),
    Patch(Patch),
}

impl Wish {
    async fn read(context: &Context, served: &Served, request_body: Body) -> Result<Self> {
        let gvk = Gvk::new("autoscaling", "v1", "Scale");
        let schema = api::schema::schema_for(&gvk)
            .ok_or_else(|| Status::internal("autoscaling/v1 Scale has no schema"))?;
        let patching = context.info.verb == "patch";
        let kind = if patching { "PatchOptions" } else { "UpdateOptions" };
        let options = WriteOptions::parse(context, kind)?;
        let how = if patching {
            let patch_type = PatchType::of(context, served)?;
            options.check_patch(context, patch_type == PatchType::Apply)?;
            How::Patch(Patch::decode(patch_type, &body::read(request_body).await?)?)
        } else {
            let bytes = body::read(request_body).await?;
            let expected = Expected::new(&gvk, &schema);
            let mut scale = body::object(context, &bytes, &expected, options.validation)?;
            settle_name(context, &mut scale)?;
            How::Replace(scale)
        };
        Ok(Self { options, gvk, schema, how })
    }

    fn change(&self, context: &Context, scale: &mut Value) -> Result<()> {
        match &self.how {
            How::Replace(new) => {
                let current = meta::resource_version(scale).to_owned();
                *scale = new.clone();
                if meta::resource_version(scale).is_empty() {
                    meta::set(scale, "resourceVersion", current);
                }
                Ok(())
            }
            How::Patch(patch) => {
                patch.apply_to(&self.schema, scale)?;
                body::identify(scale, &self.gvk)?;
                let unknown = body::conform(scale, &Expected::new(&self.gvk, &self.schema))?;
                patch.report(context, self.options.validation, unknown)
            }
        }
    }
}

fn checked_replicas(scale: &Value, name: &str) -> Result<i64> {
    let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
    if replicas < 0 {
        let at = Path::new("spec").child("replicas");
        let error = FieldError::invalid(&at, replicas, "must be greater than or equal to 0");
        return Err(Status::invalid(&Gvk::new("autoscaling", "v1", "Scale"), name, &vec![error]));
    }
    Ok(replicas)
}

/// Takes the wanted number of a scale over into the object.
///
/// # Errors
/// 422 when it is negative.
pub(crate) fn take_back(object: &mut Value, scale: &Value, paths: &ScalePaths) -> Result<()> {
    let replicas = checked_replicas(scale, meta::name(object))?;
    set_at(object, &paths.spec_replicas, Value::from(replicas));
    Ok(())
}

/// The scale of an object.
pub(crate) fn of(object: &Value, paths: &ScalePaths) -> Value {
    let mut metadata = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = meta::metadata(object).and_then(|m| m.get(field)) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let number = |path: &str| at(object, path).and_then(Value::as_i64).unwrap_or(0);
    let mut status = json!({"replicas": number(&paths.status_replicas)});
    let selector = at(object, &paths.selector).map(selector_text).unwrap_or_default();
    if !selector.is_empty() {
        api::value::set(&mut status, "selector", selector);
    }
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": number(&paths.spec_replicas)},
        "status": status,
    })
}

/// A LabelSelector or a plain map of labels, in the form of queries.
fn selector_text(selector: &Value) -> String {
    let structured = selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some();
    if let Some(text) = selector.as_str() {
        return text.to_owned();
    }
    let mut terms = Vec::new();
    if structured {
        let expressions = json!({"matchExpressions": selector.get("matchExpressions")});
        if let Ok(selector) = Selector::from_label_selector(&expressions) {
            terms.push(selector.to_string());
        }
    }
    let labels = if structured { selector.get("matchLabels") } else { Some(selector) };
    let labels = labels.and_then(Value::as_object).into_iter().flatten();
    let pairs = labels.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)));
    terms.insert(0, Selector::from_map(pairs).to_string());
    terms.retain(|term| !term.is_empty());
    terms.join(",")
}

fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').filter(|p| !p.is_empty()).try_fold(object, |value, name| value.get(name))
}

fn set_at(object: &mut Value, path: &str, value: Value) {
    let mut names = path.split('.').filter(|p| !p.is_empty()).peekable();
    let mut target = object;
    while let Some(name) = names.next() {
        if names.peek().is_none() {
            api::value::set(target, name, value);
            return;
        }
        match api::value::ensure_object(target, name) {
            Some(inner) => target = inner,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_shows_numbers_and_selector() {
        let deployment = json!({"metadata": {"name": "web", "resourceVersion": "5", "labels": {"a": "b"}},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}}, "status": {"replicas": 2}});
        let scale = of(&deployment, &api::kind::STANDARD_SCALE);
        assert_eq!(scale["spec"]["replicas"], 3);
        assert_eq!(scale["status"], json!({"replicas": 2, "selector": "app=web"}));
        assert_eq!(scale["metadata"], json!({"name": "web", "resourceVersion": "5"}));
        let controller = json!({"spec": {"selector": {"app": "web"}}});
        assert_eq!(of(&controller, &api::kind::STANDARD_SCALE)["status"]["selector"], "app=web");
    }

    #[test]
    fn fewer_than_none_are_refused() {
        assert_eq!(checked_replicas(&json!({"spec": {"replicas": -1}}), "x").unwrap_err().code, 422);
    }
}
