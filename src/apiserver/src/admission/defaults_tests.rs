//! The whole chain over a real store.

use super::*;
use crate::admission::{Operation, Request, Warnings};
use crate::audit::Annotations;
use crate::authentication::UserInfo;
use crate::authorization::Union;
use crate::bootstrap::{ExtensionAuthentication, reconcile};
use crate::cached::testing::{create, registry, resource, update};
use apimachinery::gvk::Gvr;
use apimachinery::meta;
use apimachinery::status::Status;
use serde_json::{Value, json};

struct Cluster {
    registry: Registry,
    chain: Chain,
    warnings: Warnings,
}

async fn cluster() -> Cluster {
    let registry = registry().await;
    reconcile(&registry, &ExtensionAuthentication::default()).await.unwrap();
    create(
        &registry,
        json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": "default"},
        "imagePullSecrets": [{"name": "pull"}]}),
    )
    .await;
    let rbac = Rbac::start(&registry).await.unwrap();
    let authorizer: Arc<dyn Authorizer> = Arc::new(Union::new(vec![rbac.clone()]));
    let chain = default_chain(&AdmissionConfig {
        registry: registry.clone(),
        authorizer,
        rbac,
        resources: Arc::new(LiveResources::built_in(&crate::registry::RuntimeConfig::default())),
        outbound: Outbound::new(registry.clone(), ([127, 0, 0, 1], 6443).into(), false),
        control: crate::admission::AdmissionControl::default(),
    })
    .await
    .unwrap();
    Cluster { registry, chain, warnings: Warnings::default() }
}

impl Cluster {
    async fn write(
        &self,
        user: &UserInfo,
        operation: Operation,
        object: Value,
        old: Option<&Value>,
    ) -> Result<Value, Status> {
        let mut object = object;
        let about = old.unwrap_or(&object).clone();
        let gvk = meta::gvk(&about);
        let of = resource(&about);
        let request = Request {
            user,
            operation,
            resource: &Gvr::new(of.group, gvk.version.clone(), of.resource),
            kind: &gvk,
            subresource: "",
            namespace: meta::namespace(&about),
            name: meta::name(&about),
            old,
            dry_run: false,
            options: &Value::Null,
            warnings: &self.warnings,
            annotations: &Annotations::default(),
            served: None,
            reinvocation: None,
        };
        self.chain.admit(&request, &mut object).await?;
        self.chain.validate(&request, &object).await?;
        Ok(object)
    }

    async fn create(&self, object: Value) -> Result<Value, Status> {
        self.write(&UserInfo::admin(), Operation::Create, object, None).await
    }
}

fn pod(namespace: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": namespace}, "spec": spec})
}

#[tokio::test]
async fn a_pod_gets_all_that_it_does_not_say() {
    let cluster = cluster().await;
    let made = cluster.create(pod("default", json!({"containers": [{"name": "c"}]}))).await.unwrap();
    let spec = &made["spec"];
    assert_eq!(
        (&spec["serviceAccountName"], &spec["serviceAccount"]),
        (&json!("default"), &json!("default"))
    );
    assert_eq!(spec["imagePullSecrets"], json!([{"name": "pull"}]));
    assert_eq!((&spec["priority"], &spec["preemptionPolicy"]), (&json!(0), &json!("PreemptLowerPriority")));
    assert_eq!(spec["tolerations"].as_array().unwrap().len(), 2);
    assert_eq!(spec["tolerations"][0]["tolerationSeconds"], 300);
    assert!(spec["volumes"][0]["name"].as_str().unwrap().starts_with("kube-api-access-"));
    let silent =
        pod("default", json!({"automountServiceAccountToken": false, "containers": [{"name": "c"}]}));
    assert!(cluster.create(silent).await.unwrap()["spec"].get("volumes").is_none());
    let critical = pod("default", json!({"priorityClassName": "system-node-critical", "containers": []}));
    assert_eq!(cluster.create(critical).await.unwrap()["spec"]["priority"], 2_000_001_000);
    let tolerant = pod("default", json!({"tolerations": [{"operator": "Exists"}], "containers": []}));
    assert_eq!(cluster.create(tolerant).await.unwrap()["spec"]["tolerations"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn refusals_are_worded_as_upstream() {
    let cluster = cluster().await;
    let refused = |object: Value| {
        let cluster = &cluster;
        async move { cluster.create(object).await.unwrap_err() }
    };
    let status = refused(pod("nowhere", json!({}))).await;
    assert_eq!((status.code, status.message.as_str()), (404, "namespaces \"nowhere\" not found"));
    let status = refused(pod("default", json!({"serviceAccountName": "x"}))).await;
    assert_eq!(
        status.message,
        "pods \"p\" is forbidden: error looking up service account default/x: serviceaccount \"x\" not found"
    );
    let status = refused(pod("default", json!({"priorityClassName": "x"}))).await;
    assert_eq!(status.message, "pods \"p\" is forbidden: no PriorityClass with name x was found");
    let status = refused(pod("default", json!({"priority": 7}))).await;
    assert!(status.message.contains("the integer value of priority (7) must not be provided in pod spec"));
    let status = refused(pod("default", json!({"runtimeClassName": "x"}))).await;
    assert_eq!(status.message, "pods \"p\" is forbidden: pod rejected: RuntimeClass \"x\" not found");
}

#[tokio::test]
async fn namespaces_stay_or_take_nothing_new() {
    let cluster = cluster().await;
    let admin = UserInfo::admin();
    let namespaces = apimachinery::gvk::GroupResource::new("", "namespaces");
    let kube_system = cluster.registry.get_value(&namespaces, "", "kube-system").await.unwrap().unwrap();
    let status = cluster.write(&admin, Operation::Delete, Value::Null, Some(&kube_system)).await.unwrap_err();
    assert_eq!(status.message, "namespaces \"kube-system\" is forbidden: this namespace may not be deleted");
    let mut going = create(
        &cluster.registry,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "going"}}),
    )
    .await;
    going["status"] = json!({"phase": "Terminating"});
    update(&cluster.registry, &going).await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "m-", "namespace": "going"}});
    let status = cluster.create(map.clone()).await.unwrap_err();
    assert_eq!(
        status.message,
        "configmaps \"m-\" is forbidden: unable to create new content in namespace going because it is being terminated"
    );
    assert_eq!(status.details.unwrap().causes[0].reason, "NamespaceTerminating");
    cluster.write(&admin, Operation::Update, map.clone(), Some(&map)).await.unwrap();
    let made =
        cluster.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new"}})).await;
    assert_eq!(meta::label(&made.unwrap(), "kubernetes.io/metadata.name"), Some("new"));
}

