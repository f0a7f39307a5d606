//! Which backend a request goes to: a table compiled from Ingresses, and from routes of the Gateway API. Pure.

use super::encryption::Source;
use super::gateway::{Needs, Output, Rule, fits};
use super::options::{Canary, Options};
use ::http::{HeaderMap, Method};
use k8s_openapi::api::networking::v1::{Ingress, IngressBackend};
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Which port a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// 80.
    Plain,
    /// 443.
    Secure,
}

impl Side {
    /// What its addresses begin with.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Plain => "http",
            Self::Secure => "https",
        }
    }
}

/// What of a request is looked at.
pub struct Asked<'a> {
    /// The port that it came to.
    pub side: Side,
    /// In lower case and without its port.
    pub host: &'a str,
    /// The path.
    pub path: &'a str,
    /// The query.
    pub query: Option<&'a str>,
    /// The method.
    pub method: &'a Method,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// Namespace of the Service.
    pub namespace: String,
    /// The Service.
    pub service: String,
    /// Its port.
    pub port: Port,
}

impl Backend {
    /// A port by its number.
    #[cfg(test)]
    pub fn number(namespace: &str, service: &str, port: u16) -> Self {
        Self { namespace: namespace.to_owned(), service: service.to_owned(), port: Port::Number(port) }
    }
}

/// A port of a Service, as an Ingress names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Port {
    /// By number.
    Number(u16),
    /// By name.
    Name(String),
}

/// What a path is compared with.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// It is this.
    Exact(String),
    /// Without a slash at its end; the path's elements begin with these.
    Prefix(String),
    /// It fits this.
    Regex(Regex),
}

impl Pattern {
    /// Whether a path fits.
    pub fn fits(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => path
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Self::Regex(regex) => regex.is_match(path),
        }
    }
}

/// One path of one host.
#[derive(Clone, Debug)]
pub struct Route {
    /// The path.
    pub pattern: Pattern,
    /// Where its requests go.
    pub target: Target,
    /// What else has to be so; nothing for Ingresses.
    pub attachment: Option<Attachment>,
}

/// Where requests go.
#[derive(Clone, Debug)]
pub enum Target {
    /// As an Ingress says.
    Path(Path),
    /// As a route of the Gateway API says.
    Rule(Arc<Rule>),
}

/// What an Ingress says of a path.
#[derive(Clone, Debug)]
pub struct Path {
    /// Where its requests go.
    pub backend: Backend,
    /// How.
    pub options: Arc<Options>,
    /// Alternatives, and who gets them.
    pub canaries: Vec<(Canary, Backend, Arc<Options>)>,
}

/// A listener, and what requests have to look like.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Its number among all.
    pub listener: usize,
    /// Besides the path.
    pub needs: Arc<Needs>,
}

/// What a listener of a Gateway hears. Of one Gateway's the most specific one gets a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The number of the Gateway.
    pub gateway: usize,
    /// Its number among the listeners of all.
    pub listener: usize,
    /// The port.
    pub side: Side,
    /// A host, `*.` and the end of one, or nothing for all.
    pub hostname: String,
}

/// Where a connection goes by the name that its TLS asks for.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Whether TLS ends here.
    pub terminate: bool,
    /// Who gets it.
    pub rule: Arc<Rule>,
}

impl Route {
    /// What the path of an Ingress becomes.
    pub fn rewritten(&self, options: &Options, path: &str) -> Option<String> {
        let target = options.rewrite.as_deref()?;
        match &self.pattern {
            Pattern::Regex(regex) => {
                let groups = regex.captures(path)?;
                let mut out = String::new();
                // `$1a` is the first group and an `a`, as nginx has it.
                let mut rest = target;
                while let Some((before, after)) = rest.split_once('$') {
                    out.push_str(before);
                    let digit = after.chars().next().and_then(|c| c.to_digit(10));
                    match digit {
                        Some(group) => {
                            out.push_str(groups.get(group as usize).map_or("", |group| group.as_str()));
                            rest = after.get(1..).unwrap_or("");
                        }
                        None => {
                            out.push('$');
                            rest = after;
                        }
                    }
                }
                out.push_str(rest);
                Some(out)
            }
            _ => Some(target.to_owned()),
        }
    }

