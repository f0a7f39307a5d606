//! Repositories of add-ons that others make, in MicroK8s' form: an `addons.yaml` and, for each add-on, a folder
//! `addons/NAME` with the executables `enable` and `disable`. They lie in a folder of the node; what they do is theirs.
//!
//! Upstream counterpart: `microk8s addons repo`.

use apimachinery::decode;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::catalog::CORE;

/// What tells where a repository came from, beside its folder.
const SOURCE: &str = "source.json";
const CONTENT: &str = "content";

/// Why something cannot be done with a repository.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The name cannot be one.
    #[error(
        "{0:?} cannot be the name of a repository: lower-case letters, digits and dashes, and not {CORE}"
    )]
    Name(String),
    /// There is one of that name.
    #[error("there is a repository {0} already; --force replaces it")]
    Exists(String),
    /// There is none of that name.
    #[error("there is no repository {0}")]
    Unknown(String),
    /// It came from a file or folder, which may not be there any more.
    #[error("repository {0} did not come through git; add it again with --force")]
    NotGit(String),
    /// It is not as it should be.
    #[error("{0}")]
    Invalid(String),
    /// git failed.
    #[error("git: {0}")]
    Git(String),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Where a repository came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// A URL or a path.
    pub url: String,
    /// Branch or tag; the default one when empty.
    #[serde(default)]
    pub reference: String,
    /// What was fetched; empty for what did not come through git.
    #[serde(default)]
    pub commit: String,
}

/// An add-on of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ForeignAddon {
    /// Its name.
    pub name: String,
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// Machines that it runs on; all when it does not say.
    #[serde(default)]
    supported_architectures: Vec<String>,
}

/// A repository.
#[derive(Clone, Debug)]
pub struct Repository {
    /// Its name.
    pub name: String,
    /// Where it came from.
    pub source: Source,
    /// One line for people.
    pub description: String,
    /// Its add-ons for this machine.
    pub addons: Vec<ForeignAddon>,
    folder: PathBuf,
}

impl Repository {
    /// The executable that enables or disables an add-on.
    pub fn hook(&self, addon: &str, verb: &str) -> PathBuf {
        self.folder.join(CONTENT).join("addons").join(addon).join(verb)
    }
}

#[derive(Deserialize)]
struct Listing {
    #[serde(rename = "microk8s-addons", alias = "knarr-addons")]
    all: Listed,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    description: String,
    #[serde(default)]
    addons: Vec<ForeignAddon>,
}

/// The repositories of a node.
pub struct Repositories {
    root: PathBuf,
}

type Result<T> = std::result::Result<T, RepositoryError>;

