//! Which protocol a client speaks, and the answer that switches to it.

use cri::streaming::{PORT_FORWARD_V1, PROTOCOL_VERSION_HEADER, REMOTE_COMMAND_V4};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::super::respond::{self, Body};
use super::channels::Channels;

/// What a kind of endpoint speaks, in no order: the client's order counts.
pub(super) struct Spoken {
    spdy: &'static [&'static str],
    websocket: &'static [Channels],
}

/// Exec and attach.
pub(super) const REMOTE_COMMAND: Spoken = Spoken {
    spdy: &[REMOTE_COMMAND_V4],
    websocket: &[
        Channels { name: "v5.channel.k8s.io", base64: false, status: true, close: true, spdy: false },
        Channels { name: "v4.channel.k8s.io", base64: false, status: true, close: false, spdy: false },
        Channels { name: "v4.base64.channel.k8s.io", base64: true, status: true, close: false, spdy: false },
        Channels { name: "channel.k8s.io", base64: false, status: false, close: false, spdy: false },
        Channels { name: "base64.channel.k8s.io", base64: true, status: false, close: false, spdy: false },
        Channels { name: "", base64: false, status: false, close: false, spdy: false },
    ],
};

/// Port-forward.
pub(super) const PORT_FORWARD: Spoken = Spoken {
    spdy: &[PORT_FORWARD_V1],
    websocket: &[
        Channels {
            name: "SPDY/3.1+portforward.k8s.io",
            base64: false,
            status: false,
            close: false,
            spdy: true,
        },
        Channels { name: "v4.channel.k8s.io", base64: false, status: false, close: false, spdy: false },
        Channels { name: "v4.base64.channel.k8s.io", base64: true, status: false, close: false, spdy: false },
        Channels { name: "", base64: false, status: false, close: false, spdy: false },
    ],
};

/// What was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// SPDY/3.1 with a version of the protocol on top.
    Spdy(&'static str),
    /// WebSocket.
    WebSocket(Channels),
}

/// Why nothing was agreed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No upgrade is asked for.
    NoUpgrade,
    /// One to something else.
    Unknown(String),
    /// The WebSocket handshake lacks something.
    Handshake(&'static str),
    /// No version that both know.
    Version { offered: Vec<String>, accepted: Vec<&'static str> },
}

impl Protocol {
    /// Agrees with a client on a protocol.
    pub(super) fn negotiate(headers: &HeaderMap, spoken: Spoken) -> Result<Self, Refusal> {
        let upgrades = list(headers, &header::UPGRADE);
        let Some(wanted) = upgrades.first().filter(|_| asks_for_upgrade(headers)) else {
            return Err(Refusal::NoUpgrade);
        };
        if wanted.eq_ignore_ascii_case("SPDY/3.1") {
            let offered = list(headers, &HeaderName::from_static(PROTOCOL_VERSION_HEADER));
            // Port-forward clients of old offer nothing.
            let chosen = match offered.as_slice() {
                [] => spoken.spdy.first().copied(),
                offered => {
                    offered.iter().find_map(|offer| spoken.spdy.iter().copied().find(|own| own == offer))
                }
            };
            return chosen
                .map(Self::Spdy)
                .ok_or_else(|| Refusal::Version { offered, accepted: spoken.spdy.to_vec() });
        }
        if !wanted.eq_ignore_ascii_case("websocket") {
            return Err(Refusal::Unknown(wanted.clone()));
        }
        if !headers.contains_key(header::SEC_WEBSOCKET_KEY) {
            return Err(Refusal::Handshake("Sec-WebSocket-Key is missing"));
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(Refusal::Handshake("Sec-WebSocket-Version must be 13"));
        }
        let offered = list(headers, &header::SEC_WEBSOCKET_PROTOCOL);
        let offers = if offered.is_empty() { vec![String::new()] } else { offered.clone() };
        let find = |offer: &String| spoken.websocket.iter().find(|own| own.name == offer).copied();
        offers.iter().find_map(find).map(Self::WebSocket).ok_or_else(|| Refusal::Version {
            offered,
            accepted: spoken.websocket.iter().map(|own| own.name).filter(|name| !name.is_empty()).collect(),
        })
    }

    /// The answer 101.
    pub(super) fn response(self, request: &HeaderMap) -> Response<Body> {
        let mut response = respond::empty(StatusCode::SWITCHING_PROTOCOLS);
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        match self {
            Self::Spdy(version) => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
                headers.insert(PROTOCOL_VERSION_HEADER, HeaderValue::from_static(version));
            }
            Self::WebSocket(channels) => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                if let Some(key) = request.get(header::SEC_WEBSOCKET_KEY)
                    && let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
                {
                    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
                }
                if !channels.name.is_empty() {
                    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(channels.name));
                }
            }
        }
        response
    }
}

