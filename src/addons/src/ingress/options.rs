//! What annotations ask for: those of ingress-nginx that people use. Pure.

use super::encryption::{Encryption, Source};
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::Ingress;
use std::net::IpAddr;
use std::time::Duration;

const PREFIX: &str = "nginx.ingress.kubernetes.io/";
/// As nginx's: what a server may take to say something.
const READ: Duration = Duration::from_secs(60);
/// As nginx's: how often another endpoint is tried when one cannot be reached.
const TRIES: usize = 3;

/// How requests of one Ingress are dealt with.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// What the path becomes; `$1` is what the path's first group matched.
    pub rewrite: Option<String>,
    /// Paths are regular expressions.
    pub regex: bool,
    /// Where `/` leads.
    pub app_root: Option<String>,
    /// Send to https: when the host has a certificate (`true` unless said), or always.
    pub ssl_redirect: bool,
    /// Send to https even without a certificate of the host's own.
    pub force_ssl_redirect: bool,
    /// Send elsewhere, with this status.
    pub redirect: Option<(u16, String)>,
    /// Endpoints speak HTTP/2 (gRPC).
    pub http2: bool,
    /// Endpoints speak TLS.
    pub encryption: Option<Encryption>,
    /// How long an endpoint may take to answer.
    pub read_timeout: Duration,
    /// How many endpoints are tried when they cannot be reached.
    pub tries: usize,
    /// What is tried again besides.
    pub retry: Option<Retry>,
    /// The largest body of a request in bytes; any when none.
    pub body_size: Option<u64>,
    /// Requests a second of one client, on average.
    pub rate: Option<f64>,
    /// Who may come; everybody when empty.
    pub allowed: Vec<IpNet>,
    /// `NAMESPACE/NAME` of the Secret with users, and the realm.
    pub basic_auth: Option<(String, String)>,
    /// Name of the cookie by which a client keeps its endpoint.
    pub sticky: Option<String>,
    /// The `Host` that endpoints see, instead of the client's.
    pub upstream_host: Option<String>,
    /// This Ingress is an alternative to another one.
    pub canary: Option<Canary>,
}

/// What is tried again: whoever cannot be reached or does not answer, and some answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Retry {
    /// Statuses of these answers.
    pub codes: Vec<u16>,
    /// How often.
    pub attempts: u32,
    /// After what time.
    pub backoff: Duration,
}

/// Who gets the alternative.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Canary {
    /// Of 100.
    pub weight: u32,
    /// Requests with this header, and this value (`always` when none).
    pub header: Option<(String, Option<String>)>,
    /// Requests whose cookie of this name is `always`.
    pub cookie: Option<String>,
}

impl Canary {
    /// Whether a request gets it; `chance` is one of 0 to 99. A header decides before a cookie, that before chance.
    pub fn takes(
        &self,
        header: impl Fn(&str) -> Option<String>,
        cookie: impl Fn(&str) -> Option<String>,
        chance: u32,
    ) -> bool {
        if let Some((name, wanted)) = &self.header
            && let Some(value) = header(name)
        {
            match wanted {
                Some(wanted) if *wanted == value => return true,
                Some(_) => {}
                None if value == "always" => return true,
                None if value == "never" => return false,
                None => {}
            }
        }
        match self.cookie.as_deref().and_then(cookie).as_deref() {
            Some("always") => true,
            Some("never") => false,
            _ => chance < self.weight,
        }
    }
}

impl Default for Options {
    /// Those of an Ingress that says nothing.
    fn default() -> Self {
        Self::read(&Ingress::default()).0
    }
}

