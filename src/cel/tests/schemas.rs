//! Values typed by schemas, and the costs that schemas allow.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use cel::{Bindings, Budget, CostRange, Decl, DeclKind, Environment, Field, ListKind, ObjectType};
use serde_json::{Value as Json, json};

fn sized(kind: DeclKind, max_elements: u64) -> Decl {
    Decl { max_elements, ..Decl::new(kind) }
}

fn string() -> Decl {
    Decl::new(DeclKind::String)
}

fn object(name: &str, fields: impl IntoIterator<Item = (&'static str, Decl)>) -> Decl {
    let fields = fields.into_iter().map(|(name, decl)| {
        let field = Field { name: name.to_owned(), decl: Arc::new(decl), required: false };
        (cel::escape(name).unwrap(), field)
    });
    Decl::object(ObjectType {
        name: name.to_owned(),
        fields: fields.collect::<BTreeMap<_, _>>(),
        open: false,
    })
}

fn list(items: Decl, list: ListKind, max: u64) -> Decl {
    sized(DeclKind::List { items: Arc::new(items), list }, max)
}

/// The value or the error of a rule on an object.
fn evaluate(decl: &Decl, object: &Json, rule: &str) -> String {
    let environment = Environment::builder().variable("self", decl.clone()).build();
    let program = match environment.compile(rule) {
        Ok(program) => program,
        Err(errors) => return format!("compile: {}", errors.0[0].message),
    };
    let bindings = Bindings::new().json("self", object, decl).unwrap();
    match program.evaluate(&bindings, &mut Budget::default()) {
        Ok(value) => value.to_json().unwrap().to_string(),
        Err(error) => format!("error: {error}"),
    }
}

fn cost(decl: &Decl, rule: &str) -> CostRange {
    let environment = Environment::builder().variable("self", decl.clone()).build();
    environment.compile(rule).unwrap().estimated_cost()
}

#[test]
fn values_are_read_as_their_schemas_say() {
    let part = object("selfType.parts.@idx", [("name", string()), ("v", Decl::new(DeclKind::Int))]);
    let schema = object(
        "selfType",
        [
            ("at", Decl::new(DeclKind::Timestamp)),
            ("day", Decl::new(DeclKind::Date)),
            ("for", Decl::new(DeclKind::Duration)),
            ("raw", Decl::new(DeclKind::Bytes)),
            ("port", Decl::new(DeclKind::IntOrString)),
            ("ratio", Decl::new(DeclKind::Double)),
            ("count", Decl::new(DeclKind::Int)),
            ("names", list(string(), ListKind::Set, 10)),
            ("others", list(string(), ListKind::Set, 10)),
            ("parts", list(part, ListKind::Map(vec!["name".to_owned()]), 10)),
            ("labels", Decl::map(string())),
            ("a.b/c-d", string()),
            ("namespace", string()),
            ("maybe", Decl { nullable: true, ..string() }),
        ],
    );
    let object = json!({
        "at": "2024-01-01T00:00:00Z", "day": "2024-01-02", "for": "1h", "raw": "aGk=", "port": "http", "ratio": 1,
        "count": 2, "names": ["a", "b"], "others": ["b", "a"],
        "parts": [{"name": "x", "v": 1}, {"name": "y", "v": 2}],
        "labels": {"k": "v"}, "a.b/c-d": "escaped", "namespace": "ns", "maybe": null, "hidden": {"any": 1},
    });
    for (rule, expected) in [
        ("self.at < self.day", "true"),
        ("self.for == duration('60m')", "true"),
        ("self.raw == b'hi'", "true"),
        ("type(self.port) == string && self.port == 'http'", "true"),
        ("self.ratio + 0.5", "1.5"),
        ("self.count + 1", "3"),
        ("self.count + 1.0", "compile: found no matching overload for '_+_' applied to '(int, double)'"),
        ("self.names == self.others", "true"),
        ("self.names + ['b', 'c']", r#"["a","b","c"]"#),
        ("(self.parts + [self.parts[0]]).size()", "2"),
        ("self.parts.map(p, p.name)", r#"["x","y"]"#),
        ("self.labels.k + self.labels['k']", r#""vv""#),
        ("self.labels.x", "error: no such key: x"),
        ("self.a__dot__b__slash__c__dash__d", r#""escaped""#),
        ("self.__namespace__ + self.namespace", r#""nsns""#),
        ("self.maybe == null", "compile: found no matching overload for '_==_' applied to '(string, null)'"),
        ("has(self.maybe) && !has(self.labels.x)", "true"),
        ("self.missing", "compile: undefined field 'missing'"),
        ("self.parts[0].nme", "compile: undefined field 'nme'"),
        ("self == self", "true"),
        (
            "self.parts[0] == self.count",
            "compile: found no matching overload for '_==_' applied to '(selfType.parts.@idx, int)'",
        ),
    ] {
        assert_eq!(evaluate(&schema, &object, rule), expected, "{rule}");
    }
    let wrong = json!({"count": "two", "at": "never", "maybe": null, "names": null});
    for (rule, expected) in [
        ("self.count == 1", "error: invalid data, expected int, got string"),
        ("self.at == self.at", "error: Invalid date-time formatted string never: no RFC 3339 time"),
        ("size(self.names) == 0", "error: invalid data, got null for schema with nullable=false"),
        ("has(self.names) || self.count == 1", "true"),
    ] {
        assert_eq!(evaluate(&schema, &wrong, rule), expected, "{rule}");
    }
}

#[test]
fn objects_differ_by_fields_that_expressions_cannot_see() {
    let schema = object("selfType", [("a", object("selfType.a", [])), ("b", object("selfType.b", []))]);
    let rule = "dyn(self.a) == dyn(self.b)";
    let same = json!({"a": {"hidden": {"x": 1}}, "b": {"hidden": {"x": 1}}});
    assert_eq!(evaluate(&schema, &same, rule), "true");
    let other = json!({"a": {"hidden": {"x": 1}}, "b": {"hidden": {"x": 2}}});
    assert_eq!(evaluate(&schema, &other, rule), "false");
}

#[test]
fn costs_follow_from_sizes() {
    let range = |min, max| CostRange { min, max };
    let bounded = object(
        "selfType",
        [
            ("names", list(sized(DeclKind::String, 20), ListKind::Atomic, 10)),
            ("text", sized(DeclKind::String, 40)),
            ("count", Decl::new(DeclKind::Int)),
        ],
    );
    // A name, a field; numbers have no size to compare.
    assert_eq!(cost(&bounded, "self.count == 1"), range(2, 2));
    // Forty bytes are searched, as far as the estimate knows.
    assert_eq!(cost(&bounded, "self.text.contains('abc')"), range(2, 2 + 4));
    assert_eq!(cost(&bounded, "self.text.matches('^[a-z]+$')"), range(2 + 2, 2 + 5 * 2));
    // Each round: condition 2, accumulator 1, comparison of the name with the literal 1 + 1.
    assert_eq!(cost(&bounded, "self.names.all(n, n == 'x')"), range(3, 3 + 10 * (2 + 1 + 1 + 1)));
    assert_eq!(cost(&bounded, "has(self.count)"), range(1, 1));
    assert_eq!(cost(&bounded, "true || self.count == 1"), range(0, 2));
    assert_eq!(cost(&bounded, "self.text == 'abc' ? self.count == 1 : false"), range(3, 5));
    // Without bounds, the size of a request is the bound.
    let free = object(
        "selfType",
        [("names", list(sized(DeclKind::String, 3_145_726), ListKind::Atomic, 1_048_575))],
    );
    let all = cost(&free, "self.names.all(n, self.names.exists_one(m, n == m))");
    assert!(all.max > cel::STATIC_RULE_LIMIT * 100, "{all:?}");
    assert_eq!(cost(&free, "self.names.size() > 1").max, 4);
}
