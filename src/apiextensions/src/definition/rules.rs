//! The rules of a schema (`x-kubernetes-validations`) compile, and stay within bounds.

use std::sync::Arc;

use apimachinery::field::{ErrorList, FieldError, Path};
use cel::{Decl, DeclKind};
use serde_json::{Value, json};

use crate::rules::{Compiled, Environments, compile, declare, has_rules};
use crate::schema::{ListType, Rule, StructuralSchema};

pub(super) fn validate(schema: &StructuralSchema, path: &Path, errors: &mut ErrorList) {
    let mut check = Check { errors };
    check.schema(schema, None, &Place { whole: true, name: "selfType", uncorrelatable: None }, path);
}

struct Check<'e> {
    errors: &'e mut ErrorList,
}

/// Where a schema stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// It is the schema of a whole object.
    whole: bool,
    /// The name of its type.
    name: &'a str,
    /// The outermost list around it whose items cannot be told to be the same as before.
    uncorrelatable: Option<&'a Path>,
}

impl Check<'_> {
    fn schema(&mut self, schema: &StructuralSchema, decl: Option<Arc<Decl>>, place: &Place<'_>, path: &Path) {
        if !has_rules(schema) {
            return;
        }
        let decl = match decl {
            Some(decl) => Some(decl),
            None if schema.rules.is_empty() => None,
            None => declare(schema, place.whole, place.name).map(Arc::new),
        };
        if !schema.rules.is_empty() {
            let path = path.child("x-kubernetes-validations");
            match &decl {
                Some(decl) => self.rules(schema, decl, place, &path),
                None => self.errors.push(FieldError::internal(
                    &path,
                    "internal error: failed to construct type information for x-kubernetes-validations rules: \
                     unable to convert structural schema to CEL declarations",
                )),
            }
        }
        self.parts(schema, decl.as_deref(), place, path);
    }

    fn parts(&mut self, schema: &StructuralSchema, decl: Option<&Decl>, place: &Place<'_>, path: &Path) {
        let kind = decl.map(|decl| &decl.kind);
        if let Some(items) = &schema.items {
            let below = match kind {
                Some(DeclKind::List { items, .. }) => Some(items.clone()),
                _ => None,
            };
            let list_path = Some(path).filter(|_| schema.list_type != Some(ListType::Map));
            let place = Place {
                whole: items.embedded,
                name: &format!("{}.@idx", place.name),
                uncorrelatable: place.uncorrelatable.or(list_path),
            };
            self.schema(items, below, &place, &path.child("items"));
        }
        if let Some(values) = schema.additional_schema() {
            let below = match kind {
                Some(DeclKind::Map { values }) => Some(values.clone()),
                _ => None,
            };
            let name = format!("{}.@elem", place.name);
            let place = Place { whole: values.embedded, name: &name, ..*place };
            self.schema(values, below, &place, &path.child("additionalProperties"));
        }
        for (property, of) in &schema.properties {
            let below = match kind {
                Some(DeclKind::Object(object)) => cel::escape(property)
                    .and_then(|name| object.fields.get(&name))
                    .map(|field| field.decl.clone()),
                _ => None,
            };
            let name = format!("{}.{property}", place.name);
            let place = Place { whole: of.embedded, name: &name, ..*place };
            self.schema(of, below, &place, &path.child("properties").key(property));
        }
    }

    fn rules(&mut self, schema: &StructuralSchema, decl: &Arc<Decl>, place: &Place<'_>, path: &Path) {
        let environments = Environments::new(decl);
        for (index, rule) in schema.rules.iter().enumerate() {
            let path = path.index(index);
            let compiled = compile(rule, schema, &environments);
            self.rule(rule, &compiled, place, &path);
        }
    }

    fn rule(&mut self, rule: &Rule, compiled: &Compiled, place: &Place<'_>, path: &Path) {
        if let Some(Err(why)) = &compiled.program {
            self.errors.push(FieldError::invalid(&path.child("rule"), shown(rule), why.as_str()));
        }
        if let Some(Err(why)) = &compiled.message {
            self.errors.push(FieldError::invalid(
                &path.child("messageExpression"),
                shown(rule),
                why.as_str(),
            ));
        }
        if compiled.uses_old_self {
            if let Some(list) = place.uncorrelatable {
                let detail = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {list}"
                );
                self.errors.push(FieldError::invalid(&path.child("rule"), rule.rule.as_ref(), detail));
            }
        } else if let Some(optional) = rule.optional_old_self {
            let detail = "may not be set if oldSelf is not used in rule";
            self.errors.push(FieldError::invalid(&path.child("optionalOldSelf"), optional, detail));
        }
    }
}

/// A rule as Kubernetes shows it in errors: its internal form.
fn shown(rule: &Rule) -> Value {
    let reason = (!rule.reason.is_empty()).then_some(rule.reason.as_ref());
    json!({
        "Rule": rule.rule, "Message": rule.message, "MessageExpression": rule.message_expression,
        "Reason": reason, "FieldPath": rule.field_path, "OptionalOldSelf": rule.optional_old_self,
    })
}
