//! The providers of a resource: the first writes, all of them read.

use super::ciphers::Cipher;
use super::configuration::{ConfigurationError, Keys, KmsConfiguration, ProviderConfiguration, invalid};
use super::kms::Kms;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use std::sync::Arc;
use storage::StorageError;

/// What every prefix begins with.
const ENCRYPTED: &[u8] = b"k8s:enc:";

/// Keys by prefix. Without any, or before the first, objects are plain.
#[derive(Clone, Default)]
pub(super) struct Providers {
    list: Vec<Provider>,
}

#[derive(Clone)]
enum Provider {
    /// Objects as they are.
    Identity,
    Key(Arc<Keyed>),
    Kms(Arc<Kms>),
}

struct Keyed {
    prefix: Vec<u8>,
    cipher: Cipher,
}

impl Providers {
    /// Reads providers; `at` is where they stand in the configuration.
    pub(super) async fn new(
        configured: &[ProviderConfiguration],
        at: &str,
    ) -> Result<Self, ConfigurationError> {
        let mut providers = Self::default();
        for (n, one) in configured.iter().enumerate() {
            let at = format!("{at}.providers[{n}]");
            providers.add(one, &at)?;
            if let Some(kms) = &one.kms {
                check(kms, &at)?;
                providers.list.push(Provider::Kms(Kms::start(kms).await?));
            }
        }
        if providers.list.is_empty() {
            return Err(invalid(
                format!("{at}.providers"),
                "Required value: at least one provider is needed",
            ));
        }
        Ok(providers)
    }

    /// Adds what another entry says for the same resource.
    pub(super) fn extend(&mut self, more: Self) {
        self.list.extend(more.list);
    }

    fn add(&mut self, one: &ProviderConfiguration, at: &str) -> Result<(), ConfigurationError> {
        let ProviderConfiguration { aesgcm, aescbc, secretbox, identity, kms } = one;
        let count =
            [aesgcm.is_some(), aescbc.is_some(), secretbox.is_some(), identity.is_some(), kms.is_some()];
        if count.iter().filter(|there| **there).count() != 1 {
            let reason =
                "Invalid value: a provider has to be exactly one of identity, aescbc, aesgcm, secretbox, kms";
            return Err(invalid(at, reason));
        }
        if identity.is_some() {
            self.list.push(Provider::Identity);
        }
        if let Some(keys) = aescbc {
            self.keys("aescbc", keys, at, "expected 16, 24 or 32 bytes", |key| {
                Cipher::aes_cbc(key.to_vec())
            })?;
        }
        if let Some(keys) = aesgcm {
            self.keys("aesgcm", keys, at, "expected 16 or 32 bytes", Cipher::aes_gcm)?;
        }
        if let Some(keys) = secretbox {
            self.keys("secretbox", keys, at, "expected 32 bytes", Cipher::secretbox)?;
        }
        Ok(())
    }

    fn keys(
        &mut self,
        kind: &str,
        keys: &Keys,
        at: &str,
        expected: &str,
        cipher: impl Fn(&[u8]) -> Option<Cipher>,
    ) -> Result<(), ConfigurationError> {
        if keys.keys.is_empty() {
            return Err(invalid(format!("{at}.{kind}.keys"), "Required value: at least one key is needed"));
        }
        for (n, key) in keys.keys.iter().enumerate() {
            let at = format!("{at}.{kind}.keys[{n}]");
            if key.name.is_empty() || key.name.contains(':') {
                return Err(invalid(format!("{at}.name"), "Required value: a name without colons"));
            }
            if keys.keys.iter().take(n).any(|other| other.name == key.name) {
                return Err(invalid(format!("{at}.name"), format!("Duplicate value: {:?}", key.name)));
            }
            let secret = STANDARD.decode(key.secret.trim());
            let secret =
                secret.map_err(|_| invalid(format!("{at}.secret"), "Invalid value: it is no base64"))?;
            let cipher = cipher(&secret).ok_or_else(|| {
                invalid(format!("{at}.secret"), format!("Invalid value: {expected}, got {}", secret.len()))
            })?;
            let prefix = format!("k8s:enc:{kind}:v1:{}:", key.name).into_bytes();
            self.list.push(Provider::Key(Arc::new(Keyed { prefix, cipher })));
        }
        Ok(())
    }

    /// The plugins among them.
    pub(super) fn plugins(&self) -> impl Iterator<Item = &Arc<Kms>> {
        self.list.iter().filter_map(|provider| match provider {
            Provider::Kms(kms) => Some(kms),
            Provider::Identity | Provider::Key(_) => None,
        })
    }

    /// What is to be stored; `None` when that is the object as it is.
    pub(super) fn seal(&self, key: &str, object: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let first = match self.list.first() {
            None | Some(Provider::Identity) => return Ok(None),
            Some(Provider::Kms(kms)) => return kms.seal(key, object).map(Some),
            Some(Provider::Key(first)) => first,
        };
        /// Room for an initial vector and padding or a tag.
        const OVERHEAD_BYTES: usize = 64;
        let mut out = Vec::with_capacity(first.prefix.len() + object.len() + OVERHEAD_BYTES);
        out.extend_from_slice(&first.prefix);
        first.cipher.seal(object, key, &mut out).map_err(StorageError::unavailable)?;
        out.shrink_to_fit();
        Ok(Some(Bytes::from(out)))
    }

    /// The object out of what was stored.
    pub(super) fn open(&self, key: &str, stored: &[u8]) -> Result<Bytes, StorageError> {
        let mut tried = None;
        for provider in &self.list {
            let keyed = match provider {
                Provider::Identity => continue,
                Provider::Kms(kms) => match stored.strip_prefix(kms.prefix()) {
                    Some(text) => return kms.open(key, text),
                    None => continue,
                },
                Provider::Key(keyed) => keyed,
            };
            let Some(text) = stored.strip_prefix(keyed.prefix.as_slice()) else { continue };
            match keyed.cipher.open(text, key) {
                Ok(plain) => return Ok(Bytes::from(plain)),
                // Another provider may have a key of the same name.
                Err(error) => tried = Some(error),
            }
        }
        Err(StorageError::fatal(match tried {
            Some(error) => format!("{key}: {error}"),
            None if stored.starts_with(ENCRYPTED) => {
                format!(
                    "{key}: no provider of the encryption configuration can read it: no matching prefix found"
                )
            }
            None => format!("{key}: it is neither JSON nor encrypted"),
        }))
    }

    /// Whether the first provider would have stored something else than what begins like this.
    pub(super) fn is_stale(&self, stored: &[u8]) -> bool {
        match self.list.first() {
            None | Some(Provider::Identity) => stored.starts_with(ENCRYPTED),
            Some(Provider::Key(first)) => !stored.starts_with(&first.prefix),
            Some(Provider::Kms(kms)) => {
                stored.strip_prefix(kms.prefix()).is_none_or(|text| kms.is_stale(text))
            }
        }
    }
}

fn check(kms: &KmsConfiguration, at: &str) -> Result<(), ConfigurationError> {
    if kms.api_version != "v2" {
        let reason = format!("Invalid value: {:?}: only v2 is supported", kms.api_version);
        return Err(invalid(format!("{at}.kms.apiVersion"), reason));
    }
    if kms.name.is_empty() || kms.name.contains(':') {
        return Err(invalid(format!("{at}.kms.name"), "Required value: a name without colons"));
    }
    Ok(())
}
