//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy.

use apiserver::authentication::UserInfo;
use serde_json::{Value, json};
use testkit::{TestServer, eventually};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn constraints(operations: &[&str], group: &str, version: &str, resource: &str) -> Value {
    json!({"resourceRules": [{"operations": operations, "apiGroups": [group], "apiVersions": [version],
        "resources": [resource]}]})
}

fn maps() -> Value {
    constraints(&["CREATE", "UPDATE"], "", "v1", "configmaps")
}

/// A policy for ConfigMaps with this in its spec, and a binding with that in its own; both of one name.
async fn bind(server: &TestServer, kind: &str, name: &str, spec: &Value, binding: &Value) {
    let mut whole = json!({"matchConstraints": maps()});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let policy = json!({"metadata": {"name": name}, "spec": whole});
    server.post(&format!("{GROUP}/{kind}admissionpolicies"), &policy).await.expect(201);
    let mut whole = json!({"policyName": name});
    if kind == "validating" {
        whole["validationActions"] = json!(["Deny"]);
    }
    whole.as_object_mut().unwrap().extend(binding.as_object().unwrap().clone());
    let binding = json!({"metadata": {"name": format!("{name}-b")}, "spec": whole});
    server.post(&format!("{GROUP}/{kind}admissionpolicybindings"), &binding).await.expect(201);
}

