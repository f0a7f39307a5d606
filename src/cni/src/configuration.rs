//! The network configuration that the container runtime reads.

use crate::PLUGIN;
use ipnet::IpNet;
use serde_json::json;
use std::io;
use std::path::Path;

/// The file; low in order, so that a person's own file before it wins.
const FILE: &str = "10-knarr.conflist";

/// Writes the configuration for this node's pod CIDRs, whole or not at all; answers whether it changed.
///
/// # Errors
/// When the folder cannot be written.
pub fn write(folder: &Path, data_dir: &Path, pod_cidrs: &[IpNet], mtu: Option<u32>) -> io::Result<bool> {
    std::fs::create_dir_all(folder)?;
    let mut plugin = json!({
        "type": PLUGIN,
        "dataDir": data_dir,
        "podCidrs": pod_cidrs,
        "capabilities": {"portMappings": true},
    });
    if let (Some(mtu), Some(fields)) = (mtu, plugin.as_object_mut()) {
        fields.insert("mtu".to_owned(), json!(mtu));
    }
    let text = format!("{:#}\n", json!({"cniVersion": "1.0.0", "name": "knarr", "plugins": [plugin]}));
    let path = folder.join(FILE);
    if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(false);
    }
    // The runtime takes every *.conflist for a network: the new one must not look like one until it is whole.
    let new = folder.join(format!(".{FILE}.new"));
    std::fs::write(&new, text)?;
    std::fs::rename(&new, &path)?;
    Ok(true)
}

/// Removes the configuration.
///
/// # Errors
/// When it cannot be removed.
pub fn remove(folder: &Path) -> io::Result<()> {
    match std::fs::remove_file(folder.join(FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_only_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let cidrs = ["10.1.0.0/24".parse().unwrap()];
        assert!(write(folder.path(), Path::new("/d"), &cidrs, Some(1400)).unwrap());
        assert!(!write(folder.path(), Path::new("/d"), &cidrs, Some(1400)).unwrap());
        let text = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["plugins"][0]["podCidrs"][0], "10.1.0.0/24");
        remove(folder.path()).unwrap();
        remove(folder.path()).unwrap();
    }
}
