use super::*;
use crate::ingress::table::{Asked, Backend, Side, Table, Target};
use ::http::{HeaderMap, HeaderName, HeaderValue, Method};

/// What a cluster has.
#[derive(Default)]
pub struct World {
    objects: Objects,
    /// Services `NAMESPACE/NAME` with port 80.
    services: Vec<String>,
    secrets: Vec<String>,
    labels: BTreeMap<String, String>,
}

fn object(value: Value) -> Object {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn meta(name: &str, age: u32) -> Value {
    let (namespace, name) = name.split_once('/').unwrap_or(("n", name));
    json!({"namespace": namespace, "name": name, "generation": 3, "resourceVersion": "9",
        "creationTimestamp": format!("2026-01-01T00:00:{:02}Z", 60 - age)})
}

impl World {
    /// A class, and Services `n/a`, `n/b`, `n/c` and `other/o`.
    pub fn new() -> Self {
        let class =
            json!({"metadata": {"name": "public", "generation": 1}, "spec": {"controllerName": CONTROLLER}});
        let mut world = Self::default();
        world.objects.classes.push(object(class));
        world.services = ["n/a", "n/b", "n/c", "other/o"].map(str::to_owned).to_vec();
        world
    }

    pub fn gateway(mut self, name: &str, listeners: Value) -> Self {
        self.objects.gateways.push(object(json!({"metadata": meta(name, 1),
            "spec": {"gatewayClassName": "public", "listeners": listeners}})));
        self
    }

    /// A route; `to` is a Gateway, or more of a reference to one.
    pub fn route(
        mut self,
        kind: Kind,
        name: &str,
        age: u32,
        to: Value,
        hosts: &[&str],
        rules: Value,
    ) -> Self {
        let parent = if to.is_string() { json!({"name": to}) } else { to };
        let spec = json!({"parentRefs": [parent], "hostnames": hosts, "rules": rules});
        self.objects.routes.push((kind, object(json!({"metadata": meta(name, age), "spec": spec}))));
        self
    }

    /// A policy for the Services of a name, or more of references to them.
    pub fn policy(mut self, name: &str, age: u32, target: &str, authority: &str) -> Self {
        let (service, section) =
            target.split_once(':').map_or((target, None), |(one, other)| (one, Some(other)));
        let mut target = json!({"group": "", "kind": "Service", "name": service});
        if let Some(section) = section {
            target["sectionName"] = json!(section);
        }
        let authority = json!([{"group": "", "kind": "ConfigMap", "name": authority}]);
        self.objects
            .policies
            .push(object(json!({"metadata": meta(name, age), "spec": {"targetRefs": [target],
            "validation": {"hostname": "s.example", "caCertificateRefs": authority}}})));
        self
    }

    pub fn secret(mut self, name: &str) -> Self {
        self.secrets.push(name.to_owned());
        self
    }

    fn grant(mut self, namespace: &str, from: Value, to: Value) -> Self {
        let metadata = json!({"namespace": namespace, "name": "g"});
        self.objects.grants.push(object(json!({"metadata": metadata, "spec": {"from": [from], "to": [to]}})));
        self
    }

    pub fn compiled(&self) -> Output {
        let service = |namespace: &str, name: &str| {
            let key = format!("{namespace}/{name}");
            self.services.contains(&key).then(|| {
                let spec = json!({"spec": {"ports": [{"port": 80}, {"port": 81, "appProtocol": "kubernetes.io/h2c"}]}});
                Arc::new(serde_json::from_value(spec).unwrap())
            })
        };
        let certificate = |namespace: &str, name: &str| {
            let key = format!("{namespace}/{name}");
            if self.secrets.contains(&key) { Ok(()) } else { Err(format!("there is no Secret {key}")) }
        };
        let labels = |namespace: &str| (namespace == "other").then(|| self.labels.clone());
        let addresses = ["192.0.2.1".to_owned(), "192.0.2.2".to_owned()];
        let inputs = Inputs {
            labels: &labels,
            service: &service,
            certificate: &certificate,
            authority: &|source| *source == Source::ConfigMap("n/ca".to_owned()),
            addresses: &addresses,
            now: "2026-02-01T00:00:00Z",
            grants: Vec::new(),
            policies: Policies::default(),
        };
        compile(&self.objects, &inputs.with(&self.objects))
    }

    pub fn table(&self) -> Table {
        let mut table = Table::default();
        table.join(&mut self.compiled());
        table
    }

    /// The status that an object is told.
    fn status(&self, kind: &str, name: &str) -> Value {
        let updates = self.compiled().updates;
        let update = updates.iter().find(|update| update.path.ends_with(&format!("/{kind}/{name}/status")));
        update.map(|update| update.patch["status"].clone()).unwrap_or_default()
    }

    /// What a route is told: whether it is accepted, whether its references are resolved, and why.
    fn told(&self, kind: &str, name: &str) -> Vec<String> {
        conditions(&self.status(kind, name)["parents"][0]["conditions"])
    }
}

fn conditions(all: &Value) -> Vec<String> {
    let mut told: Vec<String> = all
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| {
            let text = |field: &str| one[field].as_str().unwrap().to_owned();
            format!("{} {} {}", text("type"), text("status"), text("reason"))
        })
        .collect();
    told.sort();
    told
}

