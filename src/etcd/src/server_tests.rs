use super::*;
use crate::SnapshotFile;
use crate::messages::{
    HashKvResponse, MemberListResponse, RangeResponse, SnapshotResponse, StatusResponse, WatchCancelRequest,
    WatchCreateRequest, WatchRequest, WatchResponse,
};
use crate::view::ViewOptions;
use datastore::{Datastore, Options};
use futures::StreamExt as _;
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use prost::Message;
use serde_json::json;
use storage::{Encoded, Sealer, Storage as _, StorageError};
use tokio::sync::mpsc;

/// Turns Secrets around.
struct Reverse;

impl Sealer for Reverse {
    fn seal(&self, key: &str, object: &Bytes) -> Result<Option<Bytes>, StorageError> {
        Ok(self.covers(key).then(|| object.iter().rev().copied().collect()))
    }
    fn open(&self, _: &str, stored: &Bytes) -> Result<Bytes, StorageError> {
        Ok(stored.iter().rev().copied().collect())
    }
    fn is_stale(&self, _: &str, _: &Bytes) -> bool {
        false
    }
    fn covers(&self, key: &str) -> bool {
        key.contains("/secrets/")
    }
}

fn object(name: &str, n: u64) -> Encoded {
    Encoded::new(&json!({"metadata": {"name": name}, "n": n})).unwrap()
}

/// Pods a and b (a changed once), a service and a secret: revisions 2 to 6.
async fn view() -> View {
    let options =
        Options { sealer: Some(Arc::new(Reverse)), compaction_interval: None, ..Options::default() };
    let store = Datastore::open_in_memory(options).await.unwrap();
    for (key, n) in [("pods/d/a", 1), ("pods/d/b", 2), ("services/d/s", 3), ("secrets/d/x", 4)] {
        store.create(&format!("/registry/core/{key}"), object(key, n)).await.unwrap();
    }
    store.update("/registry/core/pods/d/a", 0, object("pods/d/a", 5)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    std::fs::write(&path, vec![7; 100_000]).unwrap();
    let guard = Arc::new(folder);
    View::new(ViewOptions {
        store,
        name: "n1".into(),
        client_urls: vec!["https://10.0.0.1:2379".into()],
        version: "3.6.0".into(),
        snapshot: Arc::new(move || {
            let (path, guard) = (path.clone(), Arc::clone(&guard));
            Box::pin(async move { Ok(SnapshotFile { path, guard: Box::new(guard) }) })
        }),
    })
}

async fn call<A: Message + Default>(
    view: &View,
    path: &str,
    request: impl Message,
) -> Result<Vec<A>, (u32, String)> {
    let body = Full::new(grpc::encoded(&request));
    let request = Request::builder().uri(format!("/etcdserverpb.{path}")).body(body).unwrap();
    let collected = answer(view, true, request).await.into_body().collect().await.unwrap();
    let trailers = collected.trailers().unwrap().clone();
    let text = |name: &str| trailers.get(name).map_or(String::new(), |v| v.to_str().unwrap().to_owned());
    match text("grpc-status").parse().unwrap() {
        0 => {}
        code => return Err((code, text("grpc-message"))),
    }
    let mut messages = Messages::new(Full::new(collected.to_bytes()));
    let mut all = Vec::new();
    while let Some(message) = messages.next().await.unwrap() {
        all.push(message);
    }
    Ok(all)
}

async fn range(view: &View, request: RangeRequest) -> Result<RangeResponse, (u32, String)> {
    call(view, "KV/Range", request).await.map(|all: Vec<RangeResponse>| all[0].clone())
}

fn everything() -> RangeRequest {
    RangeRequest { key: "/".into(), range_end: "0".into(), ..RangeRequest::default() }
}

fn keys(response: &RangeResponse) -> Vec<&str> {
    response.kvs.iter().map(|kv| std::str::from_utf8(&kv.key).unwrap()).collect()
}

const SORTED: [&str; 4] =
    ["/registry/pods/d/a", "/registry/pods/d/b", "/registry/secrets/d/x", "/registry/services/specs/d/s"];

#[tokio::test]
async fn keys_are_read_with_every_option_of_a_range() {
    let view = view().await;
    let all = range(&view, everything()).await.unwrap();
    assert_eq!((keys(&all), all.count, all.more), (SORTED.to_vec(), 4, false));
    let header = all.header.as_ref().unwrap();
    assert_eq!((header.revision, header.member_id), (6, view.store().node_id()));
    let a = &all.kvs[0];
    assert_eq!((a.create_revision, a.mod_revision, a.version), (2, 6, 2));
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&a.value).unwrap()["n"], 5);
    // What is encrypted shows as it is on the disk.
    assert!(all.kvs[2].value.ends_with(b"{") && !all.kvs[2].value.starts_with(b"{"));

    let one = RangeRequest { key: "/registry/services/specs/d/s".into(), ..RangeRequest::default() };
    assert_eq!(keys(&range(&view, one).await.unwrap()), [SORTED[3]]);
    let none = RangeRequest { key: "health".into(), ..RangeRequest::default() };
    assert_eq!(range(&view, none).await.unwrap().count, 0);
    let keys_only = range(&view, RangeRequest { keys_only: true, limit: 3, ..everything() }).await.unwrap();
    assert_eq!((keys_only.kvs.len(), keys_only.count, keys_only.more), (3, 4, true));
    assert!(keys_only.kvs.iter().all(|kv| kv.value.is_empty()));
    let count = range(&view, RangeRequest { count_only: true, ..everything() }).await.unwrap();
    assert_eq!((count.kvs.len(), count.count), (0, 4));
    let newest = RangeRequest { sort_order: 2, sort_target: 3, limit: 1, ..everything() };
    assert_eq!(keys(&range(&view, newest).await.unwrap()), [SORTED[0]]);
    let some = RangeRequest { min_mod_revision: 3, max_create_revision: 4, ..everything() };
    assert_eq!(keys(&range(&view, some).await.unwrap()), [SORTED[0], SORTED[1], SORTED[3]]);
    let from = RangeRequest { key: "/registry/pods/d/b".into(), range_end: vec![0].into(), ..everything() };
    assert_eq!(keys(&range(&view, from).await.unwrap()), &SORTED[1..]);

    let past = range(&view, RangeRequest { revision: 4, ..everything() }).await.unwrap();
    assert_eq!(keys(&past), [SORTED[0], SORTED[1], SORTED[3]]);
    assert_eq!(past.kvs[0].mod_revision, 2);
    view.store().compact(5).await.unwrap();
    let (code, why) = range(&view, RangeRequest { revision: 4, ..everything() }).await.unwrap_err();
    assert_eq!((code, why.as_str()), (11, "etcdserver: mvcc: required revision has been compacted"));
    let (code, _) = range(&view, RangeRequest::default()).await.unwrap_err();
    assert_eq!(code, 3);
}

