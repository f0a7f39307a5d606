//! Clients that create, change and read objects through all API servers of a cluster, as fast as they are let, and
//! write down what they are told.

use crate::api::{Api, Connection};
use crate::history::{Action, Answer, History, List, Operation, Value, Version};
use crate::machine::Machine;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Where the objects are.
const NAMESPACE: &str = "load";
/// Keys that are written at a time; others follow them, so that there is always something to create.
const KEYS: u64 = 8;
/// How long some keys are written.
const EPOCH: Duration = Duration::from_secs(2);
/// How long a client waits for an answer: longer than the choice of a new leader.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two questions of a client: nodes share two cores with their clients.
const PAUSE: Duration = Duration::from_millis(15);

/// Clients at work.
pub struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<History>>>,
}

struct Shared {
    /// The clients' clock.
    start: Instant,
    stop: AtomicBool,
    /// The next value that nobody has written.
    value: AtomicU64,
    /// When a write was acknowledged.
    acknowledged: Mutex<Vec<Instant>>,
    /// An answer that makes no sense.
    wrong: Mutex<Option<String>>,
}

impl Load {
    /// Sends clients from `machine` to each of the servers, with the administrator's certificate that `data_dir` holds.
    ///
    /// # Errors
    /// When they cannot begin.
    pub fn start(machine: &Machine, data_dir: PathBuf, servers: &[String], clients: usize) -> Result<Self> {
        let shared = Arc::new(Shared {
            start: Instant::now(),
            stop: AtomicBool::new(false),
            value: AtomicU64::new(1),
            acknowledged: Mutex::default(),
            wrong: Mutex::default(),
        });
        let api = Api::new(&data_dir, servers.first().context("no server")?)?;
        machine.run(async {
            let namespace = Bytes::from(json!({"metadata": {"name": NAMESPACE}}).to_string());
            let (status, _) =
                api.connect().await?.send(Method::POST, "/api/v1/namespaces", namespace).await?;
            if status == StatusCode::CREATED || status == StatusCode::CONFLICT {
                Ok(())
            } else {
                bail!("{status}")
            }
        })?;
        let apis: Vec<Api> = servers.iter().map(|server| api.at(server)).collect();
        let (place, shared_too) = (machine.path(), Arc::clone(&shared));
        let thread = std::thread::spawn(move || {
            Machine::enter_path(&place)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let clients = apis.iter().cycle().take(apis.len() * clients).enumerate();
            let clients = clients.map(|(number, api)| Client::new(number, api.clone(), &shared_too).work());
            let mut all = History::default();
            for history in runtime.block_on(futures::future::join_all(clients)) {
                all.extend(history);
            }
            Ok(all)
        });
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The longest time without an acknowledged write since some time.
    pub fn longest_gap(&self, since: Instant) -> Duration {
        let acknowledged = self.shared.acknowledged.lock().unwrap();
        let mut last = since;
        let mut longest = Duration::ZERO;
        for at in acknowledged.iter().filter(|at| **at > since).chain([&Instant::now()]) {
            longest = longest.max(at.saturating_duration_since(last));
            last = last.max(*at);
        }
        longest
    }

    /// How many writes were acknowledged.
    pub fn writes(&self) -> usize {
        self.shared.acknowledged.lock().unwrap().len()
    }

    /// Ends the clients; answers what they were told.
    ///
    /// # Errors
    /// When they could not work.
    pub fn finish(mut self) -> Result<History> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it goes on")?;
        let history = thread.join().unwrap_or_else(|_| bail!("the clients ended"))?;
        match self.shared.wrong.lock().unwrap().take() {
            Some(wrong) => bail!("{wrong}"),
            None => Ok(history),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

struct Client {
    api: Api,
    shared: Arc<Shared>,
    connection: Option<Connection>,
    /// The version of each key as this client knows it.
    known: HashMap<u64, Version>,
    history: History,
    chance: u64,
}

impl Client {
    fn new(number: usize, api: Api, shared: &Arc<Shared>) -> Self {
        let (shared, chance) = (Arc::clone(shared), number as u64);
        Self { api, shared, connection: None, known: HashMap::new(), history: History::default(), chance }
    }

    /// SplitMix64: any numbers will do, as long as clients differ.
    fn below(&mut self, limit: u64) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.chance ^ self.chance >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % limit
    }

    fn now(&self) -> Duration {
        self.shared.start.elapsed()
    }

    async fn work(mut self) -> History {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let epoch = self.now().as_secs() / EPOCH.as_secs();
            let key = epoch * KEYS + self.below(KEYS);
            let asked = match self.below(20) {
                0 => self.list().await,
                1..8 => self.ask(key, Action::Get).await,
                _ => {
                    let value = self.shared.value.fetch_add(1, Ordering::Relaxed);
                    let known = self.known.get(&key).copied();
                    self.ask(key, known.map_or(Action::Create(value), |known| Action::Update(known, value)))
                        .await
                }
            };
            if asked.is_err() {
                self.connection = None;
            }
            tokio::time::sleep(PAUSE).await;
        }
        // What all of it has come to: a read of everything, by whoever answers.
        let deadline = self.now() + 2 * PATIENCE;
        while self.list().await.is_err() && self.now() < deadline {
            self.connection = None;
            tokio::time::sleep(PAUSE).await;
        }
        self.history
    }

    /// Asks within [`PATIENCE`]. An error before anything was sent is no question at all: None.
    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Option<Result<(StatusCode, serde_json::Value)>> {
        if self.connection.is_none() {
            let connected = tokio::time::timeout(PATIENCE, self.api.connect()).await;
            self.connection = connected.ok().and_then(Result::ok);
        }
        let connection = self.connection.as_mut()?;
        let answered = tokio::time::timeout(PATIENCE, connection.send(method, path, body)).await;
        Some(answered.map_err(anyhow::Error::from).and_then(|answered| {
            let (status, body) = answered?;
            Ok((status, serde_json::from_slice(&body)?))
        }))
    }

    async fn ask(&mut self, key: u64, action: Action) -> Result<()> {
        let collection = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
        let object = |value: Value| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("k-{key}")},
                   "data": {"v": value.to_string()}})
        };
        let (method, path, body) = match action {
            Action::Get => (Method::GET, format!("{collection}/k-{key}"), None),
            Action::Create(value) => (Method::POST, collection, Some(object(value))),
            Action::Update(version, value) => {
                let mut object = object(value);
                object["metadata"]["resourceVersion"] = json!(version.to_string());
                (Method::PUT, format!("{collection}/k-{key}"), Some(object))
            }
        };
        let begin = self.now();
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let Some(sent) = self.send(method, &path, body).await else { bail!("nobody listens") };
        let answer = match sent.map(|(status, body)| answer(action, status, &body)) {
            Err(_) => Answer::Lost,
            Ok(Ok(answer)) => answer,
            Ok(Err(wrong)) => {
                self.shared.wrong.lock().unwrap().get_or_insert(format!("{wrong:#}"));
                bail!(wrong);
            }
        };
        if answer == Answer::Lost && action == Action::Get {
            bail!("nothing was learnt");
        }
        match answer {
            Answer::Found(_, version) | Answer::Done(version) => _ = self.known.insert(key, version),
            // Read it before the next write.
            Answer::Refused | Answer::Absent | Answer::Lost => _ = self.known.remove(&key),
        }
        let end = self.now();
        if matches!(answer, Answer::Done(_)) {
            self.shared.acknowledged.lock().unwrap().push(Instant::now());
        }
        self.history.operations.push(Operation { key, action, answer, begin, end });
        if answer == Answer::Lost {
            bail!("no answer");
        }
        if answer == Answer::Refused {
            return Box::pin(self.ask(key, Action::Get)).await;
        }
        Ok(())
    }

    async fn list(&mut self) -> Result<()> {
        let begin = self.now();
        let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
        let (status, body) =
            self.send(Method::GET, &path, Bytes::new()).await.context("nobody listens")??;
        if !status.is_success() {
            bail!("{status}");
        }
        let version = body["metadata"]["resourceVersion"].as_str().context("a version")?.parse()?;
        let mut items = BTreeMap::new();
        for item in body["items"].as_array().into_iter().flatten() {
            let name = item["metadata"]["name"].as_str().unwrap_or_default();
            if let Some(key) = name.strip_prefix("k-").and_then(|key| key.parse().ok()) {
                items.insert(key, shown(item).with_context(|| item.to_string())?);
            }
        }
        self.history.lists.push(List { version, items, begin, end: self.now() });
        Ok(())
    }
}

