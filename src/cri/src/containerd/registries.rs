//! `registries.yaml` (k3s' format): mirrors and credentials of image registries.
//!
//! ```yaml
//! mirrors:
//!   docker.io:                              # "*" stands for every registry
//!     endpoint: ["https://mirror.example:5000"]
//!     rewrite: {"^(.*)$": "proxy/$1"}       # only the form that puts a prefix in front
//! configs:
//!   "mirror.example:5000":
//!     auth: {username: u, password: p}      # or auth: BASE64, or identity_token: T
//!     tls: {ca_file: F, cert_file: F, key_file: F, insecure_skip_verify: true}
//! ```
//!
//! Mirrors and TLS become `hosts.toml` files, which containerd reads at every pull; credentials go into
//! its own configuration, which it reads at start.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use apimachinery::decode;
use serde::Deserialize;
use serde_json::Value;

use super::error::ContainerdError;
use super::toml::quoted;

/// First line of every file we write, and how we know it again: files without it belong to the user.
const GENERATED: &str = "# Written by knarr from registries.yaml: changes here are lost.";

/// The registry in the name of Knarr's own image. There is none: the image is imported.
const OWN_REGISTRY: &str = "knarr.local";
/// Where nobody listens (the discard port), so that a pull of our own image fails at once, and is tried again,
/// instead of looking the name up on a network.
const NOWHERE: &str = "http://127.0.0.1:9";

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registries {
    /// By registry name as it appears in image references.
    #[serde(default)]
    pub mirrors: BTreeMap<String, Option<Mirror>>,
    /// By host[:port] of a registry or mirror.
    #[serde(default)]
    pub configs: BTreeMap<String, RegistryConfig>,
}

/// Where else to look for a registry's images.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// URLs, tried in order; then the registry itself.
    #[serde(default, alias = "endpoints")]
    pub endpoint: Vec<String>,
    /// Regular expression to replacement of the repository's name.
    #[serde(default)]
    pub rewrite: BTreeMap<String, String>,
}

/// How to talk to a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryConfig {
    /// Credentials.
    pub auth: Option<Auth>,
    /// Certificates.
    pub tls: Option<Tls>,
}

/// Credentials of a host.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// User.
    #[serde(default)]
    pub username: String,
    /// Password.
    #[serde(default)]
    pub password: String,
    /// Base64 of `user:password`.
    #[serde(default)]
    pub auth: String,
    /// Refresh token.
    #[serde(default)]
    pub identity_token: String,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Auth").field("username", &self.username).finish_non_exhaustive()
    }
}

/// TLS of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM file of CAs.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client's certificate.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// PEM file of the client's key.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// Accept any certificate.
    #[serde(default)]
    pub insecure_skip_verify: bool,
}

