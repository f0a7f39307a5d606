//! Which resource has which providers, and reading the file again when it changes.

use super::configuration::{self, ConfigurationError, invalid};
use super::kms::Kms;
use super::providers::Providers;
use bytes::Bytes;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;
use storage::{Sealer, StorageError};

/// How often the file is looked at (upstream's interval).
const RELOAD_INTERVAL: Duration = Duration::from_secs(60);

/// Encryption at rest as a file configures it.
pub struct Encryption {
    path: Option<PathBuf>,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    text: String,
    table: Arc<Table>,
}

/// Providers by resource: `secrets`, `deployments.apps`, `*.apps`, `*.` for the core group, `*.*`.
#[derive(Default)]
struct Table(BTreeMap<String, Providers>);

impl Encryption {
    /// Reads a file. [`Encryption::watch`] follows its changes.
    ///
    /// # Errors
    /// When it cannot be read or says something that cannot be done.
    pub async fn load(path: &Path) -> Result<Arc<Self>, ConfigurationError> {
        let encryption = Self { path: Some(path.to_owned()), state: RwLock::default() };
        encryption.reload().await?;
        Ok(Arc::new(encryption))
    }

    /// Takes a configuration as text.
    ///
    /// # Errors
    /// When it says something that cannot be done.
    pub async fn from_text(text: &str) -> Result<Arc<Self>, ConfigurationError> {
        let encryption = Self { path: None, state: RwLock::default() };
        encryption.apply(text).await?;
        Ok(Arc::new(encryption))
    }

    /// Reads the file again. What it said before holds when it is wrong now. Returns whether it has changed.
    ///
    /// # Errors
    /// When it cannot be read or says something that cannot be done.
    pub async fn reload(&self) -> Result<bool, ConfigurationError> {
        let Some(path) = self.path.clone() else { return Ok(false) };
        let text = configuration::read(&path)?;
        if text == self.state.read().text {
            return Ok(false);
        }
        self.apply(&text).await?;
        Ok(true)
    }

    /// Goes by another configuration from now on.
    ///
    /// # Errors
    /// When it says something that cannot be done.
    pub async fn apply(&self, text: &str) -> Result<(), ConfigurationError> {
        let table = Table::new(text).await?;
        *self.state.write() = State { text: text.to_owned(), table: Arc::new(table) };
        Ok(())
    }

    /// Reads the file again every minute for as long as the encryption is in use.
    pub async fn watch(this: Weak<Self>) {
        let mut ticks =
            tokio::time::interval_at(tokio::time::Instant::now() + RELOAD_INTERVAL, RELOAD_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(encryption) = this.upgrade() else { return };
            match encryption.reload().await {
                Ok(true) => tracing::info!("the encryption provider configuration has changed"),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%error, "the encryption provider configuration is not usable; the one before holds");
                }
            }
        }
    }

    /// Whether all KMS plugins answer as they should; `None` when there are none.
    pub async fn plugins_are_fine(&self) -> Option<bool> {
        let table = self.table();
        // One that several resources share is asked once.
        let mut plugins: Vec<&Arc<Kms>> = table.0.values().flat_map(Providers::plugins).collect();
        plugins.sort_by_key(|kms| Arc::as_ptr(kms));
        plugins.dedup_by_key(|kms| Arc::as_ptr(kms));
        if plugins.is_empty() {
            return None;
        }
        let all = futures::future::join_all(plugins.iter().map(|kms| kms.is_fine())).await;
        Some(all.iter().all(|fine| *fine))
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.state.read().table)
    }
}

impl Table {
    async fn new(text: &str) -> Result<Self, ConfigurationError> {
        let mut table = Self::default();
        for (n, entry) in configuration::parse(text)?.resources.iter().enumerate() {
            let at = format!("resources[{n}]");
            if entry.resources.is_empty() {
                return Err(invalid(
                    format!("{at}.resources"),
                    "Required value: at least one resource is needed",
                ));
            }
            let providers = Providers::new(&entry.providers, &at).await?;
            for (m, name) in entry.resources.iter().enumerate() {
                check_name(name, &format!("{at}.resources[{m}]"))?;
                table.0.entry(name.clone()).or_default().extend(providers.clone());
            }
        }
        Ok(table)
    }

    /// The providers of the resource of a key; the nearest entry holds.
    fn of(&self, key: &str) -> Option<&Providers> {
        if self.0.is_empty() {
            return None;
        }
        let mut segments = key.split('/').skip(2);
        let (group, resource) = (segments.next()?, segments.next()?);
        let group = if group == "core" { "" } else { group };
        let exact = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        self.0.get(&exact).or_else(|| self.0.get(&format!("*.{group}"))).or_else(|| self.0.get("*.*"))
    }
}

fn check_name(name: &str, at: &str) -> Result<(), ConfigurationError> {
    let (resource, group) = name.split_once('.').unwrap_or((name, ""));
    if name.is_empty() || name != name.to_lowercase() || resource.is_empty() {
        return Err(invalid(at, format!("Invalid value: {name:?}: resources are lower case and not empty")));
    }
    if name == "*" || (resource != "*" && resource.contains('*')) || (group.contains('*') && name != "*.*") {
        return Err(invalid(
            at,
            format!("Invalid value: {name:?}: use '*.' for all of the core group, '*.GROUP' or '*.*'"),
        ));
    }
    if matches!(group, "events.k8s.io") {
        return Err(invalid(at, "Invalid value: events are stored as events of the core group"));
    }
    if resource.contains('/') {
        return Err(invalid(at, format!("Invalid value: {name:?}: subresources are not stored")));
    }
    Ok(())
}

