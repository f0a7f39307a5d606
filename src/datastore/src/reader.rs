//! Past revisions: lists as they were, and events that have left the cache.

use crate::command::Operation;
use crate::error::storage_error;
use crate::executor::Threads;
use crate::schema::{Location, open_reader};
use crate::state_machine::{StateMachine, first_row, last_row, revision_of};
use crate::writer::Beside;
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::sync::{Arc, Weak};
use storage::cache::{Change, WatchCache};
use storage::{
    Author, Authored, Authors, Encoded, Event, EventKind, Extractor, History, HistoryPage, List, ListOptions,
    Made, Object, Scope, Sealer, StorageError,
};
use tokio::sync::Semaphore;

/// Connections that are kept open. Past revisions are read seldom.
const IDLE_CONNECTIONS: usize = 2;

/// Readers at a time; more would only compete for the disk.
const CONCURRENT: usize = 4;

/// Bytes of a page of history, so that one watch that starts far back does not fill the memory.
const PAGE_BYTES: usize = 1 << 20;

const COLUMNS: &str = "row, create_revision, previous, splice_at, key, value";

/// The last of them.
const VALUE_COLUMN: usize = 5;

/// Reads what the cache does not hold.
pub(crate) struct Reader {
    at: Location,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    cache: Weak<WatchCache>,
    opener: Opener,
    threads: Threads,
}

/// Makes objects of what is stored.
#[derive(Clone)]
pub(crate) struct Opener {
    pub(crate) extractor: Arc<dyn Extractor>,
    pub(crate) sealer: Option<Arc<dyn Sealer>>,
}

/// A row of `revisions`.
struct Stored {
    row: i64,
    create_revision: u64,
    previous: i64,
    splice_at: u32,
    key: Arc<str>,
    value: Option<Bytes>,
}

impl Stored {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            row: row.get(0)?,
            create_revision: row.get(1)?,
            previous: row.get(2)?,
            splice_at: row.get(3)?,
            key: row.get(4)?,
            value: row.get::<_, Option<Vec<u8>>>(5)?.map(|value| Bytes::from(value.into_boxed_slice())),
        })
    }
}

impl Reader {
    pub(crate) fn new(at: Location, cache: &Arc<WatchCache>, opener: Opener, threads: Threads) -> Self {
        let permits = Arc::new(Semaphore::new(CONCURRENT));
        Self { at, idle: Mutex::new(Vec::new()), permits, cache: Arc::downgrade(cache), opener, threads }
    }

    /// Closes the idle connections and refuses to open more.
    pub(crate) fn close(&self) {
        self.permits.close();
        self.idle.lock().clear();
    }

    /// All current objects, in the order of keys.
    pub(crate) fn load(connection: &Connection, opener: &Opener) -> rusqlite::Result<Vec<Object>> {
        let mut statement = connection.prepare(
            "SELECT r.row, r.create_revision, r.previous, r.splice_at, r.key, r.value
             FROM current c CROSS JOIN revisions r ON r.row = c.row
             WHERE c.create_revision != 0 ORDER BY c.key",
        )?;
        let mut rows = statement.query([])?;
        let mut objects = Vec::new();
        while let Some(row) = rows.next()? {
            objects.extend(opener.object(Stored::read(row)?)?);
        }
        Ok(objects)
    }

    /// The changes after a revision, for a cache that has missed them.
    pub(crate) fn changes_since(
        &self,
        connection: &Connection,
        revision: u64,
    ) -> Result<Vec<Change>, StorageError> {
        let read = || -> rusqlite::Result<Vec<Change>> {
            let sql = format!("SELECT {COLUMNS} FROM revisions WHERE row > ?1 ORDER BY row");
            let mut statement = connection.prepare(&sql)?;
            let mut rows = statement.query([last_row(revision)])?;
            let mut changes = Vec::new();
            while let Some(row) = rows.next()? {
                let stored = Stored::read(row)?;
                let (key, revision) = (Arc::clone(&stored.key), revision_of(stored.row));
                changes.push(match self.opener.object(stored)? {
                    Some(object) => Change::Put(object),
                    None => Change::Delete { key, revision },
                });
            }
            Ok(changes)
        };
        read().map_err(|error| storage_error("reading changes", &error))
    }

