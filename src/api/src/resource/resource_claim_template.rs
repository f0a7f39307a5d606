//! ResourceClaimTemplate (KEP-4381).

use super::{claim_spec, v1beta1};
use crate::Kind;
use crate::core::pod::validation::claim_metadata;
use crate::validation;
use crate::value;
use apimachinery::field::{ErrorList, Path};
use apimachinery::status::Status;
use serde_json::Value;

/// ResourceClaimTemplate.
pub struct ResourceClaimTemplate;

impl Kind for ResourceClaimTemplate {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("resource.k8s.io", "ResourceClaimTemplate")
    }

    fn default(&self, object: &mut Value) {
        if let Some(spec) = value::at_mut(object, &["spec", "spec"]) {
            v1beta1::default_requests(spec);
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let (spec, path, mut errors) = (value::field(object, "spec"), Path::new("spec"), ErrorList::new());
        claim_metadata(value::field(spec, "metadata"), &path.child("metadata"), &mut errors);
        claim_spec::validate(value::field(spec, "spec"), &path.child("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validation::immutable(object, old, "spec", &Path::default(), &mut errors);
        errors
    }

    fn convert(&self, object: &mut Value, from: &str, to: &str) -> Result<(), Status> {
        v1beta1::whole(object, &["spec", "spec"], (from, to), v1beta1::convert_claim_spec)
    }
}