impl Registries {
    /// Reads the file; none is the same as an empty one.
    pub fn load(path: &Path) -> Result<Self, ContainerdError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(ContainerdError::file(path)(error)),
        };
        let invalid = |message| ContainerdError::Registries { path: path.to_owned(), message };
        let registries = Self::parse(&text).map_err(invalid)?;
        registries.check().map_err(invalid)?;
        Ok(registries)
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        let mut tree = decode::yaml(text.as_bytes()).map_err(|error| error.to_string())?.value;
        // A part or a host with nothing behind it is as good as none. A mirror is not: it keeps `*` away.
        leave_out_nulls(Some(&mut tree));
        leave_out_nulls(tree.get_mut("configs"));
        serde_json::from_value(tree).map_err(|error| error.to_string())
    }

    fn check(&self) -> Result<(), String> {
        for (name, mirror) in &self.mirrors {
            let Some(mirror) = mirror else { continue };
            for (pattern, replacement) in &mirror.rewrite {
                prefix_of_rewrite(pattern, replacement)
                    .map_err(|message| format!("mirrors.{name}.rewrite: {message}"))?;
            }
            if mirror.rewrite.len() > 1 {
                return Err(format!("mirrors.{name}.rewrite: at most one rewrite can be given"));
            }
            for endpoint in &mirror.endpoint {
                endpoint_url(endpoint).map_err(|message| format!("mirrors.{name}.endpoint: {message}"))?;
            }
        }
        Ok(())
    }

    /// Contents of `hosts.toml` by directory name below `certs.d`.
    pub fn hosts_files(&self) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        files.insert(OWN_REGISTRY.to_owned(), format!("{GENERATED}\nserver = {}\n", quoted(NOWHERE)));
        for (name, mirror) in &self.mirrors {
            let mirror = mirror.clone().unwrap_or_default();
            files.insert(directory_name(name), self.hosts_file(name, &mirror));
        }
        // Hosts with certificates of their own but without mirrors.
        for (host, config) in &self.configs {
            if config.tls.is_some() && !self.mirrors.contains_key(host) {
                files.insert(directory_name(host), self.hosts_file(host, &Mirror::default()));
            }
        }
        files
    }

    fn hosts_file(&self, name: &str, mirror: &Mirror) -> String {
        let mut text = format!("{GENERATED}\n");
        // Keys outside a table belong to the registry itself and must come first.
        if let Some(tls) = self.configs.get(name).and_then(|config| config.tls.as_ref()) {
            // The one registry whose name in references is not its host.
            let host = if name == "docker.io" { "registry-1.docker.io" } else { name };
            let _ = writeln!(text, "server = {}", quoted(&format!("https://{host}")));
            write_tls(&mut text, tls, "");
        }
        let prefix = mirror
            .rewrite
            .iter()
            .find_map(|(pattern, replacement)| prefix_of_rewrite(pattern, replacement).ok())
            .unwrap_or_default();
        for endpoint in &mirror.endpoint {
            let Ok(url) = endpoint_url(endpoint) else { continue };
            let (base, overridden) = mirror_url(&url, &prefix);
            let _ = writeln!(text, "\n[host.{}]", quoted(&base));
            text.push_str("  capabilities = [\"pull\", \"resolve\"]\n");
            if overridden {
                text.push_str("  override_path = true\n");
            }
            if let Some(tls) = self.configs.get(host_of(&url)).and_then(|config| config.tls.as_ref()) {
                write_tls(&mut text, tls, "  ");
            }
        }
        text
    }

    /// Writes the `hosts.toml` files below `directory`, and removes ours that are no longer wanted.
    pub fn write_hosts(&self, directory: &Path) -> Result<(), ContainerdError> {
        std::fs::create_dir_all(directory).map_err(ContainerdError::file(directory))?;
        let files = self.hosts_files();
        let entries = std::fs::read_dir(directory).map_err(ContainerdError::file(directory))?;
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path().join("hosts.toml");
            if !files.contains_key(&name) && is_ours(&path) {
                let _ = std::fs::remove_file(&path);
                let _ = std::fs::remove_dir(entry.path());
            }
        }
        for (name, text) in files {
            let parent = directory.join(&name);
            let path = parent.join("hosts.toml");
            if path.exists() && !is_ours(&path) {
                tracing::warn!(path = %path.display(), "left alone: not written by knarr");
                continue;
            }
            std::fs::create_dir_all(&parent).map_err(ContainerdError::file(&parent))?;
            super::toml::write_if_changed(&path, &text)?;
        }
        Ok(())
    }
}

/// Writes somebody's `hosts.toml` of a registry below `directory`; it is theirs from then on.
///
/// # Errors
/// When it cannot be written.
pub fn write_given(directory: &Path, registry: &str, text: &str) -> Result<(), ContainerdError> {
    let parent = directory.join(directory_name(registry));
    std::fs::create_dir_all(&parent).map_err(ContainerdError::file(&parent))?;
    super::toml::write_if_changed(&parent.join("hosts.toml"), text).map(drop)
}

fn is_ours(path: &Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text.starts_with(GENERATED))
}

/// containerd looks `*` up as `_default`.
fn directory_name(registry: &str) -> String {
    if registry == "*" { "_default".to_owned() } else { registry.replace('/', "_") }
}

fn write_tls(text: &mut String, tls: &Tls, indent: &str) {
    if let Some(ca) = &tls.ca_file {
        let _ = writeln!(text, "{indent}ca = {}", quoted(&ca.to_string_lossy()));
    }
    match (&tls.cert_file, &tls.key_file) {
        (Some(cert), Some(key)) => {
            let (cert, key) = (quoted(&cert.to_string_lossy()), quoted(&key.to_string_lossy()));
            let _ = writeln!(text, "{indent}client = [[{cert}, {key}]]");
        }
        (Some(cert), None) => {
            let _ = writeln!(text, "{indent}client = {}", quoted(&cert.to_string_lossy()));
        }
        _ => {}
    }
    if tls.insecure_skip_verify {
        let _ = writeln!(text, "{indent}skip_verify = true");
    }
}