    /// The list of a prefix as it was at a revision.
    pub(crate) async fn list_at(
        self: &Arc<Self>,
        prefix: String,
        revision: u64,
        options: ListOptions,
    ) -> Result<List, StorageError> {
        self.read(move |reader, connection| reader.list_in(connection, &prefix, revision, &options)).await
    }

    fn list_in(
        &self,
        connection: &Connection,
        prefix: &str,
        revision: u64,
        options: &ListOptions,
    ) -> Result<List, StorageError> {
        check(connection, revision)?;
        let failed = |error: rusqlite::Error| storage_error("reading a past list", &error);
        let (from, to) = bounds(Scope::new(prefix)?);
        let after = options.start_after.as_deref().unwrap_or("");
        let mut list = List { revision, ..List::default() };
        let mut remaining = 0;
        let mut statement = connection
            .prepare_cached(
                "SELECT key, row FROM current WHERE key >= ?1 AND key < ?2 AND key > ?3 ORDER BY key",
            )
            .map_err(failed)?;
        let mut rows = statement.query(params![from, to, after]).map_err(failed)?;
        while let Some(found) = rows.next().map_err(failed)? {
            let latest: i64 = found.get(1).map_err(failed)?;
            let Some(row) = row_at(connection, latest, revision).map_err(failed)? else { continue };
            let full = options.limit != 0 && list.items.len() >= options.limit;
            if full && options.filter.is_none() {
                remaining += 1;
                continue;
            }
            let key = found.get_ref(0).and_then(|key| Ok(key.as_str()?)).map_err(failed)?;
            let Some(object) = self.object_at(connection, key, row).map_err(failed)? else { continue };
            if options.filter.as_ref().is_some_and(|filter| !filter.picks(&object)) {
                continue;
            }
            if full {
                list.more = true;
                return Ok(list);
            }
            list.items.push(object);
        }
        list.more = remaining > 0;
        list.remaining = options.filter.is_none().then_some(remaining);
        Ok(list)
    }

    /// The object of a row; the cache's own where it is the same.
    pub(crate) fn object_at(
        &self,
        connection: &Connection,
        key: &str,
        row: i64,
    ) -> rusqlite::Result<Option<Arc<Object>>> {
        let cached = self.cache.upgrade().and_then(|cache| cache.get(key));
        if let Some(cached) = cached.filter(|cached| cached.revision == revision_of(row)) {
            return Ok(Some(cached));
        }
        match stored(connection, row)? {
            Some(stored) => Ok(self.opener.object(stored)?.map(Arc::new)),
            None => Ok(None),
        }
    }

    fn events_in(
        &self,
        connection: &Connection,
        scope: &str,
        after: u64,
        up_to: u64,
        limit: usize,
    ) -> Result<HistoryPage, StorageError> {
        check(connection, after)?;
        let failed = |error: rusqlite::Error| storage_error("reading past changes", &error);
        let (from, to) = bounds(Scope::new(scope)?);
        let sql = format!(
            "SELECT {COLUMNS} FROM revisions WHERE row BETWEEN ?1 AND ?2 AND key >= ?3 AND key < ?4 ORDER BY row"
        );
        let mut statement = connection.prepare_cached(&sql).map_err(failed)?;
        let mut rows =
            statement.query(params![first_row(after + 1), last_row(up_to), from, to]).map_err(failed)?;
        let mut page = HistoryPage { events: Vec::new(), up_to };
        let mut bytes = 0;
        while let Some(row) = rows.next().map_err(failed)? {
            let revision = revision_of(row.get(0).map_err(failed)?);
            let last = page.events.last().map(|event: &Arc<Event>| event.revision);
            if (page.events.len() >= limit || bytes > PAGE_BYTES)
                && let Some(last) = last.filter(|last| *last < revision)
            {
                page.up_to = last;
                break;
            }
            let stored = Stored::read(row).map_err(failed)?;
            if let Some(event) = self.event(connection, stored).map_err(failed)? {
                bytes += event.object.value.len();
                page.events.push(Arc::new(event));
            }
        }
        Ok(page)
    }

    fn event(&self, connection: &Connection, stored: Stored) -> rusqlite::Result<Option<Event>> {
        let revision = revision_of(stored.row);
        let previous = match stored.previous {
            0 => None,
            row => self.object_at(connection, &stored.key, row)?,
        };
        if stored.value.is_none() {
            // A deletion always has something before it, unless the rows are damaged.
            return Ok(previous.map(|previous| {
                Event::new(EventKind::Deleted, Arc::new(previous.restamped(revision)), Some(previous))
            }));
        }
        let cached = self.cache.upgrade().and_then(|cache| cache.get(&stored.key));
        let object = match cached.filter(|cached| cached.revision == revision) {
            Some(cached) => Some(cached),
            None => self.opener.object(stored)?.map(Arc::new),
        };
        let kind = if previous.is_some() { EventKind::Modified } else { EventKind::Added };
        Ok(object.map(|object| Event::new(kind, object, previous)))
    }

