use super::*;
use serde_json::json;

fn spec(schema: Value) -> StructuralSchema {
    StructuralSchema::parse(
        &json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "x": schema}}}}),
    )
    .unwrap()
}

fn texts(errors: &ErrorList) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn errors(schema: Value, value: Value) -> Vec<String> {
    texts(&validate(&spec(schema), &json!({"spec": {"x": value}}), &Path::default()))
}

#[test]
fn values_are_told_wrong_in_kubernetes_words() {
    for (schema, value, wanted) in [
        (
            json!({"type": "integer", "maximum": 10}),
            json!(11),
            "spec.x: Invalid value: 11: spec.x in body should be less than or equal to 10",
        ),
        (
            json!({"type": "integer", "maximum": 10, "exclusiveMaximum": true}),
            json!(10),
            "spec.x: Invalid value: 10: spec.x in body should be less than 10",
        ),
        (
            json!({"type": "integer", "minimum": 1}),
            json!(0),
            "spec.x: Invalid value: 0: spec.x in body should be greater than or equal to 1",
        ),
        (
            json!({"type": "number", "minimum": 0.5, "exclusiveMinimum": true}),
            json!(0.5),
            "spec.x: Invalid value: 0.5: spec.x in body should be greater than 0.5",
        ),
        (
            json!({"type": "integer", "multipleOf": 5}),
            json!(7),
            "spec.x: Invalid value: 7: spec.x in body should be a multiple of 5",
        ),
        (
            json!({"type": "integer"}),
            json!("string"),
            "spec.x: Invalid value: \"string\": spec.x in body must be of type integer: \"string\"",
        ),
        (
            json!({"type": "integer"}),
            json!(1.5),
            "spec.x: Invalid value: \"number\": spec.x in body must be of type integer: \"number\"",
        ),
        (
            json!({"type": "string"}),
            json!(null),
            "spec.x: Invalid value: \"null\": spec.x in body must be of type string: \"null\"",
        ),
        (
            json!({"type": "string"}),
            json!({}),
            "spec.x: Invalid value: \"object\": spec.x in body must be of type string: \"object\"",
        ),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!(true),
            "spec.x: Invalid value: \"boolean\": spec.x in body must be of type integer,string: \"boolean\"",
        ),
        (
            json!({"type": "string", "format": "date"}),
            json!(5),
            "spec.x: Invalid value: \"int64\": spec.x in body must be of type date: \"int64\"",
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            json!("today"),
            "spec.x: Invalid value: \"today\": spec.x in body must be of type date-time: \"today\"",
        ),
        (
            json!({"type": "string", "maxLength": 2}),
            json!("äöü"),
            "spec.x: Too long: may not be more than 2 bytes",
        ),
        (
            json!({"type": "string", "minLength": 2}),
            json!("a"),
            "spec.x: Invalid value: \"a\": spec.x in body should be at least 2 chars long",
        ),
        (
            json!({"type": "string", "pattern": "^a+$"}),
            json!("b"),
            "spec.x: Invalid value: \"b\": spec.x in body should match '^a+$'",
        ),
        (
            json!({"type": "string", "enum": ["A", "B"]}),
            json!("x"),
            "spec.x: Unsupported value: \"x\": supported values: \"A\", \"B\"",
        ),
        (
            json!({"type": "integer", "enum": [1, 2]}),
            json!(3),
            "spec.x: Unsupported value: 3: supported values: \"1\", \"2\"",
        ),
        (
            json!({"type": "string", "nullable": true, "enum": ["A"]}),
            json!(null),
            "spec.x: Unsupported value: \"null\": supported values: \"A\"",
        ),
        (
            json!({"type": "array", "maxItems": 1, "items": {"type": "string"}}),
            json!(["a", "b"]),
            "spec.x: Too many: 2: must have at most 1 item",
        ),
        (
            json!({"type": "array", "minItems": 1, "items": {"type": "string"}}),
            json!([]),
            "spec.x: Invalid value: 0: spec.x in body should have at least 1 items",
        ),
        (
            json!({"type": "array", "items": {"type": "string"}}),
            json!(["a", 1]),
            "spec.x[1]: Invalid value: \"integer\": spec.x[1] in body must be of type string: \"integer\"",
        ),
        (json!({"type": "object", "required": ["a"]}), json!({}), "spec.x.a: Required value"),
        (
            json!({"type": "object", "maxProperties": 1, "additionalProperties": {"type": "string"}}),
            json!({"a": "", "b": ""}),
            "spec.x: Too many: 2: must have at most 1 item",
        ),
        (
            json!({"type": "object", "minProperties": 1}),
            json!({}),
            "spec.x: Invalid value: 0: spec.x in body should have at least 1 properties",
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            json!({"a.b/c": 1}),
            "spec.x.a.b/c: Invalid value: \"integer\": spec.x.a.b/c in body must be of type string: \"integer\"",
        ),
        (
            json!({"type": "string", "not": {"enum": ["a"]}}),
            json!("a"),
            "<nil>: Invalid value: \"\": \"spec.x\" must not validate the schema (not)",
        ),
        (
            json!({"type": "string", "oneOf": [{"enum": ["a", "b"]}, {"enum": ["a", "c"]}]}),
            json!("a"),
            "<nil>: Invalid value: \"\": \"spec.x\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
        ),
    ] {
        assert_eq!(errors(schema.clone(), value), [wanted], "{schema}");
    }
}

