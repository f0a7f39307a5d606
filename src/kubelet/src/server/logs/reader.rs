//! Reads a log, follows it, survives its rotation.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::format::{Line, Stream};
use super::options::LogOptions;
use super::tail::start_of_tail;
use super::watch::Watch;

/// Read at a time.
const READ_BYTES: usize = 128 * 1024;
/// Runtimes split lines at 16 KiB; something longer than this is no log line.
const LONGEST_LINE_BYTES: usize = 1024 * 1024;

/// How often the runtime is asked whether the container still runs, however fast it writes.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// A log being read.
pub struct LogReader {
    path: PathBuf,
    file: File,
    options: LogOptions,
    /// Read, but not a whole line yet.
    rest: BytesMut,
    /// Bytes that may still be sent.
    left: Option<u64>,
    /// The last piece sent of each stream was partial: what follows is the same line.
    open_stdout: bool,
    open_stderr: bool,
}

impl LogReader {
    /// Opens a log and finds the place to begin.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn open(path: &Path, options: LogOptions) -> io::Result<Self> {
        let path = path.to_owned();
        let (tail, left) = (options.tail_lines, options.limit_bytes);
        let opening = move || {
            let mut file = File::open(&path)?;
            let start = match tail {
                Some(lines) => start_of_tail(&mut file, lines)?,
                None => 0,
            };
            file.seek(SeekFrom::Start(start))?;
            Ok::<_, io::Error>((path, file))
        };
        let (path, file) = tokio::task::spawn_blocking(opening).await.map_err(io::Error::other)??;
        Ok(Self { path, file, options, rest: BytesMut::new(), left, open_stdout: false, open_stderr: false })
    }

    /// Sends everything wanted, in chunks; with `follow`, until `running` says that the container has ended
    /// and the rest is read, or nobody listens.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn run(
        &mut self,
        sender: &mpsc::Sender<Bytes>,
        running: impl Fn() -> BoxFuture<'static, bool> + Send,
    ) -> io::Result<()> {
        // Before the first read, so that nothing written after it is missed.
        let mut watch = self.options.follow.then(|| Watch::new(&self.path));
        let mut asked: Option<Instant> = None;
        loop {
            // Asked before reading: what an ended container wrote is all there. Not at every line, though.
            let alive = match asked {
                _ if watch.is_none() => false,
                Some(asked) if asked.elapsed() < ASK_INTERVAL => true,
                _ => {
                    asked = Some(Instant::now());
                    running().await
                }
            };
            if !self.drain(sender).await? {
                return Ok(());
            }
            if self.reopen().await {
                continue;
            }
            match &mut watch {
                Some(watch) if alive => watch.changed().await,
                _ => return Ok(()),
            }
        }
    }

    /// Reads to the end of the file; false when nothing more is wanted.
    async fn drain(&mut self, sender: &mpsc::Sender<Bytes>) -> io::Result<bool> {
        loop {
            let mut file = self.file.try_clone()?;
            let mut buffer = Vec::with_capacity(READ_BYTES);
            let reading = move || {
                file.by_ref().take(READ_BYTES as u64).read_to_end(&mut buffer)?;
                Ok::<_, io::Error>(buffer)
            };
            let buffer = tokio::task::spawn_blocking(reading).await.map_err(io::Error::other)??;
            if buffer.is_empty() {
                return Ok(true);
            }
            self.rest.extend_from_slice(&buffer);
            let output = self.convert();
            if !output.is_empty() && sender.send(output).await.is_err() {
                return Ok(false);
            }
            if self.left == Some(0) {
                return Ok(false);
            }
        }
    }

    /// Converts the whole lines that were read.
    fn convert(&mut self) -> Bytes {
        let mut output = BytesMut::new();
        while let Some(at) = memchr::memchr(b'\n', &self.rest) {
            let line = self.rest.split_to(at + 1);
            if let Some(line) = line.get(..at).and_then(Line::parse) {
                self.append(&mut output, line);
            }
        }
        if self.rest.len() > LONGEST_LINE_BYTES {
            self.rest.clear();
        }
        if let Some(left) = &mut self.left {
            let most = usize::try_from(*left).unwrap_or(usize::MAX);
            output.truncate(most);
            *left -= output.len() as u64;
        }
        output.freeze()
    }

    fn append(&mut self, output: &mut BytesMut, line: Line<'_>) {
        if self.options.stream.is_some_and(|wanted| wanted != line.stream) {
            return;
        }
        if let Some(since) = self.options.since
            && line.timestamp().is_none_or(|time| time < since)
        {
            return;
        }
        let open = match line.stream {
            Stream::Stdout => &mut self.open_stdout,
            Stream::Stderr => &mut self.open_stderr,
        };
        if self.options.timestamps && !*open {
            output.extend_from_slice(line.time.as_bytes());
            output.extend_from_slice(b" ");
        }
        *open = line.partial;
        output.extend_from_slice(line.content);
        if !line.partial {
            output.extend_from_slice(b"\n");
        }
    }

    /// Goes on with the new file after a rotation; true if there was one. The old file was read to its end,
    /// and the runtime writes nothing more to it once the new one is there.
    async fn reopen(&mut self) -> bool {
        if !self.options.follow {
            return false;
        }
        let Ok(old) = self.file.metadata() else { return false };
        let path = self.path.clone();
        let opened = tokio::task::spawn_blocking(move || File::open(path)).await;
        let Ok(Ok(file)) = opened else { return false };
        let Ok(new) = file.metadata() else { return false };
        if (new.dev(), new.ino()) == (old.dev(), old.ino()) {
            return false;
        }
        // The runtime may have written to the old one between the read and the opening of the new one.
        if self.file.stream_position().is_ok_and(|position| position < old.len()) {
            return true;
        }
        self.file = file;
        self.rest.clear();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn line(second: u32, stream: &str, tag: &str, content: &str) -> String {
        format!("2026-01-01T00:00:{second:02}.000000000Z {stream} {tag} {content}\n")
    }

    async fn read(text: &str, options: LogOptions) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        std::fs::write(&path, text).unwrap();
        let (sender, mut receiver) = mpsc::channel(16);
        LogReader::open(&path, options)
            .await
            .unwrap()
            .run(&sender, || Box::pin(async { false }))
            .await
            .unwrap();
        drop(sender);
        let mut all = Vec::new();
        while let Some(chunk) = receiver.recv().await {
            all.extend_from_slice(&chunk);
        }
        String::from_utf8(all).unwrap()
    }

    fn example() -> String {
        [
            line(1, "stdout", "F", "one"),
            line(2, "stdout", "P", "tw"),
            line(3, "stdout", "F", "o"),
            line(4, "stderr", "F", "three"),
            "torn".into(),
        ]
        .concat()
    }

    #[tokio::test]
    async fn pieces_of_a_line_become_one_line_with_one_time() {
        assert_eq!(read(&example(), LogOptions::default()).await, "one\ntwo\nthree\n");
        let timestamps = LogOptions { timestamps: true, ..Default::default() };
        assert_eq!(
            read(&example(), timestamps).await,
            "2026-01-01T00:00:01.000000000Z one\n2026-01-01T00:00:02.000000000Z two\n\
             2026-01-01T00:00:04.000000000Z three\n"
        );
    }

    #[tokio::test]
    async fn tail_since_limit_and_stream_cut_the_log() {
        let options = LogOptions { tail_lines: Some(1), ..Default::default() };
        assert_eq!(read(&example(), options).await, "three\n");
        let since = Some("2026-01-01T00:00:04Z".parse().unwrap());
        assert_eq!(read(&example(), LogOptions { since, ..Default::default() }).await, "three\n");
        let options = LogOptions { limit_bytes: Some(6), ..Default::default() };
        assert_eq!(read(&example(), options).await, "one\ntw");
        let options = LogOptions { stream: Some(Stream::Stderr), ..Default::default() };
        assert_eq!(read(&example(), options).await, "three\n");
    }

    #[tokio::test]
    async fn a_followed_log_goes_on_through_a_rotation_to_the_end_of_the_container() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        std::fs::write(&path, line(1, "stdout", "F", "one")).unwrap();
        let options = LogOptions { follow: true, ..Default::default() };
        let mut reader = LogReader::open(&path, options).await.unwrap();
        let (sender, mut receiver) = mpsc::channel(16);
        let running = std::sync::Arc::new(AtomicBool::new(true));
        let asked = running.clone();
        let task = tokio::spawn(async move {
            let running = move || -> BoxFuture<'static, bool> {
                let alive = asked.load(Ordering::SeqCst);
                Box::pin(async move { alive })
            };
            reader.run(&sender, running).await
        });
        assert_eq!(receiver.recv().await.unwrap(), "one\n");
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(line(2, "stdout", "F", "two").as_bytes()).unwrap();
        assert_eq!(receiver.recv().await.unwrap(), "two\n");
        std::fs::rename(&path, folder.path().join("0.log.1")).unwrap();
        file.write_all(line(3, "stdout", "F", "three").as_bytes()).unwrap();
        assert_eq!(receiver.recv().await.unwrap(), "three\n");
        std::fs::write(&path, line(4, "stdout", "F", "four")).unwrap();
        assert_eq!(receiver.recv().await.unwrap(), "four\n");
        running.store(false, Ordering::SeqCst);
        task.await.unwrap().unwrap();
        assert!(receiver.recv().await.is_none());
    }
}
