//! The rules of a schema, compiled. They were compiled when the definition was validated, so that nothing should be
//! wrong with them any more; what is, fails the objects that they are for.

use std::sync::Arc;

use cel::{Decl, DeclKind, Environment, Program, Type};

use super::{declare, has_rules};
use crate::definition::field_path;
use crate::schema::{Rule, StructuralSchema};

/// A schema with rules in it or below it.
#[derive(Debug)]
pub(super) struct Node {
    /// Its own rules, in order.
    pub(super) rules: Vec<Compiled>,
    /// What values are to CEL; None if rules cannot see them.
    pub(super) decl: Option<Arc<Decl>>,
    /// Properties with rules, sorted by name.
    pub(super) properties: Vec<(Box<str>, Node)>,
    pub(super) items: Option<Box<Node>>,
    pub(super) additional: Option<Box<Node>>,
}

/// One rule.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// The rule, or what is wrong with it; None if it is empty.
    pub(crate) program: Option<Result<Program, String>>,
    /// Whether it looks at `oldSelf`, so that it only holds for updates.
    pub(crate) uses_old_self: bool,
    /// What makes the message, or what is wrong with that.
    pub(crate) message: Option<Result<Program, String>>,
    /// The field at fault, below the value; empty for the value itself.
    pub(crate) field_path: String,
}

/// What the rules of one schema may refer to.
pub(crate) struct Environments {
    plain: Environment,
    transition: Environment,
    optional: Environment,
}

impl Environments {
    pub(crate) fn new(decl: &Arc<Decl>) -> Self {
        let plain = Environment::builder().variable("self", decl.clone()).build();
        let transition = plain.extend().variable("oldSelf", decl.clone()).build();
        let optional = plain.extend().variable("oldSelf", Type::optional(decl.cel_type())).build();
        Self { plain, transition, optional }
    }
}

/// Compiles a rule of a schema.
pub(crate) fn compile(rule: &Rule, schema: &StructuralSchema, environments: &Environments) -> Compiled {
    let mut compiled =
        Compiled { program: None, uses_old_self: false, message: None, field_path: String::new() };
    if rule.rule.trim().is_empty() {
        return compiled;
    }
    let with_old = match rule.optional_old_self {
        Some(true) => &environments.optional,
        _ => &environments.transition,
    };
    // What compiles without oldSelf does not use it.
    let program = match environments.plain.compile(&rule.rule) {
        Ok(program) => Ok(program),
        Err(_) => with_old.compile(&rule.rule).inspect(|_| compiled.uses_old_self = true),
    };
    let program = program
        .map_err(|errors| format!("compilation failed: {errors}"))
        .and_then(|program| typed(program, &Type::Bool, "cel expression must evaluate to a bool"));
    let right = program.is_ok();
    compiled.program = Some(program);
    if right && !rule.message_expression.trim().is_empty() {
        let message = with_old
            .compile(&rule.message_expression)
            .map_err(|errors| format!("messageExpression compilation failed: {errors}"))
            .and_then(|program| typed(program, &Type::String, "messageExpression must evaluate to a string"));
        compiled.message = Some(message);
    }
    if let Ok((path, _)) = field_path::resolve(rule.field_path.trim(), schema, true) {
        compiled.field_path = path.to_string();
    }
    compiled
}

fn typed(program: Program, wanted: &Type, otherwise: &str) -> Result<Program, String> {
    // An expression of type dyn fits anywhere, but is not what is wanted.
    let right = std::mem::discriminant(program.output_type()) == std::mem::discriminant(wanted);
    if right { Ok(program) } else { Err(otherwise.to_owned()) }
}

/// The rules of a schema and of those below it; None if there are none. `decl` is what the schema above has of it.
pub(super) fn node(
    schema: &StructuralSchema,
    decl: Option<Arc<Decl>>,
    whole: bool,
    name: &str,
) -> Option<Node> {
    if !has_rules(schema) {
        return None;
    }
    let decl = match decl {
        Some(decl) => Some(decl),
        None if schema.rules.is_empty() => None,
        None => declare(schema, whole, name).map(Arc::new),
    };
    let rules = match &decl {
        Some(decl) if !schema.rules.is_empty() => {
            let environments = Environments::new(decl);
            schema.rules.iter().map(|rule| compile(rule, schema, &environments)).collect()
        }
        _ => Vec::new(),
    };
    let part =
        |kind: fn(&DeclKind) -> Option<&Arc<Decl>>| decl.as_ref().and_then(|decl| kind(&decl.kind)).cloned();
    let items = schema.items.as_deref().and_then(|items| {
        let decl = part(|kind| match kind {
            DeclKind::List { items, .. } => Some(items),
            _ => None,
        });
        node(items, decl, items.embedded, &format!("{name}.@idx")).map(Box::new)
    });
    let additional = schema.additional_schema().and_then(|values| {
        let decl = part(|kind| match kind {
            DeclKind::Map { values } => Some(values),
            _ => None,
        });
        node(values, decl, values.embedded, &format!("{name}.@elem")).map(Box::new)
    });
    let properties = schema
        .properties
        .iter()
        .filter_map(|(property, of)| {
            let field = decl.as_ref().and_then(|decl| match &decl.kind {
                DeclKind::Object(object) => object.fields.get(&cel::escape(property)?),
                _ => None,
            });
            let below = field.map(|field| field.decl.clone());
            Some((property.clone(), node(of, below, of.embedded, &format!("{name}.{property}"))?))
        })
        .collect();
    Some(Node { rules, decl, properties, items, additional })
}
