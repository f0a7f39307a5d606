//! How many requests are answered at once (upstream's `--max-requests-inflight`; fair queuing is to come in its
//! place).

use super::request_info::RequestInfo;
use crate::authentication::{GROUP_MASTERS, UserInfo};
use apimachinery::status::{Result, Status};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Upstream's default for requests that change nothing.
const READING_MAX: usize = 400;
/// Upstream's default for requests that do.
const WRITING_MAX: usize = 200;
/// Seconds after which to try again.
const RETRY_AFTER_SECONDS: u32 = 1;

/// The places there are.
pub(crate) struct Limits {
    reading: Arc<Semaphore>,
    writing: Arc<Semaphore>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            reading: Arc::new(Semaphore::new(READING_MAX)),
            writing: Arc::new(Semaphore::new(WRITING_MAX)),
        }
    }
}

impl Limits {
    /// A place for a request, if it needs one.
    ///
    /// # Errors
    /// 429 when there is none.
    pub(crate) fn enter(&self, user: &UserInfo, info: &RequestInfo) -> Result<Option<OwnedSemaphorePermit>> {
        if info.is_long_running() || user.in_group(GROUP_MASTERS) {
            return Ok(None);
        }
        let places = if info.is_read_only() { &self.reading } else { &self.writing };
        Arc::clone(places).try_acquire_owned().map(Some).map_err(|_| {
            Status::too_many_requests("Too many requests, please try again later.", RETRY_AFTER_SECONDS)
        })
    }
}
