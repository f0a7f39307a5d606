//! Rule sets as text.

use super::tracker::Tracker;
use apimachinery::family::Family;
use client::ObjectKey;
use serde_json::{Value, json};

/// Policies, pods and namespaces, and the table of IPv4.
pub(super) struct World(pub(super) Tracker);

impl World {
    /// Namespaces `a` (team=x) and `b` (team=y); pods here unless `there`.
    pub(super) fn new() -> Self {
        let mut world = Self(Tracker::new("here", Family::ALL.into_iter()));
        world.namespace("a", json!({"team": "x"}));
        world.namespace("b", json!({"team": "y"}));
        world
    }

    pub(super) fn namespace(&mut self, name: &str, labels: Value) {
        let namespace = json!({"metadata": {"name": name, "labels": labels}});
        self.0.namespace(&serde_json::from_value(namespace).unwrap(), false);
    }

    pub(super) fn policy(&mut self, name: &str, spec: Value) {
        let (namespace, bare) = name.split_once('/').unwrap();
        let policy = json!({"metadata": {"namespace": namespace, "name": bare}, "spec": spec});
        let policy = serde_json::from_value(policy).unwrap();
        self.0.policy(&ObjectKey::new(namespace, bare), Some(&policy));
    }

    pub(super) fn no_policy(&mut self, name: &str) {
        let (namespace, bare) = name.split_once('/').unwrap();
        self.0.policy(&ObjectKey::new(namespace, bare), None);
    }

    fn pod_value(name: &str, app: &str, address: &str, node: &str) -> Value {
        let (namespace, bare) = name.split_once('/').unwrap();
        json!({"metadata": {"namespace": namespace, "name": bare, "labels": {"app": app}},
            "spec": {"nodeName": node, "containers": [{"name": "c", "ports": [
                {"name": "http", "containerPort": 8080}, {"containerPort": 9}]}]},
            "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}})
    }

    pub(super) fn pod(&mut self, name: &str, app: &str, address: &str, node: &str) {
        let pod = Self::pod_value(name, app, address, node);
        self.0.pod(&serde_json::from_value(pod).unwrap(), false);
    }

    pub(super) fn no_pod(&mut self, name: &str) {
        let pod = Self::pod_value(name, "", "10.1.0.1", "here");
        self.0.pod(&serde_json::from_value(pod).unwrap(), true);
    }

    pub(super) fn transaction(&mut self) -> String {
        self.0.tables[0].transaction()
    }

    pub(super) fn rebuild(&mut self) -> String {
        self.0.tables[0].rebuild()
    }

    /// The chain that connections to an address are checked by.
    fn rules(&mut self, map: &str, address: &str) -> Vec<String> {
        let text = self.rebuild();
        let elements = text.lines().find(|line| line.contains(&format!("map {map} "))).unwrap();
        let Some(rest) = elements.split(&format!("{address} : jump ")).nth(1) else { return Vec::new() };
        let chain = rest.split([',', ' ']).next().unwrap();
        let lines = text.lines().skip_while(|line| *line != format!("\tchain {chain} {{")).skip(1);
        lines.take_while(|line| *line != "\t}").map(|line| line.trim().to_owned()).collect()
    }
}

fn selector(app: &str) -> Value {
    json!({"matchLabels": {"app": app}})
}

#[test]
fn the_whole_table_is_as_it_should_be() {
    let mut world = World::new();
    world.pod("a/web", "web", "10.1.0.2", "here");
    world.pod("a/client", "client", "10.1.1.2", "there");
    world.policy(
        "a/web",
        json!({"podSelector": selector("web"), "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": selector("client")}], "ports": [{"port": "http"}]}]}),
    );
    let expected = "\
add table ip knarr-policy
delete table ip knarr-policy
table ip knarr-policy {
	set pods-1 { type ipv4_addr ; elements = { 10.1.1.2 } ; }
	map pods-in { type ipv4_addr : verdict ; elements = { 10.1.0.2 : jump group-3 } ; }
	map pods-out { type ipv4_addr : verdict ; }
	set port-2-http { type ipv4_addr . inet_proto . inet_service ; elements = { 10.1.0.2 . tcp . 8080, 10.1.1.2 . tcp . 8080 } ; }
	set self { type ipv4_addr . ipv4_addr ; elements = { 10.1.0.2 . 10.1.0.2 } ; }
	chain group-3 {
		ip saddr @pods-1 ip daddr . meta l4proto . th dport @port-2-http return
		drop
	}
	chain forward {
		type filter hook forward priority filter ;
		ct state established,related accept
		ip saddr . ip daddr @self accept
		ip saddr vmap @pods-out
		ip daddr vmap @pods-in
	}
	chain input {
		type filter hook input priority filter ;
		ct state established,related accept
		ip saddr vmap @pods-out
	}
}
";
    assert_eq!(world.rebuild(), expected);
}

