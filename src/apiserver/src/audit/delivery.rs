//! How events get to where they are kept: whether requests wait for that, and how much is sent at a time.
//!
//! Upstream counterpart: `k8s.io/apiserver/plugin/pkg/audit/{buffered,truncate}` and its options.

use std::str::FromStr;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Whether requests wait until their events are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// They do not; events are sent many at a time.
    #[default]
    Batch,
    /// They do, and go on when events are lost.
    Blocking,
    /// They do, and fail when it cannot be kept that they were received.
    BlockingStrict,
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "batch" => Ok(Self::Batch),
            "blocking" => Ok(Self::Blocking),
            "blocking-strict" => Ok(Self::BlockingStrict),
            other => {
                Err(format!("invalid mode {other:?}, allowed modes are batch, blocking and blocking-strict"))
            }
        }
    }
}

/// How large what is sent may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncation {
    /// Bytes of one event: a larger one is sent without its objects, and lost if that does not help.
    pub max_event_bytes: usize,
    /// Bytes of the events of one batch.
    pub max_batch_bytes: usize,
}

impl Default for Truncation {
    /// Upstream's.
    fn default() -> Self {
        Self { max_event_bytes: 100 * 1024, max_batch_bytes: 10 * 1024 * 1024 }
    }
}

/// How events are sent.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Whether requests wait for it.
    pub mode: Mode,
    /// Events that may wait; what comes then is lost.
    pub buffer_size: usize,
    /// Events of one batch.
    pub max_batch_size: usize,
    /// How long the first event of a batch waits for others.
    pub max_batch_wait: Duration,
    /// Batches a second, and how many at once when there were fewer before; none for no limit.
    pub throttle: Option<(f64, u32)>,
    /// Bounds in bytes; none for no bounds.
    pub truncation: Option<Truncation>,
}

impl Delivery {
    /// To a webhook, with upstream's defaults.
    pub fn to_webhook() -> Self {
        Self {
            mode: Mode::Batch,
            buffer_size: 10_000,
            max_batch_size: 400,
            max_batch_wait: Duration::from_secs(30),
            throttle: Some((10.0, 15)),
            truncation: None,
        }
    }

    /// To a file, with upstream's defaults.
    pub fn to_log() -> Self {
        Self { mode: Mode::Blocking, throttle: None, ..Self::to_webhook() }
    }

    /// Whether requests wait.
    pub(super) fn blocks(&self) -> bool {
        self.mode != Mode::Batch
    }

    /// The largest event in bytes.
    pub(super) fn event_limit(&self) -> Option<usize> {
        self.truncation.map(|truncation| truncation.max_event_bytes)
    }
}

/// Where it is told that an event is kept (`true`) or lost.
pub(super) type Receipt = oneshot::Sender<bool>;

/// What a request may wait for.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Pending {
    /// With whether the request depends on it.
    receipts: Vec<(oneshot::Receiver<bool>, bool)>,
}

impl Pending {
    /// What the receiver of an event tells to whom; nothing where nobody waits.
    pub(super) fn receipt(&mut self, mode: Mode) -> Option<Receipt> {
        if mode == Mode::Batch {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        self.receipts.push((receiver, mode == Mode::BlockingStrict));
        Some(sender)
    }

    /// Waits. Returns whether everything is kept that the request depends on.
    pub(crate) async fn wait(self) -> bool {
        let mut kept = true;
        for (receiver, strict) in self.receipts {
            // A sender that is dropped had no room for the event.
            kept &= receiver.await.unwrap_or(false) || !strict;
        }
        kept
    }
}

/// A token bucket.
pub(super) struct Throttle {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Option<Instant>,
}

impl Throttle {
    pub(super) fn new(rate: f64, burst: u32) -> Self {
        let burst = f64::from(burst.max(1));
        Self { rate: rate.max(f64::MIN_POSITIVE), burst, tokens: burst, at: None }
    }

    /// Takes a token; returns how long to wait for it.
    pub(super) fn reserve(&mut self, now: Instant) -> Duration {
        let elapsed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.at = Some(now);
        self.tokens = (self.tokens + elapsed.as_secs_f64() * self.rate).min(self.burst) - 1.0;
        if self.tokens >= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(-self.tokens / self.rate).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn batches_are_throttled_beyond_a_burst() {
        let mut throttle = Throttle::new(10.0, 2);
        let now = Instant::now();
        let waits: Vec<u128> = (0..4).map(|_| throttle.reserve(now).as_millis()).collect();
        assert_eq!(waits, [0, 0, 100, 200]);
    }

    #[tokio::test]
    async fn a_request_depends_on_what_is_strict_only() {
        assert!(Pending::default().wait().await);
        for (mode, told, goes_on) in [
            (Mode::Blocking, Some(false), true),
            (Mode::Blocking, None, true),
            (Mode::BlockingStrict, Some(true), true),
            (Mode::BlockingStrict, Some(false), false),
            (Mode::BlockingStrict, None, false),
        ] {
            let mut pending = Pending::default();
            let receipt = pending.receipt(mode).unwrap();
            match told {
                Some(kept) => receipt.send(kept).unwrap(),
                None => drop(receipt),
            }
            assert_eq!(pending.wait().await, goes_on, "{mode:?} {told:?}");
        }
        assert!(Pending::default().receipt(Mode::Batch).is_none());
    }
}
