//! The recorder and the task that writes.

use std::{fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use serde_json::json;
use tokio::sync::mpsc;

use super::correlator::{Correlator, Observation, Verdict};
use crate::{
    ObjectKey, Rest,
    rest::{self, Object, Patch},
};

/// Events waiting to be written; upstream's queue length. More than that means that nobody could read them.
const QUEUE_LENGTH: usize = 1000;
/// Attempts to write an event while the API server cannot be reached (upstream's value).
const ATTEMPTS: u32 = 12;
/// Pause between those attempts (upstream's value).
const RETRY_PAUSE: Duration = Duration::from_secs(10);

/// Whether an event is about something expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// Information.
    Normal,
    /// Something that may need attention.
    Warning,
}

impl fmt::Display for EventType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        })
    }
}

/// Records events on behalf of one component. Clones share the queue.
#[derive(Clone)]
pub struct EventRecorder {
    sender: Option<mpsc::Sender<Observation>>,
}

impl EventRecorder {
    /// A recorder for a component, such as `deployment-controller`; `host` is empty unless the component
    /// belongs to a node. Must be called inside a tokio runtime: it starts the writing task, which ends with
    /// the last clone.
    pub fn new(client: kube::Client, component: &str, host: &str) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE_LENGTH);
        let source = Source { component: component.into(), host: host.into() };
        tokio::spawn(write(Rest::new(client), source, receiver));
        Self { sender: Some(sender) }
    }

    /// A recorder that drops everything.
    pub fn disabled() -> Self {
        Self { sender: None }
    }

    /// Records an event about an object. Never blocks; the event is dropped when the queue is full.
    pub fn event(&self, object: &ObjectReference, kind: EventType, reason: &str, message: impl Into<String>) {
        let Some(sender) = &self.sender else { return };
        let observation = Observation {
            object: object.clone(),
            kind,
            reason: reason.to_owned(),
            message: message.into(),
            at: Timestamp::now(),
        };
        if sender.try_send(observation).is_err() {
            tracing::debug!(reason, "event dropped: the queue is full");
        }
    }

    /// Records an event about a typed object.
    pub fn about<K: Object>(&self, object: &K, kind: EventType, reason: &str, message: impl Into<String>) {
        self.event(&object_reference(object), kind, reason, message);
    }
}

/// The reference by which an event names its object.
pub fn object_reference<K: Object>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

struct Source {
    component: Arc<str>,
    host: Arc<str>,
}

async fn write(rest: Rest, source: Source, mut receiver: mpsc::Receiver<Observation>) {
    let mut correlator = Correlator::default();
    while let Some(observation) = receiver.recv().await {
        let Some(verdict) = correlator.correlate(&observation) else { continue };
        for attempt in 1..=ATTEMPTS {
            match send(&rest, &source, &observation, &verdict).await {
                Ok(name) => {
                    correlator.written(&verdict, name);
                    break;
                }
                Err(kube::Error::Api(status)) => {
                    // The server has answered: asking again will not change its mind.
                    tracing::debug!(reason = observation.reason, "event refused: {}", status.message);
                    break;
                }
                Err(error) if attempt == ATTEMPTS => tracing::warn!("cannot write an event: {error}"),
                Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
    }
}

/// Writes one event; returns the name it has.
async fn send(
    rest: &Rest,
    source: &Source,
    observation: &Observation,
    verdict: &Verdict,
) -> Result<String, kube::Error> {
    let namespace = observation.object.namespace.clone().filter(|namespace| !namespace.is_empty());
    // Events about cluster-scoped objects live in `default`, as upstream.
    let namespace = namespace.unwrap_or_else(|| "default".to_owned());
    if let Some(name) = &verdict.existing {
        let patch = Patch::Merge(json!({
            "count": verdict.count,
            "lastTimestamp": Time(observation.at),
            "message": verdict.message,
        }));
        let key = ObjectKey::new(namespace.clone(), name.clone());
        match rest.patch::<Event>(&key, "", &patch).await {
            Ok(_) => return Ok(name.clone()),
            // Expired by its time to live: write it anew.
            Err(error) if rest::is_not_found(&error) => {}
            Err(error) => return Err(error),
        }
    }
    let object_name = observation.object.name.as_deref().unwrap_or_default();
    let name = format!("{object_name}.{:x}", observation.at.as_nanosecond());
    let host = (!source.host.is_empty()).then(|| source.host.to_string());
    let event = Event {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        involved_object: observation.object.clone(),
        reason: Some(observation.reason.clone()),
        message: Some(verdict.message.clone()),
        type_: Some(observation.kind.to_string()),
        first_timestamp: Some(Time(verdict.first)),
        last_timestamp: Some(Time(observation.at)),
        count: Some(verdict.count),
        source: Some(EventSource { component: Some(source.component.to_string()), host: host.clone() }),
        reporting_component: Some(source.component.to_string()),
        reporting_instance: Some(host.unwrap_or_default()),
        ..Event::default()
    };
    rest.create(&event).await?;
    Ok(name)
}
