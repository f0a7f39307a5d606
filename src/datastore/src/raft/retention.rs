//! How much of the log is kept.
//!
//! openraft's own policy is switched off: it counts entries only, does not know of followers that need what it drops,
//! and does not bear that somebody else drops something too.

use crate::limits::Limits;
use crate::raft::core::LogSize;
use crate::raft::node::Cluster;
use crate::raft::types::Role;
use std::sync::Weak;
use std::time::Duration;
use storage::StorageError;

/// Between two looks at a log that is too long.
const PAUSE: Duration = Duration::from_millis(200);

/// How long openraft may take to notice what is applied.
const PATIENCE: Duration = Duration::from_secs(1);

/// The log that follows a snapshot is kept while it is no longer than the snapshot so many times. Sending it takes less
/// time than sending the snapshot did (it goes in larger pieces), so whoever has more written than this while a snapshot
/// is on its way writes several times what the network carries, and no log that is kept would help.
const COPIES: u64 = 8;

/// A node that this one, as leader or feeding spares, sends what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// The last entry that it has, or will have with the snapshot that it is sent.
    pub(crate) had: u64,
    /// Whether it is sent a snapshot, or was and has not come to the end of the log since.
    pub(crate) copied: bool,
}

/// What is known when it is decided what to drop. Places are indices of entries.
#[derive(Clone, Copy, Debug)]
struct View {
    size: LogSize,
    /// The last entry that is in the rows.
    applied: u64,
    /// The last entry.
    last: u64,
    /// The last entry that every node has which is alive and follows the log; None when there is none.
    had: Option<u64>,
    /// The same of those that a snapshot is to bring to the log.
    copied: Option<u64>,
    /// Bytes of the database without the log.
    state: u64,
}

impl View {
    fn with(self, needs: &[Need]) -> Self {
        let least = |copied| needs.iter().filter(|need| need.copied == copied).map(|need| need.had).min();
        Self { had: least(false), copied: least(true), ..self }
    }
}

/// Whether the log is longer than it should be. The eighth: not to drop one entry after the other.
fn exceeds(size: LogSize, limits: &Limits) -> bool {
    size.entries > limits.kept_entries + limits.kept_entries / 8
        || (size.bytes > limits.kept_bytes && size.entries > 1)
}

/// The last entry to be dropped, if any is.
///
/// What a node that is alive lacks is kept for it. The log is worth that as long as it is shorter than what would be sent
/// instead. What follows a snapshot that is being sent is worth more: without it, that snapshot is of no use, and under a
/// load that writes more while one is sent than is kept, nor is the next. Beyond [`COPIES`] it begins again all the same.
fn drop_to(view: &View, limits: &Limits) -> Option<u64> {
    if !exceeds(view.size, limits) {
        return None;
    }
    let kept = if view.size.bytes > limits.kept_bytes {
        (view.size.entries / 2).min(limits.kept_entries)
    } else {
        limits.kept_entries
    };
    let wanted = view.last.saturating_sub(kept).min(view.applied);
    let worth = limits.kept_bytes.max(view.state);
    let had = view.had.filter(|_| view.size.bytes <= worth);
    let copied = view.copied.filter(|_| view.size.bytes <= worth.saturating_mul(COPIES));
    let to = had.into_iter().chain(copied).fold(wanted, u64::min);
    // Those that are there end with the last.
    (to > view.last.saturating_sub(view.size.entries)).then_some(to)
}

/// Keeps the log within bounds until the node stops.
pub(crate) async fn run(cluster: Weak<Cluster>) {
    let begin =
        |this: std::sync::Arc<Cluster>| (this.network.core.size.subscribe(), this.network.core.limits);
    let Some((mut size, limits)) = cluster.upgrade().map(begin) else { return };
    while size.wait_for(|size| exceeds(*size, &limits)).await.is_ok() {
        let Some(this) = cluster.upgrade() else { return };
        if let Err(error) = this.shorten(&limits).await {
            tracing::warn!(%error, "the log is not shortened; it is tried again");
        }
        drop(this);
        tokio::time::sleep(PAUSE).await;
    }
}

