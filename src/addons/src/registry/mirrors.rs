//! Tells a node's containerd to ask the registry add-on first for images of the registries that it keeps: one
//! `hosts.toml` each in the folder that containerd reads at every pull.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// First line of every file of these, and how they are known again.
const HEAD: &str = "# Written by the registry add-on: changes here are lost.";

/// Writes the files for these registries (as images call them; a scheme before one is left out) into the folder, and
/// removes others of its own. Those of `registries.yaml` and of people stay as they are; answers the registries that have
/// one.
///
/// # Errors
/// When a file cannot be read, written or removed.
pub fn write(folder: &Path, registries: &[String], mirror: &str) -> io::Result<Vec<String>> {
    let names: Vec<&str> = registries
        .iter()
        .map(|name| name.split_once("://").map_or(name.as_str(), |(_, name)| name))
        .collect();
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let wanted = names.iter().any(|name| entry.file_name() == *name);
        if !wanted && is_ours(&file(&entry.path()))? == Some(true) {
            fs::remove_file(file(&entry.path()))?;
            // Somebody may have put something beside it.
            let _ = fs::remove_dir(entry.path());
        }
    }
    let mut others = Vec::new();
    for (name, full) in names.iter().zip(registries) {
        let path = file(&folder.join(name));
        if is_ours(&path)? == Some(false) {
            others.push((*name).to_owned());
            continue;
        }
        fs::create_dir_all(folder.join(name))?;
        // Without TLS containerd must be told of the registry itself, too.
        let server =
            if full.starts_with("http://") { format!("server = \"{full}\"\n") } else { String::new() };
        let text =
            format!("{HEAD}\n{server}\n[host.\"{mirror}\"]\n  capabilities = [\"pull\", \"resolve\"]\n");
        let aside = path.with_extension("new");
        fs::write(&aside, text)?;
        fs::rename(&aside, &path)?;
    }
    Ok(others)
}

fn file(folder: &Path) -> PathBuf {
    folder.join("hosts.toml")
}

/// Whether a file is one of these; none when there is no such file.
fn is_ours(path: &Path) -> io::Result<Option<bool>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.starts_with(HEAD))),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_come_and_go_and_those_of_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name).join("hosts.toml"));
        let names = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        fs::create_dir(folder.path().join("quay.io")).unwrap();
        fs::write(folder.path().join("quay.io/hosts.toml"), "# mine").unwrap();
        fs::write(folder.path().join("note"), "no folder").unwrap();
        let all = names(&["docker.io", "quay.io", "http://10.0.0.1:5000"]);
        assert_eq!(write(folder.path(), &all, "http://localhost:32000").unwrap(), ["quay.io"]);
        assert!(read("docker.io").unwrap().contains("[host.\"http://localhost:32000\"]"));
        assert!(read("10.0.0.1:5000").unwrap().contains("server = \"http://10.0.0.1:5000\""));
        assert!(write(folder.path(), &names(&["docker.io"]), "http://localhost:32000").unwrap().is_empty());
        assert!(read("docker.io").is_ok() && !folder.path().join("10.0.0.1:5000").exists());
        write(folder.path(), &[], "").unwrap();
        assert!(!folder.path().join("docker.io").exists());
        assert_eq!(read("quay.io").unwrap(), "# mine");
    }
}
