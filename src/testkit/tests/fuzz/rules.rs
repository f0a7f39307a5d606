//! What users write to judge objects by: expressions, schemas, patterns.

use apiextensions::StructuralSchema;
use apimachinery::decode;
use apimachinery::field::Path;
use cel::{Bindings, Budget, Decl, Environment, Library, Type};
use serde_json::json;
use testkit::fuzz::fuzz;

#[test]
fn cel_expressions() {
    let declared = Decl::from(Type::map(Type::String, Type::Dyn));
    let libraries = [Library::Bindings, Library::Math, Library::Encoders];
    let builder = Environment::builder().variable("self", Type::map(Type::String, Type::Dyn));
    let environment =
        libraries.into_iter().fold(builder, |builder, library| builder.library(library)).build();
    let object =
        json!({"replicas": 3, "list": [1, "a", {"b": null}], "name": "x.y", "at": "2026-01-01T00:00:00Z"});
    let corpus: [&[u8]; 6] = [
        b"self.replicas <= 5 && has(self.list) || !(self.name in ['a', 'b'])",
        b"self.list.exists(i, i == 1) ? self.list.map(x, x).size() : [1, 2u, -3.5].size()",
        b"self.name.matches('^[a-z]+\\\\.y$') && self.name.split('.').join('-').startsWith(r'x')",
        b"timestamp(self.at) < timestamp('2027-01-01T00:00:00Z') + duration('1h') && quantity('1Gi').isGreaterThan(quantity('1Mi'))",
        b"cel.bind(x, {'a': b'\\x00', 1: \"\"\"t\"\"\"}, x.size() == 2 ? x[1] : x[?'a'].orValue(b''))",
        b"isURL('https://a/b?c') && url('https://a').getHost() == 'a' && ip('10.0.0.1').family() == 4 && math.greatest(1, 2) == 2",
    ];
    let words = [
        "self",
        ".all(i, ",
        ".map(i, ",
        " in ",
        "[?",
        ".?",
        "optional.of(",
        "'%s'.format([",
        "u",
        "0x",
        "e9",
        "\\u",
    ];
    fuzz(&corpus, &words, |bytes| {
        let Ok(source) = std::str::from_utf8(bytes) else { return false };
        let Ok(program) = environment.compile(source) else { return false };
        let _ = program.estimated_cost();
        let bindings = Bindings::new().json("self", &object, &declared).unwrap();
        let once = program.evaluate(&bindings, &mut Budget::default()).map(|value| format!("{value:?}"));
        let again = program.evaluate(&bindings, &mut Budget::default()).map(|value| format!("{value:?}"));
        assert_eq!(format!("{once:?}"), format!("{again:?}"), "{source}");
        true
    });
}

#[test]
fn schemas_of_custom_resources() {
    let schema = json!({"type": "object", "required": ["a"], "properties": {
        "a": {"type": "integer", "minimum": 1, "multipleOf": 2, "default": 4},
        "b": {"type": "string", "pattern": "^[a-z]{1,3}$", "format": "date-time", "maxLength": 5, "nullable": true},
        "c": {"type": "array", "maxItems": 3, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}}}},
        "d": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        "e": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "x-kubernetes-embedded-resource": true},
        "f": {"type": "object", "additionalProperties": {"type": "number", "enum": [1, 2.5]},
            "x-kubernetes-validations": [{"rule": "self.size() < 3", "message": "m", "messageExpression": "'x'"}]}}});
    let value = json!({"a": 2, "b": "abc", "c": [{"k": "1"}, {"k": "1", "l": 2}], "d": "x", "f": {"g": 1}, "h": null});
    let corpus = [
        json!({"schema": schema, "value": value}).to_string(),
        json!({"schema": {"type": "object"}, "value": {}}).to_string(),
    ];
    let corpus: Vec<&[u8]> = corpus.iter().map(String::as_bytes).collect();
    let words = [
        "\"properties\":{",
        "\"items\":",
        "\"not\":",
        "\"oneOf\":[",
        "\"type\":\"array\"",
        "\"$ref\":\"\"",
        "1e308",
        "(a+)+$",
        "\"nullable\":true",
    ];
    fuzz(&corpus, &words, |bytes| {
        let Ok(decoded) = decode::json(bytes) else { return false };
        let (Some(schema), Some(value)) = (decoded.value.get("schema"), decoded.value.get("value")) else {
            return false;
        };
        let Ok(schema) = StructuralSchema::parse(schema) else { return false };
        if !apiextensions::structural::validate(&schema, &Path::new("schema")).is_empty() {
            return false;
        }
        let mut value = value.clone();
        apiextensions::prune(&schema, &mut value, true);
        apiextensions::default(&schema, &mut value);
        let once = apiextensions::validation::validate(&schema, &value, &Path::new(""));
        let unchanged = apiextensions::validation::validate_update(&schema, &value, &value, &Path::new(""));
        assert!(unchanged.len() <= once.len(), "what is not changed is not made worse");
        let mut again = value.clone();
        assert_eq!(
            apiextensions::prune(&schema, &mut again, true),
            Vec::<String>::new(),
            "pruned once is pruned"
        );
        true
    });
}

#[test]
fn regular_expressions() {
    let corpus: [&[u8]; 4] = [
        br"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        br"(?i)\Qa.b\E\d{2,3}\x41\101",
        br"[[:alpha:]\s&&~^]+",
        br"\pL|\b\B\z",
    ];
    let words =
        ["\\Q", "\\E", "[^]", "[[:", ":]]", "{2,}", "{1000}", "(?i:", "(?P<n>", "\\1", "\\x{10FFFF}", "&&"];
    fuzz(&corpus, &words, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        match cel::pattern::compile(text) {
            Ok(compiled) => {
                compiled.is_match("a.b12A&~é\n");
                true
            }
            Err(why) => {
                assert!(why.starts_with("error parsing regexp: ") && !why.contains("\n\n"), "{why}");
                false
            }
        }
    });
}
