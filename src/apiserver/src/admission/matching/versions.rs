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
    /// In which version they are; `None` for objects of kinds that have but one, such as Scale.
    served: Option<Arc<Served>>,
}

impl Invocation {
    /// As what the client asked for it.
    pub(crate) fn requested(request: &Request<'_>) -> Self {
        match request.served {
            Some(served) if *request.kind == served.hub().gvk => Self {
                resource: served.gvr.clone(),
                kind: served.gvk.clone(),
                served: Some(Arc::clone(served)),
            },
            Some(served) => Self { resource: served.gvr.clone(), kind: request.kind.clone(), served: None },
            None => Self { resource: request.resource.clone(), kind: request.kind.clone(), served: None },
        }
    }

    /// As another version of the same resource.
    pub(crate) fn equivalent(request: &Request<'_>, other: &Arc<Served>) -> Self {
        let own_kind = request.served.is_some_and(|served| *request.kind != served.hub().gvk);
        if own_kind {
            return Self { resource: other.gvr.clone(), kind: request.kind.clone(), served: None };
        }
        Self { resource: other.gvr.clone(), kind: other.gvk.clone(), served: Some(Arc::clone(other)) }
    }

    /// An object in flight as it is seen; null stays null.
    ///
    /// # Errors
    /// When it cannot be told in that version.
    pub(crate) fn see<'a>(&self, object: &'a Value) -> Result<Cow<'a, Value>> {
        match &self.served {
            Some(served) if served.converts() && !object.is_null() => {
                let mut seen = object.clone();
                served.from_storage(&mut seen)?;
                Ok(Cow::Owned(seen))
            }
            _ => Ok(Cow::Borrowed(object)),
        }
    }

    /// Takes a changed object back: what is not known is dropped, defaults are filled in.
    ///
    /// # Errors
    /// When a field has the wrong type, or the object cannot be told in the stored version.
    pub(crate) fn take_back(&self, mut seen: Value) -> Result<Value> {
        match &self.served {
            Some(served) => {
                conform(&mut seen, &Expected::of(served))?;
                served.to_storage(&mut seen)?;
                served.rules().default(&mut seen);
            }
            None => {
                if let Some(schema) = api::schema::schema_for(&self.kind) {
                    conform(&mut seen, &Expected::new(&self.kind, &schema))?;
                }
            }
        }
        Ok(seen)
    }

    /// The form of the objects.
    pub(crate) fn schema(&self) -> Option<apimachinery::schema::SchemaRef> {
        match &self.served {
            Some(served) => Some(served.schema.clone()),
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
    pub(crate) fn new(invocation: Invocation, request: &Request<'a>, object: &'a Value) -> Result<Self> {
        static NULL: Value = Value::Null;
        let internal = |status: Status| Status::internal(status.message);
        let seen = invocation.see(object).map_err(internal)?;
        let old = invocation.see(request.old.unwrap_or(&NULL)).map_err(internal)?;
        Ok(Self { invocation, object: seen, old })
    }
}
