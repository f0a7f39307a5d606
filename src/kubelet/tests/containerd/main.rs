//! The kubelet on a real containerd, with an API server of a few lines: volumes, cgroups, probes, hooks, logs,
//! adoption after a restart, graceful deletion, nothing left behind. Needs root, containerd and runc; is
//! skipped without them.
//!
//! Without the usual harness, because this executable plays three more parts, as knarr does: it is packed as
//! the image that sandboxes run from (`pause`), and it is the CNI plugin.

// All of it is a test, which clippy cannot see without the usual harness.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

#[path = "../../src/testing/api.rs"]
mod api_server;
#[path = "../../../cri/tests/containerd/image.rs"]
mod image;
mod node;
mod scenario;

use std::process::ExitCode;

const NAME: &str = "pods_run_as_their_objects_say";

fn main() -> ExitCode {
    if cni::is_plugin_call() {
        return cni::main();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == "pause") {
        return pause();
    }
    if arguments.iter().any(|argument| argument == "--list") {
        // What test runners ask for; nothing is marked as ignored.
        if !arguments.iter().any(|argument| argument == "--ignored") {
            println!("{NAME}: test");
        }
        return ExitCode::SUCCESS;
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    if filter.is_some_and(|filter| !NAME.contains(filter.as_str())) {
        return ExitCode::SUCCESS;
    }
    if let Some(missing) = missing() {
        eprintln!("skipped: {missing}");
        return ExitCode::SUCCESS;
    }
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    // A network of our own: nothing of the test touches the machine's.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace of our own");
    // An address of the node, as the source of what it sends to pods.
    for arguments in ["link set lo up", "address add 10.99.0.1/32 dev lo"] {
        let status = std::process::Command::new("ip").args(arguments.split(' ')).status();
        assert!(status.is_ok_and(|status| status.success()), "ip {arguments}");
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(scenario::run());
    ExitCode::SUCCESS
}

/// The pause container: waits for SIGTERM, as the first process of its namespaces.
fn pause() -> ExitCode {
    use nix::sys::signal::{SigSet, Signal};
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block().expect("signals are blocked");
    signals.wait().expect("a signal");
    ExitCode::SUCCESS
}

fn missing() -> Option<&'static str> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root");
    }
    for (program, what) in [
        ("containerd", "needs containerd"),
        ("runc", "needs runc"),
        ("nft", "needs nftables"),
        ("ip", "needs iproute2"),
        ("busybox", "needs busybox-static"),
    ] {
        if cri::containerd::version::find_program(program).is_none() {
            return Some(what);
        }
    }
    None
}
