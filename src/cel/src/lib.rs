//! The Common Expression Language as Kubernetes 1.36 has it: parser, type checker, evaluator, libraries and cost
//! limits, over JSON that is borrowed and typed by schemas.
//!
//! Pure: no I/O, no clocks. What rules and policies mean is their owners' business. Upstream counterpart:
//! `github.com/google/cel-go` and `k8s.io/apiserver/pkg/cel`.
//!
//! ```text
//! source -> parser (macros) -> checker (types, overloads) -> plan -> evaluate(bindings, budget) -> value
//!                                  ^                                     ^
//!                             Environment (Decl of each variable)    JSON read through its Decl
//! ```
//!
//! ```
//! use cel::{Bindings, Budget, Decl, Environment, Type};
//!
//! let environment = Environment::builder().variable("self", Type::map(Type::String, Type::Int)).build();
//! let program = environment.compile("self.replicas <= 5").unwrap();
//! assert!(program.output_type().is_assignable_to(&Type::Bool));
//!
//! let object = serde_json::json!({ "replicas": 3 });
//! let declared = Decl::from(Type::map(Type::String, Type::Int));
//! let bindings = Bindings::new().json("self", &object, &declared).unwrap();
//! let value = program.evaluate(&bindings, &mut Budget::default()).unwrap();
//! assert_eq!(value.as_bool(), Some(true));
//!
//! let errors = environment.compile("self.replicas <= 'five'").unwrap_err();
//! assert_eq!(
//!     errors.to_string(),
//!     "ERROR: <input>:1:15: found no matching overload for '_<=_' applied to '(int, string)'\n\
//!      \x20| self.replicas <= 'five'\n\
//!      \x20| ..............^"
//! );
//! ```
//!
//! - [`Environment`]: variables ([`Decl`] or [`Type`]) and [`Library`]s; `compile` gives a [`Program`].
//! - [`Bindings`]: values for one round of evaluations; JSON with its `Decl`, programs as `variables.NAME`
//!   ([`Bindings::compose`], declared by [`environment::Builder::composed`]), the [`Authorizer`].
//! - [`Program::estimated_cost`] follows from the sizes in the declarations; multiplied by how many values there can
//!   be, it is compared with [`STATIC_RULE_LIMIT`] and [`STATIC_CRD_LIMIT`].
//! - [`Budget`]: shared by the evaluations for one object; each is limited by itself too.
//! - [`Authorizer`] may answer `Pending`: the evaluation ends with [`EvaluationError::Pending`]; have the decision
//!   made, and evaluate again with a new budget.

mod ast;
mod bindings;
mod checker;
mod cost;
mod decl;
pub mod environment;
mod error;
mod escape;
mod estimate;
mod evaluate;
mod functions;
mod inference;
mod lexer;
mod macros;
mod meter;
mod parser;
pub mod pattern;
mod plan;
mod program;
mod source;
mod time;
mod types;
mod value;

pub use bindings::Bindings;
pub use decl::{Decl, DeclKind, Field, ListKind};
pub use environment::Environment;
pub use error::EvaluationError;
pub use escape::{escape, is_identifier, unescape};
pub use estimate::CostRange;
pub use functions::Library;
pub use functions::authorizer::{Authorizer, Check, Decided, Stage};
pub use meter::{
    Budget, PER_CALL_LIMIT, RUNTIME_BUDGET, RUNTIME_BUDGET_MATCH_CONDITIONS, STATIC_CRD_LIMIT,
    STATIC_RULE_LIMIT,
};
pub use program::Program;
pub use source::{CompileError, CompileErrors};
pub use time::{Duration, Timestamp};
pub use types::{ObjectType, Type};
pub use value::{Key, List, Map, Opaque, Text, Value};
