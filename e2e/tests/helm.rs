//! Charts as custom resources: the server makes releases by real Helm, which plain `helm list` sees.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "end-to-end tests")]

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::machine::text_of;
use e2e::node::{Node, knarr_bin, tool};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A chart of one ConfigMap, as an archive in `folder`.
fn archive(folder: &Path) -> Result<PathBuf> {
    let templates = folder.join("note/templates");
    std::fs::create_dir_all(&templates)?;
    std::fs::write(folder.join("note/Chart.yaml"), "apiVersion: v2\nname: note\nversion: 1.0.0\n")?;
    std::fs::write(folder.join("note/values.yaml"), "text: nothing\nmore: none\nsingle: none\n")?;
    std::fs::write(
        templates.join("note.yaml"),
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"{{ .Release.Name }}\"}\ndata:\n  text: {{ .Values.text | quote }}\n  \
         more: {{ .Values.more | quote }}\n  single: {{ .Values.single | quote }}\n",
    )?;
    let file = folder.join("note-1.0.0.tgz");
    let output = Command::new("tar").arg("-czf").arg(&file).arg("-C").arg(folder).arg("note").output()?;
    text_of("tar", output)?;
    Ok(file)
}

fn chart(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: helm.cattle.io/v1\nkind: HelmChart\nmetadata: {{name: {name}, namespace: kube-system}}\nspec:\n  \
         targetNamespace: notes\n  createNamespace: true\n{spec}"
    )
}

/// Waits until the note of a release says so.
fn says(node: &Node, name: &str, field: &str, text: &str) -> Result<()> {
    node.eventually(&format!("{field} of {name} is {text}"), || {
        let note = node.get(&format!("-n notes configmap {name}"))?;
        ensure!(note["data"][field] == text, "{note}");
        Ok(())
    })
}

/// The life of a release: installed, changed, seen by helm, removed.
fn lives(node: &Node, helm: &str) -> Result<()> {
    let helm = |arguments: &str| {
        let mut command = node.machine.command(&tool(helm).display().to_string());
        command.args(arguments.split(' ')).env("KUBECONFIG", node.kubeconfig()).env("HOME", node.data_dir());
        text_of(&format!("helm {arguments}"), command.output()?)
    };
    let folder = tempfile::tempdir()?;
    let content = STANDARD.encode(std::fs::read(archive(folder.path())?)?);
    let spec = |text: &str| {
        format!(
            "  chartContent: {content}\n  valuesContent: |\n    text: {text}\n  set: {{single: \"a,b\"}}\n"
        )
    };
    node.apply(&chart("note", &spec("first")))?;
    says(node, "note", "text", "first")?;
    says(node, "note", "single", "a,b")?;
    node.kubectl("-n kube-system wait --for=condition=Ready helmchart/note --timeout=60s")?;
    let listed = helm("list -n notes")?;
    ensure!(listed.contains("note-1.0.0") && listed.contains("deployed"), "{listed}");

    node.apply(&chart("note", &spec("second")))?;
    says(node, "note", "text", "second")?;
    node.apply(
        "apiVersion: helm.cattle.io/v1\nkind: HelmChartConfig\nmetadata: {name: note, namespace: kube-system}\nspec:\n  \
         values: {more: merged}\n",
    )?;
    says(node, "note", "more", "merged")?;
    says(node, "note", "text", "second")?;
    node.kubectl("-n kube-system wait --for=condition=Ready helmchart/note --timeout=60s")?;
    ensure!(helm("history -n notes note")?.lines().count() == 4);

    node.kubectl("-n kube-system delete helmchart note --timeout=60s")?;
    ensure!(node.kubectl_fails("-n notes get configmap note")?.contains("NotFound"));
    ensure!(!helm("list -n notes")?.contains("note-1.0.0"));
    Ok(())
}

/// A chart of the folder of manifests, whose archive lies in the folder of static files. Needs no network.
fn from_folders(node: &Node) -> Result<()> {
    let (manifests, charts) =
        (node.data_dir().join("server/manifests"), node.data_dir().join("server/static/charts"));
    std::fs::create_dir_all(&charts)?;
    let folder = tempfile::tempdir()?;
    let from = archive(folder.path())?;
    std::fs::copy(&from, charts.join(from.file_name().context("a name")?))?;
    let spec = "  repo: https://charts.invalid\n  chart: note\n  version: 1.0.0\n  values: {text: kept}\n";
    let file = manifests.join("kept.yaml");
    std::fs::write(&file, chart("kept", spec))?;
    says(node, "kept", "text", "kept")?;
    std::fs::remove_file(&file)?;
    node.eventually("the release is gone with its manifest", || {
        ensure!(node.kubectl_fails("-n notes get configmap kept")?.contains("NotFound"));
        Ok(())
    })
}

/// What cannot be fetched says how to do without a network.
fn out_of_reach(node: &Node) -> Result<()> {
    node.apply(&chart("far", "  repo: https://charts.invalid\n  chart: far\n  version: 9.9.9\n"))?;
    node.eventually("the failure is told", || {
        let chart = node.get("-n kube-system helmchart far")?;
        let told = chart["status"]["conditions"].to_string();
        ensure!(told.contains("helm pull far --repo https://charts.invalid --version 9.9.9"), "{told}");
        ensure!(told.contains("server/static/charts/far-9.9.9.tgz"), "{told}");
        Ok(())
    })?;
    node.kubectl("-n kube-system delete helmchart far --timeout=60s")?;
    Ok(())
}

#[test]
fn charts_are_releases_that_helm_sees() -> Result<()> {
    let node = Node::start_control_plane("helm")?;
    lives(&node, "helm")?;
    from_folders(&node)?;
    out_of_reach(&node)
}

/// The program beside knarr counts before that on PATH.
#[test]
fn helm_3_does_as_well() -> Result<()> {
    let mut node = Node::prepared_control_plane("helm-3")?;
    let folder = tempfile::tempdir()?;
    node.binary = folder.path().join("knarr");
    if std::fs::hard_link(knarr_bin(), &node.binary).is_err() {
        std::fs::copy(knarr_bin(), &node.binary)?;
    }
    std::os::unix::fs::symlink(tool("helm-3"), folder.path().join("helm"))?;
    node.launch()?;
    node.wait_readyz()?;
    lives(&node, "helm-3")
}
