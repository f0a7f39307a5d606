//! JSON Web Tokens in compact form (RFC 7515, 7519). Our own are signed with ES256.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pki::{PkiError, PublicKey, ServiceAccountKeys};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Why a token is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum JwtError {
    /// It does not consist of three parts, or one of them is not what it should be.
    #[error("malformed token")]
    Malformed,
    /// It is signed with something else than ES256.
    #[error("unexpected signing algorithm")]
    Algorithm,
    /// None of the keys signed it.
    #[error("invalid signature")]
    Signature,
}

#[derive(Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: Option<String>,
    /// Extensions that must be understood (RFC 7515, section 4.1.11); none are.
    crit: Option<Value>,
}

/// A token taken apart.
pub(super) struct Parts<'a> {
    pub(super) header: Header,
    pub(super) signed: &'a str,
    pub(super) payload: &'a str,
    pub(super) signature: Vec<u8>,
}

/// Signs claims.
///
/// # Errors
/// When the system gives no random numbers.
pub(super) fn encode(keys: &ServiceAccountKeys, claims: &Value) -> Result<String, PkiError> {
    let header = json!({"alg": "ES256", "kid": keys.signing_key_id()});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut token = format!("{}.{}", part(&header), part(claims));
    let signature = keys.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

/// The claims of a token, whoever signed it: good only to find out whose it may be.
pub(super) fn unverified<T: DeserializeOwned>(token: &str) -> Result<T, JwtError> {
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(JwtError::Malformed);
    };
    read(payload)
}

/// The claims of a token that one of these keys signed. The times in them are not looked at.
pub(super) fn verify<T: DeserializeOwned>(keys: &[PublicKey], token: &str) -> Result<T, JwtError> {
    let Parts { header, signed, payload, signature } = split(token)?;
    if header.alg != "ES256" {
        return Err(JwtError::Algorithm);
    }
    let candidates = keys.iter().filter(|key| header.kid.as_deref().is_none_or(|id| id == key.id()));
    if !candidates.into_iter().any(|key| key.verifies(signed.as_bytes(), &signature)) {
        return Err(JwtError::Signature);
    }
    read(payload)
}

/// Takes a token apart.
pub(super) fn split(token: &str) -> Result<Parts<'_>, JwtError> {
    let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(JwtError::Malformed)?;
    if payload.contains('.') {
        return Err(JwtError::Malformed);
    }
    let header: Header = read(header)?;
    if header.crit.is_some() {
        return Err(JwtError::Malformed);
    }
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| JwtError::Malformed)?;
    Ok(Parts { header, signed, payload, signature })
}

pub(super) fn read<T: DeserializeOwned>(part: &str) -> Result<T, JwtError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| JwtError::Malformed)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use pki::Pki;

    pub(crate) fn keys() -> ServiceAccountKeys {
        let directory = tempfile::tempdir().unwrap();
        let pki = Pki::load_or_create(directory.path(), jiff::Timestamp::now()).unwrap();
        pki.load_service_account_keys().unwrap()
    }

    #[test]
    fn what_was_signed_is_read_back_and_only_that() {
        let (ours, theirs) = (keys(), keys());
        let claims = json!({"sub": "x"});
        let token = encode(&ours, &claims).unwrap();
        assert_eq!(verify::<Value>(ours.accepted(), &token), Ok(claims.clone()));
        assert_eq!(verify::<Value>(theirs.accepted(), &token), Err(JwtError::Signature));
        let parts: Vec<&str> = token.split('.').collect();
        let forged = URL_SAFE_NO_PAD.encode(r#"{"sub":"y"}"#);
        let tampered = format!("{}.{forged}.{}", parts[0], parts[2]);
        assert_eq!(verify::<Value>(ours.accepted(), &tampered), Err(JwtError::Signature));
        for (header, expected) in [
            (r#"{"alg":"none"}"#, JwtError::Algorithm),
            (r#"{"alg":"HS256"}"#, JwtError::Algorithm),
            (r#"{"alg":"ES256"}"#, JwtError::Signature),
            (r#"{"alg":"ES256","crit":["b64"]}"#, JwtError::Malformed),
            (r#"{"kid":"x"}"#, JwtError::Malformed),
            (r#"[]"#, JwtError::Malformed),
        ] {
            let header = URL_SAFE_NO_PAD.encode(header);
            let token = format!("{header}.{}.{}", parts[1], parts[2]);
            assert_eq!(verify::<Value>(ours.accepted(), &token), Err(expected), "{token}");
        }
    }

    #[test]
    fn hostile_input_is_refused_not_feared() {
        let keys = keys();
        let token = encode(&keys, &json!({"sub": "x"})).unwrap();
        for cut in 0..token.len() {
            assert!(verify::<Value>(keys.accepted(), &token[..cut]).is_err());
        }
        for bad in
            ["", ".", "..", "...", "a.b.c", "a.b.c.d", "é.é.é", "e30.e30.", "e30.bnVsbA.AAAA", "====.=.="]
        {
            assert!(verify::<Value>(keys.accepted(), bad).is_err(), "{bad}");
        }
        let deep = URL_SAFE_NO_PAD.encode("[".repeat(100_000));
        assert!(unverified::<Value>(&format!("e30.{deep}.x")).is_err());
        assert!(unverified::<Value>("e30.e30").is_err());
    }
}
