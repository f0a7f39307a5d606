//! openraft's own tests of a store, on ours, and what ours does otherwise.

use crate::directory::Directory;
use crate::log::Position;
use crate::raft::log_store::{LogStore, Lost};
use crate::raft::machine::Machine;
use crate::raft::network::{Connection, Network};
use crate::raft::transport::Peer;
use crate::raft::types::{Merged, Origin, Proposed, RaftEntry, Types, log_id, position};
use crate::raft::{ClusterOptions, Goal, Member, Switchboard, Ticket, Timing};
use crate::schema::Location;
use crate::writer::Writer;
use crate::{Datastore, Options};
use openraft::error::RPCError;
use openraft::network::{RPCOption, RaftNetwork};
use openraft::raft::AppendEntriesRequest;
use openraft::storage::{LogFlushed, RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use openraft::testing::{StoreBuilder, Suite};
use openraft::{EntryPayload, LogId, LogState, RaftLogReader, StorageError, Vote};
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
        let run = self.0.core.run(move |writer| Ok(std::mem::replace(&mut writer.machine.applied, applied)));
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

/// The log and the state machine of node 1, whose database is new.
fn stores() -> (Guard, LogStore, Machine) {
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
    let lost = Lost::default();
    let log = LogStore::new(Arc::clone(&core), lost.clone());
    ((store, dir), log, Machine { core, lost })
}

impl StoreBuilder<Types, Applied, Machine, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, Applied, Machine)> {
        let (guard, log, machine) = stores();
        Ok((guard, Applied(log), machine))
    }
}

#[test]
fn the_store_passes_openrafts_suite() {
    Suite::test_all(Builder).unwrap();
}

fn group(term: u64, node: u64, index: u64) -> RaftEntry {
    let origin = Origin { node: 9, epoch: 1, sequence: index };
    let proposed = Proposed { origin, entry: Arc::default() };
    let payload = EntryPayload::Normal(Merged(vec![proposed]));
    RaftEntry { log_id: log_id(Position { term, node, index }), payload }
}

/// Has the writer's thread do nothing until what is returned is dropped.
async fn hold(log: &LogStore) -> std::sync::mpsc::Sender<()> {
    let (release, held) = std::sync::mpsc::channel();
    let (taken, holding) = tokio::sync::oneshot::channel();
    let wait = move |_: &mut Writer| {
        taken.send(()).unwrap();
        let _ = held.recv();
    };
    log.core.begin(wait).await.unwrap();
    holding.await.unwrap();
    release
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_this_node_leads_counts_before_it_is_on_the_disk() {
    let (_guard, mut log, _) = stores();
    let mut synced = log.core.synced.subscribe();
    log.save_vote(&Vote::new_committed(3, 1)).await.unwrap();
    let held = hold(&log).await;
    log.blocking_append([group(3, 1, 1)]).await.unwrap();
    assert_eq!(*synced.borrow(), 0);
    assert_eq!(log.limited_get_log_entries(1, 2).await.unwrap(), [group(3, 1, 1)]);
    drop(held);
    synced.wait_for(|synced| *synced == 1).await.unwrap();
    // Of another leader, and of this node's own past, which another leader sends back.
    log.save_vote(&Vote::new_committed(4, 2)).await.unwrap();
    for (index, entry) in [(2, group(3, 1, 2)), (3, group(4, 2, 3))] {
        let held = hold(&log).await;
        let mut appending = Box::pin(log.blocking_append([entry]));
        assert!(futures::poll!(&mut appending).is_pending());
        drop(held);
        appending.await.unwrap();
        assert_eq!(*synced.borrow_and_update(), index);
    }
    log.save_vote(&Vote::new_committed(5, 1)).await.unwrap();
    let blank = RaftEntry { payload: EntryPayload::Blank, ..group(5, 1, 4) };
    let held = hold(&log).await;
    let mut appending = Box::pin(log.blocking_append([blank]));
    assert!(futures::poll!(&mut appending).is_pending(), "what a leader begins with is no group of commands");
    drop(held);
    appending.await.unwrap();
    log.truncate(group(4, 2, 3).log_id).await.unwrap();
    assert_eq!(*synced.borrow(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_write_that_failed_nothing_is_appended_or_applied_until_a_new_start() {
    let (_guard, mut log, mut machine) = stores();
    log.save_vote(&Vote::new_committed(3, 1)).await.unwrap();
    log.blocking_append([group(3, 1, 1)]).await.unwrap();
    // A gap cannot be written.
    log.blocking_append([group(3, 1, 7)]).await.unwrap();
    machine.apply([group(3, 1, 1)]).await.unwrap_err();
    log.blocking_append([group(3, 1, 8)]).await.unwrap_err();
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(group(3, 1, 1).log_id));
    assert_eq!(log.limited_get_log_entries(7, 9).await.unwrap(), []);
    let lost = Lost::default();
    let mut log = LogStore::new(Arc::clone(&log.core), lost.clone());
    let mut machine = Machine { core: Arc::clone(&log.core), lost };
    log.save_vote(&Vote::new_committed(3, 1)).await.unwrap();
    log.blocking_append([group(3, 1, 2)]).await.unwrap();
    machine.apply([group(3, 1, 1), group(3, 1, 2)]).await.unwrap();
    assert_eq!(*log.core.synced.borrow(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_hear_of_a_commit_when_the_leader_has_it_on_its_disk() {
    let (_guard, log, _) = stores();
    let network = Network {
        core: Arc::clone(&log.core),
        cluster: "c".into(),
        transport: Switchboard::default().transport("a"),
        contacts: Arc::default(),
        snapshots: Arc::default(),
    };
    let peer = Peer { id: 2, member: Member::default() };
    let mut connection = Connection { network, peer, spare: false };
    let request = AppendEntriesRequest {
        vote: Vote::new_committed(3, 1),
        prev_log_id: Some(group(3, 1, 5).log_id),
        entries: Vec::new(),
        leader_commit: Some(group(3, 1, 5).log_id),
    };
    let patience = RPCOption::new(std::time::Duration::from_secs(10));
    let mut telling = Box::pin(connection.append_entries(request, patience));
    log.core.synced.send_replace(4);
    assert!(futures::poll!(&mut telling).is_pending());
    log.core.synced.send_replace(5);
    let error = telling.await.unwrap_err();
    assert!(matches!(error, RPCError::Unreachable(_)), "nobody is at the other end: {error}");
}
