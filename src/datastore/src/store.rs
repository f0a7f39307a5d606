//! The store as a whole.

use crate::checkpointer::Checkpointer;
use crate::command::{Command, Operation};
use crate::direct;
use crate::directory::Directory;
use crate::doubt::Doubt;
use crate::error::OpenError;
use crate::executor::{Running, Threads};
use crate::interface::compact_regularly;
use crate::limits::Limits;
use crate::options::{Options, Statistics};
use crate::raft::{Cluster, ClusterOptions, Core, Identity};
use crate::reader::{Opener, Reader};
use crate::room::Room;
use crate::schema::{self, Location};
use crate::state_machine::StateMachine;
use crate::writer::{Answer, Beside, Counters, Proposal, Request, Shared, Writer};
use parking_lot::Mutex;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use storage::cache::WatchCache;
use storage::{Author, Extractor, Made, Object, Sealer, StorageError, resource_prefix};
use tokio::sync::{mpsc, oneshot};

/// Proposals that may wait. More than an entry holds, so that the writer never idles; callers beyond it
/// wait their turn.
const QUEUE: usize = 4096;

/// Tells databases in memory apart within the process.
static MEMORY: AtomicU64 = AtomicU64::new(0);

/// What it takes to go from a sole voter to a node of a cluster.
pub(crate) struct Beginning {
    pub(crate) identity: Identity,
    /// Whether this node is the only one there is.
    sole: bool,
    pub(crate) at: Location,
    pub(crate) directory: PathBuf,
    pub(crate) opener: Opener,
    options: Option<ClusterOptions>,
    pub(crate) limits: Limits,
    pub(crate) threads: Threads,
}

/// A durable store: of one node, or of a cluster as one of its nodes sees it.
///
/// Dropping it stops it too, but in the background: [`Datastore::shutdown`] waits until the files are
/// closed.
pub struct Datastore {
    pub(crate) requests: mpsc::Sender<Request>,
    /// For commits without the writer's thread; None where there is no thread.
    shared: Option<Shared>,
    pub(crate) cache: Arc<WatchCache>,
    pub(crate) reader: Arc<Reader>,
    extractor: Arc<dyn Extractor>,
    sealer: Option<Arc<dyn Sealer>>,
    counters: Arc<Counters>,
    writer: Mutex<Option<Running>>,
    beginning: Beginning,
    forming: tokio::sync::Mutex<()>,
    cluster: OnceLock<Arc<Cluster>>,
    /// Where the cluster takes proposals. They need not wait for the writer's thread, which may be syncing the log.
    proposals: OnceLock<mpsc::UnboundedSender<Proposal>>,
}

impl Datastore {
    /// Opens the store in a directory (by convention `{data_dir}/datastore`), which is made when there is
    /// none. Has to be called within a tokio runtime.
    ///
    /// # Errors
    /// When another process has it open, when its files were written by a newer version or are damaged, or
    /// when the system refuses.
    pub async fn open(directory: impl Into<PathBuf>, options: Options) -> Result<Arc<Self>, OpenError> {
        let path = directory.into();
        Self::start(options, move |options| {
            let directory = Directory::open(&path)?;
            let at = Location::File(directory.database().to_owned());
            Self::build(at, Some(directory), options)
        })
        .await
    }

    /// Opens an empty store that is gone when it is closed.
    ///
    /// # Errors
    /// When memory or threads are short.
    pub async fn open_in_memory(options: Options) -> Result<Arc<Self>, OpenError> {
        Self::start(options, |options| {
            let name = MEMORY.fetch_add(1, Ordering::Relaxed);
            // The leading slash makes SQLite share it between connections.
            let at = Location::Memory(Path::new(&format!("/knarr-{name}")).to_owned());
            Self::build(at, None, options)
        })
        .await
    }

