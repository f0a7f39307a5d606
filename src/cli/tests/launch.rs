//! Launch configurations, as far as they need neither root nor containers.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const PATIENCE: Duration = Duration::from_secs(90);

/// A control plane alone with a folder for its configuration.
struct Node {
    folder: TempDir,
    server: Option<Child>,
}

impl Node {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join("etc"))?;
        let config = "disable-agent: true\nnode-name: one\nnode-ip: 127.0.0.1\nbind-address: 127.0.0.1\nhttps-listen-port: 0\n";
        fs::write(folder.path().join("etc/config.yaml"), config)?;
        Ok(Self { folder, server: None })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn launch_file(&self, text: &str) -> Result<()> {
        Ok(fs::write(self.path("etc/launch.yaml"), text)?)
    }

    fn knarr(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_knarr"));
        command.args(arguments).env("KNARR_DATA_DIR", self.path("data"));
        command.env("KNARR_CONFIG", self.path("etc/config.yaml")).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.knarr(arguments).output()?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn start(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.path("log"))?;
        self.server = Some(self.knarr(&["server"]).stdout(log.try_clone()?).stderr(log).spawn()?);
        self.until("the API", |node| Ok(node.path("data/ready").exists()))
    }

    fn stop(&mut self) -> Result<()> {
        self.run(&["stop"])?;
        self.server.take().context("a server")?.wait()?;
        Ok(())
    }

    fn until(&mut self, what: &str, is: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let begin = Instant::now();
        while !is(self)? {
            if let Some(ended) = self.server.as_mut().and_then(|server| server.try_wait().transpose()) {
                bail!("the server ended ({:?}) before {what}: {}", ended?, self.log());
            }
            ensure!(begin.elapsed() < PATIENCE, "{what}: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn record(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&fs::read(self.path("data/launch.json"))?)?)
    }

    fn until_done(&mut self, steps: usize) -> Result<()> {
        self.until("the steps", move |node| {
            Ok(node.record()?["done"].as_array().is_some_and(|done| done.len() == steps))
        })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

#[test]
fn what_cannot_be_done_keeps_the_server_from_starting_and_changes_nothing() -> Result<()> {
    let node = Node::new()?;
    for (text, told) in [
        ("extraFIPSEnv: {GOFIPS: \"1\"}\n", "extraFIPSEnv: Knarr has no FIPS mode"),
        (
            "extraKubeAPIServerArgs: {--event-ttl: soon}\n",
            "launch.yaml: error: invalid value 'soon' for '--event-ttl",
        ),
        ("extraConfigFiles: {a: b}\naddons: [{name: nonsense}]\n", "addons: Addon nonsense was not found"),
    ] {
        node.launch_file(&format!("version: 0.1.0\n{text}"))?;
        let output = node.knarr(&["server"]).output()?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(
            !output.status.success() && said.contains("etc/launch.yaml: ") && said.contains(told),
            "{said}"
        );
        ensure!(!node.path("data/pki").exists() && !node.path("data/args").exists(), "{text}");
    }
    Ok(())
}

#[test]
fn a_node_is_set_up_once_and_stays_as_people_make_it() -> Result<()> {
    let mut node = Node::new()?;
    let hooks = node.path("mine/addons/thing");
    fs::create_dir_all(&hooks)?;
    fs::write(node.path("mine/addons.yaml"), "microk8s-addons: {addons: [{name: thing}]}")?;
    let told = node.path("told");
    for verb in ["enable", "disable"] {
        fs::write(hooks.join(verb), format!("#!/bin/sh\necho {verb} \"$@\" >>{}\n", told.display()))?;
        fs::set_permissions(hooks.join(verb), fs::Permissions::from_mode(0o755))?;
    }
    node.launch_file(&format!(
        r#"version: 0.2.0
persistentClusterToken: {TOKEN}
extraKubeAPIServerArgs:
  --token-auth-file: $SNAP_DATA/args/tokens.csv
extraConfigFiles:
  tokens.csv: |
    secret,somebody,1,system:masters
containerdRegistryConfigs:
  docker.io: server = "http://mirror:5000"
addonRepositories:
- {{name: mine, url: {}}}
addons:
- {{name: thing, args: [a, "b c"]}}
- {{name: dns, disable: true}}
"#,
        node.path("mine").display()
    ))?;
    node.start()?;
    node.until_done(4)?;
    ensure!(fs::read_to_string(&told)? == "enable a b c\n");
    let hosts = fs::read_to_string(node.path("data/containerd/certs.d/docker.io/hosts.toml"))?;
    ensure!(hosts == "server = \"http://mirror:5000\"", "{hosts}");
    let tokens = node.run(&["token", "list"])?;
    ensure!(tokens.contains("never") && tokens.contains("any") && !tokens.contains(TOKEN), "{tokens}");
    let enabled = |node: &Node, addon: &str| -> Result<String> {
        let output = node.knarr(&["status", "--addon", addon]).output()?;
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    ensure!(enabled(&node, "dns")? == "disabled" && enabled(&node, "hostpath-storage")? == "enabled");
    ensure!(enabled(&node, "thing")? == "enabled", "{}", enabled(&node, "thing")?);
    let state: Value = serde_json::from_slice(&fs::read(node.path("data/server.json"))?)?;
    let whoami = Command::new("curl")
        .args(["-ks", "-H", "Authorization: Bearer secret"])
        .arg(format!("https://127.0.0.1:{}/api/v1/namespaces/default", state["port"]))
        .output()?;
    let whoami = String::from_utf8(whoami.stdout)?;
    ensure!(whoami.contains("\"kind\": \"Namespace\""), "the file of the flag is used: {whoami}");

    // What people do afterwards stays.
    node.run(&["disable", "mine/thing"])?;
    node.run(&["token", "revoke", TOKEN])?;
    let record = node.record()?;
    node.stop()?;
    node.start()?;
    // Another content is carried out, with what was there before.
    node.launch_file("version: 0.1.0\naddons: [{name: mine/thing, args: [again]}]\n")?;
    ensure!(node.record()? == record && fs::read_to_string(&told)? == "enable a b c\ndisable\n");
    ensure!(!node.run(&["token", "list"])?.contains("never"));
    node.stop()?;
    node.start()?;
    node.until_done(1)?;
    ensure!(fs::read_to_string(&told)? == "enable a b c\ndisable\nenable again\n");
    ensure!(node.record()?["error"].is_null());
    Ok(())
}
