//! `/metrics`.

use crate::ApiServer;
use crate::metrics::{head, write_process};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Everything that Prometheus is told.
pub(crate) async fn render(server: &ApiServer) -> String {
    let mut out = String::with_capacity(256 * 1024);
    // Writing to a String cannot fail.
    let _ = write_known(server, &mut out);
    let _ = write_objects(server, &mut out).await;
    out
}

fn write_known(server: &ApiServer, out: &mut String) -> std::fmt::Result {
    server.metrics().write(out)?;
    server.storage_metrics().write(out)?;
    server.flow_control().write_metrics(out)?;
    server.admission().write_metrics(out)?;
    if let Some(auditor) = server.auditor() {
        auditor.write_metrics(out)?;
    }
    server.more_metrics().iter().try_for_each(|write| write(out))?;
    write_process(out)?;
    head(out, "apiserver_storage_revision", "gauge", "The store's revision.")?;
    writeln!(out, "apiserver_storage_revision {}", server.registry().storage().revision())
}

/// How many objects there are, under the name that upstream had for it and the one it has now.
async fn write_objects(server: &ApiServer, out: &mut String) -> std::fmt::Result {
    let stored: BTreeSet<_> = server
        .resources()
        .iter()
        .filter(|served| served.verbs.contains(&"watch"))
        .map(|served| served.stored_as().clone())
        .collect();
    let mut counts = Vec::with_capacity(stored.len());
    for resource in &stored {
        let prefix = crate::registry::prefix(resource, "");
        counts.push(server.registry().storage().count(&prefix).await.unwrap_or(0));
    }
    head(out, "apiserver_storage_objects", "gauge", "Objects by resource.")?;
    for (resource, count) in stored.iter().zip(&counts) {
        writeln!(out, "apiserver_storage_objects{{resource=\"{resource}\"}} {count}")?;
    }
    head(out, "apiserver_resource_objects", "gauge", "Objects by resource.")?;
    for (resource, count) in stored.iter().zip(&counts) {
        let (group, resource) = (&resource.group, &resource.resource);
        writeln!(out, "apiserver_resource_objects{{group=\"{group}\",resource=\"{resource}\"}} {count}")?;
    }
    Ok(())
}
