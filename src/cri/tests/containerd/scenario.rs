//! What is tried, in order.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cri::containerd::{Config, Supervisor};
use cri::image::{self, Store};
use cri::streaming::{port_forward, remote_command};
use cri::{Client, CriError, Images, Runtime, v1};

use crate::image::{BUSYBOX, write_busybox};
use crate::pods::{Sandbox, container, sandbox, until};

const KNARR: &str = "knarr.local/knarr:test";
const HOST_PORT: i32 = 18080;

pub async fn run() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = Config::new(folder.path().join("data"), KNARR);
    let cgroup = format!("/knarr-test-{}", std::process::id());
    // On a task, so that a panic comes back here; local, because nothing else needs `Send`.
    let tasks = tokio::task::LocalSet::new();
    let scenario = all(config.clone(), folder.path().to_owned(), cgroup.clone());
    let finished = tasks.run_until(async { tokio::task::spawn_local(scenario).await }).await;
    // Also after a failure: no process, mount or cgroup stays.
    if finished.is_err() {
        remove_pods(&config).await;
    }
    cri::containerd::supervisor::stop_running(&config).await;
    sweep(&config, &cgroup);
    finished.expect("the scenario");
}

async fn all(config: Config, folder: std::path::PathBuf, cgroup: String) {
    let begun = Instant::now();
    let supervisor = Supervisor::start(config.clone()).await.expect("containerd starts");
    eprintln!("containerd ready after {:?}", begun.elapsed());
    let client = supervisor.client();
    let store = Store::new(&supervisor.socket()).expect("a store");
    images(&config, &store, &client, &folder).await;

    let cidr: ipnet::IpNet = "10.233.7.0/24".parse().expect("a network");
    cni::configuration::write(&config.cni_conf_dir(), &config.data_dir.join("cni"), &[cidr], None)
        .expect("a network configuration");
    cni::host::ensure(&[cidr]).expect("the host's part of the network");
    until("the network is ready", async || {
        let status = client.status(false).await.expect("a status").status.unwrap_or_default();
        status.conditions.iter().all(|condition| condition.status)
    })
    .await;

    let logs = folder.join("logs");
    std::fs::create_dir_all(&logs).expect("a folder for logs");
    let begun = Instant::now();
    let pod = sandbox(&client, &logs, &cgroup, HOST_PORT).await;
    eprintln!("sandbox after {:?}", begun.elapsed());
    let begun = Instant::now();
    let script = "echo out; echo err >&2; (while :; do echo served | nc -l -p 8080; done) & sleep 1000";
    let main = container(&client, &pod, "main", script, false).await;
    eprintln!("container after {:?}", begun.elapsed());

    let address = network(&client, &pod).await;
    exec_sync(&client, &main).await;
    streaming(&client, &main).await;
    ports(&client, &pod, &address).await;
    attach(&client, &pod).await;
    log_files(&client, &main, &logs).await;
    statistics(&client, &pod, &main).await;
    let client = restarts(supervisor, &config, &main).await;
    teardown(&client, &pod, &main, &config).await;
}

async fn images(config: &Config, store: &Store, client: &Client, folder: &Path) {
    let stamp = config.containerd_dir().join("self-image.json");
    let begun = Instant::now();
    let packed = image::pack_self(store, KNARR, None, &stamp, "overlayfs").await.expect("packed");
    eprintln!("packed after {:?}", begun.elapsed());
    assert!(packed.imported);
    let begun = Instant::now();
    let again = image::pack_self(store, KNARR, None, &stamp, "overlayfs").await.expect("packed");
    assert!(!again.imported && again.digest == packed.digest);
    eprintln!("found again after {:?}", begun.elapsed());

    let archive = folder.join("busybox.tar");
    write_busybox(&archive);
    assert_eq!(image::import(store, &archive, None).await.expect("imported"), [BUSYBOX]);
    until("CRI sees the images", async || {
        let known = |name| async move { client.image_status(name).await.expect("an answer").is_some() };
        known(BUSYBOX).await && known(KNARR).await
    })
    .await;
    // What is exported can be imported, under the same name and with the same content.
    let exported = folder.join("exported.tar");
    let mut file = tokio::fs::File::create(&exported).await.expect("a file");
    image::export(store, &["busybox:test".to_owned()], &mut file).await.expect("exported");
    let before = store.image(BUSYBOX).await.expect("an answer").expect("an image");
    assert_eq!(image::import(store, &exported, None).await.expect("imported again"), [BUSYBOX]);
    assert_eq!(store.image(BUSYBOX).await.expect("an answer").expect("an image").digest, before.digest);
    let missing = image::export(store, &["nothing".to_owned()], &mut file).await;
    assert!(matches!(missing, Err(image::ImageError::NotFound(_))), "{missing:?}");
    // Our own registry does not exist, and nobody has to wait for that answer.
    let begun = Instant::now();
    let error = client.pull_image("knarr.local/nothing:1", None, None).await;
    assert!(error.is_err() && begun.elapsed() < Duration::from_secs(3), "{error:?} {:?}", begun.elapsed());
}

