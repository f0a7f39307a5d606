//! openraft's view of the state machine.

use crate::bug::{Bug, is_back};
use crate::command::{Command, Entry};
use crate::raft::core::{Core, Durability, last_applied, transaction};
use crate::raft::log_store::Lost;
use crate::raft::snapshot::{self, Source};
use crate::raft::types::{
    Config, Merged, Meta, Origin, Proposed, RaftEntry, Types, groups, load_config, position, save_config,
};
use crate::writer::{Waiting, Writer};
use openraft::storage::{RaftStateMachine, Snapshot};
use openraft::{
    AnyError, EntryPayload, LogId, RaftSnapshotBuilder, StorageError as RaftStorageError, StorageIOError,
};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use storage::StorageError;

type Result<T> = std::result::Result<T, RaftStorageError<u64>>;

/// The state machine of this node.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) core: Arc<Core>,
    pub(crate) lost: Lost,
}

fn failed(error: StorageError) -> RaftStorageError<u64> {
    StorageIOError::write_state_machine(AnyError::new(&error)).into()
}

/// Applies committed entries and answers those of this node's writers who proposed them.
pub(crate) fn apply(
    writer: &mut Writer,
    core: &Core,
    mut entries: Vec<RaftEntry>,
) -> std::result::Result<(), StorageError> {
    // openraft, started again after a failure, does not know what its predecessor had under way.
    let applied = writer.machine.applied.map(|at| at.index);
    entries.retain(|entry| Some(entry.log_id.index) > applied);
    let merged = entries.iter().filter(|entry| !groups(entry).is_empty()).count();
    // Before the transaction, so that nothing can fail after it. Own proposals have it with them.
    let mut foreign = Vec::new();
    for proposed in entries.iter().flat_map(groups) {
        let own = core.is_pending(&proposed.origin);
        foreign.push(if own { Vec::new() } else { strangers(core, &proposed.entry)? });
    }
    let applied = transaction(writer, "applying", Durability::Repeatable, |connection, machine| {
        // One for each group, without outcomes when it is not the next of its node.
        let mut applied = Vec::new();
        for entry in entries {
            let at = position(&entry.log_id);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Membership(members) => save_config(Some(at), &members, connection)?,
                EntryPayload::Normal(Merged(groups)) => {
                    for Proposed { origin, entry } in groups {
                        let follows = is_back(Bug::RepeatedProposal)
                            || origin.follows(Origin::last(origin.node, connection)?.as_ref());
                        if follows {
                            origin.save(connection)?;
                        }
                        let outcomes = follows.then(|| machine.execute(&entry, connection)).transpose()?;
                        if !entry.made.is_empty() {
                            core.tells_authors.store(true, Ordering::Relaxed);
                        }
                        applied.push((origin, entry, outcomes));
                    }
                }
            }
            machine.applied = Some(at);
        }
        machine.save(connection)?;
        Ok(applied)
    })?;
    writer.counters.entries.fetch_add(merged as u64, Ordering::Relaxed);
    let (mut outcomes, mut waiting) = (Vec::new(), Vec::new());
    for ((origin, entry, applied), foreign) in applied.into_iter().zip(foreign) {
        let Some(applied) = applied else {
            answer_skipped(writer, core, origin);
            continue;
        };
        writer.counters.commands.fetch_add(applied.len() as u64, Ordering::Relaxed);
        let own = core.pending.lock().remove(&origin);
        waiting.extend(match own {
            Some(own) => own,
            None if foreign.len() == applied.len() => foreign,
            // Its writers were told a moment ago that nobody knows.
            None => strangers(core, &entry).inspect_err(|_| writer.doubtful = true)?,
        });
        outcomes.extend(applied);
    }
    writer.publish(outcomes, waiting);
    core.reached(writer.machine.applied);
    Ok(())
}

/// A group that comes a second time while its writers still wait was applied without anybody noticing.
fn answer_skipped(writer: &Writer, core: &Core, origin: Origin) {
    let last = Origin::last(origin.node, &writer.connection).ok().flatten();
    if last.is_none_or(|last| last.epoch != origin.epoch || last.sequence < origin.sequence) {
        return;
    }
    for waiting in core.pending.lock().remove(&origin).into_iter().flatten() {
        let reason = "the disk failed while the write was applied".into();
        waiting.answer(Err(StorageError::Unknown { reason }));
    }
}

/// What the cache needs of the objects that another node stores.
fn strangers(core: &Core, entry: &Entry) -> std::result::Result<Vec<Waiting>, StorageError> {
    let of_command = |command: &Command| {
        let operations = command.operations().iter();
        let beside = operations
            .map(|operation| core.opener.beside(operation))
            .collect::<std::result::Result<_, _>>()?;
        Ok(Waiting { beside, answer: None })
    };
    entry.commands.iter().map(of_command).collect()
}

impl Machine {
    async fn state(&self) -> std::result::Result<(Option<LogId<u64>>, Config), StorageError> {
        self.core
            .run(|writer| {
                let config = load_config(&writer.connection)
                    .map_err(|error| crate::error::storage_error("reading the members", &error))?;
                Ok((last_applied(&writer.machine), config))
            })
            .await
    }

    async fn snapshot(&self) -> Result<Snapshot<Types>> {
        let (last_log_id, last_membership) = self.state().await.map_err(failed)?;
        let snapshot_id = last_log_id.as_ref().map(snapshot::name).unwrap_or_default();
        let meta = Meta { last_log_id, last_membership, snapshot_id };
        Ok(Snapshot { meta, snapshot: Box::new(Source::Live(self.core.at.clone())) })
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId<u64>>, Config)> {
        let state = self.state().await.map_err(failed)?;
        self.core.reached(state.0.as_ref().map(position));
        Ok(state)
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>>
    where
        I: IntoIterator<Item = RaftEntry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<RaftEntry> = entries.into_iter().collect();
        let (core, count) = (Arc::clone(&self.core), entries.len());
        let lost = self.lost.clone();
        // What is applied is in the log before.
        let applied = self.core.run(move |writer| lost.refuse().and_then(|()| apply(writer, &core, entries)));
        applied.await.map_err(failed)?;
        Ok(vec![(); count])
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Source>> {
        Ok(Box::new(Source::Live(self.core.at.clone())))
    }

    async fn install_snapshot(&mut self, _meta: &Meta, snapshot: Box<Source>) -> Result<()> {
        let file = snapshot::file(*snapshot, &self.core).await.map_err(failed)?;
        let core = Arc::clone(&self.core);
        self.core.run(move |writer| snapshot::install(writer, &core, &file)).await.map_err(failed)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>> {
        Ok(Some(self.snapshot().await?).filter(|snapshot| snapshot.meta.last_log_id.is_some()))
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>> {
        self.snapshot().await
    }
}
