//! Which requests a webhook or a policy is for: rules, selectors, and the version in which it sees objects.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/admission/plugin/webhook/predicates` and
//! `plugin/policy/matching`.

mod body;
mod criteria;
mod rules;
mod versions;

pub(super) use body::request_body;
pub(super) use criteria::{Criteria, Matcher};
pub(super) use versions::{Invocation, Versioned};

use super::chain::Request;

/// Whether a request is for one of the kinds that decide about admission themselves: were they subject to it, a
/// webhook that fails could not be repaired.
pub(super) fn is_exempt(request: &Request<'_>) -> bool {
    request.resource.group == "admissionregistration.k8s.io"
        && matches!(
            request.resource.resource.as_str(),
            "validatingwebhookconfigurations"
                | "mutatingwebhookconfigurations"
                | "validatingadmissionpolicies"
                | "validatingadmissionpolicybindings"
                | "mutatingadmissionpolicies"
                | "mutatingadmissionpolicybindings"
        )
}

/// Whether policies leave a request alone: besides those, questions of authentication and authorization. A policy that
/// refused them could not be repaired either; webhooks get them, as upstream.
pub(super) fn is_exempt_from_policies(request: &Request<'_>) -> bool {
    let group = request.resource.group.as_str();
    is_exempt(request) || matches!(group, "authentication.k8s.io" | "authorization.k8s.io")
}
