//! Fills Secrets of type `kubernetes.io/service-account-token` with a token of their account, and removes them with
//! it.
//!
//! Upstream counterpart: `serviceaccount-token-controller`.

use std::sync::Arc;

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use client::{
    Event, Informer, ObjectKey, Rest,
    informer::Scope,
    rest::{self, DeleteOptions},
};
use k8s_openapi::{
    ByteString,
    api::core::v1::{Secret, ServiceAccount},
};
use serde_json::{Value, json};

use crate::{
    framework::{Action, Context, Controller, ReconcileError, Watches},
    manager::Config,
};

const NAME: &str = "serviceaccount-token-controller";
/// The type of such Secrets.
pub(crate) const TYPE: &str = "kubernetes.io/service-account-token";
/// Annotations that say whose token is wanted.
pub(crate) const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
pub(crate) const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
/// The `iss` claim; the API server knows these tokens by it.
const ISSUER: &str = "kubernetes/serviceaccount";

/// The controller; keys are Secrets.
pub struct ServiceAccountTokens {
    rest: Rest,
    secrets: Informer<Secret>,
    accounts: Informer<ServiceAccount>,
    pki: Option<Arc<pki::Pki>>,
    ca: String,
}

impl ServiceAccountTokens {
    /// The controller, not running yet. Without keys it fills nothing.
    pub fn new(context: &Context, config: &Config) -> Self {
        Self {
            rest: context.rest.clone(),
            // Others are none of its business.
            secrets: context.informers.scoped(&Scope::fields(format!("type={TYPE}"))),
            accounts: context.informers.get(),
            pki: config.pki.clone(),
            ca: config.root_ca_pem.clone(),
        }
    }

    /// The Secret with everything in it; a token that it has stays.
    fn filled(&self, pki: &pki::Pki, secret: &Secret, account: &ServiceAccount) -> Result<Secret, String> {
        let mut filled = secret.clone();
        let data = filled.data.get_or_insert_default();
        if data.get("token").is_none_or(|token| token.0.is_empty()) {
            let token = self.token(pki, secret, account)?;
            data.insert("token".into(), ByteString(token.into_bytes()));
        }
        data.insert("ca.crt".into(), ByteString(self.ca.clone().into_bytes()));
        let namespace = secret.metadata.namespace.clone().unwrap_or_default();
        data.insert("namespace".into(), ByteString(namespace.into_bytes()));
        let annotations = filled.metadata.annotations.get_or_insert_default();
        annotations.insert(ACCOUNT_UID.into(), account.metadata.uid.clone().unwrap_or_default());
        Ok(filled)
    }

    fn token(&self, pki: &pki::Pki, secret: &Secret, account: &ServiceAccount) -> Result<String, String> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let (namespace, name) = (text(&account.metadata.namespace), text(&account.metadata.name));
        let claims = json!({
            "iss": ISSUER,
            "kubernetes.io/serviceaccount/namespace": namespace,
            "kubernetes.io/serviceaccount/secret.name": text(&secret.metadata.name),
            "kubernetes.io/serviceaccount/service-account.name": name,
            "kubernetes.io/serviceaccount/service-account.uid": text(&account.metadata.uid),
            "sub": format!("system:serviceaccount:{namespace}:{name}"),
        });
        let keys = pki.service_account_keys();
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed =
            format!("{}.{}", part(&json!({"alg": "ES256", "kid": keys.signing_key_id()})), part(&claims));
        let signature = keys.sign(signed.as_bytes()).map_err(|error| error.to_string())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Nothing,
    Delete,
    Fill,
}

fn plan(secret: &Secret, account: Option<&ServiceAccount>, ca: &str) -> Plan {
    if secret.metadata.deletion_timestamp.is_some() {
        return Plan::Nothing;
    }
    let annotation =
        |key: &str| secret.metadata.annotations.as_ref().and_then(|all| all.get(key)).map(String::as_str);
    let Some(account) = account else { return Plan::Delete };
    let uid = account.metadata.uid.as_deref();
    match annotation(ACCOUNT_UID) {
        // Of an earlier account of that name.
        Some(known) if Some(known) != uid => return Plan::Delete,
        Some(_) => {}
        None => return Plan::Fill,
    }
    let holds =
        |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.as_slice());
    let namespace = secret.metadata.namespace.as_deref().unwrap_or_default();
    let full = holds("token").is_some_and(|token| !token.is_empty())
        && holds("ca.crt") == Some(ca.as_bytes())
        && holds("namespace") == Some(namespace.as_bytes());
    if full { Plan::Nothing } else { Plan::Fill }
}

