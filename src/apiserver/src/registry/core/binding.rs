//! `pods/binding`: the scheduler's verdict.

use crate::ApiServer;
use crate::admission::Operation;
use crate::body::Body;
use crate::endpoints::body;
use crate::endpoints::create::{settle_namespace, writer};
use crate::endpoints::{Context, Offer, WriteOptions, response};
use crate::registry::Served;
use api::value;
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::gvk::{GroupResource, Gvk};
use apimachinery::status::{Result, Status};
use apimachinery::{meta, time};
use http::Response;
use serde_json::{Value, json};
use std::sync::Arc;

/// Whether a resource is that of bindings, the older way to the same.
pub(crate) fn is_one(served: &Served) -> bool {
    served.gvr.group.is_empty() && served.gvr.resource == "bindings"
}

/// Assigns a pod to a node.
pub(crate) async fn bind(
    server: &ApiServer,
    context: &Context,
    served: &Arc<Served>,
    request_body: Body,
) -> Result<Response<Body>> {
    let form = context.form(Offer::PLAIN)?;
    let options = WriteOptions::parse(context, "CreateOptions")?;
    let gvk = Gvk::new("", "v1", "Binding");
    let mut binding = body::of_kind(context, request_body, &gvk, options.validation).await?;
    settle_namespace(context, served, &mut binding)?;
    let name = match context.info.name.as_str() {
        "" => meta::name(&binding).to_owned(),
        name => name.to_owned(),
    };
    if meta::name(&binding) != name && !meta::name(&binding).is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({name})",
            meta::name(&binding)
        )));
    }
    let errors = validate(&binding);
    if !errors.is_empty() {
        return Err(Status::invalid(&gvk, &name, &errors));
    }
    let writer = writer(server, context, served, &options);
    let namespace = context.info.namespace.as_str();
    let mut request = writer.request(Operation::Create, namespace, &name, None);
    request.kind = &gvk;
    writer.chain.admit(&request, &mut binding).await?;
    writer.chain.validate(&request, &binding).await?;
    let pods = GroupResource::new("", "pods");
    if options.dry_run {
        let pod = server.registry().get_value(&pods, namespace, &name).await?;
        let mut pod = pod.ok_or_else(|| Status::not_found(&pods, &name))?;
        assign(&mut pod, &binding, context.now)?;
    } else {
        server
            .registry()
            .guaranteed_update(&pods, namespace, &name, |pod| assign(pod, &binding, context.now))
            .await?;
    }
    let mut answer = response::status(&Status::success(None), form.media);
    *answer.status_mut() = http::StatusCode::CREATED;
    Ok(answer)
}

fn validate(binding: &Value) -> ErrorList {
    let target = value::field(binding, "target");
    let at = Path::new("target");
    let mut errors = ErrorList::new();
    let kind = value::text(target, "kind");
    if !matches!(kind, "" | "Node") {
        errors.push(FieldError::not_supported(&at.child("kind"), kind, &["Node", "<empty>"]));
    }
    if value::text(target, "name").is_empty() {
        errors.push(FieldError::required(&at.child("name"), ""));
    }
    errors
}

fn assign(pod: &mut Value, binding: &Value, now: jiff::Timestamp) -> Result<()> {
    let name = meta::name(pod).to_owned();
    let refuse = |why: String| Err(Status::conflict(&GroupResource::new("", "pods/binding"), &name, why));
    let uid = meta::uid(binding);
    if !uid.is_empty() && uid != meta::uid(pod) {
        return refuse(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            meta::uid(pod)
        ));
    }
    if meta::is_terminating(pod) {
        return refuse(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let node = value::text_at(pod, &["spec", "nodeName"]);
    if !node.is_empty() {
        return refuse(format!("pod {name} is already assigned to node \"{node}\""));
    }
    if !value::list_at(pod, &["spec", "schedulingGates"]).is_empty() {
        return refuse(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let target = value::text_at(binding, &["target", "name"]).to_owned();
    if let Some(spec) = value::ensure_object(pod, "spec") {
        value::set(spec, "nodeName", target);
    }
    for (key, text) in meta::annotations(binding).into_iter().flatten() {
        meta::set_annotation(pod, key, text.as_str().unwrap_or(""));
    }
    for (key, text) in meta::labels(binding).into_iter().flatten() {
        meta::set_label(pod, key, text.as_str().unwrap_or(""));
    }
    set_condition(
        pod,
        json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": time::rfc3339(now)}),
    );
    Ok(())
}

/// Sets a condition; one that is as it was keeps its time.
pub(super) fn set_condition(pod: &mut Value, condition: Value) {
    let Some(status) = value::ensure_object(pod, "status") else { return };
    let kind = value::text(&condition, "type").to_owned();
    let mut conditions = value::list(status, "conditions").to_vec();
    match conditions.iter_mut().find(|c| value::text(c, "type") == kind) {
        Some(known) if value::text(known, "status") == value::text(&condition, "status") => {}
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
    value::set(status, "conditions", conditions);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_assigned_once() {
        let binding = json!({"metadata": {"name": "p", "annotations": {"a": "b"}}, "target": {"name": "n1"}});
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {}, "status": {}});
        let now = jiff::Timestamp::UNIX_EPOCH;
        assign(&mut pod, &binding, now).unwrap();
        assert_eq!(pod["spec"]["nodeName"], "n1");
        assert_eq!(pod["metadata"]["annotations"]["a"], "b");
        assert_eq!(pod["status"]["conditions"][0]["status"], "True");
        let refused = assign(&mut pod, &binding, now).unwrap_err();
        assert_eq!(
            refused.message,
            "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n1\""
        );
    }
}
