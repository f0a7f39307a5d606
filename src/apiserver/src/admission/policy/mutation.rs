//! One mutation of a mutating policy. Pure.

use super::configuration::Mutation;
use crate::admission::expressions::{Decisions, Inputs};
use apimachinery::schema::SchemaRef;
use apimachinery::{managedfields, patch};
use cel::{Budget, Program};
use serde_json::Value;

/// Why a mutation did not happen: a sentence, and its class for metrics.
pub(super) type Failure = (String, &'static str);

/// The object after a mutation, in the version in which the policy sees it.
///
/// # Errors
/// When the expression cannot be evaluated, or what it evaluates to does not fit the object.
pub(super) fn mutate(
    mutation: &Mutation,
    variables: &[(String, Program)],
    inputs: &Inputs<'_>,
    decisions: &Decisions,
    object: &Value,
    schema: &SchemaRef,
) -> Result<Value, Failure> {
    let invalid = |why: String| (why, "invalid_error");
    let bindings = inputs.bindings(decisions, variables).map_err(|e| invalid(e.to_string()))?;
    let (Mutation::Apply(expression) | Mutation::Patch(expression)) = mutation;
    let class = if expression.is_broken() { "compile_error" } else { "invalid_error" };
    let value = expression
        .evaluate(&bindings, &mut Budget::default())
        .map_err(|over| (over.0, "out_of_budget"))?
        .map_err(|why| (why, class))?;
    let mut changed = object.clone();
    match mutation {
        Mutation::Apply(_) => {
            check_names(&value, "Object").map_err(|why| invalid(format!("type mismatch: {why}")))?;
            let mut configuration = value.to_json().map_err(|e| invalid(e.to_string()))?;
            for field in ["apiVersion", "kind"] {
                if let (Some(map), Some(known)) = (configuration.as_object_mut(), object.get(field)) {
                    map.insert(field.to_owned(), known.clone());
                }
            }
            managedfields::overlay(schema, &mut changed, configuration)
                .map_err(|why| invalid(format!("error applying patch: {why}")))?;
        }
        Mutation::Patch(_) => {
            if let cel::Value::List(operations) = &value {
                for operation in operations.iter().flatten() {
                    check_value_names(&operation).map_err(|why| invalid(format!("type mismatch: {why}")))?;
                }
            }
            let operations = value.to_json().map_err(|e| {
                invalid(format!(
                    "JSONPath valueExpression evaluated to a type that could not marshal to JSON: {e}"
                ))
            })?;
            match patch::json::apply(&mut changed, &operations) {
                Ok(()) => {}
                // A test that fails means: leave the object alone.
                Err(status) if patch::json::is_failed_test(&status) => return Ok(object.clone()),
                Err(status) => return Err(invalid(format!("JSONPath: {}", patch::json::why(&status)))),
            }
        }
    }
    Ok(changed)
}

/// The `value` of a patch's operation may be an object of any type, in itself consistent.
fn check_value_names(operation: &cel::Value<'_>) -> Result<(), String> {
    let cel::Value::Map(operation) = operation else { return Ok(()) };
    let Some(Ok(value)) = operation.field("value") else { return Ok(()) };
    match &value {
        cel::Value::Map(map) => match map.object_name() {
            Some(name) => check_names(&value, name),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Objects are to be named as the path to them: `Object.spec{...}` in the field `spec` of an `Object`.
fn check_names(value: &cel::Value<'_>, path: &str) -> Result<(), String> {
    match value {
        cel::Value::Map(map) => {
            let named = map.object_name();
            if let Some(name) = named.filter(|name| *name != path) {
                return Err(format!(
                    "unexpected type name {name:?}, expected {path:?}, which matches field name path from root Object type"
                ));
            }
            for (key, value) in map.iter() {
                let Ok(value) = value else { continue };
                match (named.is_some(), &key) {
                    (true, cel::Key::String(field)) => check_names(&value, &format!("{path}.{}", &**field))?,
                    _ => check_names(&value, path)?,
                }
            }
            Ok(())
        }
        cel::Value::List(list) => list.iter().flatten().try_for_each(|item| check_names(&item, path)),
        _ => Ok(()),
    }
}
