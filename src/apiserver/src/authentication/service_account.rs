//! Service account tokens: checked against their signature, their times, and the objects they are bound to
//! (KEP-1205, KEP-4193).

use std::collections::HashMap;
use std::sync::Arc;

use apimachinery::status::Status;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use pki::ServiceAccountKeys;
use ring::digest::{SHA256, digest};
use serde::Deserialize;

use super::jwt;
use super::legacy_token::{self, SecretFacts};
use super::user_info::UserInfo;
use crate::cached::Memo;
use crate::registry::Registry;

/// A token outlives the deletion of what it is bound to by this, so that a pod that terminates can still say
/// goodbye (as upstream).
const DELETION_LEEWAY: SignedDuration = SignedDuration::from_secs(60);
/// Clocks of nodes differ by so much at most (as upstream).
const CLOCK_LEEWAY: i64 = 60;
/// Verified tokens that are remembered: some MiB at most. All are forgotten when there are more.
const REMEMBERED: usize = 10_000;

/// Extra keys of users who came with a token.
const EXTRA_CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";
pub(super) const EXTRA_POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const EXTRA_POD_UID: &str = "authentication.kubernetes.io/pod-uid";
pub(super) const EXTRA_NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const EXTRA_NODE_UID: &str = "authentication.kubernetes.io/node-uid";

/// How tokens are issued and accepted.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// The `iss` claim, a URL.
    pub issuer: String,
    /// Further issuers whose tokens are accepted, while the issuer is changed.
    pub accepted_issuers: Vec<String>,
    /// Audiences of the API server; tokens get them when none are asked for.
    pub api_audiences: Vec<String>,
    /// The longest a token may be valid, where the administrator limits it.
    pub max_expiration: Option<SignedDuration>,
    /// Whether tokens that kubelets ask for with the default lifetime are really valid for a year, and only
    /// warned about before (upstream `--service-account-extend-token-expiration`, on by default).
    pub extend_expiration: bool,
}

impl TokenSettings {
    /// The settings of a cluster with this domain (`cluster.local`).
    pub fn for_domain(domain: &str) -> Self {
        let issuer = format!("https://kubernetes.default.svc.{domain}");
        Self {
            // The short name is what clients written for other clusters ask for.
            api_audiences: vec![issuer.clone()],
            issuer,
            accepted_issuers: Vec::new(),
            max_expiration: None,
            extend_expiration: true,
        }
    }

    /// Whether tokens of this issuer are ours.
    fn accepts(&self, issuer: &str) -> bool {
        self.issuer == issuer || self.accepted_issuers.iter().any(|accepted| accepted == issuer)
    }
}

/// Issues and checks service account tokens.
pub struct ServiceAccountTokens {
    pub(super) settings: TokenSettings,
    pub(super) keys: ServiceAccountKeys,
    pub(super) registry: Registry,
    service_accounts: Memo<Facts>,
    pods: Memo<Facts>,
    secrets: Memo<Facts>,
    nodes: Memo<Facts>,
    /// Secrets that hold tokens.
    pub(super) legacy: Memo<SecretFacts>,
    verified: Mutex<HashMap<[u8; 32], Arc<Claims>>>,
}

/// What of an object decides whether it still is the one that a token was bound to.
#[derive(Debug, Deserialize)]
pub(super) struct Facts {
    #[serde(default)]
    pub(super) metadata: FactsMeta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct FactsMeta {
    pub(super) uid: String,
    deletion_timestamp: Option<Timestamp>,
}

/// What a token says.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Claims {
    #[serde(default)]
    aud: Audiences,
    exp: i64,
    #[serde(default)]
    nbf: i64,
    iss: String,
    #[serde(default)]
    jti: String,
    sub: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: KubernetesClaims,
}

#[derive(Clone, Debug, Deserialize)]
struct KubernetesClaims {
    namespace: String,
    serviceaccount: Reference,
    pod: Option<Reference>,
    secret: Option<Reference>,
    node: Option<Reference>,
}

#[derive(Clone, Debug, Deserialize)]
struct Reference {
    name: String,
    #[serde(default)]
    uid: String,
}

/// One audience or several (RFC 7519, section 4.1.3).
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

