//! Several nodes: two on one subnet, one behind a router. Pods, Services, names and policies across them.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "end-to-end tests")]

use anyhow::{Context, Result, bail, ensure};
use e2e::network::Network;
use e2e::node::{Node, PATIENCE};
use e2e::wait;
use serde_json::{Value, json};

/// Three nodes, all Ready.
struct Cluster {
    server: Node,
    near: Node,
    far: Node,
    // Last: the others hang on it.
    network: Network,
}

const NAMES: [&str; 3] = ["server", "near", "far"];

impl Cluster {
    fn start() -> Result<Self> {
        let network = Network::new("router", &["10.77.0.0", "10.78.0.0"])?;
        let mut server = Node::on(network.machine("server", "10.77.0.2")?, "server")?;
        let mut near = Node::worker_on(network.machine("near", "10.77.0.3")?, "near")?;
        let mut far = Node::worker_on(network.machine("far", "10.78.0.2")?, "far")?;
        server.launch()?;
        server.wait_ready()?;
        for (worker, name) in [(&mut near, "near"), (&mut far, "far")] {
            join(&server, worker, name)?;
            worker.launch()?;
        }
        let cluster = Self { server, near, far, network };
        for name in NAMES {
            cluster.server.eventually("a Ready node", || {
                let wait = format!("wait --for=condition=Ready node/{name} --timeout=1s");
                cluster.server.kubectl(&wait).map(drop).with_context(|| cluster.logs())
            })?;
        }
        Ok(cluster)
    }

    fn logs(&self) -> String {
        format!("near:\n{}\nfar:\n{}", self.near.log_tail(), self.far.log_tail())
    }

    /// Runs a shell script in a pod.
    fn in_pod(&self, pod: &str, script: &str) -> Result<String> {
        self.server.kubectl_args(&["exec", pod, "--", "sh", "-ec", script])
    }

    fn eventually<T>(&self, what: &str, look: impl FnMut() -> Result<T>) -> Result<T> {
        wait::until(what, PATIENCE, look).with_context(|| self.logs())
    }

    fn address_of(&self, pod: &str) -> Result<String> {
        let address = self.server.get(&format!("pod {pod}"))?.pointer("/status/podIP").cloned();
        Ok(address.as_ref().and_then(Value::as_str).context("no address")?.to_owned())
    }

    /// One nginx and one shell on every node, and a Service of the former.
    fn workload(&self) -> Result<()> {
        let mut items = Vec::new();
        for name in NAMES {
            items.push(json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": format!("web-{name}"), "labels": {"app": "web", "on": name}},
                "spec": {"nodeName": name, "containers": [{"name": "web", "image": "nginx",
                    "ports": [{"name": "http", "containerPort": 80}]}]}}));
            items.push(json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": format!("sh-{name}"), "labels": {"app": "sh", "on": name}},
                "spec": {"nodeName": name, "terminationGracePeriodSeconds": 0, "containers": [
                    {"name": "sh", "image": "busybox", "command": ["sleep", "100000"]}]}}));
            items.push(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("web-{name}")},
                "spec": {"type": "NodePort", "selector": {"app": "web", "on": name}, "ports": [{"port": 80}]}}));
        }
        self.server.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())?;
        self.eventually("pods on every node", || {
            self.server.kubectl("wait --for=condition=Ready pods --all --timeout=1s").map(drop)
        })
    }
}

/// Gives a worker what joining gives it.
fn join(server: &Node, worker: &Node, name: &str) -> Result<()> {
    let folder = worker.data_dir().join("agent");
    std::fs::create_dir_all(&folder)?;
    let at = folder.display();
    server.machine.shell(&format!(
        "openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt > {at}/key; \
         openssl req -new -key {at}/key -subj /O=system:nodes/CN=system:node:{name} -out {at}/csr"
    ))?;
    let request = server.machine.shell(&format!("base64 -w0 {at}/csr"))?;
    server.apply(
        &json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
            "metadata": {"name": name}, "spec": {"request": request.trim(),
                "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
                "usages": ["digital signature", "client auth"]}})
        .to_string(),
    )?;
    server.kubectl(&format!("certificate approve {name}"))?;
    let certificate = server.eventually("a certificate", || {
        let found = server.get(&format!("csr {name}"))?;
        let found = found.pointer("/status/certificate").and_then(Value::as_str);
        Ok(found.context("not signed yet")?.to_owned())
    })?;
    server.machine.shell(&format!(
        "echo {certificate} | base64 -d > {at}/kubelet-client.pem; cat {at}/key >> {at}/kubelet-client.pem"
    ))?;
    std::fs::copy(server.data_dir().join("pki/ca.crt"), folder.join("ca.crt"))?;
    let facts = json!({"nodeName": name, "servers": [format!("{}:6443", server.machine.address)],
        "clusterCidr": "10.1.0.0/16", "clusterDns": "10.152.183.10", "clusterDomain": "cluster.local"});
    std::fs::write(folder.join("agent.json"), facts.to_string())?;
    Ok(())
}