pub fn http() -> Value {
    json!([{"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "Same"}}}])
}

pub fn to(service: &str) -> Value {
    json!([{"name": service, "port": 80}])
}

/// A rule for a path.
fn rule(kind: &str, path: &str, service: &str) -> Value {
    json!({"matches": [{"path": {"type": kind, "value": path}}], "backendRefs": to(service)})
}

/// The Service that gets a request.
fn service(table: &Table, method: &str, url: &str, headers: &[(&str, &str)]) -> String {
    let (host, rest) = url.split_once('/').unwrap();
    let path = format!("/{rest}");
    let (path, query) =
        path.split_once('?').map_or((path.as_str(), None), |(path, query)| (path, Some(query)));
    let method: Method = method.parse().unwrap();
    let headers: HeaderMap = headers
        .iter()
        .map(|(k, v)| (HeaderName::from_bytes(k.as_bytes()).unwrap(), HeaderValue::from_str(v).unwrap()))
        .collect();
    let asked = Asked { side: Side::Plain, host, path, query, method: &method, headers: &headers };
    match table.find(&asked).map(|route| &route.target) {
        Some(Target::Rule(rule)) => {
            rule.choices[0].backend.as_ref().map_or("-".to_owned(), |b| b.service.clone())
        }
        Some(Target::Path(path)) => path.backend.service.clone(),
        None => String::new(),
    }
}

#[test]
fn the_most_specific_match_counts() {
    let more = |extra: Value, service: &str| {
        let mut one = json!({"path": {"type": "PathPrefix", "value": "/p"}});
        one.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"matches": [one], "backendRefs": to(service)})
    };
    let mut world = World::new().gateway("g", http());
    world.services.extend((0..6).map(|at| format!("n/s{at}")));
    let header = |name: &str| json!({"name": name, "value": "1"});
    let table = world
        .route(
            Kind::Http,
            "r",
            1,
            json!("g"),
            &[],
            json!([
                rule("PathPrefix", "/", "a"),
                more(json!({"queryParams": [header("q")]}), "s1"),
                more(json!({"headers": [header("x")]}), "s2"),
                more(json!({"headers": [header("x"), header("y")]}), "s3"),
                more(json!({"method": "POST"}), "s4"),
                more(json!({}), "s0"),
                rule("PathPrefix", "/p/longer", "b"),
                rule("Exact", "/p/longer", "c"),
                rule("RegularExpression", "/p/[0-9]+", "s5"),
            ]),
        )
        .table();
    for (method, url, headers, expected) in [
        ("GET", "h/", &[][..], "a"),
        ("GET", "h/px", &[], "a"),
        ("GET", "h/p", &[], "s0"),
        ("GET", "h/p/x?q=1", &[], "s1"),
        ("GET", "h/p/x?q=1", &[("x", "1")], "s2"),
        ("GET", "h/p/x", &[("x", "1"), ("y", "1")], "s3"),
        ("POST", "h/p/x", &[("x", "1"), ("y", "1")], "s4"),
        ("POST", "h/p/longer", &[], "c"),
        ("POST", "h/p/longer/", &[], "b"),
        ("GET", "h/p/12", &[], "s5"),
        ("GET", "h/p/12a", &[], "s0"),
    ] {
        assert_eq!(service(&table, method, url, headers), expected, "{method} {url} {headers:?}");
    }
}

#[test]
fn of_equal_matches_the_older_route_and_the_first_rule_count() {
    let rules = |service: &str| json!([rule("PathPrefix", "/", service), rule("PathPrefix", "/", "c")]);
    let world = World::new()
        .gateway("g", http())
        .route(Kind::Http, "young", 1, json!("g"), &[], rules("a"))
        .route(Kind::Http, "old", 9, json!("g"), &[], rules("b"));
    assert_eq!(service(&world.table(), "GET", "h/", &[]), "b");
}

#[test]
fn the_most_specific_host_counts_and_listeners_are_apart() {
    let listener = |name: &str, host: &str| match host {
        "" => json!({"name": name, "port": 80, "protocol": "HTTP"}),
        host => json!({"name": name, "port": 80, "protocol": "HTTP", "hostname": host}),
    };
    let listeners =
        json!([listener("all", ""), listener("wild", "*.example.com"), listener("deep", "*.a.example.com")]);
    let on = |section: &str| json!({"name": "g", "sectionName": section});
    let root = |service: &str| json!([{"backendRefs": to(service)}]);
    let table = World::new()
        .gateway("g", listeners)
        .route(Kind::Http, "all", 1, on("all"), &[], root("a"))
        .route(Kind::Http, "wild", 1, on("wild"), &["x.example.com", "*.example.com"], root("b"))
        .route(Kind::Http, "deep", 1, on("deep"), &["b.a.example.com", "example.org"], root("c"))
        .table();
    for (url, expected) in [
        ("anything/", "a"),
        ("x.example.com/", "b"),
        ("z.y.example.com/", "b"),
        ("b.a.example.com/", "c"),
        // Its listener is deep, where no route is for it: the others are not asked.
        ("c.a.example.com/", ""),
        ("example.org/", "a"),
    ] {
        assert_eq!(service(&table, "GET", url, &[]), expected, "{url}");
    }
}

#[test]
fn calls_of_grpc_go_by_service_and_method() {
    let rule =
        |method: Value, service: &str| json!({"matches": [{"method": method}], "backendRefs": to(service)});
    let table = World::new()
        .gateway("g", http())
        .route(
            Kind::Grpc,
            "r",
            1,
            json!("g"),
            &[],
            json!([rule(json!({"service": "x.S"}), "a"), rule(json!({"service": "x.S", "method": "M"}), "b"),
                {"matches": [{"headers": [{"name": "v", "value": "2"}]}], "backendRefs": to("c")}]),
        )
        .table();
    assert_eq!(service(&table, "POST", "h/x.S/M", &[]), "b");
    assert_eq!(service(&table, "POST", "h/x.S/N", &[("v", "2")]), "a");
    assert_eq!(service(&table, "POST", "h/x.T/N", &[("v", "2")]), "c");
    assert_eq!(service(&table, "POST", "h/x.T/N", &[]), "");
    let backends: Vec<Backend> = table.backends().into_iter().collect();
    assert_eq!(backends, ["a", "b", "c"].map(|name| Backend::number("n", name, 80)));
}

#[test]
fn routes_are_told_why_they_do_not_attach() {
    let rules = || json!([{"backendRefs": to("a")}]);
    let listeners = json!([{"name": "http", "port": 80, "protocol": "HTTP", "hostname": "*.example.com",
        "allowedRoutes": {"namespaces": {"from": "Same"}}}]);
    let world = World::new().gateway("g", listeners);
    let told = |world: World, name: &str| world.told("httproutes", name);
    let good = world.route(Kind::Http, "r", 1, json!("g"), &["a.example.com"], rules());
    assert_eq!(told(good, "r"), ["Accepted True Accepted", "ResolvedRefs True ResolvedRefs"]);
    for (to, host, reason) in [
        (json!({"name": "g", "sectionName": "none"}), "a.example.com", "NoMatchingParent"),
        (json!({"name": "g", "port": 81}), "a.example.com", "NoMatchingParent"),
        (json!("g"), "a.example.org", "NoMatchingListenerHostname"),
    ] {
        let listeners =
            json!([{"name": "http", "port": 80, "protocol": "HTTP", "hostname": "*.example.com"}]);
        let world = World::new().gateway("g", listeners).route(Kind::Http, "r", 1, to, &[host], rules());
        assert_eq!(told(world, "r")[0], format!("Accepted False {reason}"));
    }
    let stranger = World::new().gateway("g", http());
    let stranger =
        stranger.route(Kind::Http, "other/r", 1, json!({"name": "g", "namespace": "n"}), &[], rules());
    assert_eq!(told(stranger, "r")[0], "Accepted False NotAllowedByListeners");
    let unknown = World::new().gateway("g", http()).route(Kind::Http, "r", 1, json!("another"), &[], rules());
    assert_eq!(unknown.status("httproutes", "r"), Value::Null, "it is for somebody else to tell");
}

#[test]
fn namespaces_are_chosen_by_their_labels() {
    let selected = json!([{"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes":
        {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"routes": "yes"}}}}}]);
    let mut world = World::new().gateway("g", selected);
    world.labels.insert("routes".to_owned(), "yes".to_owned());
    let to = json!({"name": "g", "namespace": "n"});
    let world =
        world.route(Kind::Http, "other/r", 1, to, &[], json!([{"backendRefs": [{"name": "o", "port": 80}]}]));
    assert_eq!(world.told("httproutes", "r")[0], "Accepted True Accepted");
    assert_eq!(service(&world.table(), "GET", "h/", &[]), "o");
    assert_eq!(world.status("gateways", "g")["listeners"][0]["attachedRoutes"], 1);
}

