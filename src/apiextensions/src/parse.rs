//! Reading a structural schema from the JSON of `openAPIV3Schema`.

use serde_json::{Map, Value};

use crate::schema::{Additional, ListType, MapType, Pattern, Rule, StructuralSchema, Type, ValueValidation};

/// Deepest nesting of schemas. The decoder's own limit (128 levels of JSON) allows for some 60.
const MAX_DEPTH: usize = 100;
/// Most schemas in one `openAPIV3Schema`: the largest definitions in use have some 30,000, and a request of 3 MiB has
/// room for a million empty ones, which would take 200 MiB here.
const MAX_SCHEMAS: usize = 200_000;

/// Why JSON is no structural schema at all. (What is one may still break rules: see [`crate::structural`].)
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// A keyword that Kubernetes does not know how to serve.
    #[error("OpenAPIV3Schema '{0}' is not supported")]
    Unsupported(&'static str),
    /// `items` as an array of schemas.
    #[error("OpenAPIV3Schema 'items' must be a schema, but is an array")]
    ItemsArray,
    /// `x-kubernetes-preserve-unknown-fields: false`.
    #[error("internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined")]
    PreserveUnknownFalse,
    /// A value that its keyword cannot have.
    #[error("OpenAPIV3Schema '{keyword}' has an unsupported value {value}")]
    Value {
        /// The keyword.
        keyword: &'static str,
        /// Its value, as JSON.
        value: String,
    },
    /// Schemas within schemas beyond reason.
    #[error("OpenAPIV3Schema is nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    /// More schemas than fit into memory many times.
    #[error("OpenAPIV3Schema has more than {MAX_SCHEMAS} schemas")]
    TooMany,
}

impl StructuralSchema {
    /// Reads the JSON of `openAPIV3Schema`.
    ///
    /// # Errors
    /// At the first keyword that cannot be told in a structural schema, and where the schema is too deep or large.
    pub fn parse(json: &Value) -> Result<Self, SchemaError> {
        Reader { schemas: 0 }.schema(json, 0)
    }
}

struct Reader {
    schemas: usize,
}

type Keywords = Map<String, Value>;
type Properties = Box<[(Box<str>, StructuralSchema)]>;

impl Reader {
    fn schema(&mut self, json: &Value, depth: usize) -> Result<StructuralSchema, SchemaError> {
        self.schemas += 1;
        if depth > MAX_DEPTH {
            return Err(SchemaError::TooDeep);
        }
        if self.schemas > MAX_SCHEMAS {
            return Err(SchemaError::TooMany);
        }
        let Value::Object(json) = json else { return Err(bad("schema", json)) };
        supported(json)?;
        let mut out = StructuralSchema {
            ty: word(json, "type", Type::of)?,
            nullable: flag(json, "nullable"),
            preserve_unknown: preserve_unknown(json)?,
            embedded: flag(json, "x-kubernetes-embedded-resource"),
            int_or_string: flag(json, "x-kubernetes-int-or-string"),
            titled: !text(json, "title").is_empty(),
            described: !text(json, "description").is_empty(),
            list_type: word(json, "x-kubernetes-list-type", |name| match name {
                "atomic" => Some(ListType::Atomic),
                "map" => Some(ListType::Map),
                "set" => Some(ListType::Set),
                _ => None,
            })?,
            map_type: word(json, "x-kubernetes-map-type", |name| match name {
                "atomic" => Some(MapType::Atomic),
                "granular" => Some(MapType::Granular),
                _ => None,
            })?,
            list_map_keys: texts(json, "x-kubernetes-list-map-keys"),
            properties: self.properties(json, depth)?,
            items: match json.get("items") {
                None | Some(Value::Null) => None,
                Some(Value::Array(_)) => return Err(SchemaError::ItemsArray),
                Some(items) => Some(Box::new(self.schema(items, depth + 1)?)),
            },
            additional: match json.get("additionalProperties") {
                None | Some(Value::Null) => Additional::Unset,
                Some(Value::Bool(allowed)) => Additional::Allowed(*allowed),
                Some(schema) => Additional::Schema(Box::new(self.schema(schema, depth + 1)?)),
            },
            default: json.get("default").filter(|value| !value.is_null()).cloned().map(Box::new),
            validation: None,
            rules: rules(json),
        };
        let validation = self.validation(json, depth)?;
        if validation != ValueValidation::default() {
            out.validation = Some(Box::new(validation));
        }
        Ok(out)
    }

    fn properties(&mut self, json: &Keywords, depth: usize) -> Result<Properties, SchemaError> {
        let Some(Value::Object(properties)) = json.get("properties") else { return Ok(Box::default()) };
        let mut out = Vec::with_capacity(properties.len());
        for (name, schema) in properties {
            out.push((name.as_str().into(), self.schema(schema, depth + 1)?));
        }
        out.sort_by(|(a, _): &(Box<str>, _), (b, _)| a.cmp(b));
        Ok(out.into())
    }

    fn validation(&mut self, json: &Keywords, depth: usize) -> Result<ValueValidation, SchemaError> {
        Ok(ValueValidation {
            format: text(json, "format").into(),
            maximum: number(json, "maximum"),
            exclusive_maximum: flag(json, "exclusiveMaximum"),
            minimum: number(json, "minimum"),
            exclusive_minimum: flag(json, "exclusiveMinimum"),
            multiple_of: number(json, "multipleOf"),
            max_length: integer(json, "maxLength"),
            min_length: integer(json, "minLength"),
            pattern: Some(text(json, "pattern")).filter(|text| !text.is_empty()).map(Pattern::new),
            max_items: integer(json, "maxItems"),
            min_items: integer(json, "minItems"),
            unique_items: flag(json, "uniqueItems"),
            max_properties: integer(json, "maxProperties"),
            min_properties: integer(json, "minProperties"),
            required: texts(json, "required"),
            values: list(json, "enum").to_vec().into(),
            all_of: self.schemas(json, "allOf", depth)?,
            any_of: self.schemas(json, "anyOf", depth)?,
            one_of: self.schemas(json, "oneOf", depth)?,
            not: match json.get("not") {
                None | Some(Value::Null) => None,
                Some(schema) => Some(Box::new(self.schema(schema, depth + 1)?)),
            },
        })
    }

