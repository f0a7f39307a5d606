//! What helm is told for a `HelmChart`. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use ring::digest::{SHA256, digest};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// Prefix of charts that k3s' API server serves out of its folder of static files.
const STATIC: &str = "https://%{KUBERNETES_API}%/static/";
/// helm's own.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);
/// How often k3s lets a job try.
const DEFAULT_ATTEMPTS: u32 = 1000;
/// Of repositories that are written down for helm; the only one in each such file.
const REPOSITORY: &str = "repository";

/// Why helm cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The object is wrong; nothing but a change of it helps.
    #[error("{0}")]
    Refused(String),
    /// Something that it names is not there (yet).
    #[error("{0}")]
    Missing(String),
}

/// What becomes of a release that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// It is uninstalled, and installed anew.
    Reinstall,
    /// It stays as it is until somebody mends it.
    Abort,
    /// It is upgraded when something changed.
    Retry,
}

/// Other objects of the chart's namespace that are needed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Secrets, and whether they have to be there.
    pub secrets: BTreeMap<String, bool>,
    /// The ConfigMap of certificates.
    pub config_map: Option<String>,
}

/// What was found of them: keys and values.
#[derive(Debug, Default)]
pub struct Found {
    /// Secrets by name.
    pub secrets: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// Values of the ConfigMap.
    pub config_map: Option<BTreeMap<String, String>>,
}

/// What to do with helm.
#[derive(Debug)]
pub struct Plan {
    /// Name of the release.
    pub release: String,
    /// Its namespace.
    pub namespace: String,
    /// Where helm keeps it.
    pub driver: String,
    /// Files of the folder that helm runs in, by name.
    pub files: Vec<(String, Vec<u8>)>,
    /// What is run before.
    pub before: Option<Vec<String>>,
    /// Arguments of the installation or upgrade. Files are named without their folder.
    pub arguments: Vec<String>,
    /// How long each step may take.
    pub timeout: Duration,
    /// What becomes of a failure.
    pub policy: Policy,
    /// How often it is tried again.
    pub attempts: u32,
    /// Digest of all that it follows from: when it is the same, there is nothing to do.
    pub hash: String,
    /// Whether other objects take part, whose changes nobody tells of.
    pub follows_others: bool,
    /// What of the object says nothing here.
    pub notes: Vec<String>,
    /// How to have the chart without a network, if it comes from one.
    pub offline: Option<String>,
}

/// The release of a chart and its namespace.
pub fn release(chart: &Value) -> (String, String) {
    let own = text(chart, "/metadata/namespace");
    let target = Some(text(chart, "/spec/targetNamespace")).filter(|name| !name.is_empty());
    (text(chart, "/metadata/name").to_owned(), target.unwrap_or(own).to_owned())
}

/// Where helm keeps what it knows of the release.
pub fn driver(chart: &Value) -> String {
    let driver = text(chart, "/spec/driver");
    if driver.is_empty() { "secret" } else { driver }.to_owned()
}

/// How long each step of helm may take.
///
/// # Errors
/// When the object says nonsense.
pub fn timeout(chart: &Value) -> Result<Duration, PlanError> {
    let text = text(chart, "/spec/timeout");
    if text.is_empty() {
        return Ok(DEFAULT_TIMEOUT);
    }
    let parsed = text.parse::<SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok());
    parsed
        .filter(|d| !d.is_zero())
        .ok_or_else(|| PlanError::Refused(format!("spec.timeout: {text:?} is no time such as 5m30s")))
}

/// What has to be read before there can be a plan.
pub fn needs(chart: &Value, config: Option<&Value>) -> Needs {
    let mut needs = Needs::default();
    for spec in specs(chart, config) {
        for (name, ignored) in values_secrets(spec) {
            *needs.secrets.entry(name.to_owned()).or_default() |= !ignored;
        }
    }
    for field in ["authSecret", "dockerRegistrySecret"] {
        let name = text(chart, &format!("/spec/{field}/name"));
        if !name.is_empty() {
            needs.secrets.insert(name.to_owned(), true);
        }
    }
    let map = text(chart, "/spec/repoCAConfigMap/name");
    needs.config_map = (!map.is_empty()).then(|| map.to_owned());
    needs
}

