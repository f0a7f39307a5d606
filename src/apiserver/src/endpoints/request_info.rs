//! What a request asks for, as its method and path say.

use http::Method;
use percent_encoding::percent_decode_str;

/// Subresource names whose requests may last as long as the client likes (upstream's long-running check).
const LONG_RUNNING_SUBRESOURCES: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

/// A request, taken apart (upstream `RequestInfo`). Parts that do not apply are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Is it for an API resource, rather than a path such as `/healthz`?
    pub is_resource_request: bool,
    /// The URL path.
    pub path: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; for other requests
    /// the method in lower case.
    pub verb: String,
    /// API group; empty for core.
    pub api_group: String,
    /// API version.
    pub api_version: String,
    /// Namespace; empty for cluster-scoped resources and for all namespaces.
    pub namespace: String,
    /// Plural resource name.
    pub resource: String,
    /// Subresource.
    pub subresource: String,
    /// Name of the object.
    pub name: String,
    /// What follows the subresource (the path behind `proxy`), with its leading slash.
    pub rest: String,
    /// The label selector of a list, watch or deletecollection, as given.
    pub label_selector: String,
    /// The field selector of a list, watch or deletecollection, as given.
    pub field_selector: String,
    /// Whether the path has the deprecated `/watch/` prefix.
    pub watch_prefix: bool,
}

impl RequestInfo {
    /// Takes a request apart. Never fails: what is no resource request is a request for a path.
    pub fn parse(method: &Method, uri: &http::Uri) -> Self {
        let path = uri.path();
        let mut info = Self { path: path.to_owned(), ..Self::default() };
        info.verb = method.as_str().to_ascii_lowercase();
        let mut segments = path.split('/').filter(|s| !s.is_empty());
        match segments.next() {
            Some("api") => {}
            Some("apis") => match segments.next() {
                Some(group) => group.clone_into(&mut info.api_group),
                None => return info,
            },
            _ => return info,
        }
        let Some(version) = segments.next() else {
            info.api_group.clear();
            return info;
        };
        version.clone_into(&mut info.api_version);
        let mut segments = segments.map(decode).peekable();
        if segments.peek().is_none() {
            info.api_group.clear();
            info.api_version.clear();
            return info;
        }
        info.is_resource_request = true;
        info.verb = match *method {
            Method::POST => "create",
            Method::GET | Method::HEAD => "get",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => method.as_str(),
        }
        .to_owned();
        if segments.peek().is_some_and(|s| s == "watch") {
            segments.next();
            info.watch_prefix = true;
            info.verb = "watch".to_owned();
        }
        info.resource_parts(segments);
        info.collection_verbs(method, uri.query().unwrap_or(""));
        info
    }

    fn resource_parts(&mut self, segments: impl Iterator<Item = String>) {
        let mut parts: Vec<String> = segments.collect();
        // /namespaces/NAME/RESOURCE...: but `status` and `finalize` are subresources of the namespace.
        let in_namespace = parts.first().is_some_and(|s| s == "namespaces")
            && parts.get(2).is_some_and(|s| s != "status" && s != "finalize");
        if in_namespace && (self.api_group.is_empty() || parts.len() > 2) {
            self.namespace = parts.get(1).cloned().unwrap_or_default();
            parts.drain(..2);
        } else if self.api_group.is_empty()
            && parts.first().is_some_and(|s| s == "namespaces")
            && parts.len() > 1
        {
            // The namespace itself is in its own namespace, as authorizers expect.
            self.namespace = parts.get(1).cloned().unwrap_or_default();
        }
        let mut parts = parts.into_iter();
        self.resource = parts.next().unwrap_or_default();
        self.name = parts.next().unwrap_or_default();
        self.subresource = parts.next().unwrap_or_default();
        for part in parts {
            self.rest.push('/');
            self.rest.push_str(&part);
        }
        if self.subresource == "proxy" && self.path.ends_with('/') {
            self.rest.push('/');
        }
    }

