//! Writes of the server's own, in its own name and without admission.

use super::definition::Condition;
use super::names;
use crate::ApiServer;
use crate::admission::{Chain, Warnings};
use crate::audit::Annotations;
use crate::authentication::UserInfo;
use crate::registry::Served;
use crate::registry::writer::{Change, Writer};
use apimachinery::gvk::GroupResource;
use apimachinery::status::{Result, Status};
use serde_json::Value;
use std::sync::Arc;

const GROUP: &str = "apiextensions.k8s.io";
const VERSION: &str = "v1";
const DEFINITIONS: &str = "customresourcedefinitions";
/// Who manages the fields that the server sets itself (upstream's name).
const MANAGER: &str = "kube-apiserver";

/// The resource of definitions.
pub(super) fn definitions() -> GroupResource {
    GroupResource::new(GROUP, DEFINITIONS)
}

/// Does something with a writer that nobody is asked about.
pub(super) async fn with_writer<T>(
    server: &ApiServer,
    served: &Arc<Served>,
    subresource: &str,
    work: impl AsyncFnOnce(&Writer<'_>) -> T,
) -> T {
    let (chain, warnings, annotations) = (Chain::default(), Warnings::default(), Annotations::default());
    let user = UserInfo::new("system:apiserver", &["system:masters"]);
    let writer = Writer {
        registry: server.registry(),
        services: server.services(),
        served,
        subresource,
        chain: &chain,
        user: &user,
        manager: MANAGER,
        warnings: &warnings,
        annotations: &annotations,
        options: &Value::Null,
        dry_run: false,
        now: jiff::Timestamp::now(),
    };
    work(&writer).await
}

/// Changes a definition by its status subresource: status and finalizers. One that stays as it is is not written.
///
/// # Errors
/// 404 when it does not exist, and what the store refuses with.
pub(super) async fn update_status(
    server: &ApiServer,
    name: &str,
    change: impl Fn(&mut Value) + Send + Sync,
) -> Result<()> {
    let resources = server.resources();
    let Some(served) = resources.get(GROUP, VERSION, DEFINITIONS) else {
        return Err(Status::internal("definitions are not served"));
    };
    with_writer(server, served, "status", async |writer| {
        let changed = |old: &Value| {
            let mut object = old.clone();
            change(&mut object);
            Ok(Change { object, tracked: false })
        };
        writer.update("", name, changed).await.map(|_| ())
    })
    .await
}

/// Sets a condition of a definition, and takes a finalizer off it.
///
/// # Errors
/// As [`update_status`].
pub(super) async fn set_condition(
    server: &ApiServer,
    name: &str,
    condition: &Condition,
    done: Option<&str>,
) -> Result<()> {
    update_status(server, name, |object| {
        if let Some(finalizer) = done {
            let left: Vec<String> = apimachinery::meta::finalizers(object)
                .filter(|known| *known != finalizer)
                .map(str::to_owned)
                .collect();
            apimachinery::meta::set(object, "finalizers", left);
        }
        names::set_in(object, condition.clone(), jiff::Timestamp::now());
    })
    .await
}
