//! Reading keys.

use crate::grpc::Status;
use crate::keys::{in_etcd, in_range};
use crate::messages::{KeyValue, RangeRequest, RangeResponse};
use crate::view::{View, status};
use std::sync::Arc;
use storage::{ListOptions, ListRevision, Object, Storage as _};

/// Everything.
pub(crate) const ALL: &str = "/registry/";

impl View {
    /// The keys of a range, as `KV.Range` has them.
    ///
    /// Cost: proportional to all objects, whatever the range: the order of keys is another here.
    pub(crate) async fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Status> {
        if request.key.is_empty() {
            return Err(Status::new(Status::INVALID_ARGUMENT, "etcdserver: key is not provided"));
        }
        let past = u64::try_from(request.revision).ok().filter(|revision| *revision > 0);
        let revision = match past {
            Some(revision) => ListRevision::Exact(revision),
            None if request.serializable => ListRevision::Any,
            None => ListRevision::MostRecent,
        };
        let options = ListOptions { revision, ..ListOptions::default() };
        let list = self.store().list(ALL, options).await.map_err(|error| status(&error))?;
        let bare = request.keys_only || request.count_only;
        let mut found: Vec<(KeyValue, Arc<Object>)> = list
            .items
            .into_iter()
            .filter(|object| in_range(in_etcd(&object.key).as_bytes(), &request.key, &request.range_end))
            .map(|object| (self.key_value(&object, bare), object))
            .collect();
        let header = self.header();
        let count = i64::try_from(found.len()).unwrap_or(i64::MAX);
        if request.count_only {
            return Ok(RangeResponse { header, count, ..RangeResponse::default() });
        }
        let within = |number: i64, min: i64, max: i64| number >= min && (max == 0 || number <= max);
        found.retain(|(kv, _)| {
            within(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
                && within(kv.create_revision, request.min_create_revision, request.max_create_revision)
        });
        sort(&mut found, request.sort_target, request.sort_order == 2);
        let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let more = found.len() > limit;
        found.truncate(limit);
        if !bare && past.is_none() {
            for (kv, object) in &mut found {
                if self.store().is_sealed(&object.key) {
                    let stored = self.store().stored(&object.key).await.map_err(|error| status(&error))?;
                    kv.value = stored.unwrap_or_default();
                }
            }
        }
        Ok(RangeResponse { header, kvs: found.into_iter().map(|(kv, _)| kv).collect(), more, count })
    }
}

fn sort(found: &mut [(KeyValue, Arc<Object>)], target: i32, descending: bool) {
    // Always by the key first, so that what is equal has an order.
    found.sort_unstable_by(|(a, _), (b, _)| a.key.cmp(&b.key));
    found.sort_by(|(a, _), (b, _)| match target {
        1 => a.version.cmp(&b.version),
        2 => a.create_revision.cmp(&b.create_revision),
        3 => a.mod_revision.cmp(&b.mod_revision),
        4 => a.value.cmp(&b.value),
        _ => a.key.cmp(&b.key),
    });
    if descending {
        found.reverse();
    }
}
