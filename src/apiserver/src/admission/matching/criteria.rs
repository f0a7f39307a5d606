//! Rules and selectors together.

use super::rules::Rule;
use super::versions::Invocation;
use crate::admission::chain::Request;
use crate::cached::Memo;
use crate::registry::{LiveResources, Registry, Resources, decode};
use api::value;
use apimachinery::gvk::GroupResource;
use apimachinery::labels::Selector;
use apimachinery::meta;
use apimachinery::status::{Result, Status};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Which requests something is for: the fields that webhooks, policies (`matchConstraints`) and bindings
/// (`matchResources`) have in common.
#[derive(Debug)]
pub(crate) struct Criteria {
    namespaces: std::result::Result<Selector, String>,
    objects: std::result::Result<Selector, String>,
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    /// Whether other versions of a resource match too.
    equivalent: bool,
    /// Whether no rules match everything, as they do in bindings and nowhere else.
    empty_matches: bool,
}

impl Criteria {
    /// Of a webhook.
    pub(crate) fn of_webhook(webhook: &Value) -> Self {
        Self { rules: Rule::all(value::list(webhook, "rules")), ..Self::of_match(webhook, false) }
    }

    /// Of a policy's `matchConstraints` or a binding's `matchResources`.
    pub(crate) fn of_resources(resources: &Value) -> Self {
        Self {
            rules: Rule::all(value::list(resources, "resourceRules")),
            excluded: Rule::all(value::list(resources, "excludeResourceRules")),
            ..Self::of_match(resources, true)
        }
    }

    fn of_match(object: &Value, empty_matches: bool) -> Self {
        let selector = |name: &str| match value::field(object, name) {
            Value::Null => Ok(Selector::everything()),
            given => Selector::from_label_selector(given).map_err(|e| e.to_string()),
        };
        Self {
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
            rules: Vec::new(),
            excluded: Vec::new(),
            equivalent: value::text(object, "matchPolicy") != "Exact",
            empty_matches,
        }
    }
}

/// Finds out whether criteria are met.
pub(crate) struct Matcher {
    namespaces: Memo<Namespace>,
    resources: Arc<LiveResources>,
    registry: Registry,
}

/// What is read of a namespace to match it.
#[derive(serde::Deserialize)]
struct Namespace {
    #[serde(default)]
    metadata: NamespaceMeta,
}

#[derive(Default, serde::Deserialize)]
struct NamespaceMeta {
    #[serde(default)]
    labels: Map<String, Value>,
}

impl Matcher {
    pub(crate) fn new(registry: Registry, resources: Arc<LiveResources>) -> Self {
        Self { namespaces: Memo::new(registry.clone(), "", "namespaces"), resources, registry }
    }

    /// As what a request meets the criteria; `None` when it does not.
    ///
    /// # Errors
    /// When a selector cannot be used or the namespace cannot be read, and all else matches.
    pub(crate) async fn matches(
        &self,
        criteria: &Criteria,
        request: &Request<'_>,
        object: &Value,
    ) -> Result<Option<Invocation>> {
        // The cheapest first; the outcome does not depend on the order.
        let Some(invocation) = self.invocation(criteria, request) else { return Ok(None) };
        let objects = criteria.objects.as_ref().map_err(Status::internal)?;
        if !objects.is_everything()
            && !selects(objects, object)
            && !request.old.is_some_and(|o| selects(objects, o))
        {
            return Ok(None);
        }
        let namespaces = criteria.namespaces.as_ref().map_err(Status::internal)?;
        let selected =
            namespaces.is_everything() || self.selects_namespace(namespaces, request, object).await?;
        Ok(selected.then_some(invocation))
    }

    fn invocation(&self, criteria: &Criteria, request: &Request<'_>) -> Option<Invocation> {
        if self.by_rules(&criteria.excluded, criteria.equivalent, request).is_some() {
            return None;
        }
        if criteria.rules.is_empty() && criteria.empty_matches {
            return Some(Invocation::requested(request));
        }
        self.by_rules(&criteria.rules, criteria.equivalent, request)
    }

    fn by_rules(&self, rules: &[Rule], equivalent: bool, request: &Request<'_>) -> Option<Invocation> {
        let requested = request.served.map_or(request.resource, |served| &served.gvr);
        if rules.iter().any(|rule| rule.matches(request, requested)) {
            return Some(Invocation::requested(request));
        }
        let served = request.served.filter(|_| equivalent && !rules.is_empty())?;
        let others = self.resources.load().equivalents(served);
        rules.iter().find_map(|rule| {
            let other = others.iter().find(|other| rule.matches(request, &other.gvr))?;
            Some(Invocation::equivalent(request, other))
        })
    }

    async fn selects_namespace(
        &self,
        selector: &Selector,
        request: &Request<'_>,
        object: &Value,
    ) -> Result<bool> {
        let is_namespace = request.is_any("", "namespaces");
        if is_namespace && request.subresource.is_empty() && !object.is_null() {
            // The object's own labels, as they are going to be.
            return Ok(selects(selector, object));
        }
        let name = if is_namespace { request.name } else { request.namespace };
        if name.is_empty() {
            // What is in no namespace is never exempt.
            return Ok(true);
        }
        match self.namespaces.recent("", name).await? {
            Some(namespace) => Ok(selector.matches(&namespace.metadata.labels)),
            None => Err(Status::not_found(&GroupResource::new("", "namespaces"), name)),
        }
    }

    /// The namespace of a request as policies see it (`namespaceObject`); null where there is none.
    ///
    /// # Errors
    /// 404 when it does not exist.
    pub(crate) async fn namespace_object(&self, request: &Request<'_>) -> Result<Arc<Value>> {
        if request.namespace.is_empty() || request.is_any("", "namespaces") {
            return Ok(Arc::new(Value::Null));
        }
        let namespaces = GroupResource::new("", "namespaces");
        let found = self.registry.recent(&namespaces, "", request.namespace).await?;
        let found = found.ok_or_else(|| Status::not_found(&namespaces, request.namespace))?;
        let mut found = decode(&found)?;
        meta::remove(&mut found, "managedFields");
        Ok(Arc::new(found))
    }

    /// Everything that is served.
    pub(crate) fn resources(&self) -> Arc<Resources> {
        self.resources.load()
    }
}

fn selects(selector: &Selector, object: &Value) -> bool {
    if meta::metadata(object).is_none() {
        return false;
    }
    match meta::labels(object) {
        Some(labels) => selector.matches(labels),
        None => selector.matches(&Map::new()),
    }
}
