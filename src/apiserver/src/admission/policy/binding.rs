//! Bindings as they are stored.

use crate::admission::matching::Criteria;
use api::value;
use apimachinery::labels::Selector;
use apimachinery::meta;
use serde_json::Value;

/// A ValidatingAdmissionPolicyBinding or a MutatingAdmissionPolicyBinding.
pub(super) struct Binding {
    /// Its name.
    pub(super) name: String,
    /// The policy that it binds.
    pub(super) policy: String,
    /// Where it binds it; everywhere when `None`.
    pub(super) criteria: Option<Criteria>,
    /// Which parameters it binds it with.
    pub(super) params: Option<ParamRef>,
    /// What follows from a failed validation.
    pub(super) actions: Vec<Action>,
}

/// `paramRef`.
pub(super) struct ParamRef {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) selector: Option<Result<Selector, String>>,
    /// Whether a request is refused when there are none.
    pub(super) denies_missing: bool,
}

/// One of `validationActions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Deny,
    Warn,
    Audit,
}

impl Action {
    /// Its name.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "Deny",
            Self::Warn => "Warn",
            Self::Audit => "Audit",
        }
    }
}

/// Reads a binding.
pub(super) fn read(binding: &Value) -> Binding {
    let spec = value::field(binding, "spec");
    let resources = value::field(spec, "matchResources");
    let reference = value::field(spec, "paramRef");
    Binding {
        name: meta::name(binding).to_owned(),
        policy: value::text(spec, "policyName").to_owned(),
        criteria: resources.is_object().then(|| Criteria::of_resources(resources)),
        params: reference.is_object().then(|| ParamRef {
            name: value::text(reference, "name").to_owned(),
            namespace: value::text(reference, "namespace").to_owned(),
            selector: value::has(reference, "selector").then(|| {
                Selector::from_label_selector(value::field(reference, "selector")).map_err(|e| e.to_string())
            }),
            denies_missing: value::text(reference, "parameterNotFoundAction") == "Deny",
        }),
        actions: value::texts(spec, "validationActions")
            .filter_map(|action| match action {
                "Deny" => Some(Action::Deny),
                "Warn" => Some(Action::Warn),
                "Audit" => Some(Action::Audit),
                _ => None,
            })
            .collect(),
    }
}