#[test]
fn references_that_lead_nowhere_are_told_and_their_requests_fail() {
    let route = |backend: Value| {
        let rules = json!([{"backendRefs": [backend]}]);
        World::new().gateway("g", http()).route(Kind::Http, "r", 1, json!("g"), &[], rules)
    };
    for (backend, reason) in [
        (json!({"name": "none", "port": 80}), "BackendNotFound"),
        (json!({"name": "a", "port": 82}), "BackendNotFound"),
        (json!({"name": "a", "kind": "Bucket", "port": 80}), "InvalidKind"),
        (json!({"name": "o", "namespace": "other", "port": 80}), "RefNotPermitted"),
    ] {
        let world = route(backend);
        assert_eq!(
            world.told("httproutes", "r"),
            ["Accepted True Accepted".to_owned(), format!("ResolvedRefs False {reason}")]
        );
        assert_eq!(service(&world.table(), "GET", "h/", &[]), "-");
    }
    let from = |kind: &str| json!({"group": GROUP, "kind": kind, "namespace": "n"});
    let to = |name: &str| json!({"group": "", "kind": "Service", "name": name});
    let strange = || route(json!({"name": "o", "namespace": "other", "port": 80}));
    let granted = strange().grant("other", from("HTTPRoute"), to("o"));
    assert_eq!(granted.told("httproutes", "r")[1], "ResolvedRefs True ResolvedRefs");
    assert_eq!(service(&granted.table(), "GET", "h/", &[]), "o");
    for world in [
        strange().grant("other", from("TLSRoute"), to("o")),
        strange().grant("other", from("HTTPRoute"), to("p")),
        strange().grant("n", from("HTTPRoute"), to("o")),
    ] {
        assert_eq!(world.told("httproutes", "r")[1], "ResolvedRefs False RefNotPermitted");
    }
}

