//! Webhooks that kubeconfig files describe: reviews are posted, and come back with their status.

mod credentials;
mod kubeconfig;

use std::path::Path;
use std::time::Duration;

use apimachinery::causes::chain;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use rand::Rng;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

use crate::outbound::{Endpoint, Limits, Outbound, Target, Trust};

pub(crate) use credentials::Credentials;

use credentials::Credential;
use kubeconfig::Kubeconfig;

/// Upstream's limit for answers of webhooks.
const MAX_BYTES: usize = 3 * 1024 * 1024;
/// By what pauses grow (upstream's).
const GROWTH: f64 = 1.5;
const JITTER: f64 = 0.2;

/// A webhook.
pub(crate) struct Remote {
    outbound: Outbound,
    endpoint: Endpoint,
    url: Uri,
    authorization: Option<HeaderValue>,
    timeout: Duration,
}

/// When a post is tried again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    /// How often at most.
    pub(crate) attempts: u32,
    /// The first pause; each is longer than the one before.
    pub(crate) first_pause: Duration,
    /// Whether also when nobody answered, rather than only when the server has failed or is busy.
    pub(crate) unanswered: bool,
}

impl Default for Backoff {
    /// Upstream's for reviews, which somebody waits for.
    fn default() -> Self {
        Self { attempts: 5, first_pause: Duration::from_millis(500), unanswered: false }
    }
}

/// Why a review has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    /// Nobody answered.
    #[error("{0}")]
    Call(String),
    /// The answer was an error.
    #[error("the server answered {code}: {message}")]
    Refused {
        /// The status code.
        code: u16,
        /// The message of the Status in it, or the beginning of the text.
        message: String,
    },
    /// The answer was no review.
    #[error("the answer cannot be read: {0}")]
    Answer(String),
}

impl Remote {
    /// The webhook of a kubeconfig file's current context.
    ///
    /// # Errors
    /// A sentence, when the file cannot be used.
    pub(crate) fn load(outbound: &Outbound, path: &Path, timeout: Duration) -> Result<Self, String> {
        let config = Kubeconfig::load(path).map_err(|error| chain(&error))?;
        Self::new(outbound, &config, timeout).map_err(|why| format!("{}: {why}", path.display()))
    }

    fn new(outbound: &Outbound, config: &Kubeconfig, timeout: Duration) -> Result<Self, String> {
        let url: Uri = config.server.parse().map_err(|e| format!("server {:?}: {e}", config.server))?;
        if url.scheme_str() != Some("https") {
            return Err(format!("server {:?}: must be an https URL", config.server));
        }
        let trust = match (config.insecure, config.authority_pem.as_str()) {
            (true, _) => Trust::Any,
            (false, "") => Trust::System,
            (false, pem) => Trust::Bundle(Bytes::from(pem.to_owned())),
        };
        let Credential { identity, authorization } = Credential::new(&config.secrets)?;
        let server_name = config.server_name.clone();
        let target = Target::Url(url.clone());
        let endpoint = Endpoint { target, trust, identity, server_name, http2: false };
        Ok(Self { outbound: outbound.clone(), endpoint, url, authorization, timeout })
    }

    /// Posts a review, again when the server says that it has failed or is busy, and returns the answer.
    ///
    /// # Errors
    /// The last one.
    pub(crate) async fn review(&self, review: &Value) -> Result<Value, RemoteError> {
        let body = self.deliver(Bytes::from(review.to_string()), Backoff::default()).await?;
        serde_json::from_slice(&body).map_err(|error| RemoteError::Answer(error.to_string()))
    }

    /// Posts JSON, again as `backoff` says, and returns the body of the answer.
    ///
    /// # Errors
    /// The last one.
    pub(crate) async fn deliver(&self, body: Bytes, backoff: Backoff) -> Result<Bytes, RemoteError> {
        let mut pause = backoff.first_pause;
        for _ in 1..backoff.attempts {
            match self.post(body.clone()).await {
                Err(RemoteError::Refused { code: 429 | 500 | 503 | 504, .. }) => {}
                Err(RemoteError::Call(_)) if backoff.unanswered => {}
                result => return result,
            }
            let jitter = rand::rng().random_range(0.0..JITTER);
            tokio::time::sleep(pause.mul_f64(1.0 + jitter)).await;
            pause = pause.mul_f64(GROWTH);
        }
        self.post(body).await
    }

    async fn post(&self, body: Bytes) -> Result<Bytes, RemoteError> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.clone();
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(authorization) = &self.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        let limits = Limits { timeout: self.timeout, max_bytes: MAX_BYTES };
        let answer = self.outbound.call(&self.endpoint, request, limits).await;
        let answer = answer.map_err(|error| RemoteError::Call(chain(&error)))?;
        let (code, body) = (answer.status(), answer.into_body());
        if !matches!(code, StatusCode::OK | StatusCode::CREATED) {
            return Err(RemoteError::Refused { code: code.as_u16(), message: message(&body) });
        }
        Ok(body)
    }
}

/// A client's certificate and key, of any kind that TLS knows.
fn certified(certificate: &str, key: &str) -> Result<CertifiedKey, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
    let chain = chain.map_err(|e| format!("client-certificate: {e}"))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|e| format!("client-key: {e}"))?;
    let key = any_supported_type(&key).map_err(|e| format!("client-key: {e}"))?;
    Ok(CertifiedKey::new(chain, key))
}

fn message(body: &[u8]) -> String {
    /// What of a text that is no Status is shown.
    const SHOWN: usize = 256;
    let status: Option<Value> = serde_json::from_slice(body).ok();
    match status.as_ref().and_then(|status| status.get("message")).and_then(Value::as_str) {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(body.get(..SHOWN).unwrap_or(body)).trim().to_owned(),
    }
}
