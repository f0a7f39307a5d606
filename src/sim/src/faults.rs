//! What goes wrong, and when it is put right.

use crate::disk::{self, End};
use crate::node::Standing;
use crate::trace;
use crate::world::World;
use datastore::raft::{Change, Goal, Role};
use rand::Rng;
use rand::seq::IndexedRandom;
use std::time::Duration;

/// Something that is wrong for a while.
#[derive(Clone, Debug)]
enum Fault {
    Cut(Vec<(usize, usize)>),
    Loss,
    Slow(usize),
    Disk(usize),
    Rate(usize),
}

/// The faults that there are now, and when each ends.
#[derive(Default)]
pub(crate) struct Faults {
    active: Vec<(u64, Fault)>,
}

impl Faults {
    /// One millisecond: perhaps something breaks, perhaps something is mended.
    pub(crate) fn step(&mut self, world: &mut World) {
        let now = trace::now();
        let (over, active) = std::mem::take(&mut self.active).into_iter().partition(|(end, _)| *end <= now);
        self.active = active;
        let over: Vec<(u64, Fault)> = over;
        for (_, fault) in over {
            mend(world, &fault);
        }
        let calm = u32::try_from(world.config.calm).unwrap_or(1000);
        if world.random.random_ratio(1, calm) {
            if world.random.random_range(0..100) < world.config.membership {
                membership(world);
            } else {
                self.strike(world);
            }
        }
    }

    /// Ends all faults.
    pub(crate) fn heal(&mut self, world: &mut World) {
        for (_, fault) in std::mem::take(&mut self.active) {
            mend(world, &fault);
        }
        for node in &mut world.nodes {
            node.frozen_until = 0;
            let mut faults = node.disk.faults.get();
            (faults.dies_after, faults.lapses_after) = (None, None);
            node.disk.faults.set(faults);
        }
    }

    fn strike(&mut self, world: &mut World) {
        let now = trace::now();
        let count = world.nodes.len();
        let place = world.random.random_range(0..count);
        // Often it is the leader.
        let place = match world.leader() {
            Some((leader, _)) if world.random.random_bool(0.3) => leader,
            _ => place,
        };
        let end = now + world.random.random_range(50..4000);
        match world.random.random_range(0..100) {
            0..18 => {
                let how = *[End::PowerCut, End::Killed].choose(&mut world.random).unwrap_or(&End::Killed);
                crash(world, place, how);
            }
            18..34 => {
                let after = world.random.random_range(0..60);
                trace::event(format_args!("n{} will lose power", place + 1));
                set(world, place, |faults| faults.dies_after = Some(after));
            }
            34..52 => {
                let cut = cut(world, place, count);
                trace::event(format_args!("cut: {cut:?}"));
                world.network.lock().cut.extend(&cut);
                self.active.push((end, Fault::Cut(cut)));
            }
            52..60 => {
                let (loss, doubled) = (world.random.random_range(0..200), world.random.random_range(0..200));
                trace::event(format_args!("{loss} of 1000 are lost, {doubled} doubled"));
                let mut network = world.network.lock();
                (network.loss, network.doubled) = (loss, doubled);
                self.active.push((end, Fault::Loss));
            }
            60..68 => {
                let slow = world.random.random_range(2..250);
                trace::event(format_args!("n{} has a slow disk: {slow} ms", place + 1));
                set(world, place, |faults| faults.slow_ms = slow);
                self.active.push((end, Fault::Slow(place)));
            }
            68..72 => {
                let after = world.random.random_range(0..10);
                let dies = world.random.random_bool(0.6).then(|| world.random.random_range(0..60));
                trace::event(format_args!("a sync of n{} will fail", place + 1));
                set(world, place, |faults| {
                    faults.lapses_after = Some(after);
                    faults.dies_after = dies.or(faults.dies_after);
                });
            }
            72..76 => {
                let full = world.random.random_bool(0.4);
                let after = world.random.random_range(0..40);
                trace::event(format_args!("n{} has a bad disk: full {full}", place + 1));
                set(world, place, |faults| {
                    faults.full = full;
                    faults.fails_after = (!full).then_some(after);
                });
                self.active.push((end, Fault::Disk(place)));
            }
            76..82 => {
                trace::event(format_args!("n{} is paused until {end}", place + 1));
                world.nodes[place].frozen_until = end;
            }
            82..86 => {
                let rate = world.random.random_range(500..2000);
                trace::event(format_args!("n{} has a clock of {rate}", place + 1));
                world.nodes[place].rate = rate;
                self.active.push((end, Fault::Rate(place)));
            }
            86..90 => {
                let by = world.random.random_range(100..5000);
                trace::event(format_args!("the clock of n{} jumps by {by}", place + 1));
                world.nodes[place].jump(Duration::from_millis(by));
            }
            90..95 => {
                if let Some((leader, cluster)) = world.leader() {
                    trace::event(format_args!("n{} hands over", leader + 1));
                    world.nodes[leader].spawn(async move { _ = cluster.hand_over().await });
                }
            }
            _ => {
                if let Some(store) = world.nodes[place].store() {
                    trace::event(format_args!("n{} is stopped", place + 1));
                    let slot = std::sync::Arc::clone(&world.nodes[place].slot);
                    world.nodes[place].spawn(async move {
                        store.shutdown().await;
                        slot.lock().stopped = true;
                    });
                }
            }
        }
    }
}

