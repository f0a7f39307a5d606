use super::*;
use crate::schema::{Location, open_writer};
use serde_json::json;
use storage::{Author, Encoded};

type Dumped = (i64, i64, i64, String, Option<Vec<u8>>, Told);
/// Who, who behind that, and when.
type Told = (Option<String>, Option<String>, Option<i64>);

struct Fixture {
    machine: StateMachine,
    connection: Connection,
    index: u64,
    _dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        std::fs::write(&path, b"").unwrap();
        let connection = open_writer(&Location::File(path)).unwrap();
        let machine = StateMachine::load(&connection).unwrap();
        Self { machine, connection, index: 0, _dir: dir }
    }

    fn apply(&mut self, command: Command) -> Outcome {
        self.apply_made(command, None)
    }

    fn apply_made(&mut self, command: Command, made: Option<Made>) -> Outcome {
        self.index += 1;
        let entry = Entry { commands: vec![command], made: Vec::from_iter(made) };
        self.machine.apply(position(self.index), &entry, &self.connection).unwrap().pop().unwrap()
    }

    fn dump(&self) -> Vec<Dumped> {
        let sql = "SELECT row, create_revision, previous, key, value, author, impersonator, made_at
                   FROM revisions ORDER BY row";
        let mut statement = self.connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |r| {
            let told = (r.get(5)?, r.get(6)?, r.get(7)?);
            Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, told))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    fn keys(&self) -> Vec<String> {
        let mut statement = self.connection.prepare("SELECT key FROM current ORDER BY key").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }
}

fn position(index: u64) -> Position {
    Position { term: 1, node: 1, index }
}

fn key(name: &str) -> Arc<str> {
    format!("/registry/core/pods/{name}").into()
}

fn object(n: u64) -> Encoded {
    Encoded::new(&json!({"metadata": {"name": "x"}, "n": n})).unwrap()
}

fn create(name: &str, n: u64) -> Operation {
    Operation::Create { key: key(name), object: object(n) }
}

fn update(name: &str, if_revision: u64, n: u64) -> Operation {
    Operation::Update { key: key(name), if_revision, object: object(n) }
}

fn delete(name: &str, if_revision: u64) -> Operation {
    Operation::Delete { key: key(name), if_revision }
}

fn made(user: &str, impersonator: Option<&str>, at_millis: u64) -> Made {
    Made { by: Author::new(user, impersonator), at_millis }
}

