//! Programs of others against this node: kubectl, Helm and containerd's ctr, the one beside this binary or on PATH.

use super::process;
use crate::arguments::tools::Passed;
use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Becomes kubectl. An own KUBECONFIG of the person is left out: `knarr kubectl` always means this node.
///
/// # Errors
/// When there is no kubectl, or no kubeconfig yet.
pub fn kubectl(options: &Passed) -> Result<ExitCode> {
    let kubeconfig = kubeconfig(&Paths::new(&options.data_dir))?;
    become_program("kubectl", "install kubectl 1.35 or later", &kubeconfig, &options.arguments)
}

/// Becomes Helm, in the same way.
///
/// # Errors
/// When there is no Helm, or no kubeconfig yet.
pub fn helm(options: &Passed) -> Result<ExitCode> {
    let kubeconfig = kubeconfig(&Paths::new(&options.data_dir))?;
    become_program("helm", "install Helm 3 or later", &kubeconfig, &options.arguments)
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
