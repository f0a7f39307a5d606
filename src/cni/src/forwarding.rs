//! Exceptions in the firewalls of others. Docker and ufw set the policy of the iptables chain FORWARD to DROP;
//! no rule in a table of ours can take that back, only a rule in that chain.

use apimachinery::family::Family;
use ipnet::IpNet;
use std::process::{Command, Output, Stdio};

/// How our rules are known again.
const COMMENT: &str = "knarr pods";

/// Lets pods' traffic through where the policy would drop it. Without iptables there is no such chain.
pub fn allow(cluster_cidrs: &[IpNet]) {
    for cidr in cluster_cidrs {
        let program = program(Family::of(cidr.addr()));
        let listing = iptables(program, &["-S", "FORWARD"]).unwrap_or_default();
        if !drops(&listing) {
            continue;
        }
        let cidr = cidr.to_string();
        for direction in ["-s", "-d"] {
            let rule = ["FORWARD", direction, &cidr, "-m", "comment", "--comment", COMMENT, "-j", "ACCEPT"];
            let run = |action: &str| iptables(program, &[&[action], rule.as_slice()].concat());
            if run("-C").is_none() && run("-I").is_none() {
                eprintln!(
                    "knarr: cannot let traffic of {cidr} through the chain FORWARD, whose policy is DROP"
                );
            }
        }
    }
}

/// Removes the exceptions.
pub fn forget() {
    for program in Family::ALL.map(program) {
        let listing = iptables(program, &["-S", "FORWARD"]).unwrap_or_default();
        for rule in ours(&listing) {
            let words: Vec<&str> = std::iter::once("-D").chain(rule).collect();
            let _ = iptables(program, &words);
        }
    }
}

fn program(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

fn drops(listing: &str) -> bool {
    let drops =
        |line: &str| line == "-P FORWARD DROP" || line.contains("-j ufw-") || line.contains("-j ufw6-");
    listing.lines().any(|line| drops(line.trim()))
}

/// The words of our rules as `-S` lists them, without the leading `-A`.
fn ours(listing: &str) -> Vec<Vec<&str>> {
    listing
        .lines()
        .filter_map(|line| line.strip_prefix("-A "))
        .filter(|line| line.contains(COMMENT))
        .map(|line| {
            let (before, after) = line.split_once(&format!("\"{COMMENT}\"")).unwrap_or((line, ""));
            before.split_whitespace().chain([COMMENT]).chain(after.split_whitespace()).collect()
        })
        .collect()
}

/// What iptables printed, if it is there and succeeded.
fn iptables(program: &str, arguments: &[&str]) -> Option<String> {
    let Output { status, stdout, .. } =
        Command::new(program).arg("-w").args(arguments).stdin(Stdio::null()).output().ok()?;
    status.success().then(|| String::from_utf8_lossy(&stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_dropping_policy_needs_exceptions() {
        assert!(drops("-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n"));
        assert!(drops("-P FORWARD ACCEPT\n-A FORWARD -j ufw-before-forward\n"));
        assert!(drops("-P FORWARD ACCEPT\n-A FORWARD -j ufw6-before-forward\n"));
        assert!(!drops("-P FORWARD ACCEPT\n"));
    }

    #[test]
    fn our_rules_are_found_again_with_the_comment_as_one_word() {
        let listing = "-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n\
            -A FORWARD -s 10.1.0.0/16 -m comment --comment \"knarr pods\" -j ACCEPT\n";
        assert_eq!(
            ours(listing),
            [["FORWARD", "-s", "10.1.0.0/16", "-m", "comment", "--comment", "knarr pods", "-j", "ACCEPT"]]
        );
    }
}
