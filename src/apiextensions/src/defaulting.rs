//! Filling in the defaults of a schema, and dropping nulls that mean nothing.

use serde_json::Value;

use crate::schema::StructuralSchema;

/// Fills in the schema's defaults where their parents exist: for what is absent, and for null where that is no value.
pub fn default(schema: &StructuralSchema, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, property) in &schema.properties {
                let Some(default) = &property.default else { continue };
                if map.get(name.as_ref()).is_none_or(|value| value.is_null() && !property.nullable) {
                    map.insert(name.to_string(), Value::clone(default));
                }
            }
            for (key, value) in map {
                if let Some(property) = schema.property(key) {
                    default(property, value);
                } else if let Some(additional) = schema.additional_schema() {
                    replace_null(additional, value);
                    default(additional, value);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = &schema.items else { return };
            for item in items {
                replace_null(schema, item);
                default(schema, item);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn replace_null(schema: &StructuralSchema, value: &mut Value) {
    if value.is_null()
        && !schema.nullable
        && let Some(default) = &schema.default
    {
        *value = Value::clone(default);
    }
}

/// Drops nulls of fields that cannot be null and have no default. (Those that have one get it from [`default()`].)
pub fn drop_nulls(schema: &StructuralSchema, value: &mut Value) {
    match value {
        Value::Object(map) => map.retain(|key, value| {
            let Some(schema) = schema.child(key) else { return true };
            if value.is_null() && !schema.nullable && schema.default.is_none() {
                return false;
            }
            drop_nulls(schema, value);
            true
        }),
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                items.iter_mut().for_each(|item| drop_nulls(schema, item));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> StructuralSchema {
        StructuralSchema::parse(&json!({"type": "object", "properties": {
            "a": {"type": "string", "default": "A"},
            "n": {"type": "string", "nullable": true, "default": "N"},
            "plain": {"type": "string"},
            "spec": {"type": "object", "properties": {"b": {"type": "integer", "default": 1}}},
            "filled": {"type": "object", "default": {}, "properties": {"b": {"type": "integer", "default": 1}}},
            "list": {"type": "array", "items": {"type": "object", "default": {"x": 1},
                "properties": {"c": {"type": "integer", "default": 2}}}},
            "map": {"type": "object", "additionalProperties": {"type": "object", "default": {},
                "properties": {"c": {"type": "integer", "default": 2}}}}}}))
        .unwrap()
    }

    #[test]
    fn defaults_fill_what_is_absent_or_null() {
        for (object, wanted) in [
            (json!({}), json!({"a": "A", "n": "N", "filled": {"b": 1}})),
            (
                json!({"a": null, "n": null, "spec": {}, "filled": {"b": 0}}),
                json!({"a": "A", "n": null, "spec": {"b": 1}, "filled": {"b": 0}}),
            ),
            (
                json!({"a": "", "n": "", "filled": {"b": 2}, "list": [null, {}, {"c": 1}], "map": {"k": null, "l": {}}}),
                json!({"a": "", "n": "", "filled": {"b": 2}, "list": [{"x": 1, "c": 2}, {"c": 2}, {"c": 1}],
                    "map": {"k": {"c": 2}, "l": {"c": 2}}}),
            ),
        ] {
            let mut defaulted = object.clone();
            default(&schema(), &mut defaulted);
            assert_eq!(defaulted, wanted, "{object}");
        }
    }

    #[test]
    fn nulls_that_mean_nothing_are_dropped() {
        let mut object = json!({"a": null, "n": null, "plain": null, "unknown": null, "spec": {"b": null},
            "map": {"k": {"d": null}}});
        drop_nulls(&schema(), &mut object);
        assert_eq!(
            object,
            json!({"a": null, "n": null, "unknown": null, "spec": {"b": null}, "map": {"k": {"d": null}}})
        );
    }
}