    async fn start(
        options: Options,
        build: impl FnOnce(&Options) -> Result<Arc<Self>, OpenError> + Send + 'static,
    ) -> Result<Arc<Self>, OpenError> {
        let interval = options.compaction_interval;
        let threads = Threads::new(options.executor.as_ref());
        let store =
            threads.run(move || build(&options)).await.map_err(|source| OpenError::Thread { source })??;
        if !store.beginning.sole {
            store.cluster().await.map_err(|source| OpenError::Cluster { source })?;
        }
        if let Some(interval) = interval {
            tokio::spawn(compact_regularly(Arc::downgrade(&store), interval));
        }
        Ok(store)
    }

    pub(crate) fn build(
        at: Location,
        directory: Option<Directory>,
        options: &Options,
    ) -> Result<Arc<Self>, OpenError> {
        let read = |error| OpenError::sqlite("read", at.path())(error);
        let threads = Threads::new(options.executor.as_ref());
        let doubt = Doubt::new(&at, &threads);
        doubt.write_again().map_err(OpenError::file("write", at.path()))?;
        let mut connection = schema::open_writer(&at)?;
        let mut machine = StateMachine::load(&connection).map_err(read)?;
        let ticket = options.cluster.as_ref().and_then(|cluster| cluster.ticket.as_ref());
        let identity = Identity::settle(&mut machine, ticket, &connection).map_err(read)?;
        let sole = identity.is_sole(&machine, &connection).map_err(read)?;
        if !sole && options.cluster.is_none() {
            return Err(OpenError::Member { path: at.path().to_owned() });
        }
        if ticket.is_some_and(|ticket| ticket.cluster != identity.cluster || ticket.node != identity.node) {
            return Err(OpenError::OtherCluster { path: at.path().to_owned() });
        }
        let extractor = Arc::clone(&options.extractor);
        let opener = Opener { extractor: Arc::clone(&extractor), sealer: options.sealer.clone() };
        let objects = Reader::load(&connection, &opener).map_err(read)?;
        let cache = WatchCache::new(machine.revision, machine.compacted, objects)
            .map_err(|e| OpenError::Damaged { path: at.path().to_owned(), detail: e.to_string() })?;
        let cache = Arc::new(cache);
        let frames = Arc::<AtomicU32>::default();
        Writer::watch_frames(&mut connection, &frames).map_err(read)?;
        let reader = Arc::new(Reader::new(at.clone(), &cache, opener.clone(), threads.clone()));
        let counters = Arc::<Counters>::default();
        // With simulated disks, what SQLite syncs is all there is.
        let synced = (!at.is_memory() && threads.in_place().is_none()).then(|| File::open(at.path()));
        let synced = synced.transpose().map_err(OpenError::file("open", at.path()))?.map(Arc::new);
        let writer = Writer {
            connection,
            machine,
            successor: None,
            cache: Arc::clone(&cache),
            reader: Arc::clone(&reader),
            checkpointer: Checkpointer::start(
                &at,
                options.limits,
                &threads,
                &doubt,
                &frames,
                synced.clone(),
            )?,
            room: Room::new(&at),
            counters: Arc::clone(&counters),
            frames,
            lonely: true,
            doubtful: false,
            doubt,
            _synced: synced,
            _directory: directory.map(Arc::new),
        };
        let directory = at.path().parent().filter(|_| !at.is_memory()).map(Path::to_owned);
        let beginning = Beginning {
            identity,
            sole,
            at,
            directory: directory.unwrap_or_else(std::env::temp_dir),
            opener,
            options: options.cluster.clone(),
            limits: options.limits,
            threads: threads.clone(),
        };
        let (requests, receiver) = mpsc::channel(QUEUE);
        let (writer, shared) = match threads.in_place() {
            Some(executor) => {
                let task = tokio::spawn(writer.run_in_place(receiver, Arc::clone(executor)));
                (Running::Task(task), None)
            }
            None => {
                let shared = Arc::new(Mutex::new(Some(writer)));
                let writer = Arc::clone(&shared);
                let thread = std::thread::Builder::new()
                    .name("knarr-writer".to_owned())
                    .spawn(move || Writer::run(&writer, receiver))
                    .map_err(|source| OpenError::Thread { source })?;
                (Running::Thread(thread), Some(shared))
            }
        };
        let sealer = options.sealer.clone();
        Ok(Arc::new(Self {
            requests,
            shared,
            cache,
            reader,
            extractor,
            sealer,
            counters,
            writer: Mutex::new(Some(writer)),
            beginning,
            forming: tokio::sync::Mutex::default(),
            cluster: OnceLock::new(),
            proposals: OnceLock::new(),
        }))
    }

