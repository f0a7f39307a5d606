//! Nodes that fetch the log: they serve as all others do, and nobody counts on them.

use crate::cluster::{Node, Nodes, names, timing, until};
use crate::fixture::{PODS, next, object, pod};
use datastore::raft::{Change, ChangeError, Role, Timing};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use storage::{Storage, StorageError, WatchFrom};

fn by_hand() -> Timing {
    Timing { roles_every: None, patience: Duration::from_secs(3), ..timing() }
}

fn role_of(nodes: &[Node], id: u64) -> Option<Role> {
    nodes[0].cluster().members().get(&id).map(|(_, role)| *role)
}

/// How many nodes have each role, as all of them say.
async fn roles(nodes: &Nodes, voters: usize, standbys: usize, spares: usize) {
    until(|| {
        let known = |node: &Node| node.cluster().members();
        let first = known(&nodes.nodes[0]);
        let count = |wanted| first.values().filter(|(_, role)| *role == wanted).count();
        (count(Role::Voter), count(Role::Standby), count(Role::Spare)) == (voters, standbys, spares)
            && nodes.nodes.iter().all(|node| known(node) == first)
    })
    .await;
}

/// Three voters and a spare, which is the last one; roles change by hand.
async fn three_and_a_spare() -> Nodes {
    let mut nodes = Nodes::with_spares(3, by_hand(), 0).await;
    for n in 1..3 {
        let id = nodes.nodes[n].cluster().id();
        nodes.nodes[0].cluster().change(Change::Promote(id)).await.unwrap();
    }
    nodes.join("n4").await;
    make_spare(&nodes, 3).await;
    roles(&nodes, 3, 0, 1).await;
    nodes
}

