//! Bootstrap tokens: `ID.SECRET`, kept in Secrets of `kube-system`, by which nodes first join.

use apimachinery::gvk::GroupResource;
use apimachinery::time;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::user_info::UserInfo;
use crate::registry::Registry;

const GROUP: &str = "system:bootstrappers";
const GROUP_PREFIX: &str = "system:bootstrappers:";
const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";

/// Splits a token that has the right form: six and sixteen lower-case letters and digits.
fn split(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let fits = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    (fits(id, 6) && fits(secret, 16)).then_some((id, secret))
}

/// Whose token this is; `Ok(None)` when it is no bootstrap token or none that is known and valid.
///
/// # Errors
/// In words, when the store fails.
pub(super) async fn authenticate(
    registry: &Registry,
    token: &str,
    now: Timestamp,
) -> Result<Option<UserInfo>, String> {
    let Some((id, secret)) = split(token) else { return Ok(None) };
    let secrets = GroupResource::new("", "secrets");
    let name = format!("bootstrap-token-{id}");
    let found = registry.get_value(&secrets, "kube-system", &name).await.map_err(|status| status.message)?;
    Ok(found.and_then(|object| user(&object, id, secret, now)))
}

fn user(object: &Value, id: &str, secret: &str, now: Timestamp) -> Option<UserInfo> {
    if object.get("type").and_then(Value::as_str) != Some(SECRET_TYPE)
        || apimachinery::meta::is_terminating(object)
    {
        return None;
    }
    let data = |key: &str| -> Option<String> {
        let encoded = object.get("data")?.get(key)?.as_str()?;
        String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
    };
    // Digests differ at random places: comparing them tells nothing of the secret.
    let same = digest(&SHA256, data("token-secret")?.as_bytes()).as_ref()
        == digest(&SHA256, secret.as_bytes()).as_ref();
    if !same || data("token-id")? != id || data("usage-bootstrap-authentication")? != "true" {
        return None;
    }
    if let Some(expiration) = data("expiration")
        && time::parse(&expiration).is_none_or(|at| at <= now)
    {
        return None;
    }
    let mut user = UserInfo::new(format!("system:bootstrap:{id}"), &[GROUP]);
    let extra = data("auth-extra-groups").unwrap_or_default();
    for group in extra.split(',').map(str::trim).filter(|group| !group.is_empty()) {
        // One that does not fit would name any group at all: the whole token is void, as upstream has it.
        if !group.starts_with(GROUP_PREFIX) {
            return None;
        }
        user.groups.push(group.to_owned());
    }
    Some(user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secret(changes: &[(&str, &str)]) -> Value {
        let mut data = json!({});
        let defaults = [
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
        ];
        for (key, value) in defaults.iter().chain(changes) {
            data[*key] = json!(STANDARD.encode(value));
        }
        json!({"type": SECRET_TYPE, "metadata": {}, "data": data})
    }

    #[test]
    fn a_token_is_good_while_its_secret_says_so() {
        let now = "2026-09-01T00:00:00Z".parse().unwrap();
        let check = |changes: &[(&str, &str)]| user(&secret(changes), "abcdef", "0123456789abcdef", now);
        assert_eq!(check(&[]).unwrap().name, "system:bootstrap:abcdef");
        let with_group = check(&[("auth-extra-groups", "system:bootstrappers:workers")]).unwrap();
        assert!(with_group.in_group("system:bootstrappers:workers"));
        assert!(check(&[("auth-extra-groups", "system:masters")]).is_none());
        assert!(check(&[("token-secret", "fedcba9876543210")]).is_none());
        assert!(check(&[("usage-bootstrap-authentication", "false")]).is_none());
        assert!(check(&[("expiration", "2026-08-31T23:59:59Z")]).is_none());
        assert!(check(&[("expiration", "2026-09-01T00:00:01Z")]).is_some());
        assert!(check(&[("expiration", "soon")]).is_none());
    }

    #[test]
    fn only_the_right_form_is_looked_up() {
        assert!(split("abcdef.0123456789abcdef").is_some());
        for bad in ["abcdef", "abcde.0123456789abcdef", "ABCDEF.0123456789abcdef", "abcdef.0123456789abcde/"]
        {
            assert!(split(bad).is_none(), "{bad}");
        }
    }
}