#[test]
fn rules_that_cannot_be_are_dropped() {
    let bad =
        json!({"matches": [{"path": {"type": "RegularExpression", "value": "("}}], "backendRefs": to("a")});
    let custom = json!({"filters": [{"type": "ExtensionRef"}], "backendRefs": to("a")});
    let good = rule("PathPrefix", "/", "b");
    let part = World::new().gateway("g", http());
    let part = part.route(Kind::Http, "r", 1, json!("g"), &[], json!([bad, good, custom]));
    assert_eq!(
        part.told("httproutes", "r")[..2],
        ["Accepted True Accepted", "PartiallyInvalid True UnsupportedValue"]
    );
    let message = &part.status("httproutes", "r")["parents"][0]["conditions"];
    assert!(message.to_string().contains("Dropped Rule 0, 2"), "{message}");
    assert_eq!(service(&part.table(), "GET", "h/", &[]), "b");
    let none = World::new().gateway("g", http()).route(Kind::Http, "r", 1, json!("g"), &[], json!([custom]));
    assert_eq!(none.told("httproutes", "r")[0], "Accepted False UnsupportedValue");
    assert_eq!(none.status("gateways", "g")["listeners"][0]["attachedRoutes"], 0);
}

#[test]
fn gateways_are_told_what_becomes_of_their_listeners() {
    let world = World::new().gateway("g", http());
    let status = world.status("gateways", "g");
    assert_eq!(conditions(&status["conditions"]), ["Accepted True Accepted", "Programmed True Programmed"]);
    assert_eq!(status["addresses"][1], json!({"type": "IPAddress", "value": "192.0.2.2"}));
    let listener = &status["listeners"][0];
    assert_eq!(
        conditions(&listener["conditions"]),
        [
            "Accepted True Accepted",
            "Conflicted False NoConflicts",
            "Programmed True Programmed",
            "ResolvedRefs True ResolvedRefs"
        ]
    );
    assert_eq!(listener["supportedKinds"].as_array().unwrap().len(), 2);
    assert_eq!(listener["conditions"][0]["observedGeneration"], 3);
    let class = world.status("gatewayclasses", "public");
    assert_eq!(conditions(&class["conditions"]), ["Accepted True Accepted"]);
    assert!(FEATURES.is_sorted() && class["supportedFeatures"].as_array().unwrap().len() == FEATURES.len());
}

