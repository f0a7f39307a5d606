use super::*;
use serde_json::json;

fn arguments(all: &[(&str, Option<&str>)]) -> Arguments {
    all.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect()
}

fn server_flags() -> BTreeSet<String> {
    use clap::CommandFactory as _;
    let all = crate::arguments::Arguments::command();
    let server = all.find_subcommand("server").unwrap();
    server.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned).collect()
}

/// What a configuration file says after a launch configuration.
fn applied(flags: &Flags, file: Value) -> Value {
    let Value::Object(mut entries) = file else { panic!("no map") };
    flags.apply(&mut entries, &server_flags());
    Value::Object(entries)
}

#[test]
fn every_name_stands_for_a_flag_of_the_server() {
    let known = server_flags();
    for component in [
        Component::ApiServer,
        Component::ControllerManager,
        Component::Scheduler,
        Component::Kubelet,
        Component::Proxy,
    ] {
        for (name, flag) in component.names() {
            assert!(known.contains(*flag), "{component:?} {name}: {flag}");
        }
    }
    assert!(api_server_flags().is_subset(&known));
    assert!(known.contains(API_SERVER_PAIRS) && known.contains(CONTAINERD_PAIRS));
}

#[test]
fn arguments_win_over_the_configuration_file_in_both_ways_to_write_them() {
    let mut flags = Flags::default();
    let said =
        arguments(&[("--event-ttl", Some("5m")), ("anonymous-auth", None), ("--secure-port", Some("7443"))]);
    flags.of_component(Component::ApiServer, &said).unwrap();
    let file = json!({
        "event-ttl": "1h",
        "anonymous-auth": false,
        "node-name": "one",
        "kube-apiserver-arg": ["event-ttl=2h", "--anonymous-auth=false", "max-requests-inflight=7"],
    });
    assert_eq!(
        applied(&flags, file),
        json!({
            "event-ttl": ["5m"],
            "https-listen-port": ["7443"],
            "node-name": "one",
            "kube-apiserver-arg": ["max-requests-inflight=7"],
        })
    );
}

#[test]
fn a_worker_has_those_that_it_knows() {
    let mut flags = Flags::default();
    flags
        .of_component(
            Component::Kubelet,
            &arguments(&[("--node-labels", Some("a=b")), ("--cluster-dns", Some("10.0.0.10"))]),
        )
        .unwrap();
    let mut entries = Map::new();
    flags.apply(&mut entries, &BTreeSet::from(["node-label".to_owned()]));
    assert_eq!(Value::Object(entries), json!({"node-label": ["a=b"]}));
}

#[test]
fn what_knarr_does_not_have_is_refused_by_its_name() {
    let refused = |component, name: &str| {
        let mut flags = Flags::default();
        flags.of_component(component, &arguments(&[(name, Some("x"))])).unwrap_err().to_string()
    };
    let told = refused(Component::ApiServer, "--feature-gates");
    assert!(told.contains("kube-apiserver's flag --feature-gates") && told.contains("event-ttl"), "{told}");
    let told = refused(Component::Kubelet, "--max-pods");
    assert!(told.contains("kubelet's flag --max-pods") && told.contains("node-labels"), "{told}");
    // Knarr's own flags are none of Kubernetes'.
    assert!(refused(Component::ApiServer, "--disable").contains("--disable"));
    assert!(refused(Component::Scheduler, "--leader-elect").contains("kube-scheduler"));
    assert!(refused(Component::ApiServer, "--event-ttl=5m").contains("behind a colon"));
    // To be without what is not there may mean something else.
    let mut flags = Flags::default();
    assert!(flags.of_component(Component::Kubelet, &arguments(&[("--max-pods", None)])).is_err());
}

#[test]
fn components_must_agree() {
    let mut flags = Flags::default();
    let cidr = |cidr| arguments(&[("--cluster-cidr", Some(cidr))]);
    flags.of_component(Component::Proxy, &cidr("10.3.0.0/16")).unwrap();
    flags.of_component(Component::ControllerManager, &cidr("10.3.0.0/16")).unwrap();
    let error =
        flags.of_component(Component::ControllerManager, &cidr("10.4.0.0/16")).unwrap_err().to_string();
    assert!(error.contains("--cluster-cidr: something else"), "{error}");
    // A later part may say something else.
    let mut later = Flags::default();
    later.of_component(Component::Proxy, &cidr("10.5.0.0/16")).unwrap();
    flags.then(later);
    assert_eq!(applied(&flags, json!({})), json!({"cluster-cidr": ["10.5.0.0/16"]}));
}

#[test]
fn networks_are_of_one_family_or_of_both() {
    let networks = |all: &[(&str, Option<&str>)]| {
        let mut flags = Flags::default();
        flags.of_networks(&arguments(all)).map(|()| applied(&flags, json!({})))
    };
    let both = networks(&[
        ("IPv4_SUPPORT", Some("true")),
        ("IPv4_CLUSTER_CIDR", Some("10.3.0.0/16")),
        ("IPv4_SERVICE_CIDR", Some("10.9.0.0/24")),
        ("IPv6_SUPPORT", Some("true")),
        ("IPv6_CLUSTER_CIDR", Some("fd02::/56")),
        ("IPv6_SERVICE_CIDR", Some("fd99::/108")),
    ]);
    assert_eq!(
        both.unwrap(),
        json!({"cluster-cidr": ["10.3.0.0/16,fd02::/56"], "service-cidr": ["10.9.0.0/24,fd99::/108"]})
    );
    let one = networks(&[("IPv4_CLUSTER_CIDR", Some("10.3.0.0/16"))]).unwrap();
    assert_eq!(one, json!({"cluster-cidr": ["10.3.0.0/16"]}));
    for (wrong, told) in [
        (&[("IPv6_SUPPORT", Some("true"))][..], "IPv4_CLUSTER_CIDR is missing"),
        (&[("IPv4_SUPPORT", Some("false")), ("IPv4_CLUSTER_CIDR", Some("10.3.0.0/16"))], "is not used"),
        (&[("IPv6_CLUSTER_CIDR", Some("fd02::/56"))], "is not used"),
        (&[("IPv4_SUPPORT", Some("maybe"))], "neither true nor false"),
        (&[("IPV4_CLUSTER_CIDR", Some("10.3.0.0/16"))], "no equivalent of IPV4_CLUSTER_CIDR"),
    ] {
        let error = networks(wrong).unwrap_err().to_string();
        assert!(error.contains(told), "{wrong:?}: {error}");
    }
}

#[test]
fn names_and_variables_are_added_to_those_of_the_file() {
    let mut flags = Flags::default();
    flags.also("tls-san", BTreeSet::from(["b".to_owned()]));
    flags.of_containerd(arguments(&[("HTTPS_PROXY", Some("http://p")), ("NO_PROXY", None)]));
    let file = json!({"tls-san": "a", "containerd-env": ["NO_PROXY=x", "HTTPS_PROXY=y", "A=z"]});
    assert_eq!(
        applied(&flags, file),
        json!({"tls-san": ["a", "b"], "containerd-env": ["A=z", "HTTPS_PROXY=http://p"]})
    );
    assert!(flags.mentions("containerd-env") && !flags.mentions("node-name"));
}