    /// Whether a request is meant, whose host has lost `labels` of its own to a wildcard.
    fn takes(&self, asked: &Asked<'_>, labels: usize, listeners: &[usize]) -> bool {
        let attached = match &self.attachment {
            // The wildcard of an Ingress is one label.
            None => labels <= 1,
            Some(to) => {
                listeners.contains(&to.listener) && to.needs.met(asked.method, asked.headers, asked.query)
            }
        };
        attached && self.pattern.fits(asked.path)
    }

    /// The first that takes a request counts: the longest path, of those the exact one, then what asks for more.
    fn rank(&self) -> (usize, bool, (bool, usize, usize)) {
        let needs = self.attachment.as_ref().map(|to| to.needs.rank()).unwrap_or_default();
        match &self.pattern {
            Pattern::Exact(text) => (text.len(), true, needs),
            Pattern::Prefix(text) => (text.len(), false, needs),
            Pattern::Regex(regex) => (regex.as_str().len(), false, needs),
        }
    }
}

/// All that there is.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// By host: names, `*.` and the rest of a name, and nothing for all.
    hosts: BTreeMap<String, Vec<Route>>,
    /// `NAMESPACE/NAME` of Secrets with certificates, by host; nothing for all that an Ingress does not name.
    pub certificates: BTreeMap<String, String>,
    /// Listeners of Gateways.
    heard: Vec<Heard>,
    /// `NAMESPACE/NAME` of Secrets with certificates of listeners, by what these hear.
    listener_certificates: Vec<(String, String)>,
    /// Connections by the names that they ask for.
    streams: Vec<(String, Stream)>,
    /// What of the objects makes no sense.
    pub wrong: Vec<String>,
}

impl Table {
    /// Compiles. Of two Ingresses with the same path the older one counts.
    pub fn compile(ingresses: &[Arc<Ingress>]) -> Self {
        let mut table = Self::default();
        let mut sorted: Vec<&Arc<Ingress>> = ingresses.iter().collect();
        let time = |i: &Ingress| i.metadata.creation_timestamp.as_ref().map(|time| time.0);
        sorted.sort_by_key(|i| (time(i), i.metadata.namespace.clone(), i.metadata.name.clone()));
        let mut canaries = Vec::new();
        for ingress in sorted {
            let (options, wrong) = Options::read(ingress);
            let name =
                format!("{}/{}", namespace(ingress), ingress.metadata.name.as_deref().unwrap_or_default());
            table.wrong.extend(wrong.into_iter().map(|why| format!("{name}: {why}")));
            if options.canary.is_some() {
                canaries.push((ingress, Arc::new(options)));
            } else {
                table.add(ingress, &name, Arc::new(options));
            }
        }
        for (ingress, options) in canaries {
            table.add_canary(ingress, &options);
        }
        table.sort();
        table
    }

    /// With what the Gateway API says. Where both say the same, Ingresses count.
    pub fn join(&mut self, output: &mut Output) {
        for (host, route) in output.routes.drain(..) {
            self.hosts.entry(host).or_default().push(route);
        }
        self.sort();
        self.heard = std::mem::take(&mut output.heard);
        self.listener_certificates = std::mem::take(&mut output.certificates);
        self.streams = std::mem::take(&mut output.streams);
    }

    fn sort(&mut self) {
        for routes in self.hosts.values_mut() {
            // Stable: the older one stays first.
            routes.sort_by_key(|route| std::cmp::Reverse(route.rank()));
        }
    }

    fn add(&mut self, ingress: &Ingress, name: &str, options: Arc<Options>) {
        let Some(spec) = &ingress.spec else { return };
        for tls in spec.tls.iter().flatten() {
            let Some(secret) = &tls.secret_name else { continue };
            let secret = format!("{}/{secret}", namespace(ingress));
            for host in tls.hosts.iter().flatten() {
                self.certificates.entry(host.to_ascii_lowercase()).or_insert_with(|| secret.clone());
            }
            if tls.hosts.iter().flatten().next().is_none() {
                for host in spec.rules.iter().flatten().filter_map(|rule| rule.host.as_ref()) {
                    self.certificates.entry(host.to_ascii_lowercase()).or_insert_with(|| secret.clone());
                }
            }
        }
        for (host, pattern, backend) in paths(ingress, options.regex, &mut |why| {
            self.wrong.push(format!("{name}: {why}"));
        }) {
            self.hosts.entry(host).or_default().push(route(pattern, backend, options.clone()));
        }
        if let Some(backend) = spec.default_backend.as_ref().and_then(|b| backend(ingress, b)) {
            let pattern = Pattern::Prefix(String::new());
            self.hosts.entry(String::new()).or_default().push(route(pattern, backend, options));
        }
    }

