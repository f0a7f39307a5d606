//! Item 5 of a person's evening: add-ons that work without any network.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "end-to-end tests")]

use anyhow::{Context, Result, ensure};
use e2e::image;
use e2e::machine::text_of;
use e2e::node::Node;

fn knarr(node: &Node, arguments: &str) -> Result<String> {
    let output = node.knarr().args(arguments.split_whitespace()).output()?;
    text_of(&format!("knarr {arguments}"), output)
}

#[test]
fn core_add_ons_work() -> Result<()> {
    let node = Node::start("addons")?;
    ensure!(node.kubectl("get addons")?.contains("hostpath-storage"));
    storage(&node)?;
    metrics(&node)?;
    ingress(&node)?;
    gateway(&node)?;
    balancer(&node)?;
    registry(&node)?;
    cache(&node)?;
    parts(&node)
}

/// What MicroK8s has as add-ons and is a part of knarr; an address of the node.
fn parts(node: &Node) -> Result<()> {
    for name in ["rbac", "ha-cluster", "helm3"] {
        ensure!(knarr(node, &format!("enable {name}"))?.contains("is already enabled"), "{name}");
    }
    let refused = node.run_fails("disable rbac")?;
    ensure!(refused.contains("cannot be disabled"), "{refused}");
    let images = knarr(node, "addons images cert-manager")?;
    ensure!(
        images.lines().any(|image| image.starts_with("quay.io/jetstack/cert-manager-webhook:v")),
        "{images}"
    );

    knarr(node, "enable host-access")?;
    ensure!(node.machine.shell("ip -4 address show lo")?.contains("10.0.1.1/32"));
    knarr(node, "disable host-access")?;
    node.eventually("the address is given up", || {
        ensure!(!node.machine.shell("ip -4 address show lo")?.contains("10.0.1.1"));
        Ok(())
    })
}