impl Refusal {
    /// The answer to the client.
    pub(super) fn into_response(self) -> Response<Body> {
        match self {
            Self::NoUpgrade => respond::error(
                StatusCode::BAD_REQUEST,
                "unable to upgrade: missing upgrade headers in request",
            ),
            Self::Unknown(wanted) => respond::error(
                StatusCode::BAD_REQUEST,
                format!("unable to upgrade: unknown protocol {wanted:?}"),
            ),
            Self::Handshake(what) => {
                respond::error(StatusCode::BAD_REQUEST, format!("unable to upgrade: {what}"))
            }
            Self::Version { offered, accepted } => {
                let message = format!(
                    "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
                    offered.join(" "),
                    accepted.join(" ")
                );
                respond::error(StatusCode::FORBIDDEN, message)
            }
        }
    }
}

fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    list(headers, &header::CONNECTION).iter().any(|word| word.eq_ignore_ascii_case("upgrade"))
}

/// The words of a header that may be repeated or separated by commas.
fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|word| word.trim().to_owned())
        .filter(|word| !word.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn spdy_clients_get_version_4_and_nothing_older() {
        let base = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
        let mut offered = base.to_vec();
        offered.extend([
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
            ("x-stream-protocol-version", "channel.k8s.io"),
        ]);
        let chosen = Protocol::negotiate(&headers(&offered), REMOTE_COMMAND).unwrap();
        assert_eq!(chosen, Protocol::Spdy("v4.channel.k8s.io"));
        assert_eq!(
            chosen.response(&HeaderMap::new()).headers()["x-stream-protocol-version"],
            "v4.channel.k8s.io"
        );
        let mut old = base.to_vec();
        old.push(("x-stream-protocol-version", "channel.k8s.io"));
        let refusal = Protocol::negotiate(&headers(&old), REMOTE_COMMAND).unwrap_err();
        assert_eq!(refusal.into_response().status(), StatusCode::FORBIDDEN);
        assert!(Protocol::negotiate(&headers(&base), PORT_FORWARD).is_ok());
    }

    #[test]
    fn web_sockets_take_the_clients_first_choice_and_name_it() {
        let request = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "v9.channel.k8s.io, v5.channel.k8s.io,v4.channel.k8s.io"),
        ]);
        let chosen = Protocol::negotiate(&request, REMOTE_COMMAND).unwrap();
        let response = chosen.response(&request);
        assert_eq!(response.headers()["sec-websocket-protocol"], "v5.channel.k8s.io");
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let chosen = Protocol::negotiate(&request, PORT_FORWARD).unwrap();
        assert_eq!(chosen.response(&request).headers()["sec-websocket-protocol"], "v4.channel.k8s.io");
    }

    #[test]
    fn requests_without_an_upgrade_are_refused() {
        assert_eq!(Protocol::negotiate(&HeaderMap::new(), REMOTE_COMMAND), Err(Refusal::NoUpgrade));
        let unknown = headers(&[("connection", "upgrade"), ("upgrade", "h2c")]);
        assert_eq!(Protocol::negotiate(&unknown, REMOTE_COMMAND), Err(Refusal::Unknown("h2c".into())));
        let bare = headers(&[("connection", "upgrade"), ("upgrade", "websocket")]);
        assert!(matches!(Protocol::negotiate(&bare, REMOTE_COMMAND), Err(Refusal::Handshake(_))));
    }
}
