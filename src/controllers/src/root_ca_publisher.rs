//! Publishes the cluster's CA as ConfigMap `kube-root-ca.crt` in every namespace, for pods to mount.
//!
//! Upstream counterpart: `root-ca-certificate-publisher-controller`.

use std::sync::Arc;

use async_trait::async_trait;
use client::{
    Informer, ObjectKey, Rest,
    informer::Scope,
    rest::{self, Patch},
};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::json;

use crate::{
    framework::{Action, Context, Controller, ReconcileError, Watches},
    manager::Config,
};

const NAME: &str = "root-ca-certificate-publisher-controller";
/// Name of the ConfigMap; the service account volume of every pod refers to it.
const CONFIG_MAP: &str = "kube-root-ca.crt";
/// Its only key.
const CA_KEY: &str = "ca.crt";
const DESCRIPTION_KEY: &str = "kubernetes.io/description";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
    endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
    distributions of Kubernetes clusters.";

/// The controller; keys are namespaces.
pub struct RootCaPublisher {
    rest: Rest,
    namespaces: Informer<Namespace>,
    config_maps: Informer<ConfigMap>,
    ca: String,
}

impl RootCaPublisher {
    /// A publisher of the configured CA.
    pub fn new(context: &Context, config: &Config) -> Self {
        // Only the published ConfigMaps: caching all others would cost what they weigh.
        let scope = Scope::fields(format!("metadata.name={CONFIG_MAP}"));
        Self {
            rest: context.rest.clone(),
            namespaces: context.informers.get(),
            config_maps: context.informers.scoped(&scope),
            ca: config.root_ca_pem.clone(),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Nothing,
    Create,
    Update,
}

fn plan(namespace: Option<&Namespace>, published: Option<&ConfigMap>, ca: &str) -> Plan {
    if namespace.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()) {
        return Plan::Nothing;
    }
    let Some(published) = published else { return Plan::Create };
    let data = published.data.as_ref();
    let current =
        data.is_some_and(|data| data.len() == 1 && data.get(CA_KEY).is_some_and(|found| found == ca));
    let annotations = published.metadata.annotations.as_ref();
    let described =
        annotations.is_some_and(|all| all.get(DESCRIPTION_KEY).is_some_and(|text| text == DESCRIPTION));
    if current && described { Plan::Nothing } else { Plan::Update }
}

#[async_trait]
impl Controller for RootCaPublisher {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        watches.applied(&self.namespaces);
        watches.mapped(&self.config_maps, |event, keys| {
            keys.add(ObjectKey::cluster(event.object().metadata.namespace.clone().unwrap_or_default()));
        });
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let namespace = self.namespaces.get(key);
        let published = self.config_maps.find(&key.name, CONFIG_MAP);
        match plan(namespace.as_deref(), published.as_deref(), &self.ca) {
            Plan::Nothing => {}
            Plan::Create => {
                let config_map = ConfigMap {
                    metadata: ObjectMeta {
                        name: Some(CONFIG_MAP.into()),
                        namespace: Some(key.name.clone()),
                        annotations: Some([(DESCRIPTION_KEY.to_owned(), DESCRIPTION.to_owned())].into()),
                        ..ObjectMeta::default()
                    },
                    data: Some([(CA_KEY.to_owned(), self.ca.clone())].into()),
                    ..ConfigMap::default()
                };
                match self.rest.create(&config_map).await {
                    Err(error) if rest::is_not_found(&error) || rest::is_namespace_terminating(&error) => {}
                    // The cache is behind; its next event brings the key back.
                    Err(error) if rest::is_already_exists(&error) => {}
                    result => drop(result?),
                }
            }
            Plan::Update => {
                // In a merge patch null removes: whatever else somebody put there goes.
                let extra = published.iter().flat_map(|map| map.data.iter().flatten());
                let mut data: serde_json::Map<String, serde_json::Value> =
                    extra.map(|(name, _)| (name.clone(), serde_json::Value::Null)).collect();
                data.insert(CA_KEY.to_owned(), json!(self.ca));
                let patch = Patch::Merge(json!({
                    "metadata": {"annotations": {DESCRIPTION_KEY: DESCRIPTION}},
                    "data": data,
                }));
                self.rest.patch::<ConfigMap>(&ObjectKey::new(&*key.name, CONFIG_MAP), "", &patch).await?;
            }
        }
        Ok(Action::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_live_namespace_has_exactly_the_ca() {
        let live = Namespace::default();
        let mut dying = Namespace::default();
        dying.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
        let published = |ca: &str, extra: bool| {
            let mut data = std::collections::BTreeMap::from([(CA_KEY.to_owned(), ca.to_owned())]);
            if extra {
                data.insert("other".into(), "x".into());
            }
            let annotations = Some([(DESCRIPTION_KEY.to_owned(), DESCRIPTION.to_owned())].into());
            let metadata = ObjectMeta { annotations, ..ObjectMeta::default() };
            ConfigMap { data: Some(data), metadata, ..ConfigMap::default() }
        };
        for (namespace, found, expected) in [
            (None, None, Plan::Nothing),
            (Some(&dying), None, Plan::Nothing),
            (Some(&live), None, Plan::Create),
            (Some(&live), Some(published("ca", false)), Plan::Nothing),
            (Some(&live), Some(published("old", false)), Plan::Update),
            (Some(&live), Some(published("ca", true)), Plan::Update),
            (Some(&live), Some(ConfigMap::default()), Plan::Update),
        ] {
            assert_eq!(plan(namespace, found.as_ref(), "ca"), expected);
        }
    }
}