impl Cluster {
    async fn shorten(&self, limits: &Limits) -> Result<(), StorageError> {
        let core = &self.network.core;
        let pages = |pragma| {
            move |connection: &rusqlite::Connection| {
                crate::schema::number(connection, pragma)
                    .map_err(|error| crate::error::storage_error("measuring the database", &error))
            }
        };
        let bytes = core.run(move |writer| {
            let of = |pragma| pages(pragma)(&writer.connection);
            // What is free may have been the log's.
            Ok((of("page_count")? - of("freelist_count")?).saturating_mul(of("page_size")?))
        });
        let bytes = u64::try_from(bytes.await?).unwrap_or(0);
        let raft = self.raft();
        let mut metrics = raft.metrics();
        let size = *core.size.borrow();
        let view = {
            let metrics = metrics.borrow();
            View {
                size,
                applied: metrics.last_applied.map_or(0, |id| id.index),
                last: metrics.last_log_index.unwrap_or(0),
                had: None,
                copied: None,
                state: bytes.saturating_sub(size.bytes),
            }
        };
        let Some(to) = drop_to(&view.with(&self.needs()), limits) else { return Ok(()) };
        // openraft drops only what it believes to be in a snapshot, which for us is what is applied.
        if raft.trigger().snapshot().await.is_err() {
            return Ok(());
        }
        let noticed = metrics.wait_for(|metrics| metrics.snapshot.is_some_and(|id| id.index >= to));
        if tokio::time::timeout(PATIENCE, noticed).await.is_ok_and(|noticed| noticed.is_ok()) {
            // An error: it is stopping.
            let _ = raft.trigger().purge_log(to).await;
        }
        Ok(())
    }

    /// What the nodes have that this one sends to, and that are alive.
    fn needs(&self) -> Vec<Need> {
        let mut needs = self.fed_needs();
        needs.extend(self.needs_of_followers());
        needs
    }

    fn needs_of_followers(&self) -> Vec<Need> {
        let members = self.members();
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow();
        let mut sent = self.network.snapshots.lock();
        let Some(replication) = metrics.replication.as_ref() else {
            sent.clear();
            return Vec::new();
        };
        let end = metrics.last_log_index.unwrap_or(0).saturating_sub(self.network.core.limits.kept_entries);
        let alive = |id: u64| self.last_contact(id).is_some_and(|at| at.elapsed() < self.timing.dead_after);
        let mut needs = Vec::new();
        for (id, matching) in replication {
            if *id == self.id() || members.get(id).is_none_or(|(_, role)| *role == Role::Spare) {
                continue;
            }
            let matching = matching.map(|matching| matching.index);
            let under_way = sent.get(id).is_some_and(|sent| sent.under_way);
            if !under_way && (!alive(*id) || matching >= Some(end)) {
                sent.remove(id);
            }
            let snapshot = sent.get(id).map(|sent| sent.last);
            if let Some(had) = matching.max(snapshot).filter(|_| under_way || alive(*id)) {
                needs.push(Need { had, copied: snapshot.is_some() });
            }
        }
        needs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { checkpoint_frames: 1, max_frames: 1, kept_entries: 80, kept_bytes: 1000, snapshot_piece: 1 };

    fn view(entries: u64, bytes: u64, had: Option<u64>) -> View {
        View { size: LogSize { entries, bytes }, applied: 500, last: 500, had, copied: None, state: 5000 }
    }

    fn to(view: View) -> Option<u64> {
        drop_to(&view, &LIMITS)
    }

    #[test]
    fn the_log_is_bounded_by_entries_and_by_bytes() {
        assert_eq!(to(view(90, 10, None)), None);
        assert_eq!(to(view(91, 10, None)), Some(420));
        assert_eq!(to(view(40, 1000, None)), None);
        assert_eq!(to(view(40, 1001, None)), Some(480));
        assert_eq!(to(view(400, 1001, None)), Some(420));
        assert_eq!(to(view(1, 9999, None)), None);
    }

    #[test]
    fn what_is_not_in_the_rows_is_kept() {
        assert_eq!(to(View { applied: 410, ..view(100, 10, None) }), Some(410));
        assert_eq!(to(View { applied: 400, ..view(100, 10, None) }), None);
    }

    #[test]
    fn what_a_living_node_lacks_is_kept_until_a_snapshot_would_be_shorter() {
        assert_eq!(to(view(200, 10, Some(499))), Some(420));
        assert_eq!(to(view(200, 10, Some(350))), Some(350));
        assert_eq!(to(view(200, 10, Some(300))), None);
        assert_eq!(to(view(200, 4000, Some(350))), Some(350));
        assert_eq!(to(view(200, 5001, Some(350))), Some(420));
    }
    #[test]
    fn what_follows_a_snapshot_is_kept_for_longer() {
        let copied = |bytes, copied| View { copied: Some(copied), ..view(200, bytes, Some(499)) };
        assert_eq!(to(copied(5001, 350)), Some(350));
        assert_eq!(to(copied(40_000, 350)), Some(350));
        assert_eq!(to(copied(40_001, 350)), Some(420));
        // Another that lags, and has no snapshot on its way, does not count beyond its own bound.
        assert_eq!(to(View { had: Some(320), ..copied(4000, 350) }), Some(320));
        assert_eq!(to(View { had: Some(320), ..copied(5001, 350) }), Some(350));
    }

    #[test]
    fn the_least_of_each_kind_counts() {
        let need = |had, copied| Need { had, copied };
        let view = view(1, 1, None).with(&[need(30, false), need(9, true), need(20, false), need(12, true)]);
        assert_eq!((view.had, view.copied), (Some(20), Some(9)));
        assert_eq!(view.with(&[]).had, None);
    }
}
