//! Shims that containerd has lost: one that was killed at the wrong moment never ends the shims it was starting.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ring::digest;

/// Where shims listen, whoever their containerd is.
const SOCKETS: &str = "/run/containerd/s";

/// A shim, out of its command line.
#[derive(Debug, PartialEq, Eq)]
struct Shim {
    namespace: String,
    id: String,
}

/// Kills all shims of the containerd at a socket, which has to have ended, and removes their sockets. Their containers have
/// been stopped before, or end with them.
pub(super) fn end(containerd: &Path) {
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(command) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let Some(shim) = shim(&command, containerd) else { continue };
        tracing::info!(pid, sandbox = shim.id, "ending a shim that is left over");
        // It may have ended by itself.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        let _ = std::fs::remove_file(socket(&shim, containerd));
    }
}

/// `containerd-shim-runc-v2 -namespace k8s.io -id SANDBOX -address SOCKET`, if the socket is the one.
fn shim(command: &[u8], containerd: &Path) -> Option<Shim> {
    let arguments: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
    let program = Path::new(OsStr::from_bytes(arguments.first()?)).file_name()?;
    let value = |flag: &str| {
        let at = arguments.iter().position(|argument| *argument == flag.as_bytes())?;
        arguments.get(at + 1).copied()
    };
    let ours = program.as_bytes().starts_with(b"containerd-shim")
        && value("-address") == Some(containerd.as_os_str().as_bytes());
    let text = |flag| Some(String::from_utf8_lossy(value(flag)?).into_owned());
    ours.then_some(Shim { namespace: text("-namespace")?, id: text("-id")? })
}

/// containerd names it by the hash of all that a shim is known by.
fn socket(shim: &Shim, containerd: &Path) -> PathBuf {
    let known = containerd.join(&shim.namespace).join(&shim.id);
    let hash = digest::digest(&digest::SHA256, known.as_os_str().as_bytes());
    let name: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Path::new(SOCKETS).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shims_of_our_containerd_are_ours() {
        let ours = Path::new("/run/knarr/containerd/containerd.sock");
        let line = |text: &str| text.replace(' ', "\0").into_bytes();
        let command = line(
            "/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id abc -address /run/knarr/containerd/containerd.sock ",
        );
        let found = Shim { namespace: "k8s.io".into(), id: "abc".into() };
        assert_eq!(shim(&command, ours), Some(found));
        assert_eq!(shim(&command, Path::new("/run/containerd/containerd.sock")), None);
        assert_eq!(shim(&line("grep -id abc -address /run/knarr/containerd/containerd.sock"), ours), None);
        assert_eq!(shim(b"", ours), None);
    }

    #[test]
    fn a_shim_listens_where_containerd_says() {
        let shim = Shim {
            namespace: "k8s.io".into(),
            id: "ee1f510803f16de2d890abfd478fa45a4609adb4b447ac9710135f98f11f3145".into(),
        };
        assert_eq!(
            socket(&shim, Path::new("/run/knarr/containerd/containerd.sock")),
            Path::new("/run/containerd/s/f09d4c5c11b0e466004c2d174e3c5a2408167d557e4d3fabe4c995c04ca14b3d")
        );
    }
}
