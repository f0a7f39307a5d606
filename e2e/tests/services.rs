//! Items 3 and 4 of a person's evening: nginx behind a Service, and a rolling update that nobody notices.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "end-to-end tests")]

use anyhow::{Context, Result, ensure};
use e2e::node::Node;
use serde_json::Value;
use std::collections::BTreeSet;

#[test]
fn nginx_answers_through_a_service_while_it_changes() -> Result<()> {
    let node = Node::start("service")?;
    node.kubectl("create deployment nginx --image=nginx --replicas=3")?;
    node.kubectl("expose deployment nginx --port=80 --type=NodePort")?;
    node.kubectl("rollout status deployment nginx --timeout=60s")?;
    ensure!(node.registry.as_ref().is_some_and(|r| r.pulls() > 0), "the image was really pulled");
    let service = node.get("service nginx")?;
    let cluster_ip = service["spec"]["clusterIP"].as_str().context("a ClusterIP")?.to_owned();
    let node_port = service["spec"]["ports"][0]["nodePort"].as_i64().context("a NodePort")?;

    node.apply(CLIENT)?;
    node.kubectl("wait --for=condition=Ready pod/client --timeout=60s")?;
    let address = node.machine.address.clone();
    spread(&node, |node| node.machine.shell(&format!("curl -sf --max-time 2 http://{cluster_ip}/")))?;
    spread(&node, |node| {
        node.machine.shell(&format!("curl -sf --max-time 2 http://{address}:{node_port}/"))
    })?;
    spread(&node, |node| {
        node.kubectl(&format!("exec client -- curl -sf --max-time 2 http://{cluster_ip}/"))
    })?;
    spread(&node, |node| {
        node.kubectl("exec client -- curl -sf --max-time 2 http://nginx.default.svc.cluster.local/")
    })?;
    ensure!(node.kubectl("exec client -- curl -sf --max-time 2 http://nginx/")?.contains("nginx-"));

    names(&node, &cluster_ip)?;
    affinity(&node, &cluster_ip)?;
    external_address(&node)?;
    forwarded_port(&node)?;
    replacement(&node)?;
    rolling_update(&node, &cluster_ip)?;
    history(&node)
}

const CLIENT: &str = "
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: c, image: busybox, command: [sleep, infinity]}
";

/// All three pods answer sooner or later.
fn spread(node: &Node, ask: impl Fn(&Node) -> Result<String>) -> Result<()> {
    let mut seen = BTreeSet::new();
    node.eventually("an answer of each pod", || {
        seen.insert(ask(node)?);
        ensure!(seen.len() == 3, "{seen:?}");
        Ok(())
    })
}

fn names(node: &Node, cluster_ip: &str) -> Result<()> {
    let look_up = |name: &str| node.kubectl(&format!("exec client -- nslookup {name}"));
    ensure!(look_up("nginx.default.svc.cluster.local")?.contains(cluster_ip));
    ensure!(look_up("kubernetes.default.svc.cluster.local")?.contains("10.152.183.1"));
    ensure!(look_up(cluster_ip)?.contains("nginx.default.svc.cluster.local"));
    ensure!(look_up("nobody.default.svc.cluster.local").is_err());
    Ok(())
}

