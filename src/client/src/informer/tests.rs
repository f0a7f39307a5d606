//! Informers against a scripted API server.

use std::{collections::VecDeque, convert::Infallible, sync::Arc};

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;

use super::*;
use crate::{ObjectKey, connect::RequestBody};

type Reply = (StatusCode, Vec<&'static str>, bool);

/// Answers requests in order; a watch whose reply stays open never ends.
fn server(replies: Vec<Reply>) -> (kube::Client, Arc<Mutex<Vec<String>>>) {
    let requests: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = requests.clone();
    let replies = Arc::new(Mutex::new(VecDeque::from(replies)));
    let service = tower::service_fn(move |request: Request<RequestBody>| {
        seen.lock().push(request.uri().to_string());
        let (status, frames, open) = replies.lock().pop_front().unwrap_or((StatusCode::OK, vec![], true));
        async move {
            let frames = futures::stream::iter(frames.into_iter().map(|frame| {
                Ok::<_, Infallible>(http_body::Frame::data(Bytes::from_static(frame.as_bytes())))
            }));
            let body: UnsyncBoxBody<Bytes, Infallible> = if open {
                StreamBody::new(frames.chain(futures::stream::pending())).boxed_unsync()
            } else {
                StreamBody::new(frames).boxed_unsync()
            };
            Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
        }
    });
    (crate::in_process(service, "test"), requests)
}

const TWO_PODS: &str = r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"10"},"items":[
  {"metadata":{"name":"a","namespace":"x","uid":"1","resourceVersion":"3","managedFields":[{"manager":"m"}]},"spec":{"nodeName":"n1","containers":[]}},
  {"metadata":{"name":"b","namespace":"x","uid":"2","resourceVersion":"4"},"spec":{"nodeName":"n2","containers":[]}}]}"#;

#[tokio::test(start_paused = true)]
async fn a_list_then_watch_events_fill_the_store_and_its_indexes() {
    let (client, requests) = server(vec![
        (StatusCode::OK, vec![TWO_PODS], false),
        (
            StatusCode::OK,
            vec![
                r#"{"type":"MODIFIED","object":{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","namespace":"x","uid":"1","resourceVersion":"11"},"spec":{"nodeName":"n2","containers":[]}}}"#,
                "\n",
                r#"{"type":"DELETED","object":{"kind":"Pod","apiVersion":"v1","metadata":{"name":"b","namespace":"x","uid":"2","resourceVersion":"12"}}}"#,
                "\n",
            ],
            true,
        ),
    ]);
    let informers = SharedInformers::new(client);
    let pods = informers.get::<Pod>();
    pods.add_index(index::NODE_NAME, |pod| {
        pod.spec.iter().filter_map(|spec| spec.node_name.clone()).collect()
    });
    let mut events = pods.subscribe();
    let mut described = Vec::new();
    while described.len() < 4 {
        described.push(match events.recv().await.unwrap() {
            Event::Applied(new, old) => {
                let revision = new.metadata.resource_version.as_deref().unwrap();
                format!("{}@{revision} {}", ObjectKey::of(&*new), old.is_some())
            }
            Event::Deleted(last) => format!("-{}", ObjectKey::of(&*last)),
        });
    }
    assert_eq!(described, ["x/a@3 false", "x/b@4 false", "x/a@11 true", "-x/b"]);
    assert!(pods.has_synced());
    assert_eq!(pods.len(), 1);
    assert_eq!(pods.by_index(index::NODE_NAME, "n2").len(), 1);
    assert!(pods.by_index(index::NODE_NAME, "n1").is_empty());
    assert!(pods.find("x", "a").unwrap().metadata.managed_fields.is_none());
    assert!(requests.lock()[1].contains("resourceVersion=10"));
    assert!(Arc::ptr_eq(&pods.find("x", "a").unwrap(), &informers.get::<Pod>().find("x", "a").unwrap()));
}

#[tokio::test(start_paused = true)]
async fn an_expired_watch_lists_again_and_reports_what_vanished_meanwhile() {
    let (client, requests) = server(vec![
        (StatusCode::OK, vec![TWO_PODS], false),
        (
            StatusCode::OK,
            vec![
                r#"{"type":"ERROR","object":{"kind":"Status","status":"Failure","reason":"Expired","message":"too old","code":410}}"#,
                "\n",
            ],
            false,
        ),
        (
            StatusCode::OK,
            vec![
                r#"{"metadata":{"resourceVersion":"20"},"items":[{"metadata":{"name":"a","namespace":"x","uid":"9","resourceVersion":"15"},"spec":{"containers":[]}}]}"#,
            ],
            false,
        ),
    ]);
    let pods = SharedInformers::new(client);
    let informers = pods.clone();
    let pods = pods.get::<Pod>();
    let mut events = pods.subscribe();
    let mut described = Vec::new();
    while described.len() < 5 {
        described.push(match events.recv().await.unwrap() {
            Event::Applied(new, _) => format!("+{}", new.metadata.uid.as_deref().unwrap()),
            Event::Deleted(last) => format!("-{}", last.metadata.uid.as_deref().unwrap()),
        });
    }
    // The first list, then: `a` was replaced by another object of its name, `b` is gone.
    assert_eq!(described, ["+1", "+2", "-1", "+9", "-2"]);
    assert!(!requests.lock()[2].contains("watch=true"));
    informers.shutdown();
}

#[tokio::test(start_paused = true)]
async fn a_dropped_guard_removes_its_handler() {
    let (client, _) = server(vec![(StatusCode::OK, vec![TWO_PODS], false)]);
    let informers = SharedInformers::new(client);
    let pods = informers.get::<Pod>();
    pods.synced().await;
    let count = Arc::new(Mutex::new(0));
    let counter = count.clone();
    let guard = pods.add_handler(move |_| *counter.lock() += 1);
    assert_eq!(*count.lock(), 2);
    drop(guard);
    assert_eq!(Arc::strong_count(&count), 1);
}

#[tokio::test(start_paused = true)]
async fn scopes_have_watches_of_their_own() {
    let (client, requests) = server(vec![]);
    let informers = SharedInformers::new(client);
    let _all = informers.get::<Pod>();
    let _mine = informers.scoped::<Pod>(&Scope::fields("spec.nodeName=n1"));
    let _again = informers.scoped::<Pod>(&Scope::fields("spec.nodeName=n1"));
    while requests.lock().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert!(requests.lock().iter().any(|uri| uri.contains("fieldSelector=spec%2EnodeName%3Dn1")));
}
