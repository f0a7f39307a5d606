use super::table::{Asked, Path, Route, Side, Table, Target};
use ::http::{HeaderMap, Method};
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::{Value, json};
use std::sync::Arc;

fn path(path: &str, type_: &str, service: &str) -> Value {
    json!({"path": path, "pathType": type_, "backend": {"service": {"name": service, "port": {"number": 80}}}})
}

fn ingress(name: &str, created: i64, annotations: Value, host: &str, paths: Vec<Value>) -> Arc<Ingress> {
    let mut rule = json!({"http": {"paths": paths}});
    if !host.is_empty() {
        rule["host"] = json!(host);
    }
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"namespace": "n", "name": name, "annotations": annotations,
                         "creationTimestamp": format!("2026-01-01T00:00:{created:02}Z")},
            "spec": {"rules": [rule]},
        }))
        .unwrap(),
    )
}

fn find<'a>(table: &'a Table, host: &str, path: &str) -> Option<(&'a Route, &'a Path)> {
    let (method, headers) = (Method::GET, HeaderMap::new());
    let asked = Asked { side: Side::Plain, host, path, query: None, method: &method, headers: &headers };
    table.find(&asked).map(|route| match &route.target {
        Target::Path(path) => (route, path),
        Target::Rule(_) => panic!("an Ingress has no rules"),
    })
}

fn service<'a>(table: &'a Table, host: &str, path: &str) -> &'a str {
    find(table, host, path).map_or("", |(_, path)| path.backend.service.as_str())
}

#[test]
fn paths_match_as_the_api_documents_it() {
    let table = Table::compile(&[ingress(
        "i",
        0,
        json!({}),
        "a.example",
        vec![
            path("/", "Prefix", "root"),
            path("/foo", "Prefix", "foo"),
            path("/foo/bar/", "Prefix", "bar"),
            path("/foo", "Exact", "exact"),
        ],
    )]);
    for (path, expected) in [
        ("/", "root"),
        ("/other", "root"),
        ("/foo", "exact"),
        ("/foo/", "foo"),
        ("/foobar", "root"),
        ("/foo/bar", "bar"),
        ("/foo/bar/baz", "bar"),
        ("/foo/barbaz", "foo"),
    ] {
        assert_eq!(service(&table, "a.example", path), expected, "{path}");
    }
    assert_eq!(service(&table, "b.example", "/"), "");
}

#[test]
fn hosts_come_before_wildcards_before_everything() {
    let of = |name: &str, host: &str| ingress(name, 0, json!({}), host, vec![path("/", "Prefix", name)]);
    let table = Table::compile(&[of("all", ""), of("wild", "*.example.com"), of("one", "a.example.com")]);
    assert_eq!(service(&table, "a.example.com", "/"), "one");
    assert_eq!(service(&table, "b.example.com", "/"), "wild");
    assert_eq!(service(&table, "c.b.example.com", "/"), "all");
    assert_eq!(service(&table, "example.com", "/"), "all");
    assert_eq!(table.backends().len(), 3);
}

#[test]
fn of_the_same_path_the_older_one_counts() {
    let of = |name: &str, at| ingress(name, at, json!({}), "h", vec![path("/", "Prefix", name)]);
    assert_eq!(service(&Table::compile(&[of("young", 9), of("old", 1)]), "h", "/"), "old");
}

#[test]
fn expressions_rewrite_with_their_groups() {
    let annotations = json!({"nginx.ingress.kubernetes.io/rewrite-target": "/$2"});
    let paths = vec![path("/api(/|$)(.*)", "ImplementationSpecific", "s")];
    let table = Table::compile(&[ingress("i", 0, annotations.clone(), "h", paths)]);
    let rewritten =
        |path: &str| find(&table, "h", path).and_then(|(route, to)| route.rewritten(&to.options, path));
    assert_eq!(rewritten("/api/v1/x").as_deref(), Some("/v1/x"));
    assert_eq!(rewritten("/api").as_deref(), Some("/"));
    assert_eq!(rewritten("/apis"), None);
    let bad = vec![path("/api(", "ImplementationSpecific", "s")];
    let table = Table::compile(&[ingress("i", 0, annotations, "h", bad)]);
    assert_eq!(table.wrong.len(), 1);
}

#[test]
fn a_canary_joins_the_route_that_it_is_an_alternative_to() {
    let canary = json!({"nginx.ingress.kubernetes.io/canary": "true",
                        "nginx.ingress.kubernetes.io/canary-weight": "30"});
    let table = Table::compile(&[
        ingress("c", 0, canary, "h", vec![path("/", "Prefix", "new"), path("/x", "Prefix", "alone")]),
        ingress("m", 1, json!({}), "h", vec![path("/", "Prefix", "main")]),
    ]);
    let (_, route) = find(&table, "h", "/x").unwrap();
    assert_eq!(route.backend.service, "main");
    assert_eq!((route.canaries.len(), route.canaries[0].0.weight), (1, 30));
    assert_eq!(route.canaries[0].1.service, "new");
}

#[test]
fn certificates_belong_to_hosts() {
    let mut one = (*ingress("i", 0, json!({}), "a.example", vec![path("/", "Prefix", "s")])).clone();
    let spec = one.spec.as_mut().unwrap();
    spec.tls = serde_json::from_value(json!([{"hosts": ["*.example"], "secretName": "wild"},
        {"secretName": "own"}]))
    .unwrap();
    let table = Table::compile(&[Arc::new(one)]);
    assert_eq!(table.certificate("a.example"), Some("n/own"));
    assert_eq!(table.certificate("b.example"), Some("n/wild"));
    assert_eq!(table.certificate("b.a.example"), None);
}
