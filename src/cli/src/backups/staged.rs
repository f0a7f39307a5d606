//! A state that is about to take the place of the present one.
//!
//! It is put together in a folder of its own. One rename says that it is complete; from then on it takes the other's
//! place however often the process is killed meanwhile: the next restore or start goes on with it. What was there before
//! is kept until the next restore.

use super::source::{FACTS, PKI};
use crate::paths::Paths;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Where it is put together.
const STAGING: &str = "restore";
/// Where it is complete.
const COMPLETE: &str = "restore-complete";
/// Where the state before it is kept.
const BEFORE: &str = "before-restore";
/// What is replaced below the data directory.
const REPLACED: [&str; 3] = ["datastore", PKI, FACTS];

/// A new folder to put a state together in; what an earlier attempt left is removed. It does not exist yet.
///
/// # Errors
/// When something cannot be removed.
pub fn staging(paths: &Paths) -> Result<PathBuf> {
    let folder = paths.root().join(STAGING);
    remove(&folder)?;
    Ok(folder)
}

/// Gives up a state that is not complete.
pub fn discard(folder: &Path) {
    // What is left is removed by the next attempt.
    let _ = remove(folder);
}

/// Replaces the present state by what is in the folder. Answers where the one before is kept.
///
/// # Errors
/// When something cannot be moved. Once the folder counts as complete, the next start tries it again.
pub fn commit(paths: &Paths, folder: &Path) -> Result<PathBuf> {
    let before = paths.root().join(BEFORE);
    remove(&before)?;
    for name in REPLACED {
        sync(&folder.join(name))?;
    }
    sync(folder)?;
    rename(folder, &paths.root().join(COMPLETE))?;
    finish(paths)?;
    Ok(before)
}

/// Finishes what a process that was killed had begun, if anything. Nobody may have the state open.
///
/// # Errors
/// When something cannot be moved.
pub fn finish(paths: &Paths) -> Result<()> {
    let complete = paths.root().join(COMPLETE);
    if !complete.is_dir() {
        return Ok(());
    }
    let before = paths.root().join(BEFORE);
    for name in REPLACED {
        let (new, present) = (complete.join(name), paths.root().join(name));
        if !new.exists() {
            continue;
        }
        if present.exists() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&before)?;
            rename(&present, &before.join(name))?;
        }
        rename(&new, &present)?;
    }
    remove(&complete)
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to)
        .with_context(|| format!("cannot move {} to {}", from.display(), to.display()))?;
    to.parent().map_or(Ok(()), sync)
}

/// Makes a folder's entries durable, if it is there.
fn sync(folder: &Path) -> Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot sync {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn a_state_takes_the_others_place_wherever_it_was_interrupted() {
        // Interrupted before anything, after the first folder went away, after it was replaced, and before the end.
        for steps in 0..4 {
            let dir = tempfile::tempdir().unwrap();
            let (paths, root) = (Paths::new(dir.path()), dir.path());
            put(&root.join("datastore/state.db"), "old");
            put(&root.join("pki/ca.crt"), "old");
            put(&root.join("before-restore/datastore/state.db"), "oldest");
            let folder = staging(&paths).unwrap();
            put(&folder.join("datastore/state.db"), "new");
            put(&folder.join("pki/ca.crt"), "new");
            if steps == 0 {
                assert_eq!(commit(&paths, &folder).unwrap(), root.join(BEFORE));
            } else {
                remove(&root.join(BEFORE)).unwrap();
                rename(&folder, &root.join(COMPLETE)).unwrap();
                std::fs::create_dir(root.join(BEFORE)).unwrap();
                rename(&root.join("datastore"), &root.join("before-restore/datastore")).unwrap();
                if steps > 1 {
                    rename(&root.join("restore-complete/datastore"), &root.join("datastore")).unwrap();
                }
                if steps > 2 {
                    rename(&root.join("pki"), &root.join("before-restore/pki")).unwrap();
                }
                finish(&paths).unwrap();
            }
            let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
            assert_eq!([read("datastore/state.db"), read("pki/ca.crt")], ["new", "new"], "{steps}");
            assert_eq!(
                [read("before-restore/datastore/state.db"), read("before-restore/pki/ca.crt")],
                ["old", "old"]
            );
            assert!(!root.join(COMPLETE).exists() && !root.join(STAGING).exists());
            finish(&paths).unwrap();
        }
    }

    #[test]
    fn what_the_new_state_does_not_have_stays() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        put(&dir.path().join("pki/ca.crt"), "old");
        let folder = staging(&paths).unwrap();
        put(&folder.join("datastore/state.db"), "new");
        commit(&paths, &folder).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("pki/ca.crt")).unwrap(), "old");
    }
}
