//! Every command with its flags. Flags that k3s has keep k3s' names, commands that MicroK8s has keep
//! MicroK8s' names. Every flag of `knarr server` is also a key of the configuration file and an environment
//! variable `KNARR_...`.

pub mod addons;
pub mod certs;
pub mod cluster;
pub mod datastore;
pub mod history;
mod node;
mod server;
pub mod tools;

pub use addons::{AddonNames, Addons};
use clap::{Args, Parser, Subcommand, ValueEnum};
pub use node::{Config, Format, Reset, Start, Status, Stop};
pub use server::{Agent, Network, NodeFlags, Server};
use std::path::PathBuf;

/// Kubernetes in one binary.
#[derive(Debug, Parser)]
#[command(name = "knarr", version, about, max_term_width = 110)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node in the foreground: datastore, API server, controllers, scheduler, kubelet and proxy
    Server(Box<Server>),
    /// Run a node without a control plane in the foreground: kubelet, proxy and pod network
    Agent(Box<Agent>),
    /// Start Knarr in the background
    Start(Start),
    /// Stop Knarr, all pods and the container runtime
    Stop(Stop),
    /// Remove everything from the cluster and start anew
    Reset(Reset),
    /// Show whether Knarr is running, and its add-ons
    Status(Status),
    /// Print a kubeconfig for the administrator
    Config(Config),
    /// Run kubectl against this node
    #[command(disable_help_flag = true)]
    Kubectl(tools::Passed),
    /// Run Helm against this node
    #[command(disable_help_flag = true, visible_alias = "helm3")]
    Helm(tools::Passed),
    /// Run istioctl against this node
    #[command(disable_help_flag = true)]
    Istioctl(tools::Passed),
    /// Run Linkerd's program against this node
    #[command(disable_help_flag = true)]
    Linkerd(tools::Passed),
    /// Run containerd's ctr against this node
    #[command(disable_help_flag = true)]
    Ctr(tools::Passed),
    /// List, import, export and fetch images
    Images(tools::Images),
    /// Enable add-ons
    Enable(AddonNames),
    /// Disable add-ons
    Disable(AddonNames),
    /// Open the dashboard on a port of this machine, with a token to log in, until Ctrl-C
    DashboardProxy(tools::DashboardProxy),
    /// Print what to run on a node that is to join this one
    AddNode(cluster::AddNode),
    /// Make this node one of a cluster
    Join(cluster::Join),
    /// Make this node leave its cluster
    Leave(cluster::Leave),
    /// Make the cluster forget another node
    RemoveNode(cluster::RemoveNode),
    /// Tokens that let nodes in
    Token(cluster::Token),
    /// Look after the datastore: backup, restore, status, recovery
    #[command(subcommand, visible_alias = "dbctl")]
    Datastore(datastore::Datastore),
    /// Manage add-ons of others
    Addons(Addons),
    /// Show what changed, when, by whom
    History(history::History),
    /// Put an object back to what it was
    Undo(history::Undo),
    /// Run a command with a throw-away control plane
    Ephemeral(tools::Ephemeral),
    /// Look whether this machine has what Knarr needs
    Check(tools::Check),
    /// Show the logs of the server and of add-ons
    Logs(tools::Logs),
    /// Write a report about this node, without secrets
    Inspect(tools::Inspect),
    /// List certificates and issue them anew
    Certs(certs::Certs),
    /// Issue certificates anew, as MicroK8s has it
    RefreshCerts(certs::RefreshCerts),
    /// Print the version
    Version(tools::Version),
    /// Stop, and remove everything that Knarr has made on this machine
    Uninstall(tools::Uninstall),
    /// Print the completions of a shell
    #[command(hide = true)]
    Completions(tools::Completions),
    /// Write the man pages
    #[command(hide = true)]
    Man(tools::Man),
    /// Run an add-on's server (inside its pod)
    #[command(hide = true, subcommand)]
    Addon(addons::AddonServer),
    /// Hold a pod's namespaces (inside a sandbox)
    #[command(hide = true)]
    Pause,
}

/// Where it does unless told otherwise, as the units of packages do.
pub const DATA_DIR: &str = "/var/lib/knarr";

/// Where a node keeps its things; every command that speaks to a node takes it.
#[derive(Args, Clone, Debug)]
pub struct Location {
    /// Folder that holds all state of this node
    #[arg(long, env = "KNARR_DATA_DIR", default_value = DATA_DIR, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Configuration file; its keys are the flags of `knarr server`
    #[arg(long, env = "KNARR_CONFIG", default_value = "/etc/knarr/config.yaml", value_name = "FILE")]
    pub config: PathBuf,
}

/// How to show what was found.
#[derive(Args, Clone, Copy, Debug)]
pub struct OutputFlag {
    /// How to show it
    #[arg(short = 'o', long, visible_alias = "format", default_value = "pretty", value_name = "FORMAT")]
    pub output: Output,
}

/// Formats of what is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[value(alias = "table")]
    Pretty,
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

fn data_dir() -> PathBuf {
    std::env::var_os("KNARR_DATA_DIR").map_or_else(|| PathBuf::from(DATA_DIR), PathBuf::from)
}
