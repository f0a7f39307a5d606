//! Service account tokens of pods, by TokenRequest, renewed before they expire.

use crate::pod;
use client::rest::Rest;
use http::Method;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Pod, ServiceAccountTokenProjection};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::HashMap;
use std::time::Duration;
use thiserror::Error;

/// A token older than this is renewed whatever its life time.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// What a projection without `expirationSeconds` gets (API default).
const DEFAULT_EXPIRATION_SECONDS: i64 = 3600;

/// No token was to be had.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The API server refused.
    #[error("failed to fetch token: {0}")]
    Request(#[source] kube::Error),
    /// The API server's answer is unusable.
    #[error("failed to fetch token: the answer has no token")]
    Empty,
}

/// A token and when to ask for the next one.
#[derive(Debug, Clone)]
pub struct Token {
    /// The token.
    pub text: String,
    /// From then on it should be replaced: at 80% of its life, or after a day.
    pub renew_at: Timestamp,
    expires_at: Timestamp,
}

/// Tokens by pod, audience and life time.
pub struct Tokens {
    rest: Rest,
    cache: Mutex<HashMap<(String, String, i64), Token>>,
}

impl Tokens {
    /// No tokens yet.
    pub fn new(rest: Rest) -> Self {
        Self { rest, cache: Mutex::default() }
    }

    /// A token for one projection of a pod.
    ///
    /// # Errors
    /// When none is to be had and the one at hand has expired.
    pub async fn get(
        &self,
        pod: &Pod,
        projection: &ServiceAccountTokenProjection,
        now: Timestamp,
    ) -> Result<Token, TokenError> {
        let audience = projection.audience.clone().unwrap_or_default();
        let seconds = projection.expiration_seconds.unwrap_or(DEFAULT_EXPIRATION_SECONDS);
        let key = (pod::uid(pod).to_owned(), audience, seconds);
        let cached = self.cache.lock().get(&key).cloned();
        if let Some(token) = cached.as_ref().filter(|token| now < token.renew_at) {
            return Ok(token.clone());
        }
        match self.request(pod, &key.1, seconds, now).await {
            Ok(token) => {
                self.cache.lock().insert(key, token.clone());
                Ok(token)
            }
            // Better an old token than none, while it lasts.
            Err(error) => cached.filter(|token| now < token.expires_at).ok_or(error),
        }
    }

    /// Forgets a pod's tokens.
    pub fn forget(&self, uid: &str) {
        self.cache.lock().retain(|(of, _, _), _| of != uid);
    }

    async fn request(
        &self,
        pod: &Pod,
        audience: &str,
        seconds: i64,
        now: Timestamp,
    ) -> Result<Token, TokenError> {
        let account = pod::spec(pod)
            .service_account_name
            .as_deref()
            .filter(|name| !name.is_empty())
            .unwrap_or("default");
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/{account}/token", pod::namespace(pod));
        let audiences: Vec<&str> = if audience.is_empty() { Vec::new() } else { vec![audience] };
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": audiences,
                "expirationSeconds": seconds,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod::name(pod), "uid": pod::uid(pod)},
            },
        });
        let answer = self.rest.raw(Method::POST, &path, Some(body.to_string().into_bytes())).await;
        let answer = answer.map_err(TokenError::Request)?;
        let status = serde_json::from_str::<TokenRequest>(&answer).ok().and_then(|request| request.status);
        let status = status.ok_or(TokenError::Empty)?;
        let text = status.token.filter(|token| !token.is_empty()).ok_or(TokenError::Empty)?;
        let asked = now.saturating_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(now);
        let expires_at = status.expiration_timestamp.map_or(asked, |at| at.0);
        let life = Duration::try_from(expires_at.duration_since(now)).unwrap_or_default();
        let renew_at = now
            .saturating_add(jiff::SignedDuration::try_from((life * 4 / 5).min(MAX_AGE)).unwrap_or_default());
        Ok(Token { text, renew_at: renew_at.unwrap_or(expires_at), expires_at })
    }
}
