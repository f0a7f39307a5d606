//! etcd's own client against a node. `apt-get install etcd-client` brings it.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "end-to-end tests")]

use anyhow::{Result, ensure};
use e2e::node::Node;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

fn shell(node: &Node, script: &str) -> Result<(bool, String)> {
    let output = node.shell(script).output()?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    Ok((output.status.success(), text))
}

fn etcdctl(node: &Node, arguments: &str) -> (String, String) {
    let pki = node.data_dir().join("pki").display().to_string();
    let to = format!("etcdctl --endpoints=https://127.0.0.1:2379 --cacert={pki}/ca.crt");
    (format!("{to} --cert={pki}/admin.crt --key={pki}/admin.key {arguments}"), format!("{to} {arguments}"))
}

fn succeeds(node: &Node, arguments: &str) -> Result<String> {
    let (command, _) = etcdctl(node, arguments);
    let (success, text) = shell(node, &command)?;
    ensure!(success, "etcdctl {arguments}: {text}");
    Ok(text)
}

#[test]
fn etcdctl_reads_a_node_and_what_it_saves_can_be_restored() -> Result<()> {
    let mut node = Node::prepared_control_plane("etcd")?;
    node.flag("--etcd-client-port=2379");
    node.launch()?;
    node.wait_readyz()?;
    node.kubectl("create configmap here --from-literal=a=b")?;
    let keys = succeeds(&node, "get /registry/ --prefix --keys-only")?;
    for key in [
        "/registry/configmaps/default/here",
        "/registry/namespaces/kube-system",
        "/registry/services/specs/default/kubernetes",
    ] {
        ensure!(keys.lines().any(|line| line == key), "{key} is not in {keys}");
    }
    let value = succeeds(&node, "get /registry/configmaps/default/here --print-value-only")?;
    ensure!(value.contains(r#""data":{"a":"b"}"#), "{value}");
    let status = succeeds(&node, "endpoint status -w json")?;
    ensure!(status.contains("dbSize"), "{status}");
    let health = succeeds(&node, "endpoint health")?;
    ensure!(health.contains("is healthy"), "{health}");
    succeeds(&node, "endpoint hashkv")?;
    let members = succeeds(&node, "member list")?;
    ensure!(members.contains("node-1"), "{members}");

    let (command, without) = etcdctl(&node, "put a b");
    let (success, told) = shell(&node, &command)?;
    ensure!(!success && told.contains("write through the Kubernetes API"), "{told}");
    let (success, _) = shell(&node, &format!("{without} --command-timeout=2s --dial-timeout=2s"))?;
    ensure!(!success, "a client without a certificate was let in");

    let (command, _) = etcdctl(&node, "watch /registry/configmaps/ --prefix");
    let mut watch = node.shell(&format!("exec {command}")).stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(watch.stdout.take().expect("piped")).lines();
    // The watch begins some time after the process: change until it sees it.
    let script = "while true; do kubectl annotate --overwrite configmap here t=$(date +%s%N) || exit; done";
    let mut changer = node.shell(script).stdout(Stdio::null()).spawn()?;
    let seen: Vec<String> = lines.by_ref().map_while(Result::ok).take(2).collect();
    changer.kill()?;
    changer.wait()?;
    watch.kill()?;
    watch.wait()?;
    ensure!(seen == ["PUT", "/registry/configmaps/default/here"], "{seen:?}");

    let file = node.data_dir().with_file_name("snapshot.db").display().to_string();
    succeeds(&node, &format!("snapshot save {file}"))?;
    node.kubectl("create configmap later")?;
    node.terminate()?;
    let (success, told) =
        shell(&node, &format!("{} datastore restore {file}", e2e::node::knarr_bin().display()))?;
    ensure!(success && told.contains("no certificates and keys"), "{told}");
    node.launch()?;
    node.wait_readyz()?;
    let names = node.kubectl("get configmaps -o name")?;
    ensure!(names.contains("configmap/here") && !names.contains("configmap/later"), "{names}");
    Ok(())
}
