//! Another registry, as a client that pulls from it: TLS, tokens (the distribution specification's "bearer"), redirections.

use crate::http::{BoxError, Io};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

/// How long it may take until an answer begins.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often an answer may send us elsewhere: blobs usually lie in another place.
const REDIRECTIONS: usize = 5;
/// Of a token: it is a signed statement.
const LARGEST_TOKEN: usize = 64 * 1024;
/// How long a token is good when its issuer does not say: what the specification says.
const TOKEN_LIFE: u64 = 60;
/// Before its end a token is not used any more.
const TOKEN_MARGIN: u64 = 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// It cannot be reached, or does not speak HTTP.
    #[error("{host}: {why}")]
    Away {
        /// Who.
        host: String,
        /// What happened.
        why: String,
    },
    /// It answered, but not with what was asked for.
    #[error("{host} answered {status}")]
    Refused {
        /// Who.
        host: String,
        /// What it said.
        status: StatusCode,
    },
}

impl UpstreamError {
    /// Whether it is as good as away: what is kept may be given instead.
    pub fn is_away(&self) -> bool {
        match self {
            Self::Away { .. } => true,
            Self::Refused { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
        }
    }
}

/// One registry.
pub struct Upstream {
    /// `https://HOST[:PORT]`.
    base: Uri,
    tls: Arc<ClientConfig>,
    /// By what they are good for.
    tokens: Mutex<HashMap<String, (HeaderValue, Instant)>>,
}

impl Upstream {
    /// The registry that images call `name`, such as `docker.io` or `quay.io`; `http://` before it means without TLS. Answers
    /// the name without that, too.
    ///
    /// # Errors
    /// When it is no host's name.
    pub fn new(name: &str) -> Result<(String, Self), String> {
        let (scheme, host) = match name.split_once("://") {
            Some((scheme @ ("http" | "https"), host)) => (scheme, host),
            Some(_) => return Err(format!("{name:?}: only http:// and https:// can be spoken")),
            None => ("https", name),
        };
        // The one registry whose name in references is not its host.
        let at = if host == "docker.io" { "registry-1.docker.io" } else { host };
        let base: Uri =
            format!("{scheme}://{at}").parse().map_err(|_| format!("{name:?} is no host's name"))?;
        if base.host().is_none_or(str::is_empty) || base.path() != "/" {
            return Err(format!("{name:?} is no host's name"));
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let tls = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
        Ok((host.to_owned(), Self { base, tls, tokens: Mutex::default() }))
    }

    /// Asks for a path below `/v2/`, and answers with what has status 200.
    ///
    /// # Errors
    /// When it cannot be reached or answers otherwise.
    pub async fn ask(
        &self,
        method: Method,
        repository: &str,
        path: &str,
        accept: &HeaderMap,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let uri = self.base.to_string();
        let uri = self.uri(&format!("{}/v2/{repository}/{path}", uri.trim_end_matches('/')))?;
        let scope = format!("repository:{repository}:pull");
        let token = self.token_for(&scope);
        let mut answer = self.follow(method.clone(), uri.clone(), accept, token.as_ref()).await?;
        if answer.status() == StatusCode::UNAUTHORIZED
            && let Some(challenge) = answer.headers().get(header::WWW_AUTHENTICATE)
            && let Some(challenge) = challenge.to_str().ok().and_then(Challenge::read)
        {
            let token = self.fetch_token(&challenge, &scope).await?;
            answer = self.follow(method, uri, accept, Some(&token)).await?;
        }
        match answer.status() {
            StatusCode::OK => Ok(answer),
            status => Err(UpstreamError::Refused { host: self.host(), status }),
        }
    }

    fn host(&self) -> String {
        self.base.host().unwrap_or_default().to_owned()
    }

    fn away(&self, why: impl ToString) -> UpstreamError {
        UpstreamError::Away { host: self.host(), why: why.to_string() }
    }

    fn uri(&self, text: &str) -> Result<Uri, UpstreamError> {
        text.parse().map_err(|_| self.away(format!("{text:?} is no URL")))
    }

    fn token_for(&self, scope: &str) -> Option<HeaderValue> {
        let mut tokens = self.tokens.lock();
        tokens.retain(|_, (_, until)| Instant::now() < *until);
        tokens.get(scope).map(|(token, _)| token.clone())
    }

    async fn fetch_token(&self, challenge: &Challenge, scope: &str) -> Result<HeaderValue, UpstreamError> {
        let realm = self.uri(&challenge.realm)?;
        // A registry with TLS must not make us ask somebody without.
        if realm.scheme() != Some(&http::uri::Scheme::HTTPS)
            && self.base.scheme() != Some(&http::uri::Scheme::HTTP)
        {
            return Err(self.away(format!("its tokens are to be had at {realm}, which is not encrypted")));
        }
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
        };
        let query = realm.query().map(|query| format!("{query}&")).unwrap_or_default();
        let service =
            challenge.service.as_deref().map(|s| format!("service={}&", encode(s))).unwrap_or_default();
        let (authority, path) = (realm.authority().map_or("", |a| a.as_str()), realm.path());
        let scheme = realm.scheme_str().unwrap_or("https");
        let url = format!("{scheme}://{authority}{path}?{query}{service}scope={}", encode(scope));
        let answer = self.follow(Method::GET, self.uri(&url)?, &HeaderMap::new(), None).await?;
        if answer.status() != StatusCode::OK {
            return Err(UpstreamError::Refused { host: authority.to_owned(), status: answer.status() });
        }
        let body = timeout(PATIENCE, Limited::new(answer.into_body(), LARGEST_TOKEN).collect()).await;
        let body = body.map_err(|_| self.away("its token did not come in time"))?;
        let body = body.map_err(|error| self.away(error))?.to_bytes();
        let value: Value = serde_json::from_slice(&body).map_err(|error| self.away(error))?;
        let token = ["token", "access_token"].iter().find_map(|name| value.get(name)?.as_str());
        let token = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok());
        let token = token.ok_or_else(|| self.away("it gives no token"))?;
        let life = value.get("expires_in").and_then(Value::as_u64).unwrap_or(TOKEN_LIFE);
        let until = Instant::now() + Duration::from_secs(life.saturating_sub(TOKEN_MARGIN).min(3600));
        self.tokens.lock().insert(scope.to_owned(), (token.clone(), until));
        Ok(token)
    }