async fn network(client: &Client, pod: &Sandbox) -> String {
    let status = client.pod_sandbox_status(&pod.id, false).await.expect("a status").status.expect("status");
    let address = status.network.expect("a network").ip;
    assert!(address.starts_with("10.233.7."), "{address}");
    // From the host to the pod by its address, and by its port on the host.
    for target in [format!("{address}:8080"), format!("127.0.0.1:{HOST_PORT}")] {
        until(&target, async || {
            let Ok(mut stream) = tokio::net::TcpStream::connect(&target).await else { return false };
            let mut text = String::new();
            tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut text).await.is_ok()
                && text == "served\n"
        })
        .await;
    }
    address
}

async fn exec_sync(client: &Client, id: &str) {
    let sh = |script: &str| ["sh", "-c", script].map(str::to_owned);
    let output =
        client.exec_sync(id, &sh("echo a; echo b >&2; exit 3"), Duration::ZERO).await.expect("an exec");
    assert_eq!((output.stdout, output.stderr, output.exit_code), (b"a\n".to_vec(), b"b\n".to_vec(), 3));
    let late = client.exec_sync(id, &sh("sleep 60"), Duration::from_secs(1)).await;
    assert!(matches!(late, Err(CriError::DeadlineExceeded { .. })), "{late:?}");
    let missing = client.exec_sync("0000", &sh("true"), Duration::ZERO).await;
    assert!(matches!(missing, Err(CriError::NotFound { .. })), "{missing:?}");
}

