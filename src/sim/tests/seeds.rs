//! Some seeds for every build; thousands are for nights (see docs/simulation.md).

#![allow(clippy::expect_used, reason = "a test")]

use std::process::{Command, Output};

/// Runs a seed, with faults for four simulated seconds.
fn sim(seed: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sim"));
    command.args(["--seed", seed, "--duration", "4000"]).args(more);
    command.output().expect("the simulation starts")
}

/// Runs a seed, which has to pass, and returns what it printed.
fn passes(seed: &str, more: &[&str]) -> String {
    let output = sim(seed, more);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "seed {seed}: {text}\n{errors}");
    text
}

/// Runs a seed with a bug put back in, which has to be noticed as what it is.
fn catches(bug: &str, seed: &str, why: &str) {
    catches_within("4000", bug, seed, why);
}

/// The same, with faults for so many simulated milliseconds.
fn catches_within(duration: &str, bug: &str, seed: &str, why: &str) {
    let output = sim(seed, &["--bug", bug, "--duration", duration]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{bug} is not noticed: {text}");
    assert!(text.contains(why), "{bug} is noticed as something else: {text}");
}

#[test]
fn seeds_hold() {
    for seed in ["1", "2", "3", "4", "5"] {
        passes(seed, &[]);
    }
}

#[test]
fn seeds_with_spares_hold() {
    for seed in ["7", "12", "43", "3002"] {
        passes(seed, &["--spares"]);
    }
}

#[test]
fn seeds_that_once_failed_hold() {
    for seed in ["8", "11", "26", "28", "20714", "30275", "31850", "60654"] {
        passes(seed, &[]);
    }
    passes("40327", &["--spares"]);
}

#[test]
fn two_runs_of_a_seed_are_the_same() {
    assert_eq!(passes("6", &[]), passes("6", &[]));
}

#[test]
fn an_early_acknowledgement_is_noticed() {
    catches("early-acknowledgement", "9", "state machine safety");
}

#[test]
fn an_early_commit_is_noticed() {
    catches_within("8000", "early-commit", "256", "state machine safety");
}

#[test]
fn a_forgotten_vote_is_noticed() {
    // openraft asserts that votes do not go back.
    catches("forgotten-vote", "1", "there was a panic");
}

#[test]
fn a_stale_read_is_noticed() {
    catches("stale-read", "4", "linearizability: a stale list");
}

#[test]
fn a_repeated_proposal_is_noticed() {
    catches("repeated-proposal", "2", "was written twice");
}

#[test]
fn half_a_snapshot_is_noticed() {
    catches("half-snapshot", "6", "equal rows");
}

#[test]
fn trust_after_a_failed_sync_is_noticed() {
    catches("trusted-sync", "11", "monotony");
}

#[test]
fn a_leader_that_leads_on_after_a_restart_is_noticed() {
    catches("resumed-lead", "332", "linearizability: a stale");
}

#[test]
fn a_leader_that_takes_its_own_vote_is_noticed() {
    catches("self-removal", "18", "does not vote");
}
