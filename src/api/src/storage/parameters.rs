//! Who provisions volumes and with what parameters: shared by StorageClass and VolumeAttributesClass.

use crate::validation::{Errors, required_text};
use crate::value::{entries, text};
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::validation as forms;
use serde_json::Value;

/// The most parameters of a class (upstream's limit).
const MAX_PARAMETERS: usize = 512;
/// All of them together.
const PARAMETERS_MAX_BYTES: usize = 256 * 1024;

/// The name of a provisioner or driver in field `name`: a qualified one in any case.
pub fn provisioner(object: &Value, name: &str, errors: &mut ErrorList) {
    let root = Path::default();
    let provisioner = text(object, name);
    if required_text(object, name, &root, errors) {
        errors.check(&root, name, provisioner, forms::qualified_name(&provisioner.to_lowercase()));
    }
}

/// The parameters of a class; some drivers need none.
pub fn parameters(object: &Value, may_be_empty: bool, errors: &mut ErrorList) {
    let path = || Path::new("parameters");
    let (mut count, mut bytes) = (0, 0);
    for (key, value) in entries(object, "parameters") {
        if key.is_empty() {
            errors.invalid(&path(), key, "field can not be empty.");
        }
        count += 1;
        bytes += key.len() + value.as_str().unwrap_or("").len();
    }
    if count > MAX_PARAMETERS {
        errors.push(FieldError::too_long(&path(), MAX_PARAMETERS));
    } else if bytes > PARAMETERS_MAX_BYTES {
        errors.push(FieldError::too_long(&path(), PARAMETERS_MAX_BYTES));
    }
    if count == 0 && !may_be_empty {
        errors.required(&path(), "must contain at least one key/value pair");
    }
}
