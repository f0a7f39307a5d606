//! Posts pod statuses: only differences, each pod in order, with retries that always send the newest.

use super::patch::status_patch;
use client::ObjectKey;
use client::rest::{self, Patch, Rest};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

use crate::pod;

/// The first pause after a failed post; the API server is on the same machine as a rule.
const FIRST_RETRY: Duration = Duration::from_millis(200);
/// The longest pause between attempts.
const LAST_RETRY: Duration = Duration::from_secs(10);

/// The statuses of all pods of the node, as wanted and as posted. Cloning shares them.
#[derive(Clone)]
pub struct StatusManager {
    rest: Rest,
    entries: Arc<Mutex<HashMap<String, Entry>>>,
}

struct Entry {
    key: ObjectKey,
    wanted: Arc<PodStatus>,
    /// What the API server is known to have, and the revision that is from.
    posted: Arc<PodStatus>,
    revision: u64,
    in_flight: bool,
    /// The pod's object is gone: there is nothing to post to.
    gone: bool,
    idle: Arc<Notify>,
}

impl StatusManager {
    /// A manager without pods.
    pub fn new(rest: Rest) -> Self {
        Self { rest, entries: Arc::default() }
    }

    /// The pod's status: as last set, else as the API server had it.
    pub fn get(&self, uid: &str) -> Option<Arc<PodStatus>> {
        self.entries.lock().get(uid).map(|entry| entry.wanted.clone())
    }

    /// Takes note of what the API server has. Older news than what is known is ignored. What somebody else has changed
    /// is set right: the pods of a node that was silent for long are taken out of service, and only its kubelet puts
    /// them back.
    pub fn observe(&self, pod: &Pod) {
        let status = Arc::new(pod.status.clone().unwrap_or_default());
        let revision = revision(pod);
        let mut entries = self.entries.lock();
        match entries.get_mut(pod::uid(pod)) {
            Some(entry) if revision > entry.revision => {
                entry.posted = status;
                entry.revision = revision;
                // The conditions of others are inputs to ours (readiness gates).
                let mut wanted = (*entry.wanted).clone();
                adopt_foreign_conditions(&mut wanted, &entry.posted);
                entry.wanted = Arc::new(wanted);
                // How it ended is not a matter of opinion.
                if !pod::is_terminal_phase(entry.posted.phase.as_deref()) {
                    self.post_difference(pod::uid(pod), entry);
                }
            }
            Some(_) => {}
            None => {
                let entry = Entry {
                    key: ObjectKey::new(pod::namespace(pod), pod::name(pod)),
                    wanted: status.clone(),
                    posted: status,
                    revision,
                    in_flight: false,
                    gone: false,
                    idle: Arc::default(),
                };
                entries.insert(pod::uid(pod).to_owned(), entry);
            }
        }
    }

    /// Sets the pod's status and posts what differs, in the background. The pod must have been observed.
    pub fn set(&self, uid: &str, mut status: PodStatus) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(uid) else { return };
        adopt_foreign_conditions(&mut status, &entry.posted);
        entry.wanted = Arc::new(status);
        self.post_difference(uid, entry);
    }

    fn post_difference(&self, uid: &str, entry: &mut Entry) {
        if entry.gone || entry.in_flight || status_patch(uid, &entry.posted, &entry.wanted).is_none() {
            return;
        }
        entry.in_flight = true;
        tokio::spawn(self.clone().post(uid.to_owned()));
    }

    /// Waits until the last status set is posted, or cannot be because the pod's object is gone.
    pub async fn flushed(&self, uid: &str) {
        loop {
            let idle = {
                let entries = self.entries.lock();
                match entries.get(uid) {
                    Some(entry) if entry.in_flight => entry.idle.clone(),
                    _ => return,
                }
            };
            let notified = idle.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if !self.entries.lock().get(uid).is_some_and(|entry| entry.in_flight) {
                return;
            }
            notified.await;
        }
    }

    /// Forgets a pod.
    pub fn forget(&self, uid: &str) {
        if let Some(entry) = self.entries.lock().remove(uid) {
            entry.idle.notify_waiters();
        }
    }

    async fn post(self, uid: String) {
        let mut pause = FIRST_RETRY;
        while let Some((key, patch, sent)) = self.next_patch(&uid) {
            match self.rest.patch::<Pod>(&key, "status", &Patch::Strategic(patch)).await {
                Ok(answer) => {
                    pause = FIRST_RETRY;
                    self.observe(&answer);
                    self.accepted(&uid, sent);
                }
                Err(error) if rest::is_not_found(&error) || rest::is_conflict(&error) => {
                    // Deleted, or replaced by a pod of the same name.
                    tracing::debug!(pod = %key, %error, "pod status has nowhere to go");
                    if let Some(entry) = self.entries.lock().get_mut(&uid) {
                        entry.gone = true;
                    }
                }
                Err(error) => {
                    tracing::warn!(pod = %key, %error, "posting pod status failed");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LAST_RETRY);
                }
            }
        }
    }

    /// Takes note that the server took a status. What it tells in a form of its own must not be sent for ever.
    fn accepted(&self, uid: &str, sent: Arc<PodStatus>) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(uid) else { return };
        if let Some(rest) = status_patch(uid, &entry.posted, &sent) {
            tracing::debug!(pod = %entry.key, %rest, "the server tells the status in a form of its own");
            entry.posted = sent;
        }
    }

    /// The next patch to send with the status that it leads to, or the end of posting.
    fn next_patch(&self, uid: &str) -> Option<(ObjectKey, serde_json::Value, Arc<PodStatus>)> {
        let mut entries = self.entries.lock();
        let entry = entries.get_mut(uid)?;
        let patch = if entry.gone { None } else { status_patch(uid, &entry.posted, &entry.wanted) };
        if let Some(patch) = patch {
            return Some((entry.key.clone(), patch, entry.wanted.clone()));
        }
        entry.in_flight = false;
        entry.idle.notify_waiters();
        None
    }
}

/// Puts conditions that the kubelet does not own, as the API server has them, into `status`.
fn adopt_foreign_conditions(status: &mut PodStatus, posted: &PodStatus) {
    let owned = |name: &str| super::conditions::OWNED.contains(&name);
    let conditions = status.conditions.get_or_insert_default();
    conditions.retain(|condition| owned(&condition.type_));
    conditions
        .extend(posted.conditions.iter().flatten().filter(|condition| !owned(&condition.type_)).cloned());
}

/// Revisions of one server only grow; an unreadable one counts as the newest.
fn revision(pod: &Pod) -> u64 {
    let text = pod.metadata.resource_version.as_deref().unwrap_or("");
    text.parse().unwrap_or(u64::MAX)
}
