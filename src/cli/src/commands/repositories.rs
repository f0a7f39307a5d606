//! `knarr addons repo`: repositories of add-ons that others make. Output is MicroK8s'.

use crate::arguments::addons::{Addons, AddonsCommand, RepositoryCommand, RepositoryFormat};
use crate::paths::Paths;
use addons::catalog::{self, CORE};
use addons::engine::EngineError;
use addons::repositories::{ForeignAddon, Repositories, Repository};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};

/// Where hooks find the programs that they call by MicroK8s' names.
const PROGRAMS: &str = ".bin";

/// Does it.
///
/// # Errors
/// When there is no such repository, or it is none.
pub fn run(options: &Addons) -> Result<ExitCode> {
    let repositories = Repositories::new(Paths::new(&options.location.data_dir).repositories());
    let command = match &options.command {
        AddonsCommand::Repo(command) => command,
        AddonsCommand::Images { names } => return images(names),
    };
    match command {
        RepositoryCommand::Add { name, url, reference, force } => {
            let added = repositories.add(name, &absolute(url), reference, *force)?;
            println!("Repository {name} has {} add-on(s). What they run is not Knarr's.", added.addons.len());
        }
        RepositoryCommand::Update { name } if name == CORE => {
            bail!("built-in repository '{CORE}' cannot be updated")
        }
        RepositoryCommand::Update { name } => {
            let updated = repositories.update(name)?;
            println!("Repository {name} is at {}", updated.source.commit);
        }
        RepositoryCommand::Remove { name } => {
            repositories.remove(name)?;
            println!("Repository {name} is removed");
        }
        RepositoryCommand::List { format } => {
            let all = repositories.list();
            match format {
                RepositoryFormat::Table => print!("{}", table(&all)),
                RepositoryFormat::Json => println!("{:#}", value(&all)),
                RepositoryFormat::Yaml => print!("{}", apimachinery::decode::to_yaml(&value(&all))?),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells what has to be imported.
fn images(names: &[String]) -> Result<ExitCode> {
    let find = |name: &String| catalog::find(name).ok_or_else(|| EngineError::Unknown(name.clone()));
    let chosen = match names {
        [] => catalog::all().iter().collect(),
        names => names.iter().map(find).collect::<Result<Vec<_>, _>>()?,
    };
    let all: BTreeSet<&String> = chosen.into_iter().flat_map(|addon| &addon.images).collect();
    all.iter().for_each(|image| println!("{image}"));
    Ok(ExitCode::SUCCESS)
}

/// Runs the hook of an add-on; it may do whatever the caller may.
///
/// # Errors
/// When it cannot be run.
pub fn hook(
    paths: &Paths,
    repository: &Repository,
    addon: &ForeignAddon,
    verb: &str,
    arguments: &[String],
) -> Result<ExitStatus> {
    let programs = programs(paths)?;
    let hook = repository.hook(&addon.name, verb);
    println!("Running {} of the third-party repository {}", hook.display(), repository.name);
    let mut path = OsString::from(&programs);
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/sbin:/usr/bin:/sbin:/bin")));
    Command::new(&hook)
        .args(arguments)
        .env("PATH", path)
        .env("KUBECONFIG", paths.kubeconfig())
        .env("KNARR_DATA_DIR", paths.root())
        .env("SNAP", &programs)
        .env("SNAP_DATA", paths.root())
        .env("SNAP_COMMON", paths.root())
        .status()
        .with_context(|| format!("cannot run {}", hook.display()))
}

/// The folder of programs with MicroK8s' names, which call this one.
fn programs(paths: &Paths) -> Result<std::path::PathBuf> {
    let folder = paths.repositories().join(PROGRAMS);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let own = std::env::current_exe()?.display().to_string().replace('\'', "'\\''");
    for (name, command) in [
        ("kubectl", "kubectl "),
        ("microk8s", ""),
        ("microk8s-kubectl.wrapper", "kubectl "),
        ("microk8s-enable.wrapper", "enable "),
        ("microk8s-disable.wrapper", "disable "),
        ("microk8s-status.wrapper", "status "),
    ] {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\nexec '{own}' {command}\"$@\"\n"))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(folder)
}

/// A path as it is from everywhere; anything else as it is.
fn absolute(url: &str) -> String {
    let path = Path::new(url).canonicalize();
    path.ok().and_then(|path| path.to_str().map(str::to_owned)).unwrap_or_else(|| url.to_owned())
}

fn source(repository: &Repository) -> String {
    let short = repository.source.commit.get(..6).unwrap_or_default();
    if short.is_empty() {
        repository.source.url.clone()
    } else {
        format!("{}@{short}", repository.source.url)
    }
}

fn rows(all: &[Repository]) -> Vec<(String, usize, String, String)> {
    let built_in =
        (CORE.to_owned(), catalog::all().len(), "(built-in)".to_owned(), "Knarr's own add-ons".to_owned());
    let others = all.iter().map(|r| (r.name.clone(), r.addons.len(), source(r), r.description.clone()));
    std::iter::once(built_in).chain(others).collect()
}

fn table(all: &[Repository]) -> String {
    let mut text = format!("{:<10} {:>6} {}\n", "REPO", "ADDONS", "SOURCE");
    for (name, count, source, _) in rows(all) {
        text.push_str(&format!("{name:<10} {count:>6} {source}\n"));
    }
    text
}

fn value(all: &[Repository]) -> Value {
    let row = |(name, count, source, description): (String, usize, String, String)| json!({"name": name, "addons": count, "source": source, "description": description});
    Value::Array(rows(all).into_iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_repository_is_listed_too() {
        let count = catalog::all().len();
        assert_eq!(table(&[]), format!("REPO       ADDONS SOURCE\ncore       {count:>6} (built-in)\n"));
        assert_eq!(value(&[])[0]["source"], "(built-in)");
    }

    #[test]
    fn hooks_find_knarr_under_the_names_that_they_know() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        let programs = programs(&paths).unwrap();
        let text = std::fs::read_to_string(programs.join("microk8s-kubectl.wrapper")).unwrap();
        assert!(text.ends_with("kubectl \"$@\"\n"), "{text}");
        assert!(Repositories::new(paths.repositories()).list().is_empty(), "they are no repository");
    }
}
