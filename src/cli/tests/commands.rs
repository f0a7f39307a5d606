//! The program as people call it, as far as it needs neither root nor containers.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

use anyhow::{Context, Result, ensure};
use client::Rest;
use http::Method;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::Duration;

fn knarr(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_knarr"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn run(arguments: &[&str]) -> Result<String> {
    let output = knarr(arguments).output()?;
    ensure!(output.status.success(), "{arguments:?}: {}", text(&output));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn versions_come_in_the_form_that_is_asked_for() -> Result<()> {
    ensure!(run(&["version"])?.starts_with("Knarr v"));
    let json: Value = serde_json::from_str(&run(&["version", "--output", "json"])?)?;
    ensure!(json["kubernetes"] == "v1.36", "{json}");
    ensure!(run(&["version", "-o", "yaml"])?.contains("kubernetes: v1.36"));
    ensure!(run(&["version", "-o", "short"])?.trim() == json["knarr"]);
    Ok(())
}

#[test]
fn wrong_use_ends_badly_and_says_the_next_step() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let nowhere = folder.path().join("none").display().to_string();
    for (arguments, told) in [
        (&["images", "list"][..], "knarr start"),
        (&["certs", "list"], "knarr start"),
        (&["certs", "rotate"], "knarr start"),
        (&["uninstall", "--yes"], "--data-dir"),
        (&["history"], "knarr start"),
        (&["undo", "deployments"], "knarr start"),
        (&["logs", "nonsense"], "hostpath-storage"),
        (&["logs"], "foreground"),
        (&["refresh-certs"], "--cert"),
        (&["dashboard-proxy"], "knarr start"),
    ] {
        let output = knarr(arguments).env("KNARR_DATA_DIR", &nowhere).output()?;
        ensure!(!output.status.success() && text(&output).contains(told), "{arguments:?}: {}", text(&output));
    }
    for program in ["kubectl", "helm", "istioctl", "linkerd", "ctr"] {
        let output = knarr(&[program, "version"]).env("KNARR_DATA_DIR", &nowhere).output()?;
        ensure!(!output.status.success() && text(&output).contains("knarr start"), "{}", text(&output));
    }
    let output = knarr(&["sail"]).output()?;
    ensure!(output.status.code() == Some(2) && text(&output).contains("unrecognized subcommand"));
    Ok(())
}

#[test]
fn a_machine_is_checked_for_programs_too() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let output = knarr(&["check", "--output", "json"]).env("KNARR_DATA_DIR", folder.path()).output()?;
    let found: Value = serde_json::from_slice(&output.stdout)?;
    let checks = found["checks"].as_array().context("checks")?;
    let failed = checks.iter().any(|check| check["level"] == "failure");
    ensure!(found["ok"] == !failed && output.status.success() != failed, "{found:#}");
    for check in checks.iter().filter(|check| check["level"] != "ok") {
        ensure!(check["fix"].as_str().is_some_and(|fix| !fix.is_empty()), "{check}");
    }
    Ok(())
}

/// A throw-away control plane; it is gone with this.
struct Ephemeral {
    child: Child,
    command: ChildStdin,
    kubeconfig: PathBuf,
}

impl Ephemeral {
    fn start() -> Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_knarr"))
            .args(["ephemeral", "--", "sh", "-c", "echo $KUBECONFIG; read code; exit $code"])
            // What is meant for the node of this machine does not count.
            .env("KNARR_DATA_DIR", "/nonexistent")
            .env("KNARR_WRITE_KUBECONFIG", "/nonexistent/kubeconfig")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let command = child.stdin.take().context("stdin")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("stdout")?).read_line(&mut line)?;
        Ok(Self { child, command, kubeconfig: PathBuf::from(line.trim()) })
    }

    fn data_dir(&self) -> &Path {
        self.kubeconfig.parent().unwrap()
    }

    async fn rest(&self) -> Result<Rest> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Rest::new(client::from_kubeconfig(&self.kubeconfig, "kubectl-edit").await?))
    }

    /// Runs a command against it.
    fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = knarr(arguments).env("KNARR_DATA_DIR", self.data_dir()).output()?;
        ensure!(output.status.success(), "{arguments:?}: {}", text(&output));
        Ok(String::from_utf8(output.stdout)?)
    }

    fn end(mut self, code: i32) -> Result<()> {
        writeln!(self.command, "{code}")?;
        ensure!(self.child.wait()?.code() == Some(code));
        ensure!(!self.data_dir().exists(), "{} is left", self.data_dir().display());
        Ok(())
    }
}

