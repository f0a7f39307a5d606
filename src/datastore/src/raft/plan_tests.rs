use super::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// `3v` is voter 3, `L` leads, `s` standby, `p` spare, `-` dead, `~` lagging, `@x` in domain x.
fn nodes(text: &str) -> Vec<Candidate> {
    text.split_whitespace()
        .map(|word| {
            let (flags, failure_domain) = word.split_once('@').unwrap_or((word, ""));
            let id: String = flags.chars().take_while(char::is_ascii_digit).collect();
            let role = match flags.chars().nth(id.len()).unwrap() {
                'v' | 'L' => Role::Voter,
                's' => Role::Standby,
                _ => Role::Spare,
            };
            Candidate {
                id: id.parse().unwrap(),
                role,
                failure_domain: failure_domain.to_owned(),
                alive: !flags.contains('-'),
                caught_up: !flags.contains('~') && !flags.contains('-'),
                leader: flags.contains('L'),
            }
        })
        .collect()
}

fn next(text: &str) -> Option<Step> {
    plan(&nodes(text), Goal::default())
}

#[test]
fn one_votes_below_three_nodes_and_three_from_then_on() {
    assert_eq!(next("1L"), None);
    assert_eq!(next("1L 2s"), None);
    assert_eq!(next("1L 2s 3s"), Some(Step::Promote(2)));
    assert_eq!(next("1L 2v 3s"), Some(Step::Promote(3)));
    assert_eq!(next("1L 2v 3v"), None);
    assert_eq!(next("1L 2v 3v 4s 5s 6s"), None);
    assert_eq!(next("1L 2v"), Some(Step::Demote(2)));
    assert_eq!(next("2L 1v"), Some(Step::Demote(1)));
    assert_eq!(next("1L 2v 3v 4v"), Some(Step::Demote(4)));
    assert_eq!(next("1L 2v- 3v 4v"), Some(Step::Demote(2)));
}

#[test]
fn a_dead_voter_is_replaced_by_a_standby_that_is_ready() {
    assert_eq!(next("1L 2v- 3v 4s"), Some(Step::Replace { old: 2, new: 4 }));
    assert_eq!(next("1L 2v- 3v 4s~ 5s"), Some(Step::Replace { old: 2, new: 5 }));
    assert_eq!(next("1L 2v- 3v 4s-"), None);
    assert_eq!(next("1L 2v- 3v 4s~"), None);
    assert_eq!(next("1L 2v- 3v"), None);
    assert_eq!(next("1L 2v- 3v 4p"), Some(Step::MakeStandby(4)));
    assert_eq!(next("1L 2v- 3v 4s-  5s 6s"), Some(Step::Replace { old: 2, new: 5 }));
}

#[test]
fn nobody_who_is_dead_or_lags_is_promoted() {
    assert_eq!(next("1L 2s- 3s~"), None);
    assert_eq!(next("1L 2s- 3s"), Some(Step::Promote(3)));
}

#[test]
fn votes_are_spread_over_failure_domains() {
    assert_eq!(next("1L@a 2s@a 3s@b 4s@c"), Some(Step::Promote(3)));
    assert_eq!(next("1L@a 2s@a 3v@b 4s@c"), Some(Step::Promote(4)));
    assert_eq!(next("1L@a 2v@a 3v@b 4s@c"), Some(Step::Replace { old: 2, new: 4 }));
    assert_eq!(next("1L@a 2v@a 3v@b 4s@b"), None);
    assert_eq!(next("1L@a 2v@a 3v@b 4s~@c"), None);
    // The leader stays where it is.
    assert_eq!(next("1v@a 2L@a 3v@b 4s@c"), Some(Step::Replace { old: 1, new: 4 }));
    // The dead one's domain counts as free for its replacement.
    assert_eq!(next("1L@a 2v@b 3v-@c 4s@b 5s@c"), Some(Step::Replace { old: 3, new: 5 }));
    // Unnamed domains are nobody's neighbours.
    assert_eq!(next("1L 2v 3v 4s@c"), None);
    // With too many, the crowded domain gives one up.
    assert_eq!(next("1L@a 2v@a 3v@b 4v@c"), Some(Step::Demote(2)));
}

#[test]
fn three_standbys_are_kept_and_the_others_are_spares() {
    assert_eq!(next("1L 2v 3v 4s 5s 6s 7s"), Some(Step::MakeSpare(7)));
    // One that is dead or lags would not hear of it.
    assert_eq!(next("1L 2v 3v 4s 5s- 6s 7s"), None);
    assert_eq!(next("1L 2v 3v 4s 5s~ 6s 7s~"), Some(Step::MakeSpare(6)));
    assert_eq!(next("1L 2v 3v 4s- 5s 6s 7s 8s"), Some(Step::MakeSpare(8)));
    assert_eq!(next("1L 2v 3v 4s 5s- 6s 7p"), Some(Step::MakeStandby(7)));
    assert_eq!(next("1L 2v 3v 4s 5s 7p 8p-"), Some(Step::MakeStandby(7)));
    assert_eq!(next("1L@a 2v@b 3v@c 4s@a 5s@b 7p@a 8p@d"), Some(Step::MakeStandby(8)));
    assert_eq!(next("1L 2v 3v 4s 5s 6s 7p"), None);
    assert_eq!(next("1L@a 2v@b 3v@c 4s@d 5s@a 6s@e 7s@f"), Some(Step::MakeSpare(5)));
}

