//! Changes of the voters that concern the leader itself.

use crate::cluster::{Node, Nodes, timing, until};
use crate::fixture::{object, pod};
use datastore::raft::{Change, Role, Timing};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use storage::Storage;

/// Nobody stands for election who is not asked to.
fn by_hand() -> Timing {
    Timing { roles_every: None, election: Duration::from_secs(1), ..timing() }
}

fn voters(node: &Node) -> BTreeSet<u64> {
    let members = node.cluster().members().into_iter();
    members.filter(|(_, (_, role))| *role == Role::Voter).map(|(id, _)| id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_only_voter_that_is_replaced_hands_over_first() {
    let nodes = Nodes::new(2, by_hand()).await;
    let (one, other) = (&nodes.nodes[0], &nodes.nodes[1]);
    let (old, new) = (one.cluster().id(), other.cluster().id());
    let before = one.cluster().term();
    one.cluster().change(Change::Replace { old, new }).await.unwrap();
    // Who has made the change leads on; otherwise nobody would yet.
    assert!(one.cluster().term() > before && other.cluster().is_leader());
    assert_eq!(voters(other), BTreeSet::from([new]));
    for node in &nodes.nodes {
        let made = node.store.create(&pod(&node.address), object("p", 1)).await.unwrap();
        assert_eq!(node.store.revision(), made.revision);
    }
    until(|| voters(one) == voters(other) && !one.cluster().is_leader()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_replaced_hands_over_first() {
    let nodes = Nodes::new(4, by_hand()).await;
    for node in &nodes.nodes[1..3] {
        nodes.nodes[0].cluster().change(Change::Promote(node.cluster().id())).await.unwrap();
    }
    nodes.voters(3).await;
    let old = nodes.nodes[nodes.leader().await].cluster().id();
    let new = nodes.nodes[3].cluster().id();
    let before = nodes.nodes[3].cluster().term();
    nodes.nodes[3].cluster().change(Change::Replace { old, new }).await.unwrap();
    assert!(nodes.nodes[3].cluster().term() > before);
    nodes.voters(3).await;
    let now = voters(&nodes.nodes[0]);
    assert!(now.contains(&new) && !now.contains(&old), "{now:?}");
    assert!(now.contains(&nodes.nodes[nodes.leader().await].cluster().id()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_would_take_the_vote_of_the_leader_that_inherits_it_is_taken_back() {
    let nodes = Nodes::new(2, by_hand()).await;
    let (one, other) = (&nodes.nodes[0], &nodes.nodes[1]);
    let both = BTreeSet::from([one.cluster().id(), other.cluster().id()]);
    one.cluster().change(Change::Promote(other.cluster().id())).await.unwrap();
    assert!(one.cluster().is_leader());
    // The first of the change's two steps arrives, and nobody asks for the second.
    nodes.board.silence(&one.address, &other.address, true);
    let (cluster, id) = (Arc::clone(one.cluster()), other.cluster().id());
    let changing = tokio::spawn(async move { cluster.change(Change::Demote(id)).await });
    until(|| other.cluster().is_changing()).await;
    changing.abort();
    assert!(changing.await.unwrap_err().is_cancelled());
    nodes.board.silence(&one.address, &other.address, false);
    assert!(one.cluster().hand_over().await);
    until(|| other.cluster().is_leader()).await;
    // What changes nothing itself.
    other.cluster().change(Change::Remove(77)).await.unwrap();
    assert!(other.cluster().is_leader() && !other.cluster().is_changing());
    assert_eq!(voters(other), both);
    until(|| voters(one) == both && !one.cluster().is_changing()).await;
}