/// The conditions of each listener, and those of the Gateway last.
fn listeners_told(world: &World, wanted: &str) -> Vec<String> {
    let status = world.status("gateways", "g");
    let of =
        |all: &Value| conditions(all).into_iter().find(|one| one.starts_with(wanted)).unwrap_or_default();
    let listeners = status["listeners"].as_array().unwrap().iter();
    listeners.map(|one| of(&one["conditions"])).chain([of(&status["conditions"])]).collect()
}

#[test]
fn listeners_that_cannot_be_say_so() {
    let listener =
        |name: &str, port: u16, protocol: &str| json!({"name": name, "port": port, "protocol": protocol});
    let world = World::new().gateway(
        "g",
        json!([listener("good", 80, "http"), listener("port", 8080, "HTTP"), listener("tcp", 9000, "TCP")]),
    );
    assert_eq!(
        listeners_told(&world, "Accepted"),
        [
            "Accepted True Accepted",
            "Accepted False PortUnavailable",
            "Accepted False UnsupportedProtocol",
            "Accepted True ListenersNotValid"
        ]
    );
    let world = World::new().gateway("g", json!([listener("port", 8080, "HTTP")]));
    assert_eq!(listeners_told(&world, "Accepted")[1], "Accepted False ListenersNotValid");
    assert_eq!(listeners_told(&world, "Programmed"), ["Programmed False Invalid"; 2]);
    assert_eq!(world.status("gateways", "g")["addresses"], json!([]));
    let world = World::new().gateway("g", json!([listener("a", 80, "HTTP"), listener("b", 80, "http")]));
    assert_eq!(listeners_told(&world, "Conflicted")[..2], ["Conflicted True HostnameConflict"; 2]);
    assert_eq!(listeners_told(&world, "Programmed")[2], "Programmed False Invalid");
    assert!(world.compiled().heard.is_empty());
    let kinds = json!([{"name": "k", "port": 80, "protocol": "HTTP",
        "allowedRoutes": {"kinds": [{"kind": "HTTPRoute"}, {"kind": "TCPRoute"}]}}]);
    let world = World::new().gateway("g", kinds);
    assert_eq!(listeners_told(&world, "ResolvedRefs")[0], "ResolvedRefs False InvalidRouteKinds");
    let status = world.status("gateways", "g");
    assert_eq!(status["listeners"][0]["supportedKinds"], json!([{"group": GROUP, "kind": "HTTPRoute"}]));
}

#[test]
fn certificates_are_those_of_listeners_that_may_have_them() {
    let https = |name: &str, host: &str, secret: Value| {
        json!({"name": name, "port": 443, "protocol": "HTTPS", "hostname": host,
            "tls": {"mode": "Terminate", "certificateRefs": [secret]}})
    };
    let mut world = World::new().gateway(
        "g",
        json!([
            https("own", "a.example", json!({"name": "tls"})),
            https("none", "b.example", json!({"name": "none"})),
            https("far", "*.c.example", json!({"name": "tls", "namespace": "other"}))
        ]),
    );
    world.secrets = vec!["n/tls".to_owned(), "other/tls".to_owned()];
    assert_eq!(
        listeners_told(&world, "ResolvedRefs")[..3],
        [
            "ResolvedRefs True ResolvedRefs",
            "ResolvedRefs False InvalidCertificateRef",
            "ResolvedRefs False RefNotPermitted"
        ]
    );
    let shown = |world: &World, host: &str| world.table().shown(host).join(" ");
    assert_eq!(shown(&world, "a.example"), "n/tls");
    assert_eq!(shown(&world, "x.c.example"), "");
    let from = json!({"group": GROUP, "kind": "Gateway", "namespace": "n"});
    let world = world.grant("other", from, json!({"group": "", "kind": "Secret"}));
    assert_eq!(shown(&world, "y.x.c.example"), "other/tls");
}

