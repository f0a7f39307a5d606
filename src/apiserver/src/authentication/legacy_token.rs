//! Tokens in Secrets of type `kubernetes.io/service-account-token`: without expiry and audience, good while the Secret
//! holds them.
//!
//! Upstream counterpart: `pkg/serviceaccount/legacy.go`.

use std::collections::BTreeMap;

use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Deserialize;

use super::jwt;
use super::service_account::ServiceAccountTokens;
use super::user_info::UserInfo;

/// The `iss` claim of all of them.
pub(super) const ISSUER: &str = "kubernetes/serviceaccount";
/// Says on which day a token was last used.
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
/// Says since which day a token is not accepted any more.
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

#[derive(Deserialize)]
struct Claims {
    sub: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    uid: String,
}

/// What of a Secret decides.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SecretFacts {
    metadata: SecretMeta,
    data: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SecretMeta {
    deletion_timestamp: Option<Timestamp>,
    labels: BTreeMap<String, String>,
}

impl ServiceAccountTokens {
    /// Whose token this is, and for which of the wanted audiences: those of the API server.
    ///
    /// # Errors
    /// In words, when it is forged, or its Secret or account is gone.
    pub(super) async fn authenticate_legacy(
        &self,
        token: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<(UserInfo, Vec<String>), String> {
        let claims: Claims = jwt::verify(self.keys.accepted(), token).map_err(|error| error.to_string())?;
        let subject = format!("system:serviceaccount:{}:{}", claims.namespace, claims.account);
        if claims.sub != subject {
            return Err("sub claim does not match the namespace and name claims".into());
        }
        let wanted = |audience: &&String| audiences.contains(audience);
        let accepted: Vec<String> = self.api_audiences().iter().filter(wanted).cloned().collect();
        if accepted.is_empty() && !audiences.is_empty() {
            return Err(format!("token audiences [] is invalid for the target audiences {audiences:?}"));
        }
        let secret = self.legacy.get(&claims.namespace, &claims.secret).await;
        let secret = secret.map_err(|status| status.message)?;
        let invalidated = || "Token has been invalidated".to_owned();
        let secret = secret.ok_or_else(invalidated)?;
        if secret.metadata.deletion_timestamp.is_some() || secret.metadata.labels.contains_key(INVALID_SINCE)
        {
            return Err(invalidated());
        }
        let held = secret.data.get("token").and_then(|data| STANDARD.decode(data).ok());
        if held.as_deref() != Some(token.as_bytes()) {
            return Err("Token does not match server's copy".into());
        }
        let account = self.service_account(&claims.namespace, &claims.account).await;
        let account = account.map_err(|status| status.message)?;
        let account = account.ok_or_else(|| format!("service account {:?} is gone", claims.account))?;
        if account.metadata.uid != claims.uid {
            return Err(format!(
                "ServiceAccount UID ({}) does not match claim ({})",
                account.metadata.uid, claims.uid
            ));
        }
        let today = now.to_string().chars().take(10).collect::<String>();
        if secret.metadata.labels.get(LAST_USED) != Some(&today) {
            self.note_use(&claims.namespace, &claims.secret, &today).await;
        }
        Ok((UserInfo::service_account(&claims.namespace, &claims.account, &claims.uid), accepted))
    }

    /// Writes down that a token was used, once a day: what is not used for a year can be removed.
    async fn note_use(&self, namespace: &str, name: &str, today: &str) {
        let secrets = GroupResource::new("", "secrets");
        let update = self.registry.guaranteed_update(&secrets, namespace, name, |secret| {
            meta::set_label(secret, LAST_USED, today);
            Ok(())
        });
        if let Err(status) = update.await {
            tracing::debug!(namespace, name, error = status.message, "cannot note the use of a token");
        }
    }
}
