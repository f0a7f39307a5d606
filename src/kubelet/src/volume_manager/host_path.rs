//! `hostPath`: a file or directory of the node.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Checks that `path` is what `type_` says, making it where the type asks for that.
///
/// # Errors
/// What is wrong, as the event words it.
pub fn check(path: &Path, type_: &str) -> Result<(), String> {
    let found = match fs::metadata(path) {
        Ok(metadata) => Some(metadata.file_type()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(format!("hostPath type check failed: {}: {error}", path.display())),
    };
    let is_not = |what: &str| Err(format!("hostPath type check failed: {} is not {what}", path.display()));
    let making = |error: io::Error| format!("hostPath type check failed: making {}: {error}", path.display());
    match (type_, found) {
        // Unset: whatever is there; the runtime makes a directory when nothing is.
        ("", Some(_)) => Ok(()),
        ("" | "DirectoryOrCreate", None) => {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(making)
        }
        ("DirectoryOrCreate" | "Directory", Some(found)) if found.is_dir() => Ok(()),
        ("DirectoryOrCreate" | "Directory", _) => is_not("a directory"),
        ("FileOrCreate", None) => {
            let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
            made.map(drop).map_err(making)
        }
        ("FileOrCreate" | "File", Some(found)) if found.is_file() => Ok(()),
        ("FileOrCreate" | "File", _) => is_not("a file"),
        ("Socket", Some(found)) if found.is_socket() => Ok(()),
        ("Socket", _) => is_not("a socket"),
        ("CharDevice", Some(found)) if found.is_char_device() => Ok(()),
        ("CharDevice", _) => is_not("a character device"),
        ("BlockDevice", Some(found)) if found.is_block_device() => Ok(()),
        ("BlockDevice", _) => is_not("a block device"),
        (other, _) => Err(format!("{other:?} is an invalid volume type")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_checked_and_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        assert!(check(&path, "Directory").unwrap_err().ends_with("is not a directory"));
        check(&path, "DirectoryOrCreate").unwrap();
        check(&path, "Directory").unwrap();
        check(&path, "").unwrap();
        assert!(check(&path, "File").is_err());
        check(&path.join("f"), "FileOrCreate").unwrap();
        check(Path::new("/dev/null"), "CharDevice").unwrap();
    }
}