#[test]
fn a_listener_has_several_certificates_and_serves_with_those_that_there_are() {
    let https = |name: &str, host: &str, secrets: &[&str]| {
        let references: Vec<Value> = secrets.iter().map(|name| json!({"name": name})).collect();
        json!({"name": name, "port": 443, "protocol": "HTTPS", "hostname": host,
            "tls": {"mode": "Terminate", "certificateRefs": references}})
    };
    let listeners = json!([
        https("all", "*.example", &["one", "two"]),
        https("some", "a.example", &["none", "two"]),
        https("none", "b.example", &["none"])
    ]);
    let world = World::new().secret("n/one").secret("n/two").gateway("g", listeners);
    let shown = |host: &str| world.table().shown(host).join(" ");
    assert_eq!((shown("x.example"), shown("a.example")), ("n/one n/two".to_owned(), "n/two".to_owned()));
    assert_eq!(
        listeners_told(&world, "ResolvedRefs")[..3],
        [
            "ResolvedRefs True ResolvedRefs",
            "ResolvedRefs False InvalidCertificateRef",
            "ResolvedRefs False InvalidCertificateRef"
        ]
    );
    assert_eq!(
        listeners_told(&world, "Programmed")[..3],
        ["Programmed True Programmed", "Programmed True Programmed", "Programmed False Invalid"]
    );
}

#[test]
fn listeners_that_share_hosts_over_tls_are_warned() {
    let tls = |name: &str, host: &str, mode: &str, protocol: &str| {
        json!({"name": name, "port": 443, "protocol": protocol, "hostname": host,
            "tls": {"mode": mode, "certificateRefs": [{"name": "tls"}]}})
    };
    let mut world = World::new().gateway(
        "g",
        json!([
            tls("a", "foo.example.com", "Terminate", "HTTPS"),
            tls("b", "foo.example.org", "Terminate", "HTTPS"),
            tls("c", "*.example.com", "Passthrough", "TLS"),
            tls("d", "*.example.com", "Terminate", "HTTPS")
        ]),
    );
    world.secrets = vec!["n/tls".to_owned()];
    let overlap = "OverlappingTLSConfig True OverlappingHostnames";
    assert_eq!(listeners_told(&world, "Overlapping"), [overlap, "", overlap, overlap, ""]);
    let conflicts = listeners_told(&world, "Conflicted");
    assert_eq!(
        conflicts[1..4],
        [
            "Conflicted False NoConflicts",
            "Conflicted True ProtocolConflict",
            "Conflicted True ProtocolConflict"
        ]
    );
}

#[test]
fn addresses_can_be_asked_for() {
    let with = |addresses: Value| {
        let mut world = World::new();
        world.objects.gateways.push(object(json!({"metadata": meta("g", 1),
            "spec": {"gatewayClassName": "public", "listeners": http(), "addresses": addresses}})));
        world
    };
    let one = with(json!([{"type": "IPAddress", "value": "192.0.2.2"}]));
    assert_eq!(
        one.status("gateways", "g")["addresses"],
        json!([{"type": "IPAddress", "value": "192.0.2.2"}])
    );
    let strange = with(json!([{"type": "IPAddress", "value": "198.51.100.1"}]));
    assert_eq!(listeners_told(&strange, "Programmed")[1], "Programmed False AddressNotUsable");
    let named = with(json!([{"type": "example.com/Pool", "value": "x"}]));
    assert_eq!(listeners_told(&named, "Accepted")[1], "Accepted False UnsupportedAddress");
    let any = with(json!([{"type": "IPAddress"}]));
    assert_eq!(any.status("gateways", "g")["addresses"].as_array().unwrap().len(), 2);
}

