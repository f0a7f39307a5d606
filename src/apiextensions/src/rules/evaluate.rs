//! The rules of a schema run over an object.

use apimachinery::field::{ErrorList, FieldError, Path};
use cel::{Bindings, Budget, EvaluationError, Program};
use serde_json::{Map, Value};

use super::compile::{Compiled, Node};
use crate::schema::{ListType, Rule, StructuralSchema, Type};
use crate::validation::correlate::{Items, equal};

/// Longest message that an expression may make (`MaxEvaluatedMessageExpressionSizeBytes`).
const MAX_MESSAGE_BYTES: usize = 5 * 1024;
const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// No more rules are to be run: the budget is used up.
struct Stop;

pub(super) struct Evaluation<'b> {
    budget: &'b mut Budget,
    ratchet: bool,
    errors: ErrorList,
}

/// What a value was, for ratcheting: the innermost part that can be compared with what it was before.
#[derive(Clone, Copy)]
struct Before<'a> {
    schema: &'a StructuralSchema,
    value: &'a Value,
    old: &'a Value,
}

/// A value on the walk.
#[derive(Clone, Copy)]
struct At<'a> {
    schema: &'a StructuralSchema,
    value: &'a Value,
    /// What rules see as `oldSelf`.
    old: Option<&'a Value>,
    /// What the value is compared with; None on creation.
    before: Option<Before<'a>>,
    /// Whether `before` is of this value, and not of one around it.
    correlated: bool,
}

impl<'b> Evaluation<'b> {
    pub(super) fn new(budget: &'b mut Budget, ratchet: bool) -> Self {
        Self { budget, ratchet, errors: ErrorList::new() }
    }

    pub(super) fn run(
        mut self,
        node: &Node,
        schema: &StructuralSchema,
        value: &Value,
        old: Option<&Value>,
        path: &Path,
    ) -> ErrorList {
        let before = old.filter(|_| self.ratchet).map(|old| Before { schema, value, old });
        let at = At { schema, value, old, before, correlated: before.is_some() };
        // Why it stopped is among the errors.
        let _ = self.value(node, at, path, true);
        self.errors
    }

    fn value(&mut self, node: &Node, at: At<'_>, path: &Path, root: bool) -> Result<(), Stop> {
        if at.value.is_null() {
            return Ok(());
        }
        self.rules(node, at, path)?;
        match at.value {
            Value::Array(items) => self.items(node, at, items, path),
            Value::Object(map) => self.members(node, at, map, path, root),
            _ => Ok(()),
        }
    }

    fn items(&mut self, node: &Node, at: At<'_>, items: &[Value], path: &Path) -> Result<(), Stop> {
        let (Some(node), Some(schema)) = (&node.items, at.schema.items.as_deref()) else { return Ok(()) };
        let by_key = match at.old {
            Some(old) if at.schema.list_type == Some(ListType::Map) => Items::of(at.schema, old),
            _ => Items::None,
        };
        let own = at.before.filter(|_| at.correlated);
        let by_any = own.map_or(Items::None, |before| Items::of(at.schema, before.old));
        for (index, value) in items.iter().enumerate() {
            let old = by_key.get(index, value).filter(|old| !old.is_null());
            let at = below(at, schema, value, old, by_any.get(index, value));
            self.value(node, at, &path.index(index), false)?;
        }
        Ok(())
    }

    fn members(
        &mut self,
        node: &Node,
        at: At<'_>,
        map: &Map<String, Value>,
        path: &Path,
        root: bool,
    ) -> Result<(), Stop> {
        for (key, value) in map {
            let old = at.old.and_then(|old| old.get(key)).filter(|old| !old.is_null());
            let own = at.before.filter(|_| at.correlated).and_then(|before| before.old.get(key));
            if let Some(schema) = at.schema.property(key) {
                let Ok(found) = node.properties.binary_search_by(|(name, _)| name.as_ref().cmp(key)) else {
                    continue;
                };
                let Some((_, node)) = node.properties.get(found) else { continue };
                let mut at = below(at, schema, value, old, own);
                // Both are what the request's version has; that they are the same says nothing.
                if root && matches!(key.as_str(), "apiVersion" | "kind") {
                    at.before = None;
                }
                self.value(node, at, &path.child(key), false)?;
            } else if let (Some(node), Some(schema)) = (&node.additional, at.schema.additional_schema()) {
                self.value(node, below(at, schema, value, old, own), &path.key(key), false)?;
            }
        }
        Ok(())
    }

    fn rules(&mut self, node: &Node, at: At<'_>, path: &Path) -> Result<(), Stop> {
        let Some(decl) = node.decl.as_deref().filter(|_| !node.rules.is_empty()) else { return Ok(()) };
        let ty = at.schema.ty.map(Type::name).unwrap_or_default();
        if self.budget.remaining == 0 {
            self.errors.push(FieldError::invalid(path, ty, OUT_OF_BUDGET));
            return Err(Stop);
        }
        for (rule, compiled) in at.schema.rules.iter().zip(&node.rules) {
            let program = match &compiled.program {
                None => continue,
                Some(Ok(program)) => program,
                Some(Err(why)) => {
                    let detail = format!("rule compile error: {why}");
                    self.errors.push(FieldError::invalid(path, ty, detail));
                    continue;
                }
            };
            let optional = rule.optional_old_self == Some(true);
            // A rule about a transition holds where there is one.
            if compiled.uses_old_self && at.old.is_none() && !optional {
                continue;
            }
            let bindings = match bindings(decl, at, compiled.uses_old_self, optional) {
                Ok(bindings) => bindings,
                Err(err) => {
                    self.failed(&err, rule, path, ty)?;
                    continue;
                }
            };
            match program.evaluate(&bindings, self.budget) {
                Ok(value) if value.as_bool() == Some(true) => {}
                Ok(_) => self.broken(rule, compiled, at, &bindings, path)?,
                Err(err) => self.failed(&err, rule, path, ty)?,
            }
        }
        Ok(())
    }

