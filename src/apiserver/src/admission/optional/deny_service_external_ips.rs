//! DenyServiceExternalIPs: Services get no external addresses beyond those that they have.

use crate::admission::chain::{Operation, Plugin, Request, Validation};
use crate::admission::support::{forbidden, items};
use apimachinery::status::Status;
use async_trait::async_trait;
use serde_json::Value;

/// See the module.
pub(in crate::admission) struct DenyServiceExternalIps;

impl Plugin for DenyServiceExternalIps {
    fn name(&self) -> &'static str {
        "DenyServiceExternalIPs"
    }

    fn validation(&self) -> Option<&dyn Validation> {
        Some(self)
    }
}

#[async_trait]
impl Validation for DenyServiceExternalIps {
    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        if !request.is("", "services") || !matches!(request.operation, Operation::Create | Operation::Update)
        {
            return Ok(());
        }
        let before = request.old.map_or(&[][..], |old| items(old, "/spec/externalIPs"));
        if items(object, "/spec/externalIPs").iter().all(|address| before.contains(address)) {
            return Ok(());
        }
        Err(forbidden(request, object, "Use of external IPs is denied by admission control."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::testing::Scene;
    use apimachinery::gvk::Gvr;
    use serde_json::json;

    #[tokio::test]
    async fn addresses_may_go_and_stay_but_not_come() {
        let scene = Scene::new(Operation::Update, "a", "s");
        let services = Gvr::new("", "v1", "services");
        let service = |addresses: &[&str]| json!({"spec": {"externalIPs": addresses}});
        let old = service(&["192.0.2.1", "192.0.2.2"]);
        let request = Request { resource: &services, old: Some(&old), ..scene.request() };
        let ask = async |addresses: &[&str]| {
            DenyServiceExternalIps.validate(&request, &service(addresses)).await.is_ok()
        };
        assert!(ask(&[]).await && ask(&["192.0.2.2"]).await);
        assert!(!ask(&["192.0.2.1", "192.0.2.3"]).await);
    }
}
