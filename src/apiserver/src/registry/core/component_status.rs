//! `componentstatuses`: deprecated, and still what `kubectl get cs` asks for. Nothing is stored; the answer is
//! found out when somebody asks.

use crate::ApiServer;
use crate::body::Body;
use crate::endpoints::{Context, ListMeta, Presenter};
use crate::registry::Served;
use api::value;
use apimachinery::gvk::GroupResource;
use apimachinery::status::{Result, Status};
use apimachinery::time;
use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};
use std::sync::Arc;
use storage::{Attrs, Object};

/// Whether a resource is this one.
pub(crate) fn is_one(served: &Served) -> bool {
    served.gvr.group.is_empty() && served.gvr.resource == "componentstatuses"
}

/// Answers get and list.
pub(crate) async fn answer(
    server: &ApiServer,
    context: &Context,
    served: &Arc<Served>,
) -> Result<Response<Body>> {
    let presenter = Presenter::new(context, served)?;
    context.warnings.add("v1 ComponentStatus is deprecated in v1.19+");
    let name = context.info.name.as_str();
    let mut found = Vec::new();
    for component in ["controller-manager", "etcd-0", "scheduler"] {
        if name.is_empty() || name == component {
            found.push(Arc::new(object(&status(server, context, component).await?)?));
        }
    }
    if context.info.verb == "list" {
        let revision = server.registry().storage().revision();
        return presenter.list(&found, &ListMeta { revision, ..ListMeta::default() });
    }
    match found.first() {
        Some(object) => presenter.object(200, &object.value),
        None => Err(Status::not_found(&served.group_resource(), name)),
    }
}

async fn status(server: &ApiServer, context: &Context, component: &str) -> Result<Value> {
    let problem = match component {
        "etcd-0" => (!server.storage_answers().await).then(|| "the datastore does not answer".to_owned()),
        "controller-manager" => leader_problem(server, context, "kube-controller-manager").await?,
        _ => leader_problem(server, context, "kube-scheduler").await?,
    };
    let mut condition = json!({"type": "Healthy", "status": if problem.is_none() { "True" } else { "False" }, "message": "ok"});
    if let Some(problem) = problem {
        value::set(&mut condition, "message", problem);
    }
    Ok(json!({
        "apiVersion": "v1",
        "kind": "ComponentStatus",
        "metadata": {"name": component},
        "conditions": [condition],
    }))
}

/// A component is fine while somebody renews its leader lease.
async fn leader_problem(server: &ApiServer, context: &Context, lease: &str) -> Result<Option<String>> {
    let leases = GroupResource::new("coordination.k8s.io", "leases");
    let Some(found) = server.registry().get_value(&leases, "kube-system", lease).await? else {
        return Ok(Some(format!("there is no leader: lease kube-system/{lease} does not exist")));
    };
    let renewed = time::parse(value::text_at(&found, &["spec", "renewTime"]));
    let seconds = value::int_at(&found, &["spec", "leaseDurationSeconds"]).unwrap_or(15);
    let fresh = renewed.is_some_and(|at| context.now.duration_since(at).as_secs() <= seconds);
    Ok((!fresh).then(|| format!("there is no leader: lease kube-system/{lease} has expired")))
}

fn object(tree: &Value) -> Result<Object> {
    let value = serde_json::to_vec(tree).map_err(Status::internal)?;
    Ok(Object {
        key: Arc::from(""),
        create_revision: 0,
        revision: 0,
        value: Bytes::from(value),
        splice_at: 0,
        attrs: Attrs::default(),
    })
}
