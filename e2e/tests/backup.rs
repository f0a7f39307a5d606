//! Backups of a server that is being written to, and bringing them back.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "end-to-end tests")]

use anyhow::{Context, Result, ensure};
use e2e::node::Node;
use std::io::{BufRead as _, BufReader};
use std::process::{Output, Stdio};

/// Runs a knarr command; answers whether it succeeded, and all that it printed.
fn knarr(node: &Node, arguments: &[&str]) -> Result<(bool, String)> {
    let Output { status, stdout, stderr } = node.knarr().args(arguments).output()?;
    Ok((status.success(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned()))
}

fn succeeds(node: &Node, arguments: &[&str]) -> Result<String> {
    let (success, text) = knarr(node, arguments)?;
    ensure!(success, "knarr {}: {text}", arguments.join(" "));
    Ok(text)
}

#[test]
fn a_backup_under_load_comes_back_as_it_was_and_nowhere_else() -> Result<()> {
    let mut node = Node::prepared_control_plane("backup")?;
    node.flag("--secrets-encryption");
    node.launch()?;
    node.wait_readyz()?;
    node.kubectl("create secret generic treasure --from-literal=key=gold")?;
    node.kubectl("create configmap counter --from-literal=n=0")?;
    // Counts as fast as it can, and prints what the server said.
    let script = "for i in $(seq 1 100000); do kubectl patch configmap counter -p '{\"data\":{\"n\":\"'$i'\"}}' \
                  -o jsonpath='{.data.n} {.metadata.resourceVersion}{\"\\n\"}' || exit 0; done";
    let mut writer = node.shell(script).stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(writer.stdout.take().context("stdout")?).lines();
    let mut counted = || -> Result<(u64, u64)> {
        let line = lines.next().context("the writer ended")??;
        let (n, revision) = line.split_once(' ').context("two words")?;
        Ok((n.parse()?, revision.parse()?))
    };
    let before = (counted()?, counted()?).1;
    let file = node.data_dir().with_file_name("b.tar.gz");
    let path = file.display().to_string();
    let told = succeeds(&node, &["datastore", "backup", &path])?;
    ensure!(told.contains("The backup is"), "{told}");
    let after = counted()?;
    writer.kill()?;
    writer.wait()?;
    node.kubectl("create configmap later")?;

    let (success, told) = knarr(&node, &["datastore", "restore", &path])?;
    ensure!(!success && told.contains("knarr stop"), "a running server was restored under: {told}");
    node.terminate()?;
    let cut = node.data_dir().with_file_name("cut.tar.gz");
    let whole = std::fs::read(&file)?;
    std::fs::write(&cut, &whole[..whole.len() - 100])?;
    let (success, told) = knarr(&node, &["datastore", "restore", &cut.display().to_string()])?;
    ensure!(!success && told.contains("damaged or cut off"), "{told}");
    // Nothing has changed.
    node.launch()?;
    node.wait_readyz()?;
    node.kubectl("get configmap later")?;
    node.terminate()?;

    succeeds(&node, &["dbctl", "restore", &path])?;
    node.launch()?;
    node.wait_readyz()?;
    let told = node.kubectl("get configmaps")?;
    ensure!(!told.contains("later"), "what was written after the backup is there: {told}");
    let counter = node.get("configmap/counter")?;
    let n: u64 = counter["data"]["n"].as_str().context("n")?.parse()?;
    ensure!(before.0 <= n && n <= after.0, "{n} is not between {before:?} and {after:?}");
    // Encrypted objects can be read: the key came along.
    let secret = node.get("secret/treasure")?;
    ensure!(secret["data"]["key"] == "Z29sZA==", "{secret}");
    // An old watch is told to begin anew.
    let uri = format!(
        "/api/v1/namespaces/default/configmaps?watch=true&timeoutSeconds=5&resourceVersion={}",
        after.1
    );
    let (success, told) = {
        let output = node.kubectl_command(&["get", "--raw", &uri]).output()?;
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    };
    ensure!(told.contains("410") || told.contains("Expired") || told.contains("too old"), "{success} {told}");
    let made = node.get("configmap/counter")?["metadata"]["resourceVersion"].clone();
    node.kubectl("label configmap counter a=b")?;
    let now = node.get("configmap/counter")?["metadata"]["resourceVersion"].clone();
    let number = |value: &serde_json::Value| value.as_str().unwrap().parse::<u64>().unwrap();
    ensure!(number(&made) <= after.1 && number(&now) > after.1 + 1_000_000, "{made} {now} {after:?}");

    // The tools of a running server.
    let status = succeeds(&node, &["datastore", "status", "--check"])?;
    ensure!(status.contains("integrity:          whole"), "{status}");
    let history = succeeds(&node, &["datastore", "history", "/registry/core/configmaps/default/counter"])?;
    ensure!(history.contains("updated") && history.contains("  kubernetes-admin\n"), "{history}");
    succeeds(&node, &["datastore", "compact"])?;
    succeeds(&node, &["datastore", "defrag", "--full"])?;
    succeeds(&node, &["datastore", "snapshots", "save"])?;
    let kept = succeeds(&node, &["datastore", "snapshots", "ls"])?;
    ensure!(kept.contains("knarr-node-1-"), "{kept}");

    // Another machine, with nothing of its own: the seed of a new cluster. The administrator's credentials are as before.
    let kubeconfig = std::fs::read_to_string(node.kubeconfig())?;
    node.terminate()?;
    drop(node);
    let mut seed = Node::prepared_control_plane("seed")?;
    let file = seed.data_dir().with_file_name("b.tar.gz");
    std::fs::write(&file, &whole)?;
    succeeds(&seed, &["datastore", "restore", &file.display().to_string()])?;
    seed.launch()?;
    seed.wait_readyz()?;
    let secret = seed.get("secret/treasure")?;
    ensure!(secret["data"]["key"] == "Z29sZA==", "{secret}");
    std::fs::write(seed.kubeconfig(), kubeconfig)?;
    seed.kubectl("get configmap counter")?;
    let (success, told) = knarr(&seed, &["datastore", "recover", "--yes"])?;
    ensure!(!success && told.contains("stop it"), "{told}");
    seed.terminate()?;
    let (success, told) = knarr(&seed, &["datastore", "recover", "--yes"])?;
    ensure!(!success && told.contains("only one of its cluster"), "{told}");
    Ok(())
}