impl Options {
    /// Reads the annotations of an Ingress; what makes no sense is told and left out.
    pub fn read(ingress: &Ingress) -> (Self, Vec<String>) {
        let annotations = ingress.metadata.annotations.as_ref();
        let mut wrong = Vec::new();
        let text =
            |name: &str| annotations?.get(&format!("{PREFIX}{name}")).map(|value| value.trim().to_owned());
        let mut parsed = |name: &str, read: &dyn Fn(&str) -> Option<f64>| {
            let value = text(name)?;
            let found = read(&value).filter(|number| *number >= 0.0);
            if found.is_none() {
                wrong.push(format!("{PREFIX}{name}: {value:?} makes no sense"));
            }
            found
        };
        let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
        let rate = parsed("limit-rps", &number).or(parsed("limit-rpm", &number).map(|rpm| rpm / 60.0));
        let read_timeout = parsed("proxy-read-timeout", &number);
        let tries = parsed("proxy-next-upstream-tries", &number);
        let body_size = parsed("proxy-body-size", &size).filter(|size| *size > 0.0);
        let weight = parsed("canary-weight", &number);
        let permanent_code = parsed("permanent-redirect-code", &number);
        let is = |name: &str| text(name).as_deref() == Some("true");
        let protocol = text("backend-protocol").unwrap_or_default().to_ascii_uppercase();
        if !matches!(protocol.as_str(), "" | "HTTP" | "GRPC" | "HTTPS" | "GRPCS") {
            wrong.push(format!("{PREFIX}backend-protocol: {protocol} is not supported"));
        }
        let redirect = text("permanent-redirect").map(|to| (permanent_code.unwrap_or(301.0) as u16, to));
        let ranges = text("whitelist-source-range").or_else(|| text("allowlist-source-range"));
        let mut allowed = Vec::new();
        for range in ranges.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|r| !r.is_empty()) {
            match range.parse::<IpNet>().or_else(|_| range.parse::<IpAddr>().map(IpNet::from)) {
                Ok(net) => allowed.push(net),
                Err(_) => wrong.push(format!("{range:?} is no range of addresses")),
            }
        }
        if ranges.is_some() && allowed.is_empty() {
            // Nobody rather than everybody.
            allowed.extend("255.255.255.255/32".parse::<IpNet>());
        }
        let namespace = ingress.metadata.namespace.clone().unwrap_or_default();
        let secret = text("auth-secret").filter(|_| text("auth-type").as_deref() == Some("basic"));
        let on = |name: &str| text(name).as_deref() == Some("on");
        let encryption = matches!(protocol.as_str(), "HTTPS" | "GRPCS").then(|| Encryption {
            name: text("proxy-ssl-name"),
            tells_name: on("proxy-ssl-server-name"),
            verifies: on("proxy-ssl-verify"),
            source: text("proxy-ssl-secret").map(|name| Source::Secret(own(&namespace, &name))),
            ..Encryption::default()
        });
        let options = Self {
            rewrite: text("rewrite-target"),
            regex: is("use-regex") || text("rewrite-target").is_some_and(|target| target.contains('$')),
            app_root: text("app-root"),
            ssl_redirect: text("ssl-redirect").as_deref() != Some("false"),
            force_ssl_redirect: is("force-ssl-redirect"),
            redirect: redirect.or_else(|| text("temporal-redirect").map(|to| (302, to))),
            http2: matches!(protocol.as_str(), "GRPC" | "GRPCS"),
            encryption,
            read_timeout: read_timeout.and_then(|s| Duration::try_from_secs_f64(s).ok()).unwrap_or(READ),
            retry: None,
            tries: tries.map_or(TRIES, |tries| (tries as usize).max(1)),
            body_size: body_size.map(|size| size as u64),
            rate: rate.filter(|rate| *rate > 0.0),
            allowed,
            basic_auth: secret.map(|name| {
                let realm = text("auth-realm").unwrap_or_else(|| "Authentication Required".to_owned());
                (own(&namespace, &name), realm)
            }),
            sticky: (text("affinity").as_deref() == Some("cookie"))
                .then(|| text("session-cookie-name").unwrap_or_else(|| "INGRESSCOOKIE".to_owned())),
            upstream_host: text("upstream-vhost"),
            canary: is("canary").then(|| Canary {
                weight: weight.unwrap_or(0.0) as u32,
                header: text("canary-by-header").map(|name| (name, text("canary-by-header-value"))),
                cookie: text("canary-by-cookie"),
            }),
        };
        (options, wrong)
    }
}

/// A Secret by its name: those of other namespaces are not an Ingress's to use.
fn own(namespace: &str, name: &str) -> String {
    format!("{namespace}/{}", name.rsplit('/').next().unwrap_or_default())
}

