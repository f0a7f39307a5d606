//! openraft's own tests of a store, on ours.

use crate::directory::Directory;
use crate::raft::log_store::LogStore;
use crate::raft::machine::Machine;
use crate::raft::types::Types;
use crate::raft::{ClusterOptions, Member, Switchboard, Ticket, Timing};
use crate::schema::Location;
use crate::{Datastore, Options};
use openraft::StorageError;
use openraft::testing::{StoreBuilder, Suite};
use std::sync::Arc;
use tempfile::TempDir;

struct Builder;

type Guard = (Arc<Datastore>, TempDir);

impl StoreBuilder<Types, LogStore, Machine, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, LogStore, Machine), StorageError<u64>> {
        let dir = tempfile::tempdir().unwrap();
        let cluster = ClusterOptions {
            member: Member::default(),
            transport: Switchboard::default().transport("a"),
            timing: Timing::default(),
            ticket: Some(Ticket { cluster: "c".into(), node: 1 }),
        };
        let options = Options { cluster: Some(cluster), ..Options::default() };
        let directory = Directory::open(dir.path()).unwrap();
        let at = Location::File(directory.database().to_owned());
        let store = Datastore::build(at, Some(directory), &options).unwrap();
        let core = store.core();
        Ok(((store, dir), LogStore(Arc::clone(&core)), Machine(core)))
    }
}

#[test]
fn the_store_passes_openrafts_suite() {
    Suite::test_all(Builder).unwrap();
}