const STATEFUL: &str = "
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: data}
spec:
  serviceName: data
  selector: {matchLabels: {app: data}}
  template:
    metadata: {labels: {app: data}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: c
        image: busybox
        command: [sleep, infinity]
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec:
      accessModes: [ReadWriteOnce]
      resources: {requests: {storage: 1Gi}}
";

/// A StatefulSet keeps its data while its pods come and go; the volume goes with its claim.
fn storage(node: &Node) -> Result<()> {
    node.apply(STATEFUL)?;
    node.kubectl("rollout status statefulset/data --timeout=60s")?;
    node.kubectl_args(&["exec", "data-0", "--", "sh", "-c", "echo kept > /data/file"])?;
    node.kubectl("delete pod data-0")?;
    node.kubectl("rollout status statefulset/data --timeout=60s")?;
    ensure!(node.kubectl("exec data-0 -- cat /data/file")?.trim() == "kept");
    let volume = node.get("persistentvolumes")?["items"][0].clone();
    let path = volume["spec"]["hostPath"]["path"].as_str().context("a directory")?.to_owned();
    ensure!(
        path.starts_with(&format!("{}/storage/default-data-data-0-", node.data_dir().display())),
        "{path}"
    );
    ensure!(std::fs::read_to_string(format!("{path}/file"))?.trim() == "kept");
    node.kubectl("delete statefulset data")?;
    node.kubectl("delete persistentvolumeclaim data-data-0 --timeout=60s")?;
    node.eventually("the volume and its data are gone", || {
        ensure!(node.get("persistentvolumes")?["items"].as_array().is_some_and(Vec::is_empty));
        ensure!(!std::path::Path::new(&path).exists());
        Ok(())
    })?;
    destroyed(node)
}

/// Disabling destroys volumes when it is asked to, even retained ones, but none that a pod uses.
fn destroyed(node: &Node) -> Result<()> {
    knarr(node, "enable hostpath-storage:Retain")?;
    node.apply(STATEFUL)?;
    node.kubectl("rollout status statefulset/data --timeout=60s")?;
    let volume = node.get("persistentvolumes")?["items"][0].clone();
    ensure!(volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain");
    let path = volume["spec"]["hostPath"]["path"].as_str().context("a directory")?.to_owned();
    let refused = node.run_fails("disable storage:destroy-storage")?;
    ensure!(refused.contains("default/data-0"), "{refused}");
    let refused = node.run_fails("disable metrics-server storage:destroy")?;
    ensure!(refused.contains("destroy-storage"), "{refused}");
    node.kubectl("get storageclass knarr-hostpath")?;
    node.kubectl("delete statefulset data")?;
    node.kubectl("wait --for=delete pod/data-0 --timeout=60s")?;
    ensure!(std::path::Path::new(&path).exists());
    let told = knarr(node, "disable storage:destroy-storage")?;
    ensure!(told.contains("Addon core/hostpath-storage is disabled"), "{told}");
    ensure!(!std::path::Path::new(&path).exists(), "{told}");
    for kind in ["persistentvolumes", "persistentvolumeclaims", "storageclasses"] {
        ensure!(node.get(kind)?["items"].as_array().is_some_and(Vec::is_empty), "{kind}");
    }
    knarr(node, "enable hostpath-storage")?;
    Ok(())
}

/// `kubectl top` tells what nodes and pods use.
fn metrics(node: &Node) -> Result<()> {
    let enabled = knarr(node, "enable metrics-server")?;
    ensure!(enabled.contains("Addon core/metrics-server is enabled"), "{enabled}");
    node.eventually("nodes' use", || {
        ensure!(node.kubectl("top nodes")?.contains("node-1"));
        Ok(())
    })?;
    node.eventually("pods' use", || {
        ensure!(node.kubectl("top pods -n kube-system")?.contains("knarr-dns"));
        Ok(())
    })
}

const INGRESS: &str = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  rules:
  - host: web.example
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
";

/// Hosts are served on the node's ports 80 and 443.
fn ingress(node: &Node) -> Result<()> {
    knarr(node, "enable ingress")?;
    node.kubectl("create deployment web --image=nginx")?;
    node.kubectl("expose deployment web --port=80")?;
    node.apply(INGRESS)?;
    node.kubectl("rollout status deployment web --timeout=60s")?;
    let address = &node.machine.address;
    for (scheme, port) in [("http", 80), ("https", 443)] {
        let ask =
            format!("curl -skf --max-time 2 --resolve web.example:{port}:{address} {scheme}://web.example/");
        node.eventually(&format!("an answer over {scheme}"), || {
            ensure!(node.machine.shell(&ask)?.contains("web-"));
            Ok(())
        })?;
    }
    let other = node.machine.shell(&format!("curl -s -o /dev/null -w '%{{http_code}}' http://{address}/"))?;
    ensure!(other.trim() == "404", "{other}");
    node.eventually("the Ingress knows its address", || {
        let told = node.get("ingress web")?;
        ensure!(told["status"]["loadBalancer"]["ingress"][0]["ip"] == address.as_str(), "{told}");
        Ok(())
    })
}

const GATEWAY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: public
  listeners:
  - {name: http, port: 80, protocol: HTTP, hostname: '*.gateway.example'}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: web}]
  hostnames: [web.gateway.example]
  rules:
  - matches: [{path: {type: PathPrefix, value: /api}, headers: [{name: x-version, value: '2'}]}]
    filters:
    - {type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}
    - {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-route, value: second}]}}
    backendRefs: [{name: web, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /old}}]
    filters: [{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301}}]
";

/// A Gateway and a route are served beside the Ingress, and say so.
fn gateway(node: &Node) -> Result<()> {
    node.kubectl("wait --for=condition=Accepted gatewayclass/public --timeout=30s")?;
    node.apply(GATEWAY)?;
    node.kubectl("wait --for=condition=Programmed gateway/web --timeout=30s")?;
    let address = &node.machine.address;
    ensure!(node.kubectl("get gateway web")?.contains(address.as_str()));
    node.eventually("the route is accepted", || {
        let told = node.get("httproute web")?;
        let conditions = &told["status"]["parents"][0]["conditions"];
        let holds = |kind: &str| {
            let mut all = conditions.as_array().into_iter().flatten();
            all.any(|one| one["type"] == kind && one["status"] == "True")
        };
        ensure!(holds("Accepted") && holds("ResolvedRefs"), "{told}");
        Ok(())
    })?;
    let ask = |path: &str, more: &str| {
        let to = format!("--resolve web.gateway.example:80:{address} http://web.gateway.example{path}");
        node.machine.shell(&format!("curl -si --max-time 2 {more} {to}"))
    };
    node.eventually("an answer by the route", || {
        let answer = ask("/api", "-H 'x-version: 2'")?;
        ensure!(answer.contains("web-") && answer.contains("x-route: second"), "{answer}");
        Ok(())
    })?;
    let other = ask("/api", "")?;
    ensure!(other.starts_with("HTTP/1.1 404"), "{other}");
    let moved = ask("/old/page", "")?;
    ensure!(
        moved.contains("301") && moved.contains("location: https://web.gateway.example/old/page"),
        "{moved}"
    );
    Ok(())
}

