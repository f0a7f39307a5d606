//! Claims that ask for devices that others use need a namespace that is marked for it (KEP-5018).

use super::served::Served;
use super::store::Registry;
use api::value;
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::status::Result;
use serde_json::Value;

const LABEL: &str = "resource.kubernetes.io/admin-access";

/// What is wrong with a claim, a claim's template or a claim's status for the namespace that it is in.
///
/// # Errors
/// When the namespace cannot be read.
pub(crate) async fn check(
    registry: &Registry,
    served: &Served,
    subresource: &str,
    object: &Value,
    old: Option<&Value>,
) -> Result<ErrorList> {
    let Some(path) = asked(served, subresource, object, old) else { return Ok(ErrorList::new()) };
    let namespaces = GroupResource::new("", "namespaces");
    let namespace = registry.get(&namespaces, "", meta::namespace(object)).await?;
    let marked = match namespace {
        Some(found) => meta::label(&super::store::decode(&found)?, LABEL) == Some("true"),
        None => false,
    };
    let why =
        format!("admin access to devices requires the `{LABEL}: true` label on the containing namespace");
    Ok(if marked { ErrorList::new() } else { vec![FieldError::forbidden(&path, why)] })
}

/// Where access is asked for, or given by a status that gave none before.
fn asked(served: &Served, subresource: &str, object: &Value, old: Option<&Value>) -> Option<Path> {
    let stored_as = served.stored_as();
    let spec: &[&str] = match (stored_as.group.as_str(), stored_as.resource.as_str()) {
        ("resource.k8s.io", "resourceclaims") => &["spec", "devices", "requests"],
        ("resource.k8s.io", "resourceclaimtemplates") => &["spec", "spec", "devices", "requests"],
        _ => return None,
    };
    let admin = |of: &Value| of.get("adminAccess") == Some(&Value::Bool(true));
    match subresource {
        "" => {
            let requests = value::list_at(object, spec);
            let found = requests.iter().position(|request| admin(value::field(request, "exactly")))?;
            // Upstream's path, for templates too.
            let requests = Path::new("spec").child("devices").child("requests");
            Some(requests.index(found).child("adminAccess"))
        }
        "status" => {
            let results = |of| {
                value::list_at(of, &["status", "allocation", "devices", "results"]).iter().position(admin)
            };
            let found = results(object).filter(|_| old.and_then(results).is_none())?;
            let path = Path::new("status").child("allocation").child("devices").child("results");
            Some(path.index(found).child("adminAccess"))
        }
        _ => None,
    }
}
