//! Blobs, manifests and tags in files.
//!
//! ```text
//!  blobs/sha256/ab/abcd...                 the bytes of layers, configurations and manifests
//!  repositories/NAME/_blobs/sha256/abcd... that the repository has a blob (empty)
//!  repositories/NAME/_manifests/sha256/... that it is a manifest: its media type
//!  repositories/NAME/_tags/TAG             a digest
//!  repositories/NAME/_referrers/sha256/SUBJECT/sha256/DIGEST   (empty)
//!  uploads/ID                              what has come so far
//! ```
//!
//! Whatever is named is there whole: files are written aside and renamed. All of it blocks; the caller is on a thread of its
//! own.

use super::names::{Algorithm, Digest, Name};
use parking_lot::RwLock;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Uploads that nobody goes on with, and blobs that nothing names (yet), stay this long.
pub const GRACE: Duration = Duration::from_secs(24 * 3600);

/// Why something cannot be stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is not there.
    #[error("not found")]
    NotFound,
    /// The bytes are others than the digest says.
    #[error("the digest is {0}")]
    Digest(Digest),
    /// A chunk does not begin where the last one ended.
    #[error("the upload has {0} bytes")]
    Offset(u64),
    /// The registry is as large as it may become.
    #[error("the registry is full: {0} bytes are allowed")]
    Full(u64),
    /// There is no more room on the disk, or in the volume: files take whole blocks there, and the registry counts bytes.
    #[error("the registry's disk is full: {0}")]
    NoRoom(#[source] io::Error),
    /// The disk.
    #[error(transparent)]
    Io(io::Error),
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::NoRoom(error),
            _ => Self::Io(error),
        }
    }
}

type Result<T> = std::result::Result<T, StoreError>;

/// The files.
pub struct Store {
    root: PathBuf,
    /// How many bytes there may be, and are.
    limit: u64,
    used: Arc<AtomicU64>,
    /// Held shared by whoever names a blob, alone by the collection of what nobody names.
    naming: RwLock<()>,
}

