//! The objects of the Gateway API as the cluster has them.

use super::rules::Kind;
use super::{GROUP, Objects};
use client::{Informer, ObjectKey, Rest, Scope, SharedInformers};
use http::Method;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::{ApiResource, DynamicObject};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// Informers of what of the API is served.
pub struct Watched {
    classes: Option<Informer<DynamicObject>>,
    gateways: Option<Informer<DynamicObject>>,
    routes: Vec<(Kind, Informer<DynamicObject>)>,
    grants: Option<Informer<DynamicObject>>,
    policies: Option<Informer<DynamicObject>>,
    namespaces: Informer<Namespace>,
}

impl Watched {
    /// Watches the API and waits until all of it has been seen; none when it is not served. Changes notify.
    pub async fn start(informers: &SharedInformers, rest: &Rest, changed: &Arc<Notify>) -> Option<Self> {
        let mut started = Vec::new();
        let served = [served(rest, "v1").await, served(rest, "v1beta1").await];
        let mut watched = |kind: &str, plural: &str| {
            let version = served.iter().find(|(_, plurals)| plurals.iter().any(|one| one == plural))?.0;
            let resource = ApiResource {
                group: GROUP.to_owned(),
                version: version.to_owned(),
                api_version: format!("{GROUP}/{version}"),
                kind: kind.to_owned(),
                plural: plural.to_owned(),
            };
            let informer = informers.dynamic(&resource, &Scope::default());
            let changed = changed.clone();
            informer.add_handler(move |_| changed.notify_one()).detach();
            started.push(informer.clone());
            Some(informer)
        };
        // Without these there is nothing to serve.
        let gateways = Some(watched("Gateway", "gateways")?);
        let classes = watched("GatewayClass", "gatewayclasses");
        let grants = watched("ReferenceGrant", "referencegrants");
        let policies = watched("BackendTLSPolicy", "backendtlspolicies");
        let kinds = [Kind::Http, Kind::Grpc, Kind::Tls];
        let routes =
            kinds.iter().filter_map(|kind| Some((*kind, watched(kind.name(), kind.plural())?))).collect();
        let namespaces = informers.get::<Namespace>();
        let notify = changed.clone();
        namespaces.add_handler(move |_| notify.notify_one()).detach();
        for informer in started {
            informer.synced().await;
        }
        namespaces.synced().await;
        Some(Self { classes, gateways, routes, grants, policies, namespaces })
    }

    /// All objects.
    pub fn objects(&self) -> Objects {
        let list = |informer: &Option<Informer<DynamicObject>>| {
            informer.as_ref().map(|informer| informer.list()).unwrap_or_default()
        };
        let routes = self
            .routes
            .iter()
            .flat_map(|(kind, informer)| informer.list().into_iter().map(move |object| (*kind, object)));
        Objects {
            classes: list(&self.classes),
            gateways: list(&self.gateways),
            routes: routes.collect(),
            grants: list(&self.grants),
            policies: list(&self.policies),
        }
    }

    /// Labels of a namespace, if it is there.
    pub fn labels(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        let found = self.namespaces.get(&ObjectKey::cluster(namespace))?;
        Some(found.metadata.labels.clone().unwrap_or_default())
    }
}

/// A version of the API, and the resources that it has.
async fn served<'a>(rest: &Rest, version: &'a str) -> (&'a str, Vec<String>) {
    let found = rest.raw(Method::GET, &format!("/apis/{GROUP}/{version}"), None).await.ok();
    let list: Value = found.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let resources = list.get("resources").and_then(Value::as_array).cloned().unwrap_or_default();
    let name = |resource: &Value| resource.get("name").and_then(Value::as_str).map(str::to_owned);
    (version, resources.iter().filter_map(name).collect())
}
