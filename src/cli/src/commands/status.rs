//! `knarr status`: whether Knarr runs and its node is Ready, and the add-ons. Shapes are MicroK8s'.

use super::process;
use crate::arguments::{Format, Status};
use crate::cluster::local::{self, Answer, Ask, Member, Role};
use crate::paths::Paths;
use addons::engine::{Engine, State};
use addons::repositories::Repositories;
use anyhow::Result;
use client::nodes;
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::Instant;

/// How often readiness is looked at while waiting.
const PERIOD: Duration = Duration::from_millis(200);
/// A server that does not answer in this time is told as not running: the command must never hang. It has to answer
/// within two seconds.
const PATIENCE: Duration = Duration::from_millis(1700);

/// What there is to tell.
pub struct Report {
    /// Whether all is well.
    pub ready: bool,
    /// If not, why.
    pub why: String,
    datastore: local::Report,
    addons: Vec<State>,
}

/// Shows the status. Exits non-zero when Knarr is not running or not ready.
///
/// # Errors
/// When the state on disk cannot be read.
pub async fn run(options: &Status) -> Result<ExitCode> {
    let paths = Paths::new(&options.location.data_dir);
    let start = Instant::now();
    let report = loop {
        let report = look(&paths).await?;
        let waited = options.timeout > 0 && start.elapsed() >= Duration::from_secs(options.timeout);
        if report.ready || !options.wait_ready || waited {
            break report;
        }
        tokio::time::sleep(PERIOD).await;
    };
    if let Some(addon) = &options.addon {
        let (repository, name) = addon.split_once('/').map_or((None, addon.as_str()), |(r, n)| (Some(r), n));
        let name = addons::catalog::find(name).map_or(name, |addon| &addon.name);
        let is =
            |state: &State| state.name == name && repository.is_none_or(|wanted| wanted == state.repository);
        let enabled = report.addons.iter().any(|state| is(state) && state.enabled);
        println!("{}", if enabled { "enabled" } else { "disabled" });
        return Ok(ExitCode::SUCCESS);
    }
    match options.format {
        Format::Pretty => print!("{}", pretty(&report)),
        Format::Short => print!("{}", short(&report)),
        Format::Yaml => print!("{}", apimachinery::decode::to_yaml(&value(&report))?),
        Format::Json => println!("{:#}", value(&report)),
    }
    Ok(if report.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub async fn look(paths: &Paths) -> Result<Report> {
    let mut report =
        Report { ready: false, why: String::new(), datastore: local::Report::default(), addons: Vec::new() };
    let (Some(state), Some(_)) = (process::state(paths)?, process::running(paths)?) else {
        report.why = "knarr is not running, try knarr start".to_owned();
        return Ok(report);
    };
    let status = Ask::Status;
    let datastore = local::ask(paths, &status, PATIENCE);
    let looked = tokio::time::timeout(PATIENCE, async {
        let client = process::client(paths).await?;
        let addons =
            Engine::new(client.clone()).list(&Repositories::new(paths.repositories()).list()).await?;
        let node =
            client::Rest::new(client).get::<Node>(&client::ObjectKey::cluster(&state.node_name)).await?;
        anyhow::Ok((addons, node))
    });
    let (datastore, looked) = tokio::join!(datastore, looked);
    if let Ok(Answer::Report(datastore)) = datastore {
        report.datastore = datastore;
    }
    match looked {
        Ok(Ok((addons, node))) => {
            report.addons = addons;
            report.ready = !state.agent || node.as_ref().is_some_and(nodes::is_ready);
            if !report.ready {
                report.why = format!("node {} is not Ready: {}", state.node_name, reason(node.as_ref()));
            }
        }
        Ok(Err(error)) => report.why = format!("the API server does not answer as it should: {error:#}"),
        Err(_) => report.why = format!("the API server does not answer within {PATIENCE:?}"),
    }
    if !report.datastore.members.is_empty() && !report.datastore.quorum {
        report.ready = false;
        report.why = no_quorum(&report.datastore);
    }
    Ok(report)
}

fn no_quorum(datastore: &local::Report) -> String {
    let voters = || datastore.members.iter().filter(|member| member.role == Role::Voter);
    let alive = voters().filter(|voter| voter.alive).count();
    let dead = voters().filter(|voter| !voter.alive).map(|voter| voter.name.as_str());
    format!(
        "the datastore has no quorum: {alive} of {} voters answer, {} are needed; start {}",
        voters().count(),
        voters().count() / 2 + 1,
        dead.collect::<Vec<_>>().join(", ")
    )
}

/// Why a node is not Ready.
pub fn reason(node: Option<&Node>) -> String {
    let ready = node.and_then(|node| nodes::condition(node, "Ready"));
    ready
        .and_then(|condition| condition.message.clone())
        .unwrap_or_else(|| "it has not registered yet".to_owned())
}

fn headline(report: &Report) -> String {
    if report.ready {
        "knarr is running\n".to_owned()
    } else {
        format!("knarr is not running. {}\n", report.why)
    }
}

fn pretty(report: &Report) -> String {
    let mut text = headline(report);
    if !report.datastore.members.is_empty() && (report.ready || report.datastore.members.len() > 1) {
        text.push_str(&nodes(&report.datastore));
    }
    if !report.ready {
        return text;
    }
    text.push_str("addons:\n");
    for (title, enabled) in [("enabled", true), ("disabled", false)] {
        let rows: Vec<&State> = report.addons.iter().filter(|state| state.enabled == enabled).collect();
        if !rows.is_empty() {
            text.push_str(&format!("  {title}:\n"));
        }
        for State { repository, name, description, .. } in rows {
            text.push_str(&format!("{:>3} {name:<20} # ({repository}) {description}\n", ""));
        }
    }
    text
}

/// Who holds the cluster's state. Nodes that do not answer are no help, so they stand apart.
fn nodes(datastore: &local::Report) -> String {
    let list = |wanted: &dyn Fn(&Member) -> bool| {
        let found: Vec<&str> =
            datastore.members.iter().filter(|member| wanted(member)).map(|m| m.address.as_str()).collect();
        if found.is_empty() { "none".to_owned() } else { found.join(" ") }
    };
    let mut text = format!(
        "high-availability: {}\n  datastore master nodes: {}\n  datastore standby nodes: {}\n",
        if datastore.survives_a_loss { "yes" } else { "no" },
        list(&|member| member.alive && member.role == Role::Voter),
        list(&|member| member.alive && member.role == Role::Standby),
    );
    // MicroK8s does not tell of them.
    if datastore.members.iter().any(|member| member.role == Role::Spare) {
        let spares = list(&|member| member.alive && member.role == Role::Spare);
        text.push_str(&format!("  datastore spare nodes: {spares}\n"));
    }
    for member in datastore.members.iter().filter(|member| !member.alive) {
        let Member { name, address, role, .. } = member;
        text.push_str(&format!(
            "  datastore node that does not answer: {address} ({name}, {})\n",
            role.word()
        ));
    }
    text
}

fn short(report: &Report) -> String {
    let mut text = headline(report);
    if report.ready {
        text.push_str("addons:\n");
        for State { repository, name, enabled, .. } in &report.addons {
            text.push_str(&format!("{repository}/{name}: {}\n", word(*enabled)));
        }
    }
    text
}

pub fn value(report: &Report) -> Value {
    let mut running = json!({"running": report.ready});
    let mut all = json!({
        "high-availability": {
            "enabled": report.datastore.survives_a_loss,
            "quorum": report.datastore.quorum,
            "nodes": report.datastore.members.iter().map(node).collect::<Vec<_>>(),
        },
    });
    if let (Some(fields), false) = (running.as_object_mut(), report.why.is_empty()) {
        fields.insert("message".to_owned(), json!(report.why));
    }
    let addons: Vec<Value> = report
        .addons
        .iter()
        .map(|State { repository, name, description, version, enabled }| {
            json!({"name": name, "repository": repository, "description": description, "version": version,
                   "status": word(*enabled)})
        })
        .collect();
    if let Some(fields) = all.as_object_mut() {
        fields.insert("knarr".to_owned(), running);
        fields.insert("addons".to_owned(), Value::Array(addons));
    }
    all
}

fn node(member: &Member) -> Value {
    json!({"name": member.name, "address": member.address, "role": member.role.word(),
           "alive": member.alive, "leader": member.leader})
}

fn word(enabled: bool) -> &'static str {
    if enabled { "enabled" } else { "disabled" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datastore(members: &[(&str, Role, bool)]) -> local::Report {
        let member = |(id, (name, role, alive)): (usize, &(&str, Role, bool))| Member {
            id: id as u64,
            name: (*name).to_owned(),
            address: format!("{name}:19001"),
            role: *role,
            alive: *alive,
            leader: id == 0,
            caught_up: *alive,
        };
        let voters = || members.iter().filter(|(_, role, _)| *role == Role::Voter);
        let (alive, majority) = (voters().filter(|(.., alive)| *alive).count(), voters().count() / 2 + 1);
        local::Report {
            node: 0,
            members: members.iter().enumerate().map(member).collect(),
            quorum: alive >= majority,
            survives_a_loss: alive > majority,
        }
    }

    #[test]
    fn nodes_that_are_dead_are_told_as_dead() {
        use Role::{Spare, Standby, Voter};
        let all = [("n1", Voter, true), ("n2", Voter, true), ("n3", Voter, true), ("n4", Standby, true)];
        assert_eq!(
            nodes(&datastore(&all)),
            "high-availability: yes\n  datastore master nodes: n1:19001 n2:19001 n3:19001\n  datastore standby \
             nodes: n4:19001\n"
        );
        let spares = [("n1", Voter, true), ("n2", Spare, true), ("n3", Spare, false)];
        assert_eq!(
            nodes(&datastore(&spares)),
            "high-availability: no\n  datastore master nodes: n1:19001\n  datastore standby nodes: none\n  datastore \
             spare nodes: n2:19001\n  datastore node that does not answer: n3:19001 (n3, spare)\n"
        );
        let without = [("n1", Voter, true), ("n2", Voter, true), ("n3", Voter, false)];
        assert_eq!(
            nodes(&datastore(&without)),
            "high-availability: no\n  datastore master nodes: n1:19001 n2:19001\n  datastore standby nodes: none\n  \
             datastore node that does not answer: n3:19001 (n3, voter)\n"
        );
        let lost = datastore(&[("n1", Voter, true), ("n2", Voter, false), ("n3", Voter, false)]);
        assert_eq!(
            no_quorum(&lost),
            "the datastore has no quorum: 1 of 3 voters answer, 2 are needed; start n2, n3"
        );
    }

    fn report(ready: bool) -> Report {
        let dns = State {
            repository: "core".to_owned(),
            name: "dns".to_owned(),
            description: "Cluster DNS".to_owned(),
            version: "1.0.0".to_owned(),
            enabled: true,
        };
        Report {
            ready,
            why: if ready { String::new() } else { "node n is not Ready: x".to_owned() },
            datastore: datastore(&[("n1", Role::Voter, true)]),
            addons: vec![dns],
        }
    }

    #[test]
    fn the_pretty_form_is_what_people_know() {
        assert_eq!(
            pretty(&report(true)),
            "knarr is running\nhigh-availability: no\n  datastore master nodes: n1:19001\n  datastore standby \
             nodes: none\naddons:\n  enabled:\n    dns                  # (core) Cluster DNS\n"
        );
        assert_eq!(pretty(&report(false)), "knarr is not running. node n is not Ready: x\n");
    }

    #[test]
    fn scripts_get_the_same_as_data() {
        let value = value(&report(true));
        assert_eq!(value["knarr"]["running"], true);
        assert_eq!(value["addons"][0]["status"], "enabled");
        assert_eq!(value["high-availability"]["nodes"][0]["role"], "voter");
        assert_eq!(short(&report(true)), "knarr is running\naddons:\ncore/dns: enabled\n");
    }
}