impl Store {
    /// Opens a folder; `limit` in bytes.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(root: impl Into<PathBuf>, limit: u64) -> io::Result<Self> {
        Self::counted(root.into(), limit, Arc::default())
    }

    /// Opens another folder whose bytes count together with these.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn another(&self, root: impl Into<PathBuf>) -> io::Result<Self> {
        Self::counted(root.into(), self.limit, Arc::clone(&self.used))
    }

    fn counted(root: PathBuf, limit: u64, used: Arc<AtomicU64>) -> io::Result<Self> {
        for folder in ["blobs", "repositories", "uploads"] {
            fs::create_dir_all(root.join(folder))?;
        }
        for folder in ["blobs", "uploads"] {
            walk(&root.join(folder), &mut |path| {
                used.fetch_add(path.metadata().map_or(0, |meta| meta.len()), Ordering::Relaxed);
            })?;
        }
        Ok(Self { root, limit, used, naming: RwLock::new(()) })
    }

    /// Bytes that are there.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// A blob of a repository, with its size.
    pub fn blob(&self, name: &Name, digest: &Digest) -> Result<(File, u64)> {
        fs::metadata(self.link(name, "_blobs", digest))?;
        let file = File::open(self.blob_path(digest))?;
        let size = file.metadata()?.len();
        Ok((file, size))
    }

    /// Whether a repository has a blob.
    pub fn has_blob(&self, name: &Name, digest: &Digest) -> bool {
        self.link(name, "_blobs", digest).exists() && self.blob_path(digest).exists()
    }

    /// Takes a blob's name out of a repository; its bytes go when nobody names them any more.
    pub fn delete_blob(&self, name: &Name, digest: &Digest) -> Result<()> {
        Ok(fs::remove_file(self.link(name, "_blobs", digest))?)
    }

    /// Names a blob of another repository in this one.
    pub fn mount(&self, name: &Name, digest: &Digest, from: &Name) -> Result<()> {
        let _naming = self.naming.read();
        if !self.has_blob(from, digest) {
            return Err(StoreError::NotFound);
        }
        self.write(&self.link(name, "_blobs", digest), b"")
    }

    /// Begins an upload.
    pub fn begin(&self, id: &str) -> Result<()> {
        File::create_new(self.upload_path(id))?;
        Ok(())
    }

    /// How many bytes of an upload there are.
    pub fn uploaded(&self, id: &str) -> Result<u64> {
        Ok(fs::metadata(self.upload_path(id))?.len())
    }

    /// The file of an upload, at its end; `at` is where the client believes that to be.
    pub fn resume(&self, id: &str, at: Option<u64>) -> Result<File> {
        let mut file = File::options().write(true).open(self.upload_path(id))?;
        let size = file.seek(SeekFrom::End(0))?;
        match at {
            Some(at) if at != size => Err(StoreError::Offset(size)),
            _ => Ok(file),
        }
    }

    /// Writes a piece of an upload.
    pub fn append(&self, file: &mut File, piece: &[u8]) -> Result<()> {
        let (size, begin) = (piece.len() as u64, file.stream_position()?);
        if self.used.fetch_add(size, Ordering::Relaxed).saturating_add(size) > self.limit {
            self.used.fetch_sub(size, Ordering::Relaxed);
            return Err(StoreError::Full(self.limit));
        }
        file.write_all(piece).map_err(|error| {
            // What has got there goes with the upload.
            let written = file.stream_position().map_or(0, |end| end.saturating_sub(begin));
            self.used.fetch_sub(size.saturating_sub(written), Ordering::Relaxed);
            error.into()
        })
    }

    /// Ends an upload that nobody wants.
    pub fn cancel(&self, id: &str) -> Result<()> {
        let size = self.uploaded(id)?;
        fs::remove_file(self.upload_path(id))?;
        self.used.fetch_sub(size, Ordering::Relaxed);
        Ok(())
    }

    /// Makes a whole upload a blob of a repository, if it is what its digest says; else it is lost.
    pub fn finish(&self, name: &Name, id: &str, digest: &Digest) -> Result<()> {
        let path = self.upload_path(id);
        let mut file = File::open(&path)?;
        let mut context = digest.algorithm.context();
        let mut piece = vec![0; 128 * 1024];
        let mut size = 0;
        loop {
            let count = file.read(&mut piece)?;
            let Some(bytes) = piece.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
            context.update(bytes);
            size += count as u64;
        }
        let found = Digest::finish(digest.algorithm, context);
        if found != *digest {
            self.cancel(id)?;
            return Err(StoreError::Digest(found));
        }
        file.sync_all()?;
        let _naming = self.naming.read();
        let target = self.blob_path(digest);
        if target.exists() {
            fs::remove_file(&path)?;
            self.used.fetch_sub(size, Ordering::Relaxed);
        } else {
            create_parent(&target)?;
            fs::rename(&path, &target)?;
        }
        self.write(&self.link(name, "_blobs", digest), b"")
    }

    /// A manifest with its media type.
    pub fn manifest(&self, name: &Name, digest: &Digest) -> Result<(Vec<u8>, String)> {
        let media_type = fs::read_to_string(self.link(name, "_manifests", digest))?;
        Ok((fs::read(self.blob_path(digest))?, media_type))
    }

    /// Whether a repository has a manifest.
    pub fn has_manifest(&self, name: &Name, digest: &Digest) -> bool {
        self.link(name, "_manifests", digest).exists()
    }

    /// Stores a manifest, and that it refers to another one.
    pub fn put_manifest(
        &self,
        name: &Name,
        digest: &Digest,
        bytes: &[u8],
        media_type: &str,
        subject: Option<&Digest>,
    ) -> Result<()> {
        let _naming = self.naming.read();
        let path = self.blob_path(digest);
        if !path.exists() {
            let size = bytes.len() as u64;
            if self.used().saturating_add(size) > self.limit {
                return Err(StoreError::Full(self.limit));
            }
            self.write(&path, bytes)?;
            self.used.fetch_add(size, Ordering::Relaxed);
        }
        self.write(&self.link(name, "_manifests", digest), media_type.as_bytes())?;
        if let Some(subject) = subject {
            self.write(&self.referrer(name, subject, digest), b"")?;
        }
        Ok(())
    }

    /// Takes a manifest out of a repository, with all tags that name it.
    pub fn delete_manifest(&self, name: &Name, digest: &Digest, subject: Option<&Digest>) -> Result<()> {
        fs::remove_file(self.link(name, "_manifests", digest))?;
        if let Some(subject) = subject {
            let _ = fs::remove_file(self.referrer(name, subject, digest));
        }
        for tag in self.tags(name)? {
            if self.tag(name, &tag).is_ok_and(|tagged| tagged == *digest) {
                self.delete_tag(name, &tag)?;
            }
        }
        Ok(())
    }

    /// Notes that a manifest was asked for just now.
    pub fn touch(&self, name: &Name, digest: &Digest) -> Result<()> {
        let link = File::options().write(true).open(self.link(name, "_manifests", digest))?;
        Ok(link.set_modified(SystemTime::now())?)
    }

    /// Manifests that nobody has touched for `age`, the longest first.
    pub fn unused(&self, now: SystemTime, age: Duration) -> Vec<(Name, Digest)> {
        let mut all = Vec::new();
        for name in self.repositories().iter().filter_map(|name| name.parse::<Name>().ok()) {
            for digest in digests_in(&self.repository(&name).join("_manifests")) {
                let link = self.link(&name, "_manifests", &digest);
                let touched = link.metadata().and_then(|meta| meta.modified());
                if let Ok(touched) = touched
                    && now.duration_since(touched).is_ok_and(|unused| unused >= age)
                {
                    all.push((touched, name.clone(), digest));
                }
            }
        }
        all.sort_unstable();
        all.into_iter().map(|(_, name, digest)| (name, digest)).collect()
    }

    /// The digests of the manifests that refer to one.
    pub fn referrers(&self, name: &Name, subject: &Digest) -> Result<Vec<Digest>> {
        let folder = self.repository(name).join("_referrers").join(digest_path(subject));
        let mut all = digests_in(&folder);
        all.sort_unstable();
        Ok(all)
    }

    /// What a tag names.
    pub fn tag(&self, name: &Name, tag: &str) -> Result<Digest> {
        let text = fs::read_to_string(self.repository(name).join("_tags").join(tag))?;
        text.parse().map_err(|()| StoreError::NotFound)
    }

    /// Lets a tag name a manifest.
    pub fn put_tag(&self, name: &Name, tag: &str, digest: &Digest) -> Result<()> {
        self.write(&self.repository(name).join("_tags").join(tag), digest.to_string().as_bytes())
    }

    /// Takes a tag away.
    pub fn delete_tag(&self, name: &Name, tag: &str) -> Result<()> {
        Ok(fs::remove_file(self.repository(name).join("_tags").join(tag))?)
    }

    /// All tags of a repository.
    pub fn tags(&self, name: &Name) -> Result<Vec<String>> {
        let repository = self.repository(name);
        if !["_manifests", "_blobs"].iter().any(|folder| repository.join(folder).exists()) {
            return Err(StoreError::NotFound);
        }
        Ok(names_in(&repository.join("_tags")))
    }

    /// All repositories that have a manifest.
    pub fn repositories(&self) -> Vec<String> {
        let (root, mut found) = (self.root.join("repositories"), Vec::new());
        repositories(&root, &root, &mut found);
        found.retain(|name| {
            name.parse().is_ok_and(|name| !digests_in(&self.repository(&name).join("_manifests")).is_empty())
        });
        found
    }

    /// Removes uploads that nobody goes on with, and blobs that no manifest needs, once they are older than `grace`.
    /// `needs` reads what a manifest needs. Answers how many bytes went.
    pub fn collect(
        &self,
        now: SystemTime,
        grace: Duration,
        needs: impl Fn(&[u8], &str) -> Vec<Digest>,
    ) -> io::Result<u64> {
        let old = |path: &Path| {
            let changed = path.metadata().and_then(|meta| meta.modified());
            changed.is_ok_and(|changed| now.duration_since(changed).is_ok_and(|age| age >= grace))
        };
        let mut freed = 0;
        let mut remove = |path: &Path| {
            let size = path.metadata().map_or(0, |meta| meta.len());
            if fs::remove_file(path).is_ok() {
                freed += size;
                self.used.fetch_sub(size, Ordering::Relaxed);
            }
        };
        for id in names_in(&self.root.join("uploads")) {
            let path = self.upload_path(&id);
            if old(&path) {
                remove(&path);
            }
        }
        let _alone = self.naming.write();
        let mut needed = std::collections::BTreeSet::new();
        let mut all = Vec::new();
        let root = self.root.join("repositories");
        repositories(&root, &root, &mut all);
        for name in all.iter().filter_map(|name| name.parse::<Name>().ok()) {
            let repository = self.repository(&name);
            let mut here = std::collections::BTreeSet::new();
            for digest in digests_in(&repository.join("_manifests")) {
                if let Ok((bytes, media_type)) = self.manifest(&name, &digest) {
                    here.extend(needs(&bytes, &media_type));
                }
                needed.insert(digest);
            }
            for digest in digests_in(&repository.join("_blobs")) {
                let link = self.link(&name, "_blobs", &digest);
                if here.contains(&digest) || !old(&link) {
                    needed.insert(digest);
                } else {
                    let _ = fs::remove_file(link);
                }
            }
        }
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            for part in names_in(&self.root.join("blobs").join(algorithm.as_str())) {
                for hex in names_in(&self.root.join("blobs").join(algorithm.as_str()).join(part)) {
                    let digest = Digest { algorithm, hex };
                    let path = self.blob_path(&digest);
                    if !needed.contains(&digest) && old(&path) {
                        remove(&path);
                    }
                }
            }
        }
        Ok(freed)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        create_parent(path)?;
        let aside = self.root.join("uploads").join(format!("write-{}", uuid::Uuid::new_v4()));
        let written = File::create_new(&aside).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&aside, path)
        });
        if written.is_err() {
            let _ = fs::remove_file(&aside);
        }
        Ok(written?)
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        let part = digest.hex.get(..2).unwrap_or_default();
        self.root.join("blobs").join(digest.algorithm.as_str()).join(part).join(&digest.hex)
    }

    fn upload_path(&self, id: &str) -> PathBuf {
        self.root.join("uploads").join(id)
    }

    fn repository(&self, name: &Name) -> PathBuf {
        self.root.join("repositories").join(name.as_str())
    }

    fn link(&self, name: &Name, kind: &str, digest: &Digest) -> PathBuf {
        self.repository(name).join(kind).join(digest_path(digest))
    }

    fn referrer(&self, name: &Name, subject: &Digest, digest: &Digest) -> PathBuf {
        self.repository(name).join("_referrers").join(digest_path(subject)).join(digest_path(digest))
    }
}

fn digest_path(digest: &Digest) -> PathBuf {
    Path::new(digest.algorithm.as_str()).join(&digest.hex)
}

fn create_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn digests_in(folder: &Path) -> Vec<Digest> {
    let of = |algorithm: Algorithm| {
        let names = names_in(&folder.join(algorithm.as_str()));
        names.into_iter().filter_map(move |hex| format!("{}:{hex}", algorithm.as_str()).parse().ok())
    };
    of(Algorithm::Sha256).chain(of(Algorithm::Sha512)).collect()
}

fn repositories(root: &Path, folder: &Path, found: &mut Vec<String>) {
    for name in names_in(folder) {
        let path = folder.join(&name);
        if name.starts_with('_') {
            let relative =
                folder.strip_prefix(root).ok().and_then(Path::to_str).unwrap_or_default().to_owned();
            if !relative.is_empty() && found.last() != Some(&relative) && !found.contains(&relative) {
                found.push(relative);
            }
        } else if path.is_dir() {
            repositories(root, &path, found);
        }
    }
}

fn walk(folder: &Path, see: &mut impl FnMut(&Path)) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), see)?;
        } else {
            see(&entry.path());
        }
    }
    Ok(())
}
