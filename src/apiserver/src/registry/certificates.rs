//! `certificatesigningrequests`: who asks is written into the request by the server, not by who asks.

use crate::authentication::UserInfo;
use crate::registry::Served;
use api::value;
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
