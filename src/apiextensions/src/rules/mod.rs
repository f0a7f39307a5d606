//! `x-kubernetes-validations`: rules in CEL on the parts of a schema (KEP-2876).
//!
//! | module | what |
//! |---|---|
//! | [`decl`] | what a schema is to CEL |
//! | [`compile`] | the rules of a schema, compiled |
//! | [`evaluate`] | the rules run over an object, with ratcheting and a budget |

mod compile;
mod decl;
mod evaluate;

pub(crate) use compile::{Compiled, Environments, compile};
pub(crate) use decl::{MAX_REQUEST_BYTES, declare};

use std::sync::Arc;

use apimachinery::field::{ErrorList, Path};
use serde_json::Value;

use crate::schema::{Additional, StructuralSchema};

/// The compiled rules of a schema.
#[derive(Debug)]
pub struct Rules {
    root: compile::Node,
    schema: Arc<StructuralSchema>,
}

impl Rules {
    /// Compiles the rules of a schema; None if it has none. `root`: the schema is that of a whole object.
    pub fn new(schema: Arc<StructuralSchema>, root: bool) -> Option<Self> {
        if !has_rules(&schema) {
            return None;
        }
        let root = compile::node(&schema, None, root, "selfType")?;
        Some(Self { root, schema })
    }

    /// Evaluates the rules over an object, or over an update of it. `ratchet`: what was wrong before and has not
    /// changed is let pass. Takes the cost of all from the budget, and stops when it is used up.
    pub fn validate(
        &self,
        value: &Value,
        old: Option<&Value>,
        path: &Path,
        budget: &mut cel::Budget,
        ratchet: bool,
    ) -> ErrorList {
        evaluate::Evaluation::new(budget, ratchet).run(&self.root, &self.schema, value, old, path)
    }
}

/// Whether there are rules anywhere in a schema.
pub fn has_rules(schema: &StructuralSchema) -> bool {
    !schema.rules.is_empty()
        || schema.items.as_deref().is_some_and(has_rules)
        || matches!(&schema.additional, Additional::Schema(schema) if has_rules(schema))
        || schema.properties.iter().any(|(_, property)| has_rules(property))
}

#[cfg(test)]
mod tests;
