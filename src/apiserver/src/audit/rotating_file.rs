//! A file that makes room for a new one when it is full, named and kept as upstream's logs are.

use super::log::LogOptions;
use jiff::{SignedDuration, Timestamp};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// What a file may hold when nothing else is said.
const DEFAULT_MEGABYTES: u32 = 100;
/// The time in the name of an old file.
const STAMP: &str = "%Y-%m-%dT%H-%M-%S.%3f";

/// A log file.
pub(super) struct RotatingFile {
    options: LogOptions,
    max_bytes: u64,
    file: File,
    size: u64,
}

impl RotatingFile {
    /// Opens a file to append to it; makes its directory.
    pub(super) fn open(options: LogOptions) -> io::Result<Self> {
        if let Some(parent) = options.path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent)?;
        }
        let megabytes = match options.max_size_megabytes {
            0 => DEFAULT_MEGABYTES,
            given => given,
        };
        let file = append(&options.path)?;
        let size = file.metadata()?.len();
        Ok(Self { max_bytes: u64::from(megabytes) * 1024 * 1024, options, file, size })
    }

    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        let (stem, extension) = self.name();
        let mut stamp = now;
        // Two within a millisecond: only when files are tiny, but nothing may be overwritten.
        let aside = loop {
            let name = format!("{stem}-{}{extension}", stamp.strftime(STAMP));
            let aside = self.options.path.with_file_name(name);
            if !aside.exists() {
                break aside;
            }
            stamp += SignedDuration::from_millis(1);
        };
        fs::rename(&self.options.path, aside)?;
        self.file = append(&self.options.path)?;
        self.size = 0;
        self.tidy(now);
        Ok(())
    }

    /// Removes old files that nobody wants to keep.
    fn tidy(&self, now: Timestamp) {
        let mut old = self.backups();
        // Newest first.
        old.sort_by(|(a, _), (b, _)| b.cmp(a));
        let age = SignedDuration::from_hours(24 * i64::from(self.options.max_age_days));
        for (n, (stamp, path)) in old.iter().enumerate() {
            let too_many = self.options.max_backups > 0 && n >= self.options.max_backups as usize;
            let too_old = self.options.max_age_days > 0 && now.duration_since(*stamp) > age;
            if (too_many || too_old)
                && let Err(error) = fs::remove_file(path)
            {
                tracing::warn!(%error, path = %path.display(), "cannot remove an old audit log");
            }
        }
    }

    fn backups(&self) -> Vec<(Timestamp, PathBuf)> {
        let (stem, extension) = self.name();
        let directory = self.options.path.parent().filter(|p| !p.as_os_str().is_empty());
        let Ok(entries) = fs::read_dir(directory.unwrap_or(Path::new("."))) else { return Vec::new() };
        let stamp = |name: &str| {
            let stamp = name.strip_prefix(&stem)?.strip_prefix('-')?.strip_suffix(&extension)?;
            let parsed = jiff::civil::DateTime::strptime(STAMP, stamp).ok()?;
            parsed.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
        };
        entries.flatten().filter_map(|e| Some((stamp(e.file_name().to_str()?)?, e.path()))).collect()
    }

    /// The name without and the extension with its dot.
    fn name(&self) -> (String, String) {
        let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let extension = match text(self.options.path.extension()) {
            extension if extension.is_empty() => extension,
            extension => format!(".{extension}"),
        };
        (text(self.options.path.file_stem()), extension)
    }
}

impl Write for RotatingFile {
    /// Writes all of it into one file: lines are not torn apart.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.size > 0 && self.size + bytes.len() as u64 > self.max_bytes {
            self.rotate(Timestamp::now())?;
        }
        self.file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_is_put_aside_and_old_ones_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let ancient = directory.path().join("audit-2001-01-01T00-00-00.000.log");
        fs::write(&ancient, "x").unwrap();
        fs::write(directory.path().join("audit-of-mine.log"), "x").unwrap();
        let options = LogOptions {
            path: directory.path().join("audit.log"),
            max_age_days: 1,
            max_backups: 2,
            max_size_megabytes: 1,
            delivery: super::super::delivery::Delivery::to_log(),
        };
        let mut log = RotatingFile::open(options.clone()).unwrap();
        let line = vec![b'x'; 700 * 1024];
        for _ in 0..5 {
            log.write_all(&line).unwrap();
        }
        assert!(!ancient.exists());
        let names = files(directory.path());
        // The file, two before it, and what is none of ours.
        assert_eq!(names.len(), 4, "{names:?}");
        assert!(names.contains(&"audit-of-mine.log".to_owned()));
        drop(log);
        // What is there is gone on with.
        RotatingFile::open(options).unwrap().write_all(b"y").unwrap();
        assert_eq!(fs::metadata(directory.path().join("audit.log")).unwrap().len(), 700 * 1024 + 1);
    }
}
