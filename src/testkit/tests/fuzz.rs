//! Every decoder that bytes from outside reach, fed with mutations: none panics, what is taken is taken the same
//! way again, and nothing grows without bound.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use apiextensions::StructuralSchema;
use apimachinery::field::Path;
use apimachinery::fields::FieldSelector;
use apimachinery::gvk::Gvk;
use apimachinery::labels::Selector;
use apimachinery::managedfields::Apply;
use apimachinery::protobuf::{self, Encoder, Envelope, envelope};
use apimachinery::quantity::Quantity;
use apimachinery::schema::{self, SchemaRef};
use apimachinery::{decode, managedfields, patch, time};
use cel::{Bindings, Budget, Decl, Environment, Library, Type};
use cri::streaming::frame::{self, Control, Head};
use cri::streaming::headers::{HeaderDecoder, HeaderEncoder};
use kubelet::server::remote::channels::Channels;
use serde_json::{Value, json};
use testkit::fuzz::fuzz;
use tokio_tungstenite::tungstenite::WebSocket;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

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

/// `{"doc": ..., "patch": ...}`.
fn patched(bytes: &[u8], apply: impl Fn(&mut Value, &Value) -> bool) -> bool {
    let Ok(decoded) = decode::json(bytes) else { return false };
    let (Some(doc), Some(patch)) = (decoded.value.get("doc"), decoded.value.get("patch")) else {
        return false;
    };
    let mut doc = doc.clone();
    apply(&mut doc, patch)
}

fn pair(patch: &Value) -> String {
    json!({"doc": deployment(), "patch": patch}).to_string()
}

#[test]
fn json_patches() {
    let corpus = [
        pair(&json!([{"op": "test", "path": "/spec/replicas", "value": 2},
            {"op": "add", "path": "/spec/template/spec/containers/-", "value": {}},
            {"op": "move", "from": "/metadata/labels/l", "path": "/metadata/labels/m~1n"}])),
        pair(
            &json!([{"op": "copy", "from": "", "path": "/a"}, {"op": "remove", "path": "/spec/template/spec/containers/0"},
            {"op": "replace", "path": "/metadata", "value": null}]),
        ),
    ];
    let corpus: Vec<&[u8]> = corpus.iter().map(String::as_bytes).collect();
    let words = ["\"op\":\"copy\"", "/-", "/0", "~0", "~1", "/18446744073709551616", "\"from\":\"\"", "/-1"];
    fuzz(&corpus, &words, |bytes| patched(bytes, |doc, patch| patch::json::apply(doc, patch).is_ok()));
}

#[test]
fn merge_patches() {
    let corpus = pair(&json!({"metadata": {"labels": null}, "spec": {"replicas": 3}, "x": [1]}));
    fuzz(&[corpus.as_bytes()], &JSON_WORDS, |bytes| {
        patched(bytes, |doc, patch| {
            patch::merge::apply(doc, patch);
            let once = doc.clone();
            patch::merge::apply(doc, patch);
            assert_eq!(*doc, once, "a merge patch applied twice is the same as once (RFC 7386)");
            true
        })
    });
}

#[test]
fn strategic_merge_patches() {
    let schema = schema("apps", "v1", "Deployment");
    let corpus = [
        pair(
            &json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "j"}, {"$patch": "delete", "name": "d"}],
            "$setElementOrder/containers": [{"name": "c"}]}}}}),
        ),
        pair(&json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"},
            "template": {"spec": {"volumes": [{"$patch": "replace"}, {"name": "w"}]}}}})),
        pair(
            &json!({"metadata": {"finalizers": ["a"], "$deleteFromPrimitiveList/finalizers": ["b"], "labels": {"$patch": "replace"}}}),
        ),
    ];
    let corpus: Vec<&[u8]> = corpus.iter().map(String::as_bytes).collect();
    fuzz(&corpus, &JSON_WORDS, |bytes| {
        patched(bytes, |doc, patch| patch::strategic::apply(&schema, doc, patch).is_ok())
    });
}

