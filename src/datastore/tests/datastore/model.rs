//! Random operations against a model. The seed is printed with a failure; `KNARR_SEED` repeats it.

use crate::fixture::{Fixture, next, object, parse};
use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::time::Duration;
use storage::{EventKind, ListOptions, ListRevision, Storage, StorageError, Watch, WatchFrom, WatchItem};

const STEPS: usize = 400;

type State = BTreeMap<String, (u64, u64, u64)>; // key -> create revision, revision, n

struct Model {
    revision: u64,
    compacted: u64,
    states: BTreeMap<u64, State>,
}

impl Model {
    fn now(&self) -> &State {
        &self.states[&self.revision]
    }

    fn change(&mut self, change: impl FnOnce(&mut State, u64)) {
        let mut state = self.now().clone();
        self.revision += 1;
        change(&mut state, self.revision);
        self.states.insert(self.revision, state);
    }
}

fn key(random: &mut StdRng) -> String {
    let resource = ["core/pods/a", "core/pods/b", "core/nodes"][random.random_range(0..3)];
    format!("/registry/{resource}/k{}", random.random_range(0..6))
}

fn prefix(random: &mut StdRng) -> &'static str {
    ["/registry/core/pods/", "/registry/core/pods/a/", "/registry/core/nodes/", "/registry/core/pods/b/k1"]
        [random.random_range(0..4)]
}

fn below(state: &State, prefix: &str) -> State {
    let within = |key: &str| if prefix.ends_with('/') { key.starts_with(prefix) } else { key == prefix };
    state.iter().filter(|(key, _)| within(key)).map(|(key, v)| (key.clone(), *v)).collect()
}

async fn run(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut f = Fixture::new().await;
    let mut model = Model { revision: 1, compacted: 0, states: BTreeMap::from([(1, State::new())]) };
    for step in 0..STEPS {
        let at = format!("seed {seed} step {step}");
        match random.random_range(0..100) {
            0..30 => create(&f, &mut model, &mut random, &at).await,
            30..65 => update_or_delete(&f, &mut model, &mut random, &at).await,
            65..85 => list(&f, &model, &mut random, &at).await,
            85..93 => watch(&f, &model, &mut random, &at).await,
            93..96 => {
                let revision = random.random_range(0..=model.revision);
                f.store.compact(revision).await.unwrap();
                model.compacted = model.compacted.max(revision);
            }
            _ => f = f.reopen().await,
        }
        assert_eq!(f.store.revision(), model.revision, "{at}");
        assert_eq!(f.store.compacted_revision(), model.compacted, "{at}");
    }
}

async fn create(f: &Fixture, model: &mut Model, random: &mut StdRng, at: &str) {
    let (key, n) = (key(random), random.random_range(0..1000));
    let result = f.store.create(&key, object("o", n)).await;
    if model.now().contains_key(&key) {
        assert!(matches!(result, Err(StorageError::KeyExists { .. })), "{at}");
    } else {
        model.change(|state, revision| _ = state.insert(key, (revision, revision, n)));
        assert_eq!(result.unwrap().revision, model.revision, "{at}");
    }
}

async fn update_or_delete(f: &Fixture, model: &mut Model, random: &mut StdRng, at: &str) {
    let (key, n) = (key(random), random.random_range(0..1000));
    let current = model.now().get(&key).copied();
    let expected = match random.random_range(0..3) {
        0 => 0,
        1 => current.map_or(5, |(_, revision, _)| revision),
        _ => random.random_range(0..=model.revision),
    };
    let delete = random.random_bool(0.4);
    let result = match delete {
        true => f.store.delete(&key, expected).await,
        false => f.store.update(&key, expected, object("o", n)).await,
    };
    match (current, result) {
        (None, Err(StorageError::NotFound { .. })) => {}
        (Some((_, revision, _)), Err(StorageError::Conflict { current, .. })) => {
            assert!(expected != 0 && expected != revision, "{at}");
            assert_eq!(current.revision, revision, "{at}");
        }
        (Some((created, revision, _)), Ok(object)) => {
            assert!(expected == 0 || expected == revision, "{at}");
            model.change(|state, revision| match delete {
                true => _ = state.remove(&key),
                false => _ = state.insert(key, (created, revision, n)),
            });
            assert_eq!((object.create_revision, object.revision), (created, model.revision), "{at}");
        }
        (current, result) => panic!("{at}: {current:?} {result:?}"),
    }
}