    fn add_canary(&mut self, ingress: &Ingress, options: &Arc<Options>) {
        let Some(canary) = &options.canary else { return };
        for (host, pattern, backend) in paths(ingress, options.regex, &mut |_| ()) {
            let same = |route: &&mut Route| match (&route.pattern, &pattern) {
                (Pattern::Exact(a), Pattern::Exact(b)) | (Pattern::Prefix(a), Pattern::Prefix(b)) => a == b,
                (Pattern::Regex(a), Pattern::Regex(b)) => a.as_str() == b.as_str(),
                _ => false,
            };
            let found = self.hosts.get_mut(&host).and_then(|routes| routes.iter_mut().find(same));
            if let Some(Route { target: Target::Path(path), .. }) = found {
                path.canaries.push((canary.clone(), backend, options.clone()));
            }
        }
    }

    /// The route of a request.
    pub fn find(&self, asked: &Asked<'_>) -> Option<&Route> {
        let listeners = self.listeners(asked.side, asked.host);
        let of = |host: &str, labels| {
            self.hosts.get(host)?.iter().find(|route| route.takes(asked, labels, &listeners))
        };
        // From a wildcard for one label to one for all but the last.
        let below = || {
            let dots = asked.host.match_indices('.');
            let wildcard = |(at, _): (usize, &str)| format!("*{}", asked.host.get(at..).unwrap_or_default());
            dots.map(wildcard).enumerate().find_map(|(at, host)| of(&host, at + 1))
        };
        of(asked.host, 0).or_else(below).or_else(|| of("", 0))
    }

    /// Of each Gateway the listener that hears a host best.
    fn listeners(&self, side: Side, host: &str) -> Vec<usize> {
        let mut best: Vec<(&Heard, usize)> = Vec::new();
        for heard in self.heard.iter().filter(|heard| heard.side == side) {
            let Some(fit) = fits(&heard.hostname, host) else { continue };
            match best.last_mut() {
                Some(last) if last.0.gateway == heard.gateway => {
                    if fit > last.1 {
                        *last = (heard, fit);
                    }
                }
                _ => best.push((heard, fit)),
            }
        }
        best.iter().map(|(heard, _)| heard.listener).collect()
    }

    /// Whether some connections go elsewhere than to HTTPS.
    pub fn has_streams(&self) -> bool {
        !self.streams.is_empty()
    }

    /// Where a connection goes that asks for a name; none when it is for HTTPS.
    pub fn stream(&self, name: &str) -> Option<&Stream> {
        let fit = |(host, stream)| fits(host, name).map(|fit| (fit, stream));
        let fitting = self.streams.iter().filter_map(|(host, stream)| fit((host, stream)));
        // The first of those that fit best: the oldest one.
        let (best, stream) = fitting.reduce(|best, other| if other.0 > best.0 { other } else { best })?;
        let of_listener =
            |heard: &Heard| (heard.side == Side::Secure).then(|| fits(&heard.hostname, name)).flatten();
        let other = self.heard.iter().filter_map(of_listener).max();
        let taken = self.hosts.contains_key(name) && best < usize::MAX;
        (!taken && other.is_none_or(|other| other <= best)).then_some(stream)
    }

    /// The Secret with the certificate that an Ingress has for a host.
    pub fn certificate(&self, host: &str) -> Option<&str> {
        let wildcard = || host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let found = self.certificates.get(host).or_else(|| self.certificates.get(&wildcard()?));
        found.map(String::as_str)
    }

    /// The Secrets with certificates of which clients are shown one who ask for a host, in order.
    pub fn shown(&self, host: &str) -> Vec<&str> {
        let all = || {
            let listed = self.listener_certificates.iter();
            listed.filter_map(|(pattern, secret)| Some((fits(pattern, host)?, secret)))
        };
        let best = all().map(|(fit, _)| fit).max();
        match (self.certificate(host), best) {
            // As specific as one of a listener, or the only one.
            (Some(secret), Some(fit)) if fit < usize::MAX || self.certificates.contains_key(host) => {
                vec![secret]
            }
            (_, Some(best)) => {
                all().filter(|(fit, _)| *fit == best).map(|(_, secret)| secret.as_str()).collect()
            }
            (found, None) => found.into_iter().collect(),
        }
    }

