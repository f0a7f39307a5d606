//! Quotas over a real store.

use super::*;
use crate::admission::Warnings;
use crate::audit::Annotations;
use crate::authentication::UserInfo;
use crate::cached::testing::{create, registry, resource};
use apimachinery::gvk::Gvr;
use apimachinery::meta;
use serde_json::json;

struct Case {
    registry: Registry,
    plugin: ResourceQuota,
}

impl Case {
    async fn new(spec: Value) -> Self {
        let registry = registry().await;
        let mut zero = spec["hard"].clone();
        zero.as_object_mut().unwrap().values_mut().for_each(|amount| *amount = json!("0"));
        let status = json!({"hard": spec["hard"], "used": zero});
        create(
            &registry,
            json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": "n"},
                "spec": spec, "status": status}),
        )
        .await;
        Self { plugin: ResourceQuota::new(registry.clone(), Arc::default()), registry }
    }

    async fn write(&self, object: &Value, old: Option<&Value>, subresource: &str) -> Result<(), String> {
        let (gvk, of) = (meta::gvk(object), resource(object));
        let request = Request {
            user: &UserInfo::admin(),
            operation: if old.is_some() { Operation::Update } else { Operation::Create },
            resource: &Gvr::new(of.group, gvk.version.clone(), of.resource),
            kind: &gvk,
            subresource,
            namespace: "n",
            name: "p",
            old,
            dry_run: false,
            options: &Value::Null,
            warnings: &Warnings::default(),
            annotations: &Annotations::default(),
            served: None,
            reinvocation: None,
        };
        self.plugin.validate(&request, object).await.map_err(|status| status.message)
    }

    async fn used(&self) -> Value {
        let quota = self.registry.get_value(&quotas(), "n", "q").await.unwrap().unwrap();
        quota["status"]["used"].clone()
    }
}

fn pod(cpu: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": [
        {"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
}

#[tokio::test]
async fn what_is_beyond_a_quota_is_refused_with_the_numbers() {
    let case = Case::new(json!({"hard": {"requests.cpu": "2", "pods": "5"}})).await;
    assert_eq!(case.write(&pod("1500m"), None, "").await, Ok(()));
    assert_eq!(case.used().await, json!({"requests.cpu": "1500m", "pods": "1"}));
    assert_eq!(
        case.write(&pod("600m"), None, "").await.unwrap_err(),
        "pods \"p\" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=1500m, \
         limited: requests.cpu=2"
    );
    let silent = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [
        {"name": "c"}]}});
    assert_eq!(
        case.write(&silent, None, "").await.unwrap_err(),
        "pods \"p\" is forbidden: failed quota: q: must specify requests.cpu for: c"
    );
    // A resize counts what changes, either way.
    assert_eq!(case.write(&pod("2"), Some(&pod("1500m")), "resize").await, Ok(()));
    assert_eq!(case.used().await["requests.cpu"], "2");
    assert_eq!(case.write(&pod("1"), Some(&pod("2")), "resize").await, Ok(()));
    assert_eq!(case.used().await["requests.cpu"], "1");
    // Other subresources are not looked at.
    assert_eq!(case.write(&pod("9"), Some(&pod("1")), "ephemeralcontainers").await, Ok(()));
}

#[tokio::test]
async fn of_many_at_once_exactly_as_many_as_there_is_room_for_get_in() {
    let case = Arc::new(Case::new(json!({"hard": {"count/widgets.example.com": "3"}})).await);
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "p"}});
    let writes = (0..10).map(|_| {
        let (case, widget) = (Arc::clone(&case), widget.clone());
        tokio::spawn(async move { case.write(&widget, None, "").await.is_ok() })
    });
    let results = futures::future::join_all(writes).await;
    assert_eq!(results.into_iter().filter(|result| *result.as_ref().unwrap()).count(), 3);
    assert_eq!(case.used().await, json!({"count/widgets.example.com": "3"}));
}

