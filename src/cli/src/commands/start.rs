//! `knarr start`: the server, or the agent on a worker, in the background, ready when the command returns.

use super::process;
use crate::arguments::Start;
use crate::paths::Paths;
use crate::worker::material::Material;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Tells a server that it was started in the background and has to leave the terminal's session.
pub const DETACHED: &str = "KNARR_DETACHED";

/// Longest wait for the API server; its own bar is half a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the server unless it runs, and waits until its API answers.
///
/// # Errors
/// When the server ends or does not answer, with the end of its log.
pub fn run(options: &Start) -> Result<ExitCode> {
    let paths = Paths::new(&options.location.data_dir);
    if let Some(pid) = process::running(&paths)? {
        println!("Knarr is already running (process {pid}).");
        return Ok(ExitCode::SUCCESS);
    }
    std::fs::create_dir_all(paths.root())
        .with_context(|| format!("cannot make {}; run this as root", paths.root().display()))?;
    let log = File::options().create(true).append(true).open(paths.log_file())?;
    let mut server = Command::new(std::env::current_exe()?)
        .arg(if Material::exists(&paths) { "agent" } else { "server" })
        .arg("--data-dir")
        .arg(paths.root())
        .arg("--config")
        .arg(&options.location.config)
        .args(without_location(&options.server))
        .env(DETACHED, "1")
        .env("KNARR_CONFIG", &options.location.config)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    let start = Instant::now();
    let ready = paths.ready_file();
    while !ready.exists() || process::running(&paths)?.is_none() {
        if let Some(status) = server.try_wait()? {
            bail!("the server ended ({status}):\n{}", tail(&paths));
        }
        if start.elapsed() > PATIENCE {
            bail!("the server does not answer after {PATIENCE:?}; its log is {}", paths.log_file().display());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("Started.");
    Ok(ExitCode::SUCCESS)
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
