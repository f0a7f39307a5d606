//! What clients asked of the API and what they were told, judged: is there an order in which all of it happened, one
//! after the other, each between its question and its answer?
//!
//! Keys are objects of one kind that are created once and then changed under the condition of the version that the
//! client knows. Every value is written by one request only, so a value tells which request it came from.
//!
//! The search is that of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993) with Lowe's memory of states
//! that lead nowhere, for each key by itself: linearizability is local. What holds between keys is told by versions,
//! which are one order of all writes: see [`History::check`].

use anyhow::{Result, bail, ensure};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

/// What a write wrote, different for every write.
pub type Value = u64;
/// A resource version.
pub type Version = u64;

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A consistent read.
    Get,
    /// There has to be none.
    Create(Value),
    /// It has to have this version.
    Update(Version, Value),
}

/// What it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is this.
    Found(Value, Version),
    /// There is none.
    Absent,
    /// It is written.
    Done(Version),
    /// It was not written: there is one already, or it has another version.
    Refused,
    /// The answer never came: it may be written, now, later or never.
    Lost,
}

/// One question about one key.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// The object.
    pub key: u64,
    /// What was asked.
    pub action: Action,
    /// What was told.
    pub answer: Answer,
    /// When it was asked, on the clock of all clients.
    pub begin: Duration,
    /// When the answer came.
    pub end: Duration,
}

/// All objects at once.
#[derive(Clone, Debug)]
pub struct List {
    /// The version of the whole.
    pub version: Version,
    /// Value and version of each key.
    pub items: BTreeMap<u64, (Value, Version)>,
    /// When it was asked for.
    pub begin: Duration,
    /// When it came.
    pub end: Duration,
}

/// All that the clients of a test were told.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Questions about one key.
    pub operations: Vec<Operation>,
    /// Consistent lists.
    pub lists: Vec<List>,
}

impl Operation {
    /// Nobody knows when a write whose answer was lost took effect.
    fn deadline(&self) -> Duration {
        if self.answer == Answer::Lost { Duration::MAX } else { self.end }
    }

    /// The value and version that the answer shows.
    fn shows(&self) -> Option<(Value, Version)> {
        match (self.action, self.answer) {
            (_, Answer::Found(value, version)) => Some((value, version)),
            (Action::Create(value) | Action::Update(_, value), Answer::Done(version)) => {
                Some((value, version))
            }
            _ => None,
        }
    }
}

impl History {
    /// Adds what other clients were told.
    pub fn extend(&mut self, other: Self) {
        self.operations.extend(other.operations);
        self.lists.extend(other.lists);
    }

    /// Judges it:
    ///
    /// - a value has one version, and keys, values and versions belong together;
    /// - a write has a higher version than all that anybody had seen before it was asked for;
    /// - what is told of each key can have happened one after the other;
    /// - a list is the state at its version, which is not older than what anybody had seen before it was asked for.
    ///
    /// # Errors
    /// What cannot be, with what is needed to understand why.
    pub fn check(&self) -> Result<()> {
        let versions = self.versions()?;
        self.versions_rise()?;
        let mut keys: BTreeMap<u64, Vec<Operation>> = BTreeMap::new();
        for operation in &self.operations {
            keys.entry(operation.key).or_default().push(*operation);
        }
        for (key, operations) in keys {
            one_after_the_other(operations, &versions)
                .map_err(|why| anyhow::anyhow!("key {key} is not linearizable\n{why}"))?;
        }
        self.lists_are_states()
    }

    /// Which version each value has.
    fn versions(&self) -> Result<HashMap<Version, Value>> {
        let mut of_value: HashMap<Value, (u64, Version)> = HashMap::new();
        let mut of_version: HashMap<Version, Value> = HashMap::new();
        let listed = self.lists.iter().flat_map(|list| &list.items).map(|(key, shown)| (*key, *shown));
        let told = self.operations.iter().filter_map(|operation| Some((operation.key, operation.shows()?)));
        for (key, (value, version)) in told.chain(listed) {
            let known = *of_value.entry(value).or_insert((key, version));
            ensure!(
                known == (key, version),
                "value {value} is of key and version {known:?} and {:?}",
                (key, version)
            );
            let known = *of_version.entry(version).or_insert(value);
            ensure!(known == value, "version {version} is that of value {known} and of {value}");
        }
        Ok(of_version)
    }

