//! The archive: a tar whose first member is the manifest, which names all others with their sums.
//!
//! It comes in two forms: compressed (gzip), as backups are kept; and plain with its SHA-256 at the end, as etcd's clients
//! expect a snapshot.

use crate::manifest::{FORMAT, Manifest, MemberEntry, Version};
use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The manifest's name in the archive.
const MANIFEST: &str = "manifest.json";

/// Far more than any manifest has; what claims to be larger is none.
const MAX_MANIFEST: u64 = 16 << 20;

/// The SHA-256 behind a plain archive, in bytes.
const SUM: usize = 32;

/// A tar's unit.
const BLOCK: u64 = 512;

/// What goes into an archive.
#[derive(Debug)]
pub struct Member {
    /// Its path in the archive, without `..` and not absolute.
    pub name: String,
    /// Where it comes from.
    pub source: PathBuf,
    /// Where it belongs, if that is outside the data directory.
    pub path: Option<String>,
}

/// The form of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Compressed.
    Gzip,
    /// As it is, with its SHA-256 (32 bytes) behind it.
    Summed,
}

/// Why an archive was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It ends early, or something in it is not what it should be.
    #[error(
        "the backup is damaged or cut off: {0}; take another one, or copy it again from where it is kept"
    )]
    Damaged(String),
    /// It is something else.
    #[error("this is no backup of Knarr: {0}")]
    Foreign(String),
    /// It was made by a newer version.
    #[error(
        "the backup was made by Knarr {theirs}, this is {ours}; install {theirs} or newer, then restore again"
    )]
    Newer {
        /// The version that made it.
        theirs: String,
        /// This version.
        ours: String,
    },
    /// Files could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which one.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// Writes an archive of these members. What the manifest says of the archive itself is filled in.
///
/// # Errors
/// When a member cannot be read, changes meanwhile, or the output does not take it.
///
/// # Cost
/// Each member is read twice.
pub fn write(mut manifest: Manifest, members: &[Member], form: Form, output: impl Write) -> io::Result<()> {
    manifest.format_version = FORMAT;
    manifest.members = members.iter().map(entry).collect::<io::Result<_>>()?;
    match form {
        Form::Gzip => {
            let mut output = GzEncoder::new(output, Compression::fast());
            write_tar(&manifest, members, &mut output)?;
            output.finish()?.flush()
        }
        Form::Summed => {
            let mut output = Summing { inner: output, hash: Sha256::new() };
            write_tar(&manifest, members, &mut output)?;
            let Summing { mut inner, hash } = output;
            inner.write_all(&hash.finalize())?;
            inner.flush()
        }
    }
}

fn entry(member: &Member) -> io::Result<MemberEntry> {
    let (size, sha256) = copy_summed(&mut open(&member.source)?, &mut io::sink())?;
    Ok(MemberEntry { name: member.name.clone(), size, sha256, path: member.path.clone() })
}

fn open(path: &Path) -> io::Result<File> {
    File::open(path).map_err(|e| io::Error::new(e.kind(), format!("cannot read {}: {e}", path.display())))
}

fn write_tar(manifest: &Manifest, members: &[Member], output: &mut impl Write) -> io::Result<()> {
    let mut tar = tar::Builder::new(output);
    let text = serde_json::to_vec_pretty(manifest)?;
    tar.append_data(&mut header(text.len() as u64), MANIFEST, &*text)?;
    for (member, entry) in members.iter().zip(&manifest.members) {
        // Exactly as long as announced, or the archive would be none.
        let mut source = Counted { inner: open(&member.source)?.take(entry.size), count: 0 };
        tar.append_data(&mut header(entry.size), &member.name, &mut source)?;
        if source.count != entry.size {
            return Err(io::Error::other(format!("{} became shorter meanwhile", member.source.display())));
        }
    }
    tar.finish()
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o600);
    header.set_entry_type(tar::EntryType::Regular);
    header
}

/// Unpacks an archive into a new folder that only its owner may look into, and compares every member with its sum.
///
/// # Errors
/// [`UnpackError`]; what was unpacked so far is left in the folder and is not to be used.
pub fn unpack(input: impl Read, ours: &str, folder: &Path) -> Result<Manifest, UnpackError> {
    let made = std::fs::DirBuilder::new().mode(0o700).create(folder);
    made.map_err(|source| UnpackError::Write { path: folder.to_owned(), source })?;
    let mut input = BufReader::with_capacity(1 << 16, input);
    let start = input.fill_buf().map_err(damaged)?;
    if start.is_empty() {
        return Err(UnpackError::Damaged("it is empty".into()));
    }
    if start.starts_with(&[0x1f, 0x8b]) {
        let mut plain = GzDecoder::new(input);
        let manifest = unpack_tar(&mut plain, ours, folder)?;
        // To its end: the last bytes say whether the others were right.
        drain(&mut plain)?;
        if !plain.into_inner().fill_buf().map_err(damaged)?.is_empty() {
            return Err(UnpackError::Damaged("something follows its end".into()));
        }
        return Ok(manifest);
    }
    let mut plain = Trailed::new(input);
    let manifest = unpack_tar(&mut plain, ours, folder)?;
    drain(&mut plain)?;
    plain.check()?;
    Ok(manifest)
}

