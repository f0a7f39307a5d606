//! `knarr logs`: what the server, containerd and the pods of add-ons have to say.

use super::{process, tools, unit};
use crate::arguments::tools::Logs;
use crate::paths::Paths;
use addons::catalog;
use anyhow::{Context, Result, bail};
use client::Rest;
use futures::{AsyncBufReadExt as _, StreamExt as _, stream::select_all};
use http::{Method, Request};
use serde_json::Value;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// How often a file that is followed is looked at.
const PERIOD: Duration = Duration::from_millis(200);
/// Bytes that are read at a time from the end of a file.
const PIECE: u64 = 64 << 10;

/// Shows a log.
///
/// # Errors
/// When there is none.
pub async fn run(options: &Logs) -> Result<ExitCode> {
    let paths = Paths::new(&options.location.data_dir);
    match options.whose.as_str() {
        "server" => server(&paths, options),
        "containerd" => {
            let state =
                process::state(&paths)?.context("knarr never ran here; start it with `knarr start`")?;
            file(&state.containerd(&paths).log_file(), options)
        }
        name => addon(&paths, name, options).await,
    }
}

/// A service manager keeps its services' logs; a server in the background writes its own.
fn server(paths: &Paths, options: &Logs) -> Result<ExitCode> {
    let unit = match process::running(paths)? {
        Some(pid) => unit::of_process(pid),
        // What it said before it ended, or why it did not start.
        None => unit::of_node(paths)?,
    };
    if let Some(unit) = unit
        && let Some(journalctl) = tools::find("journalctl")
    {
        let mut command = Command::new(journalctl);
        command.args(["--no-pager", "--output=cat", "--unit", &unit, "--lines", &options.tail.to_string()]);
        if options.follow {
            command.arg("--follow");
        }
        return Err(command.exec()).context("cannot run journalctl");
    }
    file(&paths.log_file(), options)
}

fn file(path: &Path, options: &Logs) -> Result<ExitCode> {
    let mut log = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "there is no log {}: a server that somebody runs in the foreground writes to its terminal",
            path.display()
        ),
        opened => opened.with_context(|| format!("cannot open {}", path.display()))?,
    };
    let start = tail(&mut log, options.tail)?;
    log.seek(SeekFrom::Start(start))?;
    let mut out = std::io::stdout().lock();
    loop {
        if let Err(error) = std::io::copy(&mut log, &mut out).and_then(|_| out.flush()) {
            return if error.kind() == ErrorKind::BrokenPipe {
                Ok(ExitCode::SUCCESS)
            } else {
                Err(error.into())
            };
        }
        if !options.follow {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(PERIOD);
        // One that was emptied begins anew.
        if log.metadata()?.len() < log.stream_position()? {
            log.rewind()?;
        }
    }
}

/// Where the last lines begin.
fn tail(log: &mut (impl Read + std::io::Seek), lines: usize) -> Result<u64> {
    let mut at = log.seek(SeekFrom::End(0))?;
    let end = at;
    let mut found = 0;
    while at > 0 {
        let begin = at.saturating_sub(PIECE);
        log.seek(SeekFrom::Start(begin))?;
        let mut piece = Vec::new();
        log.take(at - begin).read_to_end(&mut piece)?;
        for (offset, _) in piece.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = begin + offset as u64 + 1;
            // The end of the last line begins none.
            if after < end {
                found += 1;
            }
            if found == lines {
                return Ok(after);
            }
        }
        at = begin;
    }
    Ok(if lines == 0 { end } else { 0 })
}