impl Repositories {
    /// Those in a folder.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// All of them, by name. One that is damaged is left out.
    pub fn list(&self) -> Vec<Repository> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut all: Vec<_> =
            names.filter(|name| is_name(name)).filter_map(|name| self.read(&name).ok()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Adds one: a git URL, a folder, or a tar archive.
    ///
    /// # Errors
    /// When there is one of that name, or what is fetched is no repository; nothing is left behind then.
    pub fn add(&self, name: &str, url: &str, reference: &str, force: bool) -> Result<Repository> {
        if !is_name(name) {
            return Err(RepositoryError::Name(name.to_owned()));
        }
        if self.folder(name).exists() && !force {
            return Err(RepositoryError::Exists(name.to_owned()));
        }
        self.fetch(name, url, reference)
    }

    /// Fetches one again; if what comes is no repository, it stays as it was.
    ///
    /// # Errors
    /// When it did not come through git, or what comes is no repository.
    pub fn update(&self, name: &str) -> Result<Repository> {
        let now = self.find(name)?;
        if now.source.commit.is_empty() {
            return Err(RepositoryError::NotGit(name.to_owned()));
        }
        self.fetch(name, &now.source.url, &now.source.reference)
    }

    /// Forgets one; what it enabled stays.
    ///
    /// # Errors
    /// When there is none.
    pub fn remove(&self, name: &str) -> Result<()> {
        let folder = self.find(name)?.folder;
        fs::remove_dir_all(&folder).map_err(file(&folder))
    }

    fn find(&self, name: &str) -> Result<Repository> {
        let known = is_name(name) && self.folder(name).exists();
        if known { self.read(name) } else { Err(RepositoryError::Unknown(name.to_owned())) }
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn fetch(&self, name: &str, url: &str, reference: &str) -> Result<Repository> {
        fs::create_dir_all(&self.root).map_err(file(&self.root))?;
        // Names of repositories begin with no dot.
        let aside = self.root.join(format!(".{name}-{}", uuid::Uuid::new_v4()));
        let fetched = self.fetch_into(&aside, url, reference).and_then(|source| {
            let text = serde_json::to_vec(&source).map_err(|e| RepositoryError::Invalid(e.to_string()))?;
            let path = aside.join(SOURCE);
            fs::write(&path, text).map_err(file(&path))?;
            read(&aside, name)
        });
        if let Err(error) = fetched {
            let _ = fs::remove_dir_all(&aside);
            return Err(error);
        }
        let folder = self.folder(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(file(&folder))?;
        }
        fs::rename(&aside, &folder).map_err(file(&folder))?;
        self.read(name)
    }

    fn fetch_into(&self, aside: &Path, url: &str, reference: &str) -> Result<Source> {
        let content = aside.join(CONTENT);
        fs::create_dir_all(&content).map_err(file(&content))?;
        let mut source =
            Source { url: url.to_owned(), reference: reference.to_owned(), commit: String::new() };
        let path = Path::new(url);
        let archive = [".tar", ".tar.gz", ".tgz"].iter().any(|end| url.ends_with(end));
        if path.is_file() && archive {
            let opened = File::open(path).map_err(file(path))?;
            // The archive's paths cannot lead out of the folder.
            let unpacked = match url.ends_with(".tar") {
                true => tar::Archive::new(opened).unpack(&content),
                false => tar::Archive::new(flate2::read::GzDecoder::new(opened)).unpack(&content),
            };
            unpacked.map_err(file(path))?;
        } else if path.is_dir() && !path.join(".git").exists() {
            copy(path, &content)?;
        } else {
            if url.starts_with('-') || reference.starts_with('-') {
                return Err(RepositoryError::Git(format!("{url:?} is no URL")));
            }
            let mut arguments = vec![OsStr::new("clone"), OsStr::new("--quiet"), OsStr::new("--depth=1")];
            if !reference.is_empty() {
                arguments.extend([OsStr::new("--branch"), OsStr::new(reference)]);
            }
            arguments.extend([OsStr::new("--"), OsStr::new(url), content.as_os_str()]);
            git(&arguments)?;
            let at = [OsStr::new("-C"), content.as_os_str(), OsStr::new("rev-parse"), OsStr::new("HEAD")];
            source.commit = git(&at)?.trim().to_owned();
        }
        Ok(source)
    }

    fn read(&self, name: &str) -> Result<Repository> {
        read(&self.folder(name), name)
    }
}

fn read(folder: &Path, name: &str) -> Result<Repository> {
    let path = folder.join(SOURCE);
    let text = fs::read(&path).map_err(file(&path))?;
    let invalid = |why: String| RepositoryError::Invalid(format!("{}: {why}", path.display()));
    let source = serde_json::from_slice(&text).map_err(|error| invalid(error.to_string()))?;
    let path = folder.join(CONTENT).join("addons.yaml");
    let text = fs::read_to_string(&path).map_err(file(&path))?;
    let invalid = |why: String| RepositoryError::Invalid(format!("addons.yaml: {why}"));
    let listing: Listing = decode::from_yaml(&text).map_err(|error| invalid(error.to_string()))?;
    let Listed { description, mut addons } = listing.all;
    let here = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    addons.retain(|addon| {
        addon.supported_architectures.is_empty() || addon.supported_architectures.iter().any(|a| a == here)
    });
    let repository =
        Repository { name: name.to_owned(), source, description, addons, folder: folder.to_owned() };
    for addon in &repository.addons {
        if !is_name(&addon.name) {
            return Err(invalid(format!("{:?} cannot be the name of an add-on", addon.name)));
        }
        for verb in ["enable", "disable"] {
            let hook = repository.hook(&addon.name, verb);
            let executable =
                fs::metadata(&hook).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
            if !executable {
                return Err(invalid(format!("addons/{}/{verb} is not there, or not executable", addon.name)));
            }
        }
    }
    Ok(repository)
}

fn is_name(text: &str) -> bool {
    let inner = text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    inner
        && !text.is_empty()
        && text.len() <= 63
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text != CORE
}

fn git(arguments: &[&OsStr]) -> Result<String> {
    // Nobody is there to answer questions.
    let ran = Command::new("git").args(arguments).env("GIT_TERMINAL_PROMPT", "0").output();
    let output = ran.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            RepositoryError::Git("it is not installed; a tar archive needs no git".to_owned())
        }
        _ => RepositoryError::Git(error.to_string()),
    })?;
    if !output.status.success() {
        return Err(RepositoryError::Git(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(file(to))?;
    for entry in fs::read_dir(from).map_err(file(from))? {
        let entry = entry.map_err(file(from))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        // Links stay behind: they may lead anywhere.
        match entry.file_type().map_err(file(&path))? {
            kind if kind.is_dir() => copy(&path, &target)?,
            kind if kind.is_file() => drop(fs::copy(&path, &target).map_err(file(&path))?),
            _ => {}
        }
    }
    Ok(())
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> RepositoryError {
    let path = path.to_owned();
    move |source| RepositoryError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with a repository of one add-on.
    fn made(addon: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let hooks = folder.path().join("addons").join(addon);
        fs::create_dir_all(&hooks).unwrap();
        for verb in ["enable", "disable"] {
            fs::write(hooks.join(verb), "#!/bin/sh\n").unwrap();
            fs::set_permissions(hooks.join(verb), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let listing = format!(
            "microk8s-addons:\n  description: mine\n  addons:\n  - {{name: {addon}, description: d, version: '1', \
             check_status: x, supported_architectures: [amd64, arm64]}}\n  - {{name: odd, \
             supported_architectures: [s390x]}}\n"
        );
        fs::write(folder.path().join("addons.yaml"), listing).unwrap();
        folder
    }

    #[test]
    fn a_folder_is_added_listed_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let repositories = Repositories::new(root.path());
        let url = made("hello");
        let url = url.path().to_str().unwrap();
        let added = repositories.add("mine", url, "", false).unwrap();
        assert_eq!(
            (added.description.as_str(), added.addons.len()),
            ("mine", 1),
            "odd is for other machines"
        );
        assert!(added.hook("hello", "enable").is_file());
        assert!(matches!(repositories.add("mine", url, "", false), Err(RepositoryError::Exists(_))));
        assert!(repositories.add("mine", url, "", true).is_ok());
        assert_eq!(repositories.list().len(), 1);
        assert!(matches!(repositories.update("mine"), Err(RepositoryError::NotGit(_))));
        repositories.remove("mine").unwrap();
        assert!(matches!(repositories.remove("mine"), Err(RepositoryError::Unknown(_))));
        assert!(repositories.list().is_empty());
    }

    #[test]
    fn an_archive_is_unpacked() {
        let (root, url) = (tempfile::tempdir().unwrap(), made("hello"));
        let path = root.path().join("x.tgz");
        let packed = flate2::write::GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::fast());
        let mut archive = tar::Builder::new(packed);
        archive.append_dir_all(".", url.path()).unwrap();
        archive.into_inner().unwrap().finish().unwrap();
        let repositories = Repositories::new(root.path().join("all"));
        let added = repositories.add("mine", path.to_str().unwrap(), "", false).unwrap();
        assert_eq!(added.addons[0].name, "hello");
    }

    #[test]
    fn what_is_no_repository_leaves_nothing_behind() {
        let root = tempfile::tempdir().unwrap();
        let repositories = Repositories::new(root.path());
        let url = made("hello");
        let path = url.path().to_str().unwrap();
        for name in ["core", "", "a/b", "..", "A", "-a"] {
            assert!(
                matches!(repositories.add(name, path, "", false), Err(RepositoryError::Name(_))),
                "{name}"
            );
        }
        fs::set_permissions(url.path().join("addons/hello/disable"), fs::Permissions::from_mode(0o644))
            .unwrap();
        let error = repositories.add("mine", path, "", false).unwrap_err().to_string();
        assert!(error.contains("addons/hello/disable is not there, or not executable"), "{error}");
        fs::write(url.path().join("addons.yaml"), "microk8s-addons: {addons: [{name: ../../x}]}").unwrap();
        assert!(repositories.add("mine", path, "", false).is_err());
        assert!(repositories.add("mine", "/nowhere", "", false).is_err());
        assert!(repositories.add("mine", "--upload-pack=x", "", false).is_err());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