    /// An evaluation without a result.
    fn failed(&mut self, err: &EvaluationError, rule: &Rule, path: &Path, ty: &str) -> Result<(), Stop> {
        let told = told(rule);
        let (detail, stop) = match err {
            EvaluationError::Expression(why) if why.starts_with("no such overload") => {
                let what =
                    "call arguments did not match a supported operator, function or macro signature for rule";
                (format!("'{why}': {what}: {told}"), false)
            }
            EvaluationError::Expression(why) => (format!("{why} evaluating rule: {told}"), false),
            EvaluationError::CostLimit => {
                let what = "no further validation rules will be run due to call cost exceeds limit for rule";
                (format!("'{err}': {what}: {told}"), true)
            }
            EvaluationError::Budget => (OUT_OF_BUDGET.to_owned(), true),
            EvaluationError::Pending => (format!("{err} evaluating rule: {told}"), false),
        };
        self.errors.push(FieldError::invalid(path, ty, detail));
        if stop { Err(Stop) } else { Ok(()) }
    }

    /// A rule that does not hold.
    fn broken(
        &mut self,
        rule: &Rule,
        compiled: &Compiled,
        at: At<'_>,
        bindings: &Bindings<'_>,
        path: &Path,
    ) -> Result<(), Stop> {
        let ratcheted = !compiled.uses_old_self
            && at.before.is_some_and(|before| equal(before.schema, before.value, before.old));
        let path =
            if compiled.field_path.is_empty() { path.clone() } else { path.child(&compiled.field_path) };
        let ty = at.schema.ty.map(Type::name).unwrap_or_default();
        let mut stop = None;
        let detail = match &compiled.message {
            Some(Ok(program)) => self.message(program, rule, bindings).unwrap_or_else(|why| {
                stop = why;
                None
            }),
            _ => None,
        };
        let error = match stop {
            Some(why) => FieldError::invalid(&path, ty, why),
            None => {
                let detail = detail.unwrap_or_else(|| match rule.message.trim() {
                    "" => format!("failed rule: {}", rule.rule.trim()),
                    message => message.to_owned(),
                });
                match rule.reason.as_ref() {
                    "FieldValueForbidden" => FieldError::forbidden(&path, detail),
                    "FieldValueRequired" => FieldError::required(&path, detail),
                    "FieldValueDuplicate" => FieldError::duplicate(&path, ty),
                    _ => FieldError::invalid(&path, ty, detail),
                }
            }
        };
        if !ratcheted {
            self.errors.push(error);
        }
        if self.budget.remaining == 0 && !ratcheted { Err(Stop) } else { Ok(()) }
    }

    /// The message that an expression makes; None if it makes none that can be used. An error ends the evaluation.
    fn message(
        &mut self,
        program: &Program,
        rule: &Rule,
        bindings: &Bindings<'_>,
    ) -> Result<Option<String>, Option<String>> {
        let quoted = Value::from(rule.message_expression.as_ref());
        match program.evaluate(bindings, self.budget) {
            Ok(value) => {
                let message = value.as_str().map(str::trim).unwrap_or_default();
                let right =
                    !message.is_empty() && message.len() <= MAX_MESSAGE_BYTES && !message.contains('\n');
                Ok(right.then(|| message.to_owned()))
            }
            Err(EvaluationError::CostLimit) => {
                self.budget.remaining = 0;
                Err(Some(format!(
                    "no further validation rules will be run due to call cost exceeds limit for messageExpression: {quoted}"
                )))
            }
            Err(EvaluationError::Budget) => Err(Some(
                "messageExpression evaluation failed due to running out of cost budget, no further validation \
                 rules will be run"
                    .to_owned(),
            )),
            Err(EvaluationError::Expression(_) | EvaluationError::Pending) => Ok(None),
        }
    }
}

/// A part of a value. `own` is what it was, as far as that is known.
fn below<'a>(
    at: At<'a>,
    schema: &'a StructuralSchema,
    value: &'a Value,
    old: Option<&'a Value>,
    own: Option<&'a Value>,
) -> At<'a> {
    let before = match own {
        Some(old) => Some(Before { schema, value, old }),
        None => at.before,
    };
    At { schema, value, old, before, correlated: own.is_some() }
}

fn bindings<'a>(
    decl: &'a cel::Decl,
    at: At<'a>,
    uses_old_self: bool,
    optional: bool,
) -> Result<Bindings<'a>, EvaluationError> {
    let bindings = Bindings::new().json("self", at.value, decl)?;
    if !uses_old_self {
        return Ok(bindings);
    }
    let old = at.old.map(|old| cel::Value::from_json(old, decl)).transpose()?;
    Ok(match (optional, old) {
        (true, old) => bindings.bind("oldSelf", cel::Value::Optional(old.map(std::sync::Arc::new))),
        (false, Some(old)) => bindings.bind("oldSelf", old),
        (false, None) => bindings,
    })
}

/// How a rule is named in errors.
fn told(rule: &Rule) -> &str {
    let message = rule.message.trim();
    if message.is_empty() { rule.rule.trim() } else { message }
}