/// The plan for a chart, its HelmChartConfig, and what they need. Charts without a network are looked for in
/// `statics`.
///
/// # Errors
/// When the object is wrong, or a file or object that it names is not there.
pub fn plan(chart: &Value, config: Option<&Value>, found: &Found, statics: &Path) -> Result<Plan, PlanError> {
    let (release, namespace) = release(chart);
    let spec = |field: &str| text(chart, &format!("/spec/{field}"));
    let flag = |field: &str| chart.pointer(&format!("/spec/{field}")).and_then(Value::as_bool) == Some(true);
    if !matches!(spec("helmVersion"), "" | "v3") {
        let version = spec("helmVersion");
        return Err(PlanError::Refused(format!(
            "spec.helmVersion: only v3 charts can be installed, not {version}"
        )));
    }
    let timeout = timeout(chart)?;
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut arguments = vec![
        "upgrade".to_owned(),
        "--install".to_owned(),
        format!("--namespace={namespace}"),
        format!("--timeout={}s", timeout.as_secs().max(1)),
    ];
    let source = source(chart, statics)?;
    let mut before = None;
    let mut offline = None;
    let name = match &source {
        Source::Content(bytes) => {
            files.push(("chart.tgz".to_owned(), bytes.clone()));
            "./chart.tgz".to_owned()
        }
        Source::File(path) => path.display().to_string(),
        Source::Remote { chart: name, repository, file } => {
            if let Some(file) = file {
                offline =
                    Some(fetch_advice(name, repository, spec("version"), &statics.join("charts").join(file)));
            }
            let name = match (repository.is_empty(), spec("authSecret/name")) {
                (true, "") => name.clone(),
                (true, _) => return Err(PlanError::Refused("spec.authSecret needs spec.repo".to_owned())),
                (false, "") => {
                    arguments.push(format!("--repo={repository}"));
                    name.clone()
                }
                (false, secret) => {
                    let entry = repository_entry(chart, repository, secret, found)?;
                    files.push(("repositories.yaml".to_owned(), entry));
                    before = Some(["repo", "update", REPOSITORY].map(str::to_owned).to_vec());
                    format!("{REPOSITORY}/{name}")
                }
            };
            if !spec("version").is_empty() {
                arguments.push(format!("--version={}", spec("version")));
            }
            name
        }
    };
    if let Some(pem) = authorities(chart, found)? {
        files.push(("ca.pem".to_owned(), pem.into_bytes()));
        arguments.push("--ca-file=ca.pem".to_owned());
    }
    let registry = spec("dockerRegistrySecret/name");
    if !registry.is_empty() {
        files.push(("registry.json".to_owned(), secret_key(found, registry, ".dockerconfigjson")?));
    }
    let flags = [
        ("createNamespace", "--create-namespace"),
        ("takeOwnership", "--take-ownership"),
        ("insecureSkipTLSVerify", "--insecure-skip-tls-verify"),
        ("plainHTTP", "--plain-http"),
    ];
    arguments.extend(flags.iter().filter(|(field, _)| flag(field)).map(|(_, option)| (*option).to_owned()));
    let forced = |spec: &&Value| spec.get("forceConflicts").and_then(Value::as_bool) == Some(true);
    if specs(chart, config).iter().any(forced) {
        arguments.push("--force-conflicts".to_owned());
    }
    if !spec("serverSide").is_empty() {
        arguments.push(format!("--server-side={}", spec("serverSide")));
    }
    // What does not count for the digest.
    let mut ignored = Vec::new();
    for spec in specs(chart, config) {
        for bytes in values(spec, found, &mut ignored)? {
            let file = format!("values-{:03}.yaml", files.len());
            arguments.push(format!("--values={file}"));
            files.push((file, bytes));
        }
    }
    arguments.extend(set(chart));
    arguments.extend([release.clone(), name]);
    let policy = specs(chart, config).iter().rev().find_map(|spec| spec.get("failurePolicy")?.as_str());
    let policy = match policy {
        Some("abort") => Policy::Abort,
        Some("retry") => Policy::Retry,
        _ => Policy::Reinstall,
    };
    let no_pod = ["jobImage", "podSecurityContext", "securityContext"];
    let given =
        |field: &&str| chart.pointer(&format!("/spec/{field}")).is_some_and(|v| !v.is_null() && v != "");
    let notes = no_pod
        .iter()
        .filter(|field| given(field))
        .map(|field| format!("spec.{field} says nothing here, since helm runs in no pod"));
    Ok(Plan {
        hash: hash(chart, config, found, &ignored),
        follows_others: needs(chart, config) != Needs::default(),
        notes: notes.collect(),
        attempts: chart
            .pointer("/spec/backOffLimit")
            .and_then(Value::as_u64)
            .and_then(|limit| u32::try_from(limit).ok())
            .unwrap_or(DEFAULT_ATTEMPTS),
        driver: driver(chart),
        release,
        namespace,
        files,
        before,
        arguments,
        timeout,
        policy,
        offline,
    })
}

