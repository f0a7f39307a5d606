//! `certificatesigningrequests`: who asks is written into the request by the server, not by who asks; and when
//! something was decided, where who decides does not say.

use crate::authentication::UserInfo;
use crate::registry::Served;
use api::value;
use apimachinery::time;
use jiff::Timestamp;
use serde_json::{Value, json};

fn is_request(served: &Served) -> bool {
    let resource = served.stored_as();
    resource.group == "certificates.k8s.io" && resource.resource == "certificatesigningrequests"
}

/// Writes the requester into a new signing request.
pub(crate) fn name_requester(served: &Served, object: &mut Value, user: &UserInfo) {
    if !is_request(served) {
        return;
    }
    let Some(spec) = value::ensure_object(object, "spec") else { return };
    for field in ["username", "uid", "groups", "extra"] {
        value::remove(spec, field);
    }
    value::set(spec, "username", user.name.as_str());
    if !user.uid.is_empty() {
        value::set(spec, "uid", user.uid.as_str());
    }
    if !user.groups.is_empty() {
        value::set(spec, "groups", user.groups.clone());
    }
    if !user.extra.is_empty() {
        value::set(spec, "extra", json!(user.extra));
    }
}

/// Dates the conditions of a signing request that have no dates.
pub(crate) fn date_conditions(served: &Served, object: &mut Value, old: &Value, now: Timestamp) {
    if !is_request(served) {
        return;
    }
    let before = value::list_at(old, &["status", "conditions"]);
    let Some(status) = value::object_mut(object, "status") else { return };
    for condition in value::list_mut(status, "conditions") {
        if value::is_empty(condition, "lastUpdateTime") {
            value::set(condition, "lastUpdateTime", time::rfc3339(now));
        }
        if value::is_empty(condition, "lastTransitionTime") {
            let same = |field| value::text(condition, field).to_owned();
            let (kind, status) = (same("type"), same("status"));
            let known = before
                .iter()
                .find(|c| value::text(c, "type") == kind && value::text(c, "status") == status)
                .map(|c| value::text(c, "lastTransitionTime").to_owned())
                .filter(|at| !at.is_empty());
            value::set(condition, "lastTransitionTime", known.unwrap_or_else(|| time::rfc3339(now)));
        }
    }
}
