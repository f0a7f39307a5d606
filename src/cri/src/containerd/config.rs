//! What the caller decides about containerd, and where everything lies.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ring::digest;

/// The data directory whose run directory needs no distinguishing suffix.
const DEFAULT_DATA_DIR: &str = "/var/lib/knarr";

/// Configuration of the supervised containerd.
///
/// Layout:
/// ```text
/// {data_dir}/containerd/            config.toml, containerd.log, certs.d/, root/ (images, snapshots)
/// {data_dir}/cni/bin, cni/net.d     CNI plugins (this executable by other names) and configuration
/// {run_dir}/containerd/             state/, containerd.sock, containerd.json (identity of the process)
/// ```
#[derive(Debug, Clone)]
pub struct Config {
    /// Knarr's data directory.
    pub data_dir: PathBuf,
    /// Knarr's run directory: on a tmpfs, and short, because sockets lie there.
    pub run_dir: PathBuf,
    /// The image every sandbox's pause container runs from.
    pub sandbox_image: String,
    /// `registries.yaml`; a file that does not exist means no mirrors.
    pub registries: PathBuf,
    /// The executable that the CNI plugin names link to. None = the running one.
    pub executable: Option<PathBuf>,
    /// The containerd to run. None = the one on PATH.
    pub containerd: Option<PathBuf>,
    /// Whether systemd runs it as a service of its own, for one whose caller is a service with restrictions: as a child
    /// it would inherit them, and every container from it.
    pub own_service: bool,
    /// The snapshotter. None = overlayfs if the kernel has it, native otherwise.
    pub snapshotter: Option<String>,
    /// Where the CNI configuration is looked for. None = `{data_dir}/cni/net.d`; another plugin's users
    /// give `/etc/cni/net.d`.
    pub cni_conf_dir: Option<PathBuf>,
    /// Further directories with CNI plugins, where the containerd takes more than one (2.1 and later).
    pub extra_cni_bin_dirs: Vec<PathBuf>,
    /// Variables that containerd gets besides ours, such as proxies for images.
    pub environment: BTreeMap<String, String>,
    /// Log level of containerd ("info", "debug", ...).
    pub log_level: String,
}

impl Config {
    /// The defaults for a data directory.
    pub fn new(data_dir: impl Into<PathBuf>, sandbox_image: impl Into<String>) -> Self {
        let data_dir = data_dir.into();
        Self {
            run_dir: default_run_dir(&data_dir),
            data_dir,
            sandbox_image: sandbox_image.into(),
            registries: PathBuf::from("/etc/knarr/registries.yaml"),
            executable: None,
            containerd: None,
            own_service: false,
            snapshotter: None,
            cni_conf_dir: None,
            extra_cni_bin_dirs: Vec::new(),
            environment: BTreeMap::new(),
            log_level: "info".into(),
        }
    }

    /// The snapshotter that is used: the given one, or what the kernel allows.
    pub fn snapshotter_name(&self) -> String {
        self.snapshotter.clone().unwrap_or_else(|| {
            if super::host::has_overlayfs() { "overlayfs".into() } else { "native".into() }
        })
    }

    /// containerd's own part of the data directory.
    pub fn containerd_dir(&self) -> PathBuf {
        self.data_dir.join("containerd")
    }

    /// containerd's persistent data.
    pub fn root_dir(&self) -> PathBuf {
        self.containerd_dir().join("root")
    }

    /// containerd's log.
    pub fn log_file(&self) -> PathBuf {
        self.containerd_dir().join("containerd.log")
    }

    /// containerd's configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.containerd_dir().join("config.toml")
    }

    /// Registry hosts directory (`config_path`).
    pub fn certs_dir(&self) -> PathBuf {
        self.containerd_dir().join("certs.d")
    }

    /// containerd's volatile state.
    pub fn state_dir(&self) -> PathBuf {
        self.run_dir.join("containerd/state")
    }

    /// The socket of containerd and its CRI service.
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join("containerd/containerd.sock")
    }

    /// Identity of the running containerd.
    pub(crate) fn process_file(&self) -> PathBuf {
        self.run_dir.join("containerd/containerd.json")
    }

    /// CNI plugins.
    pub fn cni_bin_dir(&self) -> PathBuf {
        self.data_dir.join("cni/bin")
    }

    /// CNI configuration.
    pub fn cni_conf_dir(&self) -> PathBuf {
        self.cni_conf_dir.clone().unwrap_or_else(|| self.data_dir.join("cni/net.d"))
    }
}

/// The run directory for a data directory: `/run/knarr` for the usual one, so that people find it, and
/// `/run/knarr-HASH` for others, so that servers run side by side and socket paths stay short.
pub fn default_run_dir(data_dir: &Path) -> PathBuf {
    if data_dir == Path::new(DEFAULT_DATA_DIR) {
        return PathBuf::from("/run/knarr");
    }
    let hash = digest::digest(&digest::SHA256, data_dir.as_os_str().as_encoded_bytes());
    let short: String = hash.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    PathBuf::from(format!("/run/knarr-{short}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_data_directory_has_its_own_short_run_directory() {
        assert_eq!(default_run_dir(Path::new("/var/lib/knarr")), PathBuf::from("/run/knarr"));
        let long = format!("/tmp/{}", "x".repeat(200));
        let config = Config::new(&long, "image");
        assert!(config.socket().as_os_str().len() < 60, "{:?}", config.socket());
        assert_ne!(config.run_dir, default_run_dir(Path::new("/tmp/y")));
    }
}
