use super::*;
use serde_json::json;

/// A definition that is right.
fn definition() -> Value {
    json!({
        "metadata": {"name": "foos.a.example"},
        "spec": {
            "group": "a.example", "scope": "Namespaced",
            "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"x": {"type": "string"}}}}}}}],
            "conversion": {"strategy": "None"},
        },
        "status": {"storedVersions": ["v1"]},
    })
}

/// The definition with one thing changed.
fn with(pointer: &str, value: Value) -> Value {
    let mut definition = definition();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = definition.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(items) => items[name.parse::<usize>().unwrap()] = value,
        parent => {
            parent.as_object_mut().unwrap().insert(name.to_owned(), value);
        }
    }
    definition
}

fn texts(errors: &ErrorList) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn create(definition: &Value) -> Vec<String> {
    texts(&validate_create(definition, &crate::object_meta::tests::object_meta()))
}

fn update(definition: &Value, old: &Value) -> Vec<String> {
    texts(&validate_update(definition, old, &crate::object_meta::tests::object_meta()))
}

#[test]
fn a_right_definition_is_let_pass() {
    assert_eq!(create(&definition()), Vec::<String>::new());
    assert_eq!(update(&definition(), &definition()), Vec::<String>::new());
}

#[test]
fn what_is_wrong_is_told_with_its_path() {
    let label = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
    for (pointer, value, wanted) in [
        ("/metadata/name", json!("x"), "metadata.name: Invalid value: \"x\": must be spec.names.plural+\".\"+spec.group".to_owned()),
        ("/spec/scope", json!("Both"), "spec.scope: Unsupported value: \"Both\": supported values: \"Cluster\", \"Namespaced\"".to_owned()),
        ("/spec/scope", json!(""), "spec.scope: Required value".to_owned()),
        ("/spec/names/kind", json!(""), "spec.names.kind: Required value".to_owned()),
        ("/spec/names/kind", json!("Foo Bar"), format!("spec.names.kind: Invalid value: \"Foo Bar\": may have mixed case, but should otherwise match: {label}")),
        ("/spec/names/listKind", json!("Foo"), "spec.names.listKind: Invalid value: \"Foo\": kind and listKind may not be the same".to_owned()),
        ("/spec/names/shortNames", json!(["F"]), format!("spec.names.shortNames[0]: Invalid value: \"F\": {label}")),
        ("/spec/names/categories", json!(["a b"]), format!("spec.names.categories[0]: Invalid value: \"a b\": {label}")),
        ("/spec/versions/0/schema", json!({}), "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required".to_owned()),
        ("/spec/versions/0/storage", json!(false), "spec.versions: Invalid value: [{\"name\":\"v1\",\"served\":true,\"storage\":false}]: must have exactly one version marked as storage version".to_owned()),
        ("/spec/versions/0/deprecationWarning", json!("old"), "spec.versions[0].deprecationWarning: Invalid value: \"old\": can only be set for deprecated versions".to_owned()),
        ("/spec/preserveUnknownFields", json!(true), "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead".to_owned()),
        ("/status/storedVersions", json!([]), "status.storedVersions: Invalid value: []: must have at least one stored version".to_owned()),
        ("/status/storedVersions", json!(["v1", "v0"]), "status.storedVersions[1]: Invalid value: \"v0\": missing from spec.versions; v0 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v0 and removes v0 from status.storedVersions".to_owned()),
        ("/spec/versions/0/additionalPrinterColumns", json!([{"name": "A", "type": "text", "jsonPath": "spec"}]), "spec.additionalPrinterColumns[0].type: Invalid value: \"text\": must be one of boolean,date,integer,number,string".to_owned()),
        ("/spec/versions/0/subresources", json!({"scale": {"specReplicasPath": ".replicas", "statusReplicasPath": ".status.n"}}), "spec.subresources.scale.specReplicasPath: Invalid value: \".replicas\": should be a json path under .spec".to_owned()),
        ("/spec/versions/0/selectableFields", json!([{"jsonPath": ".spec.y"}]), "spec.selectableFields[0].jsonPath: Invalid value: \".spec.y\": is an invalid path: does not refer to a valid field".to_owned()),
        ("/spec/versions/0/selectableFields", json!([{"jsonPath": ".spec"}]), "spec.selectableFields[0].jsonPath: Invalid value: \".spec\": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.".to_owned()),
        ("/spec/versions/0/selectableFields", json!([{"jsonPath": ".spec.x"}, {"jsonPath": ".spec.x"}]), "spec.selectableFields[1].jsonPath: Duplicate value: \".spec.x\"".to_owned()),
        ("/spec/conversion", json!({"strategy": "Magic"}), "spec.conversion.strategy: Unsupported value: \"Magic\": supported values: \"None\", \"Webhook\"".to_owned()),
        ("/spec/conversion", json!({"strategy": "None", "webhook": {"clientConfig": {"url": "https://a"}}}), "spec.conversion.webhookClientConfig: Forbidden: should not be set when strategy is not set to Webhook".to_owned()),
        ("/spec/conversion", json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"]}}), "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook".to_owned()),
        ("/spec/conversion", json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": {"url": "http://a"}}}), "spec.conversion.webhookClientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]".to_owned()),
        ("/spec/conversion", json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v2"], "clientConfig": {"service": {"name": "a", "namespace": "b", "port": 443}}}}), "spec.conversion.conversionReviewVersions: Invalid value: [\"v2\"]: must include at least one of v1, v1beta1".to_owned()),
        ("/spec/conversion", json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": {"service": {"name": "a", "namespace": "b", "path": "x", "port": 443}}}}), "spec.conversion.webhookClientConfig.service.path: Invalid value: \"x\": must start with a '/'".to_owned()),
    ] {
        let errors = create(&with(pointer, value.clone()));
        assert!(errors.contains(&wanted), "{pointer} {value}: {errors:#?}");
    }
}

#[test]
fn schemas_are_told_wrong_where_kubernetes_does() {
    const SCHEMA: &str = "/spec/versions/0/schema/openAPIV3Schema";
    const AT: &str = "spec.validation.openAPIV3Schema";
    for (pointer, value, wanted) in [
        (
            "",
            json!({"type": "object", "nullable": true}),
            ".nullable: Forbidden: nullable cannot be true at the root",
        ),
        (
            "/properties/spec",
            json!({}),
            ".properties[spec].type: Required value: must not be empty for specified object fields",
        ),
        (
            "/properties/spec",
            json!({"type": "thing"}),
            ".properties[spec].type: Unsupported value: \"thing\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"",
        ),
        (
            "/properties/spec",
            json!({"type": "object", "$ref": "#/a"}),
            ".properties[spec].$ref: Forbidden: $ref is not supported",
        ),
        (
            "/properties/spec",
            json!({"type": "array", "uniqueItems": true, "items": {"type": "string"}}),
            ".properties[spec].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ),
        (
            "/properties/spec",
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
            ".properties[spec].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ),
        (
            "/properties/spec",
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": false}),
            ".properties[spec].x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined",
        ),
        (
            "/properties/spec",
            json!({"type": "string", "x-kubernetes-map-type": "atomic"}),
            ".properties[spec].type: Invalid value: \"string\": must be object if x-kubernetes-map-type is specified",
        ),
        (
            "/properties/spec",
            json!({"type": "object", "x-kubernetes-list-type": "set"}),
            ".properties[spec].type: Invalid value: \"object\": must be array if x-kubernetes-list-type is specified",
        ),
        (
            "/properties/spec",
            json!({"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object"}}),
            ".properties[spec].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
        ),
        (
            "/properties/spec",
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"], "items": {"type": "object"}}),
            ".properties[spec].x-kubernetes-list-map-keys: Invalid value: [\"a\"]: entries must all be names of item properties",
        ),
        (
            "/properties/spec",
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"], "items": {"type": "object", "properties": {"a": {"type": "string"}}}}),
            ".properties[spec].items.properties[a].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ),
        (
            "/properties/spec",
            json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object", "x-kubernetes-map-type": "granular"}}),
            ".properties[spec].items.x-kubernetes-map-type: Invalid value: \"granular\": must be atomic as item of a list with x-kubernetes-list-type=set",
        ),
        (
            "/properties/spec",
            json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string", "nullable": true}}),
            ".properties[spec].items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is set",
        ),
        (
            "/properties/spec",
            json!({"type": "integer", "default": "a"}),
            ".properties[spec].default: Invalid value: \"string\":  in body must be of type integer: \"string\"",
        ),
        (
            "/properties/spec",
            json!({"type": "object", "properties": {"a": {"type": "integer", "maximum": 5}}, "default": {"a": 9}}),
            ".properties[spec].default.a: Invalid value: 9: a in body should be less than or equal to 5",
        ),
        (
            "/properties/spec",
            json!({"type": "object", "default": {"b": 9}}),
            ".properties[spec].default: Invalid value: {\"b\":9}: must not have unknown fields",
        ),
        (
            "/properties/metadata",
            json!({"type": "object", "properties": {"name": {"type": "string", "default": "a"}}}),
            ".properties[metadata].properties[name].default: Forbidden: must not be set in top-level metadata",
        ),
        (
            "/properties/spec",
            json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true, "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string", "default": "bad/name"}}}}}),
            ".properties[spec].properties[metadata].properties[name].default: Invalid value: \"bad/name\": must result in valid metadata: metadata.name: Invalid value: \"bad/name\": may not contain '/'",
        ),
        (
            "/properties/spec",
            json!({"type": "object", "x-kubernetes-validations": [{"rule": " "}]}),
            ".properties[spec].x-kubernetes-validations[0].rule: Required value: rule is not specified",
        ),
        (
            "/properties/spec",
            json!({"type": "object", "x-kubernetes-validations": [{"rule": "true", "reason": "Because"}]}),
            ".properties[spec].x-kubernetes-validations[0].reason: Unsupported value: \"Because\": supported values: \"FieldValueDuplicate\", \"FieldValueForbidden\", \"FieldValueInvalid\", \"FieldValueRequired\"",
        ),
        (
            "/properties/spec",
            json!({"type": "object", "x-kubernetes-validations": [{"rule": "true", "fieldPath": ".nothing"}]}),
            ".properties[spec].x-kubernetes-validations[0].fieldPath: Invalid value: \".nothing\": fieldPath must be a valid path",
        ),
    ] {
        let errors = create(&with(&format!("{SCHEMA}{pointer}"), value.clone()));
        assert!(errors.contains(&format!("{AT}{wanted}")), "{value}: {errors:#?}");
    }
}