#[tokio::test]
async fn a_command_has_a_control_plane_to_itself() -> Result<()> {
    let (one, other) = (Ephemeral::start()?, Ephemeral::start()?);
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mine"}});
    let path = "/api/v1/namespaces";
    one.rest().await?.raw(Method::POST, path, Some(body.to_string().into_bytes())).await?;
    let names = |rest: Rest| async move { rest.raw(Method::GET, path, None).await };
    ensure!(names(one.rest().await?).await?.contains("mine"));
    ensure!(!names(other.rest().await?).await?.contains("mine"));
    one.end(7)?;
    other.end(0)
}

#[tokio::test]
async fn manifests_in_the_folder_are_applied_and_pruned() -> Result<()> {
    let cluster = Ephemeral::start()?;
    let rest = cluster.rest().await?;
    let folder = cluster.data_dir().join("server/manifests");
    let until = async |there: bool| {
        let looked = async {
            while rest.raw(Method::GET, "/api/v1/namespaces/default/configmaps/m", None).await.is_ok()
                != there
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), looked).await.context(if there {
            "applied"
        } else {
            "pruned"
        })
    };
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("m.yaml"), "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n")?;
    until(true).await?;
    std::fs::remove_file(folder.join("m.yaml"))?;
    until(false).await?;
    cluster.end(0)
}

#[test]
fn a_control_plane_that_cannot_start_says_why() -> Result<()> {
    let output = knarr(&["ephemeral", "--server-flag=--service-cidr=10.1.0.0/24", "--", "true"]).output()?;
    ensure!(!output.status.success() && text(&output).contains("overlap"), "{}", text(&output));
    let output = knarr(&["ephemeral", "--", "/no/such/program"]).output()?;
    ensure!(!output.status.success() && text(&output).contains("/no/such/program"), "{}", text(&output));
    Ok(())
}

