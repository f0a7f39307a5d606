//! Writes all objects of a resource again, so that they are stored in the current version and encrypted with the current
//! key (KEP-4192). Asked for by a StorageVersionMigration.
//!
//! Upstream counterpart: `storage-version-migrator-controller`.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use client::{
    Informer, ObjectKey, OwnWrites, Rest,
    discovery::{self, ServedResource},
    rest::{self, Patch},
};
use http::{Request, header};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::storagemigration::v1beta1::{StorageVersionMigration, StorageVersionMigrationStatus},
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use serde::Deserialize;
use serde_json::json;

use crate::framework::{Action, Context, Controller, ReconcileError, Watches};

const NAME: &str = "storage-version-migrator-controller";
/// Objects asked for at once.
const PAGE: usize = 500;
/// A resource that was just defined may not be served yet.
const PATIENCE: SignedDuration = SignedDuration::from_mins(1);
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The controller; keys are StorageVersionMigrations.
pub struct StorageVersionMigrator {
    context: Context,
    rest: Rest,
    migrations: Informer<StorageVersionMigration>,
    own: OwnWrites,
}

impl StorageVersionMigrator {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self {
            rest: context.rest.clone(),
            migrations: context.informers.get(),
            own: OwnWrites::new(),
            context: context.clone(),
        }
    }

    async fn find(
        &self,
        migration: &StorageVersionMigration,
    ) -> Result<Option<ServedResource>, ReconcileError> {
        let wanted = migration.spec.as_ref().map(|spec| &spec.resource);
        let discovered = discovery::discover(&self.rest).await?;
        Ok(discovered.resources.into_iter().find(|served| {
            wanted.is_some_and(|wanted| wanted.group == served.group && wanted.resource == served.plural)
                && served.supports(&["list", "patch"])
        }))
    }

    async fn page(&self, served: &ServedResource, token: &str) -> Result<Page, kube::Error> {
        let mut path = format!("{}?limit={PAGE}", served.path(""));
        if !token.is_empty() {
            path.push_str("&continue=");
            path.extend(percent_encoding::utf8_percent_encode(token, percent_encoding::NON_ALPHANUMERIC));
        }
        let request = Request::get(path)
            .header(header::ACCEPT, client::reflector::ACCEPT_METADATA_LIST)
            .body(Vec::new())
            .map_err(kube::Error::HttpError)?;
        let text = self.rest.client().request_text(request).await?;
        serde_json::from_str(&text).map_err(kube::Error::SerdeError)
    }

    /// Applies nothing to an object: the server stores it as it stores objects now.
    async fn migrate(&self, served: &ServedResource, item: &ItemMeta) -> Result<(), kube::Error> {
        let path = rest::item_path(&served.path(&item.namespace), &item.name, "");
        // With both, an object that has changed or come anew meanwhile is a conflict: it is stored right already.
        let config = json!({
            "apiVersion": served.api_version(), "kind": served.kind,
            "metadata": {"uid": item.uid, "resourceVersion": item.resource_version},
        });
        let patch = Patch::Apply { config, manager: NAME.to_owned(), force: false };
        match self.rest.raw_patch(&path, &patch).await {
            Err(error) if rest::is_conflict(&error) || rest::is_not_found(&error) => Ok(()),
            result => result.map(drop),
        }
    }

    async fn migrate_all(&self, served: &ServedResource) -> Result<(), kube::Error> {
        let mut token = String::new();
        loop {
            let page = match self.page(served, &token).await {
                // The pages are of a revision that has gone: what was migrated is quickly seen again.
                Err(error) if rest::is_gone(&error) && !token.is_empty() => {
                    token.clear();
                    continue;
                }
                result => result?,
            };
            for item in page.items.into_iter().flatten() {
                self.migrate(served, &item.metadata).await?;
            }
            token = page.metadata.r#continue;
            if token.is_empty() {
                return Ok(());
            }
        }
    }

    async fn tell(
        &self,
        migration: &StorageVersionMigration,
        type_: &str,
        message: &str,
        revision: Option<String>,
    ) -> Result<StorageVersionMigration, ReconcileError> {
        let mut changed = migration.clone();
        let status: &mut StorageVersionMigrationStatus = changed.status.get_or_insert_default();
        if revision.is_some() {
            status.resource_version = revision;
        }
        set_condition(status.conditions.get_or_insert_default(), type_, message, self.context.now());
        let written = self.rest.replace_status(&changed).await?;
        self.own.note(&written);
        Ok(written)
    }
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMeta,
    items: Option<Vec<Item>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PageMeta {
    r#continue: String,
    resource_version: String,
}