/// The pods of an add-on, each line with its pod's name when there are several.
async fn addon(paths: &Paths, name: &str, options: &Logs) -> Result<ExitCode> {
    let Some(addon) = catalog::find(name) else {
        let names: Vec<&str> = catalog::all().iter().map(|addon| addon.name.as_str()).collect();
        bail!("there is no log of {name}; there is server, containerd, {}", names.join(", "));
    };
    let workloads: Vec<&catalog::Target> = workloads(addon).collect();
    if workloads.is_empty() {
        bail!("{name} has no pods; `knarr kubectl get pods -A` lists all that there are");
    }
    let rest = Rest::new(process::client(paths).await?);
    let mut streams = Vec::new();
    for target in workloads {
        for (namespace, pod) in pods(&rest, target).await? {
            let follow = if options.follow { "&follow=true" } else { "" };
            let path =
                format!("/api/v1/namespaces/{namespace}/pods/{pod}/log?tailLines={}{follow}", options.tail);
            let request = Request::get(path).body(Vec::new())?;
            let lines =
                rest.client().request_stream(request).await.with_context(|| format!("the log of {pod}"))?;
            streams.push(lines.lines().map(move |line| (pod.clone(), line)).boxed());
        }
    }
    if streams.is_empty() {
        bail!("no pod of {name} runs; enable it with `knarr enable {name}`");
    }
    let several = streams.len() > 1;
    let mut lines = select_all(streams);
    let mut out = std::io::stdout();
    while let Some((pod, line)) = lines.next().await {
        let line = line.with_context(|| format!("the log of {pod} ended early"))?;
        let told = if several { writeln!(out, "[{pod}] {line}") } else { writeln!(out, "{line}") };
        if told.is_err() {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the pods of an add-on belong to: nothing, if it makes none.
fn workloads(addon: &catalog::Addon) -> impl Iterator<Item = &catalog::Target> {
    addon.readiness.iter().filter(|target| target.api_version == "apps/v1")
}

/// Namespaces and names of the pods of a workload.
async fn pods(rest: &Rest, target: &catalog::Target) -> Result<Vec<(String, String)>> {
    let plural = format!("{}s", target.kind.to_lowercase());
    let path =
        format!("/apis/{}/namespaces/{}/{plural}/{}", target.api_version, target.namespace, target.name);
    let workload = match rest.raw(Method::GET, &path, None).await {
        Err(error) if client::rest::is_not_found(&error) => return Ok(Vec::new()),
        found => serde_json::from_str::<Value>(&found?)?,
    };
    let labels = workload.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
    let selector: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{}%3D{}", name.replace('/', "%2F"), value.as_str().unwrap_or_default()))
        .collect();
    if selector.is_empty() {
        return Ok(Vec::new());
    }
    let path = format!("/api/v1/namespaces/{}/pods?labelSelector={}", target.namespace, selector.join("%2C"));
    let list: Value = serde_json::from_str(&rest.raw(Method::GET, &path, None).await?)?;
    let items = list.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    let name = |pod: &Value| pod.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned);
    Ok(items.iter().filter_map(|pod| Some((target.namespace.clone(), name(pod)?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn the_last_lines_are_found_from_the_end() {
        let from = |text: &str, lines| {
            let start = tail(&mut Cursor::new(text.as_bytes()), lines).unwrap();
            text.get(usize::try_from(start).unwrap()..).unwrap().to_owned()
        };
        assert_eq!(from("a\nb\nc\n", 2), "b\nc\n");
        assert_eq!(from("a\nb\nc", 2), "b\nc");
        assert_eq!(from("a\nb\n", 9), "a\nb\n");
        assert_eq!(from("a\nb\n", 0), "");
        assert_eq!(from("", 5), "");
        let long = format!("{}\nlast\n", "x".repeat(200_000));
        assert_eq!(from(&long, 1), "last\n");
        assert_eq!(from(&long, 2), long);
    }

    #[test]
    fn every_add_on_that_runs_this_binary_names_what_its_pods_belong_to() {
        for addon in catalog::all() {
            let runs = addon.texts.iter().any(|text| text.contains("image: ${IMAGE}"));
            assert!(workloads(addon).next().is_some() || !runs, "{}", addon.name);
        }
    }
}
