//! Objects that the server writes itself, without admission and authorization.

use crate::ApiServer;
use crate::admission::{Chain, Warnings};
use crate::audit::Annotations;
use crate::authentication::UserInfo;
use crate::registry::writer::{Change, Writer};
use api::value;
use apimachinery::gvk::Gvr;
use apimachinery::meta;
use apimachinery::status::{Result, Status};
use serde_json::Value;

/// Who manages the fields, as upstream calls itself.
const MANAGER: &str = "kube-apiserver";

/// Creates an object unless it is there.
///
/// # Errors
/// As a client would get them.
pub(crate) async fn create(server: &ApiServer, gvr: &Gvr, object: Value) -> Result<()> {
    // Asked first: creating would find the address taken, by the object itself.
    let resource = gvr.group_resource();
    if server.registry().get(&resource, meta::namespace(&object), meta::name(&object)).await?.is_some() {
        return Ok(());
    }
    match write(server, gvr, object, None).await {
        Err(e) if e.is_already_exists() => Ok(()),
        result => result,
    }
}

/// Makes some fields of an object (or of its metadata: `metadata.NAME`) what they are to be; creates it when it is not
/// there.
///
/// # Errors
/// As a client would get them.
pub(crate) async fn put(server: &ApiServer, gvr: &Gvr, object: Value, fields: &[&str]) -> Result<()> {
    match write(server, gvr, object.clone(), Some(fields)).await {
        Err(e) if e.is_not_found() => write(server, gvr, object, None).await,
        result => result,
    }
}

async fn write(server: &ApiServer, gvr: &Gvr, mut object: Value, update: Option<&[&str]>) -> Result<()> {
    let resources = server.resources();
    let Some(served) = resources.get(&gvr.group, &gvr.version, &gvr.resource) else {
        return Err(Status::internal(format!("{gvr} is not served")));
    };
    apimachinery::schema::prune(&served.schema, &mut object).map_err(Status::internal)?;
    served.rules().default(&mut object);
    let (chain, warnings) = (Chain::default(), Warnings::default());
    let user = UserInfo::new("system:apiserver", &["system:masters"]);
    let writer = Writer {
        registry: server.registry(),
        services: server.services(),
        served,
        subresource: "",
        chain: &chain,
        user: &user,
        manager: MANAGER,
        warnings: &warnings,
        annotations: &Annotations::default(),
        options: &Value::Null,
        dry_run: false,
        now: jiff::Timestamp::now(),
    };
    let result = match update {
        None => writer.create(Change { object, tracked: false }).await,
        Some(fields) => {
            let (namespace, name) = (meta::namespace(&object).to_owned(), meta::name(&object).to_owned());
            writer
                .update(&namespace, &name, |old| {
                    let mut changed = old.clone();
                    for field in fields {
                        match field.strip_prefix("metadata.") {
                            Some(field) => {
                                if let (Some(to), Some(from)) =
                                    (changed.get_mut("metadata"), object.get("metadata"))
                                {
                                    value::copy(to, from, field);
                                }
                            }
                            None => value::copy(&mut changed, &object, field),
                        }
                    }
                    Ok(Change { object: changed, tracked: false })
                })
                .await
        }
    };
    result.map(|_| ())
}
