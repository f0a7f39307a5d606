//! Signs the kubeconfig in ConfigMap `kube-public/cluster-info` with every token: who has one can believe it.
//!
//! Upstream counterpart: `bootstrap-signer-controller`. Signatures are detached JWS (RFC 7515, appendix F) by
//! HMAC-SHA256.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use client::{
    Informer, ObjectKey, Rest,
    informer::Scope,
    rest::{self, Patch},
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use ring::hmac;
use serde_json::{Value, json};

use super::token::{self, Token};
use crate::framework::{Action, Context, Controller, ReconcileError, Watches};

const NAME: &str = "bootstrap-signer-controller";
const NAMESPACE: &str = "kube-public";
const CONFIG_MAP: &str = "cluster-info";
const KUBECONFIG: &str = "kubeconfig";
const SIGNATURE_PREFIX: &str = "jws-kubeconfig-";

/// Signs; the only key is the cluster.
pub struct BootstrapSigner {
    context: Context,
    rest: Rest,
    secrets: Informer<Secret>,
    config_maps: Informer<ConfigMap>,
}

impl BootstrapSigner {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        let scope = Scope {
            namespace: NAMESPACE.to_owned(),
            field_selector: format!("metadata.name={CONFIG_MAP}"),
            label_selector: String::new(),
        };
        Self {
            rest: context.rest.clone(),
            secrets: token::informer(context),
            config_maps: context.informers.scoped(&scope),
            context: context.clone(),
        }
    }
}

/// What of the ConfigMap has to change: signatures by key, null for those that go.
fn plan(data: &BTreeMap<String, String>, tokens: &[Token]) -> BTreeMap<String, Value> {
    let Some(kubeconfig) = data.get(KUBECONFIG) else { return BTreeMap::new() };
    let wanted: BTreeMap<String, String> = tokens
        .iter()
        .map(|token| (format!("{SIGNATURE_PREFIX}{}", token.id), sign(kubeconfig, token)))
        .collect();
    let stale = data.keys().filter(|key| key.starts_with(SIGNATURE_PREFIX) && !wanted.contains_key(*key));
    let mut changes: BTreeMap<String, Value> = stale.map(|key| (key.clone(), Value::Null)).collect();
    let new = wanted.into_iter().filter(|(key, signature)| data.get(key) != Some(signature));
    changes.extend(new.map(|(key, signature)| (key, Value::from(signature))));
    changes
}

/// `HEADER..SIGNATURE` of a text.
fn sign(text: &str, token: &Token) -> String {
    let header = URL_SAFE_NO_PAD.encode(format!("{{\"alg\":\"HS256\",\"kid\":\"{}\"}}", token.id));
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.secret.as_bytes());
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(text));
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes())))
}

#[async_trait]
impl Controller for BootstrapSigner {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        watches.mapped(&self.secrets, |_, keys| keys.add(ObjectKey::default()));
        watches.mapped(&self.config_maps, |_, keys| keys.add(ObjectKey::default()));
    }

    async fn reconcile(&self, _key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(found) = self.config_maps.find(NAMESPACE, CONFIG_MAP) else { return Ok(Action::Done) };
        let now = self.context.now();
        let tokens: Vec<Token> =
            self.secrets.list().iter().filter_map(|secret| token::signing(secret, now)).collect();
        let empty = BTreeMap::new();
        let changes = plan(found.data.as_ref().unwrap_or(&empty), &tokens);
        if changes.is_empty() {
            return Ok(Action::Done);
        }
        let patch = Patch::Merge(json!({
            "metadata": {"resourceVersion": found.metadata.resource_version}, "data": changes,
        }));
        match self.rest.patch::<ConfigMap>(&ObjectKey::new(NAMESPACE, CONFIG_MAP), "", &patch).await {
            Err(error) if rest::is_not_found(&error) => {}
            result => drop(result?),
        }
        Ok(Action::Done)
    }

    fn workers(&self) -> usize {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: &str) -> Token {
        Token { id: id.into(), secret: "0123456789abcdef".into() }
    }

    #[test]
    fn a_signature_is_a_detached_jws() {
        // Computed with Python's hmac and base64.
        assert_eq!(
            sign("hello", &token("abcdef")),
            "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9..MxsnbCjBaYzcbNIFa06F-wuF9LX26rhMlrL4zA1511s"
        );
    }

    #[test]
    fn every_token_signs_once_and_gone_ones_do_not() {
        let mut data = BTreeMap::from([("kubeconfig".to_owned(), "x".to_owned())]);
        data.insert("jws-kubeconfig-gone00".into(), "old".into());
        let changes = plan(&data, &[token("abcdef")]);
        assert_eq!(changes.get("jws-kubeconfig-gone00"), Some(&Value::Null));
        data.remove("jws-kubeconfig-gone00");
        data.insert(
            "jws-kubeconfig-abcdef".into(),
            changes["jws-kubeconfig-abcdef"].as_str().unwrap().into(),
        );
        assert!(plan(&data, &[token("abcdef")]).is_empty());
        data.remove("kubeconfig");
        assert!(plan(&data, &[]).is_empty());
    }
}