/// What an answer says. Whatever is no answer to the question counts as lost: a server in trouble says many things.
///
/// # Errors
/// For a question that the server should have understood.
fn answer(action: Action, status: StatusCode, body: &serde_json::Value) -> Result<Answer> {
    let reason = body["reason"].as_str().unwrap_or_default();
    Ok(match (action, status.as_u16()) {
        (Action::Get, 200) => {
            shown(body).map(|(value, version)| Answer::Found(value, version)).context("an object")?
        }
        (Action::Create(_), 201) | (Action::Update(..), 200) => {
            Answer::Done(shown(body).context("an object")?.1)
        }
        (Action::Get | Action::Update(..), 404) if reason == "NotFound" => Answer::Absent,
        (Action::Create(_), 409) if reason == "AlreadyExists" => Answer::Refused,
        (Action::Update(..), 409) if reason == "Conflict" => Answer::Refused,
        (_, 400 | 401 | 403 | 404 | 409 | 415 | 422) => bail!("{action:?} is answered {status} {body}"),
        _ => Answer::Lost,
    })
}

/// Value and version of an object.
fn shown(object: &serde_json::Value) -> Option<(Value, Version)> {
    let value = object["data"]["v"].as_str()?.parse().ok()?;
    Some((value, object["metadata"]["resourceVersion"].as_str()?.parse().ok()?))
}