#[test]
fn every_part_of_a_rule_is_matched() {
    let mut world = World::new();
    world.pod("a/web", "web", "10.1.0.2", "here");
    let mut rules = |ingress: Value| {
        world.policy("a/p", json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": ingress}));
        let mut rules = world.rules("pods-in", "10.1.0.2");
        assert_eq!(rules.pop().unwrap(), "drop");
        rules
    };
    assert_eq!(rules(json!([])), Vec::<String>::new());
    assert_eq!(rules(json!([{}])), ["return"]);
    assert_eq!(rules(json!([{"from": [], "ports": []}])), ["return"]);
    assert_eq!(
        rules(json!([{"ports": [{"port": 80}, {"protocol": "UDP", "port": 5000, "endPort": 5100},
            {"protocol": "SCTP"}]}])),
        ["tcp dport 80 return", "udp dport 5000-5100 return", "meta l4proto sctp return"]
    );
    assert_eq!(
        rules(
            json!([{"from": [{"ipBlock": {"cidr": "172.17.5.1/16", "except": ["172.17.1.0/24", "172.17.0.0/20"]}},
            {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}, {"ipBlock": {"cidr": "fd00::/8"}}],
            "ports": [{"port": 1}]}])
        ),
        [
            "ip saddr 172.17.0.0/16 ip saddr != 172.17.1.0/24 ip saddr != 172.17.0.0/20 tcp dport 1 return",
            "ip saddr != 10.0.0.0/8 tcp dport 1 return",
        ]
    );
    // One that is not understood lets nothing through, rather than everything.
    assert_eq!(rules(json!([{"from": [{"ipBlock": {"cidr": "nonsense"}}]}])), Vec::<String>::new());
}

#[test]
fn egress_is_about_the_other_end_and_types_decide_what_is_isolated() {
    let mut world = World::new();
    world.pod("a/web", "web", "10.1.0.2", "here");
    world.policy(
        "a/p",
        json!({"podSelector": {}, "policyTypes": ["Egress"],
            "egress": [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"protocol": "UDP", "port": 53}]}]}),
    );
    assert_eq!(world.rules("pods-out", "10.1.0.2"), ["ip daddr 192.0.2.0/24 udp dport 53 return", "drop"]);
    assert!(world.rules("pods-in", "10.1.0.2").is_empty());
    // Without types: ingress always, egress where there are rules of it.
    world.policy("a/p", json!({"podSelector": {}}));
    assert_eq!(world.rules("pods-in", "10.1.0.2"), ["drop"]);
    assert!(world.rules("pods-out", "10.1.0.2").is_empty());
    world.policy("a/p", json!({"podSelector": {}, "egress": [{}]}));
    assert_eq!(world.rules("pods-out", "10.1.0.2"), ["return", "drop"]);
}

#[test]
fn peers_are_selected_by_namespace_and_labels() {
    let mut world = World::new();
    for (name, app, address) in [
        ("a/web", "web", "10.1.0.2"),
        ("a/x", "x", "10.1.0.3"),
        ("b/x", "x", "10.1.0.4"),
        ("b/y", "y", "10.1.0.5"),
    ] {
        world.pod(name, app, address, "here");
    }
    for (peer, expected) in [
        (json!({"podSelector": {}}), "10.1.0.2, 10.1.0.3"),
        (json!({"podSelector": selector("x")}), "10.1.0.3"),
        (json!({"namespaceSelector": {}}), "10.1.0.2, 10.1.0.3, 10.1.0.4, 10.1.0.5"),
        (json!({"namespaceSelector": {"matchLabels": {"team": "y"}}}), "10.1.0.4, 10.1.0.5"),
        (json!({"namespaceSelector": {}, "podSelector": selector("x")}), "10.1.0.3, 10.1.0.4"),
    ] {
        world.policy("a/p", json!({"podSelector": selector("web"), "ingress": [{"from": [peer]}]}));
        let text = world.rebuild();
        let set = text.lines().find(|line| line.contains("set pods-")).unwrap();
        assert!(set.contains(&format!("elements = {{ {expected} }}")), "{peer}: {set}");
    }
}

