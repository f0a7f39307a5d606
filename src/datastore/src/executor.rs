//! Where jobs run that block: on threads, or in place.
//!
//! A simulation repeats itself exactly only when everything happens on one thread. There, each job waits for its turn
//! instead, and runs at once on the task that waited. Production has no [`Executor`], and pays for none.

use futures::future::BoxFuture;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

/// Takes the place of the store's threads and clock, and of the one file that it writes without SQLite.
pub trait Executor: fmt::Debug + Send + Sync {
    /// Awaited before each job that would run on a thread. The job then runs in place, without a pause: a simulated
    /// disk that is slow is slow here.
    fn turn(&self) -> BoxFuture<'static, ()>;

    /// Writes a file's bytes over themselves and syncs it, if there is such a file.
    ///
    /// # Errors
    /// The disk's.
    fn write_again(&self, file: &Path) -> io::Result<()>;

    /// The time, in milliseconds since 1970.
    fn now_millis(&self) -> u64;
}

/// Runs what blocks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Threads(Option<Arc<dyn Executor>>);

/// Something that runs until it is told to end.
#[derive(Debug)]
pub(crate) enum Running {
    Thread(JoinHandle<()>),
    Task(tokio::task::JoinHandle<()>),
}

impl Threads {
    pub(crate) fn new(executor: Option<&Arc<dyn Executor>>) -> Self {
        Self(executor.cloned())
    }

    /// The executor that takes the threads' place, if one does.
    pub(crate) fn in_place(&self) -> Option<&Arc<dyn Executor>> {
        self.0.as_ref()
    }

    /// The time, in milliseconds since 1970.
    pub(crate) fn now_millis(&self) -> u64 {
        match &self.0 {
            Some(executor) => executor.now_millis(),
            // A clock that stands before 1970 tells nothing.
            None => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// Runs a job that blocks.
    ///
    /// Cancel safety: the job runs all the same.
    ///
    /// # Errors
    /// When the job panicked, or the runtime is shutting down.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let task = match &self.0 {
            None => tokio::task::spawn_blocking(job),
            Some(executor) => {
                let turn = executor.turn();
                tokio::spawn(async move {
                    turn.await;
                    job()
                })
            }
        };
        task.await.map_err(io::Error::other)
    }
}

impl Running {
    /// Waits until it has ended. False when it ended by a panic.
    pub(crate) async fn join(self) -> bool {
        match self {
            Self::Thread(thread) => {
                let joined = tokio::task::spawn_blocking(move || thread.join().is_ok()).await;
                joined.unwrap_or(false)
            }
            Self::Task(task) => task.await.is_ok(),
        }
    }
}
