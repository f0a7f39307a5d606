//! The audit events of one request, stage by stage.

use super::annotations::Annotations;
use super::auditor::Auditor;
use super::delivery::Pending;
use super::event::{About, Event, ResponseStatus};
use super::policy::{Level, Stage, Verdict};
use crate::authentication::Impersonated;
use apimachinery::status::Status;
use http::Response;
use parking_lot::Mutex;
use serde_json::Value;
use std::sync::Arc;

/// Tells of one request. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Record {
    inner: Arc<Inner>,
}

struct Inner {
    auditor: Arc<Auditor>,
    verdict: Verdict,
    about: Arc<About>,
    annotations: Annotations,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    impersonated: Option<Impersonated>,
    request: Option<Arc<Value>>,
}

impl Record {
    pub(super) fn new(auditor: Arc<Auditor>, verdict: Verdict, about: About) -> Self {
        let inner = Inner {
            auditor,
            verdict,
            about: Arc::new(about),
            annotations: Annotations::kept(),
            state: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Where notes go.
    pub(crate) fn annotations(&self) -> &Annotations {
        &self.inner.annotations
    }

    /// Whether the object of the request is to be told.
    pub(crate) fn wants_request(&self) -> bool {
        self.inner.verdict.level >= Level::Request && self.inner.about.info.is_resource_request
    }

    /// Whether the object of the answer is to be told.
    pub(crate) fn wants_response(&self) -> bool {
        self.inner.verdict.level >= Level::RequestResponse && self.inner.about.info.is_resource_request
    }

    /// The request is made in somebody else's name.
    pub(crate) fn impersonates(&self, impersonated: &Impersonated) {
        self.inner.state.lock().impersonated = Some(impersonated.clone());
    }

    /// The request's object.
    pub(crate) fn request_object(&self, mut object: Value) {
        self.omit_managed_fields(&mut object);
        self.inner.state.lock().request = Some(Arc::new(object));
    }

    /// The request is here.
    ///
    /// # Errors
    /// 500 when that could not be kept, and requests depend on it.
    pub(crate) async fn received(&self) -> apimachinery::status::Result<()> {
        if self.tell(Stage::RequestReceived, self.inner.about.received, None, None).wait().await {
            return Ok(());
        }
        self.inner.auditor.rejected();
        Err(Status::internal("failed to store audit event"))
    }

    /// The head of the answer is to be sent, once what is pending is done.
    pub(crate) fn started<B>(&self, response: &Response<B>) -> Pending {
        self.tell(Stage::ResponseStarted, jiff::Timestamp::now(), Some(status_of(response)), None)
    }

    /// All is there to be sent; `object` is the object of the answer where it is wanted.
    pub(crate) fn complete<B>(&self, response: &Response<B>, object: Option<Value>) -> Pending {
        self.complete_with(status_of(response), object)
    }

    /// What tells that all is sent when it is dropped.
    pub(crate) fn completion<B>(&self, response: &Response<B>) -> Completion {
        Completion { record: self.clone(), status: Some(status_of(response)) }
    }

    /// It was not answered as it should have been.
    pub(crate) fn panicked<B>(&self, response: &Response<B>) -> Pending {
        self.tell(Stage::Panic, jiff::Timestamp::now(), Some(status_of(response)), None)
    }

    fn complete_with(&self, status: ResponseStatus, mut object: Option<Value>) -> Pending {
        if let Some(object) = &mut object {
            self.omit_managed_fields(object);
        }
        self.tell(Stage::ResponseComplete, jiff::Timestamp::now(), Some(status), object)
    }

    fn tell(
        &self,
        stage: Stage,
        at: jiff::Timestamp,
        status: Option<ResponseStatus>,
        response: Option<Value>,
    ) -> Pending {
        let inner = &self.inner;
        if inner.verdict.omit_stages.contains(&stage) {
            return Pending::default();
        }
        let state = inner.state.lock();
        let event = Event {
            about: Arc::clone(&inner.about),
            stage: stage.as_str(),
            at,
            impersonated: state.impersonated.clone(),
            status,
            request: state.request.clone(),
            response,
            noted: inner.annotations.noted(),
        };
        drop(state);
        inner.auditor.send(event)
    }

    fn omit_managed_fields(&self, object: &mut Value) {
        if self.inner.verdict.omit_managed_fields {
            strip(object);
            for (list, inside) in [("items", None), ("rows", Some("object"))] {
                let items = object.get_mut(list).and_then(Value::as_array_mut);
                for item in items.into_iter().flatten() {
                    match inside {
                        None => strip(item),
                        Some(field) => item.get_mut(field).map_or((), strip),
                    }
                }
            }
        }
    }
}

fn strip(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

/// Failures carry their status along (see `endpoints::response`).
fn status_of<B>(response: &Response<B>) -> ResponseStatus {
    match response.extensions().get::<Status>() {
        Some(status) => ResponseStatus::Failure(Box::new(status.clone())),
        None => ResponseStatus::Code(response.status().as_u16()),
    }
}

/// Tells that an answer is complete when it is dropped: of watches, when their client is gone.
pub(crate) struct Completion {
    record: Record,
    status: Option<ResponseStatus>,
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(status) = self.status.take() {
            // Its client is gone: nobody waits.
            drop(self.record.complete_with(status, None));
        }
    }
}