fn set(world: &World, place: usize, change: impl FnOnce(&mut disk::Faults)) {
    let disk = &world.nodes[place].disk;
    let mut faults = disk.faults.get();
    change(&mut faults);
    disk.faults.set(faults);
}

fn crash(world: &mut World, place: usize, how: End) {
    let pause = world.random.random_range(5..5000);
    let node = &mut world.nodes[place];
    if node.is_up() {
        node.end(how);
        node.starts_at = Some(trace::now() + pause);
    }
}

/// Some lines, one way or both.
fn cut(world: &mut World, place: usize, count: usize) -> Vec<(usize, usize)> {
    let others = (0..count).filter(|other| *other != place);
    let random = &mut world.random;
    match random.random_range(0..4) {
        0 => others.flat_map(|other| [(place, other), (other, place)]).collect(),
        1 => others.map(|other| (place, other)).collect(),
        2 => others.map(|other| (other, place)).collect(),
        _ => {
            let side: Vec<bool> = (0..count).map(|_| random.random_bool(0.5)).collect();
            let all = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
            all.filter(|(from, to)| side[*from] != side[*to]).collect()
        }
    }
}

fn mend(world: &mut World, fault: &Fault) {
    trace::event(format_args!("mended: {fault:?}"));
    match fault {
        Fault::Cut(cut) => {
            let mut network = world.network.lock();
            for line in cut {
                network.cut.remove(line);
            }
        }
        Fault::Loss => {
            let mut network = world.network.lock();
            (network.loss, network.doubled) = (0, 0);
        }
        Fault::Slow(place) => set(world, *place, |faults| faults.slow_ms = 0),
        Fault::Disk(place) => set(world, *place, |faults| {
            faults.full = false;
            faults.fails_after = None;
        }),
        Fault::Rate(place) => world.nodes[*place].rate = 1000,
    }
}

fn has_spares(world: &World) -> bool {
    world.config.goal.standbys < Goal::default().standbys
}

/// Changes the members, as an administrator or the role manager would.
fn membership(world: &mut World) {
    if world.is_changing() || world.config.nodes == 1 {
        return;
    }
    let Some((leader, cluster)) = world.leader() else { return };
    let members: Vec<_> = cluster.members().into_iter().collect();
    let up: Vec<usize> =
        world.nodes.iter().filter(|node| node.cluster().is_some()).map(|node| node.place).collect();
    let at = *up.choose(&mut world.random).unwrap_or(&leader);
    let outside =
        world.nodes.iter().find(|node| node.standing == Standing::Outside).map(|node| node.member());
    let pick = |world: &mut World| members.choose(&mut world.random).cloned();
    let voters = members.iter().filter(|(_, (_, role))| *role == Role::Voter).count();
    let kinds = if has_spares(world) { 7 } else { 5 };
    let change = match (world.random.random_range(0..kinds), outside) {
        (0 | 1, Some(member)) => {
            // Added by a request whose answer was lost?
            match members.iter().find(|(_, (known, _))| known.name == member.name) {
                Some((id, _)) => Change::Remove(*id),
                None => Change::Add(member),
            }
        }
        (0..=2, _) if members.len() > 2 => {
            let Some((id, _)) = pick(world) else { return };
            Change::Remove(id)
        }
        (3, _) => {
            let Some((id, (_, role))) = pick(world) else { return };
            match role {
                Role::Voter if voters > 1 => Change::Demote(id),
                _ => Change::Promote(id),
            }
        }
        (5.., _) => {
            let Some((id, (_, role))) = pick(world) else { return };
            if role == Role::Spare { Change::MakeStandby(id) } else { Change::MakeSpare(id) }
        }
        _ => {
            let (Some((one, (_, a))), Some((other, (_, b)))) = (pick(world), pick(world)) else { return };
            match (a, b) {
                (Role::Voter, Role::Standby | Role::Spare) => Change::Replace { old: one, new: other },
                (Role::Standby | Role::Spare, Role::Voter) => Change::Replace { old: other, new: one },
                _ => Change::Promote(one),
            }
        }
    };
    world.change(at, change);
}