#[derive(Deserialize)]
struct Item {
    metadata: ItemMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemMeta {
    name: String,
    #[serde(default)]
    namespace: String,
    uid: String,
    resource_version: String,
}

/// One condition becomes true; a migration that has ended runs no more.
fn set_condition(conditions: &mut Vec<Condition>, type_: &str, message: &str, now: Timestamp) {
    let reason = match type_ {
        "Running" => "StorageVersionMigrationInProgress",
        "Succeeded" => "StorageVersionMigrationSucceeded",
        _ => "StorageVersionMigrationFailed",
    };
    if type_ != "Running"
        && let Some(running) = conditions.iter_mut().find(|condition| condition.type_ == "Running")
    {
        running.status = "False".into();
        running.last_transition_time = Time(now);
    }
    conditions.retain(|condition| condition.type_ != type_);
    conditions.push(Condition {
        type_: type_.to_owned(),
        status: "True".to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Time(now),
        observed_generation: None,
    });
}

fn is_true(migration: &StorageVersionMigration, type_: &str) -> bool {
    let conditions = migration.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == type_ && condition.status == "True")
}

#[async_trait]
impl Controller for StorageVersionMigrator {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        watches.primary(&self.migrations);
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(migration) = self.migrations.get(key) else {
            self.own.forget(key);
            return Ok(Action::Done);
        };
        if self.own.is_behind(&*migration)
            || is_true(&migration, "Succeeded")
            || is_true(&migration, "Failed")
        {
            return Ok(Action::Done);
        }
        let Some(served) = self.find(&migration).await? else {
            let made = migration.metadata.creation_timestamp.as_ref();
            if made.is_some_and(|made| self.context.now().duration_since(made.0) < PATIENCE) {
                return Ok(Action::RequeueAfter(LOOK_AGAIN));
            }
            self.tell(&migration, "Failed", "resource not found", None).await?;
            return Ok(Action::Done);
        };
        let revision = self.page(&served, "").await?.metadata.resource_version;
        let migration = self.tell(&migration, "Running", "", Some(revision)).await?;
        match self.migrate_all(&served).await {
            Ok(()) => drop(self.tell(&migration, "Succeeded", "", None).await?),
            // What the server cannot do now it may do later; what it refuses it will refuse again.
            Err(error)
                if rest::status(&error)
                    .is_some_and(|status| (400..500).contains(&status.code) && status.code != 429) =>
            {
                tracing::warn!(%key, "cannot migrate: {error}");
                self.tell(&migration, "Failed", "migration encountered unhandled error", None).await?;
            }
            Err(error) => return Err(error.into()),
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

    #[test]
    fn a_migration_that_has_ended_runs_no_more() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let mut conditions = Vec::new();
        set_condition(&mut conditions, "Running", "", at(1));
        set_condition(&mut conditions, "Running", "", at(2));
        set_condition(&mut conditions, "Failed", "resource not found", at(3));
        let told: Vec<_> = conditions
            .iter()
            .map(|condition| (condition.type_.as_str(), condition.status.as_str(), condition.reason.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("Running", "False", "StorageVersionMigrationInProgress"),
                ("Failed", "True", "StorageVersionMigrationFailed")
            ]
        );
    }
}
