//! Building a [`kube::Client`].
//!
//! Every client says who it is in `User-Agent`; the API server derives the manager name in `managedFields`
//! from it, as it does for the upstream components.

use std::path::Path;

use apimachinery::platform::platform;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use kube::client::{Body, ConfigExt, middleware::BaseUriLayer};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, util::MapRequest};

use crate::balancer::{Balancer, SERVER_NAME};
use crate::connector::Network;
use crate::metrics::requests::Measured;

/// The request body that an in-process service receives.
pub type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

/// Why a client could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There are no credentials of a pod.
    #[error("this process does not run in a pod with a service account: {0}")]
    InCluster(String),
    /// The server's URL is not `https://HOST[:PORT]` or `http://HOST[:PORT]`.
    #[error("invalid API server URL {url:?}: {reason}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate or key is not PEM, or the two do not belong together.
    #[error("invalid {what}: {reason}")]
    Pem {
        /// Which of the inputs.
        what: &'static str,
        /// What the parser said.
        reason: String,
    },
    /// The kubeconfig could not be read or has no usable context.
    #[error("cannot use kubeconfig {path}")]
    Kubeconfig {
        /// The file.
        path: String,
        /// The cause.
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// The credentials of the kubeconfig cannot be used.
    #[error("cannot use the credentials of the kubeconfig")]
    Credentials(#[source] Box<kube::Error>),
}

/// A client that calls `service` directly: no socket, no TLS, no credentials.
///
/// The identity is the service's business (it puts the user into the request's extensions). `component` becomes
/// the product of the `User-Agent`, for example `kube-controller-manager`. Must be called inside a tokio runtime.
pub fn in_process<S, B>(service: S, component: &str) -> kube::Client
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let agent = user_agent(component);
    let service = MapRequest::new(service, move |request: Request<Body>| {
        let mut request =
            request.map(|body| body.map_err(|error| Box::new(error) as BoxError).boxed_unsync());
        request.headers_mut().entry(header::USER_AGENT).or_insert_with(|| agent.clone());
        request
    });
    kube::Client::new(Measured(service), "default")
}

/// A client over mutual TLS, trusting only `ca_pem`.
///
/// `url` names the server by address or name.
///
/// # Errors
/// When the URL or one of the PEM inputs is unusable. Nothing is connected yet.
pub fn mtls(
    url: &str,
    ca_pem: &[u8],
    cert_pem: &[u8],
    key_pem: &[u8],
    component: &str,
) -> Result<kube::Client, ConnectError> {
    let chain = certificates("client certificate", cert_pem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem)
        .map_err(|error| ConnectError::Pem { what: "client key", reason: error.to_string() })?;
    let tls = tls_builder(ca_pem)?
        .with_client_auth_cert(chain, key)
        .map_err(|error| ConnectError::Pem { what: "client certificate", reason: error.to_string() })?;
    with_tls(url, tls, component)
}

/// A client over TLS with a bearer token, trusting only `ca_pem`.
///
/// # Errors
/// When the URL, the CA or the token is unusable.
pub fn with_token(
    url: &str,
    ca_pem: &[u8],
    token: &str,
    component: &str,
) -> Result<kube::Client, ConnectError> {
    let tls = tls_builder(ca_pem)?.with_no_client_auth();
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|error| ConnectError::Pem { what: "token", reason: error.to_string() })?;
    value.set_sensitive(true);
    let service = network(tls, None, component).map_request(move |mut request: Request<Body>| {
        request.headers_mut().insert(header::AUTHORIZATION, value.clone());
        request
    });
    Ok(kube::Client::new(ServiceBuilder::new().layer(base_uri(url)?).service(service), "default"))
}

/// A client over TLS as configured by the caller, for example with a certificate resolver that rotates.
///
/// ALPN protocols are set here.
///
/// # Errors
/// When the URL is unusable.
pub fn with_tls(url: &str, tls: rustls::ClientConfig, component: &str) -> Result<kube::Client, ConnectError> {
    let service = ServiceBuilder::new().layer(base_uri(url)?).service(network(tls, None, component));
    Ok(kube::Client::new(service, "default"))
}

/// A client of all API servers of a cluster, over TLS as configured by the caller: each has to have a certificate for
/// [`SERVER_NAME`].
///
/// # Errors
/// Never at present; the form is that of the others.
pub fn balanced(
    balancer: &Balancer,
    tls: rustls::ClientConfig,
    component: &str,
) -> Result<kube::Client, ConnectError> {
    let url = base_uri(&format!("https://{SERVER_NAME}"))?;
    let service = ServiceBuilder::new().layer(url).service(network(tls, Some(balancer.clone()), component));
    Ok(kube::Client::new(service, "default"))
}

