//! Requests that compete, on paused time.

use super::*;
use serde_json::{Value, json};
use std::sync::atomic::AtomicU64;
use tokio::time::{Instant, sleep};

fn info(uri: &str) -> RequestInfo {
    RequestInfo::parse(&http::Method::GET, &uri.parse().unwrap())
}

fn jane() -> UserInfo {
    UserInfo::new("jane", &[])
}

/// Two levels of 10 seats each, one schema each: what `/a` and `/b` begin with.
fn control() -> Arc<FlowControl> {
    let control = FlowControl::new(20);
    control.change(|objects| {
        for (name, lendable) in [("a", 50), ("b", 0)] {
            let level = json!({"metadata": {"name": name, "uid": format!("level-{name}")}, "spec": {"type": "Limited",
                "limited": {"nominalConcurrencyShares": 100, "lendablePercent": lendable, "limitResponse":
                    {"type": "Queue", "queuing": {"queues": 16, "handSize": 3, "queueLengthLimit": 50}}}}});
            let schema = json!({"metadata": {"name": name, "uid": format!("schema-{name}")}, "spec": {
                "priorityLevelConfiguration": {"name": name}, "matchingPrecedence": 500,
                "distinguisherMethod": {"type": "ByUser"},
                "rules": [{"subjects": [{"kind": "Group", "group": {"name": "system:authenticated"}}],
                    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": [format!("/{name}/*")]}]}]}});
            objects.levels.insert(name.into(), serde_json::from_value(level).unwrap());
            objects.schemas.insert(name.into(), serde_json::from_value(schema).unwrap());
        }
        // So that a and b have all the seats there are.
        let catch_all: Value = json!({"metadata": {}, "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": 0, "limitResponse": {"type": "Reject"}}}});
        objects.levels.insert("catch-all".into(), serde_json::from_value(catch_all).unwrap());
    });
    control
}

async fn enter(control: &Arc<FlowControl>, user: &UserInfo, uri: &str) -> Outcome {
    control.enter(user, &info(uri), Work { seats: 1, wakes: 0 }, Duration::from_secs(60)).await
}

#[tokio::test(start_paused = true)]
async fn a_write_keeps_seats_while_the_watchers_are_told_that_it_woke() {
    let control = control();
    let level = Arc::clone(&control.configuration().levels["a"]);
    let work = Work { seats: 1, wakes: 1_000 };
    let outcome = control.enter(&jane(), &info("/a/x"), work, Duration::from_secs(60)).await;
    // As wide as may be on a level of ten.
    assert_eq!(level.view().demand, 2);
    drop(outcome);
    assert_eq!(level.view().demand, 2);
    sleep(Duration::from_millis(4)).await;
    assert_eq!(level.view().demand, 2);
    sleep(Duration::from_millis(2)).await;
    assert_eq!(level.view().demand, 0);
}

#[tokio::test(start_paused = true)]
async fn requests_go_to_the_level_of_the_first_schema_that_matches() {
    let control = control();
    let outcome = enter(&control, &jane(), "/a/x").await;
    let (schema, level) = outcome.uids.unwrap();
    assert_eq!((schema.to_str().unwrap(), level.to_str().unwrap()), ("schema-a", "level-a"));
    assert!(outcome.permit.is_ok());
    // catch-all has no seats here but one request always runs; masters are exempt.
    let kept = enter(&control, &jane(), "/version").await;
    assert!(enter(&control, &jane(), "/version").await.permit.is_err());
    assert!(enter(&control, &UserInfo::admin(), "/version").await.permit.is_ok());
    drop(kept);
}

#[tokio::test(start_paused = true)]
async fn a_busy_level_borrows_what_another_lends_and_gives_it_back() {
    let control = control();
    let mut permits = Vec::new();
    for n in 0..10 {
        permits.push(enter(&control, &UserInfo::new(format!("u{n}"), &[]), "/b/x").await.permit.unwrap());
    }
    // All of b's own are taken: a lends five.
    for n in 0..5 {
        let began = Instant::now();
        permits.push(enter(&control, &UserInfo::new(format!("v{n}"), &[]), "/b/x").await.permit.unwrap());
        assert!(began.elapsed() <= 2 * LENDING_INTERVAL);
    }
    let before = Instant::now();
    assert!(enter(&control, &jane(), "/b/x").await.permit.is_err());
    // It waited a quarter of its time.
    assert_eq!(before.elapsed(), Duration::from_secs(15));
    drop(permits);
    sleep(3 * LENDING_INTERVAL).await;
    let configuration = control.configuration();
    assert!(configuration.levels.values().all(|level| level.view().limit == level.view().seats.nominal));
    assert!(!control.lending.load(Ordering::Acquire));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_gives_up_leaves_no_trace() {
    let control = control();
    let hold: Vec<Outcome> = {
        let mut hold = Vec::new();
        for _ in 0..15 {
            hold.push(enter(&control, &jane(), "/b/x").await);
        }
        hold
    };
    let waiting = tokio::time::timeout(Duration::from_secs(1), enter(&control, &jane(), "/b/x")).await;
    assert!(waiting.is_err());
    let level = Arc::clone(&control.configuration().levels["b"]);
    assert_eq!((level.view().waiting, level.view().executing), (0, 15));
    drop(hold);
    assert_eq!(level.view().demand, 0);
    assert_eq!(control.totals("b")[3], 1);
}

#[tokio::test(start_paused = true)]
async fn one_noisy_user_does_not_starve_another() {
    let control = control();
    let done = Arc::new(AtomicU64::new(0));
    let noisy: Vec<_> = (0..100)
        .map(|_| {
            let (control, done) = (Arc::clone(&control), Arc::clone(&done));
            tokio::spawn(async move {
                loop {
                    match enter(&control, &UserInfo::new("noisy", &[]), "/b/x").await.permit {
                        Ok(_permit) => sleep(Duration::from_millis(50)).await,
                        Err(_) => sleep(Duration::from_millis(100)).await,
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    sleep(Duration::from_secs(5)).await;
    for _ in 0..50 {
        let began = Instant::now();
        let permit = enter(&control, &jane(), "/b/x").await.permit;
        assert!(permit.is_ok());
        assert!(began.elapsed() <= Duration::from_millis(100), "{:?}", began.elapsed());
        sleep(Duration::from_millis(5)).await;
    }
    assert!(done.load(Ordering::Relaxed) > 1000);
    noisy.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn metrics_and_dumps_tell_what_waits() {
    let control = control();
    let mut hold = Vec::new();
    for _ in 0..15 {
        hold.push(enter(&control, &jane(), "/b/x").await);
    }
    let one = jane();
    let waiting = enter(&control, &one, "/b/x");
    tokio::pin!(waiting);
    assert!(futures::poll!(&mut waiting).is_pending());
    let mut text = String::new();
    control.write_metrics(&mut text).unwrap();
    for line in [
        "apiserver_flowcontrol_current_inqueue_requests{flow_schema=\"b\",priority_level=\"b\"} 1",
        "apiserver_flowcontrol_current_executing_requests{flow_schema=\"b\",priority_level=\"b\"} 15",
        "apiserver_flowcontrol_nominal_limit_seats{priority_level=\"b\"} 10",
        "apiserver_flowcontrol_current_limit_seats{priority_level=\"b\"} 15",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let dump = control.dump("dump_requests", true).unwrap();
    assert_eq!(dump.lines().count(), 2, "{dump}");
    assert!(dump.contains("jane") && dump.contains("/b/x"), "{dump}");
    assert!(control.dump("dump_queues", false).unwrap().lines().count() > 32);
    assert!(control.dump("dump_priority_levels", false).unwrap().contains("<none>"));
    assert!(control.dump("dump_nothing", false).is_none());
}
