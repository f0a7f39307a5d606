//! The commands of an evening: images, logs, reports, certificates, and leaving no trace.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "end-to-end tests")]

use anyhow::{Context, Result, ensure};
use e2e::node::{Node, knarr_bin};
use e2e::traces;
use serde_json::Value;
use std::process::Stdio;

fn json(node: &Node, arguments: &str) -> Result<Value> {
    Ok(serde_json::from_str(&node.run(arguments)?)?)
}

#[test]
fn a_node_is_looked_after_and_removed_without_a_trace() -> Result<()> {
    let mut node = Node::prepared("commands")?;
    let before = traces::of(&node)?;
    node.launch()?;
    node.wait_ready()?;
    images(&node)?;
    node.kubectl("run stays --image=nginx")?;
    node.kubectl("wait --for=condition=Ready pod/stays --timeout=60s")?;
    programs(&node)?;
    logs_and_report(&node)?;
    outsiders(&node)?;
    let cgroup = traces::cgroup_of_pods(&node)?;
    certificates(&mut node)?;

    let run_dir = node.run("ctr version").map(|_| run_dir(&node))??;
    ensure!(node.run_fails("uninstall")?.contains("--yes"));
    node.run("uninstall --yes")?;
    ensure!(!node.data_dir().exists() && !node.kubeconfig().exists(), "files are left");
    ensure!(!std::path::Path::new(&run_dir).exists(), "{run_dir} is left");
    traces::cgroup_is_gone(&node, &cgroup)?;
    let after = traces::of(&node)?;
    ensure!(before == after, "before:\n{before}\nafter:\n{after}");
    Ok(())
}

fn images(node: &Node) -> Result<()> {
    node.run("images pull busybox")?;
    let listed = |name: &str| -> Result<bool> {
        let all = json(node, "images list --output json")?;
        let tags = all.as_array().context("a list")?.iter().flat_map(|image| image["tags"].as_array());
        Ok(tags.flatten().any(|tag| tag == name))
    };
    let name = "docker.io/library/busybox:latest";
    ensure!(listed(name)?);
    ensure!(node.run("images list")?.contains("docker.io/library/busybox"));
    let folder = node.data_dir().join("archives");
    std::fs::create_dir(&folder)?;
    let archive = folder.join("busybox.tar").display().to_string();
    ensure!(node.run(&format!("images export {archive} busybox"))?.contains("Exported 1 image"));
    let remove = || node.run(&format!("ctr images rm --sync {name}"));
    remove()?;
    node.eventually("the image to go", || {
        ensure!(!listed(name)?);
        Ok(())
    })?;
    ensure!(node.run(&format!("images import {archive}"))?.contains(&format!("Imported {name}")));
    ensure!(listed(name)?);
    // The same without what makes it an OCI layout is what `docker save` wrote for years; in a pipe, and packed.
    remove()?;
    let docker = format!(
        "mkdir {0}/d && tar -xf {archive} -C {0}/d && tar -czf {0}/d.tgz -C {0}/d manifest.json blobs && \
         {1} images import - < {0}/d.tgz",
        folder.display(),
        knarr_bin().display()
    );
    let output = node.shell(&docker).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    ensure!(listed(name)?);
    node.kubectl("run imported --image=busybox --image-pull-policy=Never --restart=Never -- true")?;
    node.eventually("a pod of an imported image", || {
        ensure!(node.get("pod imported")?["status"]["phase"] == "Succeeded");
        Ok(())
    })?;
    std::fs::write(folder.join("x.tar"), "no archive")?;
    ensure!(node.run_fails(&format!("images import {}/x.tar", folder.display()))?.contains("archive"));
    ensure!(node.run_fails("images pull none.invalid/x")?.contains("cannot pull"));
    ensure!(node.run_fails(&format!("images export {archive} nothing:1"))?.contains("not found"));
    Ok(())
}

fn programs(node: &Node) -> Result<()> {
    ensure!(node.run("helm list --all-namespaces")?.starts_with("NAME"));
    ensure!(node.run("ctr images ls -q")?.contains("docker.io/library/nginx:latest"));
    ensure!(node.run("kubectl get pods -o name")?.contains("pod/stays"));
    let checks = node.knarr().args(["check", "-o", "json"]).stdin(Stdio::null()).output()?;
    let checks: Value = serde_json::from_slice(&checks.stdout)?;
    let containerd =
        checks["checks"].as_array().context("checks")?.iter().find(|c| c["name"] == "containerd");
    ensure!(containerd.is_some_and(|check| check["level"] == "ok"), "{checks:#}");
    node.run("token create --ttl 60")?;
    ensure!(json(node, "token list -o json")?[0]["once"] == false);
    Ok(())
}

