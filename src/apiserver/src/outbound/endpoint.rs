//! Where a call goes, and who is believed there.

use super::error::OutboundError;
use api::value;
use base64::Engine;
use bytes::Bytes;
use http::Uri;
use rustls::sign::CertifiedKey;
use serde_json::Value;
use std::sync::Arc;

/// The port of a Service where none is given.
const DEFAULT_PORT: u16 = 443;

/// Where a call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A Service's port, at its cluster IP.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The Service's port, not the pods'.
        port: u16,
        /// The path below which the endpoint answers; empty for the root.
        path: String,
    },
    /// Anything else: an absolute `https` URL.
    Url(Uri),
}

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Trust {
    /// Those that these certificates (PEM) vouch for.
    Bundle(Bytes),
    /// Those that the machine's roots vouch for.
    System,
    /// Any (`insecureSkipTLSVerify`).
    Any,
}

/// One end of calls.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where it is.
    pub target: Target,
    /// Who is believed to be it.
    pub trust: Trust,
    /// As whom the server shows itself.
    pub identity: Option<Arc<CertifiedKey>>,
    /// The name that its certificate has to be for (`tls-server-name`); empty for that of the host.
    pub server_name: String,
    /// Whether HTTP/2 may be spoken. One HTTP/2 connection always ends at the same backend: webhooks are called by
    /// HTTP/1.1, so that calls spread.
    pub http2: bool,
}

impl Endpoint {
    /// Reads the `clientConfig` of a webhook or a conversion, or the `spec` of an APIService: `url` or `service`,
    /// and `caBundle` and `insecureSkipTLSVerify`. HTTP/1.1, no identity.
    ///
    /// # Errors
    /// A sentence, when it cannot be used.
    pub fn from_config(config: &Value) -> Result<Self, String> {
        let url = value::text(config, "url");
        let service = value::field(config, "service");
        let target = match (url.is_empty(), service.is_object()) {
            (true, false) => return Err("webhook configuration must have either service or URL".to_owned()),
            (false, true) => {
                return Err("webhook configuration must not have both service and URL".to_owned());
            }
            (false, false) => {
                let uri = url.parse::<Uri>().map_err(|e| format!("Unparsable webhook URL: {e}"))?;
                if uri.scheme_str() != Some("https") || uri.host().is_none_or(str::is_empty) {
                    return Err(format!("Unparsable webhook URL: {url:?} is no https URL"));
                }
                Target::Url(uri)
            }
            (true, true) => Target::Service {
                namespace: value::text(service, "namespace").to_owned(),
                name: value::text(service, "name").to_owned(),
                port: value::int(service, "port").and_then(|p| u16::try_from(p).ok()).unwrap_or(DEFAULT_PORT),
                path: value::text(service, "path").to_owned(),
            },
        };
        let bundle = value::text(config, "caBundle");
        let trust = if value::boolean(config, "insecureSkipTLSVerify") == Some(true) {
            Trust::Any
        } else if bundle.is_empty() {
            Trust::System
        } else {
            let pem = base64::engine::general_purpose::STANDARD.decode(bundle);
            Trust::Bundle(pem.map_err(|e| format!("unable to decode caBundle: {e}"))?.into())
        };
        Ok(Self { target, trust, identity: None, server_name: String::new(), http2: false })
    }

    /// The absolute URL of something at this endpoint: `path` is appended to the endpoint's own.
    ///
    /// # Errors
    /// When they do not make a URL.
    pub fn url(&self, path: &str, query: Option<&str>) -> Result<Uri, OutboundError> {
        let (authority, base, own_query) = match &self.target {
            Target::Service { namespace, name, port, path } => {
                (format!("{}:{port}", server_name(namespace, name)), path.as_str(), None)
            }
            Target::Url(uri) => {
                let authority = uri.authority().map(|a| a.as_str().to_owned()).unwrap_or_default();
                (authority, uri.path(), uri.query())
            }
        };
        let mut text = String::from("/");
        text.push_str(base.trim_start_matches('/'));
        if !path.is_empty() {
            text.truncate(text.trim_end_matches('/').len());
            text.push('/');
            text.push_str(path.trim_start_matches('/'));
        }
        for (index, query) in own_query.into_iter().chain(query).enumerate() {
            text.push(if index == 0 { '?' } else { '&' });
            text.push_str(query);
        }
        let built =
            Uri::builder().scheme("https").authority(authority.as_str()).path_and_query(&text).build();
        built.map_err(|e| OutboundError::url(&format!("https://{authority}{text}"), &e))
    }
}

/// What a Service's certificate has to be for.
pub(super) fn server_name(namespace: &str, name: &str) -> String {
    format!("{name}.{namespace}.svc")
}
