//! Programs of others against this node, such as kubectl and containerd's ctr: the one beside this binary or on PATH.

use super::process;
use crate::arguments::tools::Passed;
use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// A program that finds this node by a kubeconfig.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    name: &'static str,
    advice: &'static str,
}

impl Tool {
    pub const KUBECTL: Self = Self { name: "kubectl", advice: "install kubectl 1.35 or later" };
    pub const HELM: Self = Self { name: "helm", advice: "install Helm 3 or later" };
    pub const ISTIOCTL: Self = Self { name: "istioctl", advice: "install it from a release of Istio" };
    pub const LINKERD: Self = Self { name: "linkerd", advice: "install Linkerd's command-line program" };

    /// Becomes it. An own KUBECONFIG of the person is left out: `knarr kubectl` always means this node.
    ///
    /// # Errors
    /// When it is not there, or no kubeconfig yet.
    pub fn run(self, options: &Passed) -> Result<ExitCode> {
        let kubeconfig = kubeconfig(&Paths::new(&options.data_dir))?;
        become_program(self.name, self.advice, &kubeconfig, &options.arguments)
    }
}

/// Becomes containerd's ctr, in the namespace of pods.
///
/// # Errors
/// When there is no ctr, or knarr runs no containerd here.
pub fn ctr(options: &Passed) -> Result<ExitCode> {
    let socket = process::runtime_socket(&Paths::new(&options.data_dir))?;
    let own = ["--address".into(), socket.into_os_string(), "--namespace".into(), "k8s.io".into()];
    let arguments: Vec<OsString> = own.into_iter().chain(options.arguments.iter().cloned()).collect();
    become_program("ctr", "install containerd, which has it", Path::new(""), &arguments)
}

/// The administrator's kubeconfig, once it is known that it can be read.
fn kubeconfig(paths: &Paths) -> Result<PathBuf> {
    process::not_a_worker(paths)?;
    let kubeconfig = paths.kubeconfig();
    match std::fs::File::open(&kubeconfig) {
        Ok(_) => Ok(kubeconfig),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "knarr is not running here yet ({} is missing); start it with `knarr start`",
            kubeconfig.display()
        ),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", kubeconfig.display())),
    }
}

fn become_program(name: &str, advice: &str, kubeconfig: &Path, arguments: &[OsString]) -> Result<ExitCode> {
    let Some(program) = find(name) else {
        bail!("no {name} found beside this program or on PATH; {advice} and try again");
    };
    let mut command = Command::new(&program);
    command.args(arguments);
    if !kubeconfig.as_os_str().is_empty() {
        command.env("KUBECONFIG", kubeconfig);
    }
    Err(command.exec()).with_context(|| format!("cannot run {}", program.display()))
}

/// The bundled program, else the first on PATH or in the usual folders.
pub fn find(name: &str) -> Option<PathBuf> {
    let bundled = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(name)));
    bundled.filter(|program| program.is_file()).or_else(|| cri::containerd::find_program(name))
}
