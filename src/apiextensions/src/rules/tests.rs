use super::*;
use serde_json::json;

fn rules(schema: Value) -> Rules {
    let schema = StructuralSchema::parse(&json!({"type": "object", "properties": {"spec": schema}})).unwrap();
    Rules::new(Arc::new(schema), true).unwrap()
}

fn errors(rules: &Rules, new: Value, old: Option<Value>) -> Vec<String> {
    let (new, old) = (json!({"spec": new}), old.map(|old| json!({"spec": old})));
    let mut budget = cel::Budget::default();
    rules
        .validate(&new, old.as_ref(), &Path::default(), &mut budget, true)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn rules_are_told_broken_in_kubernetes_words() {
    for (rule, value, wanted) in [
        (
            json!({"rule": "self.replicas <= self.max"}),
            json!({"replicas": 3, "max": 2}),
            vec!["spec: Invalid value: \"object\": failed rule: self.replicas <= self.max"],
        ),
        (
            json!({"rule": "self.replicas <= self.max", "message": "too many"}),
            json!({"replicas": 3, "max": 2}),
            vec!["spec: Invalid value: \"object\": too many"],
        ),
        (
            json!({"rule": "self.replicas <= self.max", "messageExpression": "'at most ' + string(self.max)"}),
            json!({"replicas": 3, "max": 2}),
            vec!["spec: Invalid value: \"object\": at most 2"],
        ),
        (
            json!({"rule": "self.replicas <= self.max", "message": "m", "reason": "FieldValueForbidden", "fieldPath": ".replicas"}),
            json!({"replicas": 3, "max": 2}),
            vec!["spec.replicas: Forbidden: m"],
        ),
        (
            json!({"rule": "has(self.max)", "message": "say how many", "reason": "FieldValueRequired", "fieldPath": ".max"}),
            json!({"replicas": 3}),
            vec!["spec.max: Required value: say how many"],
        ),
        (
            json!({"rule": "self.max > 0"}),
            json!({"replicas": 3}),
            vec!["spec: Invalid value: \"object\": no such key: max evaluating rule: self.max > 0"],
        ),
        (json!({"rule": "self.replicas <= self.max"}), json!({"replicas": 1, "max": 2}), vec![]),
    ] {
        let rules = rules(json!({"type": "object", "x-kubernetes-validations": [rule],
            "properties": {"replicas": {"type": "integer"}, "max": {"type": "integer"}}}));
        assert_eq!(errors(&rules, value, None), wanted);
    }
}

#[test]
fn rules_hold_for_every_item_and_entry() {
    let rules = rules(json!({"type": "object", "properties": {
        "list": {"type": "array", "items": {"type": "string", "x-kubernetes-validations": [{"rule": "self.startsWith('a')"}]}},
        "map": {"type": "object", "additionalProperties": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0"}]}}}}));
    assert_eq!(
        errors(&rules, json!({"list": ["a", "b"], "map": {"x": 0, "y": 1}}), None),
        [
            "spec.list[1]: Invalid value: \"string\": failed rule: self.startsWith('a')",
            "spec.map[x]: Invalid value: \"integer\": failed rule: self > 0"
        ]
    );
}

#[test]
fn names_of_the_object_are_seen_at_the_root() {
    let schema = StructuralSchema::parse(&json!({"type": "object",
        "x-kubernetes-validations": [{"rule": "self.metadata.name.startsWith('a')"}]}))
    .unwrap();
    let rules = Rules::new(Arc::new(schema), true).unwrap();
    let object = json!({"apiVersion": "a/v1", "kind": "A", "metadata": {"name": "b", "labels": {}}});
    let errors = rules.validate(&object, None, &Path::default(), &mut cel::Budget::default(), true);
    assert_eq!(
        errors[0].to_string(),
        ": Invalid value: \"object\": failed rule: self.metadata.name.startsWith('a')"
    );
}

#[test]
fn transitions_are_only_looked_at_where_there_is_one() {
    let immutable = rules(json!({"type": "object", "properties": {
        "x": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "immutable"}]},
        "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {
            "type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "port": {"type": "integer",
                "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}}}}}}));
    assert_eq!(errors(&immutable, json!({"x": "a"}), None), Vec::<String>::new());
    assert_eq!(errors(&immutable, json!({"x": "a"}), Some(json!({}))), Vec::<String>::new());
    assert_eq!(
        errors(&immutable, json!({"x": "a"}), Some(json!({"x": "b"}))),
        ["spec.x: Invalid value: \"string\": immutable"]
    );
    assert_eq!(
        errors(
            &immutable,
            json!({"ports": [{"name": "b", "port": 2}, {"name": "a", "port": 9}]}),
            Some(json!({"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}]}))
        ),
        ["spec.ports[1].port: Invalid value: \"integer\": failed rule: self == oldSelf"]
    );
    let optional =
        rules(json!({"type": "object", "properties": {"x": {"type": "string", "x-kubernetes-validations": [
        {"rule": "oldSelf.hasValue() || self == 'first'", "optionalOldSelf": true}]}}}));
    assert_eq!(errors(&optional, json!({"x": "first"}), None), Vec::<String>::new());
    assert_eq!(errors(&optional, json!({"x": "b"}), Some(json!({"x": "a"}))), Vec::<String>::new());
    assert_eq!(errors(&optional, json!({"x": "b"}), None).len(), 1);
}

#[test]
fn what_has_not_changed_is_let_pass() {
    let rules = rules(json!({"type": "object", "properties": {
        "n": {"type": "integer"},
        "x": {"type": "object", "properties": {"y": {"type": "string"}}, "x-kubernetes-validations": [{"rule": "self.y == 'a'"}]},
        "atomic": {"type": "array", "x-kubernetes-list-type": "atomic", "items": {"type": "string",
            "x-kubernetes-validations": [{"rule": "self == 'a'"}]}}}}));
    for (new, old, count) in [
        (json!({"n": 2, "x": {"y": "b"}}), json!({"n": 1, "x": {"y": "b"}}), 0),
        (json!({"x": {"y": "c"}}), json!({"x": {"y": "b"}}), 1),
        (json!({"n": 2, "atomic": ["b"]}), json!({"n": 1, "atomic": ["b"]}), 0),
        (json!({"atomic": ["b", "a"]}), json!({"atomic": ["b"]}), 1),
    ] {
        assert_eq!(errors(&rules, new.clone(), Some(old)).len(), count, "{new}");
    }
}

#[test]
fn the_budget_bounds_all_rules_together() {
    let rules =
        rules(json!({"type": "object", "properties": {"list": {"type": "array", "items": {"type": "string",
        "x-kubernetes-validations": [{"rule": "self.matches('a*b*c*')"}]}}}}));
    let object = json!({"spec": {"list": vec!["abc"; 100]}});
    let mut budget = cel::Budget::new(50);
    let errors = rules.validate(&object, None, &Path::default(), &mut budget, true);
    assert_eq!(errors.len(), 1);
    assert!(errors[0].to_string().ends_with(
        "validation failed due to running out of cost budget, no further validation rules will be run"
    ));
    assert!(rules.validate(&object, None, &Path::default(), &mut cel::Budget::default(), true).is_empty());
}
