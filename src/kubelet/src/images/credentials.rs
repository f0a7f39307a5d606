//! Registry credentials from pull secrets. Pure.

use super::reference::registry;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_cri::v1::AuthConfig;
use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A user of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
    /// OAuth2 identity token, instead of a password.
    pub identity_token: String,
    /// Bearer token, instead of both.
    pub registry_token: String,
}

impl Credentials {
    /// As CRI wants them.
    pub fn to_auth(&self) -> AuthConfig {
        AuthConfig {
            username: self.username.clone(),
            password: self.password.clone(),
            identity_token: self.identity_token.clone(),
            registry_token: self.registry_token.clone(),
            ..AuthConfig::default()
        }
    }
}

/// All credentials of a pod, by registry pattern.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    entries: Vec<(Pattern, Credentials)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    host: String,
    port: Option<String>,
    path: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DockerConfig {
    auths: BTreeMap<String, DockerEntry>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DockerEntry {
    username: String,
    password: String,
    auth: String,
    identitytoken: String,
    registrytoken: String,
}

impl Keyring {
    /// Reads `kubernetes.io/dockerconfigjson` and the older `kubernetes.io/dockercfg` secrets; others and
    /// unreadable ones are skipped, as a wrong secret must not keep public images from being pulled.
    pub fn from_secrets<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut entries = Vec::new();
        for secret in secrets {
            let data = |key: &str| {
                secret.data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.as_slice())
            };
            let auths = match secret.type_.as_deref() {
                Some("kubernetes.io/dockerconfigjson") => data(".dockerconfigjson")
                    .and_then(|bytes| serde_json::from_slice::<DockerConfig>(bytes).ok())
                    .map(|config| config.auths),
                Some("kubernetes.io/dockercfg") => {
                    data(".dockercfg").and_then(|bytes| serde_json::from_slice(bytes).ok())
                }
                _ => None,
            };
            for (key, entry) in auths.unwrap_or_default() {
                entries.push((Pattern::parse(&key), entry.into()));
            }
        }
        // The most specific first.
        entries.sort_by_key(|(pattern, _): &(Pattern, Credentials)| {
            std::cmp::Reverse((pattern.path.len(), pattern.port.is_some(), !pattern.host.contains('*')))
        });
        Self { entries }
    }

    /// Whose credentials may be tried for an image, in order.
    pub fn lookup(&self, image: &str) -> Vec<&Credentials> {
        let registry = registry(image);
        let path = image.strip_prefix(registry).map_or(image, |rest| rest.trim_start_matches('/'));
        let mut found: Vec<&Credentials> = Vec::new();
        for (pattern, credentials) in &self.entries {
            if pattern.matches(registry, path) && !found.contains(&credentials) {
                found.push(credentials);
            }
        }
        found
    }
}

impl From<DockerEntry> for Credentials {
    fn from(entry: DockerEntry) -> Self {
        let decoded = STANDARD.decode(entry.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
        let (username, password) = match pair {
            Some((user, password)) if entry.username.is_empty() => {
                (user.to_owned(), password.trim_end_matches('\0').to_owned())
            }
            _ => (entry.username, entry.password),
        };
        Self { username, password, identity_token: entry.identitytoken, registry_token: entry.registrytoken }
    }
}

impl Pattern {
    fn parse(key: &str) -> Self {
        let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
        let (authority, path) = bare.split_once('/').unwrap_or((bare, ""));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (host, Some(port.to_owned())),
            _ => (authority, None),
        };
        let mut path = path.trim_matches('/');
        // What `docker login` writes for the registry itself.
        if matches!(path, "v1" | "v2") {
            path = "";
        }
        let host =
            if matches!(host, "index.docker.io" | "registry-1.docker.io") { "docker.io" } else { host };
        Self { host: host.to_owned(), port, path: path.to_owned() }
    }

    fn matches(&self, registry: &str, path: &str) -> bool {
        let (host, port) = match registry.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (registry, None),
        };
        let host = if host == "index.docker.io" { "docker.io" } else { host };
        self.host_matches(host) && self.port.as_deref() == port && path.starts_with(&self.path)
    }

    /// `*` stands for (a part of) one label.
    fn host_matches(&self, host: &str) -> bool {
        let (pattern, labels): (Vec<&str>, Vec<&str>) =
            (self.host.split('.').collect(), host.split('.').collect());
        pattern.len() == labels.len()
            && pattern.iter().zip(labels).all(|(pattern, label)| glob(pattern, label))
    }
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|rest| glob(after, rest)))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn keyring(auths: serde_json::Value) -> Keyring {
        let config = STANDARD.encode(json!({ "auths": auths }).to_string());
        let secret: Secret =
            serde_json::from_value(json!({"metadata": {}, "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": config}}))
            .unwrap();
        Keyring::from_secrets([&secret])
    }

    #[test]
    fn the_most_specific_credentials_come_first() {
        let auth = |user: &str| json!({"auth": STANDARD.encode(format!("{user}:secret"))});
        let keyring = keyring(
            json!({"registry.example:5000": auth("general"), "registry.example:5000/team": auth("team"),
            "https://index.docker.io/v1/": auth("hub"), "*.corp.example": auth("wild")}),
        );
        let users = |image: &str| -> Vec<String> {
            keyring.lookup(image).into_iter().map(|credentials| credentials.username.clone()).collect()
        };
        assert_eq!(users("registry.example:5000/team/app:1"), ["team", "general"]);
        assert_eq!(users("registry.example:5000/other"), ["general"]);
        assert_eq!(users("nginx"), ["hub"]);
        assert_eq!(users("a.corp.example/x"), ["wild"]);
        assert!(users("a.b.corp.example/x").is_empty());
        assert_eq!(keyring.lookup("nginx")[0].password, "secret");
    }
}
