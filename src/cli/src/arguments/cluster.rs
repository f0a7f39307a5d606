//! Commands about the nodes of a cluster.

use super::Location;
use clap::{Args, Subcommand, ValueEnum};

/// Flags of `knarr add-node`.
#[derive(Args, Debug)]
pub struct AddNode {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// Seconds that the token is valid, for any number of nodes (default: one node, within a day)
    #[arg(short = 'l', long, value_name = "SECONDS")]
    pub token_ttl: Option<i64>,
    /// Use this token: 32 hexadecimal digits or more
    #[arg(short = 't', long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// How to show it
    #[arg(short = 'o', long, visible_alias = "output", default_value = "pretty", value_name = "FORMAT")]
    pub format: AddNodeFormat,
}

/// Formats of `knarr add-node`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AddNodeFormat {
    /// For people.
    Pretty,
    /// The commands alone.
    Short,
    /// The token alone.
    Token,
    /// `TOKEN/CHECK`.
    TokenCheck,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// Flags of `knarr join`.
#[derive(Args, Debug)]
pub struct Join {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// What `knarr add-node` has printed
    #[arg(env = crate::commands::join::TARGET, value_name = "HOST:PORT/TOKEN/CHECK", hide_env_values = true)]
    pub target: String,
    /// Run pods only: no API server, no datastore
    #[arg(long)]
    pub worker: bool,
    /// Flags for `knarr server`, after `--` (default: those of its last start)
    #[arg(last = true)]
    pub server: Vec<String>,
}

/// Flags of `knarr leave`.
#[derive(Args, Debug)]
pub struct Leave {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// Leave even if the cluster cannot be told; the others then have to remove the node
    #[arg(long)]
    pub force: bool,
}

/// Flags of `knarr remove-node`.
#[derive(Args, Debug)]
pub struct RemoveNode {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// The node
    pub name: String,
    /// Even if it is alive
    #[arg(long)]
    pub force: bool,
}

/// Flags of `knarr token`.
#[derive(Args, Debug)]
pub struct Token {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// What to do.
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it
    Create {
        /// Seconds that it is valid, for any number of nodes (default: one node, within a day)
        #[arg(long, value_name = "SECONDS")]
        ttl: Option<i64>,
        /// Use this one: 32 hexadecimal digits or more
        #[arg(long, value_name = "TOKEN")]
        token: Option<String>,
    },
    /// List tokens: what they are, never the tokens themselves
    List {
        /// How to show them.
        #[command(flatten)]
        output: super::OutputFlag,
    },
    /// Make a token invalid, by its id or the token itself
    Revoke {
        /// The id, or the token
        token: String,
    },
}
