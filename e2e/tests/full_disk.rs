//! A node whose disk becomes full.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "end-to-end tests")]

use anyhow::{Context, Result, ensure};
use e2e::node::{Node, PATIENCE};
use e2e::wait;
use std::io::Write as _;

/// Room for the control plane alone, soon filled.
const DISK: &str = "size=64m";

#[test]
fn a_full_disk_refuses_writes_by_name_and_is_overcome_when_there_is_room() -> Result<()> {
    let mut node = Node::prepared_control_plane("full-disk")?;
    std::fs::create_dir_all(node.data_dir())?;
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("tmpfs"), &node.data_dir(), Some("tmpfs"), flags, Some(DISK))?;
    node.launch()?;
    node.wait_readyz()?;
    node.kubectl("create configmap before")?;
    let ballast = node.data_dir().join("ballast");
    let mut file = std::fs::File::create(&ballast)?;
    while file.write_all(&[1; 4096]).is_ok() {}
    drop(file);
    let large = "x".repeat(200_000);
    let manifest =
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: NAME}}\ndata: {{a: {large}}}\n");
    let mut number = 0;
    let mut told = String::new();
    wait::until("a write to be refused", PATIENCE, || {
        number += 1;
        let manifest = manifest.replace("NAME", &format!("large-{number}"));
        match node.kubectl_stdin("create -f -", &manifest) {
            Err(error) => {
                told = format!("{error:#}");
                Ok(())
            }
            Ok(_) => anyhow::bail!("{number} were taken"),
        }
    })?;
    ensure!(told.contains("the disk is full"), "{told}");
    node.kubectl("get configmap before")?;
    let raw = format!(
        "curl -ks -o /dev/null -w '%{{http_code}}' --cert {0}/admin.crt --key {0}/admin.key -H 'Content-Type: application/yaml' \
         --data-binary @- https://127.0.0.1:6443/api/v1/namespaces/default/configmaps",
        node.data_dir().join("pki").display()
    );
    let mut post =
        node.shell(&raw).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn()?;
    post.stdin.take().context("stdin")?.write_all(manifest.replace("NAME", "again").as_bytes())?;
    let code = String::from_utf8(post.wait_with_output()?.stdout)?;
    ensure!(code == "507", "{code}");
    std::fs::remove_file(&ballast)?;
    wait::until("writes to go on", PATIENCE, || node.kubectl("create configmap after").map(drop))?;
    // What was there is there after a restart too.
    node.kill()?;
    node.launch()?;
    node.wait_readyz()?;
    node.kubectl("get configmap before after")?;
    Ok(())
}
