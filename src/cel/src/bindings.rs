//! What the variables of an evaluation are.

use std::cell::{Cell, RefCell};

use serde_json::Value as Json;

use crate::decl::Decl;
use crate::error::{Answer, EvaluationError};
use crate::functions::authorizer::Authorizer;
use crate::meter::Budget;
use crate::program::Program;
use crate::value::{Opaque, Value};

/// Values of the variables of an evaluation, borrowed for `'a`.
///
/// Programs bound by [`Bindings::compose`] are run when they are first looked at, and only once for these bindings.
#[derive(Default)]
pub struct Bindings<'a> {
    values: Vec<(&'a str, Value<'a>)>,
    authorizer: Option<&'a dyn Authorizer>,
    programs: Vec<(&'a str, &'a Program)>,
    /// Answers of the programs, by place: `None` while one runs.
    answers: RefCell<Vec<(usize, Option<Answer<'a>>)>>,
    pub(crate) depth: Cell<u32>,
}

impl<'a> Bindings<'a> {
    /// No variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Binds a value.
    #[must_use]
    pub fn bind(mut self, name: &'a str, value: Value<'a>) -> Self {
        self.values.push((name, value));
        self
    }

    /// Binds JSON, read as declared where an expression looks.
    ///
    /// # Errors
    /// The JSON is not of the declared type; what is within it is not looked at yet.
    pub fn json(self, name: &'a str, json: &'a Json, decl: &'a Decl) -> Result<Self, EvaluationError> {
        let value = Value::from_json(json, decl)?;
        Ok(self.bind(name, value))
    }

    /// Binds `variables.NAME` to what the program evaluates to with these bindings.
    #[must_use]
    pub fn compose(mut self, name: &'a str, program: &'a Program) -> Self {
        self.programs.push((name, program));
        self
    }

    /// Has checks of the `authorizer` library answered.
    #[must_use]
    pub fn authorizer(mut self, authorizer: &'a dyn Authorizer) -> Self {
        self.authorizer = Some(authorizer);
        self
    }

    pub(crate) fn asked(&self) -> Option<&'a dyn Authorizer> {
        self.authorizer
    }

    pub(crate) fn value(&self, name: &str) -> Option<Value<'a>> {
        if name == crate::environment::COMPOSED {
            return Some(Value::Opaque(Opaque::Composed));
        }
        self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    }

    pub(crate) fn has_composed(&self, name: &str) -> bool {
        self.programs.iter().any(|(known, _)| *known == name)
    }

    pub(crate) fn composed(&self, name: &str, budget: &mut Budget) -> Answer<'a> {
        let Some(place) = self.programs.iter().position(|(known, _)| *known == name) else {
            return Err(EvaluationError::new(format!("no such key: {name}")));
        };
        let known =
            self.answers.borrow().iter().find(|(known, _)| *known == place).map(|(_, answer)| answer.clone());
        match known {
            Some(Some(answer)) => return answer,
            Some(None) => {
                return Err(EvaluationError::new(format!("variable {name} refers to itself")));
            }
            None => {}
        }
        let Some((_, program)) = self.programs.get(place) else { return crate::functions::no_overload() };
        self.answers.borrow_mut().push((place, None));
        let answer = program.evaluate(self, budget);
        if let Some((_, known)) = self.answers.borrow_mut().iter_mut().find(|(known, _)| *known == place) {
            *known = Some(answer.clone());
        }
        // A pending decision will be there next time.
        if matches!(answer, Err(EvaluationError::Pending)) {
            self.answers.borrow_mut().retain(|(known, _)| *known != place);
        }
        answer
    }
}