    /// Versions are an order of all writes that agrees with the clock.
    fn versions_rise(&self) -> Result<()> {
        let floors = Floors::of(self);
        for operation in &self.operations {
            if let (Action::Create(_) | Action::Update(..), Answer::Done(version)) =
                (operation.action, operation.answer)
            {
                let floor = floors.before(operation.begin);
                ensure!(version > floor, "version {floor} had been seen before {operation:?}");
            }
        }
        for list in &self.lists {
            let floor = floors.before(list.begin);
            ensure!(list.version >= floor, "a stale list: {floor} had been seen before {list:?}");
        }
        Ok(())
    }

    fn lists_are_states(&self) -> Result<()> {
        let mut keys: BTreeMap<u64, BTreeMap<Version, Value>> = BTreeMap::new();
        for operation in &self.operations {
            if let Some((value, version)) = operation.shows() {
                keys.entry(operation.key).or_default().insert(version, value);
            }
        }
        for list in &self.lists {
            for (key, written) in &keys {
                let newest =
                    written.range(..=list.version).next_back().map(|(version, value)| (*value, *version));
                let item = list.items.get(key).copied();
                // A write whose answer was lost may be known from lists alone.
                let fits = item == newest || item.map(|item| item.1) > newest.map(|newest| newest.1);
                ensure!(
                    fits && item.is_none_or(|item| item.1 <= list.version),
                    "the list at {} has {item:?} as key {key}, which was {newest:?}",
                    list.version
                );
            }
        }
        Ok(())
    }
}

/// The newest version that anybody had seen at each time.
struct Floors(BTreeMap<Duration, Version>);

impl Floors {
    fn of(history: &History) -> Self {
        let told = history.operations.iter().filter_map(|told| Some((told.end, told.shows()?.1)));
        let listed = history.lists.iter().map(|list| (list.end, list.version));
        let mut all: Vec<(Duration, Version)> = told.chain(listed).collect();
        all.sort_unstable();
        let mut newest = 0;
        let rising = all.into_iter().map(|(at, version)| {
            newest = newest.max(version);
            (at, newest)
        });
        Self(rising.collect())
    }

    fn before(&self, time: Duration) -> Version {
        self.0.range(..time).next_back().map_or(0, |(_, version)| *version)
    }
}

/// Which operations of a key are done in the order under trial, one bit each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Bits(Vec<u64>);

