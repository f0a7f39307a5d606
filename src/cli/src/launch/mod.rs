//! Launch configurations: YAML in MicroK8s' form that sets a node up unattended.
//!
//! ```text
//!   launch.yaml, launcher/*.yaml ─> Plan ─┬─ flags ──> of every start (`configuration`)
//!                                         ├─ files ──> before the first serving, once
//!                                         └─ steps ──> when the API answers, once
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`plan`] | what files say, checked: pure |
//! | [`flags`] | arguments of Kubernetes' components as flags of knarr: pure |
//! | [`record`] | what was done of it |
//! | [`prepare`] | what cannot be done is refused; files |
//! | [`steps`] | joining, tokens, repositories, add-ons |

pub mod flags;
pub mod plan;
pub mod prepare;
pub mod record;
pub mod steps;

use anyhow::{Context, Result};
use plan::{Plan, Source};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The file beside the configuration file, and the folder beside it (`$SNAP_COMMON/etc/launcher` of a snap).
const FILE: &str = "launch.yaml";
const FOLDER: &str = "launcher";

/// What the files beside a configuration file say; nothing when there are none.
///
/// # Errors
/// When one cannot be read or used, with its name.
pub fn read(config: &Path, data_dir: &Path) -> Result<Option<Plan>> {
    let mut sources = Vec::new();
    for path in files(config)? {
        match std::fs::read_to_string(&path) {
            Ok(text) => sources.push(Source { path, text }),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }
    Plan::read(&sources, data_dir)
}

/// Whether there are any beside a configuration file.
pub fn exists(config: &Path) -> bool {
    files(config).is_ok_and(|files| files.iter().any(|file| file.exists()))
}

/// The files that count beside a configuration file, in their order. The first need not be there.
///
/// # Errors
/// When the folder cannot be read.
pub fn files(config: &Path) -> Result<Vec<PathBuf>> {
    let beside = config.parent().unwrap_or(Path::new("."));
    let folder = beside.join(FOLDER);
    let mut more = match std::fs::read_dir(&folder) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", folder.display())),
    };
    more.retain(|path| path.extension().is_some_and(|end| end == "yaml" || end == "yml"));
    more.sort();
    Ok(std::iter::once(beside.join(FILE)).chain(more).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_comes_first_and_those_of_the_folder_by_their_names() {
        let etc = tempfile::tempdir().unwrap();
        let config = etc.path().join("config.yaml");
        assert!(read(&config, Path::new("/d")).unwrap().is_none() && !exists(&config));
        std::fs::create_dir(etc.path().join(FOLDER)).unwrap();
        let write = |name: &str, san: &str| {
            let text = format!("version: 0.1.0\nextraSANs: [{san}]\naddons: [{{name: {san}}}]\n");
            std::fs::write(etc.path().join(name), text).unwrap();
        };
        write("launcher/2.yaml", "c");
        write("launcher/1.yml", "b");
        write("launcher/3.txt", "x");
        assert!(exists(&config));
        write("launch.yaml", "a");
        let plan = read(&config, Path::new("/d")).unwrap().unwrap();
        let names: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["enabling the add-on a", "enabling the add-on b", "enabling the add-on c"]);
        std::fs::write(etc.path().join("launcher/1.yml"), "version: 0.3.0\n").unwrap();
        let error = format!("{:#}", read(&config, Path::new("/d")).unwrap_err());
        assert!(error.contains("launcher/1.yml: version: "), "{error}");
    }
}
