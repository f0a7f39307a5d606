//! Sees to it that every namespace has a service account called `default`, which pods use by default.
//!
//! Upstream counterpart: `serviceaccount-controller`.

use std::sync::Arc;

use async_trait::async_trait;
use client::{
    Event, Informer, ObjectKey, Rest,
    informer::Scope,
    rest::{self},
};
use k8s_openapi::{
    api::core::v1::{Namespace, ServiceAccount},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::framework::{Action, Context, Controller, ReconcileError, Watches};

const NAME: &str = "serviceaccount-controller";
/// The account that admission puts into pods that name none.
const DEFAULT: &str = "default";

/// The controller; keys are namespaces.
pub struct ServiceAccountController {
    rest: Rest,
    namespaces: Informer<Namespace>,
    accounts: Informer<ServiceAccount>,
}

impl ServiceAccountController {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self {
            rest: context.rest.clone(),
            namespaces: context.informers.get(),
            accounts: context.informers.scoped(&Scope::fields(format!("metadata.name={DEFAULT}"))),
        }
    }
}

#[async_trait]
impl Controller for ServiceAccountController {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        watches.applied(&self.namespaces);
        watches.mapped(&self.accounts, |event, keys| {
            if let Event::Deleted(account) = event {
                keys.add(ObjectKey::cluster(account.metadata.namespace.clone().unwrap_or_default()));
            }
        });
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let namespace = self.namespaces.get(key);
        let exists = self.accounts.find(&key.name, DEFAULT).is_some();
        if !needs_account(namespace.as_deref(), exists) {
            return Ok(Action::Done);
        }
        let account = ServiceAccount {
            metadata: ObjectMeta {
                name: Some(DEFAULT.into()),
                namespace: Some(key.name.clone()),
                ..ObjectMeta::default()
            },
            ..ServiceAccount::default()
        };
        match self.rest.create(&account).await {
            Ok(_) => Ok(Action::Done),
            Err(error) if rest::is_already_exists(&error) || rest::is_not_found(&error) => Ok(Action::Done),
            Err(error) if rest::is_namespace_terminating(&error) => Ok(Action::Done),
            Err(error) => Err(error.into()),
        }
    }
}

fn needs_account(namespace: Option<&Namespace>, exists: bool) -> bool {
    let live = namespace.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_none());
    live && !exists
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_live_namespaces_without_the_account_need_one() {
        let live = Namespace::default();
        let mut dying = Namespace::default();
        dying.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
        assert!(needs_account(Some(&live), false));
        assert!(!needs_account(Some(&live), true));
        assert!(!needs_account(Some(&dying), false));
        assert!(!needs_account(None, false));
    }
}