async fn make_spare(nodes: &Nodes, at: usize) {
    let cluster = nodes.nodes[at].cluster();
    loop {
        match cluster.change(Change::MakeSpare(cluster.id())).await {
            Ok(_) => return,
            // It has not caught up yet.
            Err(ChangeError::Refused(why)) => assert!(why.contains("does not know"), "{why}"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Writes at one node and reads at another, until it succeeds.
async fn passes(from: &Node, to: &Node, name: &str) {
    let passed = tokio::time::timeout(Duration::from_secs(60), try_to_pass(from, to, name));
    passed.await.expect("it never passes");
}

async fn try_to_pass(from: &Node, to: &Node, name: &str) {
    loop {
        match from.store.create(&pod(name), object(name, 1)).await {
            Ok(_) | Err(StorageError::KeyExists { .. }) => break,
            Err(StorageError::Unavailable { .. } | StorageError::Unknown { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    loop {
        match to.store.get(&pod(name)).await {
            Ok(read) => return assert!(read.is_some(), "a stale read of {name}"),
            Err(StorageError::Unavailable { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spare_reads_writes_and_watches_as_every_node_does() {
    let nodes = three_and_a_spare().await;
    let spare = &nodes.nodes[3];
    let mut watch = spare.store.watch(PODS, WatchFrom::Now).await.unwrap();
    for n in 0..4 {
        let name = format!("p{n}");
        let made = nodes.nodes[n].store.create(&pod(&name), object(&name, 1)).await.unwrap();
        for node in &nodes.nodes {
            assert_eq!(node.store.get(&pod(&name)).await.unwrap().unwrap().revision, made.revision);
        }
        assert_eq!(next(&mut watch).await.unwrap().revision, made.revision);
    }
    let error = spare.store.create(&pod("p0"), object("p0", 1)).await.unwrap_err();
    assert!(matches!(error, StorageError::KeyExists { .. }), "{error}");
    let status = spare.cluster().status().await;
    assert!(status.quorum && status.survives_a_loss && status.leader.is_some(), "{status:?}");
    let own = status.members.iter().find(|member| member.id == spare.cluster().id()).unwrap();
    assert!(own.role == Role::Spare && own.report.is_some(), "{own:?}");
    assert_eq!(spare.store.history(&pod("p1")).await.unwrap().len(), 1);
    // What was written while it was away, and is in nobody's log any more, comes as a snapshot.
    let mut nodes = nodes;
    let (dir, address) = nodes.kill(3);
    for n in 0..60 {
        let name = format!("later{n}");
        nodes.nodes[0].store.create(&pod(&name), object(&name, n)).await.unwrap();
    }
    for node in &nodes.nodes {
        while node.store.condition(false).await.unwrap().log_entries >= 40 {
            tokio::task::yield_now().await;
        }
    }
    nodes.start(dir, address).await;
    passes(&nodes.nodes[3], &nodes.nodes[0], "at last").await;
    assert_eq!(names(&nodes.nodes[3].store).await, names(&nodes.nodes[0].store).await);
    assert_eq!(role_of(&nodes.nodes, nodes.nodes[3].cluster().id()), Some(Role::Spare));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spare_is_fed_by_whoever_has_the_log_and_is_alive() {
    let mut nodes = three_and_a_spare().await;
    let leader = nodes.leader().await;
    let leader = nodes.nodes[leader].address.clone();
    let others: Vec<String> = nodes.nodes[..3].iter().map(|node| node.address.clone()).collect();
    for (n, other) in others.iter().filter(|other| **other != leader).enumerate() {
        let at = nodes.nodes.iter().position(|node| node.address == *other).unwrap();
        let (dir, address) = nodes.kill(at);
        let spare = nodes.nodes.iter().find(|node| node.address == "n4").unwrap();
        let first = nodes.nodes.iter().find(|node| node.address == leader).unwrap();
        passes(first, spare, &format!("without-{n}")).await;
        passes(spare, first, &format!("from-without-{n}")).await;
        nodes.start(dir, address).await;
    }
    // A host that answers, and has nothing new itself.
    for (n, other) in others.iter().filter(|other| **other != leader).enumerate() {
        let rest: Vec<&str> = others.iter().filter(|name| *name != other).map(String::as_str).collect();
        nodes.board.part(other, &rest, true);
        let spare = nodes.nodes.iter().find(|node| node.address == "n4").unwrap();
        let first = nodes.nodes.iter().find(|node| node.address == leader).unwrap();
        passes(first, spare, &format!("past-{n}")).await;
        passes(spare, first, &format!("from-past-{n}")).await;
        nodes.board.part(other, &rest, false);
        nodes.leader().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_write_of_a_node_happens_twice_while_its_role_changes() {
    let nodes = three_and_a_spare().await;
    let store = Arc::clone(&nodes.nodes[3].store);
    let done = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&done);
    let writer = tokio::spawn(async move {
        let (mut n, mut written) = (0, Vec::new());
        while !end.load(Ordering::Acquire) || n < 50 {
            let name = format!("w{n}");
            n += 1;
            match store.create(&pod(&name), object(&name, n)).await {
                Ok(_) => written.push(pod(&name)),
                Err(StorageError::Unknown { .. } | StorageError::Unavailable { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        written
    });
    let id = nodes.nodes[3].cluster().id();
    for round in 0..3 {
        let leader = nodes.leader().await;
        nodes.nodes[leader].cluster().change(Change::Promote(id)).await.unwrap();
        assert_eq!(role_of(&nodes.nodes[leader..], id), Some(Role::Voter), "round {round}");
        nodes.nodes[leader].cluster().hand_over().await;
        nodes.leader().await;
        loop {
            match nodes.nodes[0].cluster().change(Change::Demote(id)).await {
                Ok(_) => break,
                Err(error) => assert!(matches!(error, ChangeError::Unfinished(_)), "{error}"),
            }
        }
        make_spare(&nodes, 3).await;
    }
    done.store(true, Ordering::Release);
    let written = writer.await.unwrap();
    assert!(written.len() >= 40, "{}", written.len());
    let all = names(&nodes.nodes[0].store).await;
    for name in written {
        assert!(all.iter().any(|(key, _)| *key == name), "{name} is lost");
    }
    assert_eq!(all, names(&nodes.nodes[3].store).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spares_take_the_places_of_nodes_that_die_and_give_them_back() {
    let timing = Timing { dead_after: Duration::from_secs(1), ..timing() };
    let mut nodes = Nodes::with_spares(5, timing, 1).await;
    roles(&nodes, 3, 1, 1).await;
    let find = |nodes: &Nodes, wanted| {
        let members = nodes.nodes[0].cluster().members();
        let is = |node: &Node| members[&node.cluster().id()].1 == wanted && !node.cluster().is_leader();
        nodes.nodes.iter().position(is).unwrap()
    };
    let spare = nodes.nodes[find(&nodes, Role::Spare)].cluster().id();
    let dead = find(&nodes, Role::Standby);
    let (dir, address) = nodes.kill(dead);
    until(|| role_of(&nodes.nodes, spare) == Some(Role::Standby)).await;
    // It is counted again when it is back; the newer one of the two becomes a spare.
    nodes.start(dir, address).await;
    roles(&nodes, 3, 1, 1).await;
    // A voter: the standby takes its place, and the spare that of the standby.
    let dead = find(&nodes, Role::Voter);
    let id = nodes.nodes[dead].cluster().id();
    nodes.kill(dead);
    until(|| {
        let members = nodes.nodes[0].cluster().members();
        let alive = |wanted| members.iter().filter(|(at, (_, role))| **at != id && *role == wanted).count();
        (alive(Role::Voter), alive(Role::Standby)) == (3, 1)
    })
    .await;
    nodes.nodes[0].cluster().change(Change::Remove(id)).await.unwrap();
    roles(&nodes, 3, 1, 0).await;
    for n in 0..4 {
        passes(&nodes.nodes[n], &nodes.nodes[(n + 1) % 4], &format!("after{n}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spare_leaves_and_another_comes_under_its_name() {
    let mut nodes = three_and_a_spare().await;
    let refused = |change| {
        let cluster = Arc::clone(nodes.nodes[0].cluster());
        async move {
            let error = cluster.change(change).await.unwrap_err();
            assert!(matches!(error, ChangeError::Refused(_)), "{error}");
        }
    };
    refused(Change::MakeSpare(nodes.nodes[0].cluster().id())).await;
    refused(Change::MakeSpare(77)).await;
    refused(Change::MakeStandby(77)).await;
    // Another address does not make it anything else.
    let spare = nodes.nodes[3].cluster();
    let id = spare.id();
    let (mut member, _) = spare.members()[&id].clone();
    member.failure_domain = "x".into();
    spare.change(Change::Update(id, member)).await.unwrap();
    until(|| nodes.nodes[0].cluster().members()[&id].0.failure_domain == "x").await;
    assert_eq!(role_of(&nodes.nodes, id), Some(Role::Spare));
    let gone = nodes.nodes.pop().unwrap();
    gone.cluster().change(Change::Remove(id)).await.unwrap();
    nodes.nodes[0].store.create(&pod("unheard"), object("unheard", 1)).await.unwrap();
    // Nobody feeds it any more.
    let error = gone.store.get(&pod("unheard")).await;
    assert!(!matches!(error, Ok(Some(_))), "{error:?}");
    gone.store.shutdown().await;
    nodes.board.detach("n4");
    let again = nodes.join("n4").await;
    assert!(again > id);
    make_spare(&nodes, 3).await;
    passes(&nodes.nodes[3], &nodes.nodes[0], "again").await;
}