#[async_trait]
impl Controller for ServiceAccountTokens {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        watches.primary(&self.secrets);
        let secrets = self.secrets.store().clone();
        watches.mapped(&self.accounts, move |event, keys| {
            // A change of an account changes nothing.
            if matches!(event, Event::Applied(_, Some(_))) {
                return;
            }
            let account = &event.object().metadata;
            for secret in secrets.list() {
                let named = secret.metadata.annotations.as_ref().and_then(|all| all.get(ACCOUNT_NAME));
                if secret.metadata.namespace == account.namespace && named == account.name.as_ref() {
                    keys.add(ObjectKey::of(&*secret));
                }
            }
        });
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(secret) = self.secrets.get(key) else { return Ok(Action::Done) };
        let Some(pki) = &self.pki else { return Ok(Action::Done) };
        let named = secret.metadata.annotations.as_ref().and_then(|all| all.get(ACCOUNT_NAME));
        let Some(named) = named else { return Ok(Action::Done) };
        let namespace = &key.namespace;
        let mut account = self.accounts.find(namespace, named);
        if account.is_none() {
            // It may have been made this very moment.
            let found = self.rest.get::<ServiceAccount>(&ObjectKey::new(namespace, named)).await?;
            account = found.map(Arc::new);
        }
        match (plan(&secret, account.as_deref(), &self.ca), account) {
            (Plan::Delete, _) => {
                let uid = secret.metadata.uid.clone().unwrap_or_default();
                self.rest.delete::<Secret>(key, &DeleteOptions::uid(uid)).await?;
            }
            (Plan::Fill, Some(account)) => {
                let filled = match self.filled(pki, &secret, &account) {
                    Ok(filled) => filled,
                    Err(error) => {
                        tracing::error!(%key, error, "cannot sign a token");
                        return Ok(Action::Done);
                    }
                };
                match self.rest.replace(&filled).await {
                    // It comes again when it has changed.
                    Err(error) if rest::is_not_found(&error) || rest::is_conflict(&error) => {}
                    result => drop(result?),
                }
            }
            (Plan::Fill | Plan::Nothing, _) => {}
        }
        Ok(Action::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    fn secret(annotations: &[(&str, &str)], data: &[(&str, &str)]) -> Secret {
        let data: serde_json::Map<_, _> =
            data.iter().map(|(key, value)| ((*key).to_owned(), json!(STANDARD.encode(value)))).collect();
        let annotations: serde_json::Map<_, _> =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "ns", "annotations": annotations}, "data": data, "type": TYPE,
        }))
        .unwrap()
    }

    #[test]
    fn a_secret_is_filled_once_and_goes_with_its_account() {
        let account: ServiceAccount =
            serde_json::from_value(json!({"metadata": {"name": "sa", "namespace": "ns", "uid": "1"}}))
                .unwrap();
        let name = (ACCOUNT_NAME, "sa");
        let full = [("token", "t"), ("ca.crt", "CA"), ("namespace", "ns")];
        let table = [
            (secret(&[name], &[]), Some(&account), Plan::Fill),
            (secret(&[name, (ACCOUNT_UID, "1")], &full), Some(&account), Plan::Nothing),
            (secret(&[name, (ACCOUNT_UID, "1")], &full[1..]), Some(&account), Plan::Fill),
            (secret(&[name, (ACCOUNT_UID, "0")], &full), Some(&account), Plan::Delete),
            (secret(&[name], &[]), None, Plan::Delete),
        ];
        for (secret, account, expected) in table {
            assert_eq!(plan(&secret, account, "CA"), expected, "{secret:?}");
        }
    }
}