    fn collection_verbs(&mut self, method: &Method, query: &str) {
        if !self.subresource.is_empty() {
            return;
        }
        let mut watch = self.watch_prefix;
        if matches!(*method, Method::GET | Method::HEAD) || *method == Method::DELETE {
            for (key, value) in super::query::pairs(query) {
                match &*key {
                    "watch" => watch |= super::query::is_true(&value),
                    "labelSelector" => self.label_selector = value.into_owned(),
                    "fieldSelector" => self.field_selector = value.into_owned(),
                    _ => {}
                }
            }
        }
        if !self.name.is_empty() && !self.watch_prefix {
            return;
        }
        match self.verb.as_str() {
            "get" if watch => self.verb = "watch".to_owned(),
            "get" => self.verb = "list".to_owned(),
            "delete" => self.verb = "deletecollection".to_owned(),
            _ => {}
        }
        // A list or watch of one name is authorized as access to that name.
        if matches!(self.verb.as_str(), "list" | "watch" | "deletecollection")
            && self.name.is_empty()
            && let Ok(selector) = apimachinery::fields::FieldSelector::parse(&self.field_selector)
            && let Some(name) = selector.exact("metadata.name")
        {
            self.name = name.to_owned();
        }
    }

    /// Whether the request may take as long as it likes: no timeout, no place in the in-flight limit.
    pub fn is_long_running(&self) -> bool {
        self.path.starts_with(super::extension::ROOT)
            || self.is_resource_request
                && (self.verb == "watch" || LONG_RUNNING_SUBRESOURCES.contains(&self.subresource.as_str()))
    }

    /// Whether it changes nothing.
    pub fn is_read_only(&self) -> bool {
        matches!(self.verb.as_str(), "get" | "list" | "watch" | "head" | "options")
    }
}

fn decode(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &str, uri: &str) -> RequestInfo {
        RequestInfo::parse(&method.parse().unwrap(), &uri.parse().unwrap())
    }

    #[test]
    fn verbs_come_from_method_and_path() {
        for (method, uri, verb) in [
            ("GET", "/api/v1/pods", "list"),
            ("GET", "/api/v1/pods?watch=1", "watch"),
            ("GET", "/api/v1/pods?watch=True", "watch"),
            ("GET", "/api/v1/pods?watch=False", "list"),
            ("GET", "/api/v1/watch/pods", "watch"),
            ("GET", "/api/v1/namespaces/a/pods/b", "get"),
            ("HEAD", "/api/v1/namespaces/a/pods/b", "get"),
            ("DELETE", "/api/v1/namespaces/a/pods", "deletecollection"),
            ("DELETE", "/api/v1/namespaces/a/pods/b", "delete"),
            ("PUT", "/apis/apps/v1/namespaces/a/deployments/b/scale", "update"),
            ("POST", "/api/v1/namespaces/a/pods/b/eviction", "create"),
        ] {
            assert_eq!(parse(method, uri).verb, verb, "{method} {uri}");
        }
    }

    #[test]
    fn paths_are_taken_apart() {
        let info = parse("GET", "/apis/apps/v1/namespaces/a/deployments/b/status");
        assert_eq!((info.api_group.as_str(), info.api_version.as_str()), ("apps", "v1"));
        assert_eq!((info.namespace.as_str(), info.name.as_str()), ("a", "b"));
        assert_eq!((info.resource.as_str(), info.subresource.as_str()), ("deployments", "status"));
        let info = parse("GET", "/api/v1/namespaces/a/services/https:b:443/proxy/x/y?z=1");
        assert_eq!((info.name.as_str(), info.rest.as_str()), ("https:b:443", "/x/y"));
        let info = parse("PUT", "/api/v1/namespaces/a/finalize");
        assert_eq!((info.resource.as_str(), info.subresource.as_str()), ("namespaces", "finalize"));
        assert_eq!((info.name.as_str(), info.namespace.as_str()), ("a", "a"));
        let info = parse("GET", "/api/v1/namespaces/a");
        assert_eq!((info.resource.as_str(), info.name.as_str()), ("namespaces", "a"));
    }

    #[test]
    fn what_is_no_resource_is_a_path() {
        for path in ["/", "/healthz", "/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1"] {
            let info = parse("GET", path);
            assert!(!info.is_resource_request, "{path}");
            assert_eq!(info.verb, "get");
        }
    }

    #[test]
    fn a_list_of_one_name_names_it() {
        let info = parse("GET", "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Db&watch=true");
        assert_eq!((info.verb.as_str(), info.name.as_str()), ("watch", "b"));
    }
}
