//! Requests for tests of plugins.

use super::chain::{Operation, Request, Warnings};
use crate::audit::Annotations;
use crate::authentication::UserInfo;
use apimachinery::gvk::{Gvk, Gvr};
use serde_json::Value;

/// A write, with all that a [`Request`] borrows.
pub(crate) struct Scene {
    operation: Operation,
    namespace: String,
    name: String,
    resource: Gvr,
    kind: Gvk,
    user: UserInfo,
    warnings: Warnings,
    annotations: Annotations,
    /// The subresource; empty unless a test sets it.
    pub(crate) subresource: String,
}

impl Scene {
    /// An administrator's write of a pod.
    pub(crate) fn new(operation: Operation, namespace: &str, name: &str) -> Self {
        Self {
            operation,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            resource: Gvr::new("", "v1", "pods"),
            kind: Gvk::new("", "v1", "Pod"),
            user: UserInfo::admin(),
            warnings: Warnings::default(),
            annotations: Annotations::default(),
            subresource: String::new(),
        }
    }

    /// The request.
    pub(crate) fn request(&self) -> Request<'_> {
        Request {
            user: &self.user,
            operation: self.operation,
            resource: &self.resource,
            kind: &self.kind,
            subresource: &self.subresource,
            namespace: &self.namespace,
            name: &self.name,
            old: None,
            dry_run: false,
            options: &Value::Null,
            warnings: &self.warnings,
            annotations: &self.annotations,
            served: None,
            reinvocation: None,
        }
    }
}