impl Bits {
    fn has(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    fn flip(&mut self, at: usize) {
        if let Some(word) = self.0.get_mut(at / 64) {
            *word ^= 1 << (at % 64);
        }
    }
}

/// What a key holds after an operation; None when the operation cannot have had its answer then.
fn step(
    operation: &Operation,
    state: Option<Value>,
    versions: &HashMap<Version, Value>,
) -> Option<Option<Value>> {
    let expected = |version: Version| versions.get(&version).copied();
    let possible = match (operation.action, operation.answer) {
        (Action::Get, Answer::Found(value, _)) => state == Some(value),
        (Action::Get | Action::Update(..), Answer::Absent) => state.is_none(),
        (Action::Create(_), Answer::Done(_) | Answer::Lost) => state.is_none(),
        (Action::Create(_), Answer::Refused) => state.is_some(),
        (Action::Update(version, _), Answer::Done(_) | Answer::Lost) => {
            state.is_some() && state == expected(version)
        }
        (Action::Update(version, _), Answer::Refused) => state.is_some() && state != expected(version),
        // No answers to these questions.
        (Action::Get, _)
        | (Action::Create(_), Answer::Absent | Answer::Found(..))
        | (_, Answer::Found(..)) => false,
    };
    let after = match (operation.action, operation.answer) {
        (Action::Create(value) | Action::Update(_, value), Answer::Done(_) | Answer::Lost) => Some(value),
        _ => state,
    };
    possible.then_some(after)
}

/// One choice in the order under trial.
struct Choice {
    /// What could come next, the best first.
    candidates: std::vec::IntoIter<usize>,
    /// What came, once it is chosen.
    chosen: Option<usize>,
    /// What the key held before.
    state: Option<Value>,
}

fn one_after_the_other(mut operations: Vec<Operation>, versions: &HashMap<Version, Value>) -> Result<()> {
    operations.sort_by_key(|operation| operation.begin);
    let needed = operations.iter().filter(|operation| operation.answer != Answer::Lost).count();
    let mut done = Bits(vec![0; operations.len().div_ceil(64)]);
    let (mut state, mut count) = (None, 0);
    let mut dead: HashSet<(Bits, Option<Value>)> = HashSet::new();
    let mut best = (0, Vec::new(), None);
    let mut path = vec![Choice { candidates: candidates(&operations, &done), chosen: None, state }];
    // Writes whose answers were lost need not have happened.
    while count < needed {
        let Some(choice) = path.last_mut() else {
            let (count, next, state) = best;
            bail!(
                "after {count} of {needed} operations it was {state:?}, and none of these can have been next:\n{next:#?}"
            );
        };
        if let Some(chosen) = choice.chosen.take() {
            // It led nowhere.
            done.flip(chosen);
            state = choice.state;
            count -= usize::from(operations[chosen].answer != Answer::Lost);
        }
        let Some(next) = choice.candidates.next() else {
            path.pop();
            continue;
        };
        let Some(after) = step(&operations[next], state, versions) else { continue };
        done.flip(next);
        if !dead.insert((done.clone(), after)) {
            done.flip(next);
            continue;
        }
        choice.chosen = Some(next);
        state = after;
        count += usize::from(operations[next].answer != Answer::Lost);
        let candidates = candidates(&operations, &done);
        if count >= best.0 {
            best = (count, candidates.clone().map(|at| operations[at]).collect(), state);
        }
        path.push(Choice { candidates, chosen: None, state });
    }
    Ok(())
}

/// What can come next: what was asked before the first of what is left was answered.
fn candidates(operations: &[Operation], done: &Bits) -> std::vec::IntoIter<usize> {
    let mut first = Duration::MAX;
    let mut found = Vec::new();
    for (at, operation) in operations.iter().enumerate().filter(|(at, _)| !done.has(*at)) {
        if operation.begin > first {
            break;
        }
        first = first.min(operation.deadline());
        found.push(at);
    }
    found.sort_by_key(|at| operations[*at].deadline());
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(key: u64, begin: u64, end: u64, action: Action, answer: Answer) -> Operation {
        let (begin, end) = (Duration::from_millis(begin), Duration::from_millis(end));
        Operation { key, action, answer, begin, end }
    }

    fn check(operations: &[Operation]) -> Result<(), String> {
        let history = History { operations: operations.to_vec(), lists: Vec::new() };
        history.check().map_err(|error| format!("{error:#}"))
    }

    use Action::{Create, Get, Update};
    use Answer::{Absent, Done, Found, Lost, Refused};

    #[test]
    fn what_overlaps_may_have_happened_either_way() {
        let create = told(1, 0, 10, Create(1), Done(5));
        check(&[create, told(1, 5, 6, Get, Absent), told(1, 6, 9, Get, Found(1, 5))]).unwrap();
        check(&[create, told(1, 1, 9, Create(2), Refused), told(1, 11, 12, Get, Found(1, 5))]).unwrap();
        let update = told(1, 20, 30, Update(5, 2), Done(6));
        check(&[create, update, told(1, 21, 29, Update(5, 3), Refused), told(1, 22, 23, Get, Found(1, 5))])
            .unwrap();
    }

    #[test]
    fn a_stale_read_is_found() {
        let create = told(1, 0, 10, Create(1), Done(5));
        let error = check(&[create, told(1, 11, 12, Get, Absent)]).unwrap_err();
        assert!(error.contains("key 1 is not linearizable"), "{error}");
        let update = told(1, 20, 30, Update(5, 2), Done(6));
        check(&[create, update, told(1, 31, 40, Get, Found(1, 5))]).unwrap_err();
        // Once somebody has read the new value, nobody may read the old one, written or not.
        let update = told(1, 20, 90, Update(5, 2), Done(6));
        let (new, old) = (told(1, 31, 40, Get, Found(2, 6)), told(1, 41, 50, Get, Found(1, 5)));
        check(&[create, update, old]).unwrap();
        check(&[create, update, new, old]).unwrap_err();
        // Another key has nothing to do with it.
        check(&[create, told(2, 11, 12, Get, Absent)]).unwrap();
    }

    #[test]
    fn a_lost_write_is_found() {
        let all = [
            told(1, 0, 10, Create(1), Done(5)),
            told(1, 20, 30, Update(5, 2), Done(6)),
            told(1, 40, 50, Update(5, 3), Done(7)),
        ];
        check(&all[..2]).unwrap();
        check(&all).unwrap_err();
        check(&[all[0], told(1, 15, 17, Create(2), Done(8))]).unwrap_err();
    }

    #[test]
    fn two_writes_on_one_condition_are_found() {
        let create = told(1, 0, 10, Create(1), Done(5));
        let (one, other) = (told(1, 20, 30, Update(5, 2), Done(6)), told(1, 20, 30, Update(5, 3), Done(7)));
        check(&[create, one]).unwrap();
        check(&[create, one, other]).unwrap_err();
        check(&[told(1, 0, 10, Create(1), Done(5)), told(1, 0, 10, Create(2), Done(6))]).unwrap_err();
    }

    #[test]
    fn an_update_is_refused_only_for_a_reason() {
        let create = told(1, 0, 10, Create(1), Done(5));
        check(&[create, told(1, 20, 30, Update(5, 2), Refused)]).unwrap_err();
        // Told that it was not written, and it was: the server has asked the leader twice.
        check(&[create, told(1, 20, 30, Update(5, 2), Refused), told(1, 40, 50, Get, Found(2, 6))])
            .unwrap_err();
    }

    #[test]
    fn a_write_without_an_answer_may_happen_later_or_never_but_once() {
        let create = told(1, 0, 10, Create(1), Done(5));
        let lost = told(1, 20, 30, Update(5, 2), Lost);
        let (old, new) = (told(1, 40, 50, Get, Found(1, 5)), told(1, 60, 70, Get, Found(2, 6)));
        check(&[create, lost, old]).unwrap();
        check(&[create, lost, old, new]).unwrap();
        check(&[create, lost, new, told(1, 80, 90, Get, Found(1, 5))]).unwrap_err();
        check(&[create, lost, new, told(1, 80, 90, Update(5, 3), Refused)]).unwrap();
        check(&[create, lost, told(1, 40, 50, Update(5, 3), Done(6)), told(1, 60, 70, Get, Found(2, 7))])
            .unwrap_err();
    }

    #[test]
    fn versions_belong_to_values_and_rise_with_time() {
        let create = told(1, 0, 10, Create(1), Done(5));
        let error = check(&[create, told(1, 20, 30, Get, Found(1, 6))]).unwrap_err();
        assert!(error.contains("value 1"), "{error}");
        let error = check(&[create, told(2, 0, 30, Create(2), Done(5))]).unwrap_err();
        assert!(error.contains("version 5"), "{error}");
        let error = check(&[create, told(2, 20, 30, Create(2), Done(4))]).unwrap_err();
        assert!(error.contains("version 5 had been seen"), "{error}");
        check(&[create, told(2, 9, 30, Create(2), Done(4))]).unwrap();
    }

    #[test]
    fn a_list_is_one_state_and_no_old_one() {
        let operations = vec![
            told(1, 0, 10, Create(1), Done(5)),
            told(2, 11, 20, Create(2), Done(6)),
            told(1, 21, 30, Update(5, 3), Done(7)),
        ];
        let list = |version, begin: u64, items: &[(u64, (Value, Version))]| {
            let (begin, items) = (Duration::from_millis(begin), items.iter().copied().collect());
            let lists = vec![List { version, items, begin, end: begin }];
            History { operations: operations.clone(), lists }.check().map_err(|error| error.to_string())
        };
        list(7, 40, &[(1, (3, 7)), (2, (2, 6))]).unwrap();
        list(6, 25, &[(1, (1, 5)), (2, (2, 6))]).unwrap();
        assert!(list(6, 31, &[(1, (1, 5)), (2, (2, 6))]).unwrap_err().contains("a stale list"));
        assert!(list(7, 40, &[(1, (1, 5)), (2, (2, 6))]).unwrap_err().contains("the list at 7"));
        assert!(list(7, 40, &[(1, (3, 7))]).unwrap_err().contains("the list at 7"));
        assert!(list(6, 25, &[(1, (3, 7)), (2, (2, 6))]).unwrap_err().contains("the list at 6"));
    }

    #[test]
    fn many_lost_writes_are_judged_in_time() {
        let mut all = vec![told(1, 0, 1, Create(1), Done(1))];
        // Each round: three clients update what they know, one wins, the answers of the others are lost.
        for round in 1..300u64 {
            let (at, known) = (round * 10, round);
            all.push(told(1, at, at + 9, Update(known, round + 1), Done(round + 1)));
            all.push(told(1, at, at + 5, Update(known, 1_000 + round), Lost));
            all.push(told(1, at + 1, at + 6, Update(known, 2_000 + round), Lost));
        }
        check(&all).unwrap();
        all.push(told(1, 5_000, 5_001, Get, Found(7, 7)));
        check(&all).unwrap_err();
    }
}