#[tokio::test]
async fn limits_are_filled_in_and_kept() {
    let cluster = cluster().await;
    create(
        &cluster.registry,
        json!({"apiVersion": "v1", "kind": "LimitRange",
        "metadata": {"name": "l", "namespace": "default"},
        "spec": {"limits": [{"type": "Container", "default": {"cpu": "500m"}, "max": {"cpu": "1"}}]}}),
    )
    .await;
    let made = cluster.create(pod("default", json!({"containers": [{"name": "c"}]}))).await.unwrap();
    assert_eq!(made["spec"]["containers"][0]["resources"]["limits"]["cpu"], "500m");
    let greedy = json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "2"}}}]});
    let status = cluster.create(pod("default", greedy)).await.unwrap_err();
    assert_eq!(
        status.message,
        "pods \"p\" is forbidden: maximum cpu usage per Container is 1, but limit is 2"
    );
}

#[tokio::test]
async fn storage_gets_its_class_and_its_finalizer() {
    let cluster = cluster().await;
    let class = |name: &str, is_default: &str| {
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name,
            "annotations": {"storageclass.kubernetes.io/is-default-class": is_default}}})
    };
    create(&cluster.registry, class("slow", "false")).await;
    create(&cluster.registry, class("fast", "true")).await;
    let claim = |spec: Value| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "c", "namespace": "default"}, "spec": spec})
    };
    let made = cluster.create(claim(json!({}))).await.unwrap();
    assert_eq!(made["spec"]["storageClassName"], "fast");
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    assert_eq!(
        cluster.create(claim(json!({"storageClassName": ""}))).await.unwrap()["spec"]["storageClassName"],
        ""
    );
    let sized = |size: &str, phase: &str| {
        let mut claim =
            claim(json!({"storageClassName": "fast", "resources": {"requests": {"storage": size}}}));
        claim["status"] = json!({"phase": phase});
        claim
    };
    let grow = |phase: &'static str| {
        let cluster = &cluster;
        async move {
            let old = sized("1Gi", phase);
            cluster.write(&UserInfo::admin(), Operation::Update, sized("2Gi", phase), Some(&old)).await
        }
    };
    assert!(grow("Pending").await.unwrap_err().message.contains("Only bound persistent volume claims"));
    assert!(grow("Bound").await.unwrap_err().message.contains("must support resize"));
}