#[test]
fn pods_services_names_and_policies_work_across_nodes() -> Result<()> {
    let mut cluster = Cluster::start()?;
    cluster.workload()?;

    // Every pod reaches every other one, and each sees who it really is.
    for from in NAMES {
        for to in NAMES {
            let address = cluster.address_of(&format!("web-{to}"))?;
            let answer =
                cluster.in_pod(&format!("sh-{from}"), &format!("curl -sf --max-time 5 http://{address}/"))?;
            assert_eq!(answer, format!("web-{to} latest\n"), "from {from}");
        }
    }
    let own = cluster.address_of("sh-far")?;
    let seen = cluster.server.kubectl("logs web-near")?;
    assert!(seen.contains(&format!("{own} - ")), "no address is hidden between pods: {seen}");

    // More than a packet, through the tunnel too.
    cluster.in_pod(
        "web-far",
        "mkdir -p /usr/share/nginx/html; dd if=/dev/zero of=/usr/share/nginx/html/big bs=1024 count=4096",
    )?;
    let far = cluster.address_of("web-far")?;
    let size =
        cluster.in_pod("sh-server", &format!("curl -sf --max-time 20 http://{far}/files/big | wc -c"))?;
    assert_eq!(size.trim(), "4194304");

    // Names are resolved on every node, and Services lead to pods elsewhere.
    for from in NAMES {
        for to in NAMES {
            cluster.eventually("a Service by its name", || {
                let answer = cluster.in_pod(
                    &format!("sh-{from}"),
                    &format!("curl -sf --max-time 2 http://web-{to}.default/"),
                )?;
                if answer == format!("web-{to} latest\n") { Ok(()) } else { bail!("{answer}") }
            })?;
        }
    }

    // NodePorts answer on every node, whichever has the pod, for pods, the nodes and others.
    for to in NAMES {
        let service = cluster.server.get(&format!("service web-{to}"))?;
        let (port, ip) =
            (&service["spec"]["ports"][0]["nodePort"], service["spec"]["clusterIP"].as_str().unwrap());
        for address in ["10.77.0.2", "10.77.0.3", "10.78.0.2"] {
            let curl = format!("curl -sf --max-time 5 http://{address}:{port}/");
            assert_eq!(cluster.network.router().shell(&curl)?, format!("web-{to} latest\n"), "by {address}");
        }
        for node in [&cluster.server, &cluster.near, &cluster.far] {
            let answer = node.machine.shell(&format!("curl -sf --max-time 5 http://{ip}/"))?;
            assert_eq!(answer, format!("web-{to} latest\n"), "from {}", node.machine.address);
        }
    }

    // A policy is enforced where the pod is, for peers wherever they are.
    cluster.server.apply(
        &json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "web"},
            "spec": {"podSelector": {"matchLabels": {"on": "far", "app": "web"}}, "ingress": [
                {"from": [{"podSelector": {"matchLabels": {"on": "near"}}}], "ports": [{"port": "http"}]}]}})
        .to_string(),
    )?;
    let ask = format!("curl -sf --max-time 1 http://{far}/");
    cluster.eventually("the policy", || match cluster.in_pod("sh-server", &ask) {
        Ok(_) => bail!("it is let through"),
        Err(_) => Ok(()),
    })?;
    assert_eq!(cluster.in_pod("sh-near", &ask)?, "web-far latest\n");
    cluster.server.kubectl("delete networkpolicy web")?;
    cluster.eventually("no policy", || cluster.in_pod("sh-server", &ask))?;
    images(&mut cluster)
}

/// An archive that is imported on one node is on all that can be reached.
fn images(cluster: &mut Cluster) -> Result<()> {
    let (server, name) = (&cluster.server, "example.org/brought:1");
    let archive = server.data_dir().join("brought.tar").display().to_string();
    server.run(&format!("ctr images tag docker.io/library/busybox:latest {name}"))?;
    server.run(&format!("images export {archive} {name}"))?;
    let listed =
        |node: &Node| -> Result<bool> { Ok(node.run("images list")?.contains("example.org/brought")) };
    let told = server.run(&format!("images import {archive} --local"))?;
    ensure!(told.contains(&format!("Imported {name}\n")) && !listed(&cluster.near)?, "{told}");
    let told = server.run(&format!("images import {archive}"))?;
    for (node, shown) in [(&cluster.near, "near"), (&cluster.far, "far")] {
        ensure!(told.contains(&format!("Imported {name} on {shown}\n")), "{told}");
        ensure!(listed(node)?, "{shown}");
    }
    // A worker cannot reach the others, and says so.
    let output = cluster.near.knarr().args(["images", "import", &archive]).output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && error.contains("This node is a worker"), "{error}");

    cluster.far.kill()?;
    let error = cluster.server.run_fails(&format!("images import {archive}"))?;
    ensure!(error.contains("1 of 2 other nodes did not get the images\nfar: "), "{error}");
    Ok(())
}
