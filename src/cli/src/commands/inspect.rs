//! `knarr inspect`: what somebody who helps wants to see, in one archive, without secrets.
//!
//! Nothing is taken that may hold one: no Secrets and ConfigMaps, of other objects only the columns that `kubectl get`
//! shows (no environment of containers), no keys, and of containerd's configuration no credentials.

use super::certs::listed;
use super::check::{self, Level};
use super::output::table;
use super::status::{self, Report};
use super::{process, tools, version};
use crate::arguments::tools::Inspect;
use crate::backups::source::without_secrets;
use crate::paths::Paths;
use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};
use futures::future::join_all;
use http::{Request, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// From the end of each log.
const LOG_BYTES: u64 = 2 << 20;
/// For all that is asked of the API.
const PATIENCE: Duration = Duration::from_secs(10);
/// How soon the end of a certificate is worth a word.
const CERTIFICATE_DAYS: i64 = 3;
/// As kubectl asks for what it shows.
const AS_TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
/// Collections whose columns are shown.
const COLLECTIONS: [&str; 11] = [
    "/api/v1/nodes",
    "/api/v1/pods",
    "/api/v1/services",
    "/api/v1/events",
    "/api/v1/persistentvolumes",
    "/api/v1/persistentvolumeclaims",
    "/apis/apps/v1/deployments",
    "/apis/apps/v1/daemonsets",
    "/apis/apps/v1/statefulsets",
    "/apis/apiregistration.k8s.io/v1/apiservices",
    "/apis/knarr.io/v1/addons",
];
/// What the machine tells about itself.
const PROGRAMS: [(&str, &[&str]); 8] = [
    ("ip", &["address"]),
    ("ip", &["route", "show", "table", "all"]),
    ("nft", &["list", "ruleset"]),
    ("ss", &["-lntup"]),
    ("df", &["-h"]),
    ("ps", &["-eo", "pid,ppid,rss,etime,comm"]),
    ("uname", &["-a"]),
    ("containerd", &["--version"]),
];
/// Files of the machine.
const FILES: [&str; 5] =
    ["/etc/os-release", "/proc/meminfo", "/proc/mounts", "/proc/cgroups", "/proc/cmdline"];

/// Writes the report. Exits non-zero when something does not run.
///
/// # Errors
/// When it cannot be written.
pub async fn run(options: &Inspect) -> Result<ExitCode> {
    let paths = Paths::new(&options.location.data_dir);
    let mut contents: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |name: &str, text: String| contents.push((name.to_owned(), text.into_bytes()));
    println!("Inspecting services");
    let report = status::look(&paths).await?;
    let failed = tell_services(&paths, &report)?;
    add("status.json", format!("{:#}\n", status::value(&report)));
    add(
        "version",
        format!("Knarr {} (Kubernetes {})\n", version::VERSION, crate::server::KUBERNETES_VERSION),
    );
    println!("Inspecting the machine");
    let findings = check::look(&paths).await;
    for finding in findings.iter().filter(|finding| finding.level != Level::Ok) {
        println!("WARNING: {}: {}. {}", finding.name, finding.found, finding.fix);
    }
    add("check.json", format!("{:#}\n", json!(findings)));
    for (program, arguments) in PROGRAMS {
        add(
            &format!("machine/{program}-{}", arguments.join("-").replace(['-', ','], "_")),
            told(program, arguments),
        );
    }
    for file in FILES {
        add(&format!("machine{file}"), std::fs::read_to_string(file).unwrap_or_default());
    }
    if let Ok(certificates) = listed(&paths) {
        let now = Timestamp::now();
        let mut lines = String::new();
        for one in certificates {
            let days = (one.not_after.as_second() - now.as_second()).div_euclid(24 * 3600);
            lines.push_str(&format!("{} {} days {}\n", one.name, days, one.subject));
            if days <= CERTIFICATE_DAYS {
                println!("WARNING: the certificate {} ends in {days} days; `knarr certs rotate`", one.name);
            }
        }
        add("certificates", lines);
    }
    if let Some(state) = process::state(&paths)? {
        add(
            "server.json",
            format!(
                "{:#}\n",
                json!({
                    "node": state.node_name, "address": state.address, "port": state.port, "agent": state.agent,
                    "ownNetwork": state.own_network, "arguments": without_secrets(&state.arguments),
                })
            ),
        );
        add("logs/containerd.log", tail(&state.containerd(&paths).log_file()));
    }
    add("logs/knarr.log", tail(&paths.log_file()));
    println!("Inspecting the cluster");
    for (name, text) in objects(&paths).await {
        add(&name, text);
    }
    let time = Timestamp::now().strftime("%Y%m%d_%H%M%S").to_string();
    let path = options.directory.join(format!("inspection-report-{time}.tar.gz"));
    write(&path, &format!("inspection-report-{time}"), &contents)?;
    println!("Report tarball is at {}", path.display());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn tell_services(paths: &Paths, report: &Report) -> Result<bool> {
    let state = process::state(paths)?;
    let runtime = state.as_ref().filter(|state| state.agent).map(|state| state.runtime_socket(paths));
    let connects = |socket: &Path| std::os::unix::net::UnixStream::connect(socket).is_ok();
    let mut services =
        vec![("knarr", process::running(paths)?.is_some()), ("API server and node", report.ready)];
    services.extend(runtime.map(|socket| ("container runtime", connects(&socket))));
    for (name, runs) in &services {
        match runs {
            true => println!("  Service {name} is running"),
            false => println!(" FAIL:  Service {name} is not running"),
        }
    }
    if !report.why.is_empty() {
        println!("  {}", report.why);
    }
    Ok(services.iter().any(|(_, runs)| !runs))
}

/// What a program says; nobody needs to have it.
fn told(program: &str, arguments: &[&str]) -> String {
    let Some(path) = tools::find(program) else { return format!("{program} is not installed\n") };
    match Command::new(path).args(arguments).stdin(Stdio::null()).output() {
        Ok(output) => {
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
        }
        Err(error) => format!("{error}\n"),
    }
}

/// The end of a file, without the line that it begins in.
fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(LOG_BYTES);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(LOG_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_or_else(|error| format!("{error}\n"), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

async fn objects(paths: &Paths) -> Vec<(String, String)> {
    let client = match process::client(paths).await {
        Ok(client) => client,
        Err(error) => return vec![("cluster/error".to_owned(), format!("{error:#}\n"))],
    };
    let asked = COLLECTIONS.iter().map(|path| async {
        let shown = tokio::time::timeout(PATIENCE, columns(&client, path)).await;
        let text = match shown {
            Ok(Ok(text)) => text,
            Ok(Err(error)) => format!("{error:#}\n"),
            Err(_) => format!("there is no answer within {PATIENCE:?}\n"),
        };
        (format!("cluster/{}", path.rsplit('/').next().unwrap_or_default()), text)
    });
    join_all(asked).await
}

async fn columns(client: &kube::Client, path: &str) -> Result<String> {
    let request = Request::get(path).header(header::ACCEPT, AS_TABLE).body(Vec::new())?;
    Ok(rows(&serde_json::from_str(&client.request_text(request).await?)?))
}

/// A `meta.k8s.io` Table as text.
fn rows(found: &Value) -> String {
    let list =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let names: Vec<String> = list(found, "columnDefinitions")
        .iter()
        .map(|column| column.get("name").and_then(Value::as_str).unwrap_or_default().to_uppercase())
        .collect();
    let mut header = vec!["NAMESPACE"];
    header.extend(names.iter().map(String::as_str));
    let cell = |cell: &Value| cell.as_str().map_or_else(|| cell.to_string(), |text| text.replace('\n', " "));
    let rows: Vec<Vec<String>> = list(found, "rows")
        .iter()
        .map(|row| {
            let namespace = row.pointer("/object/metadata/namespace").and_then(Value::as_str).unwrap_or("-");
            let cells = list(row, "cells");
            std::iter::once(namespace.to_owned()).chain(cells.iter().map(cell)).collect()
        })
        .collect();
    table(&header, &rows)
}

fn write(path: &Path, folder: &str, contents: &[(String, Vec<u8>)]) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    let mtime = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
    for (name, bytes) in contents {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(mtime);
        archive.append_data(&mut header, format!("{folder}/{name}"), bytes.as_slice())?;
    }
    archive.into_inner()?.finish()?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_the_api_is_told_as_people_see_it() {
        let found = json!({
            "columnDefinitions": [{"name": "Name"}, {"name": "Restarts"}],
            "rows": [{"cells": ["a", 3], "object": {"metadata": {"namespace": "default"}}}, {"cells": ["b", null]}],
        });
        assert_eq!(rows(&found), "NAMESPACE  NAME  RESTARTS\ndefault    a     3\n-          b     null\n");
        assert_eq!(rows(&Value::Null), "NAMESPACE\n");
    }

    #[test]
    fn a_report_is_an_archive_with_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.tar.gz");
        write(&path, "r", &[("a/b".to_owned(), b"text".to_vec())]).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(File::open(&path).unwrap()));
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.path().unwrap(), Path::new("r/a/b"));
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
        assert!(tail(Path::new("/nonexistent")).contains("No such file"));
        assert!(told("no-such-program", &[]).contains("not installed"));
    }

    #[test]
    fn nothing_that_holds_secrets_is_asked_for() {
        assert!(COLLECTIONS.iter().all(|path| !path.contains("secret") && !path.contains("configmap")));
    }
}
