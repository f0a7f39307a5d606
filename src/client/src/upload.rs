//! Requests whose body is too large for memory, which a [`kube::Client`] does not send.

use std::path::Path;

use apimachinery::status::Status;
use bytes::Bytes;
use http::{HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt, Limited, combinators::UnsyncBoxBody};
use hyper_util::client::legacy::Client;
use kube::client::ConfigExt;
use tower::BoxError;

use crate::connect::{self, ConnectError};
use crate::connector::{self, Connector};

/// What an answer may have: it tells what became of the body, no more.
const ANSWER_MAX_BYTES: usize = 1 << 20;

/// Why something was not uploaded.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The path is no path, or the server's URL none.
    #[error("invalid request: {0}")]
    Request(#[source] http::Error),
    /// No answer came.
    #[error("the API server does not answer")]
    Connection(#[source] hyper_util::client::legacy::Error),
    /// The answer broke off, or has no end.
    #[error("the answer cannot be read: {0}")]
    Answer(BoxError),
    /// The server did not want it.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        code: u16,
        /// What it said.
        message: String,
    },
}

/// Uploads to an API server.
pub struct Uploader {
    http: Client<Connector, UnsyncBoxBody<Bytes, BoxError>>,
    server: Uri,
    agent: HeaderValue,
}

impl Uploader {
    /// As the current context of a kubeconfig file says, which has to have a client certificate.
    ///
    /// # Errors
    /// When the file cannot be read or its credentials cannot be used.
    pub async fn from_kubeconfig(path: &Path, component: &str) -> Result<Self, ConnectError> {
        let config = connect::configuration(path).await?;
        let tls =
            config.rustls_client_config().map_err(|error| ConnectError::Credentials(Box::new(error)))?;
        // HTTP/2 alone: there a refusal that comes before the end of the body is heard.
        let http = connector::pool(&tls, None, &[b"h2"]);
        Ok(Self { http, server: config.cluster_url, agent: connect::user_agent(component) })
    }

    /// Posts a body of so many bytes; returns the answer.
    ///
    /// # Errors
    /// When the server cannot be reached or does not want it.
    pub async fn post<B>(&self, path: &str, bytes: u64, body: B) -> Result<Bytes, UploadError>
    where
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let server = self.server.to_string();
        let request = Request::post(format!("{}{path}", server.trim_end_matches('/')))
            .header(header::USER_AGENT, &self.agent)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_LENGTH, bytes)
            .body(body.map_err(Into::into).boxed_unsync())
            .map_err(UploadError::Request)?;
        let response = self.http.request(request).await.map_err(UploadError::Connection)?;
        let status = response.status();
        let answer = Limited::new(response.into_body(), ANSWER_MAX_BYTES).collect().await;
        let answer = answer.map_err(UploadError::Answer)?.to_bytes();
        if status.is_success() {
            return Ok(answer);
        }
        let text = || String::from_utf8_lossy(&answer).trim().to_owned();
        let message =
            serde_json::from_slice::<Status>(&answer).map_or_else(|_| text(), |status| status.message);
        Err(UploadError::Refused { code: status.as_u16(), message })
    }
}
