//! Rules of routes made ready for requests. Pure.

use super::Inputs;
use super::cors::Cors;
use super::matching::{Matcher, Needs, expression};
use super::rule::{Choice, Filters, HeaderChange, Mirror, PathChange, Redirect, Rule};
use super::status::Problem;
use super::types;
use super::types::{
    Filter, HeaderModifier, PathModifier, Reference, Rewrite, RouteMatch, RouteRule, ValueMatch,
};
use crate::ingress::encryption::Encryption;
use crate::ingress::options::{Options, Retry};
use crate::ingress::table::{Backend, Pattern, Port};
use http::{HeaderName, HeaderValue};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// A kind of routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HTTPRoute.
    Http,
    /// GRPCRoute.
    Grpc,
    /// TLSRoute.
    Tls,
}

impl Kind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTPRoute",
            Self::Grpc => "GRPCRoute",
            Self::Tls => "TLSRoute",
        }
    }

    /// The name of its resource.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Http => "httproutes",
            Self::Grpc => "grpcroutes",
            Self::Tls => "tlsroutes",
        }
    }
}

/// Requests that a rule is about, and what is done with them.
pub type Compiled = (Vec<(Pattern, Needs)>, Arc<Rule>);

/// Compiles the rules of one route.
pub struct Compiler<'a> {
    /// What there is.
    pub inputs: &'a Inputs<'a>,
    /// The route's kind.
    pub kind: Kind,
    /// The route's namespace.
    pub namespace: &'a str,
    /// References that lead nowhere.
    pub unresolved: Vec<Problem>,
}

