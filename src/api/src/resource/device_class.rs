//! DeviceClass (KEP-4381).

use super::lists::limited;
use super::{claim_spec, selectors};
use crate::Kind;
use crate::core::pod::validation::is_extended;
use crate::validation::Errors;
use crate::value::{field, has, list, same, text};
use apimachinery::field::{ErrorList, Path};
use serde_json::Value;

/// DeviceClass.
pub struct DeviceClass;

impl Kind for DeviceClass {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("resource.k8s.io", "DeviceClass")
    }

    fn validate(&self, object: &Value) -> ErrorList {
        self.validate_update(object, &Value::Null)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let (path, spec, mut errors) = (Path::new("spec"), field(object, "spec"), ErrorList::new());
        selectors::selectors(spec, &path, &mut errors);
        let (config, before) = (list(spec, "config"), field(field(old, "spec"), "config"));
        if !config.is_empty() {
            let stored = same(field(spec, "config"), before);
            limited(config, claim_spec::MAX, &path.child("config"), &mut errors, |config, path, errors| {
                selectors::configuration(config, stored, path, errors);
            });
        }
        let name = text(spec, "extendedResourceName");
        if has(spec, "extendedResourceName") && !is_extended(name) {
            errors.invalid(
                &path.child("extendedResourceName"),
                name,
                "must be a valid extended resource name",
            );
        }
        errors
    }
}
