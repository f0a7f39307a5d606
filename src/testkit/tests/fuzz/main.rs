//! Every decoder that bytes from outside reach, fed with mutations: none panics, what is taken is taken the same
//! way again, and nothing grows without bound.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod patches;
mod rules;
mod streams;

use apimachinery::fields::FieldSelector;
use apimachinery::gvk::Gvk;
use apimachinery::labels::Selector;
use apimachinery::protobuf::{self, Encoder, Envelope, envelope};
use apimachinery::quantity::Quantity;
use apimachinery::schema::{self, SchemaRef};
use apimachinery::{decode, time};
use serde_json::{Value, json};
use testkit::fuzz::fuzz;

const JSON_WORDS: [&str; 12] = [
    "\"metadata\":",
    "\"spec\":",
    "\"containers\":[{",
    "null",
    "-1e999",
    "0.1",
    "18446744073709551616",
    "\\ud800",
    "\"$patch\":\"delete\"",
    "\"$retainKeys\":[",
    "{}",
    "[]",
];

fn schema(group: &str, version: &str, kind: &str) -> SchemaRef {
    api::schema::schema_for(&Gvk::new(group, version, kind)).unwrap()
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "labels": {"l": "v"}},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"l": "v"}}, "template": {"spec": {
            "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "env": [{"name": "E", "value": "v"}], "resources": {"limits": {"cpu": "100m"}},
                "livenessProbe": {"httpGet": {"port": "http"}, "periodSeconds": 5}}],
            "volumes": [{"name": "v", "emptyDir": {}}]}}}})
}

fn definition() -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "a.b", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"group": "b", "versions": [{"name": "v1", "schema": {"openAPIV3Schema": {"type": "object",
            "default": {"a": [1, null]}, "properties": {"x": {"type": "number", "maximum": 1.5, "enum": [1, "a"],
                "items": {"type": "string"}, "additionalProperties": false,
                "dependencies": {"a": ["b"]}}}}}}]}})
}

/// Takes bytes through decoding and pruning, as a request's body goes.
fn body(bytes: &[u8]) -> Option<Value> {
    let mut value = decode::json(bytes).ok()?.value;
    schema::prune(&schema("apps", "v1", "Deployment"), &mut value).ok()?;
    Some(value)
}

