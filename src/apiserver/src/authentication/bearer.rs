//! Finds the bearer token of a request.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};

/// Longer ones are nobody's: ours are about 1 KiB, those of identity providers rarely above 8 KiB.
const LONGEST: usize = 64 * 1024;

/// Browsers cannot set headers on WebSockets; the token is then a subprotocol with this prefix, base64url.
pub(crate) const WEBSOCKET_TOKEN_PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

/// The token in the `Authorization` header or among the WebSocket subprotocols.
pub(super) fn token(headers: &HeaderMap) -> Option<String> {
    let found = from_authorization(headers).or_else(|| from_websocket(headers))?;
    (!found.is_empty() && found.len() <= LONGEST).then_some(found)
}

fn from_authorization(headers: &HeaderMap) -> Option<String> {
    let header = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

fn from_websocket(headers: &HeaderMap) -> Option<String> {
    let protocols = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let encoded = protocols
        .flat_map(|value| value.split(','))
        .find_map(|protocol| protocol.trim().strip_prefix(WEBSOCKET_TOKEN_PREFIX))?;
    String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_in_both_places() {
        let mut headers = HeaderMap::new();
        assert_eq!(token(&headers), None);
        headers.insert(
            SEC_WEBSOCKET_PROTOCOL,
            "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.YWJj".parse().unwrap(),
        );
        assert_eq!(token(&headers).as_deref(), Some("abc"));
        for (header, expected) in [
            ("Bearer x.y.z", Some("x.y.z")),
            ("bearer  t ", Some("t")),
            ("Bearer", Some("abc")),
            ("Bearer ", Some("abc")),
            ("Basic dTpw", Some("abc")),
        ] {
            headers.insert(AUTHORIZATION, header.parse().unwrap());
            assert_eq!(token(&headers).as_deref(), expected, "{header}");
        }
    }
}
