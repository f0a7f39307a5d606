//! The version in which a webhook or policy sees a request's objects.
//!
//! Objects in flight are in the version that is stored. A rule that names another version of the same resource
//! gets them in that one.

use crate::admission::chain::Request;
use crate::endpoints::{Expected, conform};
use crate::registry::Served;
use apimachinery::gvk::{Gvk, Gvr};
use apimachinery::status::{Result, Status};
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// As what a webhook or policy is called: the resource that its rule matched, and the kind of its objects.
#[derive(Clone)]
pub(crate) struct Invocation {
    /// The resource.
    pub(crate) resource: Gvr,
    /// The kind of the objects.
    pub(crate) kind: Gvk,
    /// In which version they are seen; `None` for objects of kinds that have but one, such as Scale.
    versions: Option<Versions>,
}

#[derive(Clone)]
struct Versions {
    /// What the client wrote to: objects in flight are in its hub's version.
    requested: Arc<Served>,
    /// As what they are seen.
    seen: Arc<Served>,
}

impl Versions {
    fn same(&self) -> bool {
        self.requested.hub().gvk == self.seen.gvk
    }
}

impl Invocation {
    /// As what the client asked for it.
    pub(crate) fn requested(request: &Request<'_>) -> Self {
        match request.served {
            Some(served) => Self::seen_as(request, served, served),
            None => Self { resource: request.resource.clone(), kind: request.kind.clone(), versions: None },
        }
    }

    /// As another version of the same resource.
    pub(crate) fn equivalent(request: &Request<'_>, other: &Arc<Served>) -> Self {
        Self::seen_as(request, request.served.unwrap_or(other), other)
    }

    fn seen_as(request: &Request<'_>, requested: &Arc<Served>, seen: &Arc<Served>) -> Self {
        let resource = seen.gvr.clone();
        if *request.kind != requested.hub().gvk {
            return Self { resource, kind: request.kind.clone(), versions: None };
        }
        let versions = Versions { requested: Arc::clone(requested), seen: Arc::clone(seen) };
        Self { resource, kind: seen.gvk.clone(), versions: Some(versions) }
    }

    /// An object in flight as it is seen; null stays null.
    ///
    /// # Errors
    /// When it cannot be told in that version.
    pub(crate) async fn see<'a>(&self, object: &'a Value) -> Result<Cow<'a, Value>> {
        let Some(versions) = self.versions.as_ref().filter(|v| !v.same() && !object.is_null()) else {
            return Ok(Cow::Borrowed(object));
        };
        if let Some(custom) = versions.seen.as_custom() {
            return custom.take_over(object.clone()).await.map(Cow::Owned);
        }
        let mut seen = object.clone();
        versions.seen.from_storage(&mut seen)?;
        Ok(Cow::Owned(seen))
    }

    /// Takes a changed object back: what is not known is dropped, defaults are filled in.
    ///
    /// # Errors
    /// When a field has the wrong type, or the object cannot be told in the version of those in flight.
    pub(crate) async fn take_back(&self, mut seen: Value) -> Result<Value> {
        let Some(versions) = &self.versions else {
            if let Some(schema) = api::schema::schema_for(&self.kind) {
                conform(&mut seen, &Expected::new(&self.kind, &schema))?;
            }
            return Ok(seen);
        };
        conform(&mut seen, &Expected::of(&versions.seen))?;
        if !versions.same() {
            match versions.requested.as_custom() {
                Some(custom) => seen = custom.take_over(seen).await?,
                None => versions.seen.to_storage(&mut seen)?,
            }
        }
        versions.requested.rules().default(&mut seen);
        Ok(seen)
    }

    /// The form of the objects.
    pub(crate) fn schema(&self) -> Option<apimachinery::schema::SchemaRef> {
        match &self.versions {
            Some(versions) => Some(versions.seen.schema.clone()),
            None => api::schema::schema_for(&self.kind),
        }
    }
}

/// The objects of a request as one invocation sees them.
pub(crate) struct Versioned<'a> {
    /// As what it is called.
    pub(crate) invocation: Invocation,
    /// The object; null where there is none.
    pub(crate) object: Cow<'a, Value>,
    /// The old object; null where there is none.
    pub(crate) old: Cow<'a, Value>,
}

impl<'a> Versioned<'a> {
    /// Sees a request.
    ///
    /// # Errors
    /// 500 when the objects cannot be told in that version.
    pub(crate) async fn new(
        invocation: Invocation,
        request: &Request<'a>,
        object: &'a Value,
    ) -> Result<Self> {
        static NULL: Value = Value::Null;
        let internal = |status: Status| Status::internal(status.message);
        let seen = invocation.see(object).await.map_err(internal)?;
        let old = invocation.see(request.old.unwrap_or(&NULL)).await.map_err(internal)?;
        Ok(Self { invocation, object: seen, old })
    }
}
