//! Which project a directory belongs to, and what it may hold: decided here, carried out by [`ProjectQuotas`].
//!
//! All of it can be repeated, also after it has ended in the middle. A limit is never lowered.

use super::plan::PROJECTS;
use super::quota::{ProjectQuotas, Usage};
use std::collections::BTreeSet;
use std::io::{Error, ErrorKind, Result};
use std::path::Path;

/// How many projects are tried: more of them in use one after the other are not volumes of this provisioner.
const TRIES: usize = 1000;

/// What has come of holding a directory to its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It is.
    Yes,
    /// There is no such directory.
    Gone,
    /// There are files in it that belong to no project, or to another one.
    Filled,
}

/// Puts an empty directory into a project of its own that holds `bytes`, and answers which one: none when the directory is
/// filled. `candidates` are in order of preference, `taken` are those of other volumes.
///
/// # Errors
/// The kernel's, and when all candidates are in use.
pub fn take(
    quotas: &dyn ProjectQuotas,
    directory: &Path,
    candidates: impl Iterator<Item = u32>,
    taken: &BTreeSet<u32>,
    bytes: u64,
) -> Result<Option<u32>> {
    let project = match left(quotas, directory)?.filter(|project| !taken.contains(project)) {
        Some(project) => project,
        None => free(quotas, directory, candidates, taken)?,
    };
    match hold(quotas, directory, project, bytes)? {
        Held::Yes => Ok(Some(project)),
        Held::Gone => Err(ErrorKind::NotFound.into()),
        Held::Filled => Ok(None),
    }
}

/// Holds a directory to `bytes` in its project. A directory that has lost its project (it was put back by hand, perhaps)
/// gets it again as long as it is empty: what is in it would have to follow, file by file.
///
/// # Errors
/// The kernel's.
pub fn hold(quotas: &dyn ProjectQuotas, directory: &Path, project: u32, bytes: u64) -> Result<Held> {
    match quotas.project(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Held::Gone),
        Ok(Some(found)) if found == project => {}
        Ok(_) if std::fs::read_dir(directory)?.next().is_some() => return Ok(Held::Filled),
        Ok(_) => quotas.set_project(directory, project)?,
        Err(error) => return Err(error),
    }
    if quotas.usage(directory, project)?.limit_bytes < bytes {
        quotas.set_limit(directory, project, bytes)?;
    }
    Ok(Held::Yes)
}

/// The project that an earlier attempt has put a directory into, and not one that it has from the directory above.
fn left(quotas: &dyn ProjectQuotas, directory: &Path) -> Result<Option<u32>> {
    let Some(found) = quotas.project(directory)?.filter(|found| PROJECTS.contains(found)) else {
        return Ok(None);
    };
    let above = directory.parent().map(|above| quotas.project(above)).transpose()?.flatten();
    Ok(Some(found).filter(|_| above != Some(found)))
}

fn free(
    quotas: &dyn ProjectQuotas,
    directory: &Path,
    candidates: impl Iterator<Item = u32>,
    taken: &BTreeSet<u32>,
) -> Result<u32> {
    for candidate in candidates.filter(|candidate| !taken.contains(candidate)).take(TRIES) {
        // Somebody else's on the same file system, or one of a directory that was retained.
        if quotas.usage(directory, candidate)? == Usage::default() {
            return Ok(candidate);
        }
    }
    Err(Error::other(format!(
        "the file system knows all projects that were tried; `repquota -P` lists them, and those from {} to {} are for \
         volumes",
        PROJECTS.start,
        PROJECTS.end - 1
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostpath::disk::Disk;
    use std::path::PathBuf;

    const FIRST: u32 = PROJECTS.start;

    fn limit(disk: &Disk, project: u32) -> u64 {
        disk.usage.lock().get(&project).map_or(0, |usage| usage.limit_bytes)
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("volume");
        std::fs::create_dir(&directory).unwrap();
        (root, directory)
    }

    #[test]
    fn a_directory_gets_the_first_project_that_nobody_has() {
        let (disk, (_root, directory)) = (Disk::default(), folder());
        // Retained with its data, limited and empty, of another volume.
        disk.usage.lock().insert(FIRST, Usage { inodes: 1, ..Default::default() });
        disk.usage.lock().insert(FIRST + 1, Usage { limit_bytes: 5, ..Default::default() });
        let taken = BTreeSet::from([FIRST + 2]);
        let project = take(&disk, &directory, PROJECTS, &taken, 4096).unwrap().unwrap();
        assert_eq!(project, FIRST + 3);
        assert_eq!((disk.project(&directory).unwrap(), limit(&disk, project)), (Some(project), 4096));
        let none = take(&disk, &folder().1, FIRST..FIRST + 2, &taken, 4096).unwrap_err();
        assert!(none.to_string().contains("repquota"), "{none}");
    }

    #[test]
    fn an_attempt_that_ended_in_the_middle_is_gone_on_with() {
        let (disk, (_root, directory)) = (Disk::default(), folder());
        disk.set_project(&directory, FIRST + 7).unwrap();
        for _ in 0..2 {
            let project = take(&disk, &directory, PROJECTS, &BTreeSet::new(), 4096).unwrap();
            assert_eq!(project, Some(FIRST + 7));
        }
        assert_eq!(limit(&disk, FIRST + 7), 4096);
    }

    #[test]
    fn the_project_of_the_directory_above_is_no_volumes() {
        let (disk, (root, directory)) = (Disk::default(), folder());
        disk.set_project(root.path(), FIRST + 7).unwrap();
        disk.set_project(&directory, FIRST + 7).unwrap();
        assert_eq!(take(&disk, &directory, PROJECTS, &BTreeSet::new(), 4096).unwrap(), Some(FIRST));
        disk.set_project(root.path(), 5).unwrap();
        disk.set_project(&directory, 5).unwrap();
        let taken = BTreeSet::from([FIRST]);
        assert_eq!(take(&disk, &directory, PROJECTS, &taken, 4096).unwrap(), Some(FIRST + 1));
    }

    #[test]
    fn a_limit_grows_and_never_shrinks() {
        let (disk, (_root, directory)) = (Disk::default(), folder());
        for (bytes, then) in [(4096, 4096), (8192, 8192), (4096, 8192)] {
            assert_eq!(hold(&disk, &directory, FIRST, bytes).unwrap(), Held::Yes);
            assert_eq!(limit(&disk, FIRST), then);
        }
    }

    #[test]
    fn only_an_empty_directory_is_put_into_a_project() {
        let (disk, (_root, directory)) = (Disk::default(), folder());
        let file = directory.join("file");
        std::fs::write(&file, "of no project").unwrap();
        assert_eq!(hold(&disk, &directory, FIRST, 4096).unwrap(), Held::Filled);
        assert_eq!(take(&disk, &directory, PROJECTS, &BTreeSet::new(), 4096).unwrap(), None);
        assert_eq!((disk.project(&directory).unwrap(), limit(&disk, FIRST)), (None, 0));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(hold(&disk, &directory, FIRST, 4096).unwrap(), Held::Yes);
        std::fs::write(&file, "of this one").unwrap();
        assert_eq!(hold(&disk, &directory, FIRST, 8192).unwrap(), Held::Yes);
        assert_eq!(hold(&disk, &directory.join("gone"), FIRST, 8192).unwrap(), Held::Gone);
    }
}
