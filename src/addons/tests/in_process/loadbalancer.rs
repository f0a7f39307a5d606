//! Services get addresses, and the node that speaks for one holds it.

use crate::object;
use addons::http::Ready;
use addons::loadbalancer::{self, Config, Links, Ranges};
use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use testkit::{TestServer, eventually};
use tokio_util::sync::CancellationToken;

const SERVICES: &str = "/api/v1/namespaces/default/services";

#[derive(Default)]
struct Played(Mutex<BTreeSet<IpAddr>>);

#[async_trait]
impl Links for Played {
    async fn hold(
        &self,
        wanted: &BTreeSet<IpAddr>,
        _ours: &(dyn for<'a> Fn(&'a IpAddr) -> bool + Send + Sync),
    ) -> io::Result<()> {
        *self.0.lock() = wanted.clone();
        Ok(())
    }
}

struct World {
    server: TestServer,
    nodes: Vec<(&'static str, Arc<Played>, CancellationToken)>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.nodes.iter().for_each(|(_, _, stop)| stop.cancel());
    }
}

impl World {
    async fn start(ranges: &str) -> Self {
        let networks = ["10.96.0.0/16", "fd00:96::/112"].map(|network| network.parse().unwrap());
        let server = TestServer::start_with(|config| config.service_cidrs = networks.to_vec()).await;
        let mut world = Self { server, nodes: Vec::new() };
        for (at, name) in ["one", "two"].into_iter().enumerate() {
            let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
            assert_eq!(world.server.post("/api/v1/nodes", &node).await.code, 201);
            world.set_ready(name, "True", at).await;
            let (links, stop) = (Arc::new(Played::default()), CancellationToken::new());
            let config = Config {
                node_name: name.to_owned(),
                informers: world.server.informers(),
                ranges: Ranges::read(ranges).unwrap(),
                links: links.clone(),
                ready: Ready::default(),
            };
            tokio::spawn(loadbalancer::run(config, stop.clone()));
            world.nodes.push((name, links, stop));
        }
        world
    }

    async fn set_ready(&self, name: &str, ready: &str, at: usize) {
        let status = json!({"status": {"conditions": [{"type": "Ready", "status": ready}],
            "addresses": [{"type": "InternalIP", "address": format!("192.0.2.{}", at + 1)}]}});
        let path = format!("/api/v1/nodes/{name}/status");
        assert_eq!(self.server.patch("merge", &path, &status).await.code, 200);
    }

    async fn service(&self, name: &str) {
        self.service_of(name, "SingleStack").await;
    }

    async fn service_of(&self, name: &str, policy: &str) {
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"type": "LoadBalancer", "ipFamilyPolicy": policy, "ports": [{"port": 80}]}});
        assert_eq!(self.server.post(SERVICES, &service).await.code, 201);
    }

    async fn given(&self, name: &str, addresses: &[&str]) {
        let expected: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip, "ipMode": "VIP"})).collect();
        let expected = Value::Array(expected);
        object(&self.server, &format!("{SERVICES}/{name}"), "has its address", |service| {
            let given = &service["status"]["loadBalancer"]["ingress"];
            *given == expected || (given.is_null() && expected == json!([]))
        })
        .await;
    }

    async fn refused(&self, name: &str) {
        eventually("it is told", || async {
            let events = self.server.get("/api/v1/namespaces/default/events").await.json();
            let events = events["items"].as_array()?.clone();
            let tells = |event: &Value| {
                event["reason"] == "AllocationFailed" && event["involvedObject"]["name"] == name
            };
            events.iter().any(tells).then_some(())
        })
        .await;
    }

    /// The only node that holds an address.
    async fn holder(&self, address: &str) -> usize {
        let address: IpAddr = address.parse().unwrap();
        eventually("one node holds the address", || async {
            let holds =
                |(_, links, _): &&(&str, Arc<Played>, CancellationToken)| links.0.lock().contains(&address);
            let holders: Vec<&str> = self.nodes.iter().filter(holds).map(|(name, ..)| *name).collect();
            match holders.as_slice() {
                [one] => self.nodes.iter().position(|(name, ..)| name == one),
                _ => None,
            }
        })
        .await
    }
}

#[tokio::test]
async fn an_address_is_given_held_by_one_node_and_moves_when_that_fails() {
    let world = World::start("10.0.0.1-10.0.0.1").await;
    world.service("first").await;
    world.given("first", &["10.0.0.1"]).await;
    let holder = world.holder("10.0.0.1").await;
    world.set_ready(world.nodes[holder].0, "Unknown", holder).await;
    eventually("the other one holds it", || async {
        (world.holder("10.0.0.1").await != holder).then_some(())
    })
    .await;
    // There is one address only; it is free when its Service has gone.
    world.service("second").await;
    world.refused("second").await;
    world.server.delete(&format!("{SERVICES}/first"), &Value::Null).await;
    world.given("second", &["10.0.0.1"]).await;
    let plain = json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80, "nodePort": null}]}});
    assert_eq!(world.server.patch("merge", &format!("{SERVICES}/second"), &plain).await.code, 200);
    world.given("second", &[]).await;
    eventually("nobody holds it", || async {
        world.nodes.iter().all(|(_, links, _)| links.0.lock().is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_service_of_both_families_has_an_address_of_each() {
    let world = World::start("10.0.0.1-10.0.0.9,fd00::10").await;
    world.service_of("both", "RequireDualStack").await;
    world.given("both", &["10.0.0.1", "fd00::10"]).await;
    world.holder("10.0.0.1").await;
    world.holder("fd00::10").await;
    world.service_of("refused", "RequireDualStack").await;
    world.refused("refused").await;
    world.given("refused", &[]).await;
    world.service_of("content", "PreferDualStack").await;
    world.given("content", &["10.0.0.2"]).await;
}

#[tokio::test]
async fn a_node_with_pods_of_an_addresses_family_speaks_for_a_local_service() {
    let world = World::start("10.0.0.1,fd00::10").await;
    world.service_of("local", "RequireDualStack").await;
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    for (family, pod, node) in [("IPv4", "10.1.0.2", "one"), ("IPv6", "fd00:1::2", "two")] {
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"generateName": "local-", "labels": {"kubernetes.io/service-name": "local"}},
            "addressType": family, "endpoints": [{"addresses": [pod], "nodeName": node}]});
        world.server.post(slices, &slice).await.expect(201);
    }
    let local = json!({"spec": {"externalTrafficPolicy": "Local"}});
    world.server.patch("merge", &format!("{SERVICES}/local"), &local).await.expect(200);
    for (address, node) in [("10.0.0.1", 0), ("fd00::10", 1)] {
        eventually("the node with the pod holds the address", || async {
            (world.holder(address).await == node).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn without_ranges_services_have_the_nodes_addresses() {
    let world = World::start("").await;
    world.service("web").await;
    world.given("web", &["192.0.2.1", "192.0.2.2"]).await;
    world.set_ready("one", "False", 0).await;
    world.given("web", &["192.0.2.2"]).await;
}
