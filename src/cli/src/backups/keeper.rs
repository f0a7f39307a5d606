//! Backups that are kept: in a folder of the node and in a bucket, as many as are wanted.

use super::source::Source;
use anyhow::{Context, Result, bail};
use backup::Form;
use backup::names::Names;
use backup::s3::Bucket;
use controllers::Schedule;
use datastore::Datastore;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::BufWriter;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Which backups are made, and where they are kept.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// When they are made by themselves; none for never.
    pub schedule: Option<Schedule>,
    /// The folder.
    pub folder: PathBuf,
    /// What their names begin with.
    pub base: String,
    /// How many are kept in the folder; 0 for all.
    pub kept: usize,
    /// Where else they go.
    pub bucket: Option<Bucket>,
    /// How many are kept there; 0 for all.
    pub kept_in_bucket: usize,
}

/// A backup that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// Its name.
    pub name: String,
    /// `folder` or `s3`.
    pub place: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Makes and keeps the backups of a running node.
pub struct Keeper {
    store: Arc<Datastore>,
    source: Source,
    keeping: Keeping,
    names: Names,
    /// One at a time: each takes its room on the disk.
    one: tokio::sync::Mutex<()>,
}

impl Keeper {
    /// Keeps the backups of a store, with what its node has besides.
    pub fn new(store: Arc<Datastore>, source: Source, keeping: Keeping) -> Self {
        let names = Names::new(&keeping.base, source.node());
        Self { store, source, keeping, names, one: tokio::sync::Mutex::default() }
    }

    /// The store.
    pub fn store(&self) -> &Arc<Datastore> {
        &self.store
    }

    /// What goes into backups.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Makes backups when it is time, until it is told to end.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let Some(schedule) = &self.keeping.schedule else { return };
        loop {
            let now = Timestamp::now();
            let Some(next) = schedule.next(now, &TimeZone::system()) else { return };
            let wait = next.duration_since(now).try_into().unwrap_or_default();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            match self.save(Timestamp::now()).await {
                Ok(saved) => tracing::info!(name = saved.name, bytes = saved.bytes, "a backup was made"),
                Err(error) => {
                    tracing::error!("the scheduled backup failed; the next one comes in its time: {error:#}")
                }
            }
        }
    }

    /// Makes a backup now, keeps it everywhere, and lets go of those that are too many.
    ///
    /// # Errors
    /// When it cannot be made, or not kept at one of the places; the others have it then.
    pub async fn save(&self, now: Timestamp) -> Result<Kept> {
        let _one = self.one.lock().await;
        let folder = self.source.folder()?;
        let copy = folder.path().join("state.db");
        let contents = self.store.copy_to(&copy).await?;
        let name = self.names.at(now.as_second());
        let path = self.keeping.folder.join(&name);
        let (source, target) = (self.source.clone(), path.clone());
        let written = tokio::task::spawn_blocking(move || {
            let written = write_whole(&target, |out| source.write(&contents, &copy, Form::Gzip, out));
            drop(folder);
            written
        });
        let bytes = written.await??;
        if let Some(bucket) = &self.keeping.bucket {
            bucket.put(&name, &path).await.context("the backup is kept here, but not in the bucket")?;
        }
        self.prune().await?;
        Ok(Kept { name, place: "folder".into(), bytes })
    }

    /// Makes a backup of the state alone with its sum behind it, as etcd's clients expect a snapshot. It is in the folder,
    /// and gone with it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn summed(&self) -> Result<(TempDir, PathBuf)> {
        let _one = self.one.lock().await;
        let folder = self.source.folder()?;
        let (copy, target) = (folder.path().join("state.db"), folder.path().join("snapshot"));
        let contents = self.store.copy_to(&copy).await?;
        let (source, path) = (self.source.clone(), target.clone());
        let written = tokio::task::spawn_blocking(move || {
            write_whole(&path, |out| source.write(&contents, &copy, Form::Summed, out))?;
            Ok::<_, anyhow::Error>(std::fs::remove_file(copy)?)
        });
        written.await??;
        Ok((folder, target))
    }

    /// All backups of this node that are kept.
    ///
    /// # Errors
    /// When a place cannot be asked.
    pub async fn list(&self) -> Result<Vec<Kept>> {
        let mut all = in_folder(&self.keeping.folder, &self.names)?;
        if let Some(bucket) = &self.keeping.bucket {
            let found = bucket.list(self.names.prefix()).await?;
            let own = found.into_iter().filter(|(name, _)| self.names.time(name).is_some());
            all.extend(own.map(|(name, bytes)| Kept { name, place: "s3".into(), bytes }));
        }
        Ok(all)
    }

    /// Deletes a backup wherever it is kept.
    ///
    /// # Errors
    /// When there is none of this name, or a place does not do it.
    pub async fn delete(&self, name: &str) -> Result<()> {
        if !self.list().await?.iter().any(|kept| kept.name == name) {
            bail!("no backup of this node is called {name:?}");
        }
        remove(&self.keeping.folder.join(name))?;
        if let Some(bucket) = &self.keeping.bucket {
            bucket.delete(name).await?;
        }
        Ok(())
    }

    /// Deletes those that are too many. Answers their names.
    ///
    /// # Errors
    /// When a place cannot be asked or does not do it.
    pub async fn prune(&self) -> Result<Vec<String>> {
        let here = in_folder(&self.keeping.folder, &self.names)?.into_iter().map(|kept| kept.name);
        let mut gone = self.names.superfluous(here, self.keeping.kept);
        for name in &gone {
            remove(&self.keeping.folder.join(name))?;
        }
        if let Some(bucket) = &self.keeping.bucket {
            let there = bucket.list(self.names.prefix()).await?.into_iter().map(|(name, _)| name);
            for name in self.names.superfluous(there, self.keeping.kept_in_bucket) {
                bucket.delete(&name).await?;
                gone.push(name);
            }
        }
        gone.sort_unstable();
        gone.dedup();
        Ok(gone)
    }
}

