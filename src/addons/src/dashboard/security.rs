//! What keeps the page's token from others: headers that tell browsers what they may do, and the check that requests come
//! from the page.

use ::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

/// What the page may load: itself, and of what is inline the one script that starts it (Content Security Policy 3). Nobody
/// may put it into a frame, and text becomes no HTML.
const POLICY: &str = "default-src 'none'; \
                      script-src 'self' 'sha256-dSSonk8AXnxEis72ibEVIX47MSJk78VZvLr+1u3F8O0='; \
                      style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";
/// What an answer of the API server may load when somebody makes a browser show it: nothing.
const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'; sandbox";

/// For every answer. There is no Strict-Transport-Security: with it, browsers let nobody past the certificate that the
/// server has made itself, on this port and all others of the host.
static ALWAYS: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// Headers of the page.
pub fn harden(headers: &mut HeaderMap) {
    set(headers, POLICY);
}

/// Headers of what the API server said.
pub fn seal(headers: &mut HeaderMap) {
    set(headers, NOTHING);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

fn set(headers: &mut HeaderMap, policy: &'static str) {
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    for (name, value) in &ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Whether a request comes from the page itself, as far as a browser tells (Fetch: `Origin`, Fetch Metadata:
/// `Sec-Fetch-Site`). What is no browser may leave both out, but for WebSockets, which browsers open to any site.
pub fn is_own(headers: &HeaderMap, uri: &Uri, upgrades: bool) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if text(HeaderName::from_static("sec-fetch-site")).is_some_and(|site| site != "same-origin") {
        return false;
    }
    let Some(origin) = text(header::ORIGIN) else { return !upgrades };
    let host = uri.authority().map(|authority| authority.as_str()).or_else(|| text(header::HOST));
    let origin = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    matches!((origin, host), (Some(origin), Some(host)) if origin.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;

    fn own(headers: &[(&'static str, &'static str)], uri: &'static str, upgrades: bool) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        is_own(&headers.collect(), &Uri::from_static(uri), upgrades)
    }

    #[test]
    fn the_inline_script_is_the_one_that_may_run() {
        let page = include_str!("page/index.html");
        let scripts: Vec<&str> = page.split("<script type=\"module\">").skip(1).collect();
        let [script] = scripts.as_slice() else { panic!("{} inline scripts", scripts.len()) };
        let (script, _) = script.split_once("</script>").unwrap();
        let digest = ring::digest::digest(&ring::digest::SHA256, script.as_bytes());
        let hash = base64::engine::general_purpose::STANDARD.encode(digest);
        assert!(POLICY.contains(&format!("script-src 'self' 'sha256-{hash}';")), "it is {hash} now");
    }

    #[test]
    fn only_the_page_itself_is_believed() {
        let host = ("host", "127.0.0.1:10443");
        assert!(own(
            &[host, ("origin", "https://127.0.0.1:10443"), ("sec-fetch-site", "same-origin")],
            "/",
            true
        ));
        assert!(own(&[host], "/", false), "curl");
        assert!(own(&[("origin", "https://A:1")], "https://a:1/api", true), "HTTP/2");
        assert!(!own(&[host, ("origin", "https://evil.example")], "/", false));
        assert!(!own(&[host, ("origin", "https://127.0.0.1:1")], "/", false), "another port");
        assert!(!own(&[host, ("origin", "null")], "/", false), "a sandbox");
        assert!(!own(&[host, ("sec-fetch-site", "cross-site")], "/", false));
        assert!(!own(&[host, ("sec-fetch-site", "same-site")], "/", false));
        assert!(!own(&[host], "/", true), "a WebSocket without an origin");
    }

    #[test]
    fn the_page_runs_nothing_inline_and_in_no_frame() {
        let mut headers = HeaderMap::new();
        harden(&mut headers);
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert!(!headers.contains_key(header::STRICT_TRANSPORT_SECURITY));
        headers.clear();
        seal(&mut headers);
        assert!(headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("sandbox"));
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    }
}
