//! What a node remembers of the cluster that it belongs to: `cluster.json` in its data directory. A node that has
//! always been alone has none.

use super::protocol::Common;
use crate::paths::Paths;
use anyhow::{Context, Result};
use datastore::raft::Ticket;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;

/// What a node remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// What all nodes have in common. The node's own flags do not count against it.
    pub common: Common,
    /// The name that it has there, whatever the host is called by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// A control-plane node that has joined: its place in the datastore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Ticket>,
}

impl Facts {
    /// Reads them; None for a node that is alone.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn load(paths: &Paths) -> Result<Option<Self>> {
        let path = paths.cluster_facts();
        match std::fs::read(&path) {
            Ok(bytes) => {
                let facts = serde_json::from_slice(&bytes);
                facts.map(Some).with_context(|| {
                    format!("{} is damaged; take it from a backup, or join anew", path.display())
                })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Writes them down, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, paths: &Paths) -> Result<()> {
        Ok(pki::write_private(&paths.cluster_facts(), &serde_json::to_vec_pretty(self)?)?)
    }
}
