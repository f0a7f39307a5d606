//! `knarr join`: this node becomes one of a cluster; what it was before comes back if that fails.

use super::leave::{STATE, remove};
use super::{process, start, stop};
use crate::arguments::cluster::Join;
use crate::arguments::{Arguments, Command, Location, Start};
use crate::cluster::facts::Facts;
use crate::cluster::local::{Answer, Ask, Report, Role, ask};
use crate::cluster::protocol::{JoinAnswer, JoinRequest, NodeRole, VERSION};
use crate::cluster::remote::Remote;
use crate::cluster::target::Target;
use crate::configuration;
use crate::paths::Paths;
use crate::server::settings::Settings;
use anyhow::{Context, Result, bail};
use clap::Parser as _;
use client::{ObjectKey, Rest};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long the node may take to become Ready and get its role, once its server runs.
const PATIENCE: Duration = Duration::from_secs(180);
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
    if Facts::load(&paths)?.is_some() && !is_last(&paths).await {
        bail!("this node belongs to a cluster already: run `knarr leave` first");
    }
    // The other side asks for it in the name of this process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ran = process::running(&paths)?.is_some();
    let before = process::state(&paths)?.map(|state| state.arguments).unwrap_or_default();
    let arguments = if options.server.is_empty() { before.clone() } else { options.server.clone() };
    let settings = settings(&options.location, &arguments)?;
    if options.worker {
        bail!("joining as a worker is not there yet: join without --worker");
    }
    println!("Contacting cluster at {target:?}");
    let remote = Remote::find(&target).await?;
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
    println!("Waiting for this node to finish joining the cluster.");
    let restart = |server: Vec<String>| Start { location: options.location.clone(), server };
    let joined = async {
        enter(&paths, &answer).await?;
        start::run(&restart(arguments.clone()))?;
        settle(&paths, &settings).await?;
        remote.finish(&settings.node_name, true).await
    };
    if let Err(error) = joined.await {
        println!("It did not join; it becomes what it was before.");
        stop::stop(&paths).await.context("cannot stop what was started")?;
        restore(&paths)?;
        if let Err(forget) = remote.finish(&settings.node_name, false).await {
            println!("The cluster forgets this node within ten minutes by itself: {forget:#}");
        }
        if ran {
            start::run(&restart(before))?;
        }
        return Err(error.context("this node has not joined the cluster"));
    }
    remove(&paths.before_join())?;
    println!("Successfully joined the cluster.");
    Ok(ExitCode::SUCCESS)
}

/// Whether all other nodes of its cluster have left.
pub async fn is_last(paths: &Paths) -> bool {
    let asked = ask(paths, &Ask::Status, PATIENCE).await;
    matches!(asked, Ok(Answer::Report(report)) if report.members.len() == 1)
}

/// What `knarr server` would run with.
fn settings(location: &Location, arguments: &[String]) -> Result<Settings> {
    let mut all: Vec<OsString> = vec!["knarr".into(), "server".into()];
    all.extend(["--data-dir".into(), location.data_dir.clone().into()]);
    // A file that was not named need not be there; the server's flag and variable are those of this command.
    if location.config.exists() {
        all.extend(["--config".into(), location.config.clone().into()]);
    }
    all.extend(start::without_location(arguments).into_iter().map(OsString::from));
    let parsed = Arguments::try_parse_from(configuration::with_file(all)?)?;
    match parsed.command {
        Command::Server(options) => Settings::check(*options),
        _ => bail!("these are no flags of `knarr server`"),
    }
}

/// Puts what the node was aside, and what the cluster gave in its place.
async fn enter(paths: &Paths, answer: &JoinAnswer) -> Result<()> {
    let Some(control_plane) = &answer.control_plane else {
        bail!("the cluster did not say what a control-plane node needs; install its version of knarr")
    };
    stop::stop(paths).await?;
    let aside = paths.before_join();
    private_folder(&aside)?;
    for name in STATE {
        shift(&paths.root().join(name), &aside.join(name))?;
    }
    private_folder(&paths.pki())?;
    for (name, text) in &control_plane.files {
        // It comes from the network, if from a friend: a file's name and nothing else.
        if name.contains('/') || name.starts_with('.') {
            bail!("the cluster sent a file with a strange name: {name}");
        }
        pki::write_private(&paths.pki().join(name), text.as_bytes())?;
    }
    Facts { common: answer.common.clone(), ticket: Some(control_plane.ticket.clone()) }.save(paths)
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
async fn settle(paths: &Paths, settings: &Settings) -> Result<()> {
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
                Ok(node) if node.as_ref().is_some_and(super::status::is_ready) => return Ok(()),
                Ok(node) => format!("the node is not Ready: {}", super::status::reason(node.as_ref())),
                Err(error) => error.to_string(),
            },
        };
        if process::running(paths)?.is_none() {
            bail!("the server has ended; its log is {}", paths.log_file().display());
        }
        if begin.elapsed() > PATIENCE {
            bail!("it took more than {PATIENCE:?}: {waiting_for}");
        }
        tokio::time::sleep(PERIOD).await;
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
