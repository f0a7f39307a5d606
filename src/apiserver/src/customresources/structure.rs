//! What makes the schemas of a definition no structural ones.

use super::definition::Definition;
use apiextensions::{StructuralSchema, structural};
use apimachinery::field::Path;

/// The violations of all versions as a text; empty when there are none.
pub(super) fn violations(definition: &Definition) -> String {
    let mut all = Vec::new();
    for (index, version) in definition.versions.iter().enumerate() {
        let path = Path::new("spec").child("versions").index(index).child("schema").child("openAPIV3Schema");
        let schema = definition.schema(&version.name).map_err(|e| e.to_string());
        match schema.and_then(|json| StructuralSchema::parse(&json).map_err(|e| e.to_string())) {
            Ok(schema) => all.extend(structural::validate(&schema, &path).iter().map(ToString::to_string)),
            Err(error) => all.push(format!("{path}: {error}")),
        }
    }
    match all.as_slice() {
        [one] => one.clone(),
        [] => String::new(),
        many => format!("[{}]", many.join(", ")),
    }
}
