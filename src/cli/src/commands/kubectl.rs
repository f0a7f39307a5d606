//! `knarr kubectl`: the kubectl beside this binary or on PATH, against this node.

use crate::arguments::Kubectl;
use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Becomes kubectl. An own KUBECONFIG of the person is left out: `knarr kubectl` always means this node.
///
/// # Errors
/// When there is no kubectl, or no kubeconfig yet.
pub fn run(options: &Kubectl) -> Result<ExitCode> {
    let kubeconfig = Paths::new(&options.data_dir).kubeconfig();
    if !kubeconfig.exists() {
        bail!(
            "knarr is not running here yet ({} is missing); start it with `knarr start`",
            kubeconfig.display()
        );
    }
    std::fs::File::open(&kubeconfig).with_context(|| {
        format!("cannot read {}; run this as root, or as a member of its group", kubeconfig.display())
    })?;
    let Some(program) = find() else {
        bail!("no kubectl found beside this program or on PATH; install kubectl 1.35 or later and try again");
    };
    let error = Command::new(&program).args(&options.arguments).env("KUBECONFIG", &kubeconfig).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

/// The bundled kubectl, else the first on PATH.
fn find() -> Option<PathBuf> {
    let bundled = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("kubectl")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("kubectl")).collect::<Vec<_>>();
    bundled.into_iter().chain(on_path).find(|program| program.is_file())
}