/// A Service has an address of the range, and answers there; what nobody has any more is given up.
fn balancer(node: &Node) -> Result<()> {
    knarr(node, "enable metallb --ranges 10.77.0.50-10.77.0.60")?;
    node.kubectl("expose deployment web --port=80 --type=LoadBalancer --name=balanced")?;
    node.eventually("an answer at the address", || {
        ensure!(node.machine.shell("curl -sf --max-time 2 http://10.77.0.50/")?.contains("web-"));
        Ok(())
    })?;
    ensure!(node.kubectl("get service balanced")?.contains("10.77.0.50"));
    node.kubectl("delete service balanced")?;
    node.eventually("the address is given up", || {
        ensure!(!node.machine.shell("ip -4 address show")?.contains("10.77.0.50"));
        Ok(())
    })
}

/// An image that is pushed to the registry runs.
fn registry(node: &Node) -> Result<()> {
    knarr(node, "enable registry:size=1Gi")?;
    let image = image::busybox()?;
    let folder = tempfile::tempdir()?;
    let url = "http://localhost:32000/v2/pushed/busybox";
    for bytes in &image.blobs {
        let (digest, file) = (image::digest(bytes), folder.path().join("blob"));
        std::fs::write(&file, bytes)?;
        node.machine.shell(&format!(
            "curl -sf -X POST --data-binary @{} '{url}/blobs/uploads/?digest={digest}'",
            file.display()
        ))?;
    }
    let file = folder.path().join("manifest");
    std::fs::write(&file, &image.manifest)?;
    let manifest: serde_json::Value = serde_json::from_slice(&image.manifest)?;
    let media_type = manifest["mediaType"].as_str().context("a media type")?;
    node.machine.shell(&format!(
        "curl -sf -X PUT -H 'content-type: {media_type}' --data-binary @{} {url}/manifests/v1",
        file.display()
    ))?;
    ensure!(node.machine.shell(&format!("curl -sf {url}/tags/list"))?.contains("\"v1\""));
    node.kubectl("run pushed --image=localhost:32000/pushed/busybox:v1 --command -- sleep infinity")?;
    node.kubectl("wait --for=condition=Ready pod/pushed --timeout=60s")?;
    Ok(())
}

/// Images of another registry come through this one, which keeps them.
fn cache(node: &Node) -> Result<()> {
    let upstream = node.registry.as_ref().context("a registry")?;
    let port = upstream.address.rsplit_once(':').context("a port")?.1;
    let host = format!("{}:{port}", node.machine.address);
    knarr(node, &format!("enable registry --size 1Gi --proxy http://{host}"))?;
    let image = format!("{host}/library/nginx:1.28");
    let pulls = upstream.pulls();
    for (name, fetched) in [("first", true), ("second", false)] {
        let before = upstream.pulls();
        node.kubectl(&format!("run {name} --image={image} --restart=Never"))?;
        node.kubectl(&format!("wait --for=condition=Ready pod/{name} --timeout=60s"))?;
        ensure!(
            (upstream.pulls() > before) == fetched,
            "{name}: {pulls}, then {before}, then {}",
            upstream.pulls()
        );
        node.kubectl(&format!("delete pod {name} --now"))?;
        knarr(node, &format!("ctr images rm --sync {image}"))?;
    }
    let hosts = node.data_dir().join(format!("containerd/certs.d/{host}/hosts.toml"));
    ensure!(hosts.exists());
    knarr(node, "enable registry:size=1Gi")?;
    node.eventually("containerd asks the registry itself again", || {
        ensure!(!hosts.exists());
        Ok(())
    })
}
