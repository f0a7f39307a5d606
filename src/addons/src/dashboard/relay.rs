//! Asks the API server what the page asks, with the token that the page has sent.

use super::{gate, security};
use crate::http::{self as web, Body};
use crate::relay::{self, Change};
use ::http::uri::PathAndQuery;
use ::http::{Request, Response, StatusCode};
use apimachinery::causes::chain;
use apimachinery::status::{Reason, Status};
use client::ConnectError;
use client::connect::{tls_builder, with_tls};
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, BodyStream, LengthLimitError, Limited, StreamBody};
use hyper::body::Incoming;
use parking_lot::Mutex;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

/// Who asks, in the API server's audit log, beside what the browser says of itself.
const COMPONENT: &str = "knarr-dashboard";

/// Bytes of a request: somewhat more than the API server takes, which refuses the rest itself.
const LARGEST: usize = 4 << 20;

/// Why the API server cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ApiServerError {
    /// The file of its authority cannot be read.
    #[error("cannot read {path}")]
    Authority {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The authority cannot be used.
    #[error("cannot reach the API server")]
    Connect(#[from] ConnectError),
}

/// The API server.
pub struct ApiServer {
    url: String,
    authority: PathBuf,
    current: Mutex<Current>,
}

/// A client, and the authority that it believes.
struct Current {
    pem: Vec<u8>,
    client: kube::Client,
}

impl ApiServer {
    /// The API server at a URL, whose authority is in a file (PEM) that may change.
    ///
    /// # Errors
    /// When the file cannot be read or holds no certificate.
    pub fn new(url: String, authority: PathBuf) -> Result<Self, ApiServerError> {
        let pem = std::fs::read(&authority)
            .map_err(|source| ApiServerError::Authority { path: authority.display().to_string(), source })?;
        let current = Mutex::new(Current { client: connected(&url, &pem)?, pem });
        Ok(Self { url, authority, current })
    }

    /// Answers a request of the page, until `stop`.
    pub async fn answer(&self, mut request: Request<Incoming>, stop: &CancellationToken) -> Response<Body> {
        let change = Change::of(&mut request);
        if !security::is_own(request.headers(), request.uri(), change.is_some()) {
            return refused(&Status::failure(
                403,
                Reason::Forbidden,
                "the request does not come from the dashboard's own page",
            ));
        }
        if !gate::is_plain(request.uri().path()) || (change.is_none() && !gate::is_method(request.method())) {
            return refused(&Status::bad_request("the dashboard does not pass this on"));
        }
        if !gate::has_token(request.headers()) {
            return refused(&Status::unauthorized());
        }
        let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str).to_owned();
        let (parts, body) = request.into_parts();
        let body = match Limited::new(body, LARGEST).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return refused(&Status::too_large(LARGEST)),
            Err(_) => return refused(&Status::bad_request("the request has ended early")),
        };
        let mut onward = Request::new(kube::client::Body::from(body));
        *onward.method_mut() = parts.method;
        *onward.headers_mut() = gate::asked(&parts.headers);
        match path.parse() {
            Ok(uri) => *onward.uri_mut() = uri,
            Err(_) => return refused(&Status::bad_request("the path is none")),
        }
        if let Some(change) = &change {
            change.ask(&mut onward);
        }
        let client = self.current.lock().client.clone();
        let mut answer = match client.send(onward).await {
            Ok(answer) => answer,
            Err(error) => {
                self.renew();
                // The error tells of connections; neither it nor the path holds a token.
                tracing::warn!("the API server does not answer: {}", chain(&error));
                return refused(&Status::service_unavailable("the API server does not answer"));
            }
        };
        let upgraded = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        if !upgraded {
            let kept = gate::answered(answer.headers());
            *answer.headers_mut() = kept;
        }
        let (parts, body) = relay::answered(answer, change).into_parts();
        let frames = BodyStream::new(body).take_until(stop.clone().cancelled_owned());
        let body = if upgraded { web::full("") } else { StreamBody::new(frames).boxed_unsync() };
        Response::from_parts(parts, body)
    }

    /// Believes another authority, if there is one by now.
    fn renew(&self) {
        let mut current = self.current.lock();
        let Ok(pem) = std::fs::read(&self.authority) else { return };
        if pem != current.pem
            && let Ok(client) = connected(&self.url, &pem)
        {
            *current = Current { pem, client };
        }
    }
}

fn connected(url: &str, pem: &[u8]) -> Result<kube::Client, ConnectError> {
    with_tls(url, tls_builder(pem)?.with_no_client_auth(), COMPONENT)
}

fn refused(status: &Status) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    web::json(code, &serde_json::to_value(status).unwrap_or_default())
}