/// Who has been answered by a pod is answered by it again.
fn affinity(node: &Node, cluster_ip: &str) -> Result<()> {
    let patch = |affinity: &str| {
        let patch = format!(r#"{{"spec":{{"sessionAffinity":"{affinity}"}}}}"#);
        node.kubectl_args(&["patch", "service", "nginx", "-p", &patch])
    };
    let ask = || node.kubectl(&format!("exec client -- curl -sf --max-time 2 http://{cluster_ip}/"));
    patch("ClientIP")?;
    node.eventually("one pod answers all the time", || {
        let answers: BTreeSet<String> = (0..8).map(|_| ask()).collect::<Result<_>>()?;
        ensure!(answers.len() == 1, "{answers:?}");
        Ok(())
    })?;
    patch("None")?;
    spread(node, |_| ask())
}

/// An address that somebody else routes to the node (RFC 5737: it is nobody's).
fn external_address(node: &Node) -> Result<()> {
    node.kubectl_args(&["patch", "service", "nginx", "-p", r#"{"spec":{"externalIPs":["192.0.2.10"]}}"#])?;
    spread(node, |node| node.kubectl("exec client -- curl -sf --max-time 2 http://192.0.2.10/"))
}

fn forwarded_port(node: &Node) -> Result<()> {
    let mut forward =
        node.kubectl_command(&["port-forward", "service/nginx", "18080:80"]).spawn().context("kubectl")?;
    let answered = node.eventually("an answer through the forwarded port", || {
        let answer = node.machine.shell("curl -sf --max-time 2 http://127.0.0.1:18080/")?;
        ensure!(answer.contains("nginx-"), "{answer}");
        Ok(())
    });
    forward.kill()?;
    forward.wait()?;
    answered
}

/// A pod that is deleted is replaced.
fn replacement(node: &Node) -> Result<()> {
    let pods = node.get("pods -l app=nginx")?;
    let name = pods["items"][0]["metadata"]["name"].as_str().context("a pod")?.to_owned();
    node.kubectl(&format!("delete pod {name}"))?;
    node.kubectl("rollout status deployment nginx --timeout=60s")?;
    node.eventually("three Ready pods without the old one", || {
        let pods = node.get("pods -l app=nginx")?;
        let ready = ready_pods(&pods);
        ensure!(ready.len() == 3 && !ready.contains(&name), "{ready:?}");
        Ok(())
    })?;
    node.kubectl("scale deployment nginx --replicas=2")?;
    node.eventually("two pods", || {
        let pods = node.get("pods -l app=nginx")?;
        ensure!(pods["items"].as_array().map(Vec::len) == Some(2), "{:?}", ready_pods(&pods));
        Ok(())
    })
}

fn ready_pods(pods: &Value) -> Vec<String> {
    let ready = |pod: &&Value| {
        pod["status"]["conditions"]
            .as_array()
            .is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
    };
    let items = pods["items"].as_array().cloned().unwrap_or_default();
    items.iter().filter(ready).filter_map(|pod| Some(pod["metadata"]["name"].as_str()?.to_owned())).collect()
}

/// A rolling update under load: not one request fails.
fn rolling_update(node: &Node, cluster_ip: &str) -> Result<()> {
    // A pod that ends stays in service until everybody knows, as every guide to rolling updates says.
    let patch = r#"{"spec":{"template":{"spec":{"containers":[{"name":"nginx",
        "readinessProbe":{"httpGet":{"path":"/","port":80},"periodSeconds":1},
        "lifecycle":{"preStop":{"sleep":{"seconds":2}}}}]}}}}"#;
    node.kubectl_args(&["patch", "deployment", "nginx", "-p", patch])?;
    node.kubectl("rollout status deployment nginx --timeout=90s")?;
    let stop = node.data_dir().join("stop-load");
    let script = format!(
        "fail=0; ok=0; while [ ! -e {stop} ]; do if curl -sf --max-time 2 -o /dev/null http://{cluster_ip}/; \
         then ok=$((ok+1)); else fail=$((fail+1)); fi; done; echo $ok $fail",
        stop = stop.display()
    );
    let load =
        node.machine.command("sh").args(["-c", &script]).stdout(std::process::Stdio::piped()).spawn()?;
    node.kubectl("set image deployment/nginx nginx=nginx:1.28")?;
    let rolled = node.kubectl("rollout status deployment nginx --timeout=90s");
    std::fs::write(&stop, "")?;
    let counted = String::from_utf8(load.wait_with_output()?.stdout)?;
    rolled?;
    let (ok, failed) = counted.trim().split_once(' ').context("two numbers")?;
    ensure!(ok.parse::<u32>()? > 20, "{counted}");
    ensure!(failed == "0", "{failed} of {ok} requests failed");
    ensure!(node.machine.shell(&format!("curl -sf http://{cluster_ip}/"))?.contains("1.28"));
    Ok(())
}

fn history(node: &Node) -> Result<()> {
    let history = node.kubectl("rollout history deployment nginx")?;
    ensure!(history.lines().filter(|l| l.starts_with(char::is_numeric)).count() == 3, "{history}");
    node.kubectl("rollout undo deployment nginx")?;
    node.kubectl("rollout status deployment nginx --timeout=90s")?;
    let image = node.get("deployment nginx")?["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    ensure!(image == "nginx", "{image}");
    node.kubectl("rollout restart deployment nginx")?;
    node.kubectl("rollout status deployment nginx --timeout=90s")?;
    Ok(())
}
