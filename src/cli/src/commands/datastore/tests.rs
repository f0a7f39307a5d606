use super::*;
use crate::arguments::{Arguments, Command};
use ::datastore::Options;
use clap::Parser as _;
use std::path::PathBuf;
use storage::{Encoded, Storage as _, WatchFrom};

/// A machine's files.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn paths(&self) -> Paths {
        Paths::new(&self.data())
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    async fn knarr(&self, arguments: &[&str]) -> Result<ExitCode> {
        let data = self.data().display().to_string();
        let all = [&["knarr", "datastore"], arguments, &["--data-dir", &*data]].concat();
        let Command::Datastore(what) = Arguments::parse_from(all).command else { panic!("another command") };
        run(&what).await
    }

    async fn open(&self) -> std::sync::Arc<::datastore::Datastore> {
        ::datastore::Datastore::open(self.paths().datastore(), Options::default()).await.unwrap()
    }

    async fn write(&self, name: &str) -> u64 {
        let store = self.open().await;
        let object = Encoded::new(&serde_json::json!({"metadata": {"name": name}})).unwrap();
        let made = store.create(&format!("/registry/core/pods/{name}"), object).await.unwrap();
        store.shutdown().await;
        made.revision
    }

    async fn names(&self) -> Vec<String> {
        let store = self.open().await;
        let list = store.list("/registry/", storage::ListOptions::default()).await.unwrap();
        store.shutdown().await;
        list.items.iter().map(|o| o.key.rsplit('/').next().unwrap().to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_files_comes_back_here_and_elsewhere() {
    let here = Machine::new();
    std::fs::create_dir_all(here.paths().pki()).unwrap();
    std::fs::write(here.paths().pki().join("ca.key"), "one").unwrap();
    let facts = r#"{"common": {"a": 1}, "nodeName": "n", "ticket": {"cluster": "c", "node": 2}}"#;
    std::fs::write(here.paths().cluster_facts(), facts).unwrap();
    here.write("a").await;
    let file = here.file("backup.tar.gz");
    here.knarr(&["backup", &file]).await.unwrap();
    let seen = here.write("b").await;
    std::fs::write(here.paths().pki().join("ca.key"), "two").unwrap();

    here.knarr(&["restore", &file]).await.unwrap();
    assert_eq!(here.names().await, ["a"]);
    let key = |machine: &Machine| std::fs::read_to_string(machine.paths().pki().join("ca.key")).unwrap();
    assert_eq!(key(&here), "one");
    let store = here.open().await;
    assert!(store.revision() > seen + 1_000_000);
    assert!(store.watch("/registry/core/pods/", WatchFrom::Revision(seen)).await.is_err());
    store.shutdown().await;
    let before = here.data().join("before-restore");
    assert_eq!(std::fs::read_to_string(before.join("pki/ca.key")).unwrap(), "two");

    let elsewhere = Machine::new();
    elsewhere.knarr(&["restore", &file]).await.unwrap();
    assert_eq!((elsewhere.names().await, key(&elsewhere)), (vec!["a".to_owned()], "one".to_owned()));
    // What its cluster agreed on goes along, its place and name there do not.
    for machine in [&here, &elsewhere] {
        let facts = std::fs::read(machine.paths().cluster_facts()).unwrap();
        let facts: serde_json::Value = serde_json::from_slice(&facts).unwrap();
        assert_eq!(facts, serde_json::json!({"common": {"a": 1}}));
    }
    let error = elsewhere.knarr(&["recover", "--yes"]).await.unwrap_err().to_string();
    assert!(error.contains("only one of its cluster"), "{error}");
    // Restored again, it does not give the same revisions out again.
    let first = elsewhere.write("c").await;
    elsewhere.knarr(&["restore", &file]).await.unwrap();
    assert!(elsewhere.write("d").await > first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_changes_nothing() {
    let machine = Machine::new();
    let error = machine.knarr(&["backup", &machine.file("none")]).await.unwrap_err().to_string();
    assert!(error.contains("nothing to back up"), "{error}");
    machine.write("a").await;
    let file = machine.file("backup.tar.gz");
    machine.knarr(&["backup", &file]).await.unwrap();
    machine.write("b").await;
    let good = std::fs::read(&file).unwrap();
    let bad = machine.file("bad.tar.gz");
    std::fs::write(&bad, &good[..good.len() - 9]).unwrap();
    let cut = machine.knarr(&["restore", &bad]).await.unwrap_err().to_string();
    assert!(cut.contains("damaged or cut off"), "{cut}");
    std::fs::write(&bad, "nothing of the kind").unwrap();
    assert!(machine.knarr(&["restore", &bad]).await.is_err());
    assert!(machine.knarr(&["restore", &machine.file("missing")]).await.is_err());
    let lock = process::lock(&machine.paths()).unwrap();
    for command in [&["restore", &*file][..], &["recover", "--yes"]] {
        let error = machine.knarr(command).await.unwrap_err().to_string();
        assert!(error.contains("stop it with `knarr stop`"), "{error}");
    }
    drop(lock);
    for command in
        [&["status"][..], &["compact"], &["history", "/registry/core/pods/a"], &["snapshots", "ls"]]
    {
        let error = machine.knarr(command).await.unwrap_err().to_string();
        assert!(error.contains("knarr is not running"), "{error}");
    }
    assert_eq!(machine.names().await, ["a", "b"]);
    let left = ["restore", "restore-complete", "before-restore"];
    assert!(left.iter().all(|name| !machine.data().join(name).exists()));
    assert!(!Path::new(&machine.file("none")).exists());
}

#[test]
fn the_place_in_the_old_cluster_is_forgotten_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::new(dir.path());
    forget(&paths, &[TICKET]).unwrap();
    let file = dir.path().join("cluster.json");
    let facts = r#"{"common": {"a": 1}, "nodeName": "n", "ticket": {"cluster": "c", "node": 2}}"#;
    std::fs::write(&file, facts).unwrap();
    forget(&paths, &[TICKET]).unwrap();
    let left: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(left, serde_json::json!({"common": {"a": 1}, "nodeName": "n"}));
}
