//! What a run is like, derived from its seed.

use datastore::Limits;
use datastore::raft::{Goal, Timing};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::time::Duration;

/// What a run is like. Times are in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Nodes that there can be.
    pub(crate) nodes: usize,
    /// Nodes that the cluster has before the faults begin.
    pub(crate) first: usize,
    /// How long the first node is alone.
    pub(crate) alone: u64,
    /// How long there are faults.
    pub(crate) duration: u64,
    /// Between two faults, on average.
    pub(crate) calm: u64,
    pub(crate) delay: (u64, u64),
    pub(crate) clients: u64,
    pub(crate) pause: u64,
    pub(crate) padding: usize,
    /// Of a thousand requests.
    pub(crate) compactions: u32,
    /// Of a hundred faults, how many change the members.
    pub(crate) membership: u32,
    pub(crate) timing: Timing,
    /// With few standbys, the nodes beyond them are spares.
    pub(crate) goal: Goal,
    pub(crate) limits: Limits,
}

impl Config {
    /// Makes it a cluster that has more nodes than places beside the voters.
    pub(crate) fn with_spares(&mut self, seed: u64) {
        self.nodes = 5;
        self.first = self.first.max(4);
        self.goal.standbys = usize::from(seed.is_multiple_of(2));
    }

    pub(crate) fn derive(seed: u64, duration: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed ^ 0x5eed);
        let random = &mut random;
        // Apart, so that the seeds from before there were spares are what they were.
        let standbys = [3, 3, 0, 1][StdRng::seed_from_u64(seed ^ 0x5fa2e).random_range(0..4)];
        let nodes = [1, 2, 3, 3, 3, 4, 5, 5][random.random_range(0..8)];
        let election = *[100, 160, 300].choose(random).unwrap_or(&160);
        let roles = random.random_ratio(3, 4);
        let mut config = Self {
            nodes,
            first: random.random_range(1..=nodes).max(nodes.min(3)),
            alone: random.random_range(0..800),
            duration,
            calm: random.random_range(150..1500),
            delay: *[(0, 1), (0, 3), (1, 15)].choose(random).unwrap_or(&(0, 1)),
            clients: random.random_range(1..=3),
            pause: *[5, 30, 100].choose(random).unwrap_or(&30),
            padding: *[10, 10, 3000].choose(random).unwrap_or(&10),
            compactions: *[0, 2, 20].choose(random).unwrap_or(&2),
            membership: *[0, 10, 30].choose(random).unwrap_or(&10),
            timing: Timing {
                heartbeat: Duration::from_millis(election / 2),
                election: Duration::from_millis(election),
                patience: Duration::from_secs(*[3, 10].choose(random).unwrap_or(&3)),
                dead_after: Duration::from_secs(1),
                roles_every: roles.then_some(Duration::from_millis(200)),
            },
            goal: Goal { standbys, ..Goal::default() },
            limits: Limits {
                checkpoint_frames: *[20, 100, 500].choose(random).unwrap_or(&100),
                max_frames: *[60, 300, 2000].choose(random).unwrap_or(&300),
                kept_entries: *[16, 50, 400].choose(random).unwrap_or(&50),
                kept_bytes: *[20_000, 200_000, 16 << 20].choose(random).unwrap_or(&200_000),
                snapshot_piece: *[4096, 20_000, 1 << 20].choose(random).unwrap_or(&20_000),
            },
        };
        // The history of a whole run, in pieces of a page each over the slowest network, would come after all patience.
        if config.compactions == 0 && config.delay.1 > 3 {
            config.limits.snapshot_piece = config.limits.snapshot_piece.max(20_000);
        }
        config
    }
}
