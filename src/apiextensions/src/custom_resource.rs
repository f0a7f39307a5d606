//! What a custom resource of one version goes through: decoding and validation.

use std::sync::{Arc, OnceLock};

use apimachinery::field::{ErrorList, ErrorType, FieldError, Path};
use serde_json::Value;

use crate::object_meta::{self, ObjectMeta};
use crate::rules::Rules;
use crate::schema::StructuralSchema;
use crate::{defaulting, list_type, pruning, validation};

/// The rules for custom resources of one version. Made once per version, shared by all requests.
#[derive(Clone, Debug)]
pub struct CustomResourceValidator {
    schema: Arc<StructuralSchema>,
    object_meta: ObjectMeta,
    /// Compiled for the first object that is validated.
    rules: Arc<OnceLock<Option<Rules>>>,
}

impl CustomResourceValidator {
    /// The rules that a schema makes.
    pub fn new(schema: Arc<StructuralSchema>, object_meta: ObjectMeta) -> Self {
        Self { schema, object_meta, rules: Arc::default() }
    }

    /// The schema.
    pub fn schema(&self) -> &Arc<StructuralSchema> {
        &self.schema
    }

    /// Takes a decoded object to its stored form: unknown fields pruned, nulls that mean nothing dropped, metadata of
    /// embedded objects in form, defaults filled in. The object's own `metadata` is the caller's affair.
    ///
    /// Returns the paths of unknown fields, as `spec.containers[0].foo`.
    ///
    /// # Errors
    /// Where an embedded object is none.
    pub fn decode(&self, object: &mut Value) -> Result<Vec<String>, FieldError> {
        let mut unknown = pruning::prune(&self.schema, object, true);
        defaulting::drop_nulls(&self.schema, object);
        unknown.extend(object_meta::coerce(&self.schema, object, &self.object_meta)?);
        defaulting::default(&self.schema, object);
        Ok(unknown)
    }

    /// What is wrong with a new object, besides its metadata.
    pub fn validate_create(&self, object: &Value) -> ErrorList {
        let root = Path::default();
        let mut errors = validation::validate(&self.schema, object, &root);
        errors.extend(object_meta::validate(&self.schema, object, &root, false, &self.object_meta));
        errors.extend(list_type::validate(&self.schema, object, &root));
        self.run_rules(object, None, &mut errors);
        errors
    }

    /// What is wrong with an update, besides its metadata. What was wrong before and has not changed is let pass
    /// (KEP-4008).
    pub fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let root = Path::default();
        let mut errors = validation::validate_update(&self.schema, object, old, &root);
        errors.extend(object_meta::validate(&self.schema, object, &root, false, &self.object_meta));
        errors.extend(self.list_types_of_update(object, old));
        self.run_rules(object, Some(old), &mut errors);
        errors
    }

    /// What is wrong with an update of the status.
    pub fn validate_status_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        if let (Some(schema), Some(status)) = (self.schema.property("status"), object.get("status")) {
            let old = old.get("status").unwrap_or(&Value::Null);
            errors = validation::validate_update(schema, status, old, &Path::new("status"));
        }
        errors.extend(self.list_types_of_update(object, old));
        self.run_rules(object, Some(old), &mut errors);
        errors
    }

    /// Rules run on objects that are else right, so that they need not look for what the schema says.
    fn run_rules(&self, object: &Value, old: Option<&Value>, errors: &mut ErrorList) {
        let Some(rules) = self.rules.get_or_init(|| Rules::new(self.schema.clone(), true)) else { return };
        let blocking = errors.iter().any(|error| {
            matches!(
                error.kind,
                ErrorType::NotSupported
                    | ErrorType::Required
                    | ErrorType::TooLong
                    | ErrorType::TooMany
                    | ErrorType::TypeInvalid
            )
        });
        if blocking {
            errors.push(FieldError {
                kind: ErrorType::Invalid,
                field: "<nil>".to_owned(),
                bad_value: Some(Value::from("null")),
                detail: "some validation rules were not checked because the object was invalid; correct the \
                         existing errors to complete validation"
                    .to_owned(),
            });
            return;
        }
        let mut budget = cel::Budget::default();
        errors.extend(rules.validate(object, old, &Path::default(), &mut budget, true));
    }

    fn list_types_of_update(&self, object: &Value, old: &Value) -> ErrorList {
        let root = Path::default();
        let errors = list_type::validate(&self.schema, object, &root);
        // Objects that broke the rule before may go on doing so.
        if !errors.is_empty() && !list_type::validate(&self.schema, old, &root).is_empty() {
            return ErrorList::new();
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn validator() -> CustomResourceValidator {
        let schema = StructuralSchema::parse(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "n": {"type": "integer", "default": 1, "maximum": 5},
                "name": {"type": "string", "maxLength": 3},
                "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}},
                "x-kubernetes-validations": [{"rule": "!has(self.name) || self.name != 'bad'"}]},
            "status": {"type": "object", "properties": {"m": {"type": "integer",
                "x-kubernetes-validations": [{"rule": "self >= 0"}]}}}}}))
        .unwrap();
        CustomResourceValidator::new(Arc::new(schema), crate::object_meta::tests::object_meta())
    }

    fn texts(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn objects_are_pruned_and_defaulted_when_decoded() {
        let mut object = json!({"metadata": {"name": "a"}, "spec": {"x": 1, "name": null}});
        assert_eq!(validator().decode(&mut object).unwrap(), ["spec.x"]);
        assert_eq!(object, json!({"metadata": {"name": "a"}, "spec": {"n": 1}}));
    }

    #[test]
    fn rules_run_on_objects_that_are_else_right() {
        let create = |spec: Value| texts(&validator().validate_create(&json!({"spec": spec})));
        assert_eq!(create(json!({"n": 5, "name": "ok"})), Vec::<String>::new());
        assert_eq!(
            create(json!({"name": "bad", "n": 6})),
            [
                "spec.n: Invalid value: 6: spec.n in body should be less than or equal to 5",
                "spec: Invalid value: \"object\": failed rule: !has(self.name) || self.name != 'bad'"
            ]
        );
        assert_eq!(
            create(json!({"name": "long"})),
            [
                "spec.name: Too long: may not be more than 3 bytes",
                "<nil>: Invalid value: \"null\": some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"
            ]
        );
    }

    #[test]
    fn updates_let_pass_what_was_wrong_before() {
        let old = json!({"spec": {"n": 9, "name": "bad", "set": ["a", "a"]}, "status": {"m": 1}});
        let mut new = old.clone();
        new["status"]["m"] = json!(2);
        assert_eq!(texts(&validator().validate_update(&new, &old)), Vec::<String>::new());
        new["spec"]["n"] = json!(8);
        assert_eq!(validator().validate_update(&new, &old).len(), 2);
    }

    #[test]
    fn an_update_of_the_status_looks_at_the_status() {
        let old = json!({"spec": {"n": 9}, "status": {"m": 1}});
        let update = |m: Value| {
            texts(&validator().validate_status_update(&json!({"spec": {"n": 9}, "status": {"m": m}}), &old))
        };
        assert_eq!(update(json!(2)), Vec::<String>::new());
        assert_eq!(update(json!(-1)), ["status.m: Invalid value: \"integer\": failed rule: self >= 0"]);
        assert_eq!(
            update(json!("x"))[0],
            "status.m: Invalid value: \"string\": m in body must be of type integer: \"string\""
        );
    }
}
