//! The log: a thread that writes, and a bounded queue before it. Requests that wait for it share its writes.

use super::delivery::{Delivery, Receipt, Throttle};
use super::event::Event;
use super::rotating_file::RotatingFile;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Memory that waiting events may hold.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;
/// What is written at a time.
const BATCH_BYTES: usize = 256 * 1024;

/// Where the log goes, and how long it is kept. Zero is no limit.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The file; `-` is standard output.
    pub path: PathBuf,
    /// Days that old files are kept.
    pub max_age_days: u32,
    /// Old files that are kept.
    pub max_backups: u32,
    /// Size at which a new file is begun, in megabytes (zero: 100).
    pub max_size_megabytes: u32,
    /// How events get there. None waits for others: what is there when the log is free is written.
    pub delivery: Delivery,
}

enum Message {
    Event(Box<Event>, usize, Option<Receipt>),
    Flush(oneshot::Sender<()>),
}

/// The queue before the log's thread.
pub(super) struct Log {
    sender: Option<mpsc::Sender<Message>>,
    pending: Arc<AtomicUsize>,
    failed: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Log {
    /// Opens the log and starts its thread.
    pub(super) fn open(options: LogOptions) -> std::io::Result<Self> {
        let delivery = options.delivery.clone();
        let mut out: Box<dyn Write + Send> = if options.path.as_os_str() == "-" {
            Box::new(std::io::stdout())
        } else {
            Box::new(RotatingFile::open(options)?)
        };
        let (sender, mut receiver) = mpsc::channel(delivery.buffer_size.max(1));
        let (pending, failed) = (Arc::<AtomicUsize>::default(), Arc::<AtomicU64>::default());
        let (released, lost) = (Arc::clone(&pending), Arc::clone(&failed));
        let thread = std::thread::Builder::new()
            .name("knarr-audit".to_owned())
            .spawn(move || run(&mut receiver, &mut *out, &delivery, &released, &lost))?;
        Ok(Self { sender: Some(sender), pending, failed, thread: Some(thread) })
    }

    /// Queues an event. Returns whether there was room; without it the receipt is dropped.
    pub(super) fn send(&self, event: Event, receipt: Option<Receipt>) -> bool {
        let size = event.size();
        if self.pending.fetch_add(size, Ordering::Relaxed) > QUEUE_BYTES {
            self.pending.fetch_sub(size, Ordering::Relaxed);
            return false;
        }
        let message = Message::Event(Box::new(event), size, receipt);
        let sent = self.sender.as_ref().is_some_and(|sender| sender.try_send(message).is_ok());
        if !sent {
            self.pending.fetch_sub(size, Ordering::Relaxed);
        }
        sent
    }

    /// Events that could not be written.
    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Waits until all that was queued before is written.
    pub(super) async fn flush(&self) {
        let (answer, answered) = oneshot::channel();
        if let Some(sender) = &self.sender
            && sender.send(Message::Flush(answer)).await.is_ok()
        {
            // An error is a thread that has ended: there is nothing left to write.
            let _ = answered.await;
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // The thread writes what is left and ends.
        self.sender = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the audit log's thread ended abnormally");
        }
    }
}

fn run(
    receiver: &mut mpsc::Receiver<Message>,
    out: &mut dyn Write,
    delivery: &Delivery,
    pending: &AtomicUsize,
    failed: &AtomicU64,
) {
    let mut throttle =
        delivery.throttle.filter(|_| !delivery.blocks()).map(|(rate, burst)| Throttle::new(rate, burst));
    let most = if delivery.blocks() { usize::MAX } else { delivery.max_batch_size };
    let most_bytes =
        delivery.truncation.map_or(BATCH_BYTES, |truncation| truncation.max_batch_bytes.min(BATCH_BYTES));
    let mut batch = Vec::new();
    while let Some(first) = receiver.blocking_recv() {
        if let Some(throttle) = &mut throttle {
            std::thread::sleep(throttle.reserve(tokio::time::Instant::now()));
        }
        let (mut next, mut count, mut size) = (Some(first), 0, 0);
        let (mut flushed, mut receipts) = (Vec::new(), Vec::new());
        while let Some(message) = next.take() {
            match message {
                Message::Event(event, bytes, receipt) => {
                    size += bytes;
                    if event.write(&mut batch, delivery.event_limit()) {
                        count += 1;
                        receipts.extend(receipt);
                    } else {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Message::Flush(answer) => flushed.push(answer),
            }
            if batch.len() < most_bytes && count < most {
                next = receiver.try_recv().ok();
            }
        }
        let written = out.write_all(&batch).and_then(|()| out.flush());
        if let Err(error) = &written {
            failed.fetch_add(count as u64, Ordering::Relaxed);
            tracing::error!(%error, events = count, "cannot write the audit log");
        }
        pending.fetch_sub(size, Ordering::Relaxed);
        batch.clear();
        batch.shrink_to(BATCH_BYTES);
        // Whoever waited may have gone.
        for receipt in receipts {
            let _ = receipt.send(written.is_ok());
        }
        for answer in flushed {
            let _ = answer.send(());
        }
    }
}
