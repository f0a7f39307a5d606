//! Routes: which one a request gets, and what they are told.

use super::*;

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
