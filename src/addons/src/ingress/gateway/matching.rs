//! What a request has to look like besides its host and path. Pure.

use http::{HeaderMap, HeaderName, Method};
use percent_encoding::percent_decode_str;
use regex::Regex;
use std::borrow::Cow;

/// A compiled expression may not be larger, in bytes: one of a route must not take the memory of all.
const EXPRESSION_BYTES: usize = 1 << 20;

/// What a value is compared with.
#[derive(Clone, Debug)]
pub enum Matcher {
    /// It is this.
    Exact(String),
    /// All of it fits this.
    Regex(Regex),
}

impl Matcher {
    /// A matcher by its type.
    ///
    /// # Errors
    /// When the type is unknown or the expression is none.
    pub fn new(kind: Option<&str>, value: &str) -> Result<Self, String> {
        match kind {
            None | Some("Exact") => Ok(Self::Exact(value.to_owned())),
            Some("RegularExpression") => expression(value).map(Self::Regex),
            Some(other) => Err(format!("matches of type {other} are not supported")),
        }
    }

    /// Whether a value fits.
    pub fn fits(&self, value: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == value,
            Self::Regex(regex) => regex.is_match(value),
        }
    }
}

/// An expression that all of a text has to fit.
///
/// # Errors
/// When it is none, or too large.
pub fn expression(text: &str) -> Result<Regex, String> {
    let built = regex::RegexBuilder::new(&format!("^(?:{text})$")).size_limit(EXPRESSION_BYTES).build();
    built.map_err(|_| format!("{text:?} is no regular expression, or too large a one"))
}

/// What is wanted of method, headers and query.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// The method.
    pub method: Option<Method>,
    /// Headers, all of them.
    pub headers: Vec<(HeaderName, Matcher)>,
    /// Parameters of the query, all of them.
    pub queries: Vec<(String, Matcher)>,
}

impl Needs {
    /// Whether a request has all.
    pub fn met(&self, method: &Method, headers: &HeaderMap, query: Option<&str>) -> bool {
        self.method.as_ref().is_none_or(|wanted| wanted == method)
            && self
                .headers
                .iter()
                .all(|(name, matcher)| header(headers, name).is_some_and(|v| matcher.fits(&v)))
            && self
                .queries
                .iter()
                .all(|(name, matcher)| parameter(query.unwrap_or(""), name).is_some_and(|v| matcher.fits(&v)))
    }

    /// More is more specific: a method, then the number of headers, then of parameters.
    pub fn rank(&self) -> (bool, usize, usize) {
        (self.method.is_some(), self.headers.len(), self.queries.len())
    }
}

/// The value of a header; several with commas between them (RFC 9110, 5.2).
fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, str>> {
    let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let first = values.next()?;
    Some(values.fold(Cow::Borrowed(first), |all, value| Cow::Owned(format!("{all},{value}"))))
}

/// The first value of a parameter.
fn parameter<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key) == name).then(|| decoded(value))
    })
}

fn decoded(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned());
    }
    percent_decode_str(text).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_wanted_has_to_be_there() {
        let exact = |value: &str| Matcher::new(None, value).unwrap();
        let needs = Needs {
            method: Some(Method::GET),
            headers: vec![
                (HeaderName::from_static("x-a"), exact("1")),
                (HeaderName::from_static("x-b"), Matcher::new(Some("RegularExpression"), "[0-9]+").unwrap()),
            ],
            queries: vec![("q".to_owned(), exact("a b"))],
        };
        let headers = |b: &str| {
            HeaderMap::from_iter(
                [("x-a", "1"), ("x-b", b)]
                    .map(|(k, v)| (HeaderName::from_static(k), http::HeaderValue::from_str(v).unwrap())),
            )
        };
        assert!(needs.met(&Method::GET, &headers("12"), Some("p=1&q=a+b&q=c")));
        assert!(needs.met(&Method::GET, &headers("12"), Some("q=a%20b")));
        assert!(!needs.met(&Method::POST, &headers("12"), Some("q=a+b")));
        assert!(
            !needs.met(&Method::GET, &headers("12a"), Some("q=a+b")),
            "an expression is about all of a value"
        );
        assert!(!needs.met(&Method::GET, &headers("12"), Some("q=c&q=a+b")), "the first one counts");
        assert!(!needs.met(&Method::GET, &HeaderMap::new(), None));
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        assert!(Matcher::new(Some("RegularExpression"), "(").is_err());
        assert!(Matcher::new(Some("RegularExpression"), "(a{1000}){1000}").is_err());
        assert!(Matcher::new(Some("Glob"), "*").is_err());
    }
}
