//! `knarr server`: a whole node out of the other crates.
//!
//! ```text
//!   pki, datastore ─> apiserver ─> ready ─> controllers, scheduler, add-ons
//!                                       └─> agent: containerd ─> kubelet, proxy, pod network
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`addresses`] | the node's addresses, and their changes |
//! | [`settings`] | the flags, checked |
//! | [`cidrs`] | those of networks |
//! | [`api_server`] | the flags of the API server |
//! | [`control_plane`] | datastore, API server, controllers, scheduler, add-ons |
//! | [`backup_flags`] | the flags of backups |
//! | [`datastore_api`] | what `knarr datastore` asks |
//! | [`etcd_api`] | etcd's API for reading |
//! | [`agent`] | containerd, kubelet, proxy |
//! | [`nodes`] | this node among the others: members, and how their datastores reach each other |
//! | [`join`] | nodes that join |
//! | [`listen`] | listening at an address, or at all |
//! | [`term`] | which node's controllers and scheduler act |
//! | [`network`] | the pod network of the node |
//! | [`notify`] | what the service manager is told |

pub mod addresses;
pub mod agent;
pub mod api_server;
mod audit_flags;
pub mod backup_flags;
mod cidrs;
mod control_plane;
mod datastore_api;
mod etcd_api;
pub mod join;
pub mod listen;
mod network;
mod nodes;
pub mod notify;
pub mod settings;
mod term;

use crate::arguments::{Location, Server};
use crate::cluster::local::{self, Answer, Ask};
use crate::commands::ephemeral::EPHEMERAL;
use crate::commands::start::DETACHED;
use crate::commands::{access, process};
use crate::launch::plan::Plan;
use crate::launch::prepare::prepare;
use crate::launch::steps::{self, ThisNode};
use crate::paths::Paths;
use crate::{launch, logging};
use anyhow::{Context, Result};
use apiserver::authentication::UserInfo;
use nodes::Nodes;
use settings::Settings;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

/// The Kubernetes whose behaviour this one has.
pub const KUBERNETES_VERSION: &str = "v1.36";

/// How long tasks may take to end once they were told; the process ends then, and nothing is lost.
pub const DRAIN: Duration = Duration::from_secs(20);

/// This program, even if another one lies in its place by now.
pub const OWN_BINARY: &str = "/proc/self/exe";

/// The same when the node's address has changed.
const MOVED_DRAIN: Duration = Duration::from_secs(2);

/// Runs a node until it is told to end.
///
/// # Errors
/// When a flag is wrong, another server runs here, or a part cannot start.
pub fn main(options: Server) -> Result<ExitCode> {
    if std::env::var_os(DETACHED).is_some() {
        // Fails only for a process that leads a session already, which is what is wanted.
        let _ = nix::unistd::setsid();
    }
    if std::env::var_os(EPHEMERAL).is_some() {
        // Nobody needs it without the one who started it.
        let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
    }
    logging::init(options.verbose);
    let location = options.location.clone();
    let settings = Settings::check(options)?;
    let paths = Paths::new(&settings.data_dir);
    std::fs::create_dir_all(paths.root()).with_context(|| {
        format!("cannot make {}; run this as root, or give a --data-dir of your own", paths.root().display())
    })?;
    let _lock = process::lock(&paths)?;
    crate::backups::staged::finish(&paths)?;
    let location = Location { data_dir: settings.data_dir.clone(), ..location };
    let launch = launch::read(&location.config, &location.data_dir)?;
    if let Some(plan) = &launch {
        tracing::info!("{} counts besides {}", plan.shown, location.config.display());
        prepare(plan, &paths, settings.runtime_endpoint.is_some())?;
    }
    let launch = launch.map(|plan| (plan, location));
    // Two cores are plenty for the control plane; more threads only cost memory.
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 4);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let outcome = runtime.block_on(run(settings, &paths, launch));
    // Watches of files and the like may sit in blocking calls that nobody waits for.
    runtime.shutdown_timeout(Duration::from_millis(500));
    match outcome? {
        End::Told => Ok(ExitCode::SUCCESS),
        // The same process, with the same children: whoever started it notices nothing.
        End::Moved => Err(Command::new(OWN_BINARY).args(std::env::args_os().skip(1)).exec().into()),
    }
}

