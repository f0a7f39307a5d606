//! StorageVersionMigration (KEP-4192).

use crate::Kind;
use crate::validation::{immutable, required_text};
use crate::value;
use apimachinery::field::{ErrorList, Path};
use serde_json::Value;

/// StorageVersionMigration.
pub struct StorageVersionMigration;

impl Kind for StorageVersionMigration {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("storagemigration.k8s.io", "StorageVersionMigration")
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let resource = value::at(object, &["spec", "resource"]);
        required_text(resource, "resource", &Path::new("spec").child("resource"), &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        let (new, old) = (value::field(object, "spec"), value::field(old, "spec"));
        immutable(new, old, "resource", &Path::new("spec"), &mut errors);
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_migration_is_of_one_resource_for_ever() {
        let of = |resource: &str| json!({"spec": {"resource": {"group": "", "resource": resource}}});
        assert!(StorageVersionMigration.validate(&of("secrets")).is_empty());
        let told: Vec<String> =
            StorageVersionMigration.validate(&of("")).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["spec.resource.resource: Required value"]);
        assert_eq!(StorageVersionMigration.validate_update(&of("pods"), &of("secrets")).len(), 1);
    }
}