#[test]
fn a_pod_is_an_element_more_or_less() {
    let mut world = World::new();
    world.pod("a/web", "web", "10.1.0.2", "here");
    world.policy(
        "a/p",
        json!({"podSelector": selector("web"), "ingress": [{"from": [{"podSelector": selector("x")}]}]}),
    );
    world.rebuild();
    world.pod("a/x", "x", "10.1.1.9", "there");
    assert_eq!(world.transaction(), "add element ip knarr-policy pods-1 { 10.1.1.9 }\n");
    world.pod("a/x", "x", "10.1.1.9", "there");
    assert_eq!(world.transaction(), "");
    // Another one with its address, before it is gone: it stays.
    world.pod("a/x2", "x", "10.1.1.9", "there");
    world.no_pod("a/x");
    assert_eq!(world.transaction(), "");
    world.no_pod("a/x2");
    assert_eq!(world.transaction(), "delete element ip knarr-policy pods-1 { 10.1.1.9 }\n");
    // Another one that the policy is about.
    world.pod("a/web2", "web", "10.1.0.3", "here");
    assert_eq!(
        world.transaction(),
        "add element ip knarr-policy pods-in { 10.1.0.3 : jump group-2 }\n\
         add element ip knarr-policy self { 10.1.0.3 . 10.1.0.3 }\n"
    );
    // Those elsewhere are no business of this node.
    world.pod("a/web3", "web", "10.1.2.3", "there");
    assert_eq!(world.transaction(), "");
}

#[test]
fn a_namespace_s_labels_move_its_pods() {
    let mut world = World::new();
    world.pod("a/web", "web", "10.1.0.2", "here");
    world.pod("b/x", "x", "10.1.0.4", "there");
    world.policy(
        "a/p",
        json!({"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "x"}}}]}]}),
    );
    world.rebuild();
    world.namespace("b", json!({"team": "x"}));
    assert_eq!(world.transaction(), "add element ip knarr-policy pods-1 { 10.1.0.4 }\n");
    world.namespace("b", json!({"team": "z"}));
    assert_eq!(world.transaction(), "delete element ip knarr-policy pods-1 { 10.1.0.4 }\n");
}

#[test]
fn policies_add_up_and_what_they_leave_is_cleared_away() {
    let mut world = World::new();
    world.pod("a/web", "web", "10.1.0.2", "here");
    world.pod("a/other", "other", "10.1.0.3", "here");
    world.rebuild();
    world.policy("a/none", json!({"podSelector": {}}));
    world.transaction();
    world.policy(
        "a/some",
        json!({"podSelector": selector("web"), "ingress": [{"from": [{"podSelector": selector("x")}]}]}),
    );
    let text = world.transaction();
    // The other pod's chain stays as it is.
    assert_eq!(
        text,
        "add set ip knarr-policy pods-2 { type ipv4_addr ; }\n\
         add chain ip knarr-policy group-3\n\
         add rule ip knarr-policy group-3 ip saddr @pods-2 return\n\
         add rule ip knarr-policy group-3 drop\n\
         delete element ip knarr-policy pods-in { 10.1.0.2 }\n\
         add element ip knarr-policy pods-in { 10.1.0.2 : jump group-3 }\n"
    );
    world.no_policy("a/some");
    let text = world.transaction();
    assert!(text.contains("flush chain ip knarr-policy group-3\n"), "{text}");
    assert!(text.contains("pods-in { 10.1.0.2 : jump group-1 }"), "{text}");
    assert!(world.0.tables[0].has_garbage());
    assert_eq!(
        world.transaction(),
        "delete chain ip knarr-policy group-3\ndelete set ip knarr-policy pods-2\n"
    );
    assert!(!world.0.tables[0].has_garbage());
    world.no_policy("a/none");
    assert!(!world.0.has_policies());
    let text = world.transaction();
    assert!(text.contains("delete element ip knarr-policy pods-in { 10.1.0.3 }"), "{text}");
}

#[test]
fn pods_of_the_host_s_network_and_finished_ones_do_not_count() {
    let mut world = World::new();
    world.policy("a/p", json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]}));
    world.rebuild();
    for (field, value) in [("/spec/hostNetwork", json!(true)), ("/status/phase", json!("Succeeded"))] {
        let mut pod = World::pod_value("a/h", "h", "10.1.0.7", "here");
        let (parent, key) = field.rsplit_once('/').unwrap();
        pod.pointer_mut(parent).unwrap()[key] = value;
        world.0.pod(&serde_json::from_value(pod).unwrap(), false);
        assert_eq!(world.transaction(), "");
    }
}