fn applied(outcome: Outcome) -> Vec<Applied> {
    match outcome {
        Outcome::Applied(applied) => applied,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_empty_store_is_at_revision_one_and_every_write_has_the_next() {
    let mut f = Fixture::new();
    assert_eq!((f.machine.revision, f.machine.compacted), (1, 0));
    let made = applied(f.apply(Command::Write(create("a", 1))));
    assert_eq!((made[0].revision, made[0].create_revision), (2, 2));
    let (value, splice_at) = made[0].value.clone().unwrap();
    assert_eq!(&value[..], br#"{"metadata":{"resourceVersion":"2","name":"x"},"n":1}"#);
    assert_eq!(splice_at, 13);
    let made = applied(f.apply(Command::Write(update("a", 2, 2))));
    assert_eq!((made[0].revision, made[0].create_revision), (3, 2));
    let made = applied(f.apply(Command::Write(delete("a", 3))));
    assert_eq!((made[0].revision, made[0].create_revision, &made[0].value), (4, 0, &None));
    let made = applied(f.apply(Command::Write(create("a", 3))));
    assert_eq!((made[0].revision, made[0].create_revision), (5, 5));
    assert_eq!(StateMachine::load(&f.connection).unwrap(), f.machine);
}

#[test]
fn writes_that_do_not_fit_are_rejected_and_use_no_revision() {
    let mut f = Fixture::new();
    f.apply(Command::Write(create("a", 1)));
    let rejected = |outcome| match outcome {
        Outcome::Rejected(rejection) => rejection,
        other => panic!("{other:?}"),
    };
    assert_eq!(rejected(f.apply(Command::Write(create("a", 1)))), Rejection::KeyExists { key: key("a") });
    for operation in [update("b", 0, 1), delete("b", 0), update("b", 7, 1)] {
        assert_eq!(rejected(f.apply(Command::Write(operation))), Rejection::NotFound { key: key("b") });
    }
    for operation in [update("a", 1, 1), delete("a", 9)] {
        let rejection = rejected(f.apply(Command::Write(operation)));
        assert!(matches!(rejection, Rejection::Conflict { current: 2, .. }), "{rejection:?}");
    }
    assert_eq!(f.machine.revision, 2);
    applied(f.apply(Command::Write(update("a", 0, 5))));
    applied(f.apply(Command::Write(delete("a", 0))));
}

#[test]
fn a_transaction_is_all_or_nothing_at_one_revision() {
    let mut f = Fixture::new();
    f.apply(Command::Write(create("a", 1)));
    let outcome = f.apply(Command::Transaction(vec![create("b", 1), update("a", 99, 1)]));
    assert!(matches!(outcome, Outcome::Rejected(Rejection::Conflict { .. })));
    assert_eq!(f.keys().len(), 1);
    let made = applied(f.apply(Command::Transaction(vec![create("b", 1), delete("a", 2)])));
    assert!(made.iter().all(|change| change.revision == 3));
    assert_eq!(f.machine.revision, 3);
    for bad in [vec![], vec![create("c", 1), delete("c", 0)]] {
        let outcome = f.apply(Command::Transaction(bad));
        assert!(matches!(outcome, Outcome::Rejected(Rejection::InvalidTransaction { .. })));
    }
}

#[test]
fn compaction_removes_what_was_superseded_and_nothing_else() {
    let mut f = Fixture::new();
    f.apply(Command::Write(create("a", 1))); // 2
    f.apply(Command::Write(create("b", 1))); // 3
    f.apply(Command::Write(update("a", 2, 2))); // 4
    f.apply(Command::Write(delete("b", 3))); // 5
    f.apply(Command::Write(update("a", 4, 3))); // 6
    assert_eq!(f.apply(Command::Compact { revision: 4 }), Outcome::Compacted(4));
    let left: Vec<u64> = f.dump().iter().map(|row| revision_of(row.0)).collect();
    assert_eq!(left, [3, 4, 5, 6]);
    assert_eq!(f.apply(Command::Compact { revision: 6 }), Outcome::Compacted(6));
    let left: Vec<u64> = f.dump().iter().map(|row| revision_of(row.0)).collect();
    assert_eq!(left, [6]);
    assert_eq!(f.keys(), ["/registry/core/pods/a"]);
    assert_eq!(f.apply(Command::Compact { revision: 3 }), Outcome::Compacted(6));
    let future = Rejection::FutureRevision { requested: 7, current: 6 };
    assert_eq!(f.apply(Command::Compact { revision: 7 }), Outcome::Rejected(future));
}

#[test]
fn compaction_leaves_a_key_that_was_created_again() {
    let mut f = Fixture::new();
    f.apply(Command::Write(create("a", 1))); // 2
    f.apply(Command::Write(delete("a", 2))); // 3
    f.apply(Command::Write(create("a", 2))); // 4
    f.apply(Command::Compact { revision: 3 });
    assert_eq!(f.keys().len(), 1);
    f.apply(Command::Compact { revision: 4 });
    assert_eq!((f.keys().len(), f.dump().len()), (1, 1));
    applied(f.apply(Command::Write(update("a", 4, 3))));
}

#[test]
fn the_same_entries_give_the_same_rows() {
    let commands = || {
        vec![
            Command::Write(create("a", 1)),
            Command::Write(create("a", 2)),
            Command::Transaction(vec![create("b", 1), update("a", 0, 3)]),
            Command::Write(delete("b", 3)),
            Command::Compact { revision: 3 },
        ]
    };
    let made = || (0..5).map(|at| made("alice", None, at));
    let (mut one, mut other) = (Fixture::new(), Fixture::new());
    let entry = Entry { commands: commands(), made: made().collect() };
    let whole = one.machine.apply(position(5), &entry, &one.connection).unwrap();
    let single: Vec<_> = commands()
        .into_iter()
        .zip(made())
        .map(|(command, made)| other.apply_made(command, Some(made)))
        .collect();
    assert_eq!(whole, single);
    assert_eq!(one.dump(), other.dump());
    assert_eq!(one.machine, other.machine);
}

#[test]
fn every_row_tells_who_made_it_until_it_is_compacted() {
    let mut f = Fixture::new();
    let told = |f: &Fixture| -> Vec<Told> { f.dump().into_iter().map(|row| row.5).collect() };
    let is = |user: &str, impersonator: Option<&str>, at| {
        (Some(user.to_owned()), impersonator.map(str::to_owned), Some(at))
    };
    f.apply_made(Command::Write(create("a", 1)), Some(made("alice", None, 10))); // 2
    f.apply_made(Command::Write(update("a", 2, 2)), Some(made("bob", Some("root"), 9))); // 3
    // Of the rejected, nothing is left.
    f.apply_made(Command::Write(update("a", 2, 2)), Some(made("eve", None, 11)));
    let both = Command::Transaction(vec![create("b", 1), delete("a", 3)]);
    f.apply_made(both, Some(made("carol", None, 12))); // 4
    f.apply(Command::Write(update("b", 4, 2))); // 5
    let all = [
        is("alice", None, 10),
        is("bob", Some("root"), 9),
        is("carol", None, 12),
        is("carol", None, 12),
        (None, None, None),
    ];
    assert_eq!(told(&f), all);
    f.apply(Command::Compact { revision: 3 });
    assert_eq!(told(&f), all[1..]);
    f.apply(Command::Compact { revision: 5 });
    assert_eq!(told(&f), all[4..]);
}