/// Writes a file that is there whole or not at all, and that nobody else can read. Answers its size in bytes.
///
/// # Errors
/// When it cannot be written, or what is to be in it not be made.
pub fn write_whole(path: &Path, content: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<u64> {
    let shown = path.display();
    if let Some(folder) = path.parent() {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let partial = PathBuf::from(format!("{shown}.partial"));
    let write = || -> Result<u64> {
        let open = File::options().write(true).create(true).truncate(true).mode(0o600).open(&partial);
        let mut out = BufWriter::new(open.with_context(|| format!("cannot write {}", partial.display()))?);
        content(&mut out)?;
        let file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.sync_all().with_context(|| format!("cannot write {}", partial.display()))?;
        std::fs::rename(&partial, path).with_context(|| format!("cannot write {shown}"))?;
        Ok(file.metadata()?.len())
    };
    let written = write();
    if written.is_err() {
        // It may not even have been begun.
        let _ = std::fs::remove_file(&partial);
    }
    written
}

fn in_folder(folder: &Path, names: &Names) -> Result<Vec<Kept>> {
    let entries = match std::fs::read_dir(folder) {
        // Made with the first backup.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read {}", folder.display()))?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if names.time(&name).is_some() {
            all.push(Kept { name, place: "folder".into(), bytes: entry.metadata()?.len() });
        }
    }
    all.sort_unstable_by_key(|kept| names.time(&kept.name));
    Ok(all)
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Paths;
    use storage::Storage as _;

    #[tokio::test]
    async fn as_many_backups_are_kept_as_are_wanted_and_each_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        std::fs::create_dir_all(paths.pki()).unwrap();
        std::fs::write(paths.pki().join("ca.key"), "a key").unwrap();
        std::fs::write(paths.pki().join(".ca.key.1.tmp"), "half").unwrap();
        let options = datastore::Options::default();
        let store = Datastore::open(paths.datastore(), options).await.unwrap();
        let object = storage::Encoded::new(&serde_json::json!({"metadata": {"name": "a"}})).unwrap();
        store.create("/registry/core/pods/a", object).await.unwrap();
        let folder = dir.path().join("kept");
        let keeping = Keeping {
            schedule: None,
            folder: folder.clone(),
            base: "knarr".into(),
            kept: 2,
            bucket: None,
            kept_in_bucket: 0,
        };
        let keeper = Keeper::new(store, Source::new(&paths, None), keeping);
        assert!(keeper.list().await.unwrap().is_empty());
        for seconds in 1..=3 {
            keeper.save(Timestamp::from_second(seconds).unwrap()).await.unwrap();
        }
        let kept = keeper.list().await.unwrap();
        let names: Vec<&str> = kept.iter().map(|kept| kept.name.as_str()).collect();
        assert_eq!(names, ["knarr--2.tar.gz", "knarr--3.tar.gz"]);
        let unpacked = dir.path().join("unpacked");
        let archive = File::open(folder.join(names[1])).unwrap();
        let manifest = backup::unpack(archive, env!("CARGO_PKG_VERSION"), &unpacked).unwrap();
        assert_eq!((manifest.objects, manifest.revision), (1, 2));
        assert_eq!(std::fs::read_to_string(unpacked.join("pki/ca.key")).unwrap(), "a key");
        assert_eq!(manifest.members.len(), 2);
        // Nothing is left of the work.
        let left = std::fs::read_dir(dir.path()).unwrap().flatten();
        assert!(left.into_iter().all(|e| !e.file_name().to_string_lossy().starts_with("backup-")));
        keeper.delete(names[0]).await.unwrap();
        assert!(keeper.delete("../pki/ca.key").await.is_err());
        assert_eq!(keeper.list().await.unwrap().len(), 1);
    }

    #[test]
    fn a_file_that_fails_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_whole(&path, |out| Ok(std::io::Write::write_all(out, b"first")?)).unwrap();
        write_whole(&path, |_| bail!("no")).unwrap_err();
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
