//! The Secrets that hold bootstrap tokens.

use client::{Informer, informer::Scope};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;

use crate::framework::Context;

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const NAME_PREFIX: &str = "bootstrap-token-";

/// A token that can sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) id: String,
    pub(super) secret: String,
}

/// The Secrets with tokens, no others.
pub(super) fn informer(context: &Context) -> Informer<Secret> {
    context.informers.scoped(&Scope {
        namespace: NAMESPACE.to_owned(),
        field_selector: format!("type={TYPE}"),
        label_selector: String::new(),
    })
}

fn data(secret: &Secret, key: &str) -> Option<String> {
    let bytes = &secret.data.as_ref()?.get(key)?.0;
    String::from_utf8(bytes.clone()).ok()
}

/// When the token ends; `None` when it does not. What is no time has passed.
pub(super) fn expiration(secret: &Secret) -> Option<Timestamp> {
    let text = data(secret, "expiration").filter(|text| !text.is_empty())?;
    Some(apimachinery::time::parse(&text).unwrap_or(Timestamp::MIN))
}

/// The token, if it is whole and made for signing.
pub(super) fn signing(secret: &Secret, now: Timestamp) -> Option<Token> {
    let fits = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let (id, key) = (data(secret, "token-id")?, data(secret, "token-secret")?);
    let named = secret.metadata.name.as_deref() == Some(format!("{NAME_PREFIX}{id}").as_str());
    let signs = data(secret, "usage-bootstrap-signing").as_deref() == Some("true");
    let alive =
        secret.metadata.deletion_timestamp.is_none() && expiration(secret).is_none_or(|end| end > now);
    (named && signs && alive && fits(&id, 6) && fits(&key, 16)).then_some(Token { id, secret: key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    #[test]
    fn only_whole_living_tokens_sign() {
        let secret = |changes: &[(&str, &str)]| {
            let mut all = vec![
                ("token-id", "abcdef"),
                ("token-secret", "0123456789abcdef"),
                ("usage-bootstrap-signing", "true"),
            ];
            all.extend_from_slice(changes);
            let mut secret = Secret::default();
            secret.metadata.name = Some("bootstrap-token-abcdef".into());
            secret.data = Some(
                all.into_iter().map(|(k, v)| (k.to_owned(), ByteString(v.as_bytes().to_vec()))).collect(),
            );
            signing(&secret, Timestamp::from_second(1000).unwrap())
        };
        assert_eq!(secret(&[]).map(|token| token.id).as_deref(), Some("abcdef"));
        assert!(secret(&[("expiration", "1970-01-02T00:00:00Z")]).is_some());
        for bad in [
            ("expiration", "1970-01-01T00:00:00Z"),
            ("expiration", "soon"),
            ("token-id", "ghijkl"),
            ("token-secret", "short"),
            ("usage-bootstrap-signing", "false"),
        ] {
            assert_eq!(secret(&[bad]), None, "{bad:?}");
        }
    }
}
