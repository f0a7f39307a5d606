//! Tokens by which nodes join: Secrets in `kube-system` that hold their digest only.

use super::target::hex;
use anyhow::{Context, Result, bail};
use client::{ObjectKey, Rest, rest};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// Where they are.
pub const NAMESPACE: &str = "kube-system";
/// Before the id.
const PREFIX: &str = "knarr-join-";
/// By which they are found, and their type.
const LABEL: &str = "knarr.io/join-token";
const TYPE: &str = "knarr.io/join-token";
/// Digits of the digest that name a token: enough to tell them apart, no help to guess one.
const ID_DIGITS: usize = 10;

const DIGEST: &str = "token-sha256";
const EXPIRES: &str = "expires";
const ONCE: &str = "once";
const CLAIMED: &str = "claimed-by";

/// What is known of a token.
#[derive(Clone, Debug)]
pub struct Token {
    /// By which people name it.
    pub id: String,
    /// Until when it lets in.
    pub expires: Timestamp,
    /// Whether it lets one node in only.
    pub once: bool,
    /// The node that it lets in, once one has come.
    pub claimed: Option<String>,
    digest: String,
    secret: Secret,
}

/// Why a token does not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not, in words that say what to do.
    #[error("{0}; make a token with `knarr add-node` on a node of the cluster")]
    Refused(String),
    /// It cannot be looked at now.
    #[error("{0}")]
    Failed(String),
}

fn digest(token: &str) -> String {
    hex(&Sha256::digest(token.to_lowercase()))
}

fn id(digest: &str) -> String {
    digest.chars().take(ID_DIGITS).collect()
}

/// A new token, 128 random bits.
pub fn random() -> String {
    hex(&rand::random::<[u8; 16]>())
}

impl Token {
    fn read(secret: Secret) -> Option<Self> {
        let text = |field: &str| {
            let bytes = secret.data.as_ref()?.get(field)?;
            String::from_utf8(bytes.0.clone()).ok()
        };
        let digest = text(DIGEST)?;
        Some(Self {
            id: id(&digest),
            expires: text(EXPIRES)?.parse().ok()?,
            once: text(ONCE).is_some_and(|once| once == "true"),
            claimed: text(CLAIMED).filter(|name| !name.is_empty()),
            digest,
            secret,
        })
    }

    /// Makes a token known to the cluster. One that is known already begins anew.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn create(rest: &Rest, token: &str, expires: Timestamp, once: bool) -> Result<()> {
        let digest = digest(token);
        let id = id(&digest);
        let field = |name: &str, value: &str| (name.to_owned(), ByteString(value.as_bytes().to_vec()));
        let expires = expires.to_string();
        let data = [field(DIGEST, &digest), field(EXPIRES, &expires), field(ONCE, &once.to_string())];
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(format!("{PREFIX}{id}")),
                namespace: Some(NAMESPACE.to_owned()),
                labels: Some(BTreeMap::from([(LABEL.to_owned(), String::new())])),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from(data)),
            type_: Some(TYPE.to_owned()),
            ..Secret::default()
        };
        match rest.create(&secret).await {
            Err(error) if rest::is_already_exists(&error) => rest.replace(&secret).await,
            other => other,
        }
        .context("cannot store the token")
        .map(drop)
    }

    /// All of them, by id.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn list(rest: &Rest) -> Result<Vec<Self>> {
        let secrets = rest.list::<Secret>(NAMESPACE, LABEL).await.context("cannot list tokens")?;
        let mut tokens: Vec<Self> = secrets.into_iter().filter_map(Self::read).collect();
        tokens.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(tokens)
    }

    /// Removes the token with an id, or that a person has whole; answers whether there was one.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn revoke(rest: &Rest, named: &str) -> Result<bool> {
        let whole = digest(named);
        let found = Self::list(rest).await?.into_iter().find(|one| one.id == named || one.digest == whole);
        let Some(token) = found else { return Ok(false) };
        token.remove(rest).await?;
        Ok(true)
    }

    async fn remove(&self, rest: &Rest) -> Result<()> {
        let key = ObjectKey::new(NAMESPACE, format!("{PREFIX}{}", self.id));
        rest.delete::<Secret>(&key, &rest::DeleteOptions::default()).await.context("cannot remove the token")
    }

    /// Looks a token up.
    ///
    /// # Errors
    /// When it is not known, or its time is over.
    pub async fn find(rest: &Rest, token: &str, now: Timestamp) -> Result<Self, TokenError> {
        let digest = digest(token);
        let key = ObjectKey::new(NAMESPACE, format!("{PREFIX}{}", id(&digest)));
        let secret = rest.get::<Secret>(&key).await.map_err(|error| TokenError::Failed(error.to_string()))?;
        let found = secret.and_then(Self::read).filter(|found| found.digest == digest);
        let unknown = || {
            let why =
                "the token is not known to this cluster: it was used up or revoked, or belongs to another";
            TokenError::Refused(why.to_owned())
        };
        let found = found.ok_or_else(unknown)?;
        if found.expires <= now {
            return Err(TokenError::Refused(format!("the token has expired at {}", found.expires)));
        }
        Ok(found)
    }

    /// Lets a node in; the same node may come again.
    ///
    /// # Errors
    /// When it lets in another one already.
    pub async fn claim(&self, rest: &Rest, node: &str) -> Result<(), TokenError> {
        let taken =
            || TokenError::Refused("the token is for one node, and another one has used it".to_owned());
        match &self.claimed {
            _ if !self.once => return Ok(()),
            Some(other) if other == node => return Ok(()),
            Some(_) => return Err(taken()),
            None => {}
        }
        let mut secret = self.secret.clone();
        secret.metadata.managed_fields = None;
        let data = secret.data.get_or_insert_default();
        data.insert(CLAIMED.to_owned(), ByteString(node.as_bytes().to_vec()));
        match rest.replace(&secret).await {
            Ok(_) => Ok(()),
            Err(error) if rest::is_conflict(&error) || rest::is_not_found(&error) => Err(taken()),
            Err(error) => Err(TokenError::Failed(error.to_string())),
        }
    }

    /// A node that it let in has joined: one for a single node is used up.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn used(&self, rest: &Rest) -> Result<()> {
        if self.once { self.remove(rest).await } else { Ok(()) }
    }

    /// Removes those whose time is over.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn sweep(rest: &Rest, now: Timestamp) -> Result<()> {
        for token in Self::list(rest).await? {
            if token.expires <= now {
                token.remove(rest).await?;
            }
        }
        Ok(())
    }
}

/// When a token expires that is to last.
pub const NEVER: Timestamp = Timestamp::MAX;

/// When a token that is made now expires.
///
/// # Errors
/// When the time is none.
pub fn expiry(now: Timestamp, seconds: i64) -> Result<Timestamp> {
    if seconds <= 0 {
        bail!("a token has to be valid for one second at least");
    }
    now.checked_add(jiff::SignedDuration::from_secs(seconds)).context("--token-ttl is too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_does_not_tell_the_token() {
        let token = random();
        assert_eq!(token.len(), 32);
        assert_ne!(token, random());
        assert!(!digest(&token).contains(&token));
        assert_eq!(digest(&token), digest(&token.to_uppercase()));
        assert_eq!(id(&digest(&token)).len(), ID_DIGITS);
    }

    #[test]
    fn a_token_lives_for_a_time() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        assert_eq!(expiry(now, 60).unwrap().as_second(), 1_800_000_060);
        assert!(expiry(now, 0).is_err() && expiry(now, -1).is_err() && expiry(now, i64::MAX).is_err());
    }
}