async fn list(f: &Fixture, model: &Model, random: &mut StdRng, at: &str) {
    let prefix = prefix(random);
    let asked = random.random_range(0..=model.revision);
    let revision = match random.random_range(0..3) {
        0 => ListRevision::MostRecent,
        1 => ListRevision::NotOlderThan(asked),
        _ => ListRevision::Exact(asked),
    };
    let expected_revision =
        if let ListRevision::Exact(revision) = revision { revision } else { model.revision };
    let limit = random.random_range(0..4);
    let mut options = ListOptions { revision, limit, ..ListOptions::default() };
    let mut seen = State::new();
    loop {
        let list = match f.store.list(prefix, options.clone()).await {
            Ok(list) => list,
            Err(StorageError::Compacted { .. }) => {
                assert!(expected_revision < model.compacted, "{at}");
                return;
            }
            Err(other) => panic!("{at}: {other}"),
        };
        assert_eq!(list.revision, expected_revision, "{at}");
        assert!(limit == 0 || list.items.len() <= limit, "{at}");
        for object in &list.items {
            let n = parse(&object.value)["n"].as_u64().unwrap();
            let before = seen.insert(object.key.to_string(), (object.create_revision, object.revision, n));
            assert!(before.is_none(), "{at}");
        }
        let Some(last) = list.items.last().filter(|_| list.more) else { break };
        options.start_after = Some(last.key.to_string());
        options.revision = ListRevision::Exact(list.revision);
    }
    let empty = State::new();
    let state = model.states.range(..=expected_revision).next_back().map_or(&empty, |(_, state)| state);
    assert_eq!(seen, below(state, prefix), "{at} {prefix} {revision:?}");
}

async fn watch(f: &Fixture, model: &Model, random: &mut StdRng, at: &str) {
    let prefix = prefix(random);
    let from = random.random_range(0..=model.revision);
    let watch = f.store.watch(prefix, WatchFrom::Revision(from)).await;
    if from < model.compacted {
        assert!(matches!(watch, Err(StorageError::Compacted { .. })), "{at}");
        return;
    }
    let mut watch: Watch = watch.unwrap().with_progress(Duration::from_millis(1));
    let mut state = model.states.get(&from).map_or_else(State::new, |state| below(state, prefix));
    for (revision, wanted) in model.states.range(from + 1..) {
        let wanted = below(wanted, prefix);
        if wanted == state {
            continue;
        }
        let event = next(&mut watch).await.unwrap();
        assert_eq!(event.revision, *revision, "{at}");
        let key = event.object.key.to_string();
        if event.kind == EventKind::Deleted {
            assert!(state.remove(&key).is_some(), "{at}");
        } else {
            let n = parse(&event.object.value)["n"].as_u64().unwrap();
            let before = state.insert(key, (event.object.create_revision, event.revision, n));
            assert_eq!(before.is_none(), event.kind == EventKind::Added, "{at}");
        }
        assert_eq!(state, wanted, "{at}");
    }
    let item = watch.next().await.unwrap().unwrap();
    assert!(matches!(item, WatchItem::Progress(revision) if revision == model.revision), "{at}: {item:?}");
    assert_eq!(watch.progress(), model.revision, "{at}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_operations_do_what_a_map_would_do() {
    match std::env::var("KNARR_SEED") {
        Ok(seed) => run(seed.parse().unwrap()).await,
        Err(_) => {
            for seed in 1..=5 {
                run(seed).await;
            }
        }
    }
}
