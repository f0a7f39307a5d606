//! Creating and deleting pods on behalf of an owner, with expectations and events.

use std::sync::Arc;

use client::{
    Event, EventRecorder, EventType, Expectations, ObjectKey, Rest,
    events::object_reference,
    rest::{self, DeleteOptions, Object},
};
use k8s_openapi::api::core::v1::Pod;

use crate::{framework::ReconcileError, ownership, pods};

/// First batch of creations; each batch that succeeds doubles the next. When a quota is exhausted, few requests
/// are wasted on finding out.
const FIRST_BATCH: usize = 1;

/// Writes pods for the owners of one controller.
#[derive(Clone)]
pub struct PodControl {
    rest: Rest,
    recorder: EventRecorder,
    expectations: Arc<Expectations>,
}

impl PodControl {
    /// Writes through `rest`; events come from `recorder`.
    pub fn new(rest: Rest, recorder: EventRecorder) -> Self {
        Self { rest, recorder, expectations: Arc::default() }
    }

    /// What was written and not seen yet.
    pub fn expectations(&self) -> &Expectations {
        &self.expectations
    }

    /// Notes what the watch shows of expected creations and deletions of pods that owners of kind `O` control.
    pub fn observe<O: Object>(&self, event: &Event<Pod>) {
        let meta = &event.object().metadata;
        let Some(key) = ownership::controller_key::<O>(meta) else { return };
        let uid = meta.uid.as_deref().unwrap_or_default();
        let gone = matches!(event, Event::Deleted(_)) || pods::is_terminating(event.object());
        if matches!(event, Event::Applied(_, None)) {
            self.expectations.creation_observed(&key);
        }
        if gone {
            self.expectations.deletion_observed(&key, uid);
        }
    }

    /// Creates pods in batches that grow while all goes well.
    ///
    /// # Errors
    /// The last failure. Nothing more is tried after a batch with failures. A namespace that is being deleted
    /// is not an error.
    pub async fn create<O: Object>(&self, owner: &O, pods: &[Pod]) -> Result<(), ReconcileError> {
        let key = ObjectKey::of(owner);
        self.expectations.expect_creations(&key, pods.len());
        let (mut rest_of, mut batch) = (pods, FIRST_BATCH);
        while !rest_of.is_empty() {
            let (now, later) = rest_of.split_at(batch.min(rest_of.len()));
            let results = futures::future::join_all(now.iter().map(|pod| self.create_one(owner, pod))).await;
            (rest_of, batch) = (later, batch * 2);
            let mut failure = None;
            for error in results.into_iter().filter_map(Result::err) {
                self.expectations.creation_observed(&key);
                failure = Some(error);
            }
            if let Some(error) = failure {
                // What was not tried will not be seen either.
                later.iter().for_each(|_| self.expectations.creation_observed(&key));
                // Nothing can be created in a namespace that goes away; that is no reason to try again.
                return if rest::is_namespace_terminating(&error) { Ok(()) } else { Err(error.into()) };
            }
        }
        Ok(())
    }

    async fn create_one<O: Object>(&self, owner: &O, pod: &Pod) -> Result<(), kube::Error> {
        match self.rest.create(pod).await {
            Ok(created) => {
                let message = format!("Created pod: {}", created.metadata.name.unwrap_or_default());
                self.recorder.event(&object_reference(owner), EventType::Normal, "SuccessfulCreate", message);
                Ok(())
            }
            Err(error) => {
                if !rest::is_namespace_terminating(&error) {
                    let message = format!("Error creating: {}", describe(&error));
                    self.recorder.event(
                        &object_reference(owner),
                        EventType::Warning,
                        "FailedCreate",
                        message,
                    );
                }
                Err(error)
            }
        }
    }

    /// Deletes pods, all at once. One whose name belongs to another pod by now counts as deleted.
    ///
    /// # Errors
    /// The first failure, when all have been tried.
    pub async fn delete<O: Object>(&self, owner: &O, pods: &[Arc<Pod>]) -> Result<(), ReconcileError> {
        let key = ObjectKey::of(owner);
        let uid = |pod: &Pod| pod.metadata.uid.clone().unwrap_or_default();
        self.expectations.expect_deletions(&key, pods.iter().map(|pod| uid(pod)));
        let deletions = pods.iter().map(|pod| async {
            let options = DeleteOptions::uid(uid(pod));
            let result = match self.rest.delete::<Pod>(&ObjectKey::of(&**pod), &options).await {
                Err(error) if rest::is_conflict(&error) => Ok(()),
                result => result,
            };
            let reference = object_reference(owner);
            match &result {
                Ok(()) => {
                    let message =
                        format!("Deleted pod: {}", pod.metadata.name.as_deref().unwrap_or_default());
                    self.recorder.event(&reference, EventType::Normal, "SuccessfulDelete", message);
                }
                Err(error) => {
                    self.expectations.deletion_observed(&key, &uid(pod));
                    let message = format!("Error deleting: {}", describe(error));
                    self.recorder.event(&reference, EventType::Warning, "FailedDelete", message);
                }
            }
            result
        });
        let results = futures::future::join_all(deletions).await;
        results.into_iter().find_map(Result::err).map_or(Ok(()), |error| Err(error.into()))
    }
}

/// What an error says, without the wrapping that people do not need.
pub fn describe(error: &kube::Error) -> String {
    rest::status(error).map_or_else(|| error.to_string(), |status| status.message.clone())
}