/// An endpoint with its scheme: https unless it says otherwise, as in k3s.
fn endpoint_url(endpoint: &str) -> Result<String, String> {
    let url = match endpoint.split_once("://") {
        Some(("http" | "https", _)) => endpoint.to_owned(),
        Some((scheme, _)) => return Err(format!("{endpoint:?}: unsupported scheme {scheme:?}")),
        None => format!("https://{endpoint}"),
    };
    if host_of(&url).is_empty() {
        return Err(format!("{endpoint:?} has no host"));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

/// The URL for `[host.URL]`, and whether containerd must not put `/v2` into it. Endpoints that end in
/// `/v2` (k3s accepts them) mean the same as those that do not.
fn mirror_url(url: &str, prefix: &str) -> (String, bool) {
    let host_end = url.find("://").map_or(0, |at| at + 3) + host_of(url).len();
    let (host, path) = url.split_at(host_end);
    let path = path.trim_matches('/');
    if prefix.is_empty() && (path.is_empty() || path == "v2") {
        return (host.to_owned(), false);
    }
    // The registry API begins at /v2; a path that has it elsewhere is taken as it stands.
    let mut full = match path {
        "" | "v2" => "v2".to_owned(),
        path => path.to_owned(),
    };
    if !prefix.is_empty() {
        full.push('/');
        full.push_str(prefix);
    }
    (format!("{host}/{full}"), true)
}

/// containerd cannot rewrite repository names; what it can do is to put a path in front of them. That is
/// what nearly every rewrite does; others are refused rather than ignored.
fn prefix_of_rewrite(pattern: &str, replacement: &str) -> Result<String, String> {
    let everything = matches!(pattern, "(.*)" | "^(.*)" | "(.*)$" | "^(.*)$" | "^(.+)$" | "(.+)");
    let prefix =
        replacement.strip_suffix("/$1").or_else(|| replacement.strip_suffix("/${1}")).unwrap_or_default();
    if everything && !prefix.is_empty() && !prefix.contains('$') {
        return Ok(prefix.trim_matches('/').to_owned());
    }
    Err(format!(
        "{pattern:?}: {replacement:?} cannot be done by this container runtime; \
         only \"^(.*)$\": \"PREFIX/$1\" can"
    ))
}

fn leave_out_nulls(map: Option<&mut Value>) {
    if let Some(map) = map.and_then(Value::as_object_mut) {
        map.retain(|_, part| !part.is_null());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"
mirrors:
  docker.io:
    endpoint: ["http://127.0.0.1:5000", "mirror.example:5001/v2"]
  "*":
    endpoint: ["https://cache.example"]
    rewrite: {"^(.*)$": "proxy/cache/$1"}
  empty.example:
configs:
  "mirror.example:5001":
    auth: {username: u, password: "p\"q"}
    tls: {ca_file: /ca.pem, cert_file: /c.pem, key_file: /k.pem}
  private.example:
    tls: {insecure_skip_verify: true}
"#;

    #[test]
    fn a_part_with_nothing_behind_it_is_empty() {
        let nothing = Registries::default().hosts_files();
        assert_eq!(Registries::parse("mirrors:\nconfigs:\n").unwrap().hosts_files(), nothing);
        assert_eq!(Registries::parse("configs:\n  a.example:\n").unwrap().hosts_files(), nothing);
    }

    #[test]
    fn mirrors_become_hosts_files() {
        let registries = Registries::parse(EXAMPLE).unwrap();
        registries.check().unwrap();
        let files = registries.hosts_files();
        assert_eq!(
            files["docker.io"],
            format!(
                "{GENERATED}\n\n[host.\"http://127.0.0.1:5000\"]\n  capabilities = [\"pull\", \"resolve\"]\n\
                 \n[host.\"https://mirror.example:5001\"]\n  capabilities = [\"pull\", \"resolve\"]\n  \
                 ca = \"/ca.pem\"\n  client = [[\"/c.pem\", \"/k.pem\"]]\n"
            )
        );
        assert!(files["_default"].contains(
            "[host.\"https://cache.example/v2/proxy/cache\"]\n  capabilities = [\"pull\", \"resolve\"]\n  override_path = true"
        ));
        assert!(
            files["private.example"].contains("server = \"https://private.example\"\nskip_verify = true")
        );
        assert!(files.contains_key("empty.example"));
        assert!(files["knarr.local"].contains("server = \"http://127.0.0.1:9\""));
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_its_place() {
        let text = "mirrors: {a: {endpoint: [http://b], rewrite: {'^x/(.*)': 'y/$1'}}}";
        let message = Registries::parse(text).unwrap().check().unwrap_err();
        assert!(message.starts_with("mirrors.a.rewrite"), "{message}");
        assert!(Registries::parse("mirrors: {a: {endpoint: ['ftp://b']}}").unwrap().check().is_err());
        assert!(Registries::parse("mirror: {}").is_err());
        assert_eq!(Registries::parse("# nothing\n").unwrap(), Registries::default());
    }

    #[test]
    fn files_of_the_user_are_left_alone_and_stale_ones_of_ours_go() {
        let directory = tempfile::tempdir().unwrap();
        let registries = Registries::parse(EXAMPLE).unwrap();
        std::fs::create_dir_all(directory.path().join("docker.io")).unwrap();
        std::fs::write(directory.path().join("docker.io/hosts.toml"), "# mine").unwrap();
        registries.write_hosts(directory.path()).unwrap();
        assert!(directory.path().join("_default/hosts.toml").exists());
        Registries::default().write_hosts(directory.path()).unwrap();
        assert!(!directory.path().join("_default").exists());
        assert_eq!(std::fs::read_to_string(directory.path().join("docker.io/hosts.toml")).unwrap(), "# mine");
    }
}
