//! How long a cluster does not serve, by simulated clocks: after its leader is killed, and while it stops cleanly; and
//! how long until three living nodes vote again.

use crate::clients::PREFIX;
use crate::config::Config;
use crate::disk::End;
use crate::history;
use crate::node::Node;
use crate::trace;
use crate::world::World;
use datastore::Limits;
use datastore::raft::{Goal, Role, Timing};
use parking_lot::Mutex;
use rand::Rng;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;
use storage::{Encoded, Storage};

/// How long an event is looked at, in milliseconds, at most.
const WINDOW: u64 = 6000;

/// How long a stop is looked at, and how long the writes after three nodes vote again.
const AFTER: u64 = 500;

/// Three voters and a standby with the times and sizes of production, and no faults.
fn config() -> Config {
    Config {
        nodes: 4,
        first: 4,
        alone: 0,
        duration: 0,
        calm: 1,
        delay: (0, 2),
        clients: 1,
        pause: 50,
        padding: 500,
        compactions: 0,
        membership: 0,
        timing: Timing::default(),
        goal: Goal::default(),
        limits: Limits::default(),
    }
}

/// Milliseconds of some events, in order.
#[derive(Default)]
struct Times(Vec<u64>);

impl Times {
    fn of(&self, percent: usize) -> u64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get((self.0.len() * percent / 100).min(last)).copied().unwrap_or(0)
    }

    fn print(&mut self, what: &str) {
        self.0.sort_unstable();
        let (p50, p90, p99, max) = (self.of(50), self.of(90), self.of(99), self.of(100));
        println!("{what}: p50 {p50} ms, p90 {p90} ms, p99 {p99} ms, longest {max} ms, of {}", self.0.len());
    }
}

/// When writes were acknowledged.
type Acknowledged = Arc<Mutex<Vec<u64>>>;

/// Writes through a node, one after the other, for as long as somebody looks at the answers.
fn write(node: &Node, history: &history::Shared, answers: &Acknowledged, round: u64) {
    let Some(store) = node.store().map(|store| Arc::downgrade(&store)) else { return };
    let (history, answers, place) = (Arc::clone(history), Arc::downgrade(answers), node.place);
    node.spawn(async move {
        for n in 0_u64.. {
            let (Some(store), Some(_)) = (store.upgrade(), answers.upgrade()) else { return };
            let tag = history.lock().tag();
            let value = serde_json::json!({"metadata": {"name": "m"}, "tag": tag});
            let Ok(object) = Encoded::new(&value) else { return };
            let written = store.create(&format!("{PREFIX}measured/{round}-{place}-{n}"), object).await;
            if let (Ok(_), Some(answers)) = (written, Weak::upgrade(&answers)) {
                answers.lock().push(trace::now());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

/// Living nodes that vote, as the leader sees it.
fn living_voters(world: &World) -> usize {
    let Some((_, cluster)) = world.leader() else { return 0 };
    let members = cluster.members();
    let votes = |node: &&Node| {
        let id = node.cluster().map(|cluster| cluster.id());
        id.and_then(|id| members.get(&id)).is_some_and(|(_, role)| *role == Role::Voter)
    };
    world.nodes.iter().filter(votes).count()
}

/// Kills the leader, and has the leader stop, so many times each.
pub(crate) fn run(seed: u64, rounds: u64, root: &Path) -> Result<(), String> {
    let mut world = World::new(seed, config(), root);
    world.begin()?;
    let (mut killed, mut stopped, mut voting) = (Times::default(), Times::default(), Times::default());
    for round in 0..2 * rounds {
        world.converge("between two measurements")?;
        for _ in 0..world.random.random_range(0..400) {
            world.step()?;
        }
        let Some((leader, _)) = world.leader() else { return Err("nobody leads".into()) };
        let answers = Acknowledged::default();
        let others = world.nodes.iter().filter(|node| node.place != leader);
        others.for_each(|node| write(node, &world.history, &answers, round));
        for _ in 0..100 {
            world.step()?;
        }
        let (begin, kill) = (trace::now(), round % 2 == 0);
        if kill {
            world.nodes[leader].end(End::PowerCut);
        } else if let Some(store) = world.nodes[leader].store() {
            let slot = Arc::clone(&world.nodes[leader].slot);
            world.nodes[leader].spawn(async move {
                store.shutdown().await;
                slot.lock().stopped = true;
            });
        }
        let mut again = None;
        let over = |again: Option<u64>| again.map_or(WINDOW, |again| again + AFTER) + begin;
        while trace::now() < over(again) {
            world.step()?;
            let well = if kill { living_voters(&world) == 3 } else { trace::now() > begin + AFTER };
            if again.is_none() && well {
                again = Some(trace::now() - begin);
            }
        }
        let answers = std::mem::take(&mut *answers.lock());
        let gaps = answers.iter().zip(answers.iter().skip(1)).map(|(one, next)| next - one);
        let gap = gaps.max().unwrap_or(WINDOW);
        if kill {
            killed.0.push(gap);
            voting.0.push(again.unwrap_or(WINDOW));
            world.start(leader);
        } else {
            stopped.0.push(gap);
        }
    }
    killed.print("no write after the leader was killed");
    voting.print("three living voters after that");
    stopped.print("no write while the leader stopped");
    Ok(())
}
