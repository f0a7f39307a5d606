//! What may be asked of the API server, and with which headers: lists of what is let through, so that what nobody thought
//! of is not.

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, header};

/// The API server's way of taking tokens where browsers can set no header: among the names of a WebSocket's protocols.
const TOKEN_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// Headers of requests that go on. Not among them: cookies, `Impersonate-*`, what a front proxy says of users, and what
/// the browser is: the API server indents all that it tells browsers.
static ASKED: [HeaderName; 8] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::AUTHORIZATION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_VERSION,
];

/// Headers of answers that come back. Not among them: cookies and redirects.
static ANSWERED: [HeaderName; 9] = [
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::RETRY_AFTER,
    header::WARNING,
    header::SEC_WEBSOCKET_ACCEPT,
    header::SEC_WEBSOCKET_PROTOCOL,
    HeaderName::from_static("audit-id"),
];

/// Whether a path is the API server's; all others are the page's.
pub fn is_for_api(path: &str) -> bool {
    path.split('/').nth(1).is_some_and(|first| matches!(first, "api" | "apis" | "openapi" | "version"))
}

/// Whether a path means what it looks like: one with dots as segments, or with slashes that are written otherwise, could
/// become another one on its way.
pub fn is_plain(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let odd = lower.contains("//") || lower.contains('\\') || lower.contains("%2f") || lower.contains("%5c");
    !odd && !lower.replace("%2e", ".").split('/').any(|segment| matches!(segment, "." | ".."))
}

/// Methods that the API has.
pub fn is_method(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(method)
}

/// Whether a request brings a token. What brings none is nobody's, and goes no further.
pub fn has_token(headers: &HeaderMap) -> bool {
    let bearer = |value: &HeaderValue| {
        let value = value.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        Some(scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty())
    };
    let protocol = |value: &HeaderValue| {
        let mut names = value.to_str().ok()?.split(',').map(str::trim);
        Some(names.any(|name| name.strip_prefix(TOKEN_PROTOCOL).is_some_and(|token| !token.is_empty())))
    };
    headers.get(header::AUTHORIZATION).and_then(bearer) == Some(true)
        || headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().any(|value| protocol(value) == Some(true))
}

/// The headers that a request goes on with. Whoever upgrades it sets those of the connection.
pub fn asked(headers: &HeaderMap) -> HeaderMap {
    only(headers, &ASKED)
}

/// The headers that an answer comes back with.
pub fn answered(headers: &HeaderMap) -> HeaderMap {
    only(headers, &ANSWERED)
}

fn only(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in names {
        for value in headers.get_all(name) {
            kept.append(name, value.clone());
        }
    }
    // What holds a token stays out of whatever prints headers.
    for name in [header::AUTHORIZATION, header::SEC_WEBSOCKET_PROTOCOL] {
        if let header::Entry::Occupied(mut entry) = kept.entry(name) {
            entry.iter_mut().for_each(|value| value.set_sensitive(true));
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        all.iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn four_trees_are_the_api_servers() {
        for path in ["/api", "/api/v1/pods", "/apis/apps/v1", "/openapi/v3", "/version", "/version/"] {
            assert!(is_for_api(path), "{path}");
        }
        for path in
            ["/", "", "/metrics", "/logs", "/healthz", "/apix", "/main.js", "/debug/pprof", "/.well-known/x"]
        {
            assert!(!is_for_api(path), "{path}");
        }
    }

    #[test]
    fn paths_that_could_become_others_are_refused() {
        assert!(is_plain("/api/v1/namespaces/default/pods/a.b..c"));
        for path in [
            "/api/../metrics",
            "/api/%2e%2e/metrics",
            "/api/.%2E/x",
            "/api//v1",
            "/api/./v1",
            "/api/..%2fmetrics",
            "/api\\..\\metrics",
            "/api/%5C",
        ] {
            assert!(!is_plain(path), "{path}");
        }
    }

    #[test]
    fn requests_need_a_token() {
        assert!(has_token(&headers(&[("authorization", "Bearer abc")])));
        assert!(has_token(&headers(&[("authorization", "bearer abc")])));
        let protocols = "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.YWJj";
        assert!(has_token(&headers(&[("sec-websocket-protocol", protocols)])));
        for all in [
            &[][..],
            &[("authorization", "Basic YTpi")],
            &[("authorization", "Bearer ")],
            &[("authorization", "Bearer")],
            &[("sec-websocket-protocol", "v5.channel.k8s.io")],
            &[("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.")],
            &[("cookie", "token=abc")],
        ] {
            assert!(!has_token(&headers(all)), "{all:?}");
        }
    }

    #[test]
    fn nobody_says_who_they_are_but_by_their_token() {
        let kept = asked(&headers(&[
            ("authorization", "Bearer secret-abc"),
            ("accept", "application/json"),
            ("cookie", "a=b"),
            ("impersonate-user", "admin"),
            ("x-remote-user", "admin"),
            ("x-remote-group", "system:masters"),
            ("x-forwarded-for", "1.2.3.4"),
            ("host", "evil"),
        ]));
        assert_eq!(kept.len(), 2, "{kept:?}");
        assert!(!format!("{kept:?}").contains("secret-abc"), "{kept:?}");
        let back = answered(&headers(&[("content-type", "a/b"), ("set-cookie", "a=b"), ("location", "/x")]));
        assert_eq!(back.len(), 1, "{back:?}");
    }
}
