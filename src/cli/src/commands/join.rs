//! `knarr join`: this node becomes one of a cluster; what it was before comes back if that fails.

use super::leave::{STATE, remove};
use super::progress::Progress;
use super::{process, start, stop};
use crate::arguments::cluster::Join;
use crate::arguments::{Arguments, Command, Location};
use crate::cluster::facts::Facts;
use crate::cluster::local::{Answer, Ask, Report, Role, ask};
use crate::cluster::protocol::{JoinAnswer, JoinRequest, NodeRole, VERSION};
use crate::cluster::remote::Remote;
use crate::cluster::target::Target;
use crate::configuration;
use crate::launch;
use crate::paths::Paths;
use crate::server::settings::Settings;
use crate::worker::admission::Admitted;
use crate::worker::material::Material;
use anyhow::{Context, Result, bail};
use clap::Parser as _;
use client::{ObjectKey, Rest, nodes};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The variable with what to join, for those who do not want it in the list of processes.
pub const TARGET: &str = "KNARR_JOIN";
/// How long the node may take to become Ready and get its role, once its server runs.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often the cluster is told that the node has joined.
const FINISH_ATTEMPTS: usize = 5;
/// Between two looks.
const PERIOD: Duration = Duration::from_millis(100);
/// Voters that a cluster of three nodes or more has.
const VOTERS: usize = 3;

/// Joins a cluster.
///
/// # Errors
/// Why it did not, and what to do; the node and the cluster are as before then.
pub async fn run(options: &Join) -> Result<ExitCode> {
    let target = Target::parse(&options.target)?;
    let paths = Paths::new(&options.location.data_dir);
    restore(&paths)?;
    if Material::exists(&paths) || Facts::load(&paths)?.is_some() && !is_last(&paths).await {
        bail!("this node belongs to a cluster already: run `knarr leave` first");
    }
    // The other side asks for it in the name of this process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ran = process::running(&paths)?.is_some();
    let before = process::state(&paths)?.map(|state| state.arguments).unwrap_or_default();
    start::flags_fit(&paths, &options.location, &options.server)?;
    let mut progress = Progress::new();
    progress.step(&format!("Contacting cluster at {target:?}"));
    let remote = Remote::find(&target).await?;
    let back = Back { options, paths: &paths, before: ran.then_some(before.clone()) };
    if options.worker {
        return join_as_worker(&back, &remote, &target.token, &mut progress).await;
    }
    let arguments = if options.server.is_empty() { before } else { options.server.clone() };
    let settings = match parsed("server", &options.location, &arguments)? {
        Command::Server(options) => Settings::check(*options)?,
        _ => bail!("these are no flags of `knarr server`"),
    };
    let address = SocketAddr::new(settings.address, settings.datastore_port);
    // Nobody listens there while the node is alone.
    if let Err(error) = TcpListener::bind(address) {
        bail!(
            "cannot listen on {address} for the datastore: {error}; stop what has this port or give \
             `-- --datastore-port`, and --node-ip if the address is not the right one"
        );
    }
    let request = JoinRequest {
        token: target.token.clone(),
        name: settings.node_name.clone(),
        role: NodeRole::ControlPlane,
        version: VERSION.to_owned(),
        time: Timestamp::now(),
        addresses: vec![settings.address],
        datastore: Some(address.to_string()),
        failure_domain: settings.failure_domain.clone(),
        requests: None,
    };
    let answer = remote.join(&request).await?;
    let joined = async {
        enter(&paths, &answer, &settings.node_name, &mut progress).await?;
        start::again(&options.location, &arguments, &mut progress)?;
        settle(&paths, &settings, &mut progress).await
    };
    let joined = joined.await;
    back.unless(joined, &remote, &settings.node_name, &mut progress).await
}

/// The way back when something fails.
struct Back<'a> {
    options: &'a Join,
    paths: &'a Paths,
    /// The flags that the server ran with, if it ran.
    before: Option<Vec<String>>,
}

impl Back<'_> {
    /// Says to both sides how joining went.
    async fn unless(
        &self,
        joined: Result<()>,
        remote: &Remote,
        name: &str,
        progress: &mut Progress,
    ) -> Result<ExitCode> {
        let joined = match joined {
            Ok(()) => finished(remote, name).await,
            Err(error) => Err(error),
        };
        let Err(error) = joined else {
            remove(&self.paths.before_join())?;
            if self.options.worker {
                // An agent takes no other step of it.
                let config = &self.options.location.config;
                if let Some(plan) = launch::read(config, &self.options.location.data_dir)? {
                    launch::prepare::note_joined(&plan, self.paths)?;
                }
            }
            progress.done("Successfully joined the cluster.");
            return Ok(ExitCode::SUCCESS);
        };
        progress.done("It did not join; it becomes what it was before.");
        match self.undo(remote, name, progress).await {
            Ok(()) => Err(error.context("this node has not joined the cluster")),
            Err(undo) => Err(undo.context(format!(
                "this node has not joined the cluster ({error:#}), and is not what it was before; run `knarr stop`, then \
                 `knarr join` again"
            ))),
        }
    }

    /// Makes the node what it was before, and the cluster forget it.
    async fn undo(&self, remote: &Remote, name: &str, progress: &mut Progress) -> Result<()> {
        stop::stop(self.paths, progress).await.context("cannot stop what was started")?;
        restore(self.paths)?;
        if let Err(forget) = remote.finish(name, false).await {
            progress.done(&format!("The cluster forgets this node within ten minutes by itself: {forget:#}"));
        }
        if let Some(server) = &self.before {
            start::again(&self.options.location, server, progress)?;
            progress.done("Started.");
        }
        Ok(())
    }
}

