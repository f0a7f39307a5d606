//! What is tried, in order.

use crate::image::{BUSYBOX, write_busybox};
use crate::node::{NODE, Node};
use cri::containerd::{Config, Supervisor};
use cri::image::{self, Store};
use cri::{Images, Runtime};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

const KNARR: &str = "knarr.local/knarr:test";

pub async fn run() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = Config::new(folder.path().join("data"), KNARR);
    let cgroup = format!("knarr-test-{}", std::process::id());
    // On a task, so that a panic comes back here; local, because nothing else needs `Send`.
    let tasks = tokio::task::LocalSet::new();
    let scenario = all(config.clone(), folder.path().join("data"), cgroup.clone());
    let finished = tasks.run_until(async { tokio::task::spawn_local(scenario).await }).await;
    // Also after a failure: no process, mount or cgroup stays.
    if finished.is_err() {
        let client = cri::Client::new(config.socket()).expect("a client");
        let options = kubelet::StopOptions { grace: Duration::ZERO, remove: true };
        let _ = kubelet::stop_all_pods(&client, &folder.path().join("data"), options).await;
    }
    cri::containerd::supervisor::stop_running(&config).await;
    sweep(&folder.path().join("data"), &cgroup);
    finished.expect("the scenario");
}

async fn all(config: Config, folder: std::path::PathBuf, cgroup: String) {
    let begun = Instant::now();
    let supervisor = Supervisor::start(config.clone()).await.expect("containerd starts");
    let mut node = Node::new(&supervisor, &folder, &cgroup);
    node.start();
    let store = Store::new(&supervisor.socket()).expect("a store");
    let stamp = config.containerd_dir().join("self-image.json");
    image::pack_self(&store, KNARR, None, &stamp, &config.snapshotter_name()).await.expect("packed");
    let cidr: ipnet::IpNet = "10.233.8.0/24".parse().expect("a network");
    cni::configuration::write(&config.cni_conf_dir(), &config.data_dir.join("cni"), &[cidr], None)
        .expect("a network configuration");
    cni::host::ensure(&[cidr]).expect("the host's part of the network");
    node.api
        .wait("a ready node", |api| {
            let found = api.get("nodes", "", NODE)?;
            let conditions = found["status"]["conditions"].as_array()?.clone();
            conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True").then_some(())
        })
        .await;
    eprintln!("node ready after {:?}", begun.elapsed());
    let archive = folder.join("busybox.tar");
    write_busybox(&archive);
    image::import(&store, &archive, None).await.expect("imported");
    while node.client.image_status(BUSYBOX).await.expect("an answer").is_none() {
        tokio::task::yield_now().await;
    }
    node.api.put(
        "services",
        json!({"metadata": {"name": "kubernetes", "namespace": "default"},
        "spec": {"clusterIP": "10.152.183.1", "ports": [{"name": "https", "port": 443}]}}),
    );

    everything(&node).await;
    crash_loop(&node).await;
    finished(&node).await;
    image_trouble(&node).await;
    restart(&mut node).await;
    end_midway(&mut node).await;
    deletion(&node).await;
    stop_all(&node).await;
    node.stop().await;
    supervisor.stop().await;
}