    /// One request, wherever it leads.
    async fn follow(
        &self,
        method: Method,
        mut uri: Uri,
        accept: &HeaderMap,
        token: Option<&HeaderValue>,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let first = uri.authority().cloned();
        for _ in 0..=REDIRECTIONS {
            // A token is for nobody else.
            let token = token.filter(|_| uri.authority() == first.as_ref());
            let sent = self.send(&method, &uri, accept, token);
            let answer = timeout(PATIENCE, sent).await.map_err(|_| self.away("it does not answer"))??;
            let location =
                answer.headers().get(header::LOCATION).filter(|_| answer.status().is_redirection());
            let Some(location) = location.and_then(|value| value.to_str().ok()) else { return Ok(answer) };
            let next = if location.starts_with('/') {
                let scheme = uri.scheme_str().unwrap_or("https");
                format!("{scheme}://{}{location}", uri.authority().map_or("", |a| a.as_str()))
            } else {
                location.to_owned()
            };
            let next = self.uri(&next)?;
            if uri.scheme() == Some(&http::uri::Scheme::HTTPS) && next.scheme() != uri.scheme() {
                return Err(self.away(format!("it sends us to {next}, which is not encrypted")));
            }
            uri = next;
        }
        Err(self.away("it sends us elsewhere again and again"))
    }

    async fn send(
        &self,
        method: &Method,
        uri: &Uri,
        accept: &HeaderMap,
        token: Option<&HeaderValue>,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let failed = |error: BoxError| self.away(error);
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let secure = uri.scheme() == Some(&http::uri::Scheme::HTTPS);
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = connect(&host, port, secure.then_some(&self.tls)).await.map_err(failed)?;
        let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(|error| failed(error.into()))?;
        // It ends with the answer's body.
        tokio::spawn(connection);
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = method.clone();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = self.uri(path)?;
        let headers = request.headers_mut();
        for value in accept.get_all(header::ACCEPT) {
            headers.append(header::ACCEPT, value.clone());
        }
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        headers.insert(header::HOST, HeaderValue::from_str(authority).map_err(|error| failed(error.into()))?);
        headers.insert(header::USER_AGENT, HeaderValue::from_static("knarr-registry"));
        if let Some(token) = token {
            headers.insert(header::AUTHORIZATION, token.clone());
        }
        sender.send_request(request).await.map_err(|error| failed(error.into()))
    }
}

/// Connects to the first address that answers.
async fn connect(host: &str, port: u16, tls: Option<&Arc<ClientConfig>>) -> Result<Box<dyn Io>, BoxError> {
    let stream = client::dial::host(host, port).await?;
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(host.to_owned())?;
    Ok(Box::new(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?))
}

/// Where a registry wants its tokens to come from.
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    realm: String,
    service: Option<String>,
}

impl Challenge {
    /// Reads `Bearer realm="...",service="...",scope="..."`.
    fn read(text: &str) -> Option<Self> {
        let (scheme, mut rest) = text.trim().split_once(' ')?;
        let (mut realm, mut service) = (None, None);
        while let Some((name, after)) = rest.split_once("=\"") {
            let (value, after) = after.split_once('"')?;
            match name.trim_matches([',', ' ']).to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value.to_owned()),
                "service" => service = Some(value.to_owned()),
                _ => {}
            }
            rest = after;
        }
        scheme.eq_ignore_ascii_case("bearer").then_some(Self { realm: realm?, service })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_says_where_tokens_are() {
        let text = "Bearer realm=\"https://auth.example/token\",service=\"registry.example\", scope=\"repository:a:pull\"";
        let challenge = Challenge::read(text).unwrap();
        assert_eq!(challenge.realm, "https://auth.example/token");
        assert_eq!(challenge.service.as_deref(), Some("registry.example"));
        for text in ["Basic realm=\"x\"", "Bearer", "Bearer service=\"x\"", "Bearer realm=\"x"] {
            assert_eq!(Challenge::read(text), None, "{text}");
        }
    }

    #[test]
    fn registries_are_named_as_images_name_them() {
        let base = |name: &str| Upstream::new(name).map(|(name, upstream)| (name, upstream.base.to_string()));
        assert_eq!(
            base("docker.io").unwrap(),
            ("docker.io".to_owned(), "https://registry-1.docker.io/".to_owned())
        );
        assert_eq!(
            base("http://10.0.0.1:5000").unwrap(),
            ("10.0.0.1:5000".to_owned(), "http://10.0.0.1:5000/".to_owned())
        );
        for wrong in ["ftp://a", "a/b", "", "https://"] {
            assert!(base(wrong).is_err(), "{wrong}");
        }
    }
}
