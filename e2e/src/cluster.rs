//! Nodes that are one cluster, and what can happen to them.

use crate::network::Network;
use crate::node::{Node, PATIENCE};
use crate::wait;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Table that holds what is dropped.
const CUT: &str = "inet cut";

/// Nodes `node-1`, `node-2`, ... with the addresses 1, 2, ... of one subnet. The first founded the cluster.
pub struct Cluster {
    /// The nodes, from 0.
    pub nodes: Vec<Node>,
    /// What connects them. After the nodes: their machines hang on it.
    pub network: Network,
}

/// Which way packets are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The node is not reached by the others, and reaches them.
    In,
    /// Neither.
    Both,
}

impl Cluster {
    /// Control planes that are alone, each with an object of its own.
    ///
    /// # Errors
    /// When one does not start.
    pub fn of_strangers(name: &str, count: usize) -> Result<Self> {
        let mut cluster = Self::prepared(name, count, 0)?;
        for node in &mut cluster.nodes {
            node.launch()?;
        }
        for (n, node) in cluster.nodes.iter_mut().enumerate() {
            node.wait_readyz()?;
            node.kubectl(&format!("create configmap own-{}", n + 1))?;
        }
        Ok(cluster)
    }

    /// A cluster of control planes without pods.
    ///
    /// # Errors
    /// When one does not start or join.
    pub fn of_control_planes(name: &str, count: usize) -> Result<Self> {
        Self::started(Self::prepared(name, count, 0)?)
    }

    /// Nodes that do not run yet. The first `whole` of them run pods, too.
    ///
    /// # Errors
    /// When their machines cannot be made.
    pub fn prepared(name: &str, count: usize, whole: usize) -> Result<Self> {
        let network = Network::new(name, &["10.78.0.0"])?;
        let mut nodes = Vec::new();
        for n in 1..=count {
            let machine = network.machine(&format!("{name}{n}"), &format!("10.78.0.{n}"))?;
            let name = format!("node-{n}");
            nodes.push(if n <= whole {
                Node::on(machine, &name)?
            } else {
                Node::control_plane_on(machine, &name)?
            });
        }
        Ok(Self { nodes, network })
    }

    /// Makes one cluster of them.
    ///
    /// # Errors
    /// When one does not start or join.
    pub fn started(cluster: Self) -> Result<Self> {
        cluster.nodes[0].run("start")?;
        cluster.ready(0, 0)?;
        for n in 1..cluster.nodes.len() {
            cluster.join(n)?;
        }
        Ok(cluster)
    }

    /// Joins a node to the first, and says how long it took.
    ///
    /// # Errors
    /// When it does not join.
    pub fn join(&self, n: usize) -> Result<Duration> {
        let line = self.nodes[0].run("add-node --format short")?;
        let line = line.lines().next().context("no line")?.strip_prefix("knarr ").context("a command")?;
        let begin = Instant::now();
        let told = self.nodes[n].run(line)?;
        ensure!(told.contains("Successfully joined the cluster."), "{told}");
        eprintln!("node-{} joined within {:?}", n + 1, begin.elapsed());
        Ok(begin.elapsed())
    }

