//! The machine's disk, beside what is measured.

use anyhow::Result;
use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks at how long the disk takes.
const LOOK: Duration = Duration::from_millis(10);

fn sync_once(file: &mut File) -> Result<Duration> {
    let begin = Instant::now();
    file.write_all(&[0; 4096])?;
    file.sync_data()?;
    Ok(begin.elapsed())
}

/// What the disk does in a second: the limit of writes that are not committed together.
pub fn fsyncs() -> Result<u64> {
    let mut file = tempfile::tempfile()?;
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < Duration::from_secs(1) {
        sync_once(&mut file)?;
        count += 1;
    }
    Ok(count)
}

/// A hand on the disk's pulse: a virtual one stands still now and then, and with it everybody who waits for a sync.
pub struct Pulse {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    syncs: Receiver<Duration>,
}

impl Pulse {
    /// Begins to sync a little again and again.
    pub fn feel() -> Result<Self> {
        let mut file = tempfile::tempfile()?;
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, syncs) = channel();
        let until = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                let Ok(took) = sync_once(&mut file) else { return };
                if tell.send(took).is_err() {
                    return;
                }
                std::thread::sleep(LOOK);
            }
        });
        Ok(Self { stop, thread: Some(thread), syncs })
    }

    /// The longest sync since this was asked last.
    pub fn longest(&self) -> Duration {
        self.syncs.try_iter().max().unwrap_or_default()
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It ends after its sync.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
