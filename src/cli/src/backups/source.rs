//! What goes into a backup.

use crate::commands::process::State;
use crate::paths::Paths;
use anyhow::{Context, Result};
use apimachinery::time::rfc3339;
use backup::{Form, Manifest, Member};
use datastore::offline::{Contents, DATABASE_FORMAT};
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The name of folders in which copies of the datastore wait to be packed.
const PREFIX: &str = "backup-";

/// The database's name in the archive, and below the data directory.
pub const DATABASE: &str = "datastore/state.db";

/// Certificates and keys, in the archive and below the data directory.
pub const PKI: &str = "pki";

/// What all nodes of its cluster have in common, in the archive and below the data directory. A node that has joined has
/// these settings from there and not from its flags.
pub const FACTS: &str = "cluster.json";

/// A node whose backups are made.
#[derive(Clone, Debug)]
pub struct Source {
    paths: Paths,
    node: String,
    arguments: Vec<String>,
    files: Vec<PathBuf>,
}

impl Source {
    /// The node of a data directory; `state` is what its server wrote down.
    pub fn new(paths: &Paths, state: Option<&State>) -> Self {
        Self {
            paths: paths.clone(),
            node: state.map(|state| state.node_name.clone()).unwrap_or_default(),
            arguments: state.map(|state| state.arguments.clone()).unwrap_or_default(),
            files: state.map(|state| state.files.clone()).unwrap_or_default(),
        }
    }

    /// The node's name.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// A new folder for a copy of the database, on the file system that holds the original.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self) -> Result<TempDir> {
        let root = self.paths.root();
        let made = tempfile::Builder::new().prefix(PREFIX).tempdir_in(root);
        made.with_context(|| format!("cannot make a folder in {}", root.display()))
    }

    /// Removes folders that a process has left when it was killed.
    pub fn clean(&self) {
        for entry in std::fs::read_dir(self.paths.root()).into_iter().flatten().flatten() {
            let left = entry.file_name().to_string_lossy().starts_with(PREFIX);
            if left && let Err(error) = std::fs::remove_dir_all(entry.path()) {
                tracing::warn!(%error, path = %entry.path().display(), "a part of a backup is left");
            }
        }
    }

    /// Writes a backup around a copy of the database. [`Form::Summed`] leaves out all but the database: it is for those
    /// who may read the datastore and have no business with the keys of the cluster.
    ///
    /// # Errors
    /// When a file cannot be read, or the output does not take it.
    pub fn write(&self, contents: &Contents, database: &Path, form: Form, output: impl Write) -> Result<()> {
        let mut members = vec![Member { name: DATABASE.to_owned(), source: database.to_owned(), path: None }];
        if form == Form::Gzip {
            members.extend(self.keys()?);
            let facts = self.paths.cluster_facts();
            if facts.is_file() {
                members.push(Member { name: FACTS.to_owned(), source: facts, path: None });
            }
            members.extend(self.configuration());
        }
        let manifest = Manifest {
            knarr_version: env!("CARGO_PKG_VERSION").to_owned(),
            kubernetes_version: crate::server::KUBERNETES_VERSION.to_owned(),
            datastore_format: DATABASE_FORMAT,
            time: rfc3339(jiff::Timestamp::now()),
            cluster: contents.cluster.clone(),
            node: self.node.clone(),
            revision: contents.revision,
            objects: contents.objects,
            arguments: without_secrets(&self.arguments),
            ..Manifest::default()
        };
        backup::write(manifest, &members, form, output).context("cannot write the backup")
    }

    fn keys(&self) -> Result<Vec<Member>> {
        let folder = self.paths.pki();
        let mut members = Vec::new();
        let entries = match std::fs::read_dir(&folder) {
            // A control plane that never started has none yet.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(members),
            entries => entries.with_context(|| format!("cannot read {}", folder.display()))?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Files that begin with a dot are being written.
            if entry.file_type()?.is_file() && !name.starts_with('.') {
                members.push(Member { name: format!("{PKI}/{name}"), source: entry.path(), path: None });
            }
        }
        members.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(members)
    }

    /// Files from outside the data directory that the server reads.
    fn configuration(&self) -> Vec<Member> {
        let there = self.files.iter().filter(|path| path.is_file() && !path.starts_with(self.paths.root()));
        let member = |(number, path): (usize, &PathBuf)| {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            Member {
                name: format!("config/{number}-{file}"),
                source: path.clone(),
                path: Some(path.display().to_string()),
            }
        };
        there.enumerate().map(member).collect()
    }
}

/// Flags without the values of those that are secret.
pub fn without_secrets(arguments: &[String]) -> Vec<String> {
    let secret = |flag: &str| ["-key", "-token"].iter().any(|end| flag.ends_with(end));
    let mut hidden = false;
    let shown = arguments.iter().map(|argument| match argument.split_once('=') {
        _ if std::mem::take(&mut hidden) => "...".to_owned(),
        Some((flag, _)) if secret(flag) => format!("{flag}=..."),
        _ => {
            hidden = argument.starts_with("--") && secret(argument);
            argument.clone()
        }
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_flags_stay_out_of_backups() {
        let flags = ["--etcd-s3-secret-key=s", "--etcd-s3-access-key", "a", "--node-name", "n", "--x=y"];
        let flags = flags.map(str::to_owned);
        let shown = ["--etcd-s3-secret-key=...", "--etcd-s3-access-key", "...", "--node-name", "n", "--x=y"];
        assert_eq!(without_secrets(&flags), shown);
    }
}