/// Where a chart comes from.
enum Source {
    Content(Vec<u8>),
    File(PathBuf),
    Remote {
        chart: String,
        repository: String,
        /// The name that it would have in the folder of charts.
        file: Option<String>,
    },
}

fn source(chart: &Value, statics: &Path) -> Result<Source, PlanError> {
    let refused = |text: String| Err(PlanError::Refused(text));
    let content = text(chart, "/spec/chartContent");
    if !content.is_empty() {
        let plain: String = content.split_whitespace().collect();
        return match STANDARD.decode(plain) {
            Ok(bytes) => Ok(Source::Content(bytes)),
            Err(error) => refused(format!("spec.chartContent is no base64: {error}")),
        };
    }
    let (name, version, repository) =
        (text(chart, "/spec/chart"), text(chart, "/spec/version"), text(chart, "/spec/repo"));
    if name.is_empty() {
        return refused("neither spec.chart nor spec.chartContent is given".to_owned());
    }
    if name.starts_with('-') || version.starts_with('-') {
        return refused("spec.chart and spec.version cannot begin with -".to_owned());
    }
    let is_url = |text: &str| ["https://", "http://"].iter().any(|scheme| text.starts_with(scheme));
    if let Some(path) = name.strip_prefix(STATIC) {
        return in_folder(statics, path).map(Source::File);
    }
    let last = name.rsplit('/').next().unwrap_or(name);
    let folder = statics.join("charts");
    let file = match (last.ends_with(".tgz"), version) {
        (true, _) => Some(last.to_owned()),
        (false, "") => None,
        (false, version) => Some(format!("{last}-{version}.tgz")),
    };
    if let Some(path) = file.as_ref().map(|file| folder.join(file)).filter(|path| path.is_file()) {
        return Ok(Source::File(path));
    }
    let remote =
        Source::Remote { chart: name.to_owned(), repository: repository.to_owned(), file: file.clone() };
    match (repository, is_url(name) || name.starts_with("oci://")) {
        ("", true) => Ok(remote),
        ("", false) if name.contains('/') => {
            refused(format!("spec.chart {name:?} is neither a URL nor a file of {}", folder.display()))
        }
        ("", false) if file.is_none() => refused(format!(
            "spec.chart {name:?} needs spec.repo, or spec.version and a file in {}",
            folder.display()
        )),
        ("", false) => {
            let path = folder.join(file.unwrap_or_default());
            Err(PlanError::Missing(format!(
                "spec.chart {name:?} has no spec.repo, and there is no {}",
                path.display()
            )))
        }
        (_, true) => refused(format!("spec.chart {name:?} is a URL, which needs no spec.repo")),
        (repository, false) if is_url(repository) && !name.contains("..") => Ok(remote),
        (repository, false) => refused(format!(
            "spec.repo {repository:?} is no https URL; charts of a registry are named by spec.chart alone, oci://..."
        )),
    }
}

/// A file of the folder of static files, which must be there.
fn in_folder(statics: &Path, path: &str) -> Result<PathBuf, PlanError> {
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    let file = statics.join(path);
    match (plain && !path.is_empty(), file.is_file()) {
        (false, _) => {
            Err(PlanError::Refused(format!("spec.chart: {path:?} is no path below {}", statics.display())))
        }
        (true, false) => Err(PlanError::Missing(format!("there is no {}", file.display()))),
        (true, true) => Ok(file),
    }
}

fn fetch_advice(chart: &str, repository: &str, version: &str, file: &Path) -> String {
    let repository = if repository.is_empty() { String::new() } else { format!(" --repo {repository}") };
    let version = if version.is_empty() { String::new() } else { format!(" --version {version}") };
    format!(
        "without a network, fetch the chart elsewhere by `helm pull {chart}{repository}{version}` and put it at {} of \
         every control-plane node",
        file.display()
    )
}

/// helm's file of repositories, so that passwords are on no command line. JSON is YAML.
fn repository_entry(chart: &Value, url: &str, secret: &str, found: &Found) -> Result<Vec<u8>, PlanError> {
    let part = |key: &str| {
        let bytes = secret_key(found, secret, key)?;
        String::from_utf8(bytes).map_err(|_| PlanError::Missing(format!("Secret {secret}: {key} is no text")))
    };
    let flag =
        |field: &str| chart.pointer(&format!("/spec/{field}")).and_then(Value::as_bool).unwrap_or(false);
    let trusted = authorities(chart, found)?.is_some();
    let file = serde_json::json!({"apiVersion": "", "generated": "0001-01-01T00:00:00Z", "repositories": [{
        "name": REPOSITORY, "url": url, "username": part("username")?, "password": part("password")?,
        "caFile": if trusted { "ca.pem" } else { "" }, "certFile": "", "keyFile": "",
        "insecure_skip_tls_verify": flag("insecureSkipTLSVerify"),
        "pass_credentials_all": flag("authPassCredentials"),
    }]});
    Ok(file.to_string().into_bytes())
}

