//! Whether the nodes have what this version's manifests ask for. Pure.

use crate::conditions;
use serde_json::Value;

/// A node that runs another version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Straggler {
    /// Its name.
    pub node: String,
    /// Its kubelet's version.
    pub version: String,
}

/// A Ready node of another version than an image's: add-ons' pods do not start on it, since each node has the image of
/// its own version only. Who is not Ready starts nothing, and nobody waits for who may be gone for good.
pub fn straggler(nodes: &[Value], image: &str) -> Option<Straggler> {
    let (_, wanted) = image.rsplit_once(':')?;
    nodes.iter().find_map(|node| {
        let text = |path: &str| node.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let version = text("/status/nodeInfo/kubeletVersion");
        // Whatever else is a node brings its own image.
        let (_, own) = version.split_once("+knarr")?;
        let other = own != wanted && conditions::is_true(node, "Ready");
        other.then(|| Straggler { node: text("/metadata/name").to_owned(), version: version.to_owned() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, version: &str, ready: &str) -> Value {
        json!({"metadata": {"name": name}, "status": {
            "nodeInfo": {"kubeletVersion": version}, "conditions": [{"type": "Ready", "status": ready}]}})
    }

    #[test]
    fn a_ready_node_of_another_version_lags() {
        let image = "knarr.local/knarr:0.2.0";
        let fine = [
            node("new", "v1.36.0+knarr0.2.0", "True"),
            node("gone", "v1.36.0+knarr0.1.0", "Unknown"),
            node("virtual", "v1.36.0", "True"),
        ];
        assert_eq!(straggler(&fine, image), None);
        let old = node("old", "v1.36.0+knarr0.1.0", "True");
        let found = Straggler { node: "old".to_owned(), version: "v1.36.0+knarr0.1.0".to_owned() };
        assert_eq!(straggler(&[fine.as_slice(), &[old]].concat(), image), Some(found));
    }
}
