//! Where things lie below the data directory.

use std::path::{Path, PathBuf};

/// The layout of one data directory.
#[derive(Clone, Debug)]
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    /// The layout below `root`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The data directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("admin.kubeconfig")
    }

    /// The process id of the running server.
    pub fn pid_file(&self) -> PathBuf {
        self.root.join("knarr.pid")
    }

    /// What the server was started with, for the commands that act on it: JSON of [`crate::server::State`].
    pub fn state_file(&self) -> PathBuf {
        self.root.join("server.json")
    }

    /// There while the API answers.
    pub fn ready_file(&self) -> PathBuf {
        self.root.join("ready")
    }

    /// What the node remembers of the cluster that it belongs to.
    pub fn cluster_facts(&self) -> PathBuf {
        self.root.join("cluster.json")
    }

    /// Where commands reach the running server.
    pub fn socket(&self) -> PathBuf {
        self.root.join("knarr.sock")
    }

    /// What a node was before it joins a cluster, until it has.
    pub fn before_join(&self) -> PathBuf {
        self.root.join("before-join")
    }

    /// Where a server in the background logs.
    pub fn log_file(&self) -> PathBuf {
        self.root.join("knarr.log")
    }

    /// The encryption configuration that `--secrets-encryption` makes.
    pub fn encryption(&self) -> PathBuf {
        self.pki().join("encryption-config.yaml")
    }

    /// What a worker got when it joined.
    pub fn agent(&self) -> PathBuf {
        self.root.join("agent")
    }

    /// The cluster's state.
    pub fn datastore(&self) -> PathBuf {
        self.root.join("datastore")
    }

    /// What was done of the launch configuration.
    pub fn launch_record(&self) -> PathBuf {
        self.root.join("launch.json")
    }

    /// Files of the launch configuration that flags can name.
    pub fn launch_files(&self) -> PathBuf {
        self.root.join("args")
    }

    /// Repositories of add-ons that others make.
    pub fn repositories(&self) -> PathBuf {
        self.root.join("addons")
    }

    /// Manifests that are applied when they change, as with k3s.
    pub fn manifests(&self) -> PathBuf {
        self.root.join("server/manifests")
    }

    /// Files that charts can name, as with k3s.
    pub fn statics(&self) -> PathBuf {
        self.root.join("server/static")
    }

    /// Where helm's files are while it runs.
    pub fn helm_work(&self) -> PathBuf {
        self.root.join("server/helm")
    }

    /// Every certificate and key.
    pub fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }
}
