//! Objects within objects (`x-kubernetes-embedded-resource`): their `apiVersion`, `kind` and `metadata` have the form
//! that those of every object have, whatever the schema says.

use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::schema::{self, SchemaRef};
use apimachinery::validation::dns1035_label;
use serde_json::Value;

use crate::schema::StructuralSchema;

/// What this crate has to be told of `ObjectMeta`.
#[derive(Clone, Debug)]
pub struct ObjectMeta {
    /// Its form.
    pub schema: SchemaRef,
    /// What is wrong with the metadata of an object with any name, at a path.
    pub validate: fn(&Value, &Path) -> ErrorList,
}

/// Brings the metadata of embedded objects to the form of `ObjectMeta`. Returns the paths of its unknown fields.
///
/// # Errors
/// At the first `apiVersion` or `kind` that is no text and the first metadata that has another form.
pub fn coerce(
    schema: &StructuralSchema,
    object: &mut Value,
    object_meta: &ObjectMeta,
) -> Result<Vec<String>, FieldError> {
    let mut unknown = Vec::new();
    each(schema, object, &Path::default(), &mut |path, object| {
        let Value::Object(map) = object else { return Ok(()) };
        for name in ["apiVersion", "kind"] {
            if let Some(value) = map.get(name).filter(|value| !value.is_string()) {
                return Err(FieldError::invalid(&path.child(name), value.clone(), "must be a string"));
            }
        }
        let Some(metadata) = map.get_mut("metadata") else { return Ok(()) };
        let path = path.child("metadata");
        let given = metadata.clone();
        match schema::prune(&object_meta.schema, metadata) {
            Ok(paths) => unknown.extend(paths.iter().map(|below| path.child(below).to_string())),
            Err(err) => return Err(FieldError::invalid(&path, given, err.to_string())),
        }
        Ok(())
    })?;
    Ok(unknown)
}

/// What is wrong with embedded objects, besides what their schema says; with the object itself too if it is a `root`.
pub fn validate(
    schema: &StructuralSchema,
    object: &Value,
    path: &Path,
    root: bool,
    object_meta: &ObjectMeta,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut check = Check { object_meta, errors: &mut errors };
    check.value(schema, object, path, root || schema.embedded);
    errors
}

struct Check<'a> {
    object_meta: &'a ObjectMeta,
    errors: &'a mut ErrorList,
}

impl Check<'_> {
    fn value(&mut self, schema: &StructuralSchema, value: &Value, path: &Path, embedded: bool) {
        match value {
            Value::Object(map) => {
                if embedded {
                    self.object(value, path);
                }
                for (key, value) in map {
                    if let Some(property) = schema.property(key) {
                        self.value(property, value, &path.child(key), property.embedded);
                    } else if let Some(additional) = schema.additional_schema() {
                        self.value(additional, value, &path.key(key), additional.embedded);
                    }
                }
            }
            Value::Array(items) => {
                let Some(schema) = &schema.items else { return };
                for (index, item) in items.iter().enumerate() {
                    self.value(schema, item, &path.index(index), schema.embedded);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn object(&mut self, object: &Value, path: &Path) {
        for name in ["apiVersion", "kind"] {
            let at = path.child(name);
            match object.get(name) {
                None => self.errors.push(FieldError::required(&at, "")),
                Some(Value::String(text)) if text.is_empty() => {
                    self.errors.push(FieldError::required(&at, ""));
                }
                Some(Value::String(text)) => self.errors.extend(identity(name, text, &at)),
                Some(value) => {
                    self.errors.push(FieldError::invalid(&at, value.clone(), "must be a string"));
                }
            }
        }
        if let Some(metadata) = object.get("metadata") {
            self.errors.extend((self.object_meta.validate)(metadata, &path.child("metadata")));
        }
    }
}

fn identity(name: &str, text: &str, path: &Path) -> Option<FieldError> {
    if name == "apiVersion" {
        let detail = format!("unexpected GroupVersion string: {text}");
        return (text.matches('/').count() > 1).then(|| FieldError::invalid(path, text, detail));
    }
    let wrong = dns1035_label(&text.to_lowercase());
    let detail = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
    (!wrong.is_empty()).then(|| FieldError::invalid(path, text, detail))
}

/// Calls something with every embedded object, outermost first.
fn each<E>(
    schema: &StructuralSchema,
    value: &mut Value,
    path: &Path,
    call: &mut impl FnMut(&Path, &mut Value) -> Result<(), E>,
) -> Result<(), E> {
    if schema.embedded {
        call(path, value)?;
    }
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if let Some(property) = schema.property(key) {
                    each(property, value, &path.child(key), call)?;
                } else if let Some(additional) = schema.additional_schema() {
                    each(additional, value, &path.key(key), call)?;
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = &schema.items else { return Ok(()) };
            for (index, item) in items.iter_mut().enumerate() {
                each(schema, item, &path.index(index), call)?;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use apimachinery::schema::text;
    use serde_json::json;
    use std::sync::Arc;

    /// A small `ObjectMeta`, enough to see that rules are called.
    pub(crate) fn object_meta() -> ObjectMeta {
        let table = ": api.Meta\nfinalizers [set]string 1\nlabels {}string 2\nname string 3\n";
        let set = Arc::new(text::parse(table).unwrap());
        let id = set.by_name("api.Meta").unwrap();
        ObjectMeta {
            schema: SchemaRef::new(set, id),
            validate: |metadata, path| match metadata.get("name") {
                Some(name) if name == "bad/name" => {
                    vec![FieldError::invalid(&path.child("name"), name.clone(), "may not contain '/'")]
                }
                _ => ErrorList::new(),
            },
        }
    }

    fn schema() -> StructuralSchema {
        StructuralSchema::parse(&json!({"type": "object", "properties": {"pods": {"type": "array", "items": {
            "type": "object", "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true}}}}))
        .unwrap()
    }

    #[test]
    fn metadata_takes_its_form() {
        let mut object = json!({"pods": [{"apiVersion": "v1", "metadata": {"name": "a", "foo": 1}}]});
        assert_eq!(coerce(&schema(), &mut object, &object_meta()).unwrap(), ["pods[0].metadata.foo"]);
        assert_eq!(object, json!({"pods": [{"apiVersion": "v1", "metadata": {"name": "a"}}]}));
        let err = coerce(&schema(), &mut json!({"pods": [{"kind": 1}]}), &object_meta()).unwrap_err();
        assert_eq!(err.to_string(), "pods[0].kind: Invalid value: 1: must be a string");
        let mut wrong = json!({"pods": [{"metadata": {"labels": {"a": 1}}}]});
        let err = coerce(&schema(), &mut wrong, &object_meta()).unwrap_err();
        assert!(
            err.to_string().starts_with("pods[0].metadata: Invalid value: {\"labels\":{\"a\":1}}: json: "),
            "{err}"
        );
    }

    #[test]
    fn embedded_objects_say_what_they_are() {
        let object = json!({"pods": [{"kind": "a b", "metadata": {"name": "bad/name"}}, {"apiVersion": "a/b/c", "kind": ""}]});
        let errors = validate(&schema(), &object, &Path::default(), false, &object_meta());
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(texts[0], "pods[0].apiVersion: Required value");
        assert!(
            texts[1].starts_with("pods[0].kind: Invalid value: \"a b\": may have mixed case, but should")
        );
        assert_eq!(texts[2], "pods[0].metadata.name: Invalid value: \"bad/name\": may not contain '/'");
        assert_eq!(
            texts[3],
            "pods[1].apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c"
        );
        assert_eq!(texts[4], "pods[1].kind: Required value");
    }
}