/// Tells the cluster that the node has joined: so late, one lost message must not undo it all.
async fn finished(remote: &Remote, name: &str) -> Result<()> {
    let mut told = remote.finish(name, true).await;
    for _ in 1..FINISH_ATTEMPTS {
        if told.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        told = remote.finish(name, true).await;
    }
    told
}

async fn join_as_worker(
    back: &Back<'_>,
    remote: &Remote,
    token: &str,
    progress: &mut Progress,
) -> Result<ExitCode> {
    let (options, paths) = (back.options, back.paths);
    let Command::Agent(flags) = parsed("agent", &options.location, &options.server)? else {
        bail!("these are no flags of `knarr agent`")
    };
    let admitted = Admitted::ask(&flags.node, remote, token).await?;
    let joined = async {
        put_aside(paths, progress).await?;
        admitted.save(paths)?;
        start::again(&options.location, &options.server, progress)?;
        ready(paths, &admitted, progress).await
    };
    let joined = joined.await;
    back.unless(joined, remote, &admitted.material.node_name, progress).await
}

/// Waits until a worker's node is Ready, as any of the API servers says.
async fn ready(paths: &Paths, admitted: &Admitted, progress: &mut Progress) -> Result<()> {
    let Admitted { material, certificate, key } = admitted;
    let begin = Instant::now();
    let mut servers = material.servers.iter().cycle();
    loop {
        let server = servers.next().context("the cluster named no API server")?;
        let (ca, certificate, key) = (material.ca_pem.as_bytes(), certificate.as_bytes(), key.as_bytes());
        let client = client::mtls(&format!("https://{server}"), ca, certificate, key, "knarr")?;
        let node = Rest::new(client).get::<Node>(&ObjectKey::cluster(&material.node_name)).await;
        let waiting_for = match node {
            Ok(node) if node.as_ref().is_some_and(nodes::is_ready) => return Ok(()),
            Ok(node) => format!("the node is not Ready: {}", super::status::reason(node.as_ref())),
            Err(error) => format!("{server}: {error}"),
        };
        wait(paths, begin, &waiting_for, progress).await?;
    }
}

/// Waits for a moment, and tells what for.
async fn wait(paths: &Paths, begin: Instant, waiting_for: &str, progress: &mut Progress) -> Result<()> {
    progress.step(&format!("Waiting for this node to finish joining the cluster: {waiting_for}"));
    if process::running(paths)?.is_none() {
        bail!("the server has ended; its log is {}", paths.log_file().display());
    }
    if begin.elapsed() > PATIENCE {
        bail!("it took more than {PATIENCE:?}: {waiting_for}");
    }
    tokio::time::sleep(PERIOD).await;
    Ok(())
}

/// Whether all other nodes of its cluster have left.
pub async fn is_last(paths: &Paths) -> bool {
    let asked = ask(paths, &Ask::Status, PATIENCE).await;
    matches!(asked, Ok(Answer::Report(report)) if report.members.len() == 1)
}

/// What `knarr server` or `knarr agent` would run with.
fn parsed(command: &str, location: &Location, arguments: &[String]) -> Result<Command> {
    let mut all: Vec<OsString> = vec!["knarr".into(), command.into()];
    all.extend(["--data-dir".into(), location.data_dir.clone().into()]);
    // A file that was not named need not be there; the server's flag and variable are those of this command.
    if location.config.exists() || launch::exists(&location.config) {
        all.extend(["--config".into(), location.config.clone().into()]);
    }
    all.extend(start::without_location(arguments).into_iter().map(OsString::from));
    Ok(Arguments::try_parse_from(configuration::with_file(all)?)?.command)
}

/// Puts what the node was aside, and what the cluster gave in its place.
async fn enter(paths: &Paths, answer: &JoinAnswer, name: &str, progress: &mut Progress) -> Result<()> {
    let Some(control_plane) = &answer.control_plane else {
        bail!("the cluster did not say what a control-plane node needs; install its version of knarr")
    };
    put_aside(paths, progress).await?;
    private_folder(&paths.pki())?;
    for (name, text) in &control_plane.files {
        // It comes from the network, if from a friend: a file's name and nothing else.
        if name.contains('/') || name.starts_with('.') {
            bail!("the cluster sent a file with a strange name: {name}");
        }
        pki::write_private(&paths.pki().join(name), text.as_bytes())?;
    }
    let (common, ticket) = (answer.common.clone(), Some(control_plane.ticket.clone()));
    Facts { common, node_name: Some(name.to_owned()), ticket }.save(paths)
}

