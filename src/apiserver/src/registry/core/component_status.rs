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

/// Upstream's lease duration of a leader, where the lease does not say.
const DEFAULT_LEASE_SECONDS: i64 = 15;

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
        if (name.is_empty() || name == component)
            && let Some(status) = status(server, context, component).await?
        {
            found.push(Arc::new(object(&status)?));
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

/// What is known of a component; nothing when it is not known to run anywhere.
async fn status(server: &ApiServer, context: &Context, component: &str) -> Result<Option<Value>> {
    let health = match component {
        "etcd-0" if server.storage_answers().await => Some(Ok(())),
        "etcd-0" => Some(Err("the datastore does not answer".to_owned())),
        _ => match server.health().component(component) {
            Some(true) => Some(Ok(())),
            Some(false) => Some(Err("it does not run".to_owned())),
            None => leader(server, context, &format!("kube-{component}")).await?,
        },
    };
    Ok(health.map(|health| {
        let (status, message) = match health {
            Ok(()) => ("True", "ok".to_owned()),
            Err(problem) => ("False", problem),
        };
        json!({
            "apiVersion": "v1",
            "kind": "ComponentStatus",
            "metadata": {"name": component},
            "conditions": [{"type": "Healthy", "status": status, "message": message}],
        })
    }))
}

/// A component that elects a leader is fine while the leader renews its lease.
async fn leader(
    server: &ApiServer,
    context: &Context,
    lease: &str,
) -> Result<Option<std::result::Result<(), String>>> {
    let leases = GroupResource::new("coordination.k8s.io", "leases");
    let Some(found) = server.registry().get_value(&leases, "kube-system", lease).await? else {
        return Ok(None);
    };
    let renewed = time::parse(value::text_at(&found, &["spec", "renewTime"]));
    let seconds = value::int_at(&found, &["spec", "leaseDurationSeconds"]).unwrap_or(DEFAULT_LEASE_SECONDS);
    let fresh = renewed.is_some_and(|at| context.now.duration_since(at).as_secs() <= seconds);
    Ok(Some(if fresh {
        Ok(())
    } else {
        Err(format!("there is no leader: lease kube-system/{lease} has expired"))
    }))
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
