//! What an error of the store means to a client.

use apimachinery::gvk::GroupResource;
use apimachinery::status::{Reason, Status};
use storage::StorageError;

/// Why something was not done: the store's error, as long as it matters which one, or what a client is told.
pub(crate) enum Failure {
    /// The store did not do it.
    Store(StorageError),
    /// It was refused, or cannot be shown.
    Refused(Box<Status>),
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::Store(error)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

/// The Status of a failed operation on one object. `name` may be empty.
pub(crate) fn status(error: StorageError, resource: &GroupResource, name: &str) -> Status {
    match error {
        StorageError::KeyExists { .. } => Status::already_exists(resource, name),
        StorageError::NotFound { .. } => Status::not_found(resource, name),
        StorageError::Conflict { .. } => Status::modified(resource, name),
        StorageError::Compacted { requested, oldest } => {
            Status::expired(format!("too old resource version: {requested} ({oldest})"))
        }
        StorageError::FutureRevision { requested, current } => future(requested, current),
        StorageError::SlowWatcher { seen } => Status::expired(format!("too old resource version: {seen}")),
        StorageError::InvalidKey { .. } => Status::not_found(resource, name),
        StorageError::InvalidObject { reason } => Status::internal(reason),
        // Insufficient Storage; kube-apiserver says 500 when etcd has no space, and no more.
        StorageError::Full { reason } => Status::failure(507, Reason::Unknown, &*reason),
        StorageError::Unavailable { reason } => Status::service_unavailable(reason.to_string()),
        StorageError::Unknown { reason } => Status::timeout(reason, 1),
        StorageError::Fatal { reason } => Status::internal(reason),
    }
}

/// 504 with the cause by which clients know that they are ahead of this server.
fn future(requested: u64, current: u64) -> Status {
    let message = format!("Too large resource version: {requested}, current: {current}");
    let mut status = Status::timeout(&message, 1);
    if let Some(details) = status.details.as_mut() {
        details.causes.push(apimachinery::status::Cause {
            reason: "ResourceVersionTooLarge".to_owned(),
            message: "Too large resource version".to_owned(),
            field: String::new(),
        });
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_as_such() {
        let full = StorageError::Full { reason: "writing: the disk is full".into() };
        let status = status(full, &GroupResource::new("", "pods"), "a");
        assert_eq!((status.code, status.message.as_str()), (507, "writing: the disk is full"));
    }
}