#[test]
fn managed_fields() {
    let schema = schema("apps", "v1", "Deployment");
    let mut corpus = deployment();
    corpus["metadata"]["managedFields"] = json!([{"manager": "m", "operation": "Apply", "apiVersion": "apps/v1",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": {
            "k:{\"name\":\"c\"}": {".": {}, "f:image": {}}}}}, "f:x": {"v:1": {}, "i:0": {}}}}}]);
    let words = ["\"f:", "\"k:{\\\"name\\\":\\\"c\\\"}\":{", "\"v:", "\"i:-1\":{}", "\".\":{}"];
    let corpus = corpus.to_string();
    fuzz(&[corpus.as_bytes()], &words, |bytes| {
        let Some(live) = body(bytes) else { return false };
        let mut changed = live.clone();
        if !changed.is_object() {
            return false;
        }
        changed["spec"] = deployment()["spec"].clone();
        let now = "2026-01-01T00:00:00Z";
        managedfields::update(&schema, Some(&live), &mut changed, "fuzz", "apps/v1", "", now);
        let how = Apply { manager: "n", force: false, api_version: "apps/v1", subresource: "", now };
        let _ = managedfields::apply(&schema, Some(&changed), live, &how);
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
fn spdy_frames() {
    let headers = [("streamtype".to_owned(), "stdin".to_owned()), ("port".to_owned(), "80".to_owned())];
    let frames = [
        Control::SynStream { stream: 1, flags: 0, headers: headers.clone().into() },
        Control::Ping { id: 7 },
        Control::Headers { stream: 1, flags: 1, headers: headers.into() },
    ];
    let mut stream = Vec::new();
    let mut encoder = HeaderEncoder::new();
    for control in &frames {
        frame::encode_control(control, &mut encoder, &mut stream).unwrap();
    }
    stream.extend(frame::data_head(1, 0, 2));
    stream.extend(b"ab");
    fuzz(&[&stream], &["\u{0}\u{3}\u{0}\u{1}"], |bytes| {
        let (mut rest, mut read, mut decoder) = (bytes, 0, HeaderDecoder::new());
        while let Some((head, after)) = rest.split_first_chunk() {
            let Ok(head) = frame::decode_head(*head) else { return false };
            let (Head::Control { length, .. } | Head::Data { length, .. }) = head;
            let Some((content, after)) = after.split_at_checked(length) else { return read > 0 };
            if let Head::Control { kind, flags, .. } = head
                && frame::decode_control(kind, flags, content, &mut decoder).is_err()
            {
                return false;
            }
            rest = after;
            read += 1;
        }
        read > 0
    });
}

/// A frame as clients send them (RFC 6455 section 5.2): masked, here with zeros, so that the payload can be read.
fn client_frame(head: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![head];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0xfe);
            frame.extend((long as u16).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// What a client's end of a connection sends; what it is sent is forgotten.
struct Client<'a>(&'a [u8]);

impl std::io::Read for Client<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl std::io::Write for Client<'_> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn web_socket_frames_and_their_channels() {
    let channels = |base64| Channels { name: "", base64, status: true, close: true, spdy: false };
    let corpus = [
        // Data, the end of a channel, a ping, a message in two frames, a long one, text, the end.
        [client_frame(0x82, b"\0ls\n"), client_frame(0x82, &[255, 0]), client_frame(0x89, b"p")].concat(),
        [client_frame(0x02, b"\x04{\"Width\""), client_frame(0x80, b":80}"), client_frame(0x88, &[3, 232])]
            .concat(),
        client_frame(0x82, &[0; 300]),
        [client_frame(0x81, b"0bHMK"), client_frame(0x81, b";aGk="), client_frame(0x8a, b"")].concat(),
    ];
    let corpus: Vec<&[u8]> = corpus.iter().map(Vec::as_slice).collect();
    let config = WebSocketConfig::default().max_message_size(Some(1 << 16)).max_frame_size(Some(1 << 16));
    fuzz(&corpus, &["\u{2}\u{7f}", "\0\0\0\0", "~\0\u{7f}", "0aGk="], |bytes| {
        let mut socket = WebSocket::from_raw_socket(Client(bytes), Role::Server, Some(config));
        let mut read = 0;
        while let Ok(message) = socket.read() {
            read += 1;
            assert!(message.len() <= bytes.len());
            for channels in [channels(false), channels(true)] {
                let Some((channel, data)) = channels.decode(message.clone()) else { continue };
                // Text has no characters of one byte beyond.
                if channels.base64 && channel >= 128 - b'0' {
                    continue;
                }
                let again = channels.decode(channels.encode(channel, &data));
                assert_eq!(again, Some((channel, data)));
            }
        }
        read > 0
    });
}

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