#[tokio::test]
async fn what_changed_is_told_and_undone() -> Result<()> {
    let cluster = Ephemeral::start()?;
    let rest = cluster.rest().await?;
    let collection = "/api/v1/namespaces/default/configmaps";
    let item = format!("{collection}/c");
    let config = |value: &str| {
        let object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": value}});
        Some(object.to_string().into_bytes())
    };
    rest.raw(Method::POST, collection, config("one")).await?;
    rest.raw(Method::PUT, &item, config("two")).await?;
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"p": "hush"}});
    rest.raw(Method::POST, "/api/v1/namespaces/default/secrets", Some(secret.to_string().into_bytes()))
        .await?;

    let kubeconfig = cluster.kubeconfig.display().to_string();
    let history = cluster.run(&["history", "cm/c", "-n", "default", "--kubeconfig", &kubeconfig])?;
    ensure!(history.contains("created configmaps default/c by kubernetes-admin (kubectl-edit)"), "{history}");
    ensure!(history.ends_with("  - data.k: \"one\"\n  + data.k: \"two\"\n"), "{history}");
    let all: Value = serde_json::from_str(&cluster.run(&["history", "--since", "10m", "-o", "json"])?)?;
    let all = all.as_array().context("a list")?;
    let revisions: Vec<u64> = all.iter().filter_map(|change| change["revision"].as_u64()).collect();
    ensure!(revisions.is_sorted() && revisions.len() > 3, "{revisions:?}");
    ensure!(all.iter().any(|change| change["name"] == "s") && all.iter().all(|c| c["resource"] != "events"));
    ensure!(!json!(all).to_string().contains("hush") && !json!(all).to_string().contains("aHVzaA"));

    let value = async || -> Result<Value> {
        let text = rest.raw(Method::GET, &item, None).await?;
        Ok(serde_json::from_str::<Value>(&text)?["data"]["k"].take())
    };
    let told = cluster.run(&["undo", "configmap", "c", "--dry-run"])?;
    ensure!(told.contains("would be as it was") && value().await? == "two", "{told}");
    cluster.run(&["undo", "configmap", "c"])?;
    ensure!(value().await? == "one");
    // Once more is what it was before the undoing.
    cluster.run(&["undo", "cm/c"])?;
    ensure!(value().await? == "two");
    rest.raw(Method::DELETE, &item, None).await?;
    let told: Value =
        serde_json::from_str(&cluster.run(&["history", "cm/c", "-n", "default", "-o", "json"])?)?;
    let told = told.as_array().context("a list")?;
    let changes: Vec<_> = told.iter().map(|change| change["change"].as_str().unwrap_or_default()).collect();
    ensure!(changes == ["created", "updated", "updated", "updated", "deleted"], "{changes:?}");
    ensure!(told.iter().all(|change| change["user"] == "kubernetes-admin"), "{told:?}");
    let time = |change: &Value| change["time"].as_str()?.parse::<jiff::Timestamp>().ok();
    let times: Vec<_> = told.iter().filter_map(time).collect();
    ensure!(times.len() == 5 && times.is_sorted(), "{times:?}");
    ensure!(told[0]["by"] == json!(["kubectl-edit"]) && told[4]["by"] == json!([]), "{told:?}");
    let key = "/registry/core/configmaps/default/c";
    let stored = cluster.run(&["datastore", "history", key])?;
    ensure!(stored.lines().count() == 6, "{stored}");
    let deleted = stored.lines().nth(1).unwrap_or_default();
    ensure!(deleted.contains("deleted") && deleted.ends_with("  kubernetes-admin"), "{stored}");
    let told = cluster.run(&["undo", "cm/c"])?;
    ensure!(value().await? == "two", "{told}");
    let created =
        all.iter().find(|change| change["name"] == "c").context("its creation")?["revision"].to_string();
    cluster.run(&["undo", "cm/c", "--to-revision", &created])?;
    ensure!(value().await? == "one");

    let refused = knarr(&["undo", "cm/none"]).env("KNARR_DATA_DIR", cluster.data_dir()).output()?;
    ensure!(!refused.status.success() && text(&refused).contains("nothing is known"), "{}", text(&refused));
    let refused = knarr(&["history", "nonsense"]).env("KNARR_DATA_DIR", cluster.data_dir()).output()?;
    ensure!(!refused.status.success() && text(&refused).contains("api-resources"), "{}", text(&refused));
    cluster.end(0)
}

/// Ends the server of a data directory, however a test ends.
struct Stop<'a>(&'a Path);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        let _ = knarr(&["stop"]).env("KNARR_DATA_DIR", self.0).output();
    }
}

#[test]
fn certificates_are_issued_anew_and_brought_back() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let start = |verb: &[&str]| -> Result<String> {
        let output = knarr(verb).env("KNARR_DATA_DIR", folder.path()).output()?;
        ensure!(output.status.success(), "{verb:?}: {}", text(&output));
        Ok(String::from_utf8(output.stdout)?)
    };
    let _stop = Stop(folder.path());
    // The server runs while they are rotated.
    start(&[
        "start",
        "--",
        "--disable-agent",
        "--bind-address=127.0.0.1",
        "--https-listen-port=0",
        "--node-name=n",
    ])?;
    let key = |name: &str| std::fs::read_to_string(folder.path().join("pki").join(name));
    let (admin, authority) = (key("admin.key")?, key("ca.key")?);
    ensure!(start(&["certs", "list"])?.contains("apiserver "));
    start(&["certs", "rotate"])?;
    ensure!(key("admin.key")? != admin && key("ca.key")? == authority);
    start(&["status", "--wait-ready", "--timeout=60"])?;
    start(&["certs", "rotate-ca"])?;
    ensure!(key("ca.key")? != authority);
    start(&["status", "--wait-ready", "--timeout=60"])?;
    let days = start(&["refresh-certs", "--check"])?;
    ensure!(days.contains("The CA certificate will expire in 36"), "{days}");
    start(&["refresh-certs", "--undo"])?;
    ensure!(key("ca.key")? == authority);
    start(&["status", "--wait-ready", "--timeout=60"])?;
    ensure!(start(&["logs", "-n", "1"])?.lines().count() == 1);
    start(&["uninstall", "--yes"])?;
    ensure!(!folder.path().exists());
    std::fs::create_dir(folder.path())?;
    Ok(())
}
