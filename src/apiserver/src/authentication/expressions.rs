//! Expressions of an AuthenticationConfiguration.

use std::sync::{Arc, LazyLock};

use cel::{Bindings, Budget, Decl, Environment, ObjectType, Program, Type};
use serde_json::Value;

/// What an expression is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// `claims`: those of a token.
    Claims,
    /// `user`: who the claims say it is.
    User,
}

/// What an expression has to evaluate to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Yes or no.
    Bool,
    /// One string.
    Text,
    /// One string or several.
    Texts,
}

/// A compiled expression.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    /// As it was written.
    pub(super) text: String,
    about: About,
    program: Arc<Program>,
}

static CLAIMS: LazyLock<Decl> = LazyLock::new(|| Decl::map(Decl::dynamic().clone()));

static USER: LazyLock<Decl> = LazyLock::new(|| {
    let texts = || Decl::list(Type::String.into());
    Decl::object(ObjectType::new(
        "kubernetes.UserInfo",
        [
            ("username", Type::String.into()),
            ("uid", Type::String.into()),
            ("groups", texts()),
            ("extra", Decl::map(texts())),
        ],
    ))
});

impl About {
    fn variable(self) -> (&'static str, &'static Decl) {
        match self {
            Self::Claims => ("claims", &CLAIMS),
            Self::User => ("user", &USER),
        }
    }
}

impl Output {
    fn takes(self, of: &Type) -> bool {
        let is = |wanted: Type| of.is_assignable_to(&wanted) && !matches!(of, Type::Dyn);
        match self {
            Self::Bool => is(Type::Bool),
            // Claims may be anything: what they are is seen when there are some.
            Self::Text => matches!(of, Type::Dyn) || is(Type::String),
            Self::Texts => matches!(of, Type::Dyn) || is(Type::String) || is(Type::list(Type::String)),
        }
    }

    fn wanted(self) -> &'static str {
        match self {
            Self::Bool => "must evaluate to bool",
            Self::Text => "must evaluate to string",
            Self::Texts => "must evaluate to a string or a list of strings",
        }
    }
}

impl Expression {
    /// Checks and compiles.
    ///
    /// # Errors
    /// In words.
    pub(super) fn compile(text: &str, about: About, output: Output) -> Result<Self, String> {
        let (name, decl) = about.variable();
        let environment = Environment::builder().variable(name, decl.clone()).build();
        let program = environment.compile(text).map_err(|errors| format!("compilation failed: {errors}"))?;
        if !output.takes(program.output_type()) {
            return Err(output.wanted().to_owned());
        }
        Ok(Self { text: text.to_owned(), about, program: Arc::new(program) })
    }

    /// Whether it names this claim.
    pub(super) fn uses_claim(&self, claim: &str) -> bool {
        [
            format!("claims.{claim}"),
            format!("claims.?{claim}"),
            format!("claims[?'{claim}'"),
            format!("claims['{claim}'"),
        ]
        .iter()
        .any(|access| {
            let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
            self.text
                .match_indices(access.as_str())
                .any(|(at, found)| self.text.get(at + found.len()..).is_some_and(ends))
        })
    }

    /// Its value.
    ///
    /// # Errors
    /// In words.
    pub(super) fn evaluate(&self, of: &Value) -> Result<Value, String> {
        let (name, decl) = self.about.variable();
        let bindings = Bindings::new().json(name, of, decl).map_err(|error| error.to_string())?;
        let value =
            self.program.evaluate(&bindings, &mut Budget::default()).map_err(|error| error.to_string())?;
        value.to_json().map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn claims_and_users_are_looked_into() {
        let claims = json!({"sub": "jane", "roles": "a", "admin": true});
        let texts = |text| Expression::compile(text, About::Claims, Output::Texts).unwrap();
        assert_eq!(texts("['r:' + claims.roles, claims.sub]").evaluate(&claims), Ok(json!(["r:a", "jane"])));
        assert_eq!(texts("'o:' + claims.sub").evaluate(&claims), Ok(json!("o:jane")));
        assert!(texts("claims.nope").evaluate(&claims).unwrap_err().contains("no such key: nope"));
        let user = json!({"username": "jane", "uid": "", "groups": ["dev"], "extra": {"k": ["v"]}});
        let rule = |text| Expression::compile(text, About::User, Output::Bool);
        let fine = rule(
            "user.username == 'jane' && user.groups.all(g, !g.startsWith('system:')) && 'k' in user.extra",
        );
        assert_eq!(fine.unwrap().evaluate(&user), Ok(json!(true)));
        assert!(rule("user.name == 'x'").unwrap_err().contains("undefined field 'name'"));
        assert_eq!(rule("user.username").unwrap_err(), "must evaluate to bool");
        assert!(Expression::compile("user.uid", About::Claims, Output::Text).is_err());
    }

    #[test]
    fn a_claim_is_told_from_one_that_begins_like_it() {
        let uses =
            |text, claim| Expression::compile(text, About::Claims, Output::Texts).unwrap().uses_claim(claim);
        assert!(uses("claims.email", "email"));
        assert!(!uses("claims.email_verified ? 'a' : 'b'", "email"));
        assert!(uses("claims.email_verified ? claims.email : 'b'", "email"));
        assert!(uses("claims.?email.orValue('x')", "email"));
    }
}