fn authorities(chart: &Value, found: &Found) -> Result<Option<String>, PlanError> {
    let mut pem = text(chart, "/spec/repoCA").to_owned();
    let name = text(chart, "/spec/repoCAConfigMap/name");
    if !name.is_empty() {
        let map = found.config_map.as_ref().ok_or_else(|| {
            PlanError::Missing(format!("spec.repoCAConfigMap: there is no ConfigMap {name}"))
        })?;
        for value in map.values() {
            pem.push('\n');
            pem.push_str(value);
        }
    }
    Ok((!pem.trim().is_empty()).then_some(pem))
}

fn secret_key(found: &Found, name: &str, key: &str) -> Result<Vec<u8>, PlanError> {
    let secret =
        found.secrets.get(name).ok_or_else(|| PlanError::Missing(format!("there is no Secret {name}")))?;
    secret.get(key).cloned().ok_or_else(|| PlanError::Missing(format!("Secret {name} has no {key}")))
}

/// The values of one object, those that count most last. Secrets whose changes are to be ignored go into `ignored`.
fn values(spec: &Value, found: &Found, ignored: &mut Vec<String>) -> Result<Vec<Vec<u8>>, PlanError> {
    let mut all = Vec::new();
    let content = text(spec, "/valuesContent");
    if !content.trim().is_empty() {
        all.push(content.as_bytes().to_vec());
    }
    if let Some(values) = spec.get("values").filter(|values| !values.is_null()) {
        if !values.is_object() {
            return Err(PlanError::Refused("spec.values is no object".to_owned()));
        }
        all.push(values.to_string().into_bytes());
    }
    let secrets = spec.get("valuesSecrets").and_then(Value::as_array);
    for secret in secrets.into_iter().flatten() {
        let name = text(secret, "/name");
        let optional = secret.get("ignoreUpdates").and_then(Value::as_bool) == Some(true);
        if optional {
            ignored.push(name.to_owned());
        }
        let keys = secret.get("keys").and_then(Value::as_array);
        for key in keys.into_iter().flatten().filter_map(Value::as_str) {
            match secret_key(found, name, key) {
                Ok(bytes) => all.push(bytes),
                Err(_) if optional => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(all)
}

/// Single values. Commas separate nothing, as with k3s; numbers, true, false and null are what they look like.
fn set(chart: &Value) -> Vec<String> {
    let entries = chart.pointer("/spec/set").and_then(Value::as_object);
    let one = |(key, value): (&String, &Value)| match value {
        Value::String(text) if !matches!(text.as_str(), "true" | "false" | "null") => {
            format!("--set-string={key}={}", escape_commas(text))
        }
        Value::String(text) => format!("--set={key}={text}"),
        other => format!("--set={key}={other}"),
    };
    entries.into_iter().flatten().map(one).collect()
}

fn escape_commas(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut backslashes = 0;
    for char in text.chars() {
        if char == ',' && backslashes % 2 == 0 {
            escaped.push('\\');
        }
        backslashes = if char == '\\' { backslashes + 1 } else { 0 };
        escaped.push(char);
    }
    escaped
}

fn hash(chart: &Value, config: Option<&Value>, found: &Found, ignored: &[String]) -> String {
    let secrets: BTreeMap<_, _> = found.secrets.iter().filter(|(name, _)| !ignored.contains(name)).collect();
    let all = serde_json::json!([specs(chart, config), secrets, found.config_map]);
    digest(&SHA256, all.to_string().as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The specs, that which counts most last.
fn specs<'a>(chart: &'a Value, config: Option<&'a Value>) -> Vec<&'a Value> {
    std::iter::once(chart).chain(config).filter_map(|object| object.get("spec")).collect()
}

fn values_secrets(spec: &Value) -> impl Iterator<Item = (&str, bool)> {
    let secrets = spec.get("valuesSecrets").and_then(Value::as_array);
    secrets.into_iter().flatten().map(|secret| {
        (text(secret, "/name"), secret.get("ignoreUpdates").and_then(Value::as_bool) == Some(true))
    })
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