    /// Who made the changes of a scope with `after < revision <= up_to`, as far as they are kept and it was noted.
    pub(crate) async fn authors(
        self: &Arc<Self>,
        scope: String,
        after: u64,
        up_to: u64,
        limit: usize,
    ) -> Result<Authors, StorageError> {
        self.read(move |_, connection| {
            let (from, to) = bounds(Scope::new(&scope)?);
            let read = || authors_in(connection, (&from, &to), after, up_to, limit);
            read().map_err(|error| storage_error("reading who made changes", &error))
        })
        .await
    }

    /// The bytes that are stored under a key now.
    pub(crate) async fn stored(self: &Arc<Self>, key: String) -> Result<Option<Bytes>, StorageError> {
        self.read(move |_, connection| {
            let failed = |error: rusqlite::Error| storage_error("reading", &error);
            let row = connection
                .prepare_cached("SELECT row FROM current WHERE key = ?1 AND create_revision != 0")
                .and_then(|mut statement| statement.query_row([key], |row| row.get(0)).optional())
                .map_err(failed)?;
            let found = row.map_or(Ok(None), |row| stored(connection, row)).map_err(failed)?;
            Ok(found.and_then(|found| found.value))
        })
        .await
    }

    /// Runs a job on a blocking thread, within a read transaction of a connection of the pool.
    pub(crate) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        job: impl FnOnce(&Self, &Connection) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let closed = || StorageError::unavailable("it is shutting down");
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| closed())?;
        let reader = Arc::clone(self);
        let task = self.threads.run(move || {
            let _permit = permit;
            let failed = |error: rusqlite::Error| storage_error("opening for reading", &error);
            let idle = reader.idle.lock().pop();
            let connection = match idle {
                Some(connection) => connection,
                None => open_reader(&reader.at).map_err(failed)?,
            };
            connection.execute_batch("BEGIN").map_err(failed)?;
            let result = job(&reader, &connection);
            // A connection that cannot end its transaction is not used again.
            if connection.execute_batch("COMMIT").is_ok() && !reader.permits.is_closed() {
                let mut idle = reader.idle.lock();
                if idle.len() < IDLE_CONNECTIONS {
                    idle.push(connection);
                }
            }
            result
        });
        task.await.map_err(StorageError::unavailable)?
    }
}

/// The reader as the source of what has left the cache.
pub(crate) struct PastEvents(pub(crate) Arc<Reader>);

#[async_trait]
impl History for PastEvents {
    async fn events(
        &self,
        scope: &str,
        after: u64,
        up_to: u64,
        limit: usize,
    ) -> Result<HistoryPage, StorageError> {
        let scope = scope.to_owned();
        self.0.read(move |reader, connection| reader.events_in(connection, &scope, after, up_to, limit)).await
    }
}

fn authors_in(
    connection: &Connection,
    (from, to): (&str, &str),
    after: u64,
    up_to: u64,
    limit: usize,
) -> rusqlite::Result<Authors> {
    let mut statement = connection.prepare_cached(
        "SELECT author, impersonator, made_at, row, key FROM revisions
         WHERE row BETWEEN ?1 AND ?2 AND key >= ?3 AND key < ?4 AND author IS NOT NULL ORDER BY row",
    )?;
    let mut rows = statement.query(params![first_row(after + 1), last_row(up_to), from, to])?;
    let mut found = Authors { changes: Vec::new(), up_to };
    while let Some(row) = rows.next()? {
        let revision = revision_of(row.get(3)?);
        let last = found.changes.last().map(|change| change.revision);
        if found.changes.len() >= limit
            && let Some(last) = last.filter(|last| *last < revision)
        {
            found.up_to = last;
            break;
        }
        let made = made(row)?;
        let key = row.get(4)?;
        found.changes.extend(made.map(|made| Authored { revision, key, made }));
    }
    Ok(found)
}