#[test]
fn json() {
    let corpus =
        [deployment().to_string(), definition().to_string(), r#"{"a":"\u00e9\ud83d\ude00"}"#.to_owned()];
    let corpus: Vec<&[u8]> = corpus.iter().map(String::as_bytes).collect();
    fuzz(&corpus, &JSON_WORDS, |bytes| {
        let Ok(decoded) = decode::json(bytes) else { return false };
        let text = serde_json::to_vec(&decoded.value).unwrap();
        let again = decode::json(&text).unwrap();
        assert_eq!(again.value, decoded.value);
        assert!(again.duplicates.is_empty());
        if let Some(mut pruned) = body(bytes) {
            let before = pruned.clone();
            let unknown = schema::prune(&schema("apps", "v1", "Deployment"), &mut pruned).unwrap();
            assert_eq!((unknown, &pruned), (Vec::new(), &before), "pruning again changes nothing");
        }
        true
    });
}

#[test]
fn yaml() {
    let words =
        ["&a ", "*a", "<<: ", "|\n", ">-\n", "? ", "- ", "!!str ", "---\n", "\t", "%YAML 1.1\n", ": "];
    let corpus: [&[u8]; 3] = [
        b"a: &x [1, yes, ~, 0x10]\nb: *x\nc: |\n  text\n  more\nd: {e: 'f', \"g\": 1.5}\n",
        b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: >-\n    folded\n    text\n",
        b"- a\n- - b\n  - c: d\n",
    ];
    fuzz(&corpus, &words, |bytes| {
        let Ok(decoded) = decode::yaml(bytes) else { return false };
        let size = decoded.value.to_string().len();
        assert!(size < 1 << 20, "{size} bytes of {}", bytes.len());
        true
    });
}

#[test]
fn protobuf() {
    let kinds = [("apps", "v1", "Deployment"), ("apiextensions.k8s.io", "v1", "CustomResourceDefinition")];
    let schemas: Vec<SchemaRef> = kinds.iter().map(|(g, v, k)| schema(g, v, k)).collect();
    let encode = |schema: &SchemaRef, value: &Value| {
        Encoder::default().message(schema.node(), value.to_string().as_bytes()).map(<[u8]>::to_vec)
    };
    let corpus = [encode(&schemas[0], &deployment()).unwrap(), encode(&schemas[1], &definition()).unwrap()];
    let corpus: Vec<&[u8]> = corpus.iter().map(Vec::as_slice).collect();
    fuzz(&corpus, &["\u{a}\0", "\u{12}\u{2}\u{8}\u{1}", "\u{1a}\u{7f}"], |bytes| {
        let mut taken = false;
        for schema in &schemas {
            let read = |raw: &[u8]| protobuf::decode(schema, &Envelope { gvk: Gvk::default(), raw });
            let Ok(value) = read(bytes) else { continue };
            taken = true;
            let once = encode(schema, &value).unwrap();
            let again = encode(schema, &read(&once).unwrap()).unwrap();
            assert_eq!(again, once, "{value}");
        }
        taken
    });
}

#[test]
fn protobuf_envelopes() {
    let corpus = [envelope::seal("v1", "Pod", b"raw"), envelope::seal("", "", b"")];
    let corpus: Vec<&[u8]> = corpus.iter().map(Vec::as_slice).collect();
    fuzz(&corpus, &["k8s\0", "\u{a}\u{4}\u{a}\u{2}v1"], |bytes| {
        let Ok(opened) = protobuf::open(bytes) else { return false };
        let sealed = envelope::seal(&opened.gvk.api_version(), &opened.gvk.kind, opened.raw);
        assert_eq!(protobuf::open(&sealed).unwrap(), opened);
        true
    });
}

#[test]
fn the_encoder_of_protobuf() {
    let schema = schema("apps", "v1", "Deployment");
    let corpus =
        [deployment().to_string(), r#"{"metadata":{"managedFields":[{"fieldsV1":{"f:a":{}}}]}}"#.to_owned()];
    let corpus: Vec<&[u8]> = corpus.iter().map(String::as_bytes).collect();
    fuzz(&corpus, &JSON_WORDS, |bytes| {
        let Ok(raw) = Encoder::default().message(schema.node(), bytes).map(<[u8]>::to_vec) else {
            return false;
        };
        // What is not known is passed over without a look; the rest can be read again.
        let read = protobuf::decode(&schema, &Envelope { gvk: Gvk::default(), raw: &raw });
        let text_only = std::str::from_utf8(bytes).is_ok() && serde_json::from_slice::<Value>(bytes).is_ok();
        assert!(read.is_ok() || !text_only, "{read:?}");
        true
    });
}

#[test]
fn label_selectors() {
    let words = [" in (", " notin (", "!", "==", "!=", ",", ")", "(", "a/b", ">", "<"];
    let corpus: [&[u8]; 3] = [b"a=b,c!=d,e in (f,g),!h", b"x.y/z notin (1),w", b"n>5,m<6"];
    fuzz(&corpus, &words, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        let Ok(selector) = Selector::parse(text) else { return false };
        let shown = selector.to_string();
        assert_eq!(Selector::parse(&shown).map(|s| s.to_string()), Ok(shown), "{text}");
        true
    });
}

#[test]
fn field_selectors() {
    let corpus: [&[u8]; 2] = [b"metadata.name=a,spec.nodeName!=b", b"a==b\\,c\\=d"];
    fuzz(&corpus, &["=", "==", "!=", ",", "\\", "\\,", "\\\\"], |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        let Ok(selector) = FieldSelector::parse(text) else { return false };
        selector.matches(|_| Some("a"));
        true
    });
}

#[test]
fn quantities_and_times() {
    let corpus: [&[u8]; 5] =
        [b"100m", b"1.5Gi", b"12e6", b"2026-01-02T03:04:05Z", b"2026-01-02T03:04:05.123456+02:00"];
    fuzz(&corpus, &["E", "Ki", "e-9", "-", "+", "000000000000000000000", ".", "n", "T", "Z"], |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        let at = time::parse(text);
        if let Some(at) = at {
            assert_eq!(time::parse(&time::rfc3339_micro(at)).map(time::rfc3339), Some(time::rfc3339(at)));
        }
        let Ok(quantity) = text.parse::<Quantity>() else { return at.is_some() };
        let shown = quantity.to_string();
        let again: Quantity = shown.parse().unwrap();
        assert_eq!(again.to_string(), shown, "{text}");
        true
    });
}

#[test]
fn secrets_of_servers() {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let kind = &api::registry().by_gvk(&Gvk::new("", "v1", "Secret")).unwrap().kind;
    let der = |name: &str| {
        let text = std::fs::read_to_string(format!("../api/src/core/testdata/{name}.pem")).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('-'));
        STANDARD.decode(lines.collect::<String>()).unwrap()
    };
    let pem = |label: &str, der: &[u8]| {
        STANDARD.encode(format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der)))
    };
    for names in [
        ["ec-certificate", "ec-key"],
        ["rsa-certificate", "rsa-pkcs1-key"],
        ["ed25519-certificate", "ed25519-key"],
    ] {
        let [certificate, key] = names.map(der);
        // The one as it is, the other mutated.
        fuzz(&[&certificate, &key], &["\x30\u{82}", "\x02\x01\x00", "\x03\x02\x00"], |bytes| {
            let told = [(bytes, key.as_slice()), (certificate.as_slice(), bytes)].map(|(certificate, key)| {
                let data = json!({"tls.crt": pem("CERTIFICATE", certificate), "tls.key": pem("PRIVATE KEY", key)});
                kind.warnings(&json!({"type": "kubernetes.io/tls", "data": data}))
            });
            told.iter().any(Vec::is_empty)
        });
    }
}
