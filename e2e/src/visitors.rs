//! People outside of a cluster who use its Services all the time, and complain.

use crate::machine::Machine;
use anyhow::{Result, bail, ensure};
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long they wait for an answer: two cores do all the nodes' work.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two visits of one of them.
const PAUSE: Duration = Duration::from_millis(100);

/// A way that somebody goes again and again.
#[derive(Clone, Debug)]
pub struct Visit {
    /// The node that is asked.
    pub by: usize,
    /// Where.
    pub address: SocketAddr,
    /// The node that the answer comes from.
    pub to: usize,
    /// What is answered.
    pub answer: String,
}

/// Who visits.
pub struct Visitors {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Nodes that nobody can reach now.
    gone: Mutex<BTreeSet<usize>>,
    served: AtomicUsize,
    complaints: Mutex<Vec<String>>,
}

impl Visitors {
    /// Sends them off from a machine, one on each way.
    ///
    /// # Errors
    /// When there is no such machine.
    pub fn start(machine: &Machine, visits: Vec<Visit>) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut threads = Vec::new();
        for visit in visits {
            let (place, shared) = (machine.path(), Arc::clone(&shared));
            threads.push(std::thread::spawn(move || {
                if let Err(error) = Machine::enter_path(&place) {
                    shared.complaints.lock().unwrap().push(format!("{error:#}"));
                    return;
                }
                while !shared.stop.load(Ordering::Relaxed) {
                    visit.go(&shared);
                    std::thread::sleep(PAUSE);
                }
            }));
        }
        Ok(Self { shared, threads })
    }

    /// A node is out of reach from now on, and nobody wonders.
    pub fn without(&self, node: usize) {
        self.shared.gone.lock().unwrap().insert(node);
    }

    /// A node can be reached again.
    pub fn with(&self, node: usize) {
        self.shared.gone.lock().unwrap().remove(&node);
    }

    /// Calls them home; answers how often they were served.
    ///
    /// # Errors
    /// Their complaints.
    pub fn finish(mut self) -> Result<usize> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in std::mem::take(&mut self.threads) {
            ensure!(thread.join().is_ok(), "a visitor ended");
        }
        let complaints = self.shared.complaints.lock().unwrap();
        if !complaints.is_empty() {
            bail!("{} complaints: {:#?}", complaints.len(), complaints.iter().take(20).collect::<Vec<_>>());
        }
        Ok(self.shared.served.load(Ordering::Relaxed))
    }
}

impl Drop for Visitors {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Visit {
    fn go(&self, shared: &Shared) {
        let out_of_reach = || {
            let gone = shared.gone.lock().unwrap();
            gone.contains(&self.by) || gone.contains(&self.to)
        };
        if out_of_reach() {
            return;
        }
        let begin = Instant::now();
        match self.ask() {
            Ok(()) => _ = shared.served.fetch_add(1, Ordering::Relaxed),
            // It may have gone while this one was on the way.
            Err(_) if out_of_reach() => {}
            Err(error) => {
                let Self { by, to, .. } = self;
                let complaint = format!("by node {by} to node {to}, after {:?}: {error:#}", begin.elapsed());
                // At once, too: what is told around it says when.
                eprintln!("{complaint}");
                shared.complaints.lock().unwrap().push(complaint);
            }
        }
    }

    /// One request.
    ///
    /// # Errors
    /// When it is not answered as it should.
    pub fn ask(&self) -> Result<()> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        ensure!(text.ends_with(&self.answer), "{text}");
        Ok(())
    }
}