    /// The cluster that this node belongs to. A node that was alone begins one, of which it is the first; writes go
    /// on meanwhile.
    ///
    /// # Errors
    /// `Unavailable` when the store was opened without [`Options::cluster`], or the disk fails.
    pub async fn cluster(&self) -> Result<Arc<Cluster>, StorageError> {
        let _one = self.forming.lock().await;
        if let Some(cluster) = self.cluster.get() {
            return Ok(Arc::clone(cluster));
        }
        let Beginning { identity, options, .. } = &self.beginning;
        let Some(options) = options else {
            return Err(StorageError::unavailable("it was opened for a single node"));
        };
        let core = self.core();
        let (successor, proposals) = mpsc::unbounded_channel();
        let direct = successor.clone();
        // From here on nothing is committed but by the cluster.
        core.run(move |writer| {
            writer.successor = Some(successor);
            Ok(())
        })
        .await?;
        let cluster = Cluster::start(core, &identity.cluster, options, proposals).await?;
        self.proposals.get_or_init(|| direct);
        Ok(Arc::clone(self.cluster.get_or_init(|| cluster)))
    }

    /// What the replicated log works on.
    pub(crate) fn core(&self) -> Arc<Core> {
        Arc::new(Core::new(&self.beginning, self.requests.clone()))
    }

    /// What tells this node's cluster from all others, also while it is alone.
    pub fn cluster_id(&self) -> &str {
        &self.beginning.identity.cluster
    }

    /// The node's number in its cluster.
    pub fn node_id(&self) -> u64 {
        self.beginning.identity.node
    }

    pub(crate) fn sealer(&self) -> Option<&Arc<dyn Sealer>> {
        self.sealer.as_ref()
    }

    pub(crate) fn reader(&self) -> &Arc<Reader> {
        &self.reader
    }

    pub(crate) fn threads(&self) -> &Threads {
        &self.beginning.threads
    }

    pub(crate) fn location(&self) -> &Location {
        &self.beginning.at
    }

    /// The cluster that this node belongs to; None while it is alone.
    pub fn joined(&self) -> Option<&Arc<Cluster>> {
        self.cluster.get()
    }

    /// In a cluster, waits until everything that was acknowledged is here.
    pub(crate) async fn barrier(&self) -> Result<(), StorageError> {
        match self.cluster.get() {
            Some(cluster) => cluster.barrier().await,
            None => Ok(()),
        }
    }

    /// Hands over what this node leads, finishes the writes that wait, ends all watches, and closes the files.
    /// Later writes are refused.
    pub async fn shutdown(&self) {
        if let Some(cluster) = self.cluster.get() {
            cluster.stop().await;
        }
        // It may have stopped already.
        let _ = self.requests.send(Request::Stop).await;
        let writer = self.writer.lock().take();
        if let Some(writer) = writer
            && !writer.join().await
        {
            tracing::error!("the datastore's writer ended abnormally");
        }
    }

    /// Applies operations on different keys together, at one revision, or none of them.
    ///
    /// # Errors
    /// Those of the first operation that cannot be applied; `InvalidObject` when a key occurs twice.
    pub async fn transaction(&self, operations: Vec<Operation>) -> Result<Vec<Arc<Object>>, StorageError> {
        let command = Command::Transaction(operations);
        self.propose(command).await.map(|answer| answer.objects)
    }

