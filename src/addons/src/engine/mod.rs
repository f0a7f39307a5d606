//! Enabling is server-side apply as field manager `knarr-addon`, pruning what is no longer there and waiting
//! for readiness; disabling removes exactly what was applied. Both can be repeated.
//!
//! What is enabled is recorded in the ConfigMap `kube-system/knarr-addons`, so that every node agrees.

mod record;
mod resources;

use crate::catalog::{self, Addon, CORE, Target};
use crate::render::{RenderError, Settings, render};
use client::Rest;
use client::rest::{self, Patch};
use record::{Entry, Record, Reference};
use resources::Resources;
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// Field manager of everything that add-ons apply.
pub const FIELD_MANAGER: &str = "knarr-addon";

/// How often readiness is looked at.
const PERIOD: Duration = Duration::from_millis(200);

/// Why an add-on cannot be enabled or disabled.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no add-on of that name.
    #[error("Addon {0} was not found in any repository; `knarr status` lists what there is")]
    Unknown(String),
    /// The arguments do not fit.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The API server refused something.
    #[error("cannot {verb} {what}")]
    Api {
        /// What was tried.
        verb: &'static str,
        /// With what.
        what: String,
        /// What it said.
        #[source]
        source: kube::Error,
    },
    /// The add-on was applied but did not become ready.
    #[error(
        "{what} is not ready after {seconds} s: {state}; look at `knarr kubectl -n {namespace} describe pods`"
    )]
    NotReady {
        /// What was waited for.
        what: String,
        /// Its namespace.
        namespace: String,
        /// How long it was waited for.
        seconds: u64,
        /// What it looked like last.
        state: String,
    },
    /// The server never told what cluster this is.
    #[error("the cluster is still starting; wait for `knarr status --wait-ready` and try again")]
    NoSettings,
    /// The record is damaged.
    #[error("ConfigMap kube-system/knarr-addons is damaged: {0}; delete it and enable the add-ons again")]
    Record(String),
}

/// An add-on and whether it is enabled.
#[derive(Clone, Debug)]
pub struct State {
    /// Its repository.
    pub repository: &'static str,
    /// The add-on.
    pub addon: &'static Addon,
    /// Whether it is enabled.
    pub enabled: bool,
}

/// Enables and disables add-ons through one client.
pub struct Engine {
    rest: Rest,
    resources: Resources,
}

impl Engine {
    /// An engine that acts through `client`.
    pub fn new(client: kube::Client) -> Self {
        let rest = Rest::new(client);
        Self { resources: Resources::new(rest.clone()), rest }
    }

