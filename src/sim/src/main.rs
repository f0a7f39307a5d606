//! Deterministic simulation of the datastore: whole clusters on simulated time, network and disks, from one seed.
//!
//! - Purpose: finds what goes wrong only in rare orders of events, and finds it again. See docs/simulation.md.
//! - Not here: real processes and disks (`e2e`).
//!
//! Each seed runs in a process of its own, so that nothing that a process counts or remembers is left from another
//! run. Everything happens on one thread.
//!
//! | module | what |
//! |---|---|
//! | `world`, `faults`, `config` | a run, what goes wrong in it, what it is like |
//! | `measure` | for how long a cluster does not serve |
//! | `node`, `clients` | a node; who uses it |
//! | `network`, `disk`, `vfs`, `open_file`, `entropy` | what is simulated: messages, disks, SQLite's files, chance |
//! | `invariants`, `ledger`, `history`, `observe` | what has to hold, and what it is judged by |
//! | `trace` | what happened, as a number |

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test program: what cannot be is a finding, and ends it"
)]

#[cfg(not(debug_assertions))]
compile_error!(
    "the bugs that it puts back in are left out of release builds: build it with debug assertions"
);

mod clients;
mod config;
mod disk;
mod entropy;
mod faults;
mod history;
mod invariants;
mod ledger;
mod measure;
mod network;
mod node;
mod observe;
mod open_file;
mod trace;
mod vfs;
mod world;

use config::Config;
use datastore::bug::{self, Bug};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::atomic::Ordering;
use world::{PANICKED, World};

const USAGE: &str =
    "usage: sim [--seed N] [--count N] [--jobs N] [--duration MILLISECONDS] [--bug NAME] [--measure N] [--spares]
           [--trace] [--log]

  --seed      the first seed (1)
  --count     how many seeds, each in a process of its own (1)
  --jobs      how many at a time (2)
  --duration  how long things go wrong, in simulated milliseconds (20000)
  --measure   instead: kills the leader of a cluster of four so many times, and stops it as often, without faults;
              tells for how long it did not serve
  --bug       puts a known bug back in: forgotten-vote, early-acknowledgement, stale-read, repeated-proposal,
              half-snapshot, trusted-sync, resumed-lead, early-commit, self-removal
  --spares    only clusters in which some nodes are spares
  --trace     prints every event
  --log       prints what the datastore logs";

const BUGS: [(&str, Bug); 9] = [
    ("forgotten-vote", Bug::ForgottenVote),
    ("early-acknowledgement", Bug::EarlyAcknowledgement),
    ("stale-read", Bug::StaleRead),
    ("repeated-proposal", Bug::RepeatedProposal),
    ("half-snapshot", Bug::HalfSnapshot),
    ("trusted-sync", Bug::TrustedSync),
    ("resumed-lead", Bug::ResumedLead),
    ("early-commit", Bug::EarlyCommit),
    ("self-removal", Bug::SelfRemoval),
];

#[derive(Clone, Debug)]
struct Arguments {
    seed: u64,
    count: u64,
    jobs: usize,
    duration: u64,
    bug: Option<(&'static str, Bug)>,
    measure: Option<u64>,
    spares: bool,
    trace: bool,
    log: bool,
}

fn arguments() -> Option<Arguments> {
    let mut found = Arguments {
        seed: 1,
        count: 1,
        jobs: 2,
        duration: 20_000,
        bug: None,
        measure: None,
        spares: false,
        trace: false,
        log: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut number = || arguments.next()?.parse::<u64>().ok();
        match name.as_str() {
            "--seed" => found.seed = number()?,
            "--count" => found.count = number()?,
            "--jobs" => found.jobs = usize::try_from(number()?).ok()?.max(1),
            "--duration" => found.duration = number()?,
            "--measure" => found.measure = Some(number()?),
            "--spares" => found.spares = true,
            "--trace" => found.trace = true,
            "--log" => found.log = true,
            "--bug" => {
                let wanted = arguments.next()?;
                found.bug = Some(*BUGS.iter().find(|(name, _)| *name == wanted)?);
            }
            _ => return None,
        }
    }
    Some(found)
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if arguments.count > 1 { many(&arguments) } else { one(&arguments) }
}

/// Runs each seed in a process of its own.
fn many(arguments: &Arguments) -> ExitCode {
    let program = std::env::current_exe().expect("the program knows where it is");
    let mut seeds = arguments.seed..arguments.seed + arguments.count;
    let (mut running, mut failed) = (Vec::new(), 0);
    loop {
        while running.len() < arguments.jobs
            && let Some(seed) = seeds.next()
        {
            let mut command = Command::new(&program);
            command.args(["--seed", &seed.to_string(), "--duration", &arguments.duration.to_string()]);
            if arguments.spares {
                command.arg("--spares");
            }
            if let Some((name, _)) = arguments.bug {
                command.args(["--bug", name]);
            }
            running.push(command.spawn().expect("the program starts"));
        }
        if running.is_empty() {
            break;
        }
        let mut child = running.remove(0);
        failed += u64::from(!child.wait().expect("it ends").success());
    }
    println!("{} seeds, {failed} failed", arguments.count);
    ExitCode::from(u8::from(failed > 0))
}

/// The directory of a run, gone when it is over.
struct Root(PathBuf);

impl Drop for Root {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn one(arguments: &Arguments) -> ExitCode {
    let seed = arguments.seed;
    entropy::seed(seed);
    vfs::register();
    trace::print(arguments.trace);
    if arguments.log {
        tracing_subscriber::fmt().without_time().with_writer(std::io::stderr).init();
    }
    bug::put_back(arguments.bug.map(|(_, bug)| bug));
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICKED.store(true, Ordering::Release);
        report(info);
    }));
    let root = Root(std::env::temp_dir().join(format!("knarr-sim-{:010}", std::process::id())));
    if let Some(rounds) = arguments.measure {
        return match measure::run(seed, rounds, &root.0) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                println!("not measured: {why}");
                ExitCode::FAILURE
            }
        };
    }
    let mut config = Config::derive(seed, arguments.duration);
    if arguments.spares {
        config.with_spares(seed);
    }
    if arguments.trace {
        eprintln!("{config:#?}");
    }
    let mut world = World::new(seed, config, &root.0);
    let result = world.run();
    let (events, hash) = trace::result();
    println!("seed {seed}: trace {hash:016x} of {events} events; {}", world.summary());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let bug = arguments.bug.map(|(name, _)| format!(" --bug {name}")).unwrap_or_default();
            let spares = if arguments.spares { " --spares" } else { "" };
            println!("seed {seed} FAILED at {} ms: {why}", trace::now());
            println!(
                "  again: cargo run -p sim -- --seed {seed} --duration {}{bug}{spares} --trace",
                arguments.duration
            );
            ExitCode::FAILURE
        }
    }
}
