//! Deletes the objects of a definition that is being deleted, then lets it go (upstream's finalizer controller).

use super::definition::{CLEANUP_FINALIZER, Condition};
use super::names::{ESTABLISHED, TERMINATING};
use super::system;
use super::version::CustomResource;
use crate::ApiServer;
use crate::registry::deletion::DeleteOptions;
use crate::registry::writer::Writer;
use crate::registry::{self, Served};
use apimachinery::status::{Result, Status};
use futures::{FutureExt, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use storage::{EventKind, Object, WatchFrom, WatchItem};

/// How long objects may take to go until the definition says that they do not (upstream's).
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause before the next attempt.
const RETRY: Duration = Duration::from_secs(5);
/// Deletions that run at once: they share flushes of the store, and are not to crowd out others.
const PARALLELISM: usize = 16;

/// Deletes what is defined, again and again until nothing is left, and takes the finalizer off the definition.
pub(super) async fn run(server: &ApiServer, resource: &Arc<CustomResource>) {
    let name = resource.definition.name.as_str();
    loop {
        let attempt = async {
            match clean(server, resource).await {
                Ok(()) => true,
                // Somebody else was faster.
                Err(status) if status.is_not_found() => true,
                Err(status) => {
                    tracing::info!(definition = name, %status, "objects of a definition are still there");
                    let condition = Condition::new(TERMINATING, true, "InstanceDeletionFailed", why(&status));
                    if let Err(status) = system::set_condition(server, name, &condition, None).await {
                        tracing::warn!(definition = name, %status, "cannot write a status");
                    }
                    tokio::time::sleep(RETRY).await;
                    false
                }
            }
        };
        tokio::select! {
            () = server.ended() => return,
            done = attempt => if done { return },
        }
    }
}

async fn clean(server: &ApiServer, resource: &Arc<CustomResource>) -> Result<()> {
    let definition = &resource.definition;
    if definition.is(ESTABLISHED)
        && let Some(served) = resource.storage()
    {
        let begun = Condition::new(
            TERMINATING,
            true,
            "InstanceDeletionInProgress",
            "CustomResource deletion is in progress",
        );
        system::set_condition(server, &definition.name, &begun, None).await?;
        delete_all(server, &served).await?;
    }
    let done = Condition::new(TERMINATING, false, "InstanceDeletionCompleted", "removed all instances");
    system::set_condition(server, &definition.name, &done, Some(CLEANUP_FINALIZER)).await
}

async fn delete_all(server: &ApiServer, served: &Arc<Served>) -> Result<()> {
    let (registry, stored_as) = (server.registry(), served.stored_as());
    let prefix = registry::prefix(stored_as, "");
    let gone = async {
        loop {
            let list = registry.list(stored_as, "").await?;
            if list.items.is_empty() {
                return Ok(());
            }
            system::with_writer(server, served, "", async |writer| delete(writer, served, &list.items).await)
                .await?;
            let mut watch = registry.watch(stored_as, "", WatchFrom::Revision(list.revision)).await?;
            while let Some(Ok(item)) = watch.next().await {
                let WatchItem::Event(event) = item else { continue };
                let left = registry.storage().count(&prefix).await.map_err(Status::internal)?;
                if left == 0 || event.kind == EventKind::Added {
                    break;
                }
            }
        }
    };
    match tokio::time::timeout(PATIENCE, gone).await {
        Ok(result) => result,
        Err(_) => Err(Status::internal(
            "could not confirm zero CustomResources remaining: timed out waiting for the condition",
        )),
    }
}

async fn delete(writer: &Writer<'_>, served: &Served, objects: &[Arc<Object>]) -> Result<()> {
    let options = DeleteOptions::default();
    let work: Vec<_> = objects
        .iter()
        .map(|object| {
            let mut parts = object.key.rsplit('/');
            let name = parts.next().unwrap_or("");
            let namespace = if served.namespaced { parts.next().unwrap_or("") } else { "" };
            writer.delete(namespace, name, &options).boxed()
        })
        .collect();
    let mut results = futures::stream::iter(work).buffer_unordered(PARALLELISM);
    while let Some(result) = results.next().await {
        match result {
            Err(status) if !status.is_not_found() => return Err(status),
            _ => {}
        }
    }
    Ok(())
}

/// What went wrong, without what every internal error begins with.
fn why(status: &Status) -> String {
    status.message.trim_start_matches("Internal error occurred: ").to_owned()
}
