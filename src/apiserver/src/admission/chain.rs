//! The chain of plugins and what it tells them of a request.

use std::sync::Arc;

use apimachinery::gvk::{Gvk, Gvr};
use apimachinery::status::Status;
use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::Value;

use super::counts::Counts;
use super::metrics::{self, Durations, Step};
use super::reinvocation::Reinvocation;
use crate::audit::Annotations;
use crate::authentication::UserInfo;
use crate::registry::Served;

/// The kind of write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object, or a create on a subresource (binding, eviction).
    Create,
    /// A change of an object or of one of its subresources.
    Update,
    /// A deletion; there is no new object.
    Delete,
    /// A long-running request to a subresource (exec, attach, port-forward, proxy).
    Connect,
}

impl Operation {
    /// The name in webhook rules and messages: `CREATE`, ...
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// Warnings for the client (`Warning` response headers), collected while a request is admitted.
#[derive(Debug, Default)]
pub struct Warnings(Mutex<Vec<String>>);

impl Warnings {
    /// Adds one, unless it is there.
    pub fn add(&self, warning: impl Into<String>) {
        let warning = warning.into();
        let mut all = self.0.lock();
        if !all.contains(&warning) {
            all.push(warning);
        }
    }

    /// Takes all that were added.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// One write as admission plugins see it.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Who writes.
    pub user: &'a UserInfo,
    /// What kind of write.
    pub operation: Operation,
    /// The resource written to.
    pub resource: &'a Gvr,
    /// The kind of the object in flight (of the subresource's kind, where it has its own).
    pub kind: &'a Gvk,
    /// The subresource; empty for the object itself.
    pub subresource: &'a str,
    /// The namespace; empty for cluster-scoped resources.
    pub namespace: &'a str,
    /// The name; may be empty on create when the server is to generate one.
    pub name: &'a str,
    /// The object as stored, for updates and deletions.
    pub old: Option<&'a Value>,
    /// Must nothing be persisted?
    pub dry_run: bool,
    /// CreateOptions, UpdateOptions, PatchOptions or DeleteOptions.
    pub options: &'a Value,
    /// Where warnings for the client go.
    pub warnings: &'a Warnings,
    /// Where notes for the audit log go.
    pub annotations: &'a Annotations,
    /// What the client wrote to, in the version that it used; `resource` and `kind` are of the stored one.
    pub served: Option<&'a Arc<Served>>,
    /// What the first round of changes left for the second; filled in by the chain.
    pub reinvocation: Option<&'a Reinvocation>,
}

impl Request<'_> {
    /// Is it for this resource itself, none of its subresources?
    pub fn is(&self, group: &str, resource: &str) -> bool {
        self.subresource.is_empty() && self.is_any(group, resource)
    }

    /// Is it for this resource or one of its subresources?
    pub fn is_any(&self, group: &str, resource: &str) -> bool {
        self.resource.group == group && self.resource.resource == resource
    }
}

/// One admission plugin: its name, and the steps that it takes part in.
pub trait Plugin: Send + Sync {
    /// Its name, as in upstream's `--enable-admission-plugins`.
    fn name(&self) -> &'static str;

    /// What it does while objects may still be changed.
    fn mutation(&self) -> Option<&dyn Mutation> {
        None
    }

    /// What it does when nothing changes any more.
    fn validation(&self) -> Option<&dyn Validation> {
        None
    }
}

/// The step that changes objects. On deletions the object is `Value::Null`, on connects the options
/// (`PodExecOptions`).
#[async_trait]
pub trait Mutation: Send + Sync {
    /// Changes the object, or refuses it.
    async fn admit(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status>;
}

/// The step that only looks at objects, which are as in [`Mutation`].
#[async_trait]
pub trait Validation: Send + Sync {
    /// Refuses the object as it is after all plugins changed it and it passed validation.
    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status>;
}

/// The ordered plugins.
#[derive(Clone, Default)]
pub struct Chain {
    plugins: Vec<Measured>,
    steps: Arc<Durations>,
    counts: Arc<Counts>,
}

/// A plugin, and how long it takes.
#[derive(Clone)]
struct Measured {
    plugin: Arc<dyn Plugin>,
    durations: Arc<Durations>,
}

impl Chain {
    /// A chain of these plugins, in this order.
    pub fn new(plugins: Vec<Arc<dyn Plugin>>) -> Self {
        let measured = |plugin| Measured { plugin, durations: Arc::default() };
        let plugins = plugins.into_iter().map(measured).collect();
        Self { plugins, ..Self::default() }
    }

    /// The chain, with what its webhooks and policies count.
    #[must_use]
    pub(super) fn counting(self, counts: Arc<Counts>) -> Self {
        Self { counts, ..self }
    }

    /// Lets every plugin change the object, in order; all once more when a webhook or policy changed something
    /// that those before it have not seen.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn admit(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        let rounds = Reinvocation::default();
        let request = Request { reinvocation: Some(&rounds), ..*request };
        let mut step = Step::begin(request.operation, false);
        let mut result = self.admit_once(&request, object, &mut step).await;
        if result.is_ok() && rounds.begin_second_round() {
            result = self.admit_once(&request, object, &mut step).await;
        }
        step.end(&self.steps, result.is_err());
        result
    }

    async fn admit_once(
        &self,
        request: &Request<'_>,
        object: &mut Value,
        step: &mut Step,
    ) -> Result<(), Status> {
        for measured in &self.plugins {
            let Some(plugin) = measured.plugin.mutation() else { continue };
            let result = plugin.admit(request, object).await;
            step.done(&measured.durations, result.is_err());
            result?;
        }
        Ok(())
    }

    /// Lets every plugin refuse the final object, in order.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        let mut step = Step::begin(request.operation, true);
        for measured in &self.plugins {
            let Some(plugin) = measured.plugin.validation() else { continue };
            let result = plugin.validate(request, object).await;
            step.done(&measured.durations, result.is_err());
            if result.is_err() {
                step.end(&self.steps, true);
                return result;
            }
        }
        step.end(&self.steps, false);
        Ok(())
    }

    /// The names of the plugins, in order.
    pub fn names(&self) -> Vec<&'static str> {
        self.plugins.iter().map(|measured| measured.plugin.name()).collect()
    }

    /// Writes how long plugins take, and what webhooks and policies did.
    pub(crate) fn write_metrics(&self, out: &mut String) -> std::fmt::Result {
        let plugins = self.plugins.iter().map(|measured| (measured.plugin.name(), &*measured.durations));
        metrics::write(out, &self.steps, plugins)?;
        self.counts.write(out)
    }
}