    fn schemas(
        &mut self,
        json: &Keywords,
        keyword: &str,
        depth: usize,
    ) -> Result<Box<[StructuralSchema]>, SchemaError> {
        list(json, keyword).iter().map(|schema| self.schema(schema, depth + 1)).collect()
    }
}

/// Refuses the keywords that structural schemas have no place for.
fn supported(json: &Keywords) -> Result<(), SchemaError> {
    for keyword in ["id", "$schema", "$ref"] {
        if !text(json, keyword).is_empty() {
            return Err(SchemaError::Unsupported(if keyword == "$schema" { "schema" } else { keyword }));
        }
    }
    for keyword in ["patternProperties", "dependencies", "definitions"] {
        if json.get(keyword).and_then(Value::as_object).is_some_and(|map| !map.is_empty()) {
            return Err(SchemaError::Unsupported(keyword));
        }
    }
    if json.get("additionalItems").is_some_and(|value| !value.is_null()) {
        return Err(SchemaError::Unsupported("additionalItems"));
    }
    Ok(())
}

fn preserve_unknown(json: &Keywords) -> Result<bool, SchemaError> {
    match json.get("x-kubernetes-preserve-unknown-fields") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(true)) => Ok(true),
        Some(_) => Err(SchemaError::PreserveUnknownFalse),
    }
}

fn rules(json: &Keywords) -> Box<[Rule]> {
    list(json, "x-kubernetes-validations")
        .iter()
        .filter_map(Value::as_object)
        .map(|rule| Rule {
            rule: text(rule, "rule").into(),
            message: text(rule, "message").into(),
            message_expression: text(rule, "messageExpression").into(),
            reason: text(rule, "reason").into(),
            field_path: text(rule, "fieldPath").into(),
            optional_old_self: rule.get("optionalOldSelf").and_then(Value::as_bool),
        })
        .collect()
}

fn bad(keyword: &'static str, value: &Value) -> SchemaError {
    let mut value = value.to_string();
    // Enough to recognise it.
    if let Some((end, _)) = value.char_indices().nth(64) {
        value.truncate(end);
    }
    SchemaError::Value { keyword, value }
}

fn word<T>(
    json: &Keywords,
    keyword: &'static str,
    of: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, SchemaError> {
    match json.get(keyword) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) if name.is_empty() => Ok(None),
        Some(value) => value.as_str().and_then(of).map(Some).ok_or_else(|| bad(keyword, value)),
    }
}

fn flag(json: &Keywords, keyword: &str) -> bool {
    json.get(keyword) == Some(&Value::Bool(true))
}

fn text<'a>(json: &'a Keywords, keyword: &str) -> &'a str {
    json.get(keyword).and_then(Value::as_str).unwrap_or_default()
}

fn number(json: &Keywords, keyword: &str) -> Option<f64> {
    json.get(keyword).and_then(Value::as_f64)
}

fn integer(json: &Keywords, keyword: &str) -> Option<i64> {
    json.get(keyword).and_then(Value::as_i64)
}

fn list<'a>(json: &'a Keywords, keyword: &str) -> &'a [Value] {
    json.get(keyword).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn texts(json: &Keywords, keyword: &str) -> Box<[Box<str>]> {
    list(json, keyword).iter().filter_map(Value::as_str).map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_schema_reads_into_its_parts() {
        let schema = StructuralSchema::parse(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "required": ["a"], "properties": {
                "b": {"type": "array", "items": {"type": "string", "maxLength": 3}, "x-kubernetes-list-type": "set"},
                "a": {"type": "integer", "minimum": 1, "default": 2}}}}}))
        .unwrap();
        let spec = schema.property("spec").unwrap();
        assert!(spec.requires("a") && !spec.requires("b"));
        assert_eq!(spec.property("a").unwrap().default, Some(Box::new(json!(2))));
        let b = spec.property("b").unwrap();
        assert_eq!((b.ty, b.list_type), (Some(Type::Array), Some(ListType::Set)));
        assert!(StructuralSchema::parse(&json!({"type": "string"})).unwrap().is_only(Type::String));
    }

    #[test]
    fn what_cannot_be_served_is_refused() {
        for (json, why) in [
            (json!({"$ref": "#/x"}), "OpenAPIV3Schema '$ref' is not supported"),
            (json!({"not": {"definitions": {"a": {}}}}), "OpenAPIV3Schema 'definitions' is not supported"),
            (json!({"items": [{}]}), "OpenAPIV3Schema 'items' must be a schema, but is an array"),
            (json!({"type": "null"}), "OpenAPIV3Schema 'type' has an unsupported value \"null\""),
            (
                json!({"x-kubernetes-preserve-unknown-fields": false}),
                "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined",
            ),
        ] {
            assert_eq!(StructuralSchema::parse(&json).unwrap_err().to_string(), why);
        }
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let mut deep = json!({});
        for _ in 0..=MAX_DEPTH {
            deep = json!({"items": deep});
        }
        assert_eq!(StructuralSchema::parse(&deep), Err(SchemaError::TooDeep));
        let wide = json!({"allOf": vec![json!({}); MAX_SCHEMAS]});
        assert_eq!(StructuralSchema::parse(&wide), Err(SchemaError::TooMany));
    }
}
