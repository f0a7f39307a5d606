//! The simulated network: messages that are late, lost, doubled, out of order, or cut off.

use crate::{disk, trace};
use async_trait::async_trait;
use bytes::Bytes;
use datastore::raft::{Peer, Transport, TransportError};
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::oneshot;

type Answer = Result<Bytes, TransportError>;
/// Where the answer of a call goes; the first one counts.
type Slot = Arc<Mutex<Option<oneshot::Sender<Answer>>>>;

/// A call that has arrived at a node.
pub(crate) struct Arrival {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) request: Bytes,
    call: u64,
}

enum Body {
    Request { bytes: Bytes, call: u64 },
    Answer { answer: Answer, slot: Slot },
}

struct Message {
    from: usize,
    to: usize,
    body: Body,
}

/// The network. All nodes share it.
pub(crate) struct Network {
    random: StdRng,
    /// By the time of arrival.
    queue: BTreeMap<(u64, u64), Message>,
    next: u64,
    calls: BTreeMap<u64, (usize, usize, Slot)>,
    /// From, to.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    /// In a thousand.
    pub(crate) loss: u32,
    /// In a thousand.
    pub(crate) doubled: u32,
    /// Milliseconds.
    pub(crate) delay: (u64, u64),
}

pub(crate) type Shared = Arc<Mutex<Network>>;

/// Nodes are n1, n2, ...
pub(crate) fn address(index: usize) -> String {
    format!("n{}", index + 1)
}

fn index(address: &str) -> Option<usize> {
    address.strip_prefix('n')?.parse::<usize>().ok()?.checked_sub(1)
}

impl Network {
    pub(crate) fn new(random: StdRng) -> Shared {
        Arc::new(Mutex::new(Self {
            random,
            queue: BTreeMap::new(),
            next: 0,
            calls: BTreeMap::new(),
            cut: BTreeSet::new(),
            loss: 0,
            doubled: 0,
            delay: (0, 2),
        }))
    }

    fn push(&mut self, after: u64, message: Message) {
        self.next += 1;
        self.queue.insert((trace::now() + after, self.next), message);
    }

    fn lag(&mut self) -> u64 {
        let (low, high) = self.delay;
        let usual = self.random.random_range(low..=high);
        // Now and then one is overtaken by many.
        if self.random.random_ratio(1, 100) { usual * 10 + 5 } else { usual }
    }

    fn lost(&mut self, from: usize, to: usize) -> bool {
        self.cut.contains(&(from, to)) || self.random.random_ratio(self.loss, 1000)
    }

    fn fail(&mut self, (from, to): (usize, usize), within: (u64, u64), error: TransportError, slot: Slot) {
        let after = self.random.random_range(within.0..=within.1);
        self.push(after, Message { from, to, body: Body::Answer { answer: Err(error), slot } });
    }

    fn send(&mut self, from: usize, to: usize, bytes: &Bytes) -> oneshot::Receiver<Answer> {
        let (tell, told) = oneshot::channel();
        let slot: Slot = Arc::new(Mutex::new(Some(tell)));
        let copies = 1 + u64::from(self.random.random_ratio(self.doubled, 1000));
        for _ in 0..copies {
            if self.lost(from, to) {
                let error = TransportError::NoAnswer("the connection broke".into());
                self.fail((to, from), (20, 1500), error, Arc::clone(&slot));
                continue;
            }
            self.next += 1;
            let call = self.next;
            self.calls.insert(call, (from, to, Arc::clone(&slot)));
            let after = self.lag();
            self.push(after, Message { from, to, body: Body::Request { bytes: bytes.clone(), call } });
        }
        told
    }

    /// A node has answered.
    pub(crate) fn reply(&mut self, arrival: &Arrival, reply: Bytes) {
        let Some((from, to, slot)) = self.calls.remove(&arrival.call) else { return };
        if self.lost(to, from) {
            let error = TransportError::NoAnswer("the connection broke".into());
            return self.fail((to, from), (20, 1500), error, slot);
        }
        let after = self.lag();
        self.push(after, Message { from: to, to: from, body: Body::Answer { answer: Ok(reply), slot } });
    }

    /// Nobody is there.
    pub(crate) fn refuse(&mut self, arrival: &Arrival) {
        let Some((from, to, slot)) = self.calls.remove(&arrival.call) else { return };
        let error = TransportError::Unreachable("nobody listens".into());
        self.fail((to, from), (0, 5), error, slot);
    }

    /// A node has died: its connections break, sooner or later.
    pub(crate) fn hang_up(&mut self, node: usize) {
        let broken: Vec<u64> =
            self.calls.iter().filter(|(_, (_, to, _))| *to == node).map(|(call, _)| *call).collect();
        for call in broken {
            if let Some((from, to, slot)) = self.calls.remove(&call) {
                let error = TransportError::NoAnswer("the connection broke".into());
                self.fail((to, from), (1, 2000), error, slot);
            }
        }
    }

    /// What arrives now. Answers go where they belong; requests are returned.
    pub(crate) fn arrivals(&mut self) -> Vec<Arrival> {
        let mut arrivals = Vec::new();
        while let Some(first) = self.queue.first_entry() {
            if first.key().0 > trace::now() {
                break;
            }
            let Message { from, to, body } = first.remove();
            match body {
                Body::Request { bytes, call } => {
                    if self.calls.contains_key(&call) {
                        arrivals.push(Arrival { from, to, request: bytes, call });
                    }
                }
                Body::Answer { answer, slot } => {
                    let tell = slot.lock().take();
                    if let Some(tell) = tell {
                        let length = answer.as_ref().map_or(0, Bytes::len);
                        trace::event(format_args!("n{} -> n{} answer {length}", from + 1, to + 1));
                        // Whoever asked may have given up.
                        let _ = tell.send(answer);
                    }
                }
            }
        }
        arrivals
    }
}

/// One node's way into the network.
pub(crate) struct Line {
    pub(crate) from: usize,
    pub(crate) network: Shared,
    /// The node's directory.
    pub(crate) directory: PathBuf,
}

#[async_trait]
impl Transport for Line {
    async fn call(&self, to: &Peer, request: Bytes) -> Result<Bytes, TransportError> {
        let unreachable = || TransportError::Unreachable("no such node".into());
        let to = index(&to.member.address).ok_or_else(unreachable)?;
        // A node that has died in the middle of this moment says nothing any more.
        if disk::of(&self.directory).is_some_and(|disk| disk.dead.get()) {
            std::future::pending::<()>().await;
        }
        let told = self.network.lock().send(self.from, to, &request);
        told.await.unwrap_or_else(|_| Err(TransportError::NoAnswer("the connection broke".into())))
    }
}
