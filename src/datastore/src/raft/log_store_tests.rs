//! openraft's own tests of a store, on ours.

use crate::directory::Directory;
use crate::log::Position;
use crate::raft::log_store::LogStore;
use crate::raft::machine::Machine;
use crate::raft::types::{RaftEntry, Types, position};
use crate::raft::{ClusterOptions, Goal, Member, Switchboard, Ticket, Timing};
use crate::schema::Location;
use crate::{Datastore, Options};
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::testing::{StoreBuilder, Suite};
use openraft::{LogId, LogState, RaftLogReader, StorageError, Vote};
use std::fmt::Debug;
use std::ops::RangeBounds;
use std::sync::Arc;
use tempfile::TempDir;

struct Builder;

/// The suite drops entries that were never applied, which ours takes for a snapshot that is not installed yet.
struct Applied(LogStore);

impl Applied {
    /// Pretends that everything up to an index is applied. Returns what really is.
    async fn pretend(&self, applied: Option<Position>) -> Option<Position> {
        let run = self.0.0.run(move |writer| Ok(std::mem::replace(&mut writer.machine.applied, applied)));
        run.await.unwrap()
    }
}

type Result<T> = std::result::Result<T, StorageError<u64>>;

impl RaftLogReader<Types> for Applied {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<RaftEntry>> {
        self.0.try_get_log_entries(range).await
    }
}

impl RaftLogStorage<Types> for Applied {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<Types>> {
        self.0.get_log_state().await
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.0.get_log_reader().await
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Result<()> {
        self.0.save_vote(vote).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>> {
        self.0.read_vote().await
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<()>
    where
        I: IntoIterator<Item = RaftEntry> + Send,
        I::IntoIter: Send,
    {
        self.0.append(entries, callback).await
    }

    async fn truncate(&mut self, id: LogId<u64>) -> Result<()> {
        self.0.truncate(id).await
    }

    async fn purge(&mut self, id: LogId<u64>) -> Result<()> {
        let really = self.pretend(Some(position(&id))).await;
        let purged = self.0.purge(id).await;
        self.pretend(really).await;
        purged
    }
}

type Guard = (Arc<Datastore>, TempDir);

impl StoreBuilder<Types, Applied, Machine, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, Applied, Machine)> {
        let dir = tempfile::tempdir().unwrap();
        let cluster = ClusterOptions {
            member: Member::default(),
            transport: Switchboard::default().transport("a"),
            timing: Timing::default(),
            goal: Goal::default(),
            ticket: Some(Ticket { cluster: "c".into(), node: 1 }),
        };
        let options = Options { cluster: Some(cluster), ..Options::default() };
        let directory = Directory::open(dir.path()).unwrap();
        let at = Location::File(directory.database().to_owned());
        let store = Datastore::build(at, Some(directory), &options).unwrap();
        let core = store.core();
        Ok(((store, dir), Applied(LogStore(Arc::clone(&core))), Machine(core)))
    }
}

#[test]
fn the_store_passes_openrafts_suite() {
    Suite::test_all(Builder).unwrap();
}
