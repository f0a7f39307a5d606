//! Writes a volume's files so that a reader sees either all old or all new ones: each version in a directory
//! of its own, `..data` points at the current one, every name at `..data/<name>`.

use super::payload::{FileEntry, Payload};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

/// The link that is swapped.
const DATA: &str = "..data";
/// The name that the new link has before it is renamed over the old one.
const NEW_DATA: &str = "..data_tmp";

/// Makes `directory` hold exactly `payload`; does nothing when it does already. `group` becomes the group of
/// all files, which it may then read (`fsGroup`).
///
/// # Errors
/// Any I/O error; what was there before stays visible.
pub fn write(directory: &Path, payload: &Payload, group: Option<u32>, version: &str) -> io::Result<()> {
    let current = fs::read_link(directory.join(DATA)).ok();
    if let Some(current) = &current
        && is_current(&directory.join(current), payload, group)?
    {
        return publish(directory, payload);
    }
    let name = format!("..{version}");
    let fresh = directory.join(&name);
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    make_directory(&fresh, group)?;
    for (path, entry) in payload {
        write_file(&fresh, path, entry, group)?;
    }
    let new_link = directory.join(NEW_DATA);
    if new_link.symlink_metadata().is_ok() {
        fs::remove_file(&new_link)?;
    }
    symlink(&name, &new_link)?;
    fs::rename(&new_link, directory.join(DATA))?;
    publish(directory, payload)?;
    if let Some(old) = current.filter(|old| old.as_os_str() != name.as_str()) {
        // A relative name of our own making; anything else is not ours to remove.
        if old.to_str().is_some_and(|old| old.starts_with("..") && !old.contains('/') && old.len() > 2) {
            fs::remove_dir_all(directory.join(old))?;
        }
    }
    Ok(())
}

/// Links for every name at the top, none for names that are gone.
fn publish(directory: &Path, payload: &Payload) -> io::Result<()> {
    let wanted: BTreeSet<&str> = payload.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &wanted {
        let link = directory.join(name);
        if link.symlink_metadata().is_err() {
            symlink(Path::new(DATA).join(name), link)?;
        }
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let stale = name.to_str().is_some_and(|name| !name.starts_with("..") && !wanted.contains(name));
        if stale && entry.file_type()?.is_symlink() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn is_current(directory: &Path, payload: &Payload, group: Option<u32>) -> io::Result<bool> {
    let mut found = 0_usize;
    let mut pending = vec![directory.to_owned()];
    while let Some(next) = pending.pop() {
        let entries = match fs::read_dir(&next) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                pending.push(path);
                continue;
            }
            let relative = path.strip_prefix(directory).ok().and_then(Path::to_str);
            let Some(wanted) = relative.and_then(|relative| payload.get(relative)) else { return Ok(false) };
            let same_owner = metadata.uid() == wanted.owner.unwrap_or(metadata.uid())
                && group.is_none_or(|group| metadata.gid() == group);
            let same_mode = metadata.mode() & 0o777 == final_mode(wanted, group);
            if !same_owner || !same_mode || fs::read(&path)? != wanted.data {
                return Ok(false);
            }
            found += 1;
        }
    }
    Ok(found == payload.len())
}

fn write_file(root: &Path, path: &str, entry: &FileEntry, group: Option<u32>) -> io::Result<()> {
    let target = root.join(path);
    if let Some(parent) = Path::new(path).parent() {
        let mut made = root.to_owned();
        for part in parent.components() {
            made.push(part);
            if !made.is_dir() {
                make_directory(&made, group)?;
            }
        }
    }
    let mode = final_mode(entry, group);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&target)?;
    io::Write::write_all(&mut file, &entry.data)?;
    if entry.owner.is_some() || group.is_some() {
        std::os::unix::fs::chown(&target, entry.owner, group)?;
    }
    // The umask has no say.
    fs::set_permissions(&target, fs::Permissions::from_mode(mode))
}

fn make_directory(path: &Path, group: Option<u32>) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o755).create(path)?;
    if group.is_some() {
        std::os::unix::fs::chown(path, None, group)?;
    }
    // Set-group-ID, so that whatever appears below has the group too.
    let mode = if group.is_some() { 0o2755 } else { 0o755 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// With a group, it may read what the owner may.
fn final_mode(entry: &FileEntry, group: Option<u32>) -> u32 {
    if group.is_some() { entry.mode | 0o440 } else { entry.mode }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        files.iter().map(|(path, data)| ((*path).to_owned(), FileEntry::new(*data, 0o644))).collect()
    }

    #[test]
    fn versions_replace_each_other_behind_one_link() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        write(root, &payload(&[("a", "1"), ("d/b", "2")]), None, "v1").unwrap();
        assert_eq!(fs::read_to_string(root.join("d/b")).unwrap(), "2");
        write(root, &payload(&[("a", "3")]), None, "v2").unwrap();
        assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "3");
        assert!(root.join("d").symlink_metadata().is_err());
        assert!(!root.join("..v1").exists());
        assert_eq!(fs::read_link(root.join(DATA)).unwrap(), Path::new("..v2"));
    }

    #[test]
    fn what_is_current_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let files = payload(&[("a", "1")]);
        write(directory.path(), &files, None, "v1").unwrap();
        write(directory.path(), &files, None, "v2").unwrap();
        assert_eq!(fs::read_link(directory.path().join(DATA)).unwrap(), Path::new("..v1"));
    }
}
