//! The default FlowSchemas and PriorityLevelConfigurations (`flowcontrol.apiserver.k8s.io/v1`, KEP-1040).

use serde_json::{Value, json};

const API_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";

/// How a flow is told from others of its schema.
const BY_USER: &str = "ByUser";
const BY_NAMESPACE: &str = "ByNamespace";

fn metadata(name: &str) -> Value {
    // Whoever wants to keep an own version of one sets this to false.
    json!({"name": name, "annotations": {"apf.kubernetes.io/autoupdate-spec": "true"}, "generation": 1})
}

fn level(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": "PriorityLevelConfiguration",
        "metadata": metadata(name),
        "spec": spec,
        "status": {},
    })
}

fn limited(name: &str, shares: u32, lendable_percent: u32, queues: u32, hand_size: u32) -> Value {
    let spec = json!({
        "type": "Limited",
        "limited": {
            "nominalConcurrencyShares": shares,
            "lendablePercent": lendable_percent,
            "limitResponse": {
                "type": "Queue",
                "queuing": {"queues": queues, "handSize": hand_size, "queueLengthLimit": 50},
            },
        },
    });
    level(name, spec)
}

/// The priority levels.
pub(super) fn priority_levels() -> Vec<Value> {
    let exempt = json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}});
    let catch_all = json!({
        "type": "Limited",
        "limited": {"nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}},
    });
    vec![
        level("exempt", exempt),
        level("catch-all", catch_all),
        limited("system", 30, 33, 64, 6),
        limited("node-high", 40, 25, 64, 6),
        limited("leader-election", 10, 0, 16, 4),
        limited("workload-high", 40, 50, 128, 6),
        limited("workload-low", 100, 90, 128, 6),
        limited("global-default", 20, 50, 128, 6),
    ]
}

fn users(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"kind": "User", "user": {"name": name}})).collect()
}

fn groups(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"kind": "Group", "group": {"name": name}})).collect()
}

fn accounts(names: &[&str]) -> Vec<Value> {
    let account = |name: &&str| json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": name}});
    names.iter().map(account).collect()
}

fn on(verbs: &[&str], group: &str, resources: &[&str], cluster_scope: bool) -> Value {
    let mut rule = json!({"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"]});
    if let Some(rule) = rule.as_object_mut()
        && cluster_scope
    {
        rule.insert("clusterScope".into(), json!(true));
    }
    rule
}

fn urls(verbs: &[&str], urls: &[&str]) -> Value {
    json!({"verbs": verbs, "nonResourceURLs": urls})
}

/// Subjects, the resource rules and the non-resource rules that apply to them.
fn rules(subjects: Vec<Value>, resources: Vec<Value>, paths: Vec<Value>) -> Value {
    let mut rule = json!({ "subjects": subjects });
    if let Some(rule) = rule.as_object_mut() {
        if !resources.is_empty() {
            rule.insert("resourceRules".into(), Value::Array(resources));
        }
        if !paths.is_empty() {
            rule.insert("nonResourceRules".into(), Value::Array(paths));
        }
    }
    rule
}

fn everything(subjects: Vec<Value>) -> Value {
    rules(subjects, vec![on(&["*"], "*", &["*"], true)], vec![urls(&["*"], &["*"])])
}

fn schema(name: &str, level: &str, precedence: u32, distinguisher: &str, rules: Value) -> Value {
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": precedence,
        "rules": [rules],
    });
    if let Some(spec) = spec.as_object_mut()
        && !distinguisher.is_empty()
    {
        spec.insert("distinguisherMethod".into(), json!({"type": distinguisher}));
    }
    json!({
        "apiVersion": API_VERSION,
        "kind": "FlowSchema",
        "metadata": metadata(name),
        "spec": spec,
        "status": {},
    })
}

/// The flow schemas.
pub(super) fn flow_schemas() -> Vec<Value> {
    const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
    const SCHEDULER: &str = "system:kube-scheduler";
    const ANYBODY: [&str; 2] = ["system:unauthenticated", "system:authenticated"];
    const KEEP: [&str; 3] = ["get", "create", "update"];
    let leases = || on(&KEEP, "coordination.k8s.io", &["leases"], false);
    let join = |mut one: Vec<Value>, two: Vec<Value>| {
        one.extend(two);
        one
    };
    vec![
        schema("exempt", "exempt", 1, "", everything(groups(&["system:masters"]))),
        schema(
            "probes",
            "exempt",
            2,
            "",
            rules(groups(&ANYBODY), vec![], vec![urls(&["get"], &["/healthz", "/readyz", "/livez"])]),
        ),
        schema(
            "system-leader-election",
            "leader-election",
            100,
            BY_USER,
            rules(join(users(&[CONTROLLER_MANAGER, SCHEDULER]), accounts(&["*"])), vec![leases()], vec![]),
        ),
        schema(
            "endpoint-controller",
            "workload-high",
            150,
            BY_USER,
            rules(
                join(
                    users(&[CONTROLLER_MANAGER]),
                    accounts(&["endpoint-controller", "endpointslicemirroring-controller"]),
                ),
                vec![on(&KEEP, "", &["endpoints"], false)],
                vec![],
            ),
        ),
        schema(
            "workload-leader-election",
            "leader-election",
            200,
            BY_USER,
            rules(
                groups(&["system:serviceaccounts"]),
                vec![on(&KEEP, "", &["endpoints", "configmaps"], false), leases()],
                vec![],
            ),
        ),
        schema(
            "system-node-high",
            "node-high",
            400,
            BY_USER,
            rules(
                groups(&["system:nodes"]),
                vec![
                    on(&["*"], "", &["nodes", "nodes/status"], true),
                    on(&["*"], "coordination.k8s.io", &["leases"], false),
                ],
                vec![],
            ),
        ),
        schema("system-nodes", "system", 500, BY_USER, everything(groups(&["system:nodes"]))),
        schema(
            "kube-controller-manager",
            "workload-high",
            800,
            BY_NAMESPACE,
            everything(users(&[CONTROLLER_MANAGER])),
        ),
        schema("kube-scheduler", "workload-high", 800, BY_NAMESPACE, everything(users(&[SCHEDULER]))),
        schema(
            "kube-system-service-accounts",
            "workload-high",
            900,
            BY_NAMESPACE,
            everything(accounts(&["*"])),
        ),
        schema(
            "service-accounts",
            "workload-low",
            9000,
            BY_USER,
            everything(groups(&["system:serviceaccounts"])),
        ),
        schema("global-default", "global-default", 9900, BY_USER, everything(groups(&ANYBODY))),
        schema("catch-all", "catch-all", 10000, BY_USER, everything(groups(&ANYBODY))),
    ]
}