/// Who made a change, from the columns `author, impersonator, made_at`.
fn made(row: &Row<'_>) -> rusqlite::Result<Option<Made>> {
    let Some(user) = row.get(0)? else { return Ok(None) };
    let at_millis = row.get::<_, Option<i64>>(2)?.unwrap_or(0).cast_unsigned();
    Ok(Some(Made { by: Author { user, impersonator: row.get(1)? }, at_millis }))
}

/// Who made the change of a row.
pub(crate) fn made_in(connection: &Connection, row: i64) -> rusqlite::Result<Option<Made>> {
    let sql = "SELECT author, impersonator, made_at FROM revisions WHERE row = ?1";
    connection.prepare_cached(sql)?.query_row([row], made).optional().map(Option::flatten)
}

/// Within the read transaction, so that nothing is compacted after the check.
fn check(connection: &Connection, revision: u64) -> Result<(), StorageError> {
    let state = StateMachine::load(connection).map_err(|error| storage_error("reading", &error))?;
    if revision < state.compacted {
        return Err(StorageError::Compacted { requested: revision, oldest: state.compacted });
    }
    Ok(())
}

/// The keys of a scope, as a range whose end is excluded.
fn bounds(scope: Scope<'_>) -> (String, String) {
    match scope {
        // '0' follows '/'.
        Scope::Prefix(prefix) => (prefix.to_owned(), format!("{}0", prefix.trim_end_matches('/'))),
        Scope::Key(key) => (key.to_owned(), format!("{key}\0")),
    }
}

/// Follows a key's rows back to the one that was current at a revision. None when there was no object.
fn row_at(connection: &Connection, latest: i64, revision: u64) -> rusqlite::Result<Option<i64>> {
    let mut statement =
        connection.prepare_cached("SELECT previous, create_revision FROM revisions WHERE row = ?1")?;
    let mut row = latest;
    while row != 0 {
        let found: Option<(i64, u64)> =
            statement.query_row([row], |found| Ok((found.get(0)?, found.get(1)?))).optional()?;
        let Some((previous, create_revision)) = found else { return Ok(None) };
        if revision_of(row) <= revision {
            return Ok((create_revision != 0).then_some(row));
        }
        row = previous;
    }
    Ok(None)
}

fn stored(connection: &Connection, row: i64) -> rusqlite::Result<Option<Stored>> {
    let sql = format!("SELECT {COLUMNS} FROM revisions WHERE row = ?1");
    connection.prepare_cached(&sql)?.query_row([row], Stored::read).optional()
}

impl Opener {
    /// The object of a row; `None` for a deletion's. What is encrypted is decrypted and gets its revision.
    fn object(&self, mut stored: Stored) -> rusqlite::Result<Option<Object>> {
        let Some(mut value) = stored.value.take() else { return Ok(None) };
        if value.first() != Some(&b'{') {
            let sealed = Encoded::from_parts(value, stored.splice_at as usize);
            let plain = sealed.and_then(|sealed| self.open(&stored.key, &sealed)).map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(VALUE_COLUMN, Type::Blob, Box::new(error))
            })?;
            value = plain.spliced(revision_of(stored.row));
        }
        let attrs = self.extractor.extract(&stored.key, &value);
        Ok(Some(Object {
            key: stored.key,
            create_revision: stored.create_revision,
            revision: revision_of(stored.row),
            value,
            splice_at: stored.splice_at,
            attrs,
        }))
    }

    /// What the cache needs of an object that another node proposed to store.
    ///
    /// # Errors
    /// The sealer's.
    pub(crate) fn beside(&self, operation: &Operation) -> Result<Beside, StorageError> {
        let Some(object) = operation.object() else { return Ok(Beside::default()) };
        let plain = if object.is_sealed() { Some(self.open(operation.key(), object)?) } else { None };
        let attrs = self.extractor.extract(operation.key(), plain.as_ref().unwrap_or(object).bytes());
        Ok(Beside { attrs, plain })
    }

    fn open(&self, key: &str, sealed: &Encoded) -> Result<Encoded, StorageError> {
        let Some(sealer) = &self.sealer else {
            return Err(StorageError::fatal(format_args!(
                "{key} is encrypted, and no encryption is configured"
            )));
        };
        let plain = sealer.open(key, sealed.bytes())?;
        if plain.first() != Some(&b'{') {
            return Err(StorageError::fatal(format_args!("{key} was encrypted, but is no object")));
        }
        Encoded::from_parts(plain, sealed.splice_at() as usize)
    }
}