fn logs_and_report(node: &Node) -> Result<()> {
    node.eventually("the dns add-on", || {
        node.kubectl("rollout status deployment/knarr-dns -n kube-system --timeout=1s")
    })?;
    ensure!(!node.run("logs dns --tail 5")?.is_empty());
    ensure!(node.run("logs containerd --tail 3")?.lines().count() == 3);
    ensure!(node.run_fails("logs ingress")?.contains("knarr enable ingress"));
    node.kubectl("create secret generic hush --from-literal=password=very-secret")?;
    let folder = node.data_dir().join("reports");
    std::fs::create_dir(&folder)?;
    let told = node.run(&format!("inspect --directory {}", folder.display()))?;
    ensure!(told.contains("Service knarr is running") && told.contains("Report tarball is at"), "{told}");
    let report = node.machine.shell(&format!("tar -xzOf {}/*.tar.gz", folder.display()))?;
    ensure!(report.contains("stays") && report.contains("node-1"));
    for secret in ["PRIVATE KEY", "very-secret", "dmVyeS1zZWNyZXQ"] {
        ensure!(!report.contains(secret), "the report contains {secret}");
    }
    Ok(())
}

/// Somebody without rights is told what to do, and not that nothing runs.
fn outsiders(node: &Node) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("knarr");
    std::fs::copy(knarr_bin(), &program)?;
    node.machine.shell(&format!("chmod 755 {0} {0}/knarr", folder.path().display()))?;
    for command in ["status", "config", "kubectl get nodes", "stop", "images list", "certs list"] {
        let script = format!(
            "setpriv --reuid=65534 --regid=65534 --clear-groups env KNARR_DATA_DIR={} {} {command}",
            node.data_dir().display(),
            program.display()
        );
        let output = node.machine.command("sh").args(["-c", &script]).stdin(Stdio::null()).output()?;
        let told = String::from_utf8_lossy(&output.stderr);
        let advice = ["sudo knarr", "sudo usermod -a -G knarr"].iter().any(|advice| told.contains(advice));
        ensure!(!output.status.success() && advice, "{command}: {told}");
    }
    Ok(())
}

/// The folder of the container runtime while it runs, out of the mounts that are in it.
fn run_dir(node: &Node) -> Result<String> {
    let mounts = std::fs::read_to_string("/proc/mounts")?;
    let folder = node.data_dir().display().to_string();
    let line = mounts.lines().find(|line| line.contains(&folder) && line.contains("/run/knarr-"));
    let path = line
        .and_then(|line| line.split(' ').find(|part| part.starts_with("/run/knarr-")))
        .context("a mount")?;
    Ok(path.split('/').take(3).collect::<Vec<_>>().join("/"))
}

/// New keys for everything while a pod goes on.
fn certificates(node: &mut Node) -> Result<()> {
    let started = |node: &Node| -> Result<Value> {
        Ok(node.get("pod stays")?["status"]["containerStatuses"][0]["state"]["running"]["startedAt"].clone())
    };
    let before = started(node)?;
    let old = std::fs::read_to_string(node.kubeconfig())?;
    node.run("certs rotate-ca")?;
    node.wait_ready_again()?;
    ensure!(std::fs::read_to_string(node.kubeconfig())? != old);
    // A kubeconfig from before knows the former authority alone, which vouches for the new one.
    let kept = node.data_dir().join("kept.kubeconfig");
    std::fs::write(&kept, old)?;
    node.kubectl(&format!("--kubeconfig {} get pods", kept.display()))?;
    ensure!(started(node)? == before, "the pod was started again");
    ensure!(node.eventually("exec", || node.kubectl("exec stays -- true")).is_ok());
    let listed = json(node, "certs list -o json")?;
    let authorities = listed.as_array().context("a list")?.iter().filter(|one| one["name"] == "ca").count();
    ensure!(authorities == 2, "the former one stays trusted: {listed:#}");
    Ok(())
}