    /// All add-ons with their states.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn list(&self) -> Result<Vec<State>, EngineError> {
        let record = Record::read(&self.rest).await?;
        let state = |addon: &'static Addon| State {
            repository: CORE,
            addon,
            enabled: record.entries.get(&addon.name).is_some_and(|entry| entry.enabled),
        };
        Ok(catalog::all().iter().map(state).collect())
    }

    /// What a control-plane node does when it starts: tells the cluster's settings, enables the default
    /// add-ons of a new cluster (without those in `without`), and applies enabled ones again, since a newer
    /// binary brings newer manifests. Does not wait for readiness.
    ///
    /// # Errors
    /// When something cannot be applied; the next start tries again.
    pub async fn start(&self, settings: &Settings, without: &[String]) -> Result<(), EngineError> {
        let mut record = Record::read(&self.rest).await?;
        record.settings = Some(settings.clone());
        for addon in catalog::all() {
            if addon.default && !record.entries.contains_key(&addon.name) {
                let enabled = !without.contains(&addon.name);
                record.entries.insert(addon.name.clone(), Entry { enabled, ..Entry::default() });
            }
        }
        record.write(&self.rest).await?;
        for addon in catalog::all() {
            let Some(entry) = record.entries.get(&addon.name).filter(|entry| entry.enabled).cloned() else {
                continue;
            };
            self.apply(addon, &entry.arguments, &mut record).await?;
        }
        Ok(())
    }

    /// Enables an add-on and those it depends on; `tell` hears what happens. Answers whether it was enabled
    /// with the same arguments before.
    ///
    /// # Errors
    /// When the arguments do not fit, something cannot be applied, or it is not ready within `patience`.
    pub async fn enable(
        &self,
        name: &str,
        arguments: &[String],
        patience: Duration,
        tell: &mut (dyn FnMut(String) + Send),
    ) -> Result<bool, EngineError> {
        let addon = catalog::find(name).ok_or_else(|| EngineError::Unknown(name.to_owned()))?;
        let mut record = Record::read(&self.rest).await?;
        for dependency in &addon.dependencies {
            if !record.entries.get(dependency).is_some_and(|entry| entry.enabled) {
                tell(format!("Addon {CORE}/{name} needs {CORE}/{dependency}; enabling it first"));
                Box::pin(self.enable(dependency, &[], patience, tell)).await?;
                record = Record::read(&self.rest).await?;
            }
        }
        let before = record.entries.get(name).is_some_and(|e| e.enabled && e.arguments == arguments);
        self.apply(addon, arguments, &mut record).await?;
        for target in &addon.readiness {
            tell(format!("Waiting for {} {}/{}", target.kind, target.namespace, target.name));
            self.wait_ready(target, patience).await?;
        }
        Ok(before)
    }

    /// Removes all that an add-on applied. Answers whether it was enabled.
    ///
    /// # Errors
    /// When something cannot be deleted; a repetition goes on where this one ended.
    pub async fn disable(&self, name: &str) -> Result<bool, EngineError> {
        catalog::find(name).ok_or_else(|| EngineError::Unknown(name.to_owned()))?;
        let mut record = Record::read(&self.rest).await?;
        let entry = record.entries.remove(name).unwrap_or_default();
        self.delete(&entry.applied).await?;
        record.entries.insert(name.to_owned(), Entry::default());
        record.write(&self.rest).await?;
        Ok(entry.enabled)
    }

    async fn apply(
        &self,
        addon: &Addon,
        arguments: &[String],
        record: &mut Record,
    ) -> Result<(), EngineError> {
        let settings = record.settings.clone().ok_or(EngineError::NoSettings)?;
        let objects = render(addon, arguments, &settings)?;
        let applied: Vec<Reference> = objects.iter().map(Reference::of).collect();
        let old = record.entries.remove(&addon.name).unwrap_or_default();
        // What was there before stays on the record until it is gone, whatever happens in between.
        let mut all = applied.clone();
        let stale: Vec<Reference> = old.applied.into_iter().filter(|r| !applied.contains(r)).collect();
        all.extend(stale.iter().cloned());
        let entry = |applied| Entry { enabled: true, arguments: arguments.to_vec(), applied };
        record.entries.insert(addon.name.clone(), entry(all));
        record.write(&self.rest).await?;
        for (object, reference) in objects.into_iter().zip(&applied) {
            self.apply_object(object, reference).await?;
        }
        if !stale.is_empty() {
            self.delete(&stale).await?;
            record.entries.insert(addon.name.clone(), entry(applied));
            record.write(&self.rest).await?;
        }
        Ok(())
    }

    async fn apply_object(&self, object: Value, reference: &Reference) -> Result<(), EngineError> {
        let failed = |source| EngineError::Api { verb: "apply", what: reference.to_string(), source };
        let path = self.resources.path(reference).await.map_err(failed)?;
        let patch = Patch::Apply { config: object, manager: FIELD_MANAGER.to_owned(), force: true };
        self.rest.raw_patch(&path, &patch).await.map_err(failed)?;
        Ok(())
    }

    async fn delete(&self, references: &[Reference]) -> Result<(), EngineError> {
        for reference in references.iter().rev() {
            let failed = |source| EngineError::Api { verb: "delete", what: reference.to_string(), source };
            let path = self.resources.path(reference).await.map_err(failed)?;
            let options = br#"{"propagationPolicy":"Background"}"#.to_vec();
            match self.rest.raw(http::Method::DELETE, &path, Some(options)).await {
                Err(error) if !rest::is_not_found(&error) => return Err(failed(error)),
                _ => {}
            }
        }
        Ok(())
    }

    async fn wait_ready(&self, target: &Target, patience: Duration) -> Result<(), EngineError> {
        let reference = Reference::from(target);
        let failed = |source| EngineError::Api { verb: "look at", what: reference.to_string(), source };
        let path = self.resources.path(&reference).await.map_err(failed)?;
        let start = Instant::now();
        loop {
            let text = self.rest.raw(http::Method::GET, &path, None).await.map_err(failed)?;
            let object: Value = serde_json::from_str(&text).unwrap_or_default();
            let state = match readiness(&object) {
                Ok(()) => return Ok(()),
                Err(state) => state,
            };
            if start.elapsed() > patience {
                return Err(EngineError::NotReady {
                    what: reference.to_string(),
                    namespace: target.namespace.clone(),
                    seconds: patience.as_secs(),
                    state,
                });
            }
            tokio::time::sleep(PERIOD).await;
        }
    }
}

/// Whether a workload runs as its spec says; else what is missing.
fn readiness(object: &Value) -> Result<(), String> {
    let number = |path: &str| object.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    let (wanted, ready, updated) = match object.get("kind").and_then(Value::as_str) {
        Some("DaemonSet") => (
            number("/status/desiredNumberScheduled"),
            number("/status/numberReady"),
            number("/status/updatedNumberScheduled"),
        ),
        _ => (
            object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1),
            number("/status/readyReplicas"),
            number("/status/updatedReplicas"),
        ),
    };
    if number("/status/observedGeneration") < number("/metadata/generation") {
        return Err("not looked at by its controller yet".to_owned());
    }
    if ready < wanted || updated < wanted {
        return Err(format!("{ready} of {wanted} pods are ready"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_workload_is_ready_when_all_pods_of_this_generation_are() {
        let deployment = |observed: i64, ready: i64, updated: i64| {
            json!({"kind": "Deployment", "metadata": {"generation": 2}, "spec": {"replicas": 2},
                   "status": {"observedGeneration": observed, "readyReplicas": ready, "updatedReplicas": updated}})
        };
        assert!(readiness(&deployment(2, 2, 2)).is_ok());
        assert!(readiness(&deployment(1, 2, 2)).is_err());
        assert!(readiness(&deployment(2, 1, 2)).is_err());
        assert!(readiness(&deployment(2, 2, 1)).is_err());
    }
}
