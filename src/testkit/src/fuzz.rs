//! Seeded mutation fuzzing as ordinary tests: no nightly compiler, no coverage, the same inputs on every machine.
//!
//! A target is fed mutations of a corpus; what it takes joins the corpus, so that mutations pile up. A failure
//! prints the seed, the number of the run and the input.
//!
//! `KNARR_FUZZ_RUNS` (10,000 where not given) sets how many inputs a target gets, `KNARR_FUZZ_SEED` what they are.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Inputs for every target in the gate: some seconds together in a debug build.
const RUNS: u64 = 10_000;
/// Any number.
const SEED: u64 = 0x6b6e_6172_7200;
/// Longest input: longer ones find nothing that these do not, and are slow.
const MAX_BYTES: usize = 4096;
/// The corpus stops growing here.
const MAX_CORPUS: usize = 512;
/// Bytes and words at the edges of what decoders check.
const EDGES: [u8; 12] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'\\', b'{', b'[', b'}', b':', b','];

/// Feeds `target` with mutations of `corpus` and of whatever it takes. `words` are tokens that mean something to it.
/// The target answers whether it took the input, and panics when something is wrong.
///
/// # Panics
/// When the target does, or takes none of the corpus.
pub fn fuzz(corpus: &[&[u8]], words: &[&str], target: impl Fn(&[u8]) -> bool) {
    let (runs, seed) = (setting("KNARR_FUZZ_RUNS", RUNS), setting("KNARR_FUZZ_SEED", SEED));
    let mut corpus: Vec<Vec<u8>> = corpus.iter().map(|input| input.to_vec()).collect();
    let mut taken = 0;
    for input in &corpus {
        taken += u64::from(run(&target, input, seed, 0));
    }
    assert!(taken > 0, "the target takes nothing of its corpus");
    let mut random = Random(seed);
    for number in 1..=runs {
        let input = random.mutation(&corpus, words);
        if run(&target, &input, seed, number) && corpus.len() < MAX_CORPUS && !corpus.contains(&input) {
            corpus.push(input);
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn run(target: &impl Fn(&[u8]) -> bool, input: &[u8], seed: u64, number: u64) -> bool {
    match catch_unwind(AssertUnwindSafe(|| target(input))) {
        Ok(taken) => taken,
        Err(panic) => {
            eprintln!("seed {seed}, run {number}, input b\"{}\"", input.escape_ascii());
            resume_unwind(panic)
        }
    }
}

/// SplitMix64: good enough to pick bytes, and the same everywhere and for ever.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `bound`, which is not zero.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let (a, b) = (self.below(length + 1), self.below(length + 1));
        a.min(b)..a.max(b)
    }

    fn mutation(&mut self, corpus: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].clone();
        // Mostly one change, sometimes several.
        for _ in 0..=self.next().trailing_zeros().min(6) {
            self.change(&mut input, corpus, words);
        }
        input.truncate(MAX_BYTES);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str]) {
        let at = self.below(input.len() + 1);
        match self.below(9) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = EDGES[self.below(EDGES.len())],
            2 => input.insert(at, EDGES[self.below(EDGES.len())]),
            3 => _ = input.drain(self.range(input.len())),
            4 => {
                let piece = input[self.range(input.len())].to_vec();
                input.splice(at..at, piece);
            }
            5 => {
                // The same thing many times over: depth and length.
                let piece = input[self.range(input.len().min(16))].to_vec();
                let times = 1 << self.below(8);
                input.splice(at..at, piece.repeat(times));
            }
            6 => {
                let other = &corpus[self.below(corpus.len())];
                let piece = other[self.range(other.len())].to_vec();
                input.splice(at..at, piece);
            }
            7 if !words.is_empty() => {
                let word = words[self.below(words.len())];
                input.splice(at..at, word.bytes());
            }
            _ => input.truncate(at),
        }
        input.truncate(MAX_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_fault_behind_several_checks_is_found() {
        let found = catch_unwind(|| {
            fuzz(&[b"{\"a\":1}"], &["deep"], |input| {
                assert!(!(input.starts_with(b"{\"deep") && input.len() > 12), "the fault");
                input.starts_with(b"{")
            });
        });
        assert!(found.is_err());
    }

    #[test]
    fn two_runs_of_a_seed_are_the_same() {
        let sum = || {
            let sum = Cell::new(0_u64);
            fuzz(&[b"abc", b"de"], &["word"], |input| {
                sum.set(
                    input
                        .iter()
                        .fold(sum.get(), |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte))),
                );
                true
            });
            sum.get()
        };
        assert_eq!(sum(), sum());
    }
}
