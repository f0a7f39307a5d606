//! The documents by which others verify service account tokens (OpenID Connect Discovery 1.0, KEP-1393).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use pki::ServiceAccountKeys;
use serde_json::{Value, json};

/// What is served without change until keys or issuer change.
#[derive(Clone, Debug)]
pub struct OidcDocuments {
    /// `/.well-known/openid-configuration`, `application/json`.
    pub configuration: Bytes,
    /// `/openid/v1/jwks`, [`OidcDocuments::KEYS_TYPE`].
    pub keys: Bytes,
}

impl OidcDocuments {
    /// Path of the discovery document.
    pub const CONFIGURATION_PATH: &str = "/.well-known/openid-configuration";
    /// Path of the key set.
    pub const KEYS_PATH: &str = "/openid/v1/jwks";
    /// Media type of the key set.
    pub const KEYS_TYPE: &str = "application/jwk-set+json";

    /// The documents of an issuer. `base` is the URL under which the key set is reached (the external
    /// address of the API server), without a slash at its end.
    pub fn new(issuer: &str, base: &str, keys: &ServiceAccountKeys) -> Self {
        let configuration = json!({
            "issuer": issuer,
            "jwks_uri": format!("{base}{}", Self::KEYS_PATH),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        });
        let keys: Vec<Value> = keys
            .accepted()
            .iter()
            .map(|key| {
                let (x, y) = key.coordinates();
                // RFC 7517, RFC 7518 section 6.2.
                json!({
                    "use": "sig",
                    "kty": "EC",
                    "kid": key.id(),
                    "crv": "P-256",
                    "alg": "ES256",
                    "x": URL_SAFE_NO_PAD.encode(x),
                    "y": URL_SAFE_NO_PAD.encode(y),
                })
            })
            .collect();
        Self {
            configuration: Bytes::from(configuration.to_string()),
            keys: Bytes::from(json!({ "keys": keys }).to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authentication::jwt::tests::keys;

    #[test]
    fn the_key_set_has_the_key_that_tokens_name() {
        let keys = keys();
        let documents = OidcDocuments::new("https://issuer", "https://1.2.3.4:6443", &keys);
        let set: Value = serde_json::from_slice(&documents.keys).unwrap();
        assert_eq!(set["keys"][0]["kid"], keys.signing_key_id());
        assert_eq!(set["keys"][0]["x"].as_str().unwrap().len(), 43);
        let configuration: Value = serde_json::from_slice(&documents.configuration).unwrap();
        assert_eq!(configuration["jwks_uri"], "https://1.2.3.4:6443/openid/v1/jwks");
    }
}