async fn put_aside(paths: &Paths, progress: &mut Progress) -> Result<()> {
    stop::stop(paths, progress).await?;
    let aside = paths.before_join();
    private_folder(&aside)?;
    for name in STATE {
        shift(&paths.root().join(name), &aside.join(name))?;
    }
    Ok(())
}

/// Brings back what a join that failed, or was cut short, has put aside.
fn restore(paths: &Paths) -> Result<()> {
    let aside = paths.before_join();
    if !aside.exists() {
        return Ok(());
    }
    if process::running(paths)?.is_some() {
        bail!("an earlier `knarr join` was cut short: run `knarr stop`, then this again");
    }
    for name in STATE {
        remove(&paths.root().join(name))?;
        shift(&aside.join(name), &paths.root().join(name))?;
    }
    remove(&aside)
}

fn private_folder(path: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot make {}", path.display()))
}

fn shift(from: &Path, to: &Path) -> Result<()> {
    if !from.exists() {
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::rename(from, to).with_context(|| format!("cannot move {} to {}", from.display(), to.display()))
}

/// Waits until the node is Ready and has its place in the datastore.
async fn settle(paths: &Paths, settings: &Settings, progress: &mut Progress) -> Result<()> {
    let begin = Instant::now();
    let rest = Rest::new(process::client(paths).await?);
    loop {
        let placed = match ask(paths, &Ask::Status, PATIENCE).await? {
            Answer::Report(report) => has_place(&report),
            _ => Err("the server does not tell how the datastore is".to_owned()),
        };
        let waiting_for = match placed {
            Err(why) => why,
            Ok(()) if !settings.agent => return Ok(()),
            Ok(()) => match rest.get::<Node>(&ObjectKey::cluster(&settings.node_name)).await {
                Ok(node) if node.as_ref().is_some_and(nodes::is_ready) => return Ok(()),
                Ok(node) => format!("the node is not Ready: {}", super::status::reason(node.as_ref())),
                Err(error) => error.to_string(),
            },
        };
        wait(paths, begin, &waiting_for, progress).await?;
    }
}

/// Whether a node has the state, and votes if it is to.
fn has_place(report: &Report) -> Result<(), String> {
    let Some(own) = report.members.iter().find(|member| member.id == report.node) else {
        return Err("the node is no member of the datastore yet".to_owned());
    };
    if !own.alive || !own.caught_up {
        return Err("the node has not got all of the cluster's state yet".to_owned());
    }
    let voters = report.members.iter().filter(|member| member.role == Role::Voter && member.alive).count();
    if own.role != Role::Voter && report.members.len() >= VOTERS && voters < VOTERS {
        return Err("the node does not vote yet".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::local::Member;

    #[test]
    fn what_was_before_comes_back_whole() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("datastore/state.db", "old");
        write("cni/ipam/a", "old");
        write("admin.kubeconfig", "old");
        let aside = paths.before_join();
        for name in STATE {
            shift(&folder.path().join(name), &aside.join(name)).unwrap();
        }
        assert!(!folder.path().join("datastore").exists());
        write("datastore/state.db", "new");
        write("pki/ca.key", "new");
        write("cluster.json", "new");
        restore(&paths).unwrap();
        for (name, text) in
            [("datastore/state.db", "old"), ("cni/ipam/a", "old"), ("admin.kubeconfig", "old")]
        {
            assert_eq!(std::fs::read_to_string(folder.path().join(name)).unwrap(), text);
        }
        for name in ["pki", "cluster.json", "before-join"] {
            assert!(!folder.path().join(name).exists(), "{name}");
        }
        restore(&paths).unwrap();
    }

    #[test]
    fn a_node_has_its_place_when_it_has_the_state_and_votes_if_it_is_to() {
        let member = |id, role, caught_up| Member {
            id,
            name: format!("n{id}"),
            address: String::new(),
            role,
            alive: true,
            leader: id == 1,
            caught_up,
        };
        let report = |members| Report { node: 2, members, quorum: true, survives_a_loss: false };
        let one = member(1, Role::Voter, true);
        assert!(has_place(&report(vec![one.clone()])).is_err());
        assert!(has_place(&report(vec![one.clone(), member(2, Role::Standby, false)])).is_err());
        assert!(has_place(&report(vec![one.clone(), member(2, Role::Standby, true)])).is_ok());
        let third = |role| member(3, role, true);
        assert!(
            has_place(&report(vec![one.clone(), member(2, Role::Standby, true), third(Role::Standby)]))
                .is_err()
        );
        assert!(
            has_place(&report(vec![one.clone(), member(2, Role::Voter, true), third(Role::Standby)])).is_ok()
        );
        let all = vec![one, member(2, Role::Standby, true), third(Role::Voter), member(4, Role::Voter, true)];
        assert!(has_place(&report(all)).is_ok());
    }
}
