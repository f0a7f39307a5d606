//! Rules: operations, groups, versions, resources, scope and names.

use crate::admission::chain::Request;
use api::value;
use apimachinery::gvk::Gvr;
use serde_json::Value;

/// One rule (`RuleWithOperations`, or with names `NamedRuleWithOperations`).
#[derive(Debug)]
pub(crate) struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    /// Resources and subresources; the latter empty for the resource alone.
    resources: Vec<(String, String)>,
    scope: Scope,
    names: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    All,
    Cluster,
    Namespaced,
}

impl Rule {
    /// Reads the rules in a list.
    pub(crate) fn all(rules: &[Value]) -> Vec<Self> {
        rules.iter().map(Self::parse).collect()
    }

    fn parse(rule: &Value) -> Self {
        let texts = |name: &str| value::texts(rule, name).map(str::to_owned).collect();
        Self {
            operations: texts("operations"),
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: value::texts(rule, "resources")
                .map(|text| text.split_once('/').unwrap_or((text, "")))
                .map(|(resource, subresource)| (resource.to_owned(), subresource.to_owned()))
                .collect(),
            scope: match value::text(rule, "scope") {
                "Cluster" => Scope::Cluster,
                "Namespaced" => Scope::Namespaced,
                _ => Scope::All,
            },
            names: texts("resourceNames"),
        }
    }

    /// Whether a request matches, taken as one for this resource.
    pub(crate) fn matches(&self, request: &Request<'_>, resource: &Gvr) -> bool {
        self.in_scope(request, resource)
            && has(&self.operations, request.operation.as_str())
            && has(&self.groups, &resource.group)
            && has(&self.versions, &resource.version)
            && self.resources.iter().any(|(wanted, subresource)| {
                (wanted == "*" || *wanted == resource.resource)
                    && (subresource == "*" || subresource == request.subresource)
            })
            && (self.names.is_empty() || self.names.iter().any(|name| name == request.name))
    }

    fn in_scope(&self, request: &Request<'_>, resource: &Gvr) -> bool {
        // A Namespace may come with its own name as the namespace, yet it is in none.
        let is_namespace = resource.group.is_empty() && resource.resource == "namespaces";
        let in_cluster = is_namespace || request.namespace.is_empty();
        match self.scope {
            Scope::All => true,
            Scope::Cluster => in_cluster,
            Scope::Namespaced => !in_cluster,
        }
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Operation;
    use crate::admission::testing::Scene;
    use serde_json::json;

    fn matches(rule: Value, scene: &Scene, resource: &Gvr) -> bool {
        Rule::parse(&rule).matches(&scene.request(), resource)
    }

    #[test]
    fn resources_subresources_and_wildcards_match() {
        let pods = Gvr::new("", "v1", "pods");
        let mut scene = Scene::new(Operation::Create, "a", "p");
        let rule = |resources: &[&str]| json!({"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": resources});
        assert!(matches(rule(&["pods"]), &scene, &pods));
        assert!(matches(rule(&["*"]), &scene, &pods));
        assert!(!matches(rule(&["pods/status"]), &scene, &pods));
        scene.subresource = "status".into();
        assert!(!matches(rule(&["pods", "*"]), &scene, &pods));
        for resource in ["pods/status", "pods/*", "*/status", "*/*"] {
            assert!(matches(rule(&[resource]), &scene, &pods), "{resource}");
        }
    }

    #[test]
    fn scope_operation_and_names_restrict() {
        let rule = |scope: &str, operation: &str, names: &[&str]| {
            json!({"operations": [operation], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"],
                "scope": scope, "resourceNames": names})
        };
        let (pods, namespaces) = (Gvr::new("", "v1", "pods"), Gvr::new("", "v1", "namespaces"));
        let scene = Scene::new(Operation::Update, "a", "p");
        assert!(matches(rule("Namespaced", "UPDATE", &[]), &scene, &pods));
        assert!(!matches(rule("Cluster", "UPDATE", &[]), &scene, &pods));
        assert!(matches(rule("Cluster", "UPDATE", &[]), &scene, &namespaces));
        assert!(!matches(rule("*", "CREATE", &[]), &scene, &pods));
        assert!(matches(rule("*", "*", &["p"]), &scene, &pods));
        assert!(!matches(rule("*", "*", &["q"]), &scene, &pods));
    }
}
