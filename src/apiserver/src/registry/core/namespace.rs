//! `namespaces/finalize`: how the namespace controller takes its finalizer off.

use crate::ApiServer;
use crate::body::Body;
use crate::endpoints::body::{self, Expected};
use crate::endpoints::create::writer;
use crate::endpoints::update::settle_name;
use crate::endpoints::{Context, Presenter, WriteOptions};
use crate::registry::Served;
use crate::registry::writer::Change;
use api::value;
use apimachinery::meta;
use apimachinery::status::Result;
use http::Response;
use serde_json::Value;
use std::sync::Arc;

/// Replaces the finalizers in the spec, and nothing else.
pub(crate) async fn finalize(
    server: &ApiServer,
    context: &Context,
    served: &Arc<Served>,
    request_body: Body,
) -> Result<Response<Body>> {
    let presenter = Presenter::new(context, served)?;
    let options = WriteOptions::parse(context, "UpdateOptions")?;
    let bytes = body::read(request_body).await?;
    let expected = Expected::of(served);
    let mut wish = body::object(context, &bytes, &expected, options.validation)?;
    settle_name(context, &mut wish)?;
    let stored = writer(server, context, served, &options)
        .update("", &context.info.name, |old| Ok(Change { object: finalized(old, &wish), tracked: false }))
        .await?;
    presenter.object(200, &stored)
}

fn finalized(old: &Value, wish: &Value) -> Value {
    let mut object = old.clone();
    let finalizers = value::list_at(wish, &["spec", "finalizers"]).to_vec();
    if let Some(spec) = value::ensure_object(&mut object, "spec") {
        if finalizers.is_empty() {
            value::remove(spec, "finalizers");
        } else {
            value::set(spec, "finalizers", finalizers);
        }
    }
    meta::set(&mut object, "resourceVersion", meta::resource_version(wish));
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_finalizers_change() {
        let old =
            json!({"metadata": {"name": "n"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"a": 1}});
        let wish =
            json!({"metadata": {"name": "n", "resourceVersion": "5", "labels": {"a": "b"}}, "spec": {}});
        let object = finalized(&old, &wish);
        assert_eq!(object["spec"], json!({}));
        assert_eq!(object["metadata"], json!({"name": "n", "resourceVersion": "5"}));
        assert_eq!(object["status"], old["status"]);
    }
}