#[tokio::test]
async fn a_quota_is_silent_about_what_is_not_in_its_scope() {
    let case = Case::new(json!({"hard": {"pods": "0"}, "scopes": ["BestEffort"]})).await;
    assert_eq!(case.write(&pod("1"), None, "").await, Ok(()));
    let mut careless = pod("1");
    careless["spec"]["containers"][0]["resources"] = json!({});
    assert!(
        case.write(&careless, None, "")
            .await
            .unwrap_err()
            .contains("requested: pods=1, used: pods=0, limited: pods=0")
    );
}

#[tokio::test]
async fn a_service_is_charged_for_the_ports_that_it_gets_more() {
    let case = Case::new(json!({"hard": {"services": "5", "services.nodeports": "2"}})).await;
    let service = |kind: &str, ports: usize| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "p"},
            "spec": {"type": kind, "ports": vec![json!({"port": 1}); ports]}})
    };
    assert_eq!(case.write(&service("ClusterIP", 2), None, "").await, Ok(()));
    assert_eq!(case.used().await, json!({"services": "1", "services.nodeports": "0"}));
    assert_eq!(case.write(&service("NodePort", 2), Some(&service("ClusterIP", 2)), "").await, Ok(()));
    assert_eq!(case.used().await, json!({"services": "1", "services.nodeports": "2"}));
    assert!(case.write(&service("NodePort", 3), Some(&service("NodePort", 2)), "").await.is_err());
    // What an update gives back comes back with the controller's count.
    assert_eq!(case.write(&service("ClusterIP", 1), Some(&service("NodePort", 2)), "").await, Ok(()));
    assert_eq!(case.used().await["services.nodeports"], "2");
}

#[tokio::test]
async fn a_quota_that_has_not_been_counted_refuses_rather_than_guesses() {
    let case = Case::new(json!({"hard": {"pods": "5"}})).await;
    case.registry
        .guaranteed_update(&quotas(), "n", "q", |quota| {
            quota["status"]["used"] = json!({});
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(
        case.write(&pod("1"), None, "").await.unwrap_err(),
        "pods \"p\" is forbidden: status unknown for quota: q, resources: pods"
    );
}

#[tokio::test]
async fn what_is_limited_needs_a_quota_that_covers_it() {
    let mut case = Case::new(json!({"hard": {"pods": "5"}, "scopeSelector": {"matchExpressions": [
        {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}}))
    .await;
    let configuration = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "ResourceQuotaConfiguration",
        "limitedResources": [
            {"resource": "pods", "matchScopes": [
                {"scopeName": "PriorityClass", "operator": "In", "values": ["high", "highest"]},
                {"scopeName": "BestEffort", "operator": "Exists"}]},
            {"resource": "persistentvolumeclaims", "matchContains": ["gold.storageclass.storage.k8s.io/requests.storage"]}]});
    let limited = LimitedResources::parse(&configuration.to_string()).unwrap();
    case.plugin = ResourceQuota::new(case.registry.clone(), Arc::new(limited));
    let of_class = |class: &str| {
        let mut pod = pod("1");
        pod["spec"]["priorityClassName"] = json!(class);
        pod
    };
    assert_eq!(case.write(&of_class("high"), None, "").await, Ok(()));
    assert_eq!(case.write(&of_class("low"), None, "").await, Ok(()));
    assert_eq!(
        case.write(&of_class("highest"), None, "").await.unwrap_err(),
        "insufficient quota to match these scopes: [{PriorityClass In [high highest]}]"
    );
    let best_effort = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"},
        "spec": {"containers": [{"name": "c"}]}});
    assert_eq!(
        case.write(&best_effort, None, "").await.unwrap_err(),
        "insufficient quota to match these scopes: [{BestEffort Exists []}]"
    );
    let claim = |class: &str, size: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "p", "namespace": "n"},
            "spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}}})
    };
    assert_eq!(case.write(&claim("silver", "1Gi"), None, "").await, Ok(()));
    assert_eq!(
        case.write(&claim("gold", "1Gi"), None, "").await.unwrap_err(),
        "persistentvolumeclaims \"p\" is forbidden: insufficient quota to consume: \
         gold.storageclass.storage.k8s.io/requests.storage"
    );
    // What does not use more than before is let through.
    assert_eq!(case.write(&claim("gold", "1Gi"), Some(&claim("gold", "1Gi")), "").await, Ok(()));
}
