//! A rule of a route as requests meet it: what is changed, and who gets how much. Pure.

use super::cors::Cors;
use crate::ingress::options::Options;
use crate::ingress::table::{Backend, Side};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;
use std::time::Duration;

/// A rule.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// Who gets requests.
    pub choices: Vec<Choice>,
    /// How long an answer may take altogether.
    pub timeout: Option<Duration>,
}

impl Rule {
    /// The choice for a number that chance gave, of any size; none when nobody gets anything.
    pub fn choose(&self, chance: u64) -> Option<&Choice> {
        let sum: u64 = self.choices.iter().map(|choice| u64::from(choice.weight)).sum();
        let mut at = chance.checked_rem(sum)?;
        self.choices.iter().find(|choice| match at.checked_sub(u64::from(choice.weight)) {
            Some(rest) => {
                at = rest;
                false
            }
            None => true,
        })
    }
}

impl Rule {
    /// Who gets copies.
    pub fn mirrors(&self) -> impl Iterator<Item = &Mirror> {
        self.choices.iter().flat_map(|choice| &choice.filters.mirrors)
    }

    /// How everybody is spoken to.
    pub fn options(&self) -> impl Iterator<Item = &Options> {
        let mirrors = self.mirrors().map(|mirror| &*mirror.options);
        self.choices.iter().map(|choice| &*choice.options).chain(mirrors)
    }
}

/// One of those that get requests.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Its share.
    pub weight: u32,
    /// None when it cannot be used: its requests fail.
    pub backend: Option<Backend>,
    /// How it is spoken to.
    pub options: Arc<Options>,
    /// What is done to its requests.
    pub filters: Filters,
}

/// What is done to requests and answers.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    /// Changes of the request's headers.
    pub request: Vec<HeaderChange>,
    /// Changes of the answer's headers.
    pub response: Vec<HeaderChange>,
    /// Instead of an endpoint's answer.
    pub redirect: Option<Redirect>,
    /// What the path becomes.
    pub path: Option<PathChange>,
    /// What host endpoints see.
    pub host: Option<String>,
    /// Who gets copies.
    pub mirrors: Vec<Mirror>,
    /// What pages of other origins may do.
    pub cors: Option<Arc<Cors>>,
}

/// A change of headers.
#[derive(Clone, Debug, Default)]
pub struct HeaderChange {
    /// Instead of what is there.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// To what is there.
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// Taken away.
    pub remove: Vec<HeaderName>,
}

impl HeaderChange {
    /// Makes the change.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }
}

/// A copy of some requests.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Who gets it.
    pub backend: Backend,
    /// How it is spoken to.
    pub options: Arc<Options>,
    /// So many requests ...
    pub numerator: u32,
    /// ... of so many.
    pub denominator: u32,
}

/// What a path becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathChange {
    /// This.
    Full(String),
    /// This, and what comes behind the prefix that matched.
    Prefix(String),
}

impl PathChange {
    /// The new path; `matched` is the prefix that the route matches, without a slash at its end.
    pub fn apply(&self, path: &str, matched: &str) -> String {
        match self {
            Self::Full(full) => full.clone(),
            Self::Prefix(prefix) => {
                let rest = path.strip_prefix(matched).unwrap_or(path);
                let changed = format!("{}{rest}", prefix.trim_end_matches('/'));
                if changed.starts_with('/') { changed } else { format!("/{changed}") }
            }
        }
    }
}

/// Sends clients elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Redirect {
    /// The request's when none.
    pub scheme: Option<String>,
    /// The request's when none.
    pub host: Option<String>,
    /// The request's when none.
    pub path: Option<PathChange>,
    /// That of the scheme when none.
    pub port: Option<u16>,
    /// The status.
    pub status: u16,
}

impl Redirect {
    /// Where to.
    pub fn location(&self, side: Side, host: &str, path: &str, query: Option<&str>, matched: &str) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(side.scheme());
        let host = self.host.as_deref().unwrap_or(host);
        let usual = if scheme == "https" { 443 } else { 80 };
        let port = self.port.filter(|port| *port != usual).map_or(String::new(), |port| format!(":{port}"));
        let path = self.path.as_ref().map_or_else(|| path.to_owned(), |change| change.apply(path, matched));
        let query = query.map_or(String::new(), |query| format!("?{query}"));
        format!("{scheme}://{host}{port}{path}{query}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_change_as_the_api_documents_it() {
        for (path, matched, replacement, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/foo", "", "/xyz", "/xyz/foo"),
        ] {
            assert_eq!(
                PathChange::Prefix(replacement.to_owned()).apply(path, matched),
                expected,
                "{path} {replacement}"
            );
        }
        assert_eq!(PathChange::Full("/new".to_owned()).apply("/foo/bar", "/foo"), "/new");
    }

    #[test]
    fn shares_are_as_the_weights_say() {
        let choice = |weight, service: &str| Choice {
            weight,
            backend: Some(Backend::number("n", service, 80)),
            ..Choice::default()
        };
        let rule = Rule { choices: vec![choice(1, "a"), choice(0, "b"), choice(3, "c")], timeout: None };
        let got: Vec<&str> = (0..8)
            .map(|chance| rule.choose(chance).unwrap().backend.as_ref().unwrap().service.as_str())
            .collect();
        assert_eq!(got, ["a", "c", "c", "c", "a", "c", "c", "c"]);
        assert!(Rule { choices: vec![choice(0, "a")], timeout: None }.choose(7).is_none());
        assert!(Rule::default().choose(0).is_none());
    }

    #[test]
    fn clients_are_sent_where_the_redirect_says() {
        let to =
            |redirect: &Redirect| redirect.location(Side::Plain, "h.example", "/foo/x", Some("q=1"), "/foo");
        assert_eq!(to(&Redirect::default()), "http://h.example/foo/x?q=1");
        let https = Redirect { scheme: Some("https".to_owned()), ..Redirect::default() };
        assert_eq!(to(&https), "https://h.example/foo/x?q=1");
        assert_eq!(to(&Redirect { port: Some(443), ..https.clone() }), "https://h.example/foo/x?q=1");
        assert_eq!(to(&Redirect { port: Some(8443), ..https }), "https://h.example:8443/foo/x?q=1");
        let moved = Redirect {
            host: Some("new.example".to_owned()),
            path: Some(PathChange::Prefix("/bar".to_owned())),
            ..Redirect::default()
        };
        assert_eq!(to(&moved), "http://new.example/bar/x?q=1");
    }
}