    /// Every Secret with a certificate that is named.
    pub fn certificate_secrets(&self) -> BTreeSet<String> {
        self.certificates
            .values()
            .chain(self.listener_certificates.iter().map(|(_, secret)| secret))
            .cloned()
            .collect()
    }

    /// Every backend that is named.
    pub fn backends(&self) -> BTreeSet<Backend> {
        let mut all = BTreeSet::new();
        let of_rule = |rule: &Rule, all: &mut BTreeSet<Backend>| {
            all.extend(rule.choices.iter().filter_map(|choice| choice.backend.clone()));
            all.extend(rule.mirrors().map(|mirror| mirror.backend.clone()));
        };
        for route in self.hosts.values().flatten() {
            match &route.target {
                Target::Path(path) => {
                    all.insert(path.backend.clone());
                    all.extend(path.canaries.iter().map(|(_, backend, _)| backend.clone()));
                }
                Target::Rule(rule) => of_rule(rule, &mut all),
            }
        }
        for (_, stream) in &self.streams {
            of_rule(&stream.rule, &mut all);
        }
        all
    }

    /// Everything with certificates for TLS to endpoints.
    pub fn sources(&self) -> BTreeSet<Source> {
        let of_path = self.options().map(|options| &options.encryption);
        let rules = self.hosts.values().flatten().filter_map(|route| match &route.target {
            Target::Rule(rule) => Some(rule),
            Target::Path(_) => None,
        });
        let of_rule = rules.flat_map(|rule| rule.options()).map(|options| &options.encryption);
        of_path.chain(of_rule).filter_map(|encryption| encryption.as_ref()?.source.clone()).collect()
    }

    /// How each path of an Ingress is dealt with.
    fn options(&self) -> impl Iterator<Item = &Arc<Options>> {
        self.hosts.values().flatten().filter_map(|route| match &route.target {
            Target::Path(path) => Some(&path.options),
            Target::Rule(_) => None,
        })
    }

    /// Every Secret with users.
    pub fn user_secrets(&self) -> BTreeSet<String> {
        self.options()
            .filter_map(|options| options.basic_auth.as_ref().map(|(secret, _)| secret.clone()))
            .collect()
    }
}

fn route(pattern: Pattern, backend: Backend, options: Arc<Options>) -> Route {
    Route { pattern, target: Target::Path(Path { backend, options, canaries: Vec::new() }), attachment: None }
}

fn namespace(ingress: &Ingress) -> &str {
    ingress.metadata.namespace.as_deref().unwrap_or_default()
}

fn backend(ingress: &Ingress, backend: &IngressBackend) -> Option<Backend> {
    let service = backend.service.as_ref()?;
    let port = service.port.as_ref()?;
    let port = match (&port.name, port.number) {
        (_, Some(number)) => Port::Number(u16::try_from(number).ok()?),
        (Some(name), None) => Port::Name(name.clone()),
        (None, None) => return None,
    };
    Some(Backend { namespace: namespace(ingress).to_owned(), service: service.name.clone(), port })
}

fn paths(ingress: &Ingress, regex: bool, wrong: &mut dyn FnMut(String)) -> Vec<(String, Pattern, Backend)> {
    let mut all = Vec::new();
    for rule in ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten()) {
        let host = rule.host.as_deref().unwrap_or_default().to_ascii_lowercase();
        for path in rule.http.iter().flat_map(|http| &http.paths) {
            let Some(backend) = backend(ingress, &path.backend) else { continue };
            let text = path.path.as_deref().unwrap_or("/");
            let pattern = match path.path_type.as_str() {
                "Exact" => Pattern::Exact(text.to_owned()),
                "ImplementationSpecific" if regex => {
                    // Bounded: an expression of a page must not take the memory of all.
                    let built = regex::RegexBuilder::new(&format!("^{text}"))
                        .case_insensitive(true)
                        .size_limit(1 << 20)
                        .build();
                    match built {
                        Ok(regex) => Pattern::Regex(regex),
                        Err(error) => {
                            wrong(format!("path {text:?}: {error}"));
                            continue;
                        }
                    }
                }
                _ => Pattern::Prefix(text.trim_end_matches('/').to_owned()),
            };
            all.push((host.clone(), pattern, backend));
        }
    }
    all
}
