//! ConfigMaps and Secrets that pods of this node refer to: each is watched by name for as long as a pod needs
//! it, which is all that the Node authorizer lets a kubelet see.

use client::ObjectKey;
use client::reflector::{self, Change, ListWatch, Sink};
use client::rest::{Object, collection};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long a pod's sync waits for an object that was never read before: the API server may be starting.
const FIRST_READ: Duration = Duration::from_secs(10);

/// An object could not be read.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum ObjectError {
    /// There is none of that name.
    #[error("{kind} \"{name}\" not found")]
    NotFound {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The API server has not answered in time.
    #[error("failed to sync {kind} cache: timed out waiting for the condition")]
    Timeout {
        /// `configmap` or `secret`.
        kind: &'static str,
    },
}

/// Called with the uids of the pods that refer to an object that changed.
pub type Changed = Arc<dyn Fn(&[String]) + Send + Sync>;

/// The watched objects of one kind. Cloning shares them.
pub struct Objects<K> {
    shared: Arc<Shared<K>>,
}

impl<K> Clone for Objects<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

struct Shared<K> {
    client: kube::Client,
    kind: &'static str,
    changed: Changed,
    entries: Mutex<HashMap<ObjectKey, Entry<K>>>,
}

struct Entry<K> {
    users: Arc<Mutex<HashSet<String>>>,
    state: watch::Receiver<State<K>>,
    cancel: CancellationToken,
}

/// `None` before the first list, `Some(None)` when the object does not exist.
type State<K> = Option<Option<Arc<K>>>;

impl<K> Drop for Entry<K> {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl<K: Object> Objects<K> {
    /// Nothing watched yet. `kind` is how messages name it.
    pub fn new(client: kube::Client, kind: &'static str, changed: Changed) -> Self {
        Self { shared: Arc::new(Shared { client, kind, changed, entries: Mutex::default() }) }
    }

    /// Reads an object on behalf of the pod `uid` and goes on watching it for that pod.
    ///
    /// # Errors
    /// When it does not exist, or the API server does not answer.
    pub async fn get(&self, uid: &str, namespace: &str, name: &str) -> Result<Arc<K>, ObjectError> {
        let kind = self.shared.kind;
        let mut state = self.watch(uid, namespace, name);
        let read = tokio::time::timeout(FIRST_READ, state.wait_for(Option::is_some)).await;
        let found = match &read {
            Ok(Ok(state)) => (**state).clone().flatten(),
            Ok(Err(_)) | Err(_) => return Err(ObjectError::Timeout { kind }),
        };
        found.ok_or_else(|| ObjectError::NotFound { kind, name: name.to_owned() })
    }

    /// Ends the pod's interest in whatever it referred to.
    pub fn release(&self, uid: &str) {
        self.shared.entries.lock().retain(|_, entry| {
            let mut users = entry.users.lock();
            users.remove(uid);
            !users.is_empty()
        });
    }

    fn watch(&self, uid: &str, namespace: &str, name: &str) -> watch::Receiver<State<K>> {
        let key = ObjectKey::new(namespace, name);
        let mut entries = self.shared.entries.lock();
        if let Some(entry) = entries.get(&key) {
            entry.users.lock().insert(uid.to_owned());
            return entry.state.clone();
        }
        let users: Arc<Mutex<HashSet<String>>> = Arc::new(Mutex::new(HashSet::from([uid.to_owned()])));
        let (sender, state) = watch::channel(None);
        let cancel = CancellationToken::new();
        let mut feed =
            Feed { sender, users: users.clone(), changed: self.shared.changed.clone(), listed: None };
        let target = ListWatch {
            path: collection::<K>(namespace),
            field_selector: format!("metadata.name={name}"),
            ..ListWatch::default()
        };
        let (client, until) = (self.shared.client.clone(), cancel.clone());
        tokio::spawn(async move { reflector::run(client, target, &mut feed, &until).await });
        entries.insert(key, Entry { users, state: state.clone(), cancel });
        state
    }
}

struct Feed<K> {
    sender: watch::Sender<State<K>>,
    users: Arc<Mutex<HashSet<String>>>,
    changed: Changed,
    listed: Option<Arc<K>>,
}

impl<K: Object> Feed<K> {
    fn set(&mut self, object: Option<Arc<K>>) {
        let revision =
            |object: &Option<Arc<K>>| object.as_ref().and_then(|o| o.meta().resource_version.clone());
        let mut news = false;
        self.sender.send_if_modified(|state| {
            let first = state.is_none();
            let same = state
                .as_ref()
                .is_some_and(|old| revision(old) == revision(&object) && old.is_some() == object.is_some());
            if !same {
                *state = Some(object);
                news = !first;
            }
            !same
        });
        if news {
            let users: Vec<String> = self.users.lock().iter().cloned().collect();
            (self.changed)(&users);
        }
    }

    fn decode(&self, json: &str) -> Option<Arc<K>> {
        match serde_json::from_str::<K>(json) {
            Ok(mut object) => {
                object.meta_mut().managed_fields = None;
                Some(Arc::new(object))
            }
            Err(error) => {
                tracing::warn!(%error, "an object that pods refer to cannot be read");
                None
            }
        }
    }
}

impl<K: Object> Sink for Feed<K> {
    fn list_started(&mut self) {
        self.listed = None;
    }

    fn list_item(&mut self, json: &str) {
        self.listed = self.decode(json);
    }

    fn list_finished(&mut self) {
        let listed = self.listed.take();
        self.set(listed);
    }

    fn event(&mut self, change: Change, json: &str) -> Option<String> {
        let object = self.decode(json)?;
        let revision = object.meta().resource_version.clone();
        self.set((change != Change::Deleted).then_some(object));
        revision
    }
}