fn map(name: &str, data: &Value) -> Value {
    json!({"metadata": {"name": name}, "data": data})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_hold_is_refused_in_the_words_of_the_policy() {
    let server = TestServer::start().await;
    let spec = json!({"validations": [
        {"expression": "!has(object.data.a) || object.data.a.size() < 3"},
        {"expression": "!has(object.data.b)", "message": "no b", "reason": "Forbidden"},
        {"expression": "variables.c != 'x'", "messageExpression": "'c is ' + variables.c + ' of ' + request.userInfo.username"},
        {"expression": "object.data.d.e == 1"}],
        "matchConditions": [{"name": "data", "expression": "has(object.data)"}],
        "variables": [{"name": "raw", "expression": "has(object.data.c) ? object.data.c : ''"},
            {"name": "c", "expression": "variables.raw.lowerAscii()"}]});
    bind(&server, "validating", "p", &spec, &json!({})).await;
    let refused = |data: Value| {
        let server = &server;
        async move { server.post(MAPS, &map("m", &data)).await }
    };
    let first = refused(json!({"a": "long"})).await;
    first.expect(422);
    assert_eq!(
        first.message(),
        "configmaps \"m\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-b' denied request: failed expression: !has(object.data.a) || object.data.a.size() < 3"
    );
    assert_eq!(first.json()["reason"], "Invalid");
    assert_eq!(
        first.json()["details"]["causes"][0]["message"],
        "ValidatingAdmissionPolicy 'p' with binding 'p-b' denied request: failed expression: !has(object.data.a) || object.data.a.size() < 3"
    );
    let second = refused(json!({"b": "", "d": "1"})).await;
    second.expect(403);
    assert!(second.message().ends_with("denied request: no b"), "{}", second.message());
    let third = refused(json!({"c": "X"})).await;
    assert!(third.message().ends_with("denied request: c is x of system:admin"), "{}", third.message());
    let error = refused(json!({"k": "v"})).await;
    assert!(
        error
            .message()
            .ends_with("denied request: expression 'object.data.d.e == 1' resulted in error: no such key: d"),
        "{}",
        error.message()
    );
    // The condition leaves out what has no data.
    server.post(MAPS, &json!({"metadata": {"name": "m"}})).await.expect(201);
    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains(
        "apiserver_validating_admission_policy_check_total{enforcement_action=\"deny\",error_type=\"no_error\",policy=\"p\",policy_binding=\"p-b\"}"
    ), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_passed_over_where_the_failure_policy_says_so() {
    let server = TestServer::start().await;
    let spec = json!({"failurePolicy": "Ignore", "validations": [
        {"expression": "object.nothing.at.all == 1"}, {"expression": "object.metadata.name != 'bad'"}]});
    bind(&server, "validating", "p", &spec, &json!({})).await;
    server.post(MAPS, &map("good", &json!({}))).await.expect(201);
    server.post(MAPS, &map("bad", &json!({}))).await.expect(422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_may_warn_instead() {
    let server = TestServer::start().await;
    let spec = json!({"validations": [{"expression": "false", "message": "never"}]});
    bind(&server, "validating", "p", &spec, &json!({"validationActions": ["Warn", "Audit"]})).await;
    let made = server.post(MAPS, &map("m", &json!({}))).await;
    made.expect(201);
    assert_eq!(
        made.warnings(),
        ["299 - \"Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p-b': never\""]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_come_from_objects_by_name_or_selector() {
    let server = TestServer::start().await;
    let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConstraints": constraints(&["*"], "apps", "v1", "deployments"),
        "validations": [{"expression": "object.spec.replicas <= int(params.data.max)",
            "messageExpression": "'at most ' + params.data.max"}]});
    let by_name = json!({"paramRef": {"name": "limits", "parameterNotFoundAction": "Deny"}});
    bind(&server, "validating", "p", &spec, &by_name).await;
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 5,
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let missing = server.post(path, &deployment).await;
    assert_eq!(
        missing.message(),
        "deployments.apps \"d\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-b' denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    );
    server.post(MAPS, &map("limits", &json!({"max": "3"}))).await.expect(201);
    let refused = server.post(path, &deployment).await;
    assert!(refused.message().ends_with("denied request: at most 3"), "{}", refused.message());
    server.patch("merge", &format!("{MAPS}/limits"), &json!({"data": {"max": "9"}})).await.expect(200);
    server.post(path, &deployment).await.expect(201);
    let binding = format!("{GROUP}/validatingadmissionpolicybindings/p-b");
    let select = json!({"spec": {"paramRef": {"name": null, "selector": {"matchLabels": {"limit": "yes"}},
        "parameterNotFoundAction": "Allow"}}});
    server.patch("merge", &binding, &select).await.expect(200);
    server.patch("merge", &format!("{path}/d"), &json!({"spec": {"replicas": 20}})).await.expect(200);
    let labelled = json!({"metadata": {"name": "more", "labels": {"limit": "yes"}}, "data": {"max": "10"}});
    server.post(MAPS, &labelled).await.expect(201);
    let refused = server.patch("merge", &format!("{path}/d"), &json!({"spec": {"replicas": 30}})).await;
    assert!(refused.message().ends_with("denied request: at most 10"), "{}", refused.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_of_parameters_that_is_not_served_is_told() {
    let server = TestServer::start().await;
    let spec = json!({"paramKind": {"apiVersion": "a.example/v1", "kind": "Limit"},
        "validations": [{"expression": "params.x"}]});
    let spec = json!({"paramKind": spec["paramKind"], "validations": [{"expression": "params.x == 1"}]});
    bind(
        &server,
        "validating",
        "p",
        &spec,
        &json!({"paramRef": {"name": "x", "parameterNotFoundAction": "Allow"}}),
    )
    .await;
    assert_eq!(
        server.post(MAPS, &map("m", &json!({}))).await.message(),
        "configmaps \"m\" is forbidden: ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: failed to find resource referenced by paramKind: 'a.example/v1, Kind=Limit'"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn expressions_ask_for_rights_and_see_the_namespace() {
    let server = TestServer::start().await;
    let spec = json!({"validations": [
        {"expression": "authorizer.group('').resource('pods').namespace('default').check('delete').allowed()",
            "message": "may not delete pods"},
        {"expression": "authorizer.requestResource.check('escalate').allowed() && authorizer.path('/healthz').check('get').allowed()",
            "message": "may not escalate"},
        {"expression": "namespaceObject.metadata.labels['kubernetes.io/metadata.name'] == request.namespace"}]});
    bind(&server, "validating", "p", &spec, &json!({})).await;
    server.post(MAPS, &map("m", &json!({}))).await.expect(201);
    let clerk = json!({"metadata": {"name": "clerk"}, "rules": [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}]});
    server.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &clerk).await.expect(201);
    let bound = json!({"metadata": {"name": "clerk"}, "subjects": [{"kind": "User", "name": "ann", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "ClusterRole", "name": "clerk", "apiGroup": "rbac.authorization.k8s.io"}});
    server.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &bound).await.expect(201);
    let ann = UserInfo::new("ann", &[]);
    let refused = server.request_as(Some(ann), "POST", MAPS, &[], map("n", &json!({})).to_string()).await;
    assert!(refused.message().ends_with("denied request: may not delete pods"), "{}", refused.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn costly_expressions_run_out_of_budget() {
    let server = TestServer::start().await;
    let spec = json!({"validations": [{"expression":
        "object.data.all(a, object.data.all(b, object.data.all(c, a != '' && b != '' && c != '')))"}]});
    bind(&server, "validating", "p", &spec, &json!({})).await;
    let many: serde_json::Map<String, Value> = (0..200).map(|n| (format!("k{n}"), json!("v"))).collect();
    let refused = server.post(MAPS, &map("m", &Value::Object(many))).await;
    refused.expect(422);
    assert!(refused.message().contains("actual cost limit exceeded"), "{}", refused.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn mutations_apply_configurations_and_patches() {
    let server = TestServer::start().await;
    let spec = json!({"reinvocationPolicy": "Never", "failurePolicy": "Fail",
        "variables": [{"name": "team", "expression": "namespaceObject.metadata.name + '-team'"}],
        "mutations": [
        {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
            "Object{metadata: Object.metadata{labels: {'team': variables.team}}, data: {'added': 'yes'}}"}},
        {"patchType": "JSONPatch", "jsonPatch": {"expression":
            "[JSONPatch{op: 'add', path: '/metadata/annotations', value: {}}, JSONPatch{op: 'add', path: '/metadata/annotations/' + jsonpatch.escapeKey('example.com/by'), value: object.metadata.labels.team}]"}},
        {"patchType": "JSONPatch", "jsonPatch": {"expression":
            "[JSONPatch{op: 'test', path: '/data/added', value: 'no'}, JSONPatch{op: 'remove', path: '/data'}]"}}]});
    bind(&server, "mutating", "m", &spec, &json!({})).await;
    let made = server.post(MAPS, &map("m", &json!({"k": "v"}))).await.expect(201);
    assert_eq!(made["metadata"]["labels"], json!({"team": "default-team"}));
    assert_eq!(made["metadata"]["annotations"], json!({"example.com/by": "default-team"}));
    assert_eq!(made["data"], json!({"k": "v", "added": "yes"}));
    assert_eq!(made["metadata"]["managedFields"][0]["fieldsV1"], json!({"f:data": {".": {}, "f:k": {}}}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_merges_lists_by_key_and_leaves_atomic_ones_alone() {
    let server = TestServer::start().await;
    let mutation = |expression: &str| {
        json!({"reinvocationPolicy": "IfNeeded", "failurePolicy": "Fail",
            "matchConstraints": constraints(&["CREATE"], "", "v1", "pods"),
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}]})
    };
    let sidecar = mutation(
        "Object{spec: Object.spec{initContainers: [Object.spec.initContainers{name: 'mesh', image: 'mesh:1', restartPolicy: 'Always'}]}}",
    );
    bind(&server, "mutating", "sidecar", &sidecar, &json!({})).await;
    let account = json!({"metadata": {"name": "default"}});
    server.post("/api/v1/namespaces/default/serviceaccounts", &account).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}],
        "initContainers": [{"name": "first", "image": "i"}]}});
    let made = server.post("/api/v1/namespaces/default/pods", &pod).await.expect(201);
    let names: Vec<&str> = made["spec"]["initContainers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["first", "mesh"]);
    assert_eq!(made["spec"]["initContainers"][1]["imagePullPolicy"], "IfNotPresent");
    // The service account's volume is mounted into the added container too: built-in plugins ran again.
    assert!(made["spec"]["initContainers"][1]["volumeMounts"].is_array(), "{made}");
    let atomic = mutation(
        "Object{spec: Object.spec{securityContext: Object.spec.securityContext{supplementalGroups: [1]}, nodeSelector: {'a': 'b'}}}",
    );
    bind(&server, "mutating", "atomic", &atomic, &json!({})).await;
    let mut other = pod.clone();
    other["metadata"]["name"] = json!("q");
    let refused = server.post("/api/v1/namespaces/default/pods", &other).await;
    refused.expect(403);
    assert_eq!(
        refused.message(),
        "policy 'atomic' with binding 'atomic-b' denied request: error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.nodeSelector, .spec.securityContext.supplementalGroups"
    );
    assert_eq!(refused.json()["reason"], "Invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_and_bindings_themselves_are_exempt_and_selectors_count() {
    let server = TestServer::start().await;
    let spec = json!({"matchConstraints": {"resourceRules": [{"operations": ["*"], "apiGroups": ["*"],
        "apiVersions": ["*"], "resources": ["*"]}], "excludeResourceRules": [{"operations": ["*"], "apiGroups": [""],
        "apiVersions": ["*"], "resources": ["secrets"]}]}, "validations": [{"expression": "false"}]});
    let binding = json!({"matchResources": {"namespaceSelector": {"matchLabels":
        {"kubernetes.io/metadata.name": "default"}}}});
    bind(&server, "validating", "p", &spec, &binding).await;
    server.post(MAPS, &map("m", &json!({}))).await.expect(422);
    server.post("/api/v1/namespaces/kube-system/configmaps", &map("m", &json!({}))).await.expect(201);
    let secret = json!({"metadata": {"name": "s"}});
    server.post("/api/v1/namespaces/default/secrets", &secret).await.expect(201);
    // Nothing selects what is in no namespace away: only the exempt kinds can still be written.
    let role = json!({"metadata": {"name": "r"}, "rules": []});
    server.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await.expect(422);
    server.delete(&format!("{GROUP}/validatingadmissionpolicies/p"), &Value::Null).await.expect(200);
    server.post(MAPS, &map("m", &json!({}))).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_expressions_are_refused_when_the_policy_is_made() {
    let server = TestServer::start().await;
    let spec = json!({"matchConstraints": maps(), "variables": [{"name": "v", "expression": "1"}], "validations": [
        {"expression": "object.a == "}, {"expression": "1 + 1"}, {"expression": "variables.v == 1"},
        {"expression": "params.x == 1"}, {"expression": "true", "messageExpression": "1"}]});
    let policy = json!({"metadata": {"name": "p"}, "spec": spec});
    let refused = server.post(&format!("{GROUP}/validatingadmissionpolicies"), &policy).await;
    refused.expect(422);
    let causes = refused.json()["details"]["causes"].clone();
    let fields: Vec<&str> = causes.as_array().unwrap().iter().map(|c| c["field"].as_str().unwrap()).collect();
    assert_eq!(
        fields,
        [
            "spec.validations[0].expression",
            "spec.validations[1].expression",
            "spec.validations[3].expression",
            "spec.validations[4].messageExpression"
        ],
        "{}",
        refused.message()
    );
    assert!(
        causes[0]["message"]
            .as_str()
            .unwrap()
            .contains("compilation failed: ERROR: <input>:1:13: Syntax error")
    );
    assert!(causes[1]["message"].as_str().unwrap().ends_with("must evaluate to bool but got int"));
}

async fn define_widgets(server: &TestServer) {
    const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "size": {"type": "integer"},
        "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"], "properties": {
                "name": {"type": "string"}, "port": {"type": "integer"}}}}}}}});
    let version = |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema}});
    let definition = json!({"metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com",
        "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [version("v1", true), version("v2", false)]}});
    server.post(DEFINITIONS, &definition).await.expect(201);
    eventually("widgets are served", async || {
        (server.get("/apis/example.com/v2/namespaces/default/widgets").await.code == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_resources_are_changed_in_any_version_and_are_parameters() {
    let server = TestServer::start().await;
    define_widgets(&server).await;
    let spec = json!({"matchConstraints": constraints(&["CREATE"], "example.com", "v2", "widgets"),
        "reinvocationPolicy": "Never", "matchConditions": [{"name": "v2", "expression": "object.apiVersion == 'example.com/v2' && request.requestKind.version == 'v1'"}],
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
            "Object{spec: Object.spec{ports: [Object.spec.ports{name: 'b', port: 2}]}}"}}]});
    bind(&server, "mutating", "ports", &spec, &json!({})).await;
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"},
        "spec": {"size": 3, "ports": [{"name": "a", "port": 1}]}});
    let made = server.post("/apis/example.com/v1/namespaces/default/widgets", &widget).await.expect(201);
    assert_eq!(made["apiVersion"], "example.com/v1");
    assert_eq!(made["spec"]["ports"], json!([{"name": "a", "port": 1}, {"name": "b", "port": 2}]));

    let spec = json!({"paramKind": {"apiVersion": "example.com/v2", "kind": "Widget"}, "validations": [
        {"expression": "params.apiVersion == 'example.com/v2' && object.data.size() < params.spec.size"}]});
    let reference = json!({"paramRef": {"name": "w", "parameterNotFoundAction": "Deny"}});
    bind(&server, "validating", "sizes", &spec, &reference).await;
    server.post(MAPS, &map("small", &json!({"a": ""}))).await.expect(201);
    server.post(MAPS, &map("large", &json!({"a": "", "b": "", "c": ""}))).await.expect(422);
}