fn unpack_tar(input: &mut impl Read, ours: &str, folder: &Path) -> Result<Manifest, UnpackError> {
    let mut tar = tar::Archive::new(input);
    let mut entries = tar.entries().map_err(foreign)?;
    let first = entries.next().ok_or_else(|| UnpackError::Foreign("there is nothing in it".into()))?;
    let manifest = read_manifest(&mut first.map_err(foreign)?, ours)?;
    let mut expected = manifest.members.iter();
    for member in entries {
        let mut member = member.map_err(damaged)?;
        let name = member.path().map_err(damaged)?.to_string_lossy().into_owned();
        let Some(entry) = expected.next().filter(|entry| entry.name == name) else {
            return Err(UnpackError::Damaged(format!("{name} is not expected where it is")));
        };
        let path = folder.join(safe(&name)?);
        let failed = |source| UnpackError::Write { path: path.clone(), source };
        if let Some(parent) = path.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed)?;
        }
        let made = File::options().write(true).create_new(true).mode(0o600).open(&path);
        let mut file = made.map_err(failed)?;
        let (size, sha256) = transfer(&mut member, &mut file).map_err(|error| match error {
            Transfer::Read(error) => damaged(error),
            Transfer::Write(source) => failed(source),
        })?;
        if (size, &sha256) != (entry.size, &entry.sha256) {
            return Err(UnpackError::Damaged(format!("{name} is not what was put in")));
        }
        file.sync_all().map_err(failed)?;
    }
    match expected.next() {
        Some(missing) => Err(UnpackError::Damaged(format!("{} is missing", missing.name))),
        None => Ok(manifest),
    }
}

fn read_manifest(member: &mut impl Named, ours: &str) -> Result<Manifest, UnpackError> {
    let name = member.name().map_err(foreign)?;
    if name != MANIFEST {
        return Err(UnpackError::Foreign(format!("it begins with {name}, not with {MANIFEST}")));
    }
    let mut text = Vec::new();
    member.take(MAX_MANIFEST).read_to_end(&mut text).map_err(damaged)?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| UnpackError::Damaged(format!("its manifest cannot be read ({error})")))?;
    let newer = || UnpackError::Newer { theirs: manifest.knarr_version.clone(), ours: ours.to_owned() };
    let version = |text: &str| text.parse::<Version>().map_err(UnpackError::Damaged);
    if manifest.format_version > FORMAT || version(&manifest.knarr_version)? > version(ours)? {
        return Err(newer());
    }
    Ok(manifest)
}

/// The path below a folder that a member's name stands for.
fn safe(name: &str) -> Result<&Path, UnpackError> {
    let path = Path::new(name);
    let plain = |part| matches!(part, std::path::Component::Normal(_));
    if name.is_empty() || !path.components().all(plain) {
        return Err(UnpackError::Damaged(format!("{name:?} is no name of a member")));
    }
    Ok(path)
}

fn damaged(error: io::Error) -> UnpackError {
    UnpackError::Damaged(error.to_string())
}

fn foreign(error: io::Error) -> UnpackError {
    UnpackError::Foreign(error.to_string())
}

fn drain(input: &mut impl Read) -> Result<(), UnpackError> {
    io::copy(input, &mut io::sink()).map(drop).map_err(damaged)
}

enum Transfer {
    Read(io::Error),
    Write(io::Error),
}

fn transfer(from: &mut impl Read, to: &mut impl Write) -> Result<(u64, String), Transfer> {
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 16]);
    loop {
        let count = from.read(&mut buffer).map_err(Transfer::Read)?;
        let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else { break };
        hash.update(read);
        to.write_all(read).map_err(Transfer::Write)?;
        size += count as u64;
    }
    Ok((size, hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}

fn copy_summed(from: &mut impl Read, to: &mut impl Write) -> io::Result<(u64, String)> {
    transfer(from, to).map_err(|(Transfer::Read(error) | Transfer::Write(error))| error)
}

/// A member that knows its name.
trait Named: Read {
    fn name(&self) -> io::Result<String>;
}

impl<R: Read> Named for tar::Entry<'_, R> {
    fn name(&self) -> io::Result<String> {
        Ok(self.path()?.to_string_lossy().into_owned())
    }
}

struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}

struct Summing<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hash.update(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Reads all but the last bytes, which are the sum of what is before them.
struct Trailed<R> {
    inner: R,
    /// Read, but perhaps the end.
    held: Vec<u8>,
    hash: Sha256,
    size: u64,
}

impl<R: BufRead> Trailed<R> {
    fn new(inner: R) -> Self {
        Self { inner, held: Vec::new(), hash: Sha256::new(), size: 0 }
    }

    fn check(self) -> Result<(), UnpackError> {
        if !self.size.is_multiple_of(BLOCK) || self.hash.finalize().as_slice() != self.held {
            return Err(UnpackError::Damaged("its sum is not that of its content".into()));
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Trailed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.held.len() <= SUM {
            let more = self.inner.fill_buf()?;
            let count = more.len();
            if count == 0 {
                return Ok(0);
            }
            self.held.extend_from_slice(more);
            self.inner.consume(count);
        }
        let count = (self.held.len() - SUM).min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(self.held.drain(..count)) {
            *to = from;
        }
        self.hash.update(buffer.get(..count).unwrap_or_default());
        self.size += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