async fn streaming(client: &Client, id: &str) {
    // Standard input with half-close: cat ends by itself, and everything comes back.
    let request = |script: &str, tty: bool| v1::ExecRequest {
        container_id: id.into(),
        cmd: ["sh", "-c", script].map(str::to_owned).into(),
        tty,
        stdin: true,
        stdout: true,
        stderr: !tty,
    };
    let options = |tty: bool| remote_command::StreamOptions { stdin: true, stdout: true, stderr: !tty, tty };
    let url = client.exec_url(request("cat; echo end >&2; exit 7", false)).await.expect("a URL");
    let mut exec = remote_command::connect(&url, options(false)).await.expect("streams");
    let sent: Vec<u8> = (0..300_000_u32).map(|number| number as u8).collect();
    let stdin = exec.stdin.take().expect("stdin");
    let (mut stdout, mut stderr) = (exec.stdout.take().expect("stdout"), exec.stderr.take().expect("stderr"));
    let writing = async {
        stdin.write(Bytes::from(sent.clone())).await.expect("written");
        stdin.finish().await.expect("finished");
    };
    let ((), received, errors, status) = tokio::join!(
        writing,
        stdout.collect(usize::MAX),
        stderr.collect(usize::MAX),
        exec.error.collect(usize::MAX)
    );
    assert_eq!(received.expect("stdout"), sent);
    assert_eq!(errors.expect("stderr"), b"end\n");
    let status: serde_json::Value = serde_json::from_slice(&status.expect("a status")).expect("JSON");
    assert_eq!(status["status"], "Failure");
    assert_eq!(status["details"]["causes"][0]["message"], "7", "{status}");

    // A terminal has the size that was sent, and keeps following it.
    let url = client.exec_url(request("read x; stty size", true)).await.expect("a URL");
    let mut exec = remote_command::connect(&url, options(true)).await.expect("streams");
    let resize = exec.resize.take().expect("resize");
    resize.write(Bytes::from_static(br#"{"Width":101,"Height":37}"#)).await.expect("resized");
    // The size takes another way than the input; the shell answers only after it has been applied.
    let sized = async {
        loop {
            let url = client
                .exec_url(v1::ExecRequest {
                    cmd: ["sh", "-c", "for t in /proc/[0-9]*/fd/0; do stty size < $t; done 2>/dev/null"]
                        .map(str::to_owned)
                        .into(),
                    container_id: id.into(),
                    stdout: true,
                    ..Default::default()
                })
                .await
                .expect("a URL");
            let only_out = remote_command::StreamOptions { stdout: true, ..Default::default() };
            let mut probe = remote_command::connect(&url, only_out).await.expect("streams");
            let text = probe.stdout.take().expect("stdout").collect(usize::MAX).await.expect("stdout");
            if String::from_utf8_lossy(&text).contains("37 101") {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), sized).await.expect("the size is applied");
    exec.stdin.take().expect("stdin").write(Bytes::from_static(b"\n")).await.expect("written");
    let text = exec.stdout.take().expect("stdout").collect(usize::MAX).await.expect("stdout");
    assert!(String::from_utf8_lossy(&text).contains("37 101"), "{text:?}");
    let status = exec.error.collect(usize::MAX).await.expect("a status");
    assert!(String::from_utf8_lossy(&status).contains("Success"), "{status:?}");
}

async fn ports(client: &Client, pod: &Sandbox, address: &str) {
    let request = v1::PortForwardRequest { pod_sandbox_id: pod.id.clone(), port: Vec::new() };
    let url = client.port_forward_url(request).await.expect("a URL");
    let forward = port_forward::connect(&url).await.expect("a connection");
    until("the port answers", async || {
        let mut stream = forward.open(8080).await.expect("streams");
        stream.data.reader.collect(100).await.is_ok_and(|text| text == b"served\n")
    })
    .await;
    let mut refused = forward.open(1).await.expect("streams");
    let message = refused.error.collect(4096).await.expect("a message");
    assert!(String::from_utf8_lossy(&message).contains("refused"), "{message:?} {address}");
}

async fn attach(client: &Client, pod: &Sandbox) {
    let id = container(client, pod, "reader", "read line; echo got $line; sleep 1000", true).await;
    let request =
        v1::AttachRequest { container_id: id.clone(), stdin: true, stdout: true, stderr: true, tty: false };
    let url = client.attach_url(request).await.expect("a URL");
    let options = remote_command::StreamOptions { stdin: true, stdout: true, stderr: true, tty: false };
    let mut attached = remote_command::connect(&url, options).await.expect("streams");
    attached.stdin.take().expect("stdin").write(Bytes::from_static(b"hello\n")).await.expect("written");
    let chunk = attached.stdout.take().expect("stdout").chunk().await.expect("output").expect("output");
    assert_eq!(chunk, "got hello\n");
    client.stop_container(&id, Duration::ZERO).await.expect("it stops");
    client.remove_container(&id).await.expect("it goes");
    client.remove_container(&id).await.expect("what is gone can be removed");
}

async fn log_files(client: &Client, id: &str, logs: &Path) {
    let log = logs.join("main.log");
    let text = std::fs::read_to_string(&log).expect("a log");
    let mut lines: Vec<&str> = text.lines().map(|line| line.split_once(' ').expect("a time").1).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["stderr F err", "stdout F out"]);
    std::fs::rename(&log, logs.join("main.log.1")).expect("rotated");
    client.reopen_container_log(id).await.expect("reopened");
    assert!(log.exists());
}

async fn statistics(client: &Client, pod: &Sandbox, id: &str) {
    let stats = client.container_stats(id).await.expect("statistics");
    assert!(stats.cpu.is_some() && stats.memory.is_some(), "{stats:?}");
    let stats = client.pod_sandbox_stats(&pod.id).await.expect("statistics");
    assert!(stats.linux.is_some_and(|linux| linux.network.is_some()));
    assert!(!client.image_fs_info().await.expect("statistics").image_filesystems.is_empty());
}

fn pid_of(config: &Config) -> i32 {
    let text = std::fs::read(config.run_dir.join("containerd/containerd.json")).expect("an identity");
    let identity: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    identity["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid")
}

async fn restarts(supervisor: Supervisor, config: &Config, main: &str) -> Client {
    // knarr goes and comes back: the same containerd, the same containers.
    let pid = pid_of(config);
    drop(supervisor);
    let supervisor = Supervisor::start(config.clone()).await.expect("adopted");
    assert_eq!(pid_of(config), pid);
    let client = supervisor.client();
    running(&client, main).await;

    // containerd dies: another one, the same containers.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)
        .expect("killed");
    until("containerd is back", async || pid_of(config) != pid && client.version().await.is_ok()).await;
    running(&client, main).await;

    // The configuration changes: another one, the same containers.
    let pid = pid_of(config);
    drop(supervisor);
    let changed = Config { log_level: "debug".into(), ..config.clone() };
    let supervisor = Supervisor::start(changed).await.expect("restarted");
    assert_ne!(pid_of(config), pid);
    let client = supervisor.client();
    running(&client, main).await;
    // From here on by hand, as `stop` would.
    drop(supervisor);
    client
}

async fn running(client: &Client, id: &str) {
    let status = client.container_status(id, false).await.expect("a status").status.expect("a status");
    assert_eq!(status.state, v1::ContainerState::ContainerRunning as i32);
    let output =
        client.exec_sync(id, &["echo".into(), "here".into()], Duration::ZERO).await.expect("an exec");
    assert_eq!(output.stdout, b"here\n");
}

async fn teardown(client: &Client, pod: &Sandbox, main: &str, config: &Config) {
    client.stop_container(main, Duration::from_secs(1)).await.expect("it stops");
    client.stop_pod_sandbox(&pod.id).await.expect("it stops");
    client.remove_pod_sandbox(&pod.id).await.expect("it goes");
    client.remove_pod_sandbox(&pod.id).await.expect("what is gone can be removed");
    assert!(client.list_pod_sandbox(None).await.expect("a list").is_empty());
    let addresses = std::fs::read_dir(config.data_dir.join("cni/ipam")).expect("a folder");
    let leaked: Vec<_> =
        addresses.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("10.")).collect();
    assert!(leaked.is_empty(), "{leaked:?}");
    let links = std::fs::read_to_string("/proc/net/dev").expect("links");
    assert!(!links.contains("knarr"), "{links}");
    cni::cleanup().expect("nothing of the network stays");
}

/// Takes down what a failed scenario left running, as far as containerd still answers.
async fn remove_pods(config: &Config) {
    let Ok(client) = Client::new(config.socket()) else { return };
    for sandbox in client.list_pod_sandbox(None).await.unwrap_or_default() {
        let _ = client.stop_pod_sandbox(&sandbox.id).await;
        let _ = client.remove_pod_sandbox(&sandbox.id).await;
    }
}

/// Ends what a failed scenario may have left: shims, mounts, cgroups, the run directory.
fn sweep(config: &Config, cgroup: &str) {
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(command) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let ours = String::from_utf8_lossy(&command).contains(&*config.socket().to_string_lossy());
        let pid = entry.file_name().to_string_lossy().parse::<i32>();
        if let (true, Ok(pid)) = (ours, pid) {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut targets: Vec<&str> = mounts.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    targets.reverse();
    for target in targets {
        let ours =
            [&config.run_dir, &config.data_dir].iter().any(|folder| Path::new(target).starts_with(folder));
        if ours {
            let _ = nix::mount::umount2(target, nix::mount::MntFlags::MNT_DETACH);
        }
    }
    let _ = std::fs::remove_dir_all(&config.run_dir);
    for controller in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let _ = std::fs::remove_dir(controller.path().join(cgroup.trim_start_matches('/')));
    }
    let _ = std::fs::remove_dir(Path::new("/sys/fs/cgroup").join(cgroup.trim_start_matches('/')));
}