#[test]
fn a_spare_stands_by_where_a_voter_is_missing_and_no_standby_is_wanted() {
    let next = |text: &str| plan(&nodes(text), Goal { voters: 3, standbys: 0 });
    assert_eq!(next("1L 2v 3v 4s"), Some(Step::MakeSpare(4)));
    assert_eq!(next("1L 2v 3v 4p"), None);
    assert_eq!(next("1L 2v- 3v 4p"), Some(Step::MakeStandby(4)));
    assert_eq!(next("1L 2v- 3v 4s"), Some(Step::Replace { old: 2, new: 4 }));
    assert_eq!(next("1L 2s- 3v 4v"), None);
    assert_eq!(next("1L 2s 3v 4v"), Some(Step::MakeSpare(2)));
    assert_eq!(next("1L 2p 3p"), Some(Step::MakeStandby(2)));
    assert_eq!(next("1L 2s~ 3p"), None);
}

#[test]
fn the_log_is_spread_over_failure_domains() {
    let next = |text: &str| plan(&nodes(text), Goal { voters: 3, standbys: 2 });
    let steps = ["1L@a 2v@b 3v@b 4s@a 5s@b 6p@c", "1L@a 2v@b 3v@b 4s@a 5s@b 6s@c"];
    assert_eq!(next(steps[0]), Some(Step::MakeStandby(6)));
    assert_eq!(next(steps[1]), Some(Step::Replace { old: 3, new: 6 }));
    assert_eq!(next("1L@a 2v@b 3s@b 4s@a 5s@b 6v@c"), Some(Step::MakeSpare(5)));
    assert_eq!(next("1L@a 2v@b 3s@b 4s@a 5p@b 6v@c"), None);
    assert_eq!(next("1L 2v 3v 4s 5s 6p@c"), None);
    assert_eq!(next("1L@a 2v@b 3v@c 4s@a 5s@b 6p-@d"), None);
    assert_eq!(next("1L@a 2v@b 3v@c 4s-@a 5s~@b 6p@d"), Some(Step::MakeStandby(6)));
}

fn follow(nodes: &mut [Candidate], step: Step) {
    let mut set = |id, role| nodes.iter_mut().find(|node| node.id == id).unwrap().role = role;
    match step {
        Step::Promote(id) => set(id, Role::Voter),
        Step::Demote(id) | Step::MakeStandby(id) => set(id, Role::Standby),
        Step::MakeSpare(id) => set(id, Role::Spare),
        Step::Replace { old, new } => {
            set(old, Role::Standby);
            set(new, Role::Voter);
        }
    }
}

#[test]
fn from_any_state_the_steps_end_at_the_goal_and_keep_the_cluster_alive() {
    for seed in 0..5000 {
        let mut random = StdRng::seed_from_u64(seed);
        let count = random.random_range(1..10);
        let mut all: Vec<_> = (1..=count)
            .map(|id| Candidate {
                id,
                role: [Role::Voter, Role::Standby, Role::Spare][random.random_range(0..3)],
                failure_domain: ["", "a", "b", "c"][random.random_range(0..4)].to_owned(),
                alive: random.random_bool(0.8),
                caught_up: random.random_bool(0.9),
                leader: false,
            })
            .collect();
        // Somebody leads, and so a majority of voters is alive.
        all[0] =
            Candidate { role: Role::Voter, alive: true, caught_up: true, leader: true, ..all[0].clone() };
        let commits = |all: &[Candidate]| {
            let voters = all.iter().filter(|node| node.role == Role::Voter);
            voters.clone().filter(|node| node.alive).count() > voters.count() / 2
        };
        if !commits(&all) {
            continue;
        }
        let mut steps = Vec::new();
        while let Some(step) = plan(&all, Goal::default()) {
            steps.push(step);
            assert!(steps.len() < 40, "seed {seed}: {steps:?}");
            if let Step::MakeSpare(id) = step {
                let old = all.iter().find(|node| node.id == id).unwrap();
                assert!(old.alive && old.caught_up && old.role == Role::Standby, "seed {seed}: {steps:?}");
            }
            if let Step::Promote(id) | Step::Replace { new: id, .. } = step {
                let new = all.iter().find(|node| node.id == id).unwrap();
                assert!(new.alive && new.caught_up && new.role == Role::Standby, "seed {seed}: {steps:?}");
            }
            follow(&mut all, step);
            assert!(commits(&all), "seed {seed}: {steps:?}");
            assert_eq!(all[0].role, Role::Voter, "seed {seed}: {steps:?}");
        }
        let voters = all.iter().filter(|node| node.role == Role::Voter).count();
        let fit =
            all.iter().filter(|node| node.alive && node.caught_up && node.role == Role::Standby).count();
        let target = if all.len() < 3 { 1 } else { 3 };
        assert!(voters == target || (voters < target && fit == 0), "seed {seed}: {all:?}");
        let dead = all.iter().any(|node| node.role == Role::Voter && !node.alive);
        assert!(!dead || fit == 0, "seed {seed}: {all:?}");
        let standbys = all.iter().filter(|node| node.role == Role::Standby && node.alive);
        let dispensable = standbys.clone().any(|standby| standby.caught_up);
        assert!(standbys.clone().count() <= 3 || !dispensable, "seed {seed}: {all:?}");
        let spare = all.iter().any(|node| node.role == Role::Spare && node.alive);
        assert!(standbys.count() >= 3 || !spare, "seed {seed}: {all:?}");
    }
}
