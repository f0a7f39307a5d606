//! The folders in which pods' logs lie, `NAMESPACE_NAME_UID` each, and the links to them.

use std::fs;
use std::path::{Path, PathBuf};

/// The pod whose folder has this name; None when no pod's has.
fn uid(name: &str) -> Option<&str> {
    let mut parts = name.split('_');
    let (namespace, name, uid) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = parts.next().is_none() && ![namespace, name, uid].contains(&"");
    whole.then_some(uid)
}

/// The pods that have a folder below `root`, by uid, and their folders.
pub(crate) fn folders(root: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let of_pod = |entry: fs::DirEntry| {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let name = entry.file_name().into_string().ok().filter(|_| is_folder)?;
        Some((uid(&name)?.to_owned(), entry.path()))
    };
    entries.filter_map(of_pod).collect()
}

/// Removes a pod's folder.
pub(crate) fn remove(root: &Path, uid: &str) {
    for (_, folder) in folders(root).into_iter().filter(|(of, _)| of == uid) {
        if let Err(error) = fs::remove_dir_all(&folder) {
            tracing::warn!(path = %folder.display(), %error, "removing the logs of a pod that is gone failed");
        }
    }
}

/// Removes links in `links` to logs below `root` whose pod has no folder any more. A log that is being rotated may be
/// away for a moment, its folder is not.
pub(crate) fn remove_links(root: &Path, links: &Path) {
    for entry in fs::read_dir(links).into_iter().flatten().flatten() {
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let Some(pod) = target.strip_prefix(root).ok().and_then(|below| below.components().next()) else {
            continue;
        };
        if !root.join(pod).exists() {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_folders_of_pods_are_taken_for_such() {
        let root = tempfile::tempdir().unwrap();
        for name in ["ns_p_1-a", "ns_p", "ns_p_", "a_b_c_d", "other"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        fs::write(root.path().join("ns_file_2-b"), "").unwrap();
        assert_eq!(folders(root.path()), [("1-a".to_owned(), root.path().join("ns_p_1-a"))]);
        assert_eq!(folders(&root.path().join("none")), []);
    }

    #[test]
    fn a_pods_folder_goes_with_what_is_in_it_and_links_follow() {
        let directory = tempfile::tempdir().unwrap();
        let (root, links) = (directory.path().join("pods"), directory.path().join("containers"));
        fs::create_dir(&links).unwrap();
        for name in ["ns_p_1", "ns_q_2"] {
            fs::create_dir_all(root.join(name).join("a")).unwrap();
            fs::write(root.join(name).join("a/0.log"), "x").unwrap();
            symlink(root.join(name).join("a/0.log"), links.join(name)).unwrap();
        }
        // Rotated at this moment; somebody else's.
        symlink(root.join("ns_q_2/a/1.log"), links.join("rotated")).unwrap();
        symlink(directory.path().join("nowhere/0.log"), links.join("foreign")).unwrap();
        remove(&root, "1");
        remove_links(&root, &links);
        assert!(!root.join("ns_p_1").exists() && root.join("ns_q_2/a/0.log").exists());
        let mut left: Vec<_> = fs::read_dir(&links).unwrap().map(|link| link.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["foreign", "ns_q_2", "rotated"]);
    }
}