/// A client as the current context of a kubeconfig file says.
///
/// # Errors
/// When the file cannot be read or its credentials cannot be used.
pub async fn from_kubeconfig(path: &Path, component: &str) -> Result<kube::Client, ConnectError> {
    from_config(&configuration(path).await?, component)
}

/// What the current context of a kubeconfig file says.
pub(crate) async fn configuration(path: &Path) -> Result<kube::Config, ConnectError> {
    let wrap = |source: kube::config::KubeconfigError| ConnectError::Kubeconfig {
        path: path.display().to_string(),
        source: Box::new(source),
    };
    let kubeconfig = kube::config::Kubeconfig::read_from(path).map_err(wrap)?;
    kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.map_err(wrap)
}

/// A client as the service account of the pod that this process runs in; its token is read again as it changes.
///
/// # Errors
/// Outside of a pod, or when the mounted credentials cannot be used.
pub fn in_cluster(component: &str) -> Result<kube::Client, ConnectError> {
    let config = kube::Config::incluster_env().map_err(|error| ConnectError::InCluster(error.to_string()))?;
    from_config(&config, component)
}

fn from_config(config: &kube::Config, component: &str) -> Result<kube::Client, ConnectError> {
    let credentials = |error: kube::Error| ConnectError::Credentials(Box::new(error));
    let tls = config.rustls_client_config().map_err(credentials)?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(credentials)?)
        .layer(config.extra_headers_layer().map_err(credentials)?)
        .map_err(BoxError::from)
        .service(network(tls, None, component));
    Ok(kube::Client::new(service, config.default_namespace.clone()))
}

/// Trust in one CA bundle, ready for client authentication to be chosen.
///
/// # Errors
/// When the bundle has no certificate in it.
pub fn tls_builder(
    ca_pem: &[u8],
) -> Result<rustls::ConfigBuilder<rustls::ClientConfig, rustls::client::WantsClientCert>, ConnectError> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates("CA certificate", ca_pem)? {
        roots
            .add(certificate)
            .map_err(|error| ConnectError::Pem { what: "CA certificate", reason: error.to_string() })?;
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConnectError::Pem { what: "TLS configuration", reason: error.to_string() })?
        .with_root_certificates(roots))
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| ConnectError::Pem { what, reason: error.to_string() })?;
    if found.is_empty() {
        return Err(ConnectError::Pem { what, reason: "no certificate in it".into() });
    }
    Ok(found)
}

fn network(
    tls: rustls::ClientConfig,
    balancer: Option<Balancer>,
    component: &str,
) -> impl Service<
    Request<Body>,
    Response = Response<hyper::body::Incoming>,
    Error = hyper_util::client::legacy::Error,
    Future: Send,
> + Clone
+ Send
+ 'static {
    let agent = user_agent(component);
    Measured(Network::new(tls, balancer)).map_request(move |mut request: Request<Body>| {
        request.headers_mut().entry(header::USER_AGENT).or_insert_with(|| agent.clone());
        request
    })
}

fn base_uri(url: &str) -> Result<BaseUriLayer, ConnectError> {
    let fail = |reason: &str| ConnectError::Url { url: url.to_owned(), reason: reason.to_owned() };
    let uri: http::Uri = url.parse().map_err(|error: http::uri::InvalidUri| fail(&error.to_string()))?;
    if !matches!(uri.scheme_str(), Some("https" | "http")) {
        return Err(fail("the scheme must be https or http"));
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(fail("it names no host"));
    }
    Ok(BaseUriLayer::new(uri))
}

/// Who a request is from.
pub(crate) fn user_agent(component: &str) -> HeaderValue {
    let text = format!("{component}/{} ({}) knarr", env!("CARGO_PKG_VERSION"), platform());
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("knarr"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[tokio::test]
    async fn in_process_requests_carry_the_component_as_user_agent_and_no_credentials() {
        let service = tower::service_fn(|request: Request<RequestBody>| async move {
            let agent = request.headers()[header::USER_AGENT].to_str().unwrap().to_owned();
            assert!(!request.headers().contains_key(header::AUTHORIZATION));
            let body = format!("{{\"agent\":{agent:?},\"path\":{:?}}}", request.uri().path());
            Ok::<_, Infallible>(Response::new(http_body_util::Full::new(Bytes::from(body))))
        });
        let client = in_process(service, "kube-scheduler");
        let text = client.request_text(Request::get("/api/v1/pods").body(vec![]).unwrap()).await.unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(value["agent"].as_str().unwrap().starts_with("kube-scheduler/"));
        assert_eq!(value["path"], "/api/v1/pods");
    }

    #[test]
    fn a_url_without_a_scheme_is_refused() {
        assert!(matches!(base_uri("10.0.0.1:6443"), Err(ConnectError::Url { .. })));
        assert!(base_uri("https://10.0.0.1:6443").is_ok());
    }
}