#[test]
fn connections_go_by_the_name_that_they_ask_for() {
    let mut world = World::new()
        .gateway("g", json!([
            {"name": "tls", "port": 443, "protocol": "TLS", "hostname": "*.example", "tls": {"mode": "Passthrough"}},
            {"name": "https", "port": 443, "protocol": "HTTPS", "hostname": "web.example",
                "tls": {"mode": "Terminate", "certificateRefs": [{"name": "tls"}]}},
        ]))
        .route(Kind::Tls, "r", 1, json!("g"), &["*.example"], json!([{"backendRefs": to("a")}]))
        .route(Kind::Tls, "s", 1, json!("g"), &["db.example"], json!([{"backendRefs": to("b")}]));
    world.secrets = vec!["n/tls".to_owned()];
    let table = world.table();
    let service = |name: &str| table.stream(name).map(|s| s.rule.choices[0].backend.clone().unwrap().service);
    assert_eq!(service("x.example").as_deref(), Some("a"));
    assert_eq!(service("db.example").as_deref(), Some("b"));
    assert_eq!(service("web.example"), None, "HTTPS has a listener for just this host");
    assert_eq!(service("example"), None);
}

#[test]
fn policies_say_which_endpoints_speak_tls() {
    let world = World::new().gateway("g", http());
    let world = world.route(
        Kind::Http,
        "r",
        1,
        json!("g"),
        &[],
        json!([{"backendRefs": [{"name": "a", "port": 80}, {"name": "b", "port": 80}]}]),
    );
    let world = world.policy("old", 5, "a", "ca").policy("young", 1, "a", "ca").policy("bad", 1, "b", "none");
    let told =
        |name: &str| conditions(&world.status("backendtlspolicies", name)["ancestors"][0]["conditions"]);
    assert_eq!(told("old"), ["Accepted True Accepted", "ResolvedRefs True ResolvedRefs"]);
    assert_eq!(told("young")[0], "Accepted False Conflicted");
    assert_eq!(
        told("bad"),
        ["Accepted False NoValidCACertificate", "ResolvedRefs False InvalidCACertificateRef"]
    );
    let ancestor = world.status("backendtlspolicies", "old")["ancestors"][0]["ancestorRef"].clone();
    assert_eq!(ancestor, json!({"group": GROUP, "kind": "Gateway", "namespace": "n", "name": "g"}));
    let output = world.compiled();
    let Target::Rule(rule) = &output.routes[0].1.target else { panic!("a route has rules") };
    let of = |at: usize| rule.choices[at].options.encryption.clone().unwrap();
    assert_eq!(of(0).source, Some(Source::ConfigMap("n/ca".to_owned())));
    assert_eq!((of(1).source, of(1).verifies), (None, true), "nobody is believed");
    assert_eq!(
        World::new().policy("p", 1, "c", "ca").compiled().updates.len(),
        1,
        "only the class has something to learn"
    );
}

#[test]
fn routes_of_gateways_and_ingresses_share_a_table() {
    let ingress = json!({"metadata": {"namespace": "n", "name": "i"}, "spec": {"rules": [{"host": "h", "http": {"paths": [
        {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "ingress", "port": {"number": 80}}}}]}}]}});
    let world = World::new().gateway("g", http());
    let rules = json!([rule("PathPrefix", "/", "a"), rule("PathPrefix", "/api", "b")]);
    let world = world.route(Kind::Http, "r", 1, json!("g"), &["h"], rules);
    let mut table = Table::compile(&[Arc::new(serde_json::from_value(ingress).unwrap())]);
    table.join(&mut world.compiled());
    assert_eq!(service(&table, "GET", "h/", &[]), "ingress");
    assert_eq!(service(&table, "GET", "h/api", &[]), "b");
}

#[test]
fn statuses_settle() {
    let mut world = World::new().gateway("g", http());
    world = world.route(Kind::Http, "r", 1, json!("g"), &[], json!([{"backendRefs": to("a")}]));
    for update in world.compiled().updates {
        let name = update.path.rsplit('/').nth(1).unwrap();
        let objects = &mut world.objects;
        let all = objects
            .classes
            .iter_mut()
            .chain(&mut objects.gateways)
            .chain(objects.routes.iter_mut().map(|(_, o)| o));
        for object in all.filter(|object| object.metadata.name.as_deref() == Some(name)) {
            Arc::make_mut(object).data["status"] = update.patch["status"].clone();
        }
    }
    assert_eq!(world.compiled().updates, []);
    // A route that leaves loses what it was told.
    Arc::make_mut(&mut world.objects.routes[0].1).data["spec"]["parentRefs"] = json!([]);
    assert_eq!(world.status("httproutes", "r"), json!({"parents": []}));
}
