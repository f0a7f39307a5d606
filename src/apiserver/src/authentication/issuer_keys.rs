//! The keys that an issuer of tokens publishes (OpenID Connect Discovery 1.0), fetched when a token needs them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use parking_lot::RwLock;
use serde::Deserialize;
use tokio::time::Instant;

use super::jwk::KeySet;
use super::jwt::JwtError;
use crate::outbound::{Endpoint, Limits, Outbound, Target, Trust};

/// Keys are not asked for more often, whatever tokens name.
const PAUSE: Duration = Duration::from_secs(1);
/// What one request may take (Go's clients here have 30 s).
const LIMITS: Limits = Limits { timeout: Duration::from_secs(30), max_bytes: 1024 * 1024 };

/// See the module.
pub(super) struct IssuerKeys {
    issuer: String,
    discovery: String,
    web: Web,
    keys: RwLock<Arc<KeySet>>,
    /// When keys were last asked for; held while they are.
    asked: tokio::sync::Mutex<Option<(Instant, Result<(), String>)>>,
}

/// Gets documents by https.
#[derive(Clone)]
pub(super) struct Web {
    pub(super) outbound: Outbound,
    pub(super) trust: Trust,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl IssuerKeys {
    /// The keys of an issuer whose configuration is at `discovery`.
    pub(super) fn new(issuer: &str, discovery: &str, web: Web) -> Self {
        Self {
            issuer: issuer.to_owned(),
            discovery: discovery.to_owned(),
            web,
            keys: RwLock::default(),
            asked: tokio::sync::Mutex::default(),
        }
    }

    /// The payload of a token that the issuer signed by one of the algorithms.
    ///
    /// # Errors
    /// In words.
    pub(super) async fn verify<'a>(&self, token: &'a str, algorithms: &[String]) -> Result<&'a str, String> {
        let keys = Arc::clone(&self.keys.read());
        let first = keys.verify(token, algorithms);
        if first != Err(JwtError::Signature) {
            return first.map_err(|error| error.to_string());
        }
        // A key that is not known yet.
        self.refresh().await?;
        let keys = Arc::clone(&self.keys.read());
        keys.verify(token, algorithms)
            .map_err(|_| "failed to verify signature: failed to verify id token signature".to_owned())
    }

    async fn refresh(&self) -> Result<(), String> {
        let mut asked = self.asked.lock().await;
        if let Some((at, result)) = asked.as_ref()
            && at.elapsed() < PAUSE
        {
            return result.clone();
        }
        let result = self.fetch().await.map(|keys| *self.keys.write() = Arc::new(keys));
        if let Err(error) = &result {
            tracing::warn!(issuer = self.issuer, error, "cannot get the keys of an issuer of tokens");
        }
        *asked = Some((Instant::now(), result.clone()));
        result
    }

    async fn fetch(&self) -> Result<KeySet, String> {
        let document: Discovery = serde_json::from_slice(&self.web.get(&self.discovery, "").await?)
            .map_err(|error| format!("failed to decode provider discovery object: {error}"))?;
        if document.issuer != self.issuer {
            return Err(format!(
                "issuer did not match the issuer returned by provider, expected {:?} got {:?}",
                self.issuer, document.issuer
            ));
        }
        let keys = self.web.get(&document.jwks_uri, "").await?;
        KeySet::parse(&keys).map_err(|error| format!("failed to decode keys: {error}"))
    }
}

impl Web {
    /// A document; with a bearer token, unless that is empty.
    ///
    /// # Errors
    /// In words, when it cannot be had.
    pub(super) async fn get(&self, url: &str, bearer: &str) -> Result<Bytes, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{url:?}: {error}"))?;
        if uri.scheme_str() != Some("https") {
            return Err(format!("{url:?} is no https URL"));
        }
        let endpoint = Endpoint {
            target: Target::Url(uri.clone()),
            trust: self.trust.clone(),
            identity: None,
            server_name: String::new(),
            http2: false,
        };
        let request =
            Request::builder().method(Method::GET).uri(uri).header(header::ACCEPT, "application/json");
        let mut request = request.body(Bytes::new()).map_err(|error| error.to_string())?;
        if !bearer.is_empty() {
            let value =
                HeaderValue::try_from(format!("Bearer {bearer}")).map_err(|error| error.to_string())?;
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let answer =
            self.outbound.call(&endpoint, request, LIMITS).await.map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            return Err(format!("Get {url:?}: {}", answer.status()));
        }
        Ok(answer.into_body())
    }
}
