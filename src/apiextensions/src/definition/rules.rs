//! The rules of a schema (`x-kubernetes-validations`) compile, and stay within bounds.

use std::sync::Arc;

use apimachinery::field::{ErrorList, FieldError, Path};
use cel::{Decl, DeclKind, Program, STATIC_CRD_LIMIT, STATIC_RULE_LIMIT};
use serde_json::{Value, json};

use crate::rules::{Compiled, Environments, MAX_REQUEST_BYTES, compile, declare, has_rules};
use crate::schema::{ListType, Rule, StructuralSchema};

/// What is wrong with the rules of a schema. `unchanged`: the schema was accepted before, so that the cost of a single
/// rule is not held against it.
pub(super) fn validate(schema: &StructuralSchema, unchanged: bool, path: &Path, errors: &mut ErrorList) {
    let mut check = Check { errors, unchanged, total: 0, costly: Vec::new() };
    let place = Place { whole: true, name: "selfType", uncorrelatable: None, times: Some(1) };
    check.schema(schema, None, &place, path);
    check.total(path);
}

struct Check<'e> {
    errors: &'e mut ErrorList,
    unchanged: bool,
    /// What all rules together may cost.
    total: u64,
    /// Rules with more than a hundredth of what all may cost.
    costly: Vec<(u64, Path)>,
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
    /// How many values of it there can be in an object; None where only the size of a request bounds them.
    times: Option<u64>,
}

impl Place<'_> {
    /// How many values there can be of a part, of which each value has so many.
    fn times_each(&self, each: Option<i64>) -> Option<u64> {
        Some(self.times?.saturating_mul(u64::try_from(each?).unwrap_or(0)))
    }
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
                times: place
                    .times_each(schema.validation.as_ref().and_then(|validation| validation.max_items)),
            };
            self.schema(items, below, &place, &path.child("items"));
        }
        if let Some(values) = schema.additional_schema() {
            let below = match kind {
                Some(DeclKind::Map { values }) => Some(values.clone()),
                _ => None,
            };
            let name = format!("{}.@elem", place.name);
            let most = schema.validation.as_ref().and_then(|validation| validation.max_properties);
            let times = place.times_each(most);
            let place = Place { whole: values.embedded, name: &name, times, ..*place };
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
            let times = place.times.unwrap_or(MAX_REQUEST_BYTES / (decl.min_serialized_size + 1));
            self.costs(&compiled, times, &path);
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

impl Check<'_> {
    fn costs(&mut self, compiled: &Compiled, times: u64, path: &Path) {
        let max = |program: &Option<Result<Program, String>>| match program {
            Some(Ok(program)) => Some(program.estimated_cost().max),
            _ => None,
        };
        let rule =
            max(&compiled.program).map(|cost| ("rule", "estimated rule cost", cost.saturating_mul(times)));
        let message = max(&compiled.message)
            .map(|cost| ("messageExpression", "estimated messageExpression cost", cost));
        for (name, what, cost) in rule.into_iter().chain(message) {
            let path = path.child(name);
            if cost > STATIC_RULE_LIMIT && !self.unchanged {
                self.errors.push(FieldError::forbidden(&path, exceeds(what, cost, STATIC_RULE_LIMIT)));
            }
            self.total = self.total.saturating_add(cost);
            if cost >= STATIC_CRD_LIMIT / 100 {
                self.costly.push((cost, path));
            }
        }
    }

    fn total(&mut self, path: &Path) {
        if self.total <= STATIC_CRD_LIMIT {
            return;
        }
        self.costly.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        let detail =
            "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
        self.errors.extend(self.costly.iter().take(4).map(|(_, path)| FieldError::forbidden(path, detail)));
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        self.errors.push(FieldError::forbidden(path, exceeds(what, self.total, STATIC_CRD_LIMIT)));
    }
}

fn exceeds(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, \
         and maxLength where arrays, maps, and strings are declared)"
    )
}

/// A rule as Kubernetes shows it in errors: its internal form.
fn shown(rule: &Rule) -> Value {
    let reason = (!rule.reason.is_empty()).then_some(rule.reason.as_ref());
    json!({
        "Rule": rule.rule, "Message": rule.message, "MessageExpression": rule.message_expression,
        "Reason": reason, "FieldPath": rule.field_path, "OptionalOldSelf": rule.optional_old_self,
    })
}
