//! Before the first serving: what cannot be done is refused before anything is changed, and files are written.

use super::plan::{Plan, Step};
use super::record::Record;
use crate::commands::enable;
use crate::paths::Paths;
use addons::repositories::Repositories;
use anyhow::{Context, Result, bail};
use cri::containerd::registries;
use std::os::unix::fs::DirBuilderExt as _;

/// Checks and writes what a plan needs before the node serves, unless that was done.
///
/// # Errors
/// What cannot be done, with its key; nothing was changed then.
pub fn prepare(plan: &Plan, paths: &Paths, foreign_runtime: bool) -> Result<()> {
    let mut record = Record::load(paths, plan)?;
    if record.is_complete(plan) {
        return Ok(());
    }
    check(plan, paths, foreign_runtime).with_context(|| plan.shown.clone())?;
    if !record.files {
        write(plan, paths).with_context(|| plan.shown.clone())?;
        record.files = true;
        record.save(paths)?;
    }
    Ok(())
}

/// A worker has joined: it is not to join again when it leaves.
///
/// # Errors
/// When the record cannot be read or written.
pub fn note_joined(plan: &Plan, paths: &Paths) -> Result<()> {
    let mut record = Record::load(paths, plan)?;
    let join = plan.steps.iter().position(|step| matches!(step, Step::Join(_)));
    if join.is_some_and(|join| record.done.insert(join)) {
        record.error = None;
        record.save(paths)?;
    }
    Ok(())
}

fn check(plan: &Plan, paths: &Paths, foreign_runtime: bool) -> Result<()> {
    if foreign_runtime {
        for (key, said) in [
            ("containerdRegistryConfigs", !plan.registries.is_empty()),
            ("extraContainerdEnv", plan.flags.mentions("containerd-env")),
        ] {
            if said {
                bail!(
                    "{key}: with --container-runtime-endpoint containerd is not Knarr's; configure it itself"
                );
            }
        }
    }
    let others = Repositories::new(paths.repositories()).list();
    let more = plan.steps.iter().any(|step| matches!(step, Step::Repository(_)));
    for step in &plan.steps {
        match step {
            Step::Addon(addon) => enable::check(addon, &others, more).context("addons")?,
            Step::Join(_) if std::process::id() == 1 => bail!(
                "join: this server is the first process of a container, which ends when the server is stopped to join; \
                 run `knarr agent --server URL --token TOKEN/CHECK` there"
            ),
            _ => {}
        }
    }
    Ok(())
}

fn write(plan: &Plan, paths: &Paths) -> Result<()> {
    let folder = paths.launch_files();
    if !plan.files.is_empty() {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.with_context(|| format!("cannot make {}", folder.display()))?;
    }
    for (name, text) in &plan.files {
        pki::write_private(&folder.join(name), text.as_bytes()).context("extraConfigFiles")?;
    }
    let hosts =
        crate::server::agent::containerd_config(paths.root(), std::path::Path::new(""), true).certs_dir();
    for (registry, text) in &plan.registries {
        registries::write_given(&hosts, registry, text).context("containerdRegistryConfigs")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::plan::Source;

    fn plan(text: &str) -> Plan {
        let source = Source { path: "/etc/launch.yaml".into(), text: format!("version: 0.1.0\n{text}") };
        Plan::read(&[source], std::path::Path::new("/data")).unwrap().unwrap()
    }

    #[test]
    fn files_are_written_once_per_content() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        let text = "extraConfigFiles: {a.yaml: one}\ncontainerdRegistryConfigs: {'*': server = \"x\"}\n";
        let file = paths.launch_files().join("a.yaml");
        let hosts = folder.path().join("containerd/certs.d/_default/hosts.toml");
        prepare(&plan(text), &paths, false).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "one");
        assert_eq!(std::fs::read_to_string(&hosts).unwrap(), "server = \"x\"");
        std::fs::write(&file, "a person's").unwrap();
        prepare(&plan(text), &paths, false).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "a person's");
        prepare(&plan(&text.replace("one", "two")), &paths, false).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "two");
    }

    #[test]
    fn what_cannot_be_done_is_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        let file = "extraConfigFiles: {a.yaml: one}\n";
        for (text, foreign, told) in [
            ("addons: [{name: nonsense}]", false, "addons: Addon nonsense was not found"),
            ("addons: [{name: other/dns}]", false, "addons: There is no repository other"),
            ("addons: [{name: dns, args: [--nonsense]}]", false, "addons: add-on dns: there is no flag"),
            ("addons: [{name: storage, args: [Perhaps]}]", false, "addons: argument reclaim-policy"),
            ("addons: [{name: storage, disable: true, args: [x]}]", false, "addons: add-on hostpath-storage"),
            ("addons: [{name: rbac, disable: true}]", false, "addons: Addon rbac cannot be disabled"),
            (
                "containerdRegistryConfigs: {a: b}",
                true,
                "containerdRegistryConfigs: with --container-runtime",
            ),
            ("extraContainerdEnv: {A: b}", true, "extraContainerdEnv: with --container-runtime"),
        ] {
            let error =
                format!("{:#}", prepare(&plan(&format!("{file}{text}")), &paths, foreign).unwrap_err());
            assert!(error.starts_with("/etc/launch.yaml: ") && error.contains(told), "{text}: {error}");
            assert!(!paths.launch_files().exists() && !paths.launch_record().exists(), "{text}");
        }
        // What a repository brings is known when it is there.
        let later = "addons: [{name: mine/x}, {name: y}]\naddonRepositories: [{name: mine, url: /x}]";
        prepare(&plan(later), &paths, false).unwrap();
    }

    #[test]
    fn what_was_applied_is_not_checked_again() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        let gone = plan("addons: [{name: nonsense}]");
        let mut record = Record::load(&paths, &gone).unwrap();
        (record.files, record.done) = (true, [0].into());
        record.save(&paths).unwrap();
        prepare(&gone, &paths, false).unwrap();
    }

    #[test]
    fn a_worker_that_has_joined_does_not_join_again() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        let token = "0123456789abcdef0123456789abcdef";
        let joining = plan(&format!("join: {{url: \"a:1/{token}/{token}\", worker: true}}"));
        note_joined(&joining, &paths).unwrap();
        assert_eq!(Record::load(&paths, &joining).unwrap().done, [0].into());
        let none = plan("extraSANs: [a]");
        note_joined(&none, &paths).unwrap();
        assert!(Record::load(&paths, &none).unwrap().done.is_empty());
    }
}
