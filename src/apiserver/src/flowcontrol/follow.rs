//! Follows FlowSchemas and PriorityLevelConfigurations, and tells in a schema's `Dangling` condition whether its
//! level exists.

use super::configuration::Objects;
use super::control::FlowControl;
use crate::cached::{Feed, Sink};
use crate::registry::{Registry, prefix};
use apimachinery::gvk::GroupResource;
use apimachinery::status::Result;
use k8s_openapi::api::flowcontrol::v1::FlowSchema;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::{Arc, Weak};
use std::time::Duration;
use storage::{Object, StorageError};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
/// Between attempts to write conditions when the store fails.
const RETRY: Duration = Duration::from_secs(5);

/// Keeps flow control current until it is dropped.
pub(crate) struct Follower {
    feeds: [Feed; 2],
    conditions: AbortHandle,
}

impl Follower {
    /// Reads all objects and follows them from then on.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn start(
        registry: &Registry,
        control: &Arc<FlowControl>,
    ) -> std::result::Result<Self, StorageError> {
        let changed = Arc::new(Notify::new());
        let feed = async |kind: Kind| {
            let prefix = prefix(&GroupResource::new(GROUP, kind.plural()), "");
            let sink = Taker {
                kind,
                control: Arc::clone(control),
                changed: Arc::clone(&changed),
                prefix_length: prefix.len(),
            };
            Feed::start(Arc::clone(registry.storage()), prefix, sink).await
        };
        let feeds = [feed(Kind::Levels).await?, feed(Kind::Schemas).await?];
        let writing = write_conditions(registry.clone(), Arc::downgrade(control), changed);
        Ok(Self { feeds, conditions: tokio::spawn(writing).abort_handle() })
    }

    /// Makes every write count that has been acknowledged.
    pub(crate) fn catch_up(&self) {
        for feed in &self.feeds {
            feed.catch_up();
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.conditions.abort();
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Levels,
    Schemas,
}

impl Kind {
    fn plural(self) -> &'static str {
        match self {
            Self::Levels => "prioritylevelconfigurations",
            Self::Schemas => "flowschemas",
        }
    }
}

/// Takes the objects of one kind.
struct Taker {
    kind: Kind,
    control: Arc<FlowControl>,
    changed: Arc<Notify>,
    prefix_length: usize,
}

impl Taker {
    fn name(&self, key: &str) -> String {
        key.get(self.prefix_length..).unwrap_or("").to_owned()
    }

    fn insert(&self, objects: &mut Objects, object: &Object) {
        let name = self.name(&object.key);
        match self.kind {
            Kind::Levels => _ = parse(object).and_then(|level| objects.levels.insert(name, level)),
            Kind::Schemas => _ = parse(object).and_then(|schema| objects.schemas.insert(name, schema)),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Objects)) {
        self.control.change(change);
        self.changed.notify_one();
    }
}

fn parse<T: DeserializeOwned>(object: &Object) -> Option<T> {
    serde_json::from_slice(&object.value)
        .inspect_err(|error| tracing::warn!(key = %object.key, %error, "left out of flow control"))
        .ok()
}

impl Sink for Taker {
    fn reset(&self, all: &[Arc<Object>]) {
        self.change(|objects| {
            match self.kind {
                Kind::Levels => objects.levels.clear(),
                Kind::Schemas => objects.schemas.clear(),
            }
            all.iter().for_each(|object| self.insert(objects, object));
        });
    }

    fn put(&self, object: &Object) {
        self.change(|objects| self.insert(objects, object));
    }

    fn remove(&self, key: &str) {
        let name = self.name(key);
        self.change(|objects| match self.kind {
            Kind::Levels => _ = objects.levels.remove(&name),
            Kind::Schemas => _ = objects.schemas.remove(&name),
        });
    }
}

async fn write_conditions(registry: Registry, control: Weak<FlowControl>, changed: Arc<Notify>) {
    loop {
        changed.notified().await;
        loop {
            let Some(control) = control.upgrade() else { return };
            let stale = control.look(stale);
            drop(control);
            let mut failed = false;
            for (name, dangling, message) in stale {
                match write(&registry, &name, dangling, &message).await {
                    Err(status) if !status.is_not_found() => {
                        failed = true;
                        tracing::warn!(name, error = %status, "cannot write a FlowSchema's condition");
                    }
                    _ => {}
                }
            }
            if !failed {
                break;
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Schemas whose condition is not what it should be, and what it should be.
fn stale(objects: &Objects) -> Vec<(String, bool, String)> {
    let mut stale = Vec::new();
    for (name, schema) in &objects.schemas {
        let Some(level) = schema.spec.as_ref().map(|spec| &spec.priority_level_configuration.name) else {
            continue;
        };
        let dangling = !objects.levels.contains_key(level);
        let rest = if dangling { "but there is no such object" } else { "and it exists" };
        let message = format!(
            "This FlowSchema references the PriorityLevelConfiguration object named {level:?} {rest}"
        );
        if !says(schema, dangling, &message) {
            stale.push((name.clone(), dangling, message));
        }
    }
    stale
}

fn says(schema: &FlowSchema, dangling: bool, message: &str) -> bool {
    let conditions = schema.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| {
        condition.type_.as_deref() == Some("Dangling")
            && condition.status.as_deref() == Some(if dangling { "True" } else { "False" })
            && condition.message.as_deref() == Some(message)
    })
}

async fn write(registry: &Registry, name: &str, dangling: bool, message: &str) -> Result<()> {
    let now = apimachinery::time::rfc3339(jiff::Timestamp::now());
    let condition = json!({
        "type": "Dangling",
        "status": if dangling { "True" } else { "False" },
        "reason": if dangling { "NotFound" } else { "Found" },
        "message": message,
        "lastTransitionTime": now,
    });
    registry
        .guaranteed_update(&GroupResource::new(GROUP, "flowschemas"), "", name, |object| {
            let Some(object) = object.as_object_mut() else { return Ok(()) };
            let status = object.entry("status").or_insert_with(|| json!({}));
            let mut conditions =
                status.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
            conditions.retain(|other| other.get("type") != condition.get("type"));
            conditions.push(condition.clone());
            if let Some(status) = status.as_object_mut() {
                status.insert("conditions".to_owned(), Value::Array(conditions));
            }
            Ok(())
        })
        .await
        .map(drop)
}
