use super::*;
use crate::launch::plan::Source;
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A node that writes down what is done with it.
#[derive(Clone, Default)]
struct Simulated(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    in_cluster: bool,
    done: Vec<String>,
    failing: Vec<&'static str>,
}

impl Simulated {
    fn act(&self, what: String) -> Result<()> {
        let mut state = self.0.lock();
        if let Some(failing) = state.failing.iter().find(|failing| what.contains(**failing)) {
            bail!("{failing} fails");
        }
        state.done.push(what);
        Ok(())
    }

    fn take_done(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().done)
    }
}

#[async_trait]
impl Node for Simulated {
    async fn is_in_cluster(&self) -> Result<bool> {
        Ok(self.0.lock().in_cluster)
    }

    async fn join(&self, join: &Join) -> Result<()> {
        self.act(format!("join {} {}", join.target, join.worker))
    }

    async fn let_in(&self, token: &str) -> Result<()> {
        self.act(format!("token {token}"))
    }

    async fn add(&self, repository: &Repository) -> Result<()> {
        self.act(format!("add {} {} {}", repository.name, repository.url, repository.reference))
    }

    async fn change(&self, addon: &Addon) -> Result<()> {
        self.act(format!(
            "{} {} {:?}",
            if addon.disable { "disable" } else { "enable" },
            addon.name,
            addon.arguments
        ))
    }
}

fn plan(text: &str) -> Plan {
    let source = Source { path: "/etc/launch.yaml".into(), text: format!("version: 0.1.0\n{text}") };
    Plan::read(&[source], Path::new("/data")).unwrap().unwrap()
}

/// A plan whose files were written.
fn prepared(text: &str) -> (TempDir, Paths, Plan) {
    let (folder, plan) = (tempfile::tempdir().unwrap(), plan(text));
    let paths = Paths::new(folder.path());
    let mut record = Record::load(&paths, &plan).unwrap();
    record.files = true;
    record.save(&paths).unwrap();
    (folder, paths, plan)
}

const ALL: &str = "addons: [{name: dns, args: [1.1.1.1]}, {name: storage, disable: true}]\naddonRepositories: [{name: a, url: b}]\npersistentClusterToken: 0123456789abcdef0123456789abcdef\n";

#[tokio::test]
async fn steps_are_taken_once_in_their_order() {
    let (_folder, paths, plan) = prepared(ALL);
    let node = Simulated::default();
    assert!(attempt(&plan, &paths, &node).await.unwrap());
    let expected = [&format!("token {TOKEN}"), "add a b ", "enable dns [\"1.1.1.1\"]", "disable storage []"]
        .map(str::to_owned);
    assert_eq!(node.take_done(), expected);
    assert!(!attempt(&plan, &paths, &node).await.unwrap());
    assert!(node.take_done().is_empty(), "a person may have changed it since");
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again_and_the_rest_is_not() {
    let (_folder, paths, plan) = prepared(ALL);
    let node = Simulated::default();
    node.0.lock().failing.push("dns");
    let error = attempt(&plan, &paths, &node).await.unwrap_err().to_string();
    assert_eq!(error, "enabling the add-on dns: dns fails");
    assert_eq!(node.take_done().len(), 3, "one failure does not keep the others");
    assert_eq!(Record::load(&paths, &plan).unwrap().error.unwrap(), error);

    let stop = CancellationToken::new();
    let running = tokio::spawn(run(plan.clone(), paths.clone(), node.clone(), stop.clone()));
    tokio::time::sleep(RETRY / 2).await;
    node.0.lock().failing.clear();
    running.await.unwrap();
    assert_eq!(node.take_done(), ["enable dns [\"1.1.1.1\"]"]);
    let record = Record::load(&paths, &plan).unwrap();
    assert!(record.is_complete(&plan) && record.error.is_none());
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_server() {
    let (_folder, paths, plan) = prepared(ALL);
    let node = Simulated::default();
    node.0.lock().failing.push("dns");
    let stop = CancellationToken::new();
    let running = tokio::spawn(run(plan, paths, node, stop.clone()));
    tokio::time::sleep(RETRY * 3).await;
    assert!(!running.is_finished());
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_node_joins_first_and_only_once() {
    let (_folder, paths, plan) =
        prepared(&format!("join: {{url: \"a:1/{TOKEN}/{TOKEN}\"}}\naddons: [{{name: dns}}]"));
    let node = Simulated::default();
    let error = attempt(&plan, &paths, &node).await.unwrap_err().to_string();
    assert!(error.starts_with("joining the cluster: "), "{error}");
    assert_eq!(
        node.take_done(),
        [format!("join a:1/{TOKEN}/{TOKEN} false")],
        "nothing of its own cluster matters"
    );
    // The server after it.
    node.0.lock().in_cluster = true;
    assert!(attempt(&plan, &paths, &node).await.unwrap());
    assert_eq!(node.take_done(), ["enable dns []"]);
    // It has left.
    node.0.lock().in_cluster = false;
    assert!(!attempt(&plan, &paths, &node).await.unwrap());
    assert!(node.take_done().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_join_counts_when_it_cannot_be_undone_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths::new(folder.path());
    let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        Ok::<_, std::convert::Infallible>(http::Response::new(kube::client::Body::empty()))
    });
    let location = Location { data_dir: folder.path().to_owned(), config: folder.path().join("config.yaml") };
    let node = ThisNode { location, client: kube::Client::new(service, "default") };
    std::fs::create_dir(paths.before_join()).unwrap();
    let asked = tokio::spawn(async move { node.is_in_cluster().await });
    tokio::time::sleep(PERIOD * 3).await;
    assert!(!asked.is_finished());
    // It was undone.
    std::fs::remove_dir(paths.before_join()).unwrap();
    assert!(!asked.await.unwrap().unwrap());
}