    /// Which nodes vote and answer, and which one leads, as a node says.
    ///
    /// # Errors
    /// When it says nothing.
    pub fn status(&self, n: usize) -> Result<Value> {
        let output = self.nodes[n].knarr().args(["status", "--format", "json"]).output()?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// What `knarr status` says of a quorum, and how long it takes to say it.
    ///
    /// # Errors
    /// When it says nothing.
    pub fn quorum(&self, n: usize) -> Result<(bool, Duration)> {
        let begin = Instant::now();
        let status = self.status(n)?;
        let quorum = status["high-availability"]["quorum"].as_bool().context("no quorum, no lack of it")?;
        Ok((quorum && status["knarr"]["running"] == true, begin.elapsed()))
    }

    /// Waits until a node says that so many voters are alive, and whether a loss is survived.
    ///
    /// # Errors
    /// When it takes too long.
    pub fn voters(&self, n: usize, count: usize, survives: bool) -> Result<()> {
        wait::until("voters", PATIENCE, || {
            let status = self.status(n)?;
            let ha = &status["high-availability"];
            let alive = ha["nodes"].as_array().into_iter().flatten();
            let alive = alive.filter(|node| node["alive"] == true && node["role"] == "voter").count();
            if (alive, &ha["enabled"]) == (count, &Value::Bool(survives)) {
                Ok(())
            } else {
                bail!("{status}")
            }
        })
        .with_context(|| self.logs())
    }

    /// Which node's controllers act.
    ///
    /// # Errors
    /// When nobody says.
    pub fn acting(&self, n: usize) -> Result<usize> {
        let lease = self.nodes[n].get("lease -n kube-system knarr-control-plane")?;
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        number(holder.split('_').next().unwrap_or_default())
    }

    /// Waits until the Service of the API has so many servers behind it.
    ///
    /// # Errors
    /// When it takes too long.
    pub fn servers(&self, n: usize, count: usize) -> Result<()> {
        wait::until("API servers behind the Service", PATIENCE, || {
            let slice = self.nodes[n].get("endpointslice kubernetes")?;
            if slice["endpoints"].as_array().map(Vec::len) == Some(count) { Ok(()) } else { bail!("{slice}") }
        })
    }

    /// Who leads, as a node says.
    ///
    /// # Errors
    /// When nobody does for too long.
    pub fn leader(&self, n: usize) -> Result<usize> {
        wait::until("a leader", PATIENCE, || {
            let status = self.status(n)?;
            let nodes = status["high-availability"]["nodes"].as_array().cloned().unwrap_or_default();
            let leader = nodes.iter().find(|node| node["leader"] == true).context("none")?;
            number(leader["name"].as_str().context("a name")?)
        })
        .with_context(|| self.logs())
    }

    /// Waits until a node is Ready, or its API server if it has no pods; answers how long that took.
    ///
    /// # Errors
    /// When it takes too long.
    pub fn ready(&self, by: usize, n: usize) -> Result<Duration> {
        let begin = Instant::now();
        wait::until("a Ready node", PATIENCE, || {
            if self.nodes[n].registry.is_none() {
                return self.nodes[n].kubectl("get --raw /readyz").map(drop);
            }
            let node = self.nodes[by].get(&format!("node node-{}", n + 1))?;
            let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ready =
                conditions.iter().find(|condition| condition["type"] == "Ready").context("nothing yet")?;
            if ready["status"] == "True" { Ok(()) } else { bail!("{ready}") }
        })
        .with_context(|| self.logs())?;
        Ok(begin.elapsed())
    }

    /// Kills a node's server, as a crash of its would: pods go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self, n: usize) -> Result<()> {
        self.nodes[n].end(Signal::SIGKILL)
    }

    /// Ends it politely, as the restart of a service does: pods go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn stop(&self, n: usize) -> Result<()> {
        self.nodes[n].end(Signal::SIGTERM)
    }

    /// Starts it again.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&self, n: usize) -> Result<()> {
        self.nodes[n].run("start").map(drop)
    }

    /// Pulls a node's cable.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn unplug(&self, n: usize) -> Result<()> {
        self.network.unplug(&self.nodes[n].machine)
    }

    /// Puts it in again.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn plug(&self, n: usize) -> Result<()> {
        self.network.plug(&self.nodes[n].machine)
    }

    /// Takes a node's power away: the cable is dead, and all its processes at once.
    ///
    /// # Errors
    /// When they cannot be ended.
    pub fn power_off(&self, n: usize) -> Result<()> {
        self.unplug(n)?;
        self.nodes[n].power_off()
    }

    /// Drops packets between a node and the others, and their pods. Anybody else reaches it.
    ///
    /// # Errors
    /// When `nft` fails.
    pub fn partition(&self, n: usize, way: Way) -> Result<()> {
        let others: Vec<&str> = self.nodes.iter().map(|node| node.machine.address.as_str()).collect();
        let others: Vec<&str> =
            others.into_iter().filter(|address| *address != self.nodes[n].machine.address).collect();
        let others = format!("{{ {}, 10.1.0.0/16 }}", others.join(", "));
        let mut rules = format!(
            "add table {CUT}\nadd chain {CUT} in {{ type filter hook prerouting priority -400; }}\n\
             add rule {CUT} in iifname eth0 ip saddr {others} drop\n"
        );
        if way == Way::Both {
            rules.push_str(&format!(
                "add chain {CUT} out {{ type filter hook postrouting priority 400; }}\n\
                 add rule {CUT} out oifname eth0 ip daddr {others} drop\n"
            ));
        }
        self.nodes[n].machine.shell(&format!("nft -f - <<'EOF'\n{rules}EOF\n")).map(drop)
    }

    /// Lets them through again.
    ///
    /// # Errors
    /// When there is no partition.
    pub fn heal(&self, n: usize) -> Result<()> {
        self.nodes[n].machine.shell(&format!("nft delete table {CUT}")).map(drop)
    }

    /// Where clients reach the API servers.
    pub fn api_servers(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("{}:6443", node.machine.address)).collect()
    }

    /// The ends of all logs.
    pub fn logs(&self) -> String {
        self.nodes
            .iter()
            .enumerate()
            .map(|(n, node)| format!("node-{}:\n{}\n", n + 1, node.log_tail()))
            .collect()
    }
}

/// The place of a node called `node-N`.
fn number(name: &str) -> Result<usize> {
    let number = name.rsplit('-').next().context("a number")?.parse::<usize>();
    Ok(number.with_context(|| name.to_owned())? - 1)
}
