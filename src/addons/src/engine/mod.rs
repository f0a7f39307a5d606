//! Enabling is server-side apply as field manager `knarr-addon`, pruning what is no longer there and waiting
//! for readiness; disabling removes exactly what was applied. Both can be repeated.
//!
//! What is enabled is recorded in `addons.knarr.io`, so that every node agrees.

pub mod manifests;
mod readiness;
mod record;
mod resources;
mod versions;
mod volumes;

use crate::arguments::{self, ArgumentError};
use crate::catalog::{self, Addon, CORE, Target};
use crate::helm;
use crate::render::{RenderError, Settings, render};
use crate::repositories::{ForeignAddon, Repository};
use apimachinery::decode::{self, DecodeError};
use client::Rest;
use client::rest::{self, Patch};
use readiness::readiness;
use record::{Entry, Reference};
use resources::Resources;
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;
pub use versions::Straggler;
use volumes::Doomed;
pub use volumes::VolumesError;

/// Field manager of everything that add-ons apply.
pub const FIELD_MANAGER: &str = "knarr-addon";
/// Objects with this annotation are deleted and made anew when a change of them is refused: some fields of a
/// StorageClass can never change.
const RECREATE: &str = "addons.knarr.io/recreate";
/// Objects with this annotation may be others' too: who has brought them first keeps them, and they outlive the add-on.
const SHARED: &str = "addons.knarr.io/shared";
/// What has to be served before the next object can be of its kind.
const DEFINITION: &str = "CustomResourceDefinition";
/// How often readiness is looked at.
const PERIOD: Duration = Duration::from_millis(200);
/// How long a definition may take until its resource is served: it takes milliseconds.
const ESTABLISHED: Duration = Duration::from_secs(30);

