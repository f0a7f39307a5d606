//! A configuration merged onto an object without anybody coming to own its fields: how mutating admission policies
//! change objects (KEP-3962).

use super::atom::{Atom, Ty};
use super::{extract, merge, path};
use crate::schema::{Node, SchemaRef, Shape};
use serde_json::Value;

/// Merges a configuration onto an object.
///
/// # Errors
/// When the schema does not allow it, or it sets parts of what is replaced as a whole: the rest would be lost, which
/// hardly anybody means. The object is as it was then.
pub fn overlay(schema: &SchemaRef, object: &mut Value, mut config: Value) -> Result<(), String> {
    let node = schema.node();
    extract::check(node, &mut config)
        .map_err(|why| format!("failed to convert patch object to typed object: {why}"))?;
    let mut atomics = Vec::new();
    find_atomics(Ty::root(node), &config, &mut Vec::new(), &mut atomics);
    if !atomics.is_empty() {
        return Err(format!(
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {}",
            atomics.join(", ")
        ));
    }
    merge::merge(node, object, &config);
    Ok(())
}

/// Paths of lists, maps and structs that are owned as a whole.
fn find_atomics(ty: Ty<'_>, value: &Value, steps: &mut Vec<String>, found: &mut Vec<String>) {
    let atom = ty.atom(value);
    if matches!(atom, Atom::Leaf) && is_composite(ty) && (value.is_object() || value.is_array()) {
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        found.push(path::display(&steps));
        return;
    }
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                steps.push(path::field(key));
                find_atomics(atom.child(key), value, steps, found);
                steps.pop();
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                steps.push(path::index(index));
                find_atomics(atom.child(""), item, steps, found);
                steps.pop();
            }
        }
        _ => {}
    }
}

fn is_composite(ty: Ty<'_>) -> bool {
    let shape = |node: Node<'_>| {
        matches!(node.shape(), Shape::Struct { .. } | Shape::Map { .. } | Shape::List { .. })
    };
    matches!(ty, Ty::Known(node, _) if shape(node))
}
