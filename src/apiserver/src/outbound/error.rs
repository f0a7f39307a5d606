//! Why a call got no answer, in the words of Go's HTTP client: they end up in messages that people search for.

use apimachinery::causes::chain;
use http::{Method, Uri};
use rustls::CertificateError;
use std::io;
use std::time::Duration;

/// Why a call got no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{method} \"{url}\": {cause}")]
pub struct OutboundError {
    method: String,
    url: String,
    cause: Cause,
}

/// What went wrong.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Cause {
    /// No connection came to be: the request has not been seen by anybody.
    #[error("{0}")]
    Connect(String),
    /// The connection ended before the answer did.
    #[error("{0}")]
    Lost(String),
    /// It took too long.
    #[error("context deadline exceeded")]
    Timeout(Duration),
    /// The answer is larger than the caller takes.
    #[error("http: response body too large: limit is {0}")]
    TooLarge(usize),
}

impl OutboundError {
    pub(super) fn new(method: &Method, url: &Uri, cause: Cause) -> Self {
        // As Go writes methods in errors: "Post".
        let mut name = method.as_str().to_ascii_lowercase();
        if let Some(first) = name.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Self { method: name, url: url.to_string(), cause }
    }

    pub(super) fn url(url: &str, why: &http::Error) -> Self {
        Self { method: "parse".to_owned(), url: url.to_owned(), cause: Cause::Connect(why.to_string()) }
    }

    /// Whether the time that was given has passed.
    pub fn is_timeout(&self) -> bool {
        matches!(self.cause, Cause::Timeout(_))
    }

    /// Whether nobody has seen the request.
    pub fn is_connect(&self) -> bool {
        matches!(self.cause, Cause::Connect(_))
    }

    /// What went wrong, without the URL.
    pub fn cause(&self) -> String {
        self.cause.to_string()
    }
}

/// What an error of the HTTP client means.
pub(super) fn client_cause(error: &hyper_util::client::legacy::Error) -> Cause {
    let source = std::error::Error::source(error);
    if error.is_connect() {
        return Cause::Connect(source.map_or_else(|| error.to_string(), chain));
    }
    match source.and_then(|e| e.downcast_ref::<hyper::Error>()) {
        Some(inner) => Cause::Lost(hyper_cause(inner)),
        None => Cause::Lost(source.map_or_else(|| error.to_string(), chain)),
    }
}

/// What an error of a connection in use means.
pub(super) fn hyper_cause(error: &hyper::Error) -> String {
    if error.is_incomplete_message() || error.is_closed() {
        return "EOF".to_owned();
    }
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(inner) = inner.downcast_ref::<io::Error>() {
            return format!("read: {}", io_cause(inner));
        }
        source = inner.source();
    }
    chain(error)
}

/// The operating system's errors as Go has them.
pub(super) fn io_cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset by peer".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "connection timed out".to_owned(),
        io::ErrorKind::BrokenPipe => "broken pipe".to_owned(),
        io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_owned()
        }
    }
}

/// Why a TLS handshake failed.
pub(super) fn tls_cause(error: &io::Error) -> String {
    let Some(inner) = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) else {
        return io_cause(error);
    };
    match inner {
        rustls::Error::InvalidCertificate(why) => {
            format!("tls: failed to verify certificate: x509: {}", certificate_cause(why))
        }
        rustls::Error::AlertReceived(alert) => format!("remote error: tls: {alert:?}"),
        rustls::Error::InvalidMessage(_) => "tls: first record does not look like a TLS handshake".to_owned(),
        other => format!("tls: {other}"),
    }
}

fn certificate_cause(why: &CertificateError) -> String {
    let second = |at: rustls_pki_types::UnixTime| {
        let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
        jiff::Timestamp::from_second(seconds).map(apimachinery::time::rfc3339).unwrap_or_default()
    };
    match why {
        CertificateError::UnknownIssuer => "certificate signed by unknown authority".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => format!(
            "certificate has expired or is not yet valid: current time {} is after {}",
            second(*time),
            second(*not_after)
        ),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "certificate has expired or is not yet valid: current time {} is before {}",
            second(*time),
            second(*not_before)
        ),
        CertificateError::NotValidForNameContext { expected, presented } => {
            // Addresses are told of where an address was wanted, names where a name was.
            let by_address = matches!(expected, rustls_pki_types::ServerName::IpAddress(_));
            let mut names: Vec<&str> = presented
                .iter()
                .filter(|name| name.starts_with("IpAddress(") == by_address)
                .map(|name| plain_name(name))
                .collect();
            names.sort_unstable();
            let expected = expected.to_str();
            match (names.is_empty(), by_address) {
                (false, _) => format!("certificate is valid for {}, not {expected}", names.join(", ")),
                (true, true) => format!(
                    "cannot validate certificate for {expected} because it doesn't contain any IP SANs"
                ),
                (true, false) => {
                    format!("certificate is not valid for any names, but wanted to match {expected}")
                }
            }
        }
        CertificateError::BadSignature => "certificate signed by unknown authority".to_owned(),
        other => other.to_string(),
    }
}

/// `web.a.svc` of `DnsName("web.a.svc")`, `10.0.0.1` of `IpAddress(10.0.0.1)`.
fn plain_name(presented: &str) -> &str {
    let inner = presented.split_once('(').map_or(presented, |(_, rest)| rest.trim_end_matches(')'));
    inner.trim_matches('"')
}
