//! What claims, classes and slices select and configure devices with: CEL expressions, parameters for drivers,
//! taints and tolerations (KEP-4381, KEP-5055).

use super::lists::limited;
use crate::validation::{Errors, csi_driver_name, label_name, required_text};
use crate::value::{field, has, list, text};
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::validation as forms;
use cel::{Decl, DeclKind, Environment, Library, ObjectType, Type};
use serde_json::Value;
use std::sync::LazyLock;

const SELECTORS_MAX: usize = 32;
const EXPRESSION_MAX_BYTES: usize = 10 * 1024;
/// What an expression may cost at most, for a device with as much as there can be.
const EXPRESSION_MAX_COST: u64 = 1_000_000;
/// How many attributes and capacities a device can have.
const ATTRIBUTES_MAX: u64 = 32;
const PARAMETERS_MAX_BYTES: usize = 10 * 1024;
const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

/// `selectors` of an object.
pub fn selectors(object: &Value, path: &Path, errors: &mut ErrorList) {
    let selectors = list(object, "selectors");
    if !selectors.is_empty() {
        limited(selectors, SELECTORS_MAX, &path.child("selectors"), errors, selector);
    }
}

fn selector(selector: &Value, path: &Path, errors: &mut ErrorList) {
    if !has(selector, "cel") {
        return errors.required(&path.child("cel"), "");
    }
    let source = text(field(selector, "cel"), "expression");
    let at = || path.child("cel").child("expression");
    if source.len() > EXPRESSION_MAX_BYTES {
        return errors.push(FieldError::too_long(&at(), EXPRESSION_MAX_BYTES));
    }
    let program = match environment().compile(source) {
        Ok(program) => program,
        Err(problems) => return errors.invalid(&at(), source, format!("compilation failed: {problems}")),
    };
    let outcome = program.output_type();
    if !matches!(outcome, Type::Bool | Type::Dyn) {
        let problem = format!("must evaluate to bool or the unknown type, not {outcome}");
        errors.invalid(&at(), source, problem);
    } else if program.estimated_cost().max > EXPRESSION_MAX_COST {
        errors.forbidden(&at(), "too complex, exceeds cost limit");
    }
}

/// What there is in an expression: `device`.
fn environment() -> &'static Environment {
    static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(|| {
        let bounded = |values: Decl| {
            let mut map = Decl::map(values);
            map.max_elements = ATTRIBUTES_MAX;
            map
        };
        let quantity = Decl::new(DeclKind::Native(Type::Opaque("kubernetes.Quantity")));
        let device = ObjectType::new(
            "kubernetes.DRADevice",
            [
                ("driver", Decl::new(DeclKind::String)),
                ("allowMultipleAllocations", Decl::new(DeclKind::Bool)),
                ("attributes", bounded(bounded(Decl::dynamic().clone()))),
                ("capacity", bounded(bounded(quantity))),
            ],
        );
        Environment::builder().variable("device", Decl::object(device)).library(Library::Bindings).build()
    });
    &ENVIRONMENT
}

/// What a driver is told, in the `opaque` of an object. `stored`: whether it was let in before.
pub fn configuration(object: &Value, stored: bool, path: &Path, errors: &mut ErrorList) {
    let path = path.child("opaque");
    if !has(object, "opaque") {
        return errors.required(&path, "");
    }
    let opaque = field(object, "opaque");
    csi_driver_name(opaque, "driver", &path, errors);
    json_object(opaque, "parameters", stored, PARAMETERS_MAX_BYTES, &path, errors);
}

/// JSON of any form in an object that has to be there, and no larger than `max` unless it was `stored` before.
pub fn json_object(
    object: &Value,
    name: &str,
    stored: bool,
    max: usize,
    path: &Path,
    errors: &mut ErrorList,
) {
    match field(object, name) {
        Value::Null => errors.required(&path.child(name), ""),
        value if !stored && value.to_string().len() > max => {
            errors.push(FieldError::too_long(&path.child(name), max));
        }
        Value::Object(_) => {}
        _ => errors.invalid(&path.child(name), "<value omitted>", "must be a valid JSON object"),
    }
}

/// `tolerations` of an object.
pub fn tolerations(object: &Value, path: &Path, errors: &mut ErrorList) {
    for (i, toleration) in list(object, "tolerations").iter().enumerate() {
        let path = path.child("tolerations").index(i);
        let (key, value) = (text(toleration, "key"), text(toleration, "value"));
        if !key.is_empty() {
            label_name(key, &path.child("key"), errors);
        }
        match text(toleration, "operator") {
            "Exists" if !value.is_empty() => {
                errors.invalid(&path.child("value"), value, "must be empty for operator `Exists`");
            }
            "Exists" => {}
            "Equal" => errors.check(&path, "value", value, forms::label_value(value)),
            "" => errors.required(&path.child("operator"), ""),
            other => errors.not_supported(&path.child("operator"), other, &["Equal", "Exists"]),
        }
        effect(toleration, &path, errors);
    }
}

/// A taint of a device.
pub fn taint(taint: &Value, path: &Path, errors: &mut ErrorList) {
    label_name(text(taint, "key"), &path.child("key"), errors);
    let value = text(taint, "value");
    errors.check(path, "value", value, forms::label_value(value));
    if required_text(taint, "effect", path, errors) {
        effect(taint, path, errors);
    }
}

fn effect(object: &Value, path: &Path, errors: &mut ErrorList) {
    let effect = text(object, "effect");
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        errors.not_supported(&path.child("effect"), effect, &EFFECTS);
    }
}