impl Sealer for Encryption {
    fn seal(&self, key: &str, object: &Bytes) -> Result<Option<Bytes>, StorageError> {
        self.table().of(key).map_or(Ok(None), |providers| providers.seal(key, object))
    }

    fn open(&self, key: &str, stored: &Bytes) -> Result<Bytes, StorageError> {
        match self.table().of(key) {
            Some(providers) => providers.open(key, stored),
            None => Providers::default().open(key, stored),
        }
    }

    fn is_stale(&self, key: &str, stored: &Bytes) -> bool {
        self.table().of(key).is_some_and(|providers| providers.is_stale(stored))
    }

    fn covers(&self, key: &str) -> bool {
        self.table().of(key).is_some()
    }
}

impl std::fmt::Debug for Encryption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encryption").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    fn configuration(resources: &str) -> String {
        format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n{resources}"
        )
    }

    async fn error(resources: &str) -> String {
        Encryption::from_text(&configuration(resources)).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn the_nearest_entry_of_a_resource_holds() {
        let text = configuration(&format!(
            "- resources: [configmaps]\n  providers: [{{identity: {{}}}}]\n\
             - resources: ['*.apps']\n  providers: [{{aesgcm: {{keys: [{{name: a, secret: {KEY}}}]}}}}]\n\
             - resources: ['*.']\n  providers: [{{secretbox: {{keys: [{{name: b, secret: {KEY}}}]}}}}]\n\
             - resources: ['*.*']\n  providers: [{{aescbc: {{keys: [{{name: c, secret: {KEY}}}]}}}}]\n"
        ));
        let encryption = Encryption::from_text(&text).await.unwrap();
        let object = Bytes::from_static(b"{}");
        for (key, prefix) in [
            ("/registry/core/configmaps/a/b", None),
            ("/registry/core/secrets/a/b", Some("k8s:enc:secretbox:v1:b:")),
            ("/registry/apps/deployments/a/b", Some("k8s:enc:aesgcm:v1:a:")),
            ("/registry/batch/jobs/a/b", Some("k8s:enc:aescbc:v1:c:")),
        ] {
            let stored = encryption.seal(key, &object).unwrap();
            match (&stored, prefix) {
                (None, None) => assert!(!encryption.is_stale(key, &object)),
                (Some(stored), Some(prefix)) => {
                    assert!(stored.starts_with(prefix.as_bytes()), "{key}");
                    assert_eq!(encryption.open(key, stored).unwrap(), object);
                    assert!(!encryption.is_stale(key, stored));
                    assert!(encryption.is_stale(key, &object));
                }
                _ => panic!("{key}: {stored:?}"),
            }
        }
    }

    #[tokio::test]
    async fn what_no_provider_can_read_is_an_error_that_says_so() {
        let one = |name: &str| {
            configuration(&format!(
                "- resources: [secrets]\n  providers:\n  - identity: {{}}\n  - aesgcm: {{keys: [{{name: {name}, secret: {KEY}}}]}}\n"
            ))
        };
        let other = one("b");
        let encryption = Encryption::from_text(&one("a")).await.unwrap();
        let key = "/registry/core/secrets/a/b";
        let stored = Bytes::from_static(b"k8s:enc:aesgcm:v1:b:xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
        let error = encryption.open(key, &stored).unwrap_err().to_string();
        assert!(error.contains("no matching prefix found"), "{error}");
        encryption.apply(&other).await.unwrap();
        let error = encryption.open(key, &stored).unwrap_err().to_string();
        assert!(error.contains("cannot be decrypted"), "{error}");
    }

    #[tokio::test]
    async fn mistakes_are_told_by_field() {
        for (resources, told) in [
            ("", "resources: Required value"),
            ("- resources: [secrets]\n", "resources[0].providers: Required value"),
            ("- providers: [{identity: {}}]\n", "resources[0].resources: Required value"),
            ("- resources: [secrets]\n  providers: [{}]\n", "exactly one of"),
            ("- resources: ['*']\n  providers: [{identity: {}}]\n", "use '*.' for all of the core group"),
            ("- resources: [Secrets]\n  providers: [{identity: {}}]\n", "lower case"),
            (
                "- resources: [secrets]\n  providers: [{secretbox: {keys: [{name: a, secret: AAAA}]}}]\n",
                "resources[0].providers[0].secretbox.keys[0].secret: Invalid value: expected 32 bytes, got 3",
            ),
            (
                "- resources: [secrets]\n  providers: [{aescbc: {keys: [{name: a, secret: '?'}]}}]\n",
                "it is no base64",
            ),
            ("- resources: [secrets]\n  providers: [{aescbcc: {keys: []}}]\n", "not valid"),
        ] {
            let error = error(resources).await;
            assert!(error.contains(told), "{resources}: {error}");
        }
    }

    #[tokio::test]
    async fn a_new_configuration_is_one() {
        let encryption = Encryption::from_text(&super::super::new_configuration()).await.unwrap();
        assert!(encryption.covers("/registry/core/secrets/a/b"));
        assert!(!encryption.covers("/registry/core/configmaps/a/b"));
    }
}
