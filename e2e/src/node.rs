//! A running `knarr server` on a machine, and the clients against it.

use crate::image::{self, Image};
use crate::machine::{Machine, text_of};
use crate::power;
use crate::registry::Registry;
use crate::wait;
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Debug builds on two shared cores are slow; the bars are measured elsewhere (`e2e/bench`).
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A knarr server of its own: machine, data directory, registry. Ends with everything it started.
pub struct Node {
    /// The machine it runs on.
    pub machine: Machine,
    /// The registry that plays docker.io; none on a control plane alone.
    pub registry: Option<Registry>,
    folder: tempfile::TempDir,
    server: Option<Child>,
    /// `server` or `agent`.
    command: &'static str,
    name: String,
    arguments: Vec<String>,
    /// What is run as `knarr`.
    pub binary: PathBuf,
}

/// The binary under test.
pub fn knarr_bin() -> PathBuf {
    std::env::var_os("KNARR_BIN").map_or_else(
        || {
            PathBuf::from(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../target/x86_64-unknown-linux-gnu/debug/knarr"
            ))
        },
        PathBuf::from,
    )
}

/// A stock client out of `KNARR_TOOLS`.
pub fn tool(name: &str) -> PathBuf {
    let folder = std::env::var_os("KNARR_TOOLS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools")),
        PathBuf::from,
    );
    folder.join(name)
}

impl Node {
    /// Starts a whole node whose docker.io is a registry with nginx (`latest`, `1.27`, `1.28`) and busybox,
    /// and waits until it is Ready.
    ///
    /// # Errors
    /// When it does not come up, with the end of its log.
    pub fn start(name: &str) -> Result<Self> {
        let images =
            [image::nginx("latest")?, image::nginx("1.27")?, image::nginx("1.28")?, image::busybox()?];
        let mut node = Self::prepare(name, Some(&images))?;
        node.launch()?;
        node.wait_ready()?;
        Ok(node)
    }

    /// Starts the control plane alone and waits until it answers.
    ///
    /// # Errors
    /// When it does not come up, with the end of its log.
    pub fn start_control_plane(name: &str) -> Result<Self> {
        let mut node = Self::prepared_control_plane(name)?;
        node.launch()?;
        node.wait_readyz()?;
        Ok(node)
    }

    /// The same as [`Node::start`] but for the start itself.
    ///
    /// # Errors
    /// When the machine or its registry cannot be made.
    pub fn prepared(name: &str) -> Result<Self> {
        let images =
            [image::nginx("latest")?, image::nginx("1.27")?, image::nginx("1.28")?, image::busybox()?];
        Self::prepare(name, Some(&images))
    }

    /// The same as [`Node::start_control_plane`] but for the start itself.
    ///
    /// # Errors
    /// When the machine cannot be made.
    pub fn prepared_control_plane(name: &str) -> Result<Self> {
        let mut node = Self::prepare(name, None)?;
        node.arguments.push("--disable-agent".to_owned());
        Ok(node)
    }

    /// A whole node, as [`Node::prepared`] makes it, on a machine that is there.
    ///
    /// # Errors
    /// When its registry cannot be made.
    pub fn on(machine: Machine, name: &str) -> Result<Self> {
        let node = Self::prepare_on(machine, name, Some(&[image::nginx("latest")?, image::busybox()?]))?;
        let registries = node.folder.path().join("registries.yaml");
        node.configure(&format!("node-name: {name}\nprivate-registry: {}\n", registries.display()))?;
        Ok(node)
    }

    /// The same without a control plane, to be started once it has joined a cluster.
    ///
    /// # Errors
    /// When its registry cannot be made.
    pub fn worker_on(machine: Machine, name: &str) -> Result<Self> {
        let mut node = Self::on(machine, name)?;
        node.command = "agent";
        Ok(node)
    }

    fn prepare(name: &str, images: Option<&[Image]>) -> Result<Self> {
        Self::prepare_on(Machine::new(name, "10.77.0.2")?, "node-1", images)
    }

