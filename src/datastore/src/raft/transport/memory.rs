//! Messages within one process, for tests and simulation, with faults to order.

use super::{Endpoint, Peer, Transport, TransportError};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Connects nodes by their addresses.
#[derive(Clone, Default)]
pub struct Switchboard(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    endpoints: HashMap<String, Weak<dyn Endpoint>>,
    /// From, to.
    cut: HashSet<(String, String)>,
    /// Replies that get lost on their way: from the node that answers to the one that asked.
    silenced: HashSet<(String, String)>,
    delay: Duration,
}

impl Switchboard {
    /// Connects what answers at an address, in place of what did before.
    pub fn attach(&self, address: &str, endpoint: &Arc<impl Endpoint>) {
        let endpoint = Arc::clone(endpoint) as Arc<dyn Endpoint>;
        self.0.lock().endpoints.insert(address.to_owned(), Arc::downgrade(&endpoint));
    }

    /// Takes the node at an address off the network.
    pub fn detach(&self, address: &str) {
        self.0.lock().endpoints.remove(address);
    }

    /// The transport of the node at an address.
    pub fn transport(&self, address: &str) -> Arc<dyn Transport> {
        Arc::new(Line { from: address.to_owned(), board: self.clone() })
    }

    /// Loses all requests from one address to another, or no longer.
    pub fn cut(&self, from: &str, to: &str, cut: bool) {
        let line = (from.to_owned(), to.to_owned());
        let mut state = self.0.lock();
        if cut {
            state.cut.insert(line)
        } else {
            state.cut.remove(&line)
        };
    }

    /// Separates an address from some others in both directions, or joins them again.
    pub fn part(&self, one: &str, others: &[&str], part: bool) {
        for other in others {
            self.cut(one, other, part);
            self.cut(other, one, part);
        }
    }

    /// Delivers requests from one address to another but loses the replies, or no longer.
    pub fn silence(&self, from: &str, to: &str, silence: bool) {
        let line = (to.to_owned(), from.to_owned());
        let mut state = self.0.lock();
        if silence {
            state.silenced.insert(line)
        } else {
            state.silenced.remove(&line)
        };
    }

    /// Delays every request.
    pub fn delay(&self, delay: Duration) {
        self.0.lock().delay = delay;
    }

    fn endpoint(&self, from: &str, to: &str) -> (Option<Arc<dyn Endpoint>>, Duration) {
        let state = self.0.lock();
        let cut = state.cut.contains(&(from.to_owned(), to.to_owned()));
        let endpoint = state.endpoints.get(to).filter(|_| !cut).and_then(Weak::upgrade);
        (endpoint, state.delay)
    }

    fn replies(&self, from: &str, to: &str) -> bool {
        let line = (to.to_owned(), from.to_owned());
        let state = self.0.lock();
        !state.silenced.contains(&line) && !state.cut.contains(&line)
    }
}

impl fmt::Debug for Switchboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        f.debug_struct("Switchboard").field("cut", &state.cut).finish_non_exhaustive()
    }
}

struct Line {
    from: String,
    board: Switchboard,
}

#[async_trait]
impl Transport for Line {
    async fn call(&self, to: &Peer, request: Bytes) -> Result<Bytes, TransportError> {
        let address = &to.member.address;
        let (endpoint, delay) = self.board.endpoint(&self.from, address);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let endpoint = endpoint.ok_or_else(|| TransportError::Unreachable(format!("{address} is down")))?;
        // What has arrived is carried out, whether or not somebody still waits.
        let reply = tokio::spawn(async move { endpoint.serve(request).await }).await;
        if !self.board.replies(&self.from, address) {
            return Err(TransportError::NoAnswer("the line was cut".into()));
        }
        reply.map_err(|error| TransportError::NoAnswer(error.to_string()))
    }
}
