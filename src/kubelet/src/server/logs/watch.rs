//! Waits until a log may have grown or been rotated.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;

/// How often to look where inotify is not to be had (the machine's instances are used up).
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How often to look in any case: it is also how soon the end of a container is noticed.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Room for some events: each has 16 bytes and a file name.
const EVENT_BUFFER_BYTES: usize = 4096;

/// Watches a log's folder.
pub(super) struct Watch(Option<AsyncFd<OwnedFd>>);

impl Watch {
    /// Watches the folder of `path`, so that a rotation is seen too. Never fails: the fallback is polling.
    pub(super) fn new(path: &Path) -> Self {
        Self(
            Self::inotify(path)
                .inspect_err(|error| tracing::debug!(%error, "following a log by polling"))
                .ok(),
        )
    }

    #[allow(unsafe_code)]
    fn inotify(path: &Path) -> std::io::Result<AsyncFd<OwnedFd>> {
        let folder = path.parent().ok_or_else(|| std::io::Error::other("the log has no folder"))?;
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        inotify.add_watch(
            folder,
            AddWatchFlags::IN_MODIFY
                | AddWatchFlags::IN_CREATE
                | AddWatchFlags::IN_MOVE
                | AddWatchFlags::IN_DELETE
                | AddWatchFlags::IN_DELETE_SELF,
        )?;
        // SAFETY: an OwnedFd stays open, and the same, for as long as the AsyncFd owns it.
        unsafe { AsyncFd::register(OwnedFd::from(inotify)) }.map_err(std::io::Error::from)
    }

    /// Returns when there may be something new; now and then without.
    pub(super) async fn changed(&mut self) {
        let Some(inotify) = &self.0 else {
            tokio::time::sleep(POLL_INTERVAL).await;
            return;
        };
        let Ok(readable) = tokio::time::timeout(LOOK_INTERVAL, inotify.readable()).await else { return };
        match readable {
            Ok(mut guard) => {
                // What it was does not matter: look at the file.
                let mut events = [0; EVENT_BUFFER_BYTES];
                while nix::unistd::read(inotify.get_ref(), &mut events).is_ok_and(|length| length > 0) {}
                guard.clear_ready();
            }
            Err(_) => self.0 = None,
        }
    }
}
