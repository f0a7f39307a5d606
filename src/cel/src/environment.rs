//! What expressions may refer to: variables and libraries.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::decl::{Decl, Field};
use crate::functions::{self, Library};
use crate::parser::Syntax;
use crate::program::Program;
use crate::source::CompileErrors;
use crate::types::{ObjectType, Type};

/// The variable whose fields are programs.
pub(crate) const COMPOSED: &str = "variables";

/// Variables with their types, and libraries: what expressions are compiled against. Cheap to clone and extend.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: Vec<(String, Arc<Decl>)>,
    libraries: Vec<Library>,
    /// Types of the programs that `variables` holds.
    composed: Vec<(String, Type)>,
}

/// Adds to an environment.
#[derive(Clone, Debug, Default)]
pub struct Builder(Environment);

impl Builder {
    /// Declares a variable: a [`Decl`] (made from a schema, with sizes), or a [`Type`]. The name may have dots.
    #[must_use]
    pub fn variable(mut self, name: &str, decl: impl Into<Arc<Decl>>) -> Self {
        self.0.variables.retain(|(known, _)| known != name);
        self.0.variables.push((name.to_owned(), decl.into()));
        self
    }

    /// Adds a library to those of the base environment.
    #[must_use]
    pub fn library(mut self, library: Library) -> Self {
        self.0.libraries.push(library);
        self
    }

    /// Declares `variables.NAME`, the value of a program that bindings compose. Expressions compiled before do not
    /// know it, so that variables only refer to earlier ones.
    #[must_use]
    pub fn composed(mut self, name: &str, of: Type) -> Self {
        self.0.composed.retain(|(known, _)| known != name);
        self.0.composed.push((name.to_owned(), of));
        let fields: BTreeMap<String, Field> = self
            .0
            .composed
            .iter()
            .map(|(name, of)| {
                (name.clone(), Field { name: name.clone(), decl: of.clone().into(), required: true })
            })
            .collect();
        let object = ObjectType { name: "kubernetes.variables".to_owned(), fields, open: false };
        self.variable(COMPOSED, Decl::object(object))
    }

    /// The environment.
    pub fn build(self) -> Environment {
        self.0
    }
}

impl Environment {
    /// The base environment of Kubernetes 1.36, without variables.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A builder that begins with what is declared here.
    pub fn extend(&self) -> Builder {
        Builder(self.clone())
    }

    /// Parses and checks an expression.
    ///
    /// # Errors
    /// The source is no expression, or its types do not fit; errors are worded and placed as cel-go does.
    pub fn compile(&self, source: &str) -> Result<Program, CompileErrors> {
        let syntax = Syntax { bind: self.has_library(Library::Bindings) };
        let mut expr = crate::parser::parse(source, syntax)?;
        crate::checker::check(self, source, &mut expr)?;
        let cost = crate::estimate::estimate(self, &expr);
        let plan = crate::plan::plan(self, &expr);
        let variables = self.variables.iter().map(|(name, _)| name.clone()).collect();
        Ok(Program::new(expr.of, cost, plan, variables))
    }

    pub(crate) fn variable(&self, name: &str) -> Option<(usize, &Arc<Decl>)> {
        let index = self.variables.iter().position(|(known, _)| known == name)?;
        self.variables.get(index).map(|(_, decl)| (index, decl))
    }

    pub(crate) fn has_library(&self, library: Library) -> bool {
        library == Library::Base || self.libraries.contains(&library)
    }

    pub(crate) fn has_function(&self, name: &str) -> bool {
        functions::lookup(name)
            .is_some_and(|(_, overloads)| overloads.iter().any(|overload| self.has_library(overload.library)))
    }

    /// A type that `Name{...}` builds.
    pub(crate) fn object_type(&self, name: &str) -> Option<Arc<ObjectType>> {
        if !self.has_library(Library::Mutation) {
            return None;
        }
        if name == "JSONPatch" {
            let text = || Decl::from(Type::String);
            let fields = [("op", text()), ("path", text()), ("from", text()), ("value", Type::Dyn.into())];
            return Some(Arc::new(ObjectType::new(name, fields)));
        }
        let open = name == "Object" || name.starts_with("Object.");
        open.then(|| Arc::new(ObjectType { name: name.to_owned(), fields: BTreeMap::new(), open }))
    }
}
