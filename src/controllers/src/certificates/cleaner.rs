//! Removes requests that nobody needs any more.
//!
//! Upstream counterpart: `csrcleaner`, which looks once an hour; here each request has its hour.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use client::{
    Informer, ObjectKey, Rest,
    rest::{self, DeleteOptions},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

use super::{condition, is_issued};
use crate::framework::{Action, Context, Controller, ReconcileError, Watches};

const NAME: &str = "certificatesigningrequest-cleaner-controller";
/// Issued, denied and failed requests stay this long for their requesters to read.
const DONE: SignedDuration = SignedDuration::from_hours(1);
/// Requests that nobody decides about.
const PENDING: SignedDuration = SignedDuration::from_hours(24);

/// Cleans; keys are requests.
pub struct CertificateCleaner {
    context: Context,
    rest: Rest,
    requests: Informer<CertificateSigningRequest>,
}

impl CertificateCleaner {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self { rest: context.rest.clone(), requests: context.informers.get(), context: context.clone() }
    }
}

/// When a request goes; approved ones wait for their signer.
fn ends(request: &CertificateSigningRequest) -> Option<Timestamp> {
    let after = |at: Timestamp, life| at.checked_add(life).ok();
    let created = request.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let decided = |kind: &str| {
        let condition = condition(request, kind)?;
        after(condition.last_update_time.as_ref()?.0, DONE)
    };
    let conditions = request.status.as_ref().and_then(|status| status.conditions.as_ref());
    if conditions.is_none_or(Vec::is_empty) {
        return after(created?, PENDING);
    }
    let issued = is_issued(request).then(|| decided("Approved")).flatten();
    issued.into_iter().chain(decided("Denied")).chain(decided("Failed")).min()
}

#[async_trait]
impl Controller for CertificateCleaner {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        watches.applied(&self.requests);
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(request) = self.requests.get(key) else { return Ok(Action::Done) };
        let Some(end) = ends(&request) else { return Ok(Action::Done) };
        let left = end.duration_since(self.context.now());
        if let Ok(left) = Duration::try_from(left)
            && !left.is_zero()
        {
            return Ok(Action::RequeueAfter(left));
        }
        let options = DeleteOptions::uid(request.metadata.uid.clone().unwrap_or_default());
        match self.rest.delete::<CertificateSigningRequest>(key, &options).await {
            Err(error) if rest::is_conflict(&error) => {}
            result => result?,
        }
        Ok(Action::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn each_state_has_its_time() {
        let end = |status: Value| {
            let object = json!({"metadata": {"creationTimestamp": "1970-01-01T00:00:00Z"}, "spec": {"request": "", "signerName": "a/b"}, "status": status});
            let request: CertificateSigningRequest = serde_json::from_value(object).unwrap();
            ends(&request).map(|end| end.as_second())
        };
        let decided = |kind: &str| json!({"conditions": [{"type": kind, "status": "True", "lastUpdateTime": "1970-01-01T01:00:00Z"}]});
        assert_eq!(end(json!({})), Some(24 * 3600));
        assert_eq!(end(decided("Denied")), Some(2 * 3600));
        assert_eq!(end(decided("Failed")), Some(2 * 3600));
        assert_eq!(end(decided("Approved")), None);
        let mut issued = decided("Approved");
        issued["certificate"] = json!("eA==");
        assert_eq!(end(issued), Some(2 * 3600));
    }
}