impl Default for Audiences {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Audiences {
    fn as_slice(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

#[derive(Deserialize)]
struct Issuer {
    iss: Option<String>,
}

impl ServiceAccountTokens {
    /// Issues with and accepts these keys.
    pub fn new(settings: TokenSettings, keys: ServiceAccountKeys, registry: Registry) -> Self {
        let memo = |resource: &str| Memo::new(registry.clone(), "", resource);
        Self {
            service_accounts: memo("serviceaccounts"),
            pods: memo("pods"),
            secrets: memo("secrets"),
            nodes: memo("nodes"),
            legacy: Memo::new(registry.clone(), "", "secrets"),
            settings,
            keys,
            registry,
            verified: Mutex::default(),
        }
    }

    /// Issuers whose tokens are ours.
    pub(super) fn issuers(&self) -> impl Iterator<Item = String> {
        std::iter::once(&self.settings.issuer).chain(&self.settings.accepted_issuers).cloned()
    }

    /// The audiences of the API server.
    pub fn api_audiences(&self) -> &[String] {
        &self.settings.api_audiences
    }

    /// Whose token this is, and for which of the wanted audiences. `Ok(None)` when it is no token of ours.
    ///
    /// # Errors
    /// In words, when it is ours and no good: forged, expired, for another audience, or bound to something
    /// that is gone.
    pub async fn authenticate(
        &self,
        token: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<Option<(UserInfo, Vec<String>)>, String> {
        let issuer: Issuer = match jwt::unverified(token) {
            Ok(issuer) => issuer,
            Err(_) => return Ok(None),
        };
        if issuer.iss.as_deref() == Some(legacy_token::ISSUER) {
            return self.authenticate_legacy(token, audiences, now).await.map(Some);
        }
        if !issuer.iss.is_some_and(|issuer| self.settings.accepts(&issuer)) {
            return Ok(None);
        }
        let claims = self.verify(token)?;
        if now.as_second() > claims.exp.saturating_add(CLOCK_LEEWAY) {
            return Err("service account token has expired".into());
        }
        if now.as_second() < claims.nbf.saturating_sub(CLOCK_LEEWAY) {
            return Err("service account token is not valid yet".into());
        }
        let wanted = |audience: &&String| audiences.contains(audience);
        let accepted: Vec<String> = claims.aud.as_slice().iter().filter(wanted).cloned().collect();
        if accepted.is_empty() {
            return Err(format!(
                "token audiences {:?} is invalid for the target audiences {audiences:?}",
                claims.aud.as_slice()
            ));
        }
        self.check_bindings(&claims, now).await?;
        Ok(Some((claims.user(), accepted)))
    }

    /// Checks the signature, once per token.
    fn verify(&self, token: &str) -> Result<Arc<Claims>, String> {
        let mut key = [0_u8; 32];
        key.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        if let Some(claims) = self.verified.lock().get(&key) {
            return Ok(Arc::clone(claims));
        }
        let claims: Claims = jwt::verify(self.keys.accepted(), token).map_err(|error| error.to_string())?;
        let account = &claims.kubernetes;
        let subject = format!("system:serviceaccount:{}:{}", account.namespace, account.serviceaccount.name);
        if !self.settings.accepts(&claims.iss) || claims.sub != subject {
            return Err("sub and namespace/name claims do not match".into());
        }
        let claims = Arc::new(claims);
        let mut verified = self.verified.lock();
        if verified.len() >= REMEMBERED {
            verified.clear();
        }
        verified.insert(key, Arc::clone(&claims));
        Ok(claims)
    }

    async fn check_bindings(&self, claims: &Claims, now: Timestamp) -> Result<(), String> {
        let bound = &claims.kubernetes;
        let namespace = &bound.namespace;
        // The token's own claim decides: an account made anew under the same name is another one.
        check("service account", &self.service_accounts, namespace, &bound.serviceaccount, now).await?;
        if let Some(secret) = &bound.secret {
            check("secret", &self.secrets, namespace, secret, now).await?;
        }
        if let Some(pod) = &bound.pod {
            check("pod", &self.pods, namespace, pod, now).await?;
        } else if let Some(node) = &bound.node {
            // With a pod the node is told for information only: the pod is bound to it for good.
            check("node", &self.nodes, "", node, now).await?;
        }
        Ok(())
    }

    pub(super) async fn service_account(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Facts>>, Status> {
        self.service_accounts.get(namespace, name).await
    }
}

impl std::fmt::Debug for ServiceAccountTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceAccountTokens").field("settings", &self.settings).finish_non_exhaustive()
    }
}

async fn check(
    what: &str,
    memo: &Memo<Facts>,
    namespace: &str,
    reference: &Reference,
    now: Timestamp,
) -> Result<(), String> {
    let is_meant = |found: &Facts| {
        let deleted = found.metadata.deletion_timestamp;
        found.metadata.uid == reference.uid
            && deleted.is_none_or(|at| now.duration_since(at) <= DELETION_LEEWAY)
    };
    let name = &reference.name;
    let found = memo.recent_if(namespace, name, is_meant).await.map_err(|status| status.message)?;
    if found.is_some_and(|found| is_meant(&found)) {
        return Ok(());
    }
    Err(format!("service account token has been invalidated: {what} {name:?} is gone"))
}

impl Claims {
    fn user(&self) -> UserInfo {
        let account = &self.kubernetes;
        let reference = &account.serviceaccount;
        let mut user = UserInfo::service_account(&account.namespace, &reference.name, &reference.uid);
        let mut extra = |key: &str, value: String| user.extra.insert(key.to_owned(), vec![value]);
        if !self.jti.is_empty() {
            extra(EXTRA_CREDENTIAL, format!("JTI={}", self.jti));
        }
        if let Some(pod) = &account.pod {
            extra(EXTRA_POD_NAME, pod.name.clone());
            extra(EXTRA_POD_UID, pod.uid.clone());
        }
        if let Some(node) = &account.node {
            extra(EXTRA_NODE_NAME, node.name.clone());
            extra(EXTRA_NODE_UID, node.uid.clone());
        }
        user
    }
}

#[cfg(test)]
#[path = "service_account_tests.rs"]
mod tests;
