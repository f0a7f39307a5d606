//! `knarr check`: whether this machine has what a node needs, and how to get what is missing.
//!
//! | module | what |
//! |---|---|
//! | [`kernel`] | version, namespaces, cgroups, modules, capabilities |
//! | [`machine`] | tools, memory, disk, network, ports, host name |

mod kernel;
mod machine;

use super::output::show;
use super::process;
use crate::arguments::tools::Check;
use crate::paths::Paths;
use anyhow::Result;
use serde::Serialize;
use serde_json::json;
use std::process::ExitCode;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Pods run; something is slower or missing.
    Warning,
    /// Pods do not run.
    Failure,
}

/// What was looked at, and what there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub name: String,
    /// How bad it is.
    pub level: Level,
    /// What there is.
    pub found: String,
    /// What to do about it; empty when nothing has to be done.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fix: String,
}

impl Finding {
    fn new(name: &str, level: Level, found: impl Into<String>, fix: impl Into<String>) -> Self {
        let fix = if level == Level::Ok { String::new() } else { fix.into() };
        Self { name: name.to_owned(), level, found: found.into(), fix }
    }

    fn ok(name: &str, found: impl Into<String>) -> Self {
        Self::new(name, Level::Ok, found, "")
    }

    fn failure(name: &str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(name, Level::Failure, found, fix)
    }

    fn warning(name: &str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(name, Level::Warning, found, fix)
    }
}

/// Looks at everything. Exits non-zero when pods would not run.
///
/// # Errors
/// When the result cannot be shown.
pub async fn run(options: &Check) -> Result<ExitCode> {
    let all = look(&Paths::new(&options.location.data_dir)).await;
    let failed = all.iter().any(|finding| finding.level == Level::Failure);
    let value = json!({"ok": !failed, "checks": all});
    show(options.output.output, &value, || pretty(&all))?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Everything that was looked at.
pub async fn look(paths: &Paths) -> Vec<Finding> {
    let running = process::running(paths).ok().flatten().is_some();
    let mut all = kernel::look();
    all.extend(machine::look(paths, running).await);
    all
}

fn pretty(all: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { name, level, found, fix } in all {
        let word = match level {
            Level::Ok => "ok",
            Level::Warning => "WARNING",
            Level::Failure => "FAIL",
        };
        text.push_str(&format!("{word:<8} {name}: {found}\n"));
        if !fix.is_empty() {
            text.push_str(&format!("{:<9}{fix}\n", ""));
        }
    }
    let count = |wanted: Level| all.iter().filter(|finding| finding.level == wanted).count();
    text.push_str(&match (count(Level::Failure), count(Level::Warning)) {
        (0, 0) => "This machine has all that Knarr needs.\n".to_owned(),
        (0, warnings) => format!("Pods can run here; {warnings} warning(s).\n"),
        (failures, _) => format!("Pods cannot run here yet: {failures} thing(s) are missing.\n"),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_with_how_to_get_it() {
        let all = [
            Finding::ok("kernel", "6.1"),
            Finding::warning("kubectl", "not installed", "install it"),
            Finding::failure("runc", "not installed", "apt install runc"),
        ];
        let text = pretty(&all);
        assert!(text.contains("FAIL     runc: not installed\n         apt install runc\n"), "{text}");
        assert!(text.ends_with("Pods cannot run here yet: 1 thing(s) are missing.\n"), "{text}");
        assert!(pretty(&all[..2]).ends_with("Pods can run here; 1 warning(s).\n"));
        assert!(pretty(&all[..1]).ends_with("all that Knarr needs.\n"));
        assert_eq!(
            serde_json::to_value(&all[0]).unwrap(),
            json!({"name": "kernel", "level": "ok", "found": "6.1"})
        );
    }

    #[tokio::test]
    async fn a_machine_is_looked_at_without_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let all = look(&Paths::new(folder.path())).await;
        for name in ["kernel", "cgroups", "namespaces", "containerd", "disk", "port 6443"] {
            assert!(all.iter().any(|finding| finding.name == name), "{name}");
        }
        assert!(all.iter().all(|finding| (finding.level == Level::Ok) == finding.fix.is_empty()), "{all:?}");
    }
}