impl Compiler<'_> {
    /// One rule. What it refers to and is not there goes to `unresolved`, and its share of requests fails.
    ///
    /// # Errors
    /// When it says something that is not supported.
    pub fn rule(&mut self, rule: &RouteRule) -> Result<Compiled, Problem> {
        let unsupported = |message| Problem::new("UnsupportedValue", message);
        let mut matches = Vec::new();
        let everything = [RouteMatch::default()];
        for one in if rule.matches.is_empty() { &everything } else { rule.matches.as_slice() } {
            matches.push(self.requests(one).map_err(unsupported)?);
        }
        let timeout = duration(rule.timeouts.request.as_deref()).map_err(unsupported)?;
        let each = duration(rule.timeouts.backend_request.as_deref()).map_err(unsupported)?;
        let retry = rule.retry.as_ref().map(retry).transpose().map_err(unsupported)?;
        let filters = self.filters(&rule.filters, Filters::default()).map_err(unsupported)?;
        let mut choices = Vec::new();
        for reference in &rule.backend_refs {
            let filters = self.filters(&reference.filters, filters.clone()).map_err(unsupported)?;
            let resolved = self.backend(reference);
            let mut options = Options {
                upstream_host: filters.host.clone(),
                http2: self.kind == Kind::Grpc,
                retry: retry.clone(),
                ..Options::default()
            };
            if let Some(patience) = each.or(timeout) {
                options.read_timeout = patience;
            }
            let backend = match resolved {
                Ok(found) => {
                    options.http2 |= found.http2;
                    options.encryption = found.encryption;
                    Some(found.backend)
                }
                Err(problem) => {
                    self.unresolved.push(problem);
                    None
                }
            };
            let weight = reference.weight.unwrap_or(1);
            choices.push(Choice { weight, backend, options: Arc::new(options), filters });
        }
        if choices.is_empty() {
            choices.push(Choice { weight: 1, filters, ..Choice::default() });
        }
        Ok((matches, Arc::new(Rule { choices, timeout })))
    }

    fn requests(&self, one: &RouteMatch) -> Result<(Pattern, Needs), String> {
        let mut needs = Needs::default();
        for header in &one.headers {
            let name = header_name(&header.name)?;
            // Of entries with the same name the first one counts.
            if !needs.headers.iter().any(|(known, _)| *known == name) {
                needs.headers.push((name, matcher(header)?));
            }
        }
        for query in &one.query_params {
            if !needs.queries.iter().any(|(known, _)| *known == query.name) {
                needs.queries.push((query.name.clone(), matcher(query)?));
            }
        }
        if self.kind == Kind::Grpc {
            return Ok((method_pattern(&one.method)?, needs));
        }
        if let Some(method) = one.method.as_str() {
            needs.method = Some(method.parse().map_err(|_| format!("{method:?} is no method"))?);
        }
        let path = one.path.clone().unwrap_or_default();
        let value = path.value.as_deref().unwrap_or("/");
        let pattern = match path.kind.as_deref() {
            None | Some("PathPrefix") => Pattern::Prefix(value.trim_end_matches('/').to_owned()),
            Some("Exact") => Pattern::Exact(value.to_owned()),
            Some("RegularExpression") => Pattern::Regex(expression(value)?),
            Some(other) => return Err(format!("matches of type {other} are not supported")),
        };
        Ok((pattern, needs))
    }

    /// What filters do, on top of what those of the rule do already.
    fn filters(&mut self, filters: &[Filter], mut all: Filters) -> Result<Filters, String> {
        for filter in filters {
            match filter.kind.as_str() {
                "RequestHeaderModifier" => all.request.push(change(&filter.request_header_modifier)?),
                "ResponseHeaderModifier" => all.response.push(change(&filter.response_header_modifier)?),
                "RequestRedirect" => all.redirect = Some(redirect(&filter.request_redirect)?),
                "URLRewrite" => {
                    all.host = filter.url_rewrite.hostname.clone().or(all.host);
                    all.path = path(filter.url_rewrite.path.as_ref())?.or(all.path);
                }
                "RequestMirror" => {
                    let mirror = &filter.request_mirror;
                    let (numerator, denominator) = match (mirror.percent, mirror.fraction) {
                        (Some(percent), _) => (percent, 100),
                        (None, Some(part)) => (part.numerator, part.denominator.unwrap_or(100)),
                        (None, None) => (1, 1),
                    };
                    match self.backend(&mirror.backend_ref) {
                        Ok(Resolved { backend, http2, encryption }) => {
                            let http2 = http2 || self.kind == Kind::Grpc;
                            let options = Arc::new(Options { http2, encryption, ..Options::default() });
                            all.mirrors.push(Mirror { backend, options, numerator, denominator });
                        }
                        Err(problem) => self.unresolved.push(problem),
                    }
                }
                "CORS" if self.kind == Kind::Http => all.cors = Some(Arc::new(Cors::read(&filter.cors)?)),
                other => return Err(format!("filters of type {other} are not supported")),
            }
        }
        Ok(all)
    }

    /// The Service that a reference means.
    fn backend(&self, reference: &Reference) -> Result<Resolved, Problem> {
        let group = reference.group.as_deref().unwrap_or_default();
        let kind = reference.kind.as_deref().unwrap_or("Service");
        if !group.is_empty() || kind != "Service" {
            return Err(Problem::new("InvalidKind", format!("backends of kind {kind} are not supported")));
        }
        let namespace = reference.namespace.as_deref().unwrap_or(self.namespace);
        let what = format!("Service {namespace}/{}", reference.name);
        let from = (self.kind.name(), self.namespace);
        if !self.inputs.permits(from, ("Service", namespace, &reference.name)) {
            return Err(Problem::new(
                "RefNotPermitted",
                format!("no ReferenceGrant permits to refer to {what}"),
            ));
        }
        let missing = |what: String| Problem::new("BackendNotFound", format!("there is no {what}"));
        let service =
            (self.inputs.service)(namespace, &reference.name).ok_or_else(|| missing(what.clone()))?;
        let number = reference.port.ok_or_else(|| missing(format!("port in the reference to {what}")))?;
        let mut ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        let port = ports
            .find(|port| port.port == i32::from(number))
            .ok_or_else(|| missing(format!("port {number} of {what}")))?;
        let http2 = port.app_protocol.as_deref() == Some("kubernetes.io/h2c");
        let backend = Backend {
            namespace: namespace.to_owned(),
            service: reference.name.clone(),
            port: Port::Number(number),
        };
        let encryption = self.inputs.policies.of(namespace, &reference.name, port.name.as_deref());
        Ok(Resolved { backend, http2, encryption })
    }
}

/// A Service, and how its endpoints are spoken to.
struct Resolved {
    backend: Backend,
    /// In HTTP/2 even where clients do not.
    http2: bool,
    encryption: Option<Encryption>,
}

/// The path that calls of a service or method have: `/SERVICE/METHOD`.
fn method_pattern(method: &Value) -> Result<Pattern, String> {
    let part = |name: &str| method.get(name).and_then(Value::as_str).filter(|part| !part.is_empty());
    let (service, call) = (part("service"), part("method"));
    let any = "[^/]+";
    match (part("type"), service, call) {
        (_, None, None) => Ok(Pattern::Prefix(String::new())),
        (Some("RegularExpression"), _, _) => {
            let text = format!("/(?:{})/(?:{})", service.unwrap_or(any), call.unwrap_or(any));
            expression(&text).map(Pattern::Regex)
        }
        (None | Some("Exact"), Some(service), Some(call)) => Ok(Pattern::Exact(format!("/{service}/{call}"))),
        (None | Some("Exact"), Some(service), None) => Ok(Pattern::Prefix(format!("/{service}"))),
        (None | Some("Exact"), None, Some(call)) => {
            expression(&format!("/{any}/{}", regex::escape(call))).map(Pattern::Regex)
        }
        (Some(other), ..) => Err(format!("matches of type {other} are not supported")),
    }
}