#[tokio::test]
async fn writes_are_refused_and_unknown_calls_named() {
    let view = view().await;
    for method in [
        "KV/Put",
        "KV/DeleteRange",
        "KV/Txn",
        "KV/Compact",
        "Lease/LeaseGrant",
        "Cluster/MemberAdd",
        "Maintenance/Defragment",
        "Maintenance/MoveLeader",
        "Auth/AuthEnable",
    ] {
        let (code, why) = call::<Empty>(&view, method, Empty {}).await.unwrap_err();
        assert_eq!(code, 7, "{method}");
        assert!(why.contains("write through the Kubernetes API"), "{why}");
    }
    assert_eq!(call::<Empty>(&view, "Nothing/Such", Empty {}).await.unwrap_err().0, 12);
    let request = Request::builder().uri("/etcdserverpb.KV/Range").body(Full::new(Bytes::new())).unwrap();
    let refused = answer(&view, false, request).await.into_body().collect().await.unwrap();
    assert_eq!(refused.trailers().unwrap()["grpc-status"], "7");
    assert!(refused.to_bytes().is_empty());
}

#[tokio::test]
async fn status_members_hash_and_snapshot_are_told() {
    let view = view().await;
    let status: Vec<StatusResponse> = call(&view, "Maintenance/Status", Empty {}).await.unwrap();
    assert!(status[0].db_size > 0 && status[0].leader == view.store().node_id());
    assert_eq!(status[0].version, "3.6.0");
    let members: Vec<MemberListResponse> = call(&view, "Cluster/MemberList", Empty {}).await.unwrap();
    assert_eq!(members[0].members[0].name, "n1");
    assert_eq!(members[0].members[0].client_urls, ["https://10.0.0.1:2379"]);
    call::<HeaderResponse>(&view, "Maintenance/Alarm", Empty {}).await.unwrap();
    let hash =
        async || call::<HashKvResponse>(&view, "Maintenance/HashKV", Empty {}).await.unwrap()[0].clone();
    let (before, again) = (hash().await, hash().await);
    assert_eq!((before.hash, before.hash_revision), (again.hash, 6));
    view.store().delete("/registry/core/pods/d/b", 0).await.unwrap();
    assert_ne!(hash().await.hash, before.hash);
    let pieces: Vec<SnapshotResponse> = call(&view, "Maintenance/Snapshot", Empty {}).await.unwrap();
    let whole: Vec<u8> = pieces.iter().flat_map(|piece| piece.blob.to_vec()).collect();
    assert_eq!(whole, vec![7; 100_000]);
    assert_eq!(pieces.last().unwrap().remaining_bytes, 0);
}

