//! Nobody grants what they do not have: checks on roles and bindings.
//!
//! Upstream does this in the registry of each kind (`pkg/registry/rbac/*/policybased`). Who holds the verb
//! `escalate` on a role, or `bind` on the role of a binding, is let through.

use std::sync::Arc;

use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::status::Status;
use async_trait::async_trait;
use serde_json::Value;

use super::chain::{Operation, Plugin, Request, Validation};
use super::support::{forbidden, text};
use crate::authentication::GROUP_MASTERS;
use crate::authorization::{Attributes, Authorizer, Rbac, ResolvedRules, Rule, covers, describe_missing};
use crate::registry::Registry;

const GROUP: &str = "rbac.authorization.k8s.io";

/// See the module.
pub(super) struct RbacEscalation {
    registry: Registry,
    authorizer: Arc<dyn Authorizer>,
    rbac: Arc<Rbac>,
}

impl RbacEscalation {
    pub(super) fn new(registry: Registry, authorizer: Arc<dyn Authorizer>, rbac: Arc<Rbac>) -> Self {
        Self { registry, authorizer, rbac }
    }

    async fn may(&self, request: &Request<'_>, verb: &str, resource: &str, name: &str) -> bool {
        let attributes = Attributes {
            verb,
            namespace: request.namespace,
            api_group: GROUP,
            api_version: "*",
            resource,
            name,
            resource_request: true,
            ..Attributes::non_resource(request.user, "", "")
        };
        self.authorizer.authorize(&attributes).await.allowed()
    }

    /// Refuses unless the user holds all these rules, in the namespace of the request.
    fn check_held(&self, request: &Request<'_>, object: &Value, wanted: &[Rule]) -> Result<(), Status> {
        let ResolvedRules { rules: held, errors } = self.rbac.rules_for(request.user, request.namespace);
        let missing = covers(&held, wanted);
        if missing.is_empty() {
            return Ok(());
        }
        let groups: Vec<String> = request.user.groups.iter().map(|group| format!("{group:?}")).collect();
        let mut why = format!(
            "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
            request.user.name,
            groups.join(" "),
            describe_missing(&missing)
        );
        if !errors.is_empty() {
            why.push_str(&format!("; resolution errors: [{}]", errors.join(", ")));
        }
        Err(forbidden(request, object, why))
    }

    async fn check_role(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        let plural = request.resource.resource.as_str();
        let name = if request.name.is_empty() { meta::name(object) } else { request.name };
        let aggregation = |role: &Value| role.get("aggregationRule").filter(|rule| !rule.is_null()).cloned();
        let same_rules = request.old.is_some_and(|old| rules(old) == rules(object));
        let same_aggregation = request.old.is_some_and(|old| aggregation(old) == aggregation(object));
        if same_rules && (same_aggregation || aggregation(object).is_none()) {
            return Ok(());
        }
        if self.may(request, "escalate", plural, name).await {
            return Ok(());
        }
        if aggregation(object).is_some() {
            // What will be in it is up to labels on other roles.
            let everything = [
                Rule {
                    verbs: vec!["*".into()],
                    api_groups: vec!["*".into()],
                    resources: vec!["*".into()],
                    ..Rule::default()
                },
                Rule { verbs: vec!["*".into()], non_resource_urls: vec!["*".into()], ..Rule::default() },
            ];
            if self.check_held(request, object, &everything).is_err() {
                let why = "must have cluster-admin privileges to use the aggregationRule";
                return Err(forbidden(request, object, why));
            }
        }
        self.check_held(request, object, &rules(object))
    }

    async fn check_binding(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        if let Some(old) = request.old
            && old.get("roleRef") == object.get("roleRef")
            && old.get("subjects") == object.get("subjects")
        {
            return Ok(());
        }
        let (kind, name) = (text(object, "/roleRef/kind"), text(object, "/roleRef/name"));
        let plural = if kind == "Role" { "roles" } else { "clusterroles" };
        if self.may(request, "bind", plural, name).await {
            return Ok(());
        }
        self.rbac.catch_up();
        let Some(granted) = self.rbac.rules_of_role(kind, name, request.namespace) else {
            let resource = GroupResource::new(GROUP, plural);
            // Written by somebody else this very moment?
            let namespace = if kind == "Role" { request.namespace } else { "" };
            return match self.registry.get_value(&resource, namespace, name).await? {
                Some(role) => self.check_held(request, object, &rules(&role)),
                None => Err(Status::not_found(&resource, name)),
            };
        };
        self.check_held(request, object, &granted)
    }
}

fn rules(role: &Value) -> Vec<Rule> {
    role.get("rules").and_then(|rules| serde_json::from_value(rules.clone()).ok()).unwrap_or_default()
}

impl Plugin for RbacEscalation {
    fn name(&self) -> &'static str {
        "RBACEscalation"
    }

    fn validation(&self) -> Option<&dyn Validation> {
        Some(self)
    }
}

#[async_trait]
impl Validation for RbacEscalation {
    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        let ours = request.resource.group == GROUP && request.subresource.is_empty();
        if !ours || !writes || request.user.in_group(GROUP_MASTERS) {
            return Ok(());
        }
        match request.resource.resource.as_str() {
            "roles" | "clusterroles" => self.check_role(request, object).await,
            "rolebindings" | "clusterrolebindings" => self.check_binding(request, object).await,
            _ => Ok(()),
        }
    }
}