fn matcher(one: &ValueMatch) -> Result<Matcher, String> {
    Matcher::new(one.kind.as_deref(), one.value.as_deref().unwrap_or_default())
}

fn header_name(name: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is no header"))
}

fn change(modifier: &HeaderModifier) -> Result<HeaderChange, String> {
    let pairs = |list: &[ValueMatch]| {
        list.iter()
            .map(|one| {
                let value = one.value.as_deref().unwrap_or_default();
                let value =
                    HeaderValue::from_str(value).map_err(|_| format!("{value:?} is no value of a header"))?;
                Ok((header_name(&one.name)?, value))
            })
            .collect::<Result<Vec<_>, String>>()
    };
    let remove = modifier.remove.iter().map(|name| header_name(name)).collect::<Result<_, _>>()?;
    Ok(HeaderChange { set: pairs(&modifier.set)?, add: pairs(&modifier.add)?, remove })
}

fn path(modifier: Option<&PathModifier>) -> Result<Option<PathChange>, String> {
    let Some(modifier) = modifier else { return Ok(None) };
    match (modifier.kind.as_str(), &modifier.replace_full_path, &modifier.replace_prefix_match) {
        ("ReplaceFullPath", Some(full), _) => Ok(Some(PathChange::Full(full.clone()))),
        ("ReplacePrefixMatch", _, Some(prefix)) => Ok(Some(PathChange::Prefix(prefix.clone()))),
        (other, ..) => Err(format!("changes of paths of type {other} are not supported")),
    }
}

fn redirect(given: &Rewrite) -> Result<Redirect, String> {
    if let Some(scheme) = given.scheme.as_deref().filter(|scheme| !matches!(*scheme, "http" | "https")) {
        return Err(format!("redirects to scheme {scheme} are not supported"));
    }
    let status = given.status_code.unwrap_or(302);
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        return Err(format!("redirects with status {status} are not supported"));
    }
    Ok(Redirect {
        scheme: given.scheme.clone(),
        host: given.hostname.clone(),
        path: path(given.path.as_ref())?,
        port: given.port,
        status,
    })
}

/// How often something is tried again unless that is said, and after what time.
const ATTEMPTS: u32 = 1;
const BACKOFF: Duration = Duration::from_millis(25);
/// A request is not kept longer with trying.
const MOST_ATTEMPTS: u32 = 100;

fn retry(given: &types::Retry) -> Result<Retry, String> {
    Ok(Retry {
        codes: given.codes.clone(),
        attempts: given.attempts.unwrap_or(ATTEMPTS).min(MOST_ATTEMPTS),
        backoff: match given.backoff.as_deref() {
            // Zero is no time here.
            Some(text) => duration(Some(text))?.filter(|time| *time < Duration::MAX).unwrap_or_default(),
            None => BACKOFF,
        },
    })
}

/// A duration as GEP-2257 writes it: `1h30m`, `500ms`. Zero is for ever.
fn duration(text: Option<&str>) -> Result<Option<Duration>, String> {
    let Some(text) = text else { return Ok(None) };
    let wrong = || format!("{text:?} is no duration");
    let (mut rest, mut sum) = (text, 0_u64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let milliseconds = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1000,
            "ms" => 1,
            _ => return Err(wrong()),
        };
        let number: u32 = number.parse().map_err(|_| wrong())?;
        sum = sum.saturating_add(u64::from(number) * milliseconds);
        rest = tail;
    }
    match (text, sum) {
        ("", _) => Err(wrong()),
        (_, 0) => Ok(Some(Duration::MAX)),
        _ => Ok(Some(Duration::from_millis(sum))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_are_those_of_gep_2257() {
        let of = |text: &str| duration(Some(text)).ok().flatten();
        assert_eq!(of("1h1m1s1ms"), Some(Duration::from_millis(3_661_001)));
        assert_eq!(of("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(of("0s"), Some(Duration::MAX));
        for text in ["", "1", "1x", "s", "-1s", "1.5s"] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn calls_are_found_by_their_paths() {
        let fits = |method: Value, path: &str| method_pattern(&method).unwrap().fits(path);
        let both = json!({"type": "Exact", "service": "a.S", "method": "M"});
        assert!(fits(both.clone(), "/a.S/M") && !fits(both.clone(), "/a.S/N") && !fits(both, "/b.S/M"));
        let service = json!({"service": "a.S"});
        assert!(fits(service.clone(), "/a.S/N") && !fits(service, "/a.Sx/N"));
        let method = json!({"method": "M"});
        assert!(fits(method.clone(), "/any/M") && !fits(method, "/any/MN"));
        let expression = json!({"type": "RegularExpression", "service": "a\\.[A-Z]"});
        assert!(fits(expression.clone(), "/a.S/M") && !fits(expression, "/aXS/M"));
        assert!(fits(Value::Null, "/any/thing"));
    }
}
