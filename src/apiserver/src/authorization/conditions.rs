//! `matchConditions` of a webhook: which requests it is asked about.

use std::sync::LazyLock;

use apimachinery::field::{ErrorList, FieldError, Path};
use cel::{Bindings, Budget, Decl, Environment, ObjectType, Program, Type};
use serde_json::{Value, json};

/// As many as upstream allows.
const MOST: usize = 64;

/// Conditions that all have to hold.
#[derive(Debug, Default)]
pub(super) struct Conditions(Vec<Program>);

/// Whether a request matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Matched {
    /// All conditions hold.
    Yes,
    /// One does not.
    No,
    /// None is false, and some cannot be evaluated.
    Error(String),
}

/// The `spec` of a SubjectAccessReview.
static REQUEST: LazyLock<Decl> = LazyLock::new(|| {
    let text = || Decl::from(Type::String);
    let texts = || Decl::list(Type::String.into());
    let object = |name: &str, fields: Vec<(&'static str, Decl)>| Decl::object(ObjectType::new(name, fields));
    let selector = |name: &str, requirement: &str| {
        let fields = vec![("key", text()), ("operator", text()), ("values", texts())];
        let requirements = Decl::list(object(requirement, fields));
        object(name, vec![("rawSelector", text()), ("requirements", requirements)])
    };
    let resource = vec![
        ("namespace", text()),
        ("verb", text()),
        ("group", text()),
        ("version", text()),
        ("resource", text()),
        ("subresource", text()),
        ("name", text()),
        (
            "fieldSelector",
            selector("kubernetes.FieldSelectorAttributes", "kubernetes.FieldSelectorRequirement"),
        ),
        (
            "labelSelector",
            selector("kubernetes.LabelSelectorAttributes", "kubernetes.LabelSelectorRequirement"),
        ),
    ];
    object(
        "kubernetes.SubjectAccessReviewSpec",
        vec![
            ("resourceAttributes", object("kubernetes.ResourceAttributes", resource)),
            (
                "nonResourceAttributes",
                object("kubernetes.NonResourceAttributes", vec![("path", text()), ("verb", text())]),
            ),
            ("user", text()),
            ("groups", texts()),
            ("extra", Decl::map(texts())),
            ("uid", text()),
        ],
    )
});

impl Conditions {
    /// Checks and compiles expressions.
    pub(super) fn compile(expressions: &[String], at: &Path, errors: &mut ErrorList) -> Self {
        if expressions.len() > MOST {
            errors.push(FieldError::too_many(at, expressions.len(), MOST));
            return Self::default();
        }
        let environment = Environment::builder().variable("request", REQUEST.clone()).build();
        let mut programs = Vec::new();
        for (index, expression) in expressions.iter().enumerate() {
            let at = at.index(index).child("expression");
            if expression.trim().is_empty() {
                errors.push(FieldError::required(&at, ""));
                continue;
            }
            if expressions.iter().take(index).any(|earlier| earlier == expression) {
                errors.push(FieldError::duplicate(&at, expression.as_str()));
                continue;
            }
            match environment.compile(expression) {
                Ok(program) if matches!(program.output_type(), Type::Bool) => programs.push(program),
                Ok(_) => {
                    errors.push(FieldError::invalid(&at, expression.as_str(), "must evaluate to bool"));
                }
                Err(why) => {
                    let detail = format!("compilation failed: {why}");
                    errors.push(FieldError::invalid(&at, expression.as_str(), detail));
                }
            }
        }
        Self(programs)
    }

    /// Whether a SubjectAccessReview's spec matches.
    pub(super) fn matches(&self, spec: &Value) -> Matched {
        if self.0.is_empty() {
            return Matched::Yes;
        }
        let request = complete(spec);
        let mut errors = Vec::new();
        for program in &self.0 {
            let value = Bindings::new()
                .json("request", &request, &REQUEST)
                .and_then(|bindings| program.evaluate(&bindings, &mut Budget::default()));
            match value {
                Ok(value) if value.as_bool() == Some(true) => {}
                // One that is false decides, whatever the others say.
                Ok(_) => return Matched::No,
                Err(error) => errors.push(error.to_string()),
            }
        }
        if errors.is_empty() { Matched::Yes } else { Matched::Error(errors.join(", ")) }
    }
}

/// A spec with the texts that are left out when they are empty: expressions may look at them.
fn complete(spec: &Value) -> Value {
    let mut request = json!({"user": "", "groups": [], "extra": {}, "uid": ""});
    merge(&mut request, spec);
    for (name, fields) in [
        (
            "resourceAttributes",
            &["namespace", "verb", "group", "version", "resource", "subresource", "name"][..],
        ),
        ("nonResourceAttributes", &["path", "verb"]),
    ] {
        if let Some(attributes) = api::value::object_mut(&mut request, name) {
            for field in fields {
                if attributes.get(*field).is_none() {
                    api::value::set(attributes, field, "");
                }
            }
        }
    }
    request
}

fn merge(into: &mut Value, from: &Value) {
    if let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) {
        into.extend(from.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(expressions: &[&str], spec: &Value) -> Matched {
        let expressions: Vec<String> = expressions.iter().map(|text| (*text).to_owned()).collect();
        let mut errors = ErrorList::new();
        let conditions = Conditions::compile(&expressions, &Path::new("c"), &mut errors);
        assert!(errors.is_empty(), "{errors:?}");
        conditions.matches(spec)
    }

    #[test]
    fn all_conditions_have_to_hold() {
        let spec = json!({"resourceAttributes": {"verb": "list", "resource": "pods"}, "user": "jane"});
        let is_list = "has(request.resourceAttributes) && request.resourceAttributes.verb == 'list'";
        assert_eq!(matched(&[], &spec), Matched::Yes);
        assert_eq!(matched(&[is_list, "request.resourceAttributes.namespace == ''"], &spec), Matched::Yes);
        assert_eq!(
            matched(&[is_list, "!('dev' in request.groups)", "request.user != 'jane'"], &spec),
            Matched::No
        );
        let fails = "request.nonResourceAttributes.path == '/'";
        assert!(matches!(matched(&[fails, is_list], &spec), Matched::Error(_)));
        assert_eq!(matched(&[fails, "request.user == 'x'"], &spec), Matched::No);
    }

    #[test]
    fn what_does_not_compile_is_told() {
        let told = |text: &str| {
            let mut errors = ErrorList::new();
            Conditions::compile(&[text.to_owned()], &Path::new("c"), &mut errors);
            errors.first().map(ToString::to_string).unwrap_or_default()
        };
        assert!(told("request.user").contains("must evaluate to bool"));
        assert!(told("request.nope == ''").contains("undefined field 'nope'"));
        assert!(told(" ").starts_with("c[0].expression: Required value"));
    }
}
