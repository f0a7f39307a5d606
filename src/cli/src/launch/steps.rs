//! Once the API answers: joining, tokens, repositories, add-ons. What fails is tried again, what was done stays done.

use super::plan::{Addon, Join, Plan, Repository, Step};
use super::record::Record;
use crate::arguments::Location;
use crate::cluster::facts::Facts;
use crate::cluster::token::{NEVER, Token};
use crate::commands::enable;
use crate::commands::join::TARGET;
use crate::commands::start::DETACHED;
use crate::paths::Paths;
use crate::server::OWN_BINARY;
use addons::engine::Engine;
use addons::repositories::Repositories;
use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use client::Rest;
use std::time::{Duration, Instant};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

/// Wait after the first failure; it doubles up to the longest.
const RETRY: Duration = Duration::from_secs(10);
const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// The most that `knarr join` takes, and some more.
const JOINING: Duration = Duration::from_secs(240);

/// How long the add-ons of a first start may take to be there, and how often they are looked for.
const FIRST_ADDONS: Duration = Duration::from_secs(60);
const PERIOD: Duration = Duration::from_millis(250);

/// What steps act on.
#[async_trait]
pub trait Node: Send + Sync {
    /// Whether the node belongs to a cluster of several, for good.
    async fn is_in_cluster(&self) -> Result<bool>;
    /// Joins one. Who returns from it has not joined: the server is another process then.
    async fn join(&self, join: &Join) -> Result<()>;
    /// Makes a token that lets nodes in.
    async fn let_in(&self, token: &str) -> Result<()>;
    /// Adds a repository, in place of one with its name.
    async fn add(&self, repository: &Repository) -> Result<()>;
    /// Enables or disables an add-on.
    async fn change(&self, addon: &Addon) -> Result<()>;
}

/// Takes the steps that are left, until none is.
pub async fn run(plan: Plan, paths: Paths, node: impl Node, stop: CancellationToken) {
    let mut wait = RETRY;
    loop {
        let attempt = stop.run_until_cancelled(attempt(&plan, &paths, &node)).await;
        match attempt {
            None => return,
            Some(Ok(false)) => return,
            Some(Ok(true)) => {
                tracing::info!("{} is applied", plan.shown);
                return;
            }
            Some(Err(error)) => {
                tracing::error!("{}: {error:#}; trying again in {} s", plan.shown, wait.as_secs());
            }
        }
        if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            return;
        }
        wait = (wait * 2).min(LONGEST_RETRY);
    }
}

/// Tries all steps that are left, each on its own; answers whether there was one.
async fn attempt(plan: &Plan, paths: &Paths, node: &impl Node) -> Result<bool> {
    let mut record = Record::load(paths, plan)?;
    if record.is_complete(plan) {
        return Ok(false);
    }
    let mut failures = Vec::new();
    for (place, step) in plan.steps.iter().enumerate() {
        if record.done.contains(&place) {
            continue;
        }
        match take(step, node).await {
            Ok(()) => {
                record.done.insert(place);
                record.save(paths)?;
            }
            Err(error) => {
                failures.push(format!("{step}: {error:#}"));
                // The others are for the cluster that is joined.
                if matches!(step, Step::Join(_)) {
                    break;
                }
            }
        }
    }
    record.error = (!failures.is_empty()).then(|| failures.join("; "));
    record.save(paths)?;
    match record.error {
        Some(error) => bail!(error),
        None => Ok(true),
    }
}

async fn take(step: &Step, node: &impl Node) -> Result<()> {
    match step {
        Step::Join(_) if node.is_in_cluster().await? => Ok(()),
        Step::Join(join) => {
            node.join(join).await?;
            bail!("the server goes on as it was")
        }
        Step::Token(token) => node.let_in(token).await,
        Step::Repository(repository) => node.add(repository).await,
        Step::Addon(addon) => node.change(addon).await,
    }
}

/// The node of this process.
pub struct ThisNode {
    /// Where it keeps its things.
    pub location: Location,
    /// The API as the administrator.
    pub client: kube::Client,
}

impl ThisNode {
    fn paths(&self) -> Paths {
        Paths::new(&self.location.data_dir)
    }
}

#[async_trait]
impl Node for ThisNode {
    /// Until a join has succeeded it may be undone.
    async fn is_in_cluster(&self) -> Result<bool> {
        let (paths, begin) = (self.paths(), Instant::now());
        while paths.before_join().exists() {
            if begin.elapsed() > JOINING {
                bail!("`knarr join` was cut short: run `knarr stop`, then `knarr join` again");
            }
            tokio::time::sleep(PERIOD).await;
        }
        Ok(Facts::load(&paths)?.is_some())
    }

    /// By a process of its own, since it stops this one.
    async fn join(&self, join: &Join) -> Result<()> {
        tracing::info!(
            "joining the cluster, as the launch configuration says; `knarr join` stops this server for it"
        );
        let mut command = Command::new(OWN_BINARY);
        command.arg("join").arg("--data-dir").arg(&self.location.data_dir);
        command.arg("--config").arg(&self.location.config);
        if join.worker {
            command.arg("--worker");
        }
        // Where nobody else reads it.
        command.env(TARGET, &join.target).env_remove(DETACHED).env_remove("NOTIFY_SOCKET");
        command.stdin(std::process::Stdio::null()).process_group(0);
        let ended = command.status().await.context("cannot run `knarr join`")?;
        bail!("`knarr join` ended with {ended}; what it said is in the log")
    }

    async fn let_in(&self, token: &str) -> Result<()> {
        Token::create(&Rest::new(self.client.clone()), token, NEVER, false).await
    }

    async fn add(&self, repository: &Repository) -> Result<()> {
        let (folder, repository) = (self.paths().repositories(), repository.clone());
        // It waits for git.
        let add = move || {
            let Repository { name, url, reference } = repository;
            Repositories::new(folder).add(&name, &url, &reference, true)
        };
        tokio::task::spawn_blocking(add).await??;
        Ok(())
    }

    async fn change(&self, addon: &Addon) -> Result<()> {
        let engine = Engine::new(self.client.clone());
        let begin = Instant::now();
        // What a first start enables would undo what is done meanwhile.
        while !matches!(engine.has_started().await, Ok(true)) && begin.elapsed() < FIRST_ADDONS {
            tokio::time::sleep(PERIOD).await;
        }
        let (paths, addon) = (self.paths(), addon.clone());
        let runtime = tokio::runtime::Handle::current();
        // It waits for hooks.
        let change = move || runtime.block_on(enable::one(&engine, &paths, &addon));
        tokio::task::spawn_blocking(change).await?
    }
}

#[cfg(test)]
#[path = "steps_tests.rs"]
mod tests;