/// One pod with most of what a pod can have.
async fn everything(node: &Node) {
    node.api.put(
        "configmaps",
        json!({"metadata": {"name": "m", "namespace": "ns"}, "data": {"key": "from map", "conf": "x=1"}}),
    );
    node.api
        .put("secrets", json!({"metadata": {"name": "s", "namespace": "ns"}, "data": {"pass": "aHVzaA=="}}));
    let begun = Instant::now();
    node.create("all", json!({
        "terminationGracePeriodSeconds": 5, "serviceAccountName": "default", "hostname": "web", "subdomain": "sub",
        "securityContext": {"fsGroup": 2000},
        "initContainers": [
            {"name": "init", "image": BUSYBOX, "command": ["sh", "-c", "echo made > /shared/file"],
             "volumeMounts": [{"name": "shared", "mountPath": "/shared"}]},
            {"name": "side", "image": BUSYBOX, "restartPolicy": "Always", "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"]}],
        "containers": [
            {"name": "main", "image": BUSYBOX,
             "command": ["sh", "-c", "echo serving $(A); cd /shared && httpd -f -p 8080"],
             "ports": [{"name": "web", "containerPort": 8080}],
             "env": [{"name": "A", "value": "a"}, {"name": "B", "value": "$(A)b"},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "key"}}},
                {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}}],
             "resources": {"requests": {"cpu": "100m", "memory": "16Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}},
             "readinessProbe": {"httpGet": {"port": "web", "path": "/file"}, "periodSeconds": 1},
             "livenessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
             "startupProbe": {"exec": {"command": ["test", "-f", "/shared/file"]}, "periodSeconds": 1},
             "lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", "echo hooked > /shared/hook"]}}},
             "volumeMounts": [{"name": "shared", "mountPath": "/shared"}, {"name": "map", "mountPath": "/map"},
                {"name": "map", "mountPath": "/etc/app.conf", "subPath": "conf"},
                {"name": "secret", "mountPath": "/secret", "readOnly": true}, {"name": "token", "mountPath": "/token"},
                {"name": "info", "mountPath": "/info"}, {"name": "host", "mountPath": "/host"}]},
            {"name": "user", "image": BUSYBOX, "command": ["sleep", "1000"],
             "securityContext": {"runAsUser": 1000, "runAsNonRoot": true, "readOnlyRootFilesystem": true,
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
             "volumeMounts": [{"name": "shared", "mountPath": "/shared"}, {"name": "memory", "mountPath": "/memory"}]}],
        "volumes": [
            {"name": "shared", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "map", "configMap": {"name": "m"}},
            {"name": "secret", "secret": {"secretName": "s", "defaultMode": 0o400}},
            {"name": "info", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            {"name": "host", "hostPath": {"path": node.folder.join("host"), "type": "DirectoryOrCreate"}},
            {"name": "token", "projected": {"sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}}]}}]}));
    let status = node.ready("all").await;
    eprintln!("pod with everything ready after {:?}", begun.elapsed());
    let main = async |script: &str| node.shell(&status, "main", script).await;
    let user = async |script: &str| node.shell(&status, "user", script).await;
    assert_eq!(main("cat /shared/file /shared/hook").await, "made\nhooked");
    assert_eq!(main("echo $B $KEY $CPU $KUBERNETES_SERVICE_HOST").await, "ab from map 500 10.152.183.1");
    assert_eq!(main("echo $IP").await, status["podIP"].as_str().expect("an address"));
    assert_eq!(main("cat /map/key; echo; cat /etc/app.conf").await, "from map\nx=1");
    assert_eq!(main("cat /secret/pass; stat -c %a:%g /secret/..data/pass").await, "hush440:2000");
    assert_eq!(main("cat /token/token; echo; cat /token/namespace").await, "token-for-all\nns");
    assert_eq!(main("cat /info/labels").await, "app=\"all\"");
    assert_eq!(main("cat /etc/hostname").await, "web");
    assert!(main("cat /etc/hosts").await.contains("web.sub.ns.svc.cluster.local\tweb"));
    assert!(main("cat /etc/resolv.conf").await.contains("nameserver 10.152.183.10"));
    assert_eq!(user("id -u; id -G").await, "1000\n0 2000");
    assert_eq!(
        user("touch /no 2>/dev/null || echo refused; echo x > /shared/mine; stat -c %g /shared/mine").await,
        "refused\n2000"
    );
    assert!(user("mount | grep ' /memory '").await.contains("size=1024k"));
    assert_eq!(main("touch /host/seen; touch /secret/x 2>/dev/null || echo refused").await, "refused");
    assert!(node.folder.join("host/seen").exists());
    cgroups(node, &status);

    node.api.edit("configmaps", "ns", "m", |map| map["data"]["key"] = json!("changed"));
    while main("cat /map/key").await != "changed" {}
    // A subPath mount keeps what it showed when the container began.
    assert_eq!(main("cat /etc/app.conf").await, "x=1");
}

fn cgroups(node: &Node, status: &Value) {
    assert_eq!(status["qosClass"], "Burstable");
    let pod = format!("{}/burstable/poduid-all", node.cgroup_root);
    let id = status["containerStatuses"][0]["containerID"]
        .as_str()
        .expect("an id")
        .trim_start_matches("containerd://");
    let read = |v1: &str, v2: &str| {
        let root = Path::new("/sys/fs/cgroup");
        let path = if root.join("cgroup.controllers").exists() {
            root.join(&pod).join(v2.replace("ID", id))
        } else {
            let (controller, file) = v1.split_once(':').expect("controller:file");
            root.join(controller).join(&pod).join(file.replace("ID", id))
        };
        std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .trim()
            .to_owned()
    };
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    assert_eq!(read("memory:ID/memory.limit_in_bytes", "ID/memory.max"), "67108864");
    let quota = read("cpu:ID/cpu.cfs_quota_us", "ID/cpu.max");
    assert!(quota.starts_with("50000"), "{quota}");
    let shares = read("cpu:cpu.shares", "cpu.weight");
    assert_eq!(shares, if unified { "4" } else { "102" });
}

/// A container that fails backs off; its last words and its log are kept.
async fn crash_loop(node: &Node) {
    node.create(
        "crash",
        json!({"terminationGracePeriodSeconds": 1, "containers": [{"name": "a", "image": BUSYBOX,
        "command": ["sh", "-c", "echo to the log; echo last words > /dev/termination-log; exit 3"]}]}),
    );
    let looping =
        |status: &Value| status["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff";
    let status = node.status("crash", "back-off", looping).await;
    let ended = &status["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!(
        (&ended["exitCode"], &ended["reason"], &ended["message"]),
        (&json!(3), &json!("Error"), &json!("last words\n"))
    );
    assert_eq!(
        node.event("crash", "BackOff").await,
        "Back-off restarting failed container a in pod crash_ns(uid-crash)"
    );
    let logs = node.folder.join("logs/pods/ns_crash_uid-crash/a");
    for log in ["0.log", "1.log"] {
        let text = std::fs::read_to_string(logs.join(log)).expect("a log");
        assert!(text.ends_with("stdout F to the log\n"), "{text}");
    }
    node.delete("crash", 1);
    node.gone("crash").await;
}

async fn finished(node: &Node) {
    node.create("job", json!({"restartPolicy": "Never", "containers": [{"name": "a", "image": BUSYBOX, "terminationMessagePolicy": "FallbackToLogsOnError",
        "command": ["sh", "-c", "echo why; exit 1"]}, {"name": "b", "image": BUSYBOX, "command": ["echo", "done"]}]}));
    let status = node.status("job", "failed", |status| status["phase"] == "Failed").await;
    let of = |name: &str| {
        let statuses = status["containerStatuses"].as_array().expect("statuses");
        statuses.iter().find(|status| status["name"] == name).expect("a status")["state"]["terminated"]
            .clone()
    };
    assert_eq!((&of("a")["message"], &of("b")["reason"]), (&json!("why\n"), &json!("Completed")));
    node.delete("job", 1);
    node.gone("job").await;
}

async fn image_trouble(node: &Node) {
    let of = |image: &str, policy: &str| json!({"containers": [{"name": "a", "image": image, "imagePullPolicy": policy}]});
    node.create("never", of("knarr.invalid/no:1", "Never"));
    node.create("absent", of("knarr.invalid/no:1", "IfNotPresent"));
    node.create("wrong", of("Not An Image", "IfNotPresent"));
    let reason = |reasons: &'static [&'static str]| {
        move |status: &Value| {
            let waiting = status["containerStatuses"][0]["state"]["waiting"]["reason"].as_str().unwrap_or("");
            reasons.contains(&waiting)
        }
    };
    node.status("never", "refused", reason(&["ErrImageNeverPull"])).await;
    node.status("absent", "not pulled", reason(&["ErrImagePull", "ImagePullBackOff"])).await;
    node.status("wrong", "refused", reason(&["InvalidImageName"])).await;
    for name in ["never", "absent", "wrong"] {
        node.delete(name, 1);
        node.gone(name).await;
    }
}

/// Another kubelet takes over what runs.
async fn restart(node: &mut Node) {
    let ids = |status: &Value| -> Vec<String> {
        let statuses = status["containerStatuses"].as_array().cloned().unwrap_or_default();
        statuses.iter().map(|status| status["containerID"].as_str().unwrap_or("").to_owned()).collect()
    };
    let before = node.ready("all").await;
    node.stop().await;
    node.start();
    node.create("second", json!({"terminationGracePeriodSeconds": 1, "containers": [{"name": "a", "image": BUSYBOX, "command": ["sleep", "1000"]}]}));
    let begun = Instant::now();
    node.ready("second").await;
    eprintln!("small pod ready after {:?}", begun.elapsed());
    let after = node.ready("all").await;
    assert_eq!(ids(&before), ids(&after));
    let since = |status: &Value| {
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().find(|c| c["type"] == "Ready").map(|c| c["lastTransitionTime"].clone())
    };
    assert_eq!(since(&before), since(&after), "the pod was taken out of its Services");
    assert_eq!(after["containerStatuses"][0]["restartCount"], 0);
    // A container killed behind the kubelet's back is restarted.
    let id = ids(&after).remove(0).replace("containerd://", "");
    let begun = Instant::now();
    node.client.stop_container(&id, Duration::ZERO).await.expect("stopped");
    node.status("all", "restarted", |status| status["containerStatuses"][0]["restartCount"] == 1).await;
    eprintln!("a killed container is replaced after {:?}", begun.elapsed());
    node.ready("all").await;
}

/// A sandbox that is being made when the kubelet ends is there then, and is used by the next.
async fn end_midway(node: &mut Node) {
    node.create(
        "midway",
        json!({"terminationGracePeriodSeconds": 1, "containers": [{"name": "a", "image": BUSYBOX, "command": ["sleep", "1000"]}]}),
    );
    // Made just before the runtime is asked for the sandbox.
    let logs = node.folder.join("logs/pods/ns_midway_uid-midway");
    while !logs.exists() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    let begun = Instant::now();
    node.stop().await;
    eprintln!("a kubelet that is making a sandbox ends after {:?}", begun.elapsed());
    let client = node.client.clone();
    let sandboxes = async || {
        let all = client.list_pod_sandbox(None).await.expect("sandboxes");
        let of_pod = |sandbox: &cri::v1::PodSandbox| sandbox.labels.values().any(|uid| uid == "uid-midway");
        all.into_iter().filter(of_pod).map(|sandbox| sandbox.id).collect::<Vec<_>>()
    };
    let made = sandboxes().await;
    assert_eq!(made.len(), 1, "{made:?}");
    node.start();
    node.ready("midway").await;
    assert_eq!(sandboxes().await, made);
    node.delete("midway", 1);
    node.gone("midway").await;
}

/// Nothing of a deleted pod stays.
async fn deletion(node: &Node) {
    let begun = Instant::now();
    node.delete("all", 3);
    node.gone("all").await;
    eprintln!("pod with everything gone after {:?}", begun.elapsed());
    assert!(!node.folder.join("kubelet/pods/uid-all").exists());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("a mount table");
    assert!(!mounts.contains("uid-all"), "{mounts}");
    for controller in ["memory", "cpu", "."] {
        let group =
            Path::new("/sys/fs/cgroup").join(controller).join(&node.cgroup_root).join("burstable/poduid-all");
        assert!(!group.exists(), "{}", group.display());
    }
    while node.client.list_pod_sandbox(None).await.expect("sandboxes").len() > 1 {
        tokio::task::yield_now().await;
    }
    while node.folder.join("logs/pods/ns_all_uid-all").exists() {
        tokio::task::yield_now().await;
    }
}

async fn stop_all(node: &Node) {
    let options = kubelet::StopOptions { grace: Duration::from_secs(1), remove: false };
    // The kubelet would start them again.
    let ready = node.ready("second").await;
    assert_eq!(node.shell(&ready, "a", "echo alive").await, "alive");
    let begun = Instant::now();
    node.delete("second", 1);
    node.gone("second").await;
    kubelet::stop_all_pods(&node.client, &node.folder, options).await.expect("stopped");
    eprintln!("everything stopped after {:?}", begun.elapsed());
}

fn sweep(folder: &Path, cgroup: &str) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let below = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|path| Path::new(path).starts_with(folder));
    for path in below.collect::<Vec<_>>().into_iter().rev() {
        let _ = nix::mount::umount2(path, nix::mount::MntFlags::MNT_DETACH);
    }
    for controller in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        remove_groups(&controller.path().join(cgroup));
    }
    remove_groups(&Path::new("/sys/fs/cgroup").join(cgroup));
}

fn remove_groups(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_groups(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(directory);
}
