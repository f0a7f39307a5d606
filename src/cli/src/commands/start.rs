//! `knarr start`: the server, or the agent on a worker, as its unit or in the background; ready when the command
//! returns.

use super::progress::Progress;
use super::{process, unit};
use crate::arguments::{Location, Start};
use crate::paths::Paths;
use crate::worker::material::Material;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Tells a server that it was started in the background and has to leave the terminal's session.
pub const DETACHED: &str = "KNARR_DETACHED";

/// Longest wait for the API server; its own bar is half a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the server unless it runs, and waits until its API answers.
///
/// # Errors
/// When the server ends or does not answer, with the end of its log; when flags are given that the unit would not know.
pub fn run(options: &Start) -> Result<ExitCode> {
    let paths = Paths::new(&options.location.data_dir);
    if let Some(pid) = process::running(&paths)? {
        println!("Knarr is already running (process {pid}).");
        return Ok(ExitCode::SUCCESS);
    }
    flags_fit(&paths, &options.location, &options.server)?;
    let mut progress = Progress::new();
    again(&options.location, &options.server, &mut progress)?;
    progress.done("Started.");
    Ok(ExitCode::SUCCESS)
}

/// Flags for one start are none for a node that is a unit: the next boot would not know them.
///
/// # Errors
/// When there are such, with where they belong.
pub fn flags_fit(paths: &Paths, location: &Location, flags: &[String]) -> Result<()> {
    match unit::of_node(paths)?.filter(|_| !flags.is_empty()) {
        Some(unit) => bail!(
            "this node is run by {unit}, which would not know of {} at the next boot: write them into {}, without the \
             dashes",
            flags.join(" "),
            location.config.display()
        ),
        None => Ok(()),
    }
}

/// Starts a server that does not run: its unit with the unit's flags, or one in the background with those that are
/// given. Returns when its API answers.
///
/// # Errors
/// When the server ends or does not answer, with the end of its log.
pub fn again(location: &Location, arguments: &[String], progress: &mut Progress) -> Result<()> {
    let paths = Paths::new(&location.data_dir);
    let unit = unit::of_node(&paths)?;
    progress.step("Starting the server");
    let mut starting = match &unit {
        Some(unit) => {
            unit::command("start", unit).spawn().context("cannot run systemctl, which manages the server")?
        }
        None => in_background(&paths, location, arguments)?,
    };
    let start = Instant::now();
    let ready = paths.ready_file();
    while !ready.exists() || process::running(&paths)?.is_none() {
        match (starting.try_wait()?, &unit) {
            (None, _) => {}
            // The service manager has seen it start; its API may be gone again.
            (Some(status), Some(_)) if status.success() => {}
            (Some(status), Some(unit)) => {
                bail!(
                    "{unit} did not start ({status}); `knarr logs` tells more, and `knarr check` what is missing"
                )
            }
            (Some(status), None) => bail!("the server ended ({status}):\n{}", tail(&paths)),
        }
        if start.elapsed() > PATIENCE {
            bail!("the server does not answer after {PATIENCE:?}; `knarr logs` tells more");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn in_background(paths: &Paths, location: &Location, arguments: &[String]) -> Result<Child> {
    std::fs::create_dir_all(paths.root())
        .with_context(|| format!("cannot make {}; run this as root", paths.root().display()))?;
    let log = File::options().create(true).append(true).open(paths.log_file())?;
    Ok(Command::new(std::env::current_exe()?)
        .arg(if Material::exists(paths) { "agent" } else { "server" })
        .arg("--data-dir")
        .arg(paths.root())
        .arg("--config")
        .arg(&location.config)
        .args(without_location(arguments))
        .env(DETACHED, "1")
        .env("KNARR_CONFIG", &location.config)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?)
}

/// Flags of an earlier start without those that say where everything lies, which are given anew.
pub fn without_location(arguments: &[String]) -> Vec<&String> {
    let mut kept = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.split_once('=').map_or(argument.as_str(), |(flag, _)| flag) {
            "--data-dir" | "--config" if argument.contains('=') => {}
            "--data-dir" | "--config" => _ = rest.next(),
            _ => kept.push(argument),
        }
    }
    kept
}

/// The end of the log.
fn tail(paths: &Paths) -> String {
    let text = std::fs::read_to_string(paths.log_file()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_an_earlier_start_do_not_say_twice_where_everything_lies() {
        let given =
            ["--data-dir", "/a", "--node-name", "n", "--config=/b", "--disable-agent"].map(str::to_owned);
        assert_eq!(without_location(&given), ["--node-name", "n", "--disable-agent"]);
    }
}
