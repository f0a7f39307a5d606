//! When is a node under pressure. Pure.

use super::observation::Observation;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a condition stays after its cause is gone, so that it does not flap (upstream's default).
const TRANSITION_PERIOD: Duration = Duration::from_secs(300);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// Memory that could be had at once.
    MemoryAvailable,
    /// Bytes left on the disk of volumes and logs.
    NodeFsAvailable,
    /// Inodes left there.
    NodeFsInodesFree,
    /// Bytes left on the disk of images and containers.
    ImageFsAvailable,
    /// Inodes left there.
    ImageFsInodesFree,
    /// Process ids left.
    PidAvailable,
}

impl Signal {
    /// As messages spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MemoryAvailable => "memory.available",
            Self::NodeFsAvailable => "nodefs.available",
            Self::NodeFsInodesFree => "nodefs.inodesFree",
            Self::ImageFsAvailable => "imagefs.available",
            Self::ImageFsInodesFree => "imagefs.inodesFree",
            Self::PidAvailable => "pid.available",
        }
    }

    /// The resource that messages say runs short.
    pub fn resource(self) -> &'static str {
        match self {
            Self::MemoryAvailable => "memory",
            Self::NodeFsAvailable | Self::ImageFsAvailable => "ephemeral-storage",
            Self::NodeFsInodesFree | Self::ImageFsInodesFree => "inodes",
            Self::PidAvailable => "pids",
        }
    }

    /// The node condition it leads to.
    pub fn pressure(self) -> Pressure {
        match self {
            Self::MemoryAvailable => Pressure::Memory,
            Self::PidAvailable => Pressure::Pid,
            _ => Pressure::Disk,
        }
    }
}

/// A node condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// `MemoryPressure`.
    Memory,
    /// `DiskPressure`.
    Disk,
    /// `PIDPressure`.
    Pid,
}

/// A limit, as bytes or as a part of what there is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// Bytes, inodes or ids.
    Absolute(u64),
    /// Percent of the capacity.
    Percent(f64),
}

/// Hard eviction thresholds.
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds {
    /// By signal: below it pods go at once.
    pub hard: BTreeMap<Signal, Limit>,
}

impl Default for Thresholds {
    /// Upstream's, but for disks: those count in percent (10 and 15) there, which on a large disk is far from
    /// full and on somebody's workstation would keep pods from running at all. MicroK8s takes 1 GiB, too.
    fn default() -> Self {
        const GIB: u64 = 1024 * 1024 * 1024;
        Self {
            hard: BTreeMap::from([
                (Signal::MemoryAvailable, Limit::Absolute(100 * 1024 * 1024)),
                (Signal::NodeFsAvailable, Limit::Absolute(GIB)),
                (Signal::NodeFsInodesFree, Limit::Percent(5.0)),
                (Signal::ImageFsAvailable, Limit::Absolute(GIB)),
                (Signal::ImageFsInodesFree, Limit::Percent(5.0)),
            ]),
        }
    }
}

impl Thresholds {
    /// What a limit comes to.
    pub fn threshold(&self, signal: Signal, capacity: u64) -> Option<u64> {
        Some(match self.hard.get(&signal)? {
            Limit::Absolute(value) => *value,
            Limit::Percent(percent) => (capacity as f64 * percent / 100.0) as u64,
        })
    }

    /// The signals that are below their limits, memory first: it kills fastest.
    pub fn crossed(&self, observation: &Observation) -> Vec<Signal> {
        self.hard
            .keys()
            .copied()
            .filter(|signal| {
                let Some(measured) = observation.signals.get(signal) else { return false };
                self.threshold(*signal, measured.capacity).is_some_and(|limit| measured.available < limit)
            })
            .collect()
    }
}

/// Which conditions hold, with their memory: a condition outlives its cause by [`TRANSITION_PERIOD`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PressureState {
    last_crossed: BTreeMap<Pressure, Duration>,
}

impl PressureState {
    /// Takes the signals that are crossed now.
    pub fn update(&mut self, crossed: &[Signal], now: Duration) {
        for signal in crossed {
            self.last_crossed.insert(signal.pressure(), now);
        }
        self.last_crossed.retain(|_, last| now.saturating_sub(*last) < TRANSITION_PERIOD);
    }

    /// Whether a condition holds.
    pub fn holds(&self, pressure: Pressure) -> bool {
        self.last_crossed.contains_key(&pressure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eviction::observation::Measured;

    #[test]
    fn limits_are_absolute_or_relative() {
        let mut thresholds = Thresholds::default();
        thresholds.hard.insert(Signal::NodeFsAvailable, Limit::Percent(10.0));
        thresholds.hard.insert(Signal::ImageFsAvailable, Limit::Percent(15.0));
        let measured = |available, capacity| Measured { available, capacity };
        let observation = Observation {
            signals: BTreeMap::from([
                (Signal::MemoryAvailable, measured(99 << 20, 1 << 30)),
                (Signal::NodeFsAvailable, measured(11, 100)),
                (Signal::ImageFsAvailable, measured(14, 100)),
            ]),
        };
        assert_eq!(thresholds.crossed(&observation), [Signal::MemoryAvailable, Signal::ImageFsAvailable]);
    }

    #[test]
    fn a_condition_outlives_its_cause_by_five_minutes() {
        let mut state = PressureState::default();
        state.update(&[Signal::MemoryAvailable], Duration::from_secs(10));
        state.update(&[], Duration::from_secs(300));
        assert!(state.holds(Pressure::Memory));
        state.update(&[], Duration::from_secs(310));
        assert!(!state.holds(Pressure::Memory));
    }
}