#[tokio::test]
async fn nobody_grants_what_they_do_not_have() {
    let cluster = cluster().await;
    let api = "rbac.authorization.k8s.io/v1";
    create(
        &cluster.registry,
        json!({"apiVersion": api, "kind": "RoleBinding",
        "metadata": {"name": "a", "namespace": "default"},
        "roleRef": {"kind": "ClusterRole", "name": "system:aggregate-to-view"},
        "subjects": [{"kind": "User", "name": "jane"}]}),
    )
    .await;
    let jane = UserInfo::new("jane", &[]);
    let role = |resource: &str| {
        json!({"apiVersion": api, "kind": "Role", "metadata": {"name": "r", "namespace": "default"},
            "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": [resource]}]})
    };
    cluster.write(&jane, Operation::Create, role("pods"), None).await.unwrap();
    let status = cluster.write(&jane, Operation::Create, role("secrets"), None).await.unwrap_err();
    assert_eq!(
        status.message,
        "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"jane\" (groups=[\"system:authenticated\"]) is \
         attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}"
    );
    // An update that leaves the rules alone is nobody's business.
    let mut labelled = role("secrets");
    meta::set_label(&mut labelled, "a", "b");
    cluster.write(&jane, Operation::Update, labelled, Some(&role("secrets"))).await.unwrap();
    let binding = |kind: &str, name: &str| {
        json!({"apiVersion": api, "kind": "RoleBinding", "metadata": {"name": "b", "namespace": "default"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
            "subjects": [{"kind": "User", "name": "jim"}]})
    };
    cluster
        .write(&jane, Operation::Create, binding("ClusterRole", "system:aggregate-to-view"), None)
        .await
        .unwrap();
    let refused = |object| {
        let (cluster, jane) = (&cluster, &jane);
        async move { cluster.write(jane, Operation::Create, object, None).await.unwrap_err() }
    };
    assert_eq!(refused(binding("ClusterRole", "cluster-admin")).await.code, 403);
    let missing = refused(binding("Role", "missing")).await;
    assert_eq!(
        (missing.code, missing.message.as_str()),
        (404, "roles.rbac.authorization.k8s.io \"missing\" not found")
    );
    cluster.create(binding("ClusterRole", "cluster-admin")).await.unwrap();
    let mut aggregated = role("pods");
    aggregated["kind"] = json!("ClusterRole");
    aggregated["aggregationRule"] = json!({"clusterRoleSelectors": []});
    assert!(refused(aggregated).await.message.contains("must have cluster-admin privileges"));
    // Whoever may bind may bind.
    create(&cluster.registry, json!({"apiVersion": api, "kind": "ClusterRole", "metadata": {"name": "binder"},
        "rules": [{"verbs": ["bind"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "resourceNames": ["cluster-admin"]}]}))
    .await;
    create(&cluster.registry, json!({"apiVersion": api, "kind": "ClusterRoleBinding", "metadata": {"name": "binder"},
        "roleRef": {"kind": "ClusterRole", "name": "binder"}, "subjects": [{"kind": "User", "name": "jane"}]}))
    .await;
    cluster.write(&jane, Operation::Create, binding("ClusterRole", "cluster-admin"), None).await.unwrap();
}

#[tokio::test]
async fn pod_security_follows_the_labels_of_the_namespace() {
    let cluster = cluster().await;
    create(&cluster.registry, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "strict",
        "labels": {"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted"}}}))
    .await;
    create(
        &cluster.registry,
        json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": "strict"}}),
    )
    .await;
    cluster.create(pod("strict", json!({"containers": [{"name": "c"}]}))).await.unwrap();
    let warnings = cluster.warnings.take();
    assert!(warnings[0].starts_with("would violate PodSecurity \"restricted:latest\": "), "{warnings:?}");
    let status =
        cluster.create(pod("strict", json!({"hostNetwork": true, "containers": []}))).await.unwrap_err();
    assert_eq!(
        status.message,
        "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)"
    );
    cluster.create(pod("default", json!({"hostNetwork": true, "containers": []}))).await.unwrap();
}

#[tokio::test]
async fn signers_are_guarded() {
    let cluster = cluster().await;
    let api = "certificates.k8s.io/v1";
    let request = |subresource: &'static str, status: Value| {
        json!({"apiVersion": api, "kind": "CertificateSigningRequest", "metadata": {"name": subresource},
            "spec": {"signerName": "example.com/x"}, "status": status})
    };
    let jane = UserInfo::new("jane", &[]);
    for (subresource, verb) in [("approval", "approve"), ("status", "sign")] {
        let (old, new) =
            (request(subresource, json!({})), request(subresource, json!({"certificate": "eA=="})));
        let gvk = meta::gvk(&old);
        let ask = Request {
            user: &jane,
            operation: Operation::Update,
            resource: &Gvr::new("certificates.k8s.io", "v1", "certificatesigningrequests"),
            kind: &gvk,
            subresource,
            namespace: "",
            name: "r",
            old: Some(&old),
            dry_run: false,
            options: &Value::Null,
            warnings: &cluster.warnings,
            annotations: &Annotations::default(),
            served: None,
            reinvocation: None,
        };
        let status = cluster.chain.validate(&ask, &new).await.unwrap_err();
        let expected = format!("user not permitted to {verb} requests with signerName \"example.com/x\"");
        assert!(status.message.ends_with(&expected), "{}", status.message);
        let admin = UserInfo::admin();
        cluster.chain.validate(&Request { user: &admin, ..ask }, &new).await.unwrap();
    }
}
