//! The authorizer library.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::sync::Mutex;
use std::task::Poll;

use cel::{Authorizer, Bindings, Budget, Check, Decided, Environment, EvaluationError, Stage, Type, Value};

/// Allows `get`; has no answer to `watch`; keeps what it was asked.
#[derive(Default)]
struct Recorder(Mutex<Vec<Check>>);

impl Authorizer for Recorder {
    fn authorize(&self, check: &Check) -> Poll<Decided> {
        self.0.lock().unwrap().push(check.clone());
        if check.verb == "watch" {
            return Poll::Pending;
        }
        let allowed = check.verb == "get";
        Poll::Ready(Decided { allowed, reason: format!("asked for {}", check.verb), error: String::new() })
    }
}

fn evaluate(source: &str) -> (Result<String, EvaluationError>, Vec<Check>) {
    let environment = Environment::builder()
        .variable("authorizer", Type::authorizer())
        .variable("authorizer.requestResource", Type::resource_check())
        .build();
    let program = environment.compile(source).unwrap_or_else(|errors| panic!("{errors}"));
    let recorder = Recorder::default();
    let request = Check { stage: Stage::Resource, resource: "pods".to_owned(), ..Check::default() };
    let bindings = Bindings::new()
        .bind("authorizer", Value::authorizer())
        .bind("authorizer.requestResource", Value::check(request))
        .authorizer(&recorder);
    let value = program.evaluate(&bindings, &mut Budget::default());
    let value =
        value.map(|value| value.to_json().map_or_else(|_| value.to_string(), |json| json.to_string()));
    drop(bindings);
    (value, recorder.0.into_inner().unwrap())
}

#[test]
fn checks_reach_the_authorizer_as_built() {
    let (value, asked) = evaluate(
        "authorizer.serviceAccount('ns', 'robot').group('apps').resource('deployments').subresource('scale')\
         .namespace('default').name('web').labelSelector('a=b').fieldSelector('c=d').check('get').allowed()",
    );
    assert_eq!(value.unwrap(), "true");
    let expected = Check {
        stage: Stage::Resource,
        service_account: Some(("ns".to_owned(), "robot".to_owned())),
        group: "apps".to_owned(),
        resource: "deployments".to_owned(),
        subresource: "scale".to_owned(),
        namespace: "default".to_owned(),
        name: "web".to_owned(),
        label_selector: "a=b".to_owned(),
        field_selector: "c=d".to_owned(),
        verb: "get".to_owned(),
        ..Check::default()
    };
    assert_eq!(asked, [expected]);
}

#[test]
fn decisions_tell_their_reason() {
    let (value, asked) = evaluate("authorizer.path('/healthz').check('delete').reason()");
    assert_eq!(value.unwrap(), r#""asked for delete""#);
    assert_eq!((asked[0].stage, asked[0].path.as_str()), (Stage::Path, "/healthz"));
    let (value, _) = evaluate(
        "authorizer.requestResource.check('get').allowed() && !authorizer.requestResource.check('list').errored()",
    );
    assert_eq!(value.unwrap(), "true");
    let (value, _) = evaluate("authorizer.path('').check('get').allowed()");
    assert_eq!(value.unwrap_err().to_string(), "path must not be empty");
    let (value, _) =
        evaluate("authorizer.serviceAccount('ns', 'Bad Name').path('/x').check('get').allowed()");
    assert!(value.unwrap_err().to_string().starts_with("Invalid service account name"));
}

#[test]
fn pending_decisions_end_the_evaluation_and_no_operator_hides_them() {
    let (value, asked) = evaluate("authorizer.path('/x').check('watch').allowed() || true");
    assert_eq!(value.unwrap_err(), EvaluationError::Pending);
    assert_eq!(asked.len(), 1);
}

#[test]
fn two_checks_fit_an_expression_and_three_do_not() {
    let check = "authorizer.path('/x').check('get').allowed()";
    assert_eq!(evaluate(&[check; 2].join(" && ")).0.unwrap(), "true");
    assert_eq!(evaluate(&[check; 3].join(" && ")).0.unwrap_err(), EvaluationError::CostLimit);
}