#[test]
fn versions_that_differ_are_named() {
    let mut two = definition();
    let mut v2 = two["spec"]["versions"][0].clone();
    v2["name"] = json!("v2");
    v2["storage"] = json!(false);
    v2["schema"]["openAPIV3Schema"]["properties"]["spec"] = json!({"type": "wrong"});
    two["spec"]["versions"].as_array_mut().unwrap().push(v2);
    let errors = create(&two);
    assert!(
        errors[0]
            .starts_with("spec.versions[1].schema.openAPIV3Schema.properties[spec].type: Unsupported value"),
        "{errors:?}"
    );
    two["spec"]["versions"][1]["name"] = json!("v1");
    assert!(create(&two).iter().any(|error| error.ends_with("must contain unique version names")));
}

#[test]
fn a_status_subresource_restricts_the_root() {
    let mut definition = definition();
    definition["spec"]["versions"][0]["subresources"] = json!({"status": {}});
    assert_eq!(create(&definition), Vec::<String>::new());
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["not"] = json!({"required": ["spec"]});
    let errors = create(&definition);
    assert!(
        errors[0]
            .starts_with("spec.validation.openAPIV3Schema: Invalid value: \"not\": only [Description Type "),
        "{errors:?}"
    );
}

#[test]
fn what_decides_over_storage_cannot_change() {
    let mut old = definition();
    old["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
    let errors = update(&with("/spec/scope", json!("Cluster")), &old);
    assert_eq!(errors, ["spec.scope: Invalid value: \"Cluster\": field is immutable"]);
    assert_eq!(update(&with("/spec/scope", json!("Cluster")), &definition()), Vec::<String>::new());
    assert!(
        update(&with("/spec/names/plural", json!("bars")), &definition())
            .contains(&"spec.names.plural: Invalid value: \"bars\": field is immutable".to_owned())
    );
}

#[test]
fn a_bundle_of_no_certificate_is_let_pass_until_established() {
    let webhook = |bundle: &str| {
        with(
            "/spec/conversion",
            json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://a", "caBundle": bundle}}}),
        )
    };
    assert_eq!(create(&webhook("Cg==")), Vec::<String>::new());
    let mut old = definition();
    old["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
    let errors = update(&webhook("Cg=="), &old);
    assert!(errors[0].starts_with("spec.conversion.webhookClientConfig.caBundle: Invalid value: \"Cg==\": unable to load root certificates"), "{errors:?}");
}

#[test]
fn groups_of_kubernetes_need_approval() {
    let protected = |annotation: Option<&str>| {
        let mut definition = definition();
        definition["metadata"]["name"] = json!("foos.sigs.k8s.io");
        definition["spec"]["group"] = json!("sigs.k8s.io");
        if let Some(annotation) = annotation {
            definition["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": annotation});
        }
        definition
    };
    assert_eq!(
        create(&protected(None)),
        [
            "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111"
        ]
    );
    assert_eq!(
        create(&protected(Some("yes"))),
        [
            "metadata.annotations[api-approved.kubernetes.io]: Invalid value: \"yes\": protected groups must have approval annotation \"api-approved.kubernetes.io\" with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111"
        ]
    );
    for right in ["unapproved, an experiment", "https://github.com/kubernetes/kubernetes/pull/1"] {
        assert_eq!(create(&protected(Some(right))), Vec::<String>::new());
    }
    assert_eq!(update(&protected(Some("yes")), &protected(Some("no"))), Vec::<String>::new());
}

#[test]
fn hostile_schemas_are_refused() {
    let mut deep = json!({"type": "string"});
    for _ in 0..150 {
        deep = json!({"type": "array", "items": deep});
    }
    let errors = create(&with("/spec/versions/0/schema/openAPIV3Schema/properties/spec", deep));
    assert_eq!(
        errors,
        [
            "spec.validation.openAPIV3Schema: Invalid value: \"\": OpenAPIV3Schema is nested more than 100 levels deep"
        ]
    );
    let wide = json!({"type": "string", "anyOf": vec![json!({}); 200_001]});
    let errors = create(&with("/spec/versions/0/schema/openAPIV3Schema/properties/spec", wide));
    assert_eq!(
        errors,
        [
            "spec.validation.openAPIV3Schema: Invalid value: \"\": OpenAPIV3Schema has more than 200000 schemas"
        ]
    );
    let pattern = json!({"type": "string", "pattern": "((a{1000}){1000}){1000}"});
    let errors = create(&with("/spec/versions/0/schema/openAPIV3Schema/properties/spec", pattern));
    assert!(
        errors[0].contains(
            "must be a valid regular expression, but isn't: error parsing regexp: expression too large"
        ),
        "{errors:?}"
    );
}

#[test]
fn rules_that_do_not_compile_are_told() {
    const AT: &str = "spec.validation.openAPIV3Schema.properties[spec]";
    let of = |schema: Value| create(&with("/spec/versions/0/schema/openAPIV3Schema/properties/spec", schema));
    let errors = of(json!({"type": "object", "properties": {"x": {"type": "string"}},
        "x-kubernetes-validations": [{"rule": "self.y == 'a'"}]}));
    assert!(
        errors[0].starts_with(&format!("{AT}.x-kubernetes-validations[0].rule: Invalid value: {{\"")),
        "{errors:?}"
    );
    assert!(errors[0].contains("compilation failed: ERROR: <input>:1:5: undefined field 'y'"), "{errors:?}");
    for (rule, wanted) in [
        (json!({"rule": "self.x"}), "rule: Invalid value: ... cel expression must evaluate to a bool"),
        (
            json!({"rule": "true", "messageExpression": "1"}),
            "messageExpression: Invalid value: ... messageExpression must evaluate to a string",
        ),
        (
            json!({"rule": "true", "optionalOldSelf": true}),
            "optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule",
        ),
    ] {
        let errors = of(json!({"type": "object", "properties": {"x": {"type": "string"}},
            "x-kubernetes-validations": [rule]}));
        let (start, end) = wanted.split_once(" ... ").unwrap_or((wanted, ""));
        let at = format!("{AT}.x-kubernetes-validations[0].{start}");
        assert!(errors.len() == 1 && errors[0].starts_with(&at) && errors[0].ends_with(end), "{errors:?}");
    }
    let errors = of(json!({"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 10,
        "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}}));
    assert_eq!(
        errors,
        [format!(
            "{AT}.items.x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": oldSelf cannot be used on the uncorrelatable portion of the schema within {AT}"
        )]
    );
    let errors = of(json!({"type": "object", "default": {"x": "b"}, "properties": {"x": {"type": "string"}},
        "x-kubernetes-validations": [{"rule": "self.x == 'a'", "message": "must be a"}]}));
    assert_eq!(errors, [format!("{AT}.default: Invalid value: \"object\": must be a")]);
}

#[test]
fn rules_that_may_cost_too_much_are_refused() {
    const AT: &str = "spec.validation.openAPIV3Schema";
    let of = |list: Value| {
        with(
            "/spec/versions/0/schema/openAPIV3Schema/properties/spec",
            json!({"type": "object", "properties": {
            "list": list}}),
        )
    };
    let rule = json!([{"rule": "self.all(x, self.exists(y, x != y))"}]);
    let bounded = of(json!({"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 10},
        "x-kubernetes-validations": rule}));
    assert_eq!(create(&bounded), Vec::<String>::new());
    let unbounded =
        of(json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-validations": rule}));
    let errors = create(&unbounded);
    let more = "exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)";
    assert_eq!(
        errors,
        [
            format!(
                "{AT}.properties[spec].properties[list].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost {more}"
            ),
            format!(
                "{AT}.properties[spec].properties[list].x-kubernetes-validations[0].rule: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
            ),
            format!(
                "{AT}: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema {more}"
            ),
        ]
    );
    // What was accepted before is not refused for the cost of one rule.
    assert_eq!(update(&unbounded, &unbounded), errors[1..]);
}
