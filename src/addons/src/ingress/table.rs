//! Which backend a request goes to: a table compiled from Ingress objects. Pure.

use super::options::{Canary, Options};
use k8s_openapi::api::networking::v1::{Ingress, IngressBackend};
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
enum Pattern {
    Exact(String),
    /// Without a slash at its end; the path's elements begin with these.
    Prefix(String),
    Regex(Regex),
}

/// One path of one host.
#[derive(Clone, Debug)]
pub struct Route {
    pattern: Pattern,
    /// Where its requests go.
    pub backend: Backend,
    /// How.
    pub options: Arc<Options>,
    /// Alternatives, and who gets them.
    pub canaries: Vec<(Canary, Backend, Arc<Options>)>,
}

impl Route {
    /// What the path becomes.
    pub fn rewritten(&self, path: &str) -> Option<String> {
        let target = self.options.rewrite.as_deref()?;
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

    fn matches(&self, path: &str) -> bool {
        match &self.pattern {
            Pattern::Exact(exact) => path == exact,
            Pattern::Prefix(prefix) => path
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Pattern::Regex(regex) => regex.is_match(path),
        }
    }

    /// The first that matches counts: the longest, and of those the exact one.
    fn rank(&self) -> (usize, bool) {
        match &self.pattern {
            Pattern::Exact(text) => (text.len(), true),
            Pattern::Prefix(text) => (text.len(), false),
            Pattern::Regex(regex) => (regex.as_str().len(), false),
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
        for routes in table.hosts.values_mut() {
            // Stable: the older one stays first.
            routes.sort_by_key(|route| std::cmp::Reverse(route.rank()));
        }
        table
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
            let route = Route { pattern, backend, options: options.clone(), canaries: Vec::new() };
            self.hosts.entry(host).or_default().push(route);
        }
        if let Some(backend) = spec.default_backend.as_ref().and_then(|b| backend(ingress, b)) {
            let pattern = Pattern::Prefix(String::new());
            let route = Route { pattern, backend, options, canaries: Vec::new() };
            self.hosts.entry(String::new()).or_default().push(route);
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
            if let Some(route) = self.hosts.get_mut(&host).and_then(|routes| routes.iter_mut().find(same)) {
                route.canaries.push((canary.clone(), backend, options.clone()));
            }
        }
    }

    /// The route of a request; `host` in lower case and without its port.
    pub fn find(&self, host: &str, path: &str) -> Option<&Route> {
        let wildcard = host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let of = |host: &str| self.hosts.get(host)?.iter().find(|route| route.matches(path));
        of(host).or_else(|| of(&wildcard?)).or_else(|| of(""))
    }

    /// The Secret with the certificate of a host.
    pub fn certificate(&self, host: &str) -> Option<&str> {
        let wildcard = || host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let found = self.certificates.get(host).or_else(|| self.certificates.get(&wildcard()?));
        found.map(String::as_str)
    }

    /// Every backend that is named.
    pub fn backends(&self) -> BTreeSet<Backend> {
        let routes = self.hosts.values().flatten();
        routes
            .flat_map(|route| {
                let canaries = route.canaries.iter().map(|(_, backend, _)| backend.clone());
                canaries.chain(std::iter::once(route.backend.clone()))
            })
            .collect()
    }

    /// Every Secret with users.
    pub fn user_secrets(&self) -> BTreeSet<String> {
        let options = self.hosts.values().flatten().map(|route| &route.options);
        options.filter_map(|options| options.basic_auth.as_ref().map(|(secret, _)| secret.clone())).collect()
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn path(path: &str, type_: &str, service: &str) -> Value {
        json!({"path": path, "pathType": type_, "backend": {"service": {"name": service, "port": {"number": 80}}}})
    }

    fn ingress(name: &str, created: i64, annotations: Value, host: &str, paths: Vec<Value>) -> Arc<Ingress> {
        let mut rule = json!({"http": {"paths": paths}});
        if !host.is_empty() {
            rule["host"] = json!(host);
        }
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"namespace": "n", "name": name, "annotations": annotations,
                             "creationTimestamp": format!("2026-01-01T00:00:{created:02}Z")},
                "spec": {"rules": [rule]},
            }))
            .unwrap(),
        )
    }

    fn service<'a>(table: &'a Table, host: &str, path: &str) -> &'a str {
        table.find(host, path).map_or("", |route| route.backend.service.as_str())
    }

    #[test]
    fn paths_match_as_the_api_documents_it() {
        let table = Table::compile(&[ingress(
            "i",
            0,
            json!({}),
            "a.example",
            vec![
                path("/", "Prefix", "root"),
                path("/foo", "Prefix", "foo"),
                path("/foo/bar/", "Prefix", "bar"),
                path("/foo", "Exact", "exact"),
            ],
        )]);
        for (path, expected) in [
            ("/", "root"),
            ("/other", "root"),
            ("/foo", "exact"),
            ("/foo/", "foo"),
            ("/foobar", "root"),
            ("/foo/bar", "bar"),
            ("/foo/bar/baz", "bar"),
            ("/foo/barbaz", "foo"),
        ] {
            assert_eq!(service(&table, "a.example", path), expected, "{path}");
        }
        assert_eq!(service(&table, "b.example", "/"), "");
    }

    #[test]
    fn hosts_come_before_wildcards_before_everything() {
        let of = |name: &str, host: &str| ingress(name, 0, json!({}), host, vec![path("/", "Prefix", name)]);
        let table = Table::compile(&[of("all", ""), of("wild", "*.example.com"), of("one", "a.example.com")]);
        assert_eq!(service(&table, "a.example.com", "/"), "one");
        assert_eq!(service(&table, "b.example.com", "/"), "wild");
        assert_eq!(service(&table, "c.b.example.com", "/"), "all");
        assert_eq!(service(&table, "example.com", "/"), "all");
        assert_eq!(table.backends().len(), 3);
    }

    #[test]
    fn of_the_same_path_the_older_one_counts() {
        let of = |name: &str, at| ingress(name, at, json!({}), "h", vec![path("/", "Prefix", name)]);
        assert_eq!(service(&Table::compile(&[of("young", 9), of("old", 1)]), "h", "/"), "old");
    }

    #[test]
    fn expressions_rewrite_with_their_groups() {
        let annotations = json!({"nginx.ingress.kubernetes.io/rewrite-target": "/$2"});
        let paths = vec![path("/api(/|$)(.*)", "ImplementationSpecific", "s")];
        let table = Table::compile(&[ingress("i", 0, annotations.clone(), "h", paths)]);
        let rewritten = |path: &str| table.find("h", path).and_then(|route| route.rewritten(path));
        assert_eq!(rewritten("/api/v1/x").as_deref(), Some("/v1/x"));
        assert_eq!(rewritten("/api").as_deref(), Some("/"));
        assert_eq!(rewritten("/apis"), None);
        let bad = vec![path("/api(", "ImplementationSpecific", "s")];
        let table = Table::compile(&[ingress("i", 0, annotations, "h", bad)]);
        assert_eq!(table.wrong.len(), 1);
    }

    #[test]
    fn a_canary_joins_the_route_that_it_is_an_alternative_to() {
        let canary = json!({"nginx.ingress.kubernetes.io/canary": "true",
                            "nginx.ingress.kubernetes.io/canary-weight": "30"});
        let table = Table::compile(&[
            ingress("c", 0, canary, "h", vec![path("/", "Prefix", "new"), path("/x", "Prefix", "alone")]),
            ingress("m", 1, json!({}), "h", vec![path("/", "Prefix", "main")]),
        ]);
        let route = table.find("h", "/x").unwrap();
        assert_eq!(route.backend.service, "main");
        assert_eq!((route.canaries.len(), route.canaries[0].0.weight), (1, 30));
        assert_eq!(route.canaries[0].1.service, "new");
    }

    #[test]
    fn certificates_belong_to_hosts() {
        let mut one = (*ingress("i", 0, json!({}), "a.example", vec![path("/", "Prefix", "s")])).clone();
        let spec = one.spec.as_mut().unwrap();
        spec.tls = serde_json::from_value(json!([{"hosts": ["*.example"], "secretName": "wild"},
            {"secretName": "own"}]))
        .unwrap();
        let table = Table::compile(&[Arc::new(one)]);
        assert_eq!(table.certificate("a.example"), Some("n/own"));
        assert_eq!(table.certificate("b.example"), Some("n/wild"));
        assert_eq!(table.certificate("b.a.example"), None);
    }
}