/// Why a server ended.
enum End {
    /// It was told to.
    Told,
    /// The node has another address, which is in too many places to be changed under way. Pods go on.
    Moved,
}

async fn run(mut settings: Settings, paths: &Paths, launch: Option<(Plan, Location)>) -> Result<End> {
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone())?;
    // Nobody but the first part may choose a crypto provider, and all have to agree.
    let _ = rustls::crypto::ring::default_provider().install_default();
    remove_ready(paths);

    let listener = control_plane::listen(&settings)?;
    settings.on_port(listener.local_addr()?.port());
    let nodes = Nodes::new(&settings, paths);
    let commands = answer_commands(&nodes, paths)?;
    let Some(control_plane) = control_plane::start(&settings, paths, &nodes, listener, &stop).await? else {
        return Ok(End::Told);
    };
    process::write_state(paths, &settings.state())?;
    access::share(paths);
    std::fs::write(paths.ready_file(), "")?;
    notify::ready();
    tracing::info!(port = settings.port, node = settings.node_name, "the API server is ready");

    let agent =
        if settings.agent { Some(agent::start(&settings, paths, &control_plane, &stop)?) } else { None };
    if let Some((plan, location)) = launch {
        let node = ThisNode { location, client: control_plane.client(UserInfo::admin(), "knarr") };
        tokio::spawn(steps::run(plan, paths.clone(), node, stop.clone()));
    }
    let mut agent_ended = match agent {
        Some(task) => task,
        None => tokio::spawn(std::future::pending()),
    };
    let moved = async {
        match settings.node_ips.first() {
            Some(_) => std::future::pending().await,
            None => addresses::moved(settings.address).await,
        }
    };
    let outcome = tokio::select! {
        () = stop.cancelled() => Ok(End::Told),
        ended = &mut agent_ended => ended.unwrap_or_else(|error| Err(error.into())).map(|()| End::Told),
        now = moved => {
            tracing::warn!(before = %settings.address, %now, "the node's address has changed: the server starts anew");
            Ok(End::Moved)
        }
    };
    remove_ready(paths);
    if !matches!(outcome, Ok(End::Moved)) {
        notify::stopping();
    }
    stop.cancel();
    commands.abort();
    // Connections of the address that has gone never end.
    let patience = if matches!(outcome, Ok(End::Moved)) { MOVED_DRAIN } else { DRAIN };
    let agent = async {
        if settings.agent && !agent_ended.is_finished() {
            let _ = agent_ended.await;
        }
    };
    let drained = tokio::time::timeout(patience, control_plane.end(agent));
    if drained.await.is_err() {
        tracing::warn!("some parts did not end within {patience:?}");
    }
    tracing::info!("ended");
    outcome
}

/// Answers the commands of this node.
fn answer_commands(nodes: &Arc<Nodes>, paths: &Paths) -> Result<AbortHandle> {
    let listener = local::listen(paths)?;
    let nodes = Arc::clone(nodes);
    let answerer: local::Answerer = Arc::new(move |ask| {
        let nodes = Arc::clone(&nodes);
        Box::pin(async move {
            let done = match ask {
                Ask::Status => return Answer::Report(nodes.report().await),
                Ask::Leave => nodes.leave().await,
                Ask::Remove { name, force } => nodes.remove(&name, force).await,
            };
            done.map_or_else(|error| Answer::Refused(format!("{error:#}")), |()| Answer::Done)
        })
    });
    Ok(tokio::spawn(local::serve(listener, answerer)).abort_handle())
}

/// The node is not ready any more.
pub fn remove_ready(paths: &Paths) {
    // It may not be there.
    let _ = std::fs::remove_file(paths.ready_file());
}

/// The first SIGINT or SIGTERM ends the server politely, a second one at once. SIGHUP is for terminals.
///
/// # Errors
/// When signals cannot be waited for.
pub fn stop_on_signals(stop: CancellationToken) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => continue,
            }
            if stop.is_cancelled() {
                std::process::exit(1);
            }
            stop.cancel();
        }
    });
    Ok(())
}
