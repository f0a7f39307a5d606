//! The kubelet's end while the runtime is at work for it.

use super::{Behaviour, World};
use crate::{StopOptions, stop_all_pods};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// How long a sandbox takes that is to be waited for.
const MAKING: Duration = Duration::from_secs(3);

fn simple() -> Value {
    json!({"containers": [{"name": "a", "image": "nginx"}], "terminationGracePeriodSeconds": 60})
}

/// A node whose kubelet ends while the sandbox of pod `p` is being made, and how long that end took.
async fn ended_midway(making: Duration) -> (World, Duration) {
    let mut world = World::new();
    world.runtime.makes_sandboxes_in(making);
    world.create("p", simple());
    world.called("run-sandbox p").await;
    let began = Instant::now();
    world.stop().await;
    (world, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_is_being_made_at_the_end_is_the_next_kubelets() {
    let (world, _) = ended_midway(MAKING).await;
    assert!(!world.runtime.is_empty(), "the call was broken off");
    assert!(!world.runtime.calls().contains(&"create a".to_owned()), "the pod was gone on with");
    let world = world.restart();
    world.status("p", "running", |status| status["phase"] == "Running").await;
    assert_eq!(world.runtime.calls().iter().filter(|call| *call == "run-sandbox p").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_is_being_made_at_the_end_is_among_those_that_are_stopped_then() {
    let (world, _) = ended_midway(MAKING).await;
    let options = StopOptions { grace: Duration::from_secs(10), remove: true };
    stop_all_pods(&world.runtime, world.directory.path(), options).await.unwrap();
    assert!(world.runtime.calls().contains(&"stop-sandbox p".to_owned()));
    assert!(world.runtime.is_empty());
    // Nothing comes behind it.
    tokio::time::sleep(MAKING * 2).await;
    assert!(world.runtime.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_hangs_does_not_keep_the_kubelet_from_ending() {
    let (_world, took) = ended_midway(Duration::from_secs(240)).await;
    assert!((Duration::from_secs(10)..Duration::from_secs(11)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_grace_of_a_container_is_not_waited_for_at_the_end() {
    let mut world = World::new();
    world.runtime.behave("a", Behaviour::Stubborn);
    world.create("p", simple());
    world.status("p", "running", |status| status["phase"] == "Running").await;
    world.delete("p", 60);
    world.called("stop(60s) a").await;
    let began = Instant::now();
    world.stop().await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}
