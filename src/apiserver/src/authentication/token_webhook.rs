//! The authentication webhook: asks a server by TokenReview, and remembers what it said.
//!
//! Upstream counterpart: `k8s.io/apiserver/plugin/pkg/authenticator/token/webhook`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ring::digest::{Context, SHA256};
use serde_json::{Value, json};

use super::user_info::{GROUP_AUTHENTICATED, UserInfo};
use crate::cached::Expiring;
use crate::outbound::Outbound;
use crate::remote::Remote;
use crate::settings_file::ConfigurationError;

/// Upstream's timeout of one call.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Answers that are remembered.
const REMEMBERED: usize = 4096;

/// Where it is and how it is asked.
#[derive(Clone, Debug)]
pub struct TokenWebhookOptions {
    /// The kubeconfig file.
    pub kubeconfig: PathBuf,
    /// `v1` or `v1beta1`.
    pub version: String,
    /// How long answers are remembered.
    pub cache_ttl: Duration,
}

/// A user, and the audiences that the token is good for.
type Known = (UserInfo, Vec<String>);

/// See the module.
pub(super) struct TokenWebhook {
    remote: Remote,
    version: String,
    cache_ttl: Duration,
    answers: Expiring<[u8; 32], Result<Option<Known>, String>>,
}

impl TokenWebhook {
    /// # Errors
    /// When the options cannot be used.
    pub(super) fn new(outbound: &Outbound, options: TokenWebhookOptions) -> Result<Self, ConfigurationError> {
        if !matches!(options.version.as_str(), "v1" | "v1beta1") {
            return Err(ConfigurationError::Unusable(format!(
                "unsupported authentication webhook version {:?}, supported versions are \"v1\", \"v1beta1\"",
                options.version
            )));
        }
        let remote = Remote::load(outbound, &options.kubeconfig, TIMEOUT);
        let remote = remote.map_err(ConfigurationError::Unusable)?;
        let TokenWebhookOptions { version, cache_ttl, .. } = options;
        Ok(Self { remote, version, cache_ttl, answers: Expiring::new(REMEMBERED) })
    }

    /// Whose token this is and for which of the audiences, `None` when the webhook does not know it.
    ///
    /// # Errors
    /// In words: those of the webhook, or that it does not answer.
    pub(super) async fn authenticate(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<Known>, String> {
        let key = key(token, audiences);
        if let Some(answer) = self.answers.get(&key) {
            return answer;
        }
        let mut spec = json!({"token": token});
        if !audiences.is_empty() {
            api::value::set(&mut spec, "audiences", audiences.to_vec());
        }
        let review = json!({
            "kind": "TokenReview",
            "apiVersion": format!("authentication.k8s.io/{}", self.version),
            "metadata": {"creationTimestamp": null},
            "spec": spec,
            "status": {"user": {}},
        });
        let answer = match self.remote.review(&review).await {
            Ok(answer) => known(&answer, audiences),
            Err(error) => {
                tracing::warn!(%error, "the authentication webhook has failed");
                return Err(error.to_string());
            }
        };
        self.answers.put(key, answer.clone(), self.cache_ttl);
        answer
    }
}

fn key(token: &str, audiences: &[String]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in std::iter::once(token).chain(audiences.iter().map(String::as_str)) {
        context.update(&part.len().to_le_bytes());
        context.update(part.as_bytes());
    }
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}

fn known(answer: &Value, audiences: &[String]) -> Result<Option<Known>, String> {
    let status = api::value::field(answer, "status");
    if !api::value::is_true(status, "authenticated") {
        let error = api::value::text(status, "error");
        return if error.is_empty() { Ok(None) } else { Err(error.to_owned()) };
    }
    let found = api::value::field(status, "user");
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let extra = api::value::field(found, "extra").as_object();
    let extra: BTreeMap<_, _> =
        extra.into_iter().flatten().map(|(key, values)| (key.to_lowercase(), texts(values))).collect();
    let mut user = UserInfo {
        name: api::value::text(found, "username").to_owned(),
        uid: api::value::text(found, "uid").to_owned(),
        groups: texts(api::value::field(found, "groups")),
        extra,
    };
    if !user.in_group(GROUP_AUTHENTICATED) {
        user.groups.push(GROUP_AUTHENTICATED.into());
    }
    // A webhook that knows nothing of audiences speaks for all that were asked for.
    let said = texts(api::value::field(status, "audiences"));
    let good: Vec<String> = match said.as_slice() {
        [] => audiences.to_vec(),
        said => audiences.iter().filter(|audience| said.contains(audience)).cloned().collect(),
    };
    if good.is_empty() && !audiences.is_empty() {
        return Ok(None);
    }
    Ok(Some((user, good)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_speaks_for_the_audiences_it_names() {
        let wanted = ["a".to_owned(), "b".to_owned()];
        let answer = |audiences: Value| {
            json!({"status": {"authenticated": true, "user": {"username": "jane", "extra": {"K": ["v"]}},
                "audiences": audiences}})
        };
        let (user, good) = known(&answer(Value::Null), &wanted).unwrap().unwrap();
        assert_eq!((user.name.as_str(), &user.extra["k"][0], good.len()), ("jane", &"v".to_owned(), 2));
        assert!(user.in_group(GROUP_AUTHENTICATED));
        assert_eq!(known(&answer(json!(["b", "c"])), &wanted).unwrap().unwrap().1, ["b"]);
        assert_eq!(known(&answer(json!(["c"])), &wanted).unwrap(), None);
        assert_eq!(known(&json!({"status": {"error": "no"}}), &wanted), Err("no".to_owned()));
        assert_eq!(known(&json!({}), &wanted), Ok(None));
    }
}