    /// Limits the size of the database file. Beyond it, writes fail as on a full disk; a limit below the
    /// present size keeps it from growing. Holds until it is set again, or the store is closed.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn limit_size(&self, bytes: u64) -> Result<(), StorageError> {
        let (answer, answered) = oneshot::channel();
        let closed = || StorageError::unavailable("it is shutting down");
        self.requests.send(Request::LimitSize(bytes, answer)).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }

    /// What has been done since it was opened.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            entries: self.counters.entries.load(Ordering::Relaxed),
            commands: self.counters.commands.load(Ordering::Relaxed),
            failures: self.counters.failures.load(Ordering::Relaxed),
            waiting: self.waiting() as u64,
        }
    }

    /// Requests that the writer's thread has not taken yet.
    fn waiting(&self) -> usize {
        self.requests.max_capacity().saturating_sub(self.requests.capacity())
    }

    #[cfg(test)]
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) async fn propose(&self, mut command: Command) -> Result<Answer, StorageError> {
        for operation in command.operations() {
            let key = operation.key();
            if resource_prefix(key)?.len() == key.len() || key.ends_with('/') {
                let reason = "it ends with a slash";
                return Err(StorageError::InvalidKey { key: key.to_string(), reason });
            }
        }
        // Here and not on the writer's thread: it parses JSON.
        let mut beside = Vec::with_capacity(command.operations().len());
        for operation in command.operations_mut() {
            let key = Arc::clone(operation.key());
            let Some(object) = operation.object_mut() else {
                beside.push(Beside::default());
                continue;
            };
            let attrs = object.take_attrs().unwrap_or_else(|| self.extractor.extract(&key, object.bytes()));
            let sealed = self.sealer.as_ref().map_or(Ok(None), |sealer| sealer.seal(&key, object.bytes()))?;
            let plain = sealed.map(|stored| {
                let sealed = object.sealed(stored);
                std::mem::replace(object, sealed)
            });
            beside.push(Beside { attrs, plain });
        }
        let (answer, answered) = oneshot::channel();
        let made = Made { by: Author::current(), at_millis: self.threads().now_millis() };
        let proposal = Proposal { command, made, beside, answer };
        let closed = || StorageError::unavailable("it is shutting down");
        if let Some(cluster) = self.proposals.get() {
            cluster.send(proposal).map_err(|_| closed())?;
        } else if let Some(proposal) = self.commit_here(proposal) {
            self.requests.send(Request::Propose(proposal)).await.map_err(|_| closed())?;
        }
        answered
            .await
            .map_err(|_| StorageError::Unknown { reason: "the datastore's writer has stopped".into() })?
    }

    /// Commits without the writer's thread if that is possible; otherwise gives the proposal back.
    fn commit_here(&self, proposal: Proposal) -> Option<Proposal> {
        // Never before what waits already.
        match self.shared.as_ref().filter(|_| self.waiting() == 0) {
            Some(shared) => direct::commit(shared, proposal),
            None => Some(proposal),
        }
    }

    /// Gives pages that became free back to the file system.
    pub(crate) async fn vacuum(&self) {
        loop {
            let (answer, more) = oneshot::channel();
            let sent = self.requests.send(Request::Vacuum(answer)).await.is_ok();
            if !sent || !more.await.unwrap_or(false) {
                return;
            }
        }
    }

    pub(crate) async fn write(&self, operation: Operation) -> Result<Arc<Object>, StorageError> {
        let answer = self.propose(Command::Write(operation)).await?;
        // Applied means that there is an object.
        answer.objects.into_iter().next().ok_or_else(|| StorageError::fatal("the cache misses an object"))
    }
}

impl Drop for Datastore {
    fn drop(&mut self) {
        if let Some(cluster) = self.cluster.get() {
            cluster.abort();
        }
    }
}

impl fmt::Debug for Datastore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datastore").field("revision", &self.cache.revision()).finish_non_exhaustive()
    }
}