    /// A control plane alone on a machine that there is, not started yet.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub fn control_plane_on(machine: Machine, name: &str) -> Result<Self> {
        let node = Self::prepare_on(machine, name, None)?;
        node.configure(&format!("node-name: {name}\ndisable-agent: true\n"))?;
        Ok(node)
    }

    /// Adds lines to the configuration file: commands that start a server have to know of it, too.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn configure(&self, lines: &str) -> Result<()> {
        let file =
            std::fs::File::options().create(true).append(true).open(self.folder.path().join("config.yaml"));
        Ok(file?.write_all(lines.as_bytes())?)
    }

    fn prepare_on(machine: Machine, name: &str, images: Option<&[Image]>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("knarr-").tempdir()?;
        let registry = images.map(|images| Registry::start(&machine, images)).transpose()?;
        let mut arguments = Vec::new();
        if let Some(registry) = &registry {
            let file = folder.path().join("registries.yaml");
            let mirrors =
                format!("mirrors:\n  docker.io:\n    endpoint:\n      - http://{}\n", registry.address);
            std::fs::write(&file, mirrors)?;
            arguments.extend(["--private-registry".to_owned(), file.display().to_string()]);
        }
        let name = name.to_owned();
        let binary = knarr_bin();
        Ok(Self { machine, registry, folder, server: None, command: "server", name, arguments, binary })
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// Where the server logs.
    pub fn log_file(&self) -> PathBuf {
        self.folder.path().join("knarr.log")
    }

    /// A knarr command against this node.
    pub fn knarr(&self) -> Command {
        let mut command = self.machine.command(&self.binary.display().to_string());
        self.environment(&mut command);
        command
    }

    /// A shell whose kubectl and knarr are for this node.
    pub fn shell(&self, script: &str) -> Command {
        let mut command = self.machine.command("sh");
        self.environment(&mut command);
        command.args(["-c", script]);
        command
    }

    /// A further flag of the server, for the next start.
    pub fn flag(&mut self, flag: &str) {
        self.arguments.push(flag.to_owned());
    }

    fn environment(&self, command: &mut Command) {
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("KNARR_DATA_DIR", self.data_dir())
            .env("KNARR_CONFIG", self.folder.path().join("config.yaml"))
            .env("KNARR_WRITE_KUBECONFIG", self.kubeconfig())
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", self.folder.path())
            .env("PATH", format!("{}:{path}", tool("").display()));
    }

    /// Starts the server process.
    ///
    /// # Errors
    /// When the binary is not there.
    pub fn launch(&mut self) -> Result<()> {
        let log = std::fs::File::options().create(true).append(true).open(self.log_file())?;
        let mut command = self.knarr();
        command.arg(self.command).args(["--node-name", &self.name]).args(&self.arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.server = Some(command.spawn().with_context(|| format!("starting {}", self.binary.display()))?);
        Ok(())
    }

    /// The server's process id.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.server.as_ref().context("the server is not running")?.id())
    }

    /// Ends the server, whoever started it, by a signal, and waits until it is gone. Pods go on.
    ///
    /// # Errors
    /// When none is running, or it does not end.
    pub fn end(&self, signal: Signal) -> Result<()> {
        let pid = self.server_pid()?;
        kill(pid, signal)?;
        wait::until("the server to be gone", PATIENCE, || match alive(pid) {
            false => Ok(()),
            true => bail!("still there"),
        })
    }

    /// The process of the server, whoever started it.
    ///
    /// # Errors
    /// When none ever ran.
    pub fn server_pid(&self) -> Result<Pid> {
        let pid = std::fs::read_to_string(self.data_dir().join("knarr.pid"))?;
        Ok(Pid::from_raw(pid.trim().parse()?))
    }

    /// Ends all that runs on the machine and what only its memory holds, as a power cut does: the server, the container
    /// runtime, the pods, mounts, namespaces, `/run`.
    ///
    /// # Errors
    /// When something does not end.
    pub fn power_off(&self) -> Result<()> {
        power::cut(self.folder.path(), &self.run_dir())
    }

    /// Where the server keeps what does not outlive the power, whose name follows from the data directory's.
    fn run_dir(&self) -> PathBuf {
        let hash = Sha256::digest(self.data_dir().as_os_str().as_encoded_bytes());
        let short: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        PathBuf::from(format!("/run/knarr-{short}"))
    }

    /// Runs a knarr command that has to succeed; answers what it printed.
    ///
    /// # Errors
    /// When it fails, with all it printed.
    pub fn run(&self, arguments: &str) -> Result<String> {
        let output = self.knarr().args(arguments.split_whitespace()).stdin(Stdio::null()).output()?;
        text_of(&format!("knarr {arguments}"), output).with_context(|| self.log_tail())
    }

    /// Runs a knarr command that has to fail; answers what it printed on standard error.
    ///
    /// # Errors
    /// When it succeeds.
    pub fn run_fails(&self, arguments: &str) -> Result<String> {
        let output = self.knarr().args(arguments.split_whitespace()).stdin(Stdio::null()).output()?;
        if output.status.success() {
            bail!("`knarr {arguments}` succeeded: {}", String::from_utf8_lossy(&output.stdout));
        }
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Kills the server as a power cut would: nothing is told.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.server.take().context("the server is not running")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Ends the server politely, as a service manager's restart does: pods go on.
    ///
    /// # Errors
    /// When it does not end.
    pub fn terminate(&mut self) -> Result<()> {
        let mut child = self.server.take().context("the server is not running")?;
        kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
        wait::until("the server to end", PATIENCE, || match child.try_wait()? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("it ended with {status}"),
            None => bail!("still running"),
        })
    }

    /// Waits for `/readyz`.
    ///
    /// # Errors
    /// When the server ends or takes too long, with the end of its log.
    pub fn wait_readyz(&mut self) -> Result<()> {
        self.waiting("/readyz", |node| {
            let text = node.machine.shell("curl -ksf --max-time 2 https://127.0.0.1:6443/readyz")?;
            if text == "ok" { Ok(()) } else { bail!("{text}") }
        })
    }

    /// Waits for the node to be Ready.
    ///
    /// # Errors
    /// When the server ends or takes too long, with the end of its log.
    pub fn wait_ready(&mut self) -> Result<()> {
        self.waiting("a Ready node", |node| {
            let nodes = node.get("nodes")?;
            let ready = nodes
                .pointer("/items/0/status/conditions")
                .and_then(Value::as_array)
                .is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"));
            if ready {
                Ok(())
            } else {
                bail!("{}", nodes.pointer("/items/0/status/conditions").unwrap_or(&Value::Null))
            }
        })
    }

    /// Waits for the node to be Ready after a command that started a server of its own.
    ///
    /// # Errors
    /// When it takes too long.
    pub fn wait_ready_again(&mut self) -> Result<()> {
        if let Some(mut ended) = self.server.take() {
            ended.wait()?;
        }
        self.eventually("a Ready node", || {
            self.kubectl("wait --for=condition=Ready node/node-1 --timeout=1s").map(drop)
        })
    }

    fn waiting(&mut self, what: &str, look: impl Fn(&Self) -> Result<()>) -> Result<()> {
        let mut ended = None;
        let outcome = wait::until(what, PATIENCE, || {
            if let Some(status) = self.server.as_mut().context("the server is not running")?.try_wait()? {
                ended = Some(status);
                return Ok(());
            }
            look(self)
        });
        if let Some(status) = ended {
            bail!("knarr ended with {status} before {what}\n{}", self.log_tail());
        }
        outcome.with_context(|| self.log_tail())
    }

    /// The end of the server's log, whoever started it.
    pub fn log_tail(&self) -> String {
        let own = std::fs::read_to_string(self.log_file()).unwrap_or_default();
        let text = std::fs::read_to_string(self.data_dir().join("knarr.log")).unwrap_or(own);
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(60)..).unwrap_or_default().join("\n")
    }

    /// Runs kubectl with arguments split at white space.
    ///
    /// # Errors
    /// When it exits non-zero, with all it printed.
    pub fn kubectl(&self, arguments: &str) -> Result<String> {
        self.kubectl_args(&arguments.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs kubectl.
    ///
    /// # Errors
    /// When it exits non-zero, with all it printed.
    pub fn kubectl_args(&self, arguments: &[&str]) -> Result<String> {
        let output = self.kubectl_command(arguments).output().context("running kubectl")?;
        text_of(&format!("kubectl {}", arguments.join(" ")), output)
    }

    /// Runs kubectl that has to fail; answers what it printed on standard error.
    ///
    /// # Errors
    /// When it succeeds.
    pub fn kubectl_fails(&self, arguments: &str) -> Result<String> {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let output = self.kubectl_command(&arguments).output().context("running kubectl")?;
        if output.status.success() {
            bail!("`kubectl {}` succeeded: {}", arguments.join(" "), String::from_utf8_lossy(&output.stdout));
        }
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// A kubectl to be run in some other way.
    pub fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.machine.command(&tool("kubectl").display().to_string());
        self.environment(&mut command);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs kubectl with some standard input.
    ///
    /// # Errors
    /// When it exits non-zero, with all it printed.
    pub fn kubectl_stdin(&self, arguments: &str, input: &str) -> Result<String> {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let mut command = self.kubectl_command(&arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        child.stdin.take().context("stdin")?.write_all(input.as_bytes())?;
        text_of(&format!("kubectl {}", arguments.join(" ")), child.wait_with_output()?)
    }

    /// `kubectl apply -f -`.
    ///
    /// # Errors
    /// When it exits non-zero.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.kubectl_stdin("apply -f -", manifest)
    }

    /// `kubectl get WHAT -o json`.
    ///
    /// # Errors
    /// When it exits non-zero.
    pub fn get(&self, what: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.kubectl(&format!("get {what} -o json"))?)?)
    }

    /// Waits until something about the cluster holds.
    ///
    /// # Errors
    /// After [`PATIENCE`], with the last reason.
    pub fn eventually<T>(&self, what: &str, look: impl FnMut() -> Result<T>) -> Result<T> {
        wait::until(what, PATIENCE, look).with_context(|| self.log_tail())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the server's log ends with:\n{}", self.log_tail());
        }
        // `knarr stop` ends the server, the pods and containerd.
        let stopped = self.knarr().arg("stop").output();
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
        // Where it cannot, nobody else's test should meet what is left.
        match stopped.map_err(Into::into).and_then(|output| text_of("knarr stop", output)) {
            Ok(_) => {}
            Err(error) => eprintln!("{error:#}"),
        }
        if let Err(error) = self.power_off() {
            eprintln!("something of {} is left: {error:#}", self.name);
        }
    }
}

/// Whether a process runs: one that has ended, and that nobody has asked after, does not.
fn alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| !fields.trim_start().starts_with('Z'))
}