/// A client that sends and listens as it likes.
struct Watcher {
    requests: mpsc::UnboundedSender<Bytes>,
    answers: Messages<Body>,
}

impl Watcher {
    async fn new(view: &View) -> Self {
        let (requests, receiver) = mpsc::unbounded_channel::<Bytes>();
        let frames = futures::stream::unfold(receiver, async |mut receiver| {
            let bytes: Bytes = mpsc::UnboundedReceiver::recv(&mut receiver).await?;
            Some((Ok::<_, Infallible>(Frame::data(bytes)), receiver))
        });
        let body = StreamBody::new(frames.boxed());
        let request = Request::builder().uri("/etcdserverpb.Watch/Watch").body(body).unwrap();
        let answers = Messages::new(answer(view, true, request).await.into_body());
        Self { requests, answers }
    }

    fn send(&self, request: &WatchRequest) {
        self.requests.send(grpc::encoded(request)).unwrap();
    }

    fn create(&self, create: WatchCreateRequest) {
        self.send(&WatchRequest { create_request: Some(create), ..WatchRequest::default() });
    }

    async fn next(&mut self) -> WatchResponse {
        let next = tokio::time::timeout(Duration::from_secs(30), self.answers.next());
        next.await.expect("no answer came").unwrap().unwrap()
    }
}

#[tokio::test]
async fn watches_show_changes_from_any_revision_and_end_when_asked() {
    let view = view().await;
    let mut watcher = Watcher::new(&view).await;
    let pods = || WatchCreateRequest {
        key: "/registry/pods/".into(),
        range_end: "/registry/pods0".into(),
        ..WatchCreateRequest::default()
    };
    watcher.create(WatchCreateRequest { start_revision: 3, prev_kv: true, ..pods() });
    let created = watcher.next().await;
    assert!(created.created && created.watch_id == 0);
    let mut events = Vec::new();
    while events.len() < 2 {
        events.extend(watcher.next().await.events);
    }
    let told: Vec<_> = events.iter().map(|e| (e.kind, e.kv.as_ref().unwrap().mod_revision)).collect();
    assert_eq!(told, [(0, 3), (0, 6)]);
    assert_eq!(events[1].prev_kv.as_ref().unwrap().mod_revision, 2);

    watcher.send(&WatchRequest { progress_request: Some(Empty {}), ..WatchRequest::default() });
    let progress = watcher.next().await;
    assert_eq!((progress.watch_id, progress.header.unwrap().revision), (-1, 6));

    // A second watch in the same stream, of deletions alone.
    watcher.create(WatchCreateRequest { watch_id: 7, filters: vec![0], ..pods() });
    assert!(watcher.next().await.created);
    // Now is when the watch has begun; what comes before it is not shown.
    watcher.send(&WatchRequest { progress_request: Some(Empty {}), ..WatchRequest::default() });
    watcher.next().await;
    view.store().delete("/registry/core/pods/d/b", 0).await.unwrap();
    let (first, second) = (watcher.next().await, watcher.next().await);
    let mut ids = [first.watch_id, second.watch_id];
    ids.sort_unstable();
    assert_eq!(ids, [0, 7]);
    for answer in [first, second] {
        let event = &answer.events[0];
        assert_eq!((event.kind, event.kv.as_ref().unwrap().mod_revision), (1, 7));
    }
    watcher.send(&WatchRequest {
        cancel_request: Some(WatchCancelRequest { watch_id: 0 }),
        ..WatchRequest::default()
    });
    let canceled = watcher.next().await;
    assert!(canceled.canceled && canceled.watch_id == 0);

    view.store().compact(7).await.unwrap();
    watcher.create(WatchCreateRequest { start_revision: 3, ..pods() });
    let created = watcher.next().await;
    let canceled = watcher.next().await;
    assert!(created.created && canceled.canceled);
    assert_eq!((canceled.watch_id, canceled.compact_revision), (created.watch_id, 7));
}