/// Why an add-on cannot be enabled or disabled.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no add-on of that name.
    #[error("Addon {0} was not found in any repository; `knarr status` lists what there is")]
    Unknown(String),
    /// The arguments do not fit.
    #[error(transparent)]
    Arguments(#[from] ArgumentError),
    /// The manifests are damaged.
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
    #[error("{what} is not ready after {seconds} s: {state}; look at `knarr kubectl {look}`")]
    NotReady {
        /// What was waited for.
        what: String,
        /// The kubectl command that tells more.
        look: String,
        /// How long it was waited for.
        seconds: u64,
        /// What it looked like last.
        state: String,
    },
    /// Another add-on that is enabled needs this one.
    #[error("Addon {0} is needed by {1}; disable {1} first")]
    Needed(String, String),
    /// Volumes that are to go with it cannot.
    #[error(transparent)]
    Volumes(#[from] VolumesError),
    /// It is a part of knarr.
    #[error("Addon {0} cannot be disabled. {1}")]
    Always(String, String),
    /// The server never told what cluster this is.
    #[error("the cluster is still starting; wait for `knarr status --wait-ready` and try again")]
    NoSettings,
    /// The cluster's settings are damaged.
    #[error("ConfigMap kube-system/knarr-cluster is damaged: {0}; delete it and start knarr again")]
    Settings(String),
}

/// An add-on and whether it is enabled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Its repository.
    pub repository: String,
    /// Its name.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Its version.
    pub version: String,
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

    /// All add-ons of the binary and of others' repositories with their states, by repository and name.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn list(&self, others: &[Repository]) -> Result<Vec<State>, EngineError> {
        let entries = record::read(&self.rest).await?;
        let state = |addon: &Addon| State {
            repository: CORE.to_owned(),
            name: addon.name.clone(),
            description: addon.description.clone(),
            version: addon.version.clone(),
            enabled: addon.always.is_some() || entries.get(&addon.name).is_some_and(|entry| entry.enabled),
        };
        let mut all: Vec<State> = catalog::all().iter().map(state).collect();
        for repository in others {
            all.extend(repository.addons.iter().map(|addon| {
                State {
                    repository: repository.name.clone(),
                    name: addon.name.clone(),
                    description: addon.description.clone(),
                    version: addon.version.clone(),
                    enabled: entries
                        .get(&record::object_name(&repository.name, &addon.name))
                        .is_some_and(|entry| entry.enabled),
                }
            }));
        }
        all.sort_by(|a, b| (&a.repository, &a.name).cmp(&(&b.repository, &b.name)));
        Ok(all)
    }

    /// Writes down that an add-on of somebody else's repository was enabled or disabled; what that applied is not known.
    /// Answers whether it was before.
    ///
    /// # Errors
    /// When the record cannot be read or written.
    pub async fn note(
        &self,
        repository: &Repository,
        addon: &ForeignAddon,
        enabled: bool,
        arguments: &[String],
    ) -> Result<bool, EngineError> {
        let name = record::object_name(&repository.name, &addon.name);
        let before = record::read(&self.rest).await?.get(&name).is_some_and(|entry| entry.enabled);
        let entry = Entry {
            repository: repository.name.clone(),
            enabled,
            arguments: if enabled { arguments.to_vec() } else { Vec::new() },
            version: if enabled { addon.version.clone() } else { String::new() },
            applied: Vec::new(),
        };
        record::write(&self.rest, &name, &entry).await?;
        Ok(before)
    }

    /// What a control-plane node does when it starts: tells the cluster's settings, enables the default
    /// add-ons of a new cluster (without those in `without`), and applies enabled ones again, since a newer
    /// binary brings newer manifests. Does not wait for readiness. While a Ready node runs another version nothing
    /// changes, since that node has not the image that the manifests name: answers which, to be asked again.
    ///
    /// # Errors
    /// When something cannot be applied; the next start tries again.
    pub async fn start(
        &self,
        settings: &Settings,
        without: &[String],
    ) -> Result<Option<Straggler>, EngineError> {
        self.define().await?;
        let told = record::settings(&self.rest).await?;
        if told.is_some_and(|told| told.image != settings.image)
            && let Some(straggler) = versions::straggler(&self.nodes().await?, &settings.image)
        {
            return Ok(Some(straggler));
        }
        record::write_settings(&self.rest, settings).await?;
        let entries = record::read(&self.rest).await?;
        for addon in catalog::all() {
            match entries.get(&addon.name) {
                Some(entry) if entry.enabled => {
                    self.apply(addon, entry.arguments.clone(), entry.clone(), settings).await?;
                }
                Some(_) => {}
                None if !addon.default => {}
                None if addon.names().any(|name| without.iter().any(|w| w == name)) => {
                    record::write(&self.rest, &addon.name, &Entry::default()).await?;
                }
                None => self.apply(addon, Vec::new(), Entry::default(), settings).await?,
            }
        }
        Ok(None)
    }

    /// Whether a first start is over: every add-on that is on by default was enabled, or is not to be.
    ///
    /// # Errors
    /// When the API does not answer.
    pub async fn has_started(&self) -> Result<bool, EngineError> {
        if record::settings(&self.rest).await?.is_none() {
            return Ok(false);
        }
        let entries = record::read(&self.rest).await?;
        for addon in catalog::all().iter().filter(|addon| addon.default) {
            let Some(entry) = entries.get(&addon.name) else { return Ok(false) };
            for reference in entry.applied.iter().filter(|_| entry.enabled) {
                if !self.is_there(reference).await? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    async fn is_there(&self, reference: &Reference) -> Result<bool, EngineError> {
        let failed = |source| EngineError::Api { verb: "get", what: reference.to_string(), source };
        let Some(path) = self.resources.find(reference).await.map_err(failed)? else { return Ok(false) };
        match self.rest.raw(http::Method::GET, &path, None).await {
            Ok(_) => Ok(true),
            Err(error) if rest::is_not_found(&error) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    async fn nodes(&self) -> Result<Vec<Value>, EngineError> {
        let failed = |source| EngineError::Api { verb: "list", what: "nodes".to_owned(), source };
        let text = self.rest.raw(http::Method::GET, "/api/v1/nodes", None).await.map_err(failed)?;
        let mut list: Value = serde_json::from_str(&text).unwrap_or_default();
        Ok(list.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default())
    }

    /// Enables an add-on and those it depends on; `tell` hears what happens. Without arguments one that is enabled keeps
    /// those that it has. Answers whether it was enabled with the same arguments before.
    ///
    /// # Errors
    /// When the arguments do not fit, something cannot be applied, or it is not ready within `patience`.
    pub async fn enable(
        &self,
        name: &str,
        given: &[String],
        patience: Duration,
        tell: &mut (dyn FnMut(String) + Send),
    ) -> Result<bool, EngineError> {
        let addon = catalog::find(name).ok_or_else(|| EngineError::Unknown(name.to_owned()))?;
        let given = arguments::read(addon, given)?;
        if let Some(why) = &addon.always {
            tell(why.clone());
            return Ok(true);
        }
        let settings = record::settings(&self.rest).await?.ok_or(EngineError::NoSettings)?;
        let mut entries = record::read(&self.rest).await?;
        for dependency in &addon.dependencies {
            if !entries.get(dependency).is_some_and(|entry| entry.enabled) {
                tell(format!("Addon {CORE}/{} needs {CORE}/{dependency}; enabling it first", addon.name));
                Box::pin(self.enable(dependency, &[], patience, tell)).await?;
            }
        }
        let old = entries.remove(&addon.name).unwrap_or_default();
        let keep = given.is_empty() && old.enabled;
        let arguments = if keep { old.arguments.clone() } else { given };
        let before = old.enabled && old.arguments == arguments;
        let values = arguments::values(addon, &arguments)?;
        let given = |name: &String| {
            values.get(&arguments::placeholder(name)).is_some_and(|v| !matches!(v.as_str(), "" | "false"))
        };
        let there = |target: &&Target| {
            !target.unless.as_ref().is_some_and(given) && target.when.as_ref().is_none_or(given)
        };
        self.apply(addon, arguments, old, &settings).await?;
        for target in addon.readiness.iter().filter(there) {
            self.wait_ready(target, patience, tell).await?;
        }
        Ok(before)
    }

    /// Removes all that an add-on applied, and what `given` says besides; `tell` hears what happens, and volumes may take
    /// `patience`. Answers whether it was enabled.
    ///
    /// # Errors
    /// When the arguments do not fit or an enabled add-on needs it: then nothing is changed. When something cannot be
    /// deleted; a repetition goes on where this one ended.
    pub async fn disable(
        &self,
        name: &str,
        given: &[String],
        patience: Duration,
        tell: &mut (dyn FnMut(String) + Send),
    ) -> Result<bool, EngineError> {
        let addon = catalog::find(name).ok_or_else(|| EngineError::Unknown(name.to_owned()))?;
        let given = arguments::disabling(addon, given)?;
        if let Some(why) = &addon.always {
            return Err(EngineError::Always(addon.name.clone(), why.clone()));
        }
        let mut entries = record::read(&self.rest).await?;
        let needs = |other: &&Addon| {
            other.dependencies.contains(&addon.name) && entries.get(&other.name).is_some_and(|e| e.enabled)
        };
        if let Some(other) = catalog::all().iter().find(needs) {
            return Err(EngineError::Needed(addon.name.clone(), other.name.clone()));
        }
        let entry = entries.remove(&addon.name).unwrap_or_default();
        for provisioner in given.iter().filter_map(|one| one.volumes_of.as_deref()) {
            let doomed = Doomed { addon: &addon.name, provisioner, enabled: entry.enabled };
            volumes::destroy(&self.rest, &doomed, patience, tell).await?;
        }
        tell(format!("Removing what {} is made of", addon.name));
        self.delete(&entry.applied).await?;
        record::write(&self.rest, &addon.name, &Entry::default()).await?;
        Ok(entry.enabled)
    }

    /// Makes the cluster serve `addons.knarr.io`, `helmcharts.helm.cattle.io` and `helmchartconfigs.helm.cattle.io`.
    async fn define(&self) -> Result<(), EngineError> {
        let damaged = |error: DecodeError| {
            EngineError::Render(RenderError::Manifest {
                addon: CORE.to_owned(),
                file: "a definition".to_owned(),
                why: error.to_string(),
            })
        };
        let mut references = Vec::new();
        for text in std::iter::once(record::DEFINITION).chain(helm::DEFINITIONS) {
            let definition = decode::yaml(text.as_bytes()).map_err(damaged)?.value;
            let reference = Reference::of(&definition);
            self.apply_object(definition, &reference).await?;
            references.push(reference);
        }
        for reference in &references {
            self.wait_for(reference, ESTABLISHED, &mut |_| ()).await?;
        }
        Ok(())
    }

    async fn apply(
        &self,
        addon: &Addon,
        arguments: Vec<String>,
        old: Entry,
        settings: &Settings,
    ) -> Result<(), EngineError> {
        let values = arguments::values(addon, &arguments)?;
        let objects = render(addon, values, settings)?;
        let entry = Entry { enabled: true, arguments, version: addon.version.clone(), ..Entry::default() };
        self.apply_all(&addon.name, objects, entry, old.applied).await
    }

    /// Applies objects and deletes those of `before` that are not among them; `entry` is what is written down of it.
    async fn apply_all(
        &self,
        name: &str,
        objects: Vec<Value>,
        mut entry: Entry,
        before: Vec<Reference>,
    ) -> Result<(), EngineError> {
        // What is shared is not on the record, so that nobody deletes it.
        let own = objects.iter().filter(|object| !is_marked(object, SHARED));
        let applied: Vec<Reference> = own.map(Reference::of).collect();
        // What was there before stays on the record until it is gone, whatever happens in between.
        let stale: Vec<Reference> = before.into_iter().filter(|r| !applied.contains(r)).collect();
        entry.applied = applied.iter().chain(&stale).cloned().collect();
        record::write(&self.rest, name, &entry).await?;
        let mut defined: Vec<Reference> = Vec::new();
        for object in objects {
            let reference = Reference::of(&object);
            if defined.iter().any(|definition| defines(definition, &reference)) {
                for definition in defined.drain(..) {
                    self.wait_for(&definition, ESTABLISHED, &mut |_| ()).await?;
                }
            }
            self.apply_object(object, &reference).await?;
            if reference.kind == DEFINITION {
                defined.push(reference);
            }
        }
        if !stale.is_empty() {
            self.delete(&stale).await?;
            entry.applied = applied;
            record::write(&self.rest, name, &entry).await?;
        }
        Ok(())
    }

    async fn apply_object(&self, object: Value, reference: &Reference) -> Result<(), EngineError> {
        let failed = |source| EngineError::Api { verb: "apply", what: reference.to_string(), source };
        let path = self.resources.path(reference).await.map_err(failed)?;
        let recreate = is_marked(&object, RECREATE);
        if is_marked(&object, SHARED) {
            let there = self.rest.raw(http::Method::GET, &path, None).await.ok();
            let there = there.and_then(|text| serde_json::from_str::<Value>(&text).ok());
            if there.is_some_and(|there| !is_marked(&there, SHARED)) {
                return Ok(());
            }
        }
        let patch = Patch::Apply { config: object, manager: FIELD_MANAGER.to_owned(), force: true };
        match self.rest.raw_patch(&path, &patch).await {
            Err(error) if recreate && rest::is_invalid(&error) => {
                self.delete(std::slice::from_ref(reference)).await?;
                self.rest.raw_patch(&path, &patch).await.map_err(failed)?;
            }
            result => drop(result.map_err(failed)?),
        }
        Ok(())
    }

    async fn delete(&self, references: &[Reference]) -> Result<(), EngineError> {
        for reference in references.iter().rev() {
            let failed = |source| EngineError::Api { verb: "delete", what: reference.to_string(), source };
            let Some(path) = self.resources.find(reference).await.map_err(failed)? else { continue };
            let options = br#"{"propagationPolicy":"Background"}"#.to_vec();
            match self.rest.raw(http::Method::DELETE, &path, Some(options)).await {
                Err(error) if !rest::is_not_found(&error) => return Err(failed(error)),
                _ => {}
            }
        }
        Ok(())
    }

    async fn wait_ready(
        &self,
        target: &Target,
        patience: Duration,
        tell: &mut (dyn FnMut(String) + Send),
    ) -> Result<(), EngineError> {
        let reference = Reference::from(target);
        tell(format!("Waiting for {reference}"));
        let mut last = String::new();
        let mut told = |state: &str| {
            if state != last {
                tell(format!("{reference}: {state}"));
                last = state.to_owned();
            }
        };
        self.wait_for(&reference, patience, &mut told).await
    }

    async fn wait_for(
        &self,
        reference: &Reference,
        patience: Duration,
        told: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), EngineError> {
        let failed = |source| EngineError::Api { verb: "look at", what: reference.to_string(), source };
        let path = self.resources.path(reference).await.map_err(failed)?;
        let start = Instant::now();
        loop {
            let text = self.rest.raw(http::Method::GET, &path, None).await.map_err(failed)?;
            let object: Value = serde_json::from_str(&text).unwrap_or_default();
            let state = match readiness(&object) {
                Ok(()) => return Ok(()),
                Err(state) => state,
            };
            told(&state);
            let waited = start.elapsed();
            if waited > patience || readiness::is_hopeless(&object) {
                return Err(not_ready(reference, waited, state));
            }
            tokio::time::sleep(PERIOD).await;
        }
    }
}

/// Whether a definition is of the group of an object.
fn defines(definition: &Reference, object: &Reference) -> bool {
    let group = object.api_version.split_once('/').map_or("", |(group, _)| group);
    definition.name.split_once('.').is_some_and(|(_, of)| of == group)
}

fn is_marked(object: &Value, annotation: &str) -> bool {
    object.pointer("/metadata/annotations").is_some_and(|all| all.get(annotation).is_some())
}

fn not_ready(reference: &Reference, waited: Duration, state: String) -> EngineError {
    let kind = reference.kind.to_lowercase();
    let look = match (reference.namespace.as_str(), kind.as_str()) {
        ("", kind) => format!("describe {kind} {}", reference.name),
        (namespace, "helmchart") => format!("-n {namespace} describe helmchart {}", reference.name),
        (namespace, _) => format!("-n {namespace} describe pods"),
    };
    EngineError::NotReady { what: reference.to_string(), look, seconds: waited.as_secs(), state }
}