/// Bytes as nginx writes them: `8m`, `512k`, `1g`, `0` for any.
fn size(text: &str) -> Option<f64> {
    let text = text.to_ascii_lowercase();
    let (number, factor) = match text.char_indices().last()? {
        (at, 'k') => (text.get(..at)?, 1024.0),
        (at, 'm') => (text.get(..at)?, 1024.0 * 1024.0),
        (at, 'g') => (text.get(..at)?, 1024.0 * 1024.0 * 1024.0),
        _ => (text.as_str(), 1.0),
    };
    number.parse::<u32>().ok().map(|number| f64::from(number) * factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, json};

    fn read(annotations: &[(&str, &str)]) -> (Options, Vec<String>) {
        let all: Map<_, _> = annotations.iter().map(|(k, v)| (format!("{PREFIX}{k}"), json!(v))).collect();
        let ingress = json!({"metadata": {"namespace": "n", "name": "i", "annotations": all}});
        Options::read(&serde_json::from_value(ingress).unwrap())
    }

    #[test]
    fn annotations_are_those_of_ingress_nginx() {
        let (options, wrong) = read(&[
            ("rewrite-target", "/$2"),
            ("proxy-body-size", "8m"),
            ("proxy-read-timeout", "5"),
            ("limit-rpm", "120"),
            ("auth-type", "basic"),
            ("auth-secret", "other/users"),
            ("affinity", "cookie"),
            ("backend-protocol", "GRPC"),
            ("whitelist-source-range", "10.0.0.0/8, 192.0.2.1"),
            ("permanent-redirect", "https://x"),
        ]);
        assert_eq!(wrong, Vec::<String>::new());
        assert!(options.regex && options.http2 && options.ssl_redirect);
        assert_eq!(options.body_size, Some(8 << 20));
        assert_eq!(options.read_timeout, Duration::from_secs(5));
        assert_eq!(options.rate, Some(2.0));
        assert_eq!(options.basic_auth.unwrap().0, "n/users");
        assert_eq!(options.sticky.as_deref(), Some("INGRESSCOOKIE"));
        assert_eq!(options.allowed.len(), 2);
        assert_eq!(options.redirect, Some((301, "https://x".to_owned())));
    }

    #[test]
    fn endpoints_that_speak_tls_are_verified_when_that_is_asked_for() {
        let (options, _) = read(&[("backend-protocol", "GRPCS")]);
        assert_eq!((options.http2, options.encryption), (true, Some(Encryption::default())));
        let (options, wrong) = read(&[
            ("backend-protocol", "https"),
            ("proxy-ssl-verify", "on"),
            ("proxy-ssl-name", "s.example"),
            ("proxy-ssl-server-name", "on"),
            ("proxy-ssl-secret", "other/ca"),
        ]);
        assert_eq!(wrong, Vec::<String>::new());
        let expected = Encryption {
            name: Some("s.example".to_owned()),
            tells_name: true,
            verifies: true,
            source: Some(Source::Secret("n/ca".to_owned())),
            ..Encryption::default()
        };
        assert_eq!((options.http2, options.encryption), (false, Some(expected)));
    }

    #[test]
    fn what_makes_no_sense_is_told_and_lets_nobody_in() {
        let (options, wrong) = read(&[
            ("limit-rps", "many"),
            ("proxy-body-size", "8x"),
            ("backend-protocol", "FCGI"),
            ("whitelist-source-range", "anywhere"),
            ("proxy-read-timeout", "-1"),
        ]);
        assert_eq!(wrong.len(), 5, "{wrong:?}");
        assert_eq!((options.rate, options.body_size, options.read_timeout), (None, None, READ));
        assert!(!options.allowed.is_empty());
    }

    #[test]
    fn a_canary_goes_by_header_then_cookie_then_chance() {
        let canary = Canary {
            weight: 20,
            header: Some(("x-canary".to_owned(), None)),
            cookie: Some("canary".to_owned()),
        };
        let takes = |header: Option<&str>, cookie: Option<&str>, chance| {
            canary.takes(|_| header.map(str::to_owned), |_| cookie.map(str::to_owned), chance)
        };
        assert!(takes(Some("always"), Some("never"), 99) && !takes(Some("never"), Some("always"), 0));
        assert!(takes(Some("other"), Some("always"), 99));
        assert!(takes(None, None, 19) && !takes(None, None, 20));
    }
}