#[test]
fn what_fits_is_let_pass() {
    for (schema, value) in [
        (json!({"type": "integer"}), json!(1.0)),
        (json!({"type": "number"}), json!(1)),
        (json!({"type": "string", "nullable": true}), json!(null)),
        (
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
            json!("50%"),
        ),
        (json!({"type": "string", "format": "made-up"}), json!("anything")),
        (json!({"type": "integer", "format": "int32"}), json!(5_000_000_000_i64)),
        (json!({"x-kubernetes-preserve-unknown-fields": true}), json!([1, {"a": null}])),
        (json!({"type": "number", "enum": [1, 2]}), json!(1.0)),
        (json!({"type": "string", "oneOf": [{"enum": ["a"]}, {"enum": ["b"]}]}), json!("b")),
    ] {
        assert_eq!(errors(schema.clone(), value), Vec::<String>::new(), "{schema}");
    }
}

#[test]
fn of_alternatives_that_fail_the_best_is_told() {
    let schema = json!({"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}, "c": {"type": "string"}}});
    assert_eq!(
        errors(schema, json!({"c": ""})),
        [
            "<nil>: Invalid value: \"\": \"spec.x\" must validate at least one schema (anyOf)",
            "spec.x.a: Required value"
        ]
    );
    let schema = json!({"type": "string", "allOf": [{"maxLength": 1}, {"minLength": 1}]});
    assert_eq!(
        errors(schema, json!("ab")),
        [
            "spec.x: Too long: may not be more than 1 byte",
            "<nil>: Invalid value: \"\": \"spec.x\" must validate all the schemas (allOf)"
        ]
    );
}

#[test]
fn what_has_not_changed_is_let_pass() {
    let schema = spec(json!({"type": "object", "properties": {
        "n": {"type": "integer", "maximum": 5},
        "m": {"type": "integer", "maximum": 5},
        "plain": {"type": "array", "items": {"type": "integer", "maximum": 5}},
        "atomic": {"type": "array", "x-kubernetes-list-type": "atomic", "items": {"type": "integer", "maximum": 5}},
        "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}, "n": {"type": "integer", "maximum": 5}}}},
        "all": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "allOf": [{"properties": {"a": {"maximum": 5}, "b": {"maximum": 5}}}]}}}));
    let too_big = |at: &str, n: i64| {
        format!("{at}: Invalid value: {n}: {at} in body should be less than or equal to 5")
    };
    for (old, new, wanted) in [
        (json!({"n": 9, "m": 1}), json!({"n": 9, "m": 2}), vec![]),
        (json!({"n": 9}), json!({"n": 8}), vec![too_big("spec.x.n", 8)]),
        (json!({"n": 9}), json!({"n": 9, "m": 7}), vec![too_big("spec.x.m", 7)]),
        (json!({"plain": [9, 1]}), json!({"plain": [9, 2]}), vec![]),
        (json!({"plain": [1, 9]}), json!({"plain": [9]}), vec![too_big("spec.x.plain[0]", 9)]),
        (json!({"atomic": [9, 1]}), json!({"atomic": [9, 2]}), vec![too_big("spec.x.atomic[0]", 9)]),
        (json!({"atomic": [9, 1], "n": 1}), json!({"atomic": [9, 1], "n": 2}), vec![]),
        (
            json!({"keyed": [{"k": "a", "n": 9}, {"k": "b", "n": 9}]}),
            json!({"keyed": [{"k": "b", "n": 9}, {"k": "c", "n": 9}]}),
            vec![too_big("spec.x.keyed[1].n", 9)],
        ),
        (json!({"all": {"a": 9, "b": 1}}), json!({"all": {"a": 9, "b": 2}}), vec![]),
    ] {
        let (old, new) = (json!({"spec": {"x": old}}), json!({"spec": {"x": new}}));
        assert_eq!(texts(&validate_update(&schema, &new, &old, &Path::default())), wanted, "{old} {new}");
    }
}

#[test]
fn below_a_base_names_begin_anew() {
    let schema =
        StructuralSchema::parse(&json!({"type": "object", "properties": {"n": {"type": "integer"}}}))
            .unwrap();
    assert_eq!(
        texts(&validate(&schema, &json!({"n": "a"}), &Path::new("status"))),
        ["status.n: Invalid value: \"string\": n in body must be of type integer: \"string\""]
    );
}
