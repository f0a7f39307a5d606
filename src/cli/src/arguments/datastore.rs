//! `knarr datastore` and its flags.

use super::Location;
use crate::server::backup_flags::S3Flags;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// What can be done with the datastore.
#[derive(Debug, Subcommand)]
pub enum Datastore {
    /// Write a backup: state, certificates, keys and configuration at one moment
    Backup(Backup),
    /// Bring a backup back, on one node or as the first of a new cluster
    Restore(Box<Restore>),
    /// Show size, revision and health
    Status(DatastoreStatus),
    /// Forget what was superseded before a revision
    Compact(Compact),
    /// Make the datastore's file smaller
    Defrag(Defrag),
    /// Show the changes of one key that are still known
    History(History),
    /// Look after the backups that the server keeps
    #[command(subcommand, visible_alias = "snapshot")]
    Snapshots(Snapshots),
    /// Go on with this node alone after the majority of the others was lost for good
    Recover(Recover),
}

/// Flags of `knarr datastore backup`.
#[derive(Args, Debug)]
pub struct Backup {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// File to write; - is standard output [default: backup-TIME.tar.gz]
    #[arg(value_name = "FILE", conflicts_with = "output")]
    pub file: Option<PathBuf>,
    /// The same, as MicroK8s has it
    #[arg(short = 'o', long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Flags of `knarr datastore restore`.
#[derive(Args, Debug)]
pub struct Restore {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// Backup to bring back; - is standard input; with --etcd-s3, its name in the bucket
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The bucket.
    #[command(flatten)]
    pub s3: S3Flags,
}

/// The backups that the server keeps, in its folder and its bucket.
#[derive(Debug, Subcommand)]
pub enum Snapshots {
    /// Make one now
    Save(Location),
    /// List them
    Ls(Location),
    /// Delete one
    Delete(NamedSnapshot),
    /// Delete those that are too many
    Prune(Location),
}

/// Flags of `knarr datastore snapshots delete`.
#[derive(Args, Debug)]
pub struct NamedSnapshot {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// Its name
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// Flags of `knarr datastore status`.
#[derive(Args, Debug)]
pub struct DatastoreStatus {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// Also look the whole file through
    #[arg(long)]
    pub check: bool,
    /// How to show it
    #[arg(short = 'o', long, visible_alias = "output", default_value = "pretty", value_name = "FORMAT")]
    pub format: DatastoreFormat,
}

/// Formats of `knarr datastore`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DatastoreFormat {
    /// For people.
    Pretty,
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

/// Flags of `knarr datastore compact`.
#[derive(Args, Debug)]
pub struct Compact {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// Oldest revision that can be asked for afterwards [default: the present one]
    #[arg(value_name = "REVISION")]
    pub revision: Option<u64>,
}

/// Flags of `knarr datastore defrag`.
#[derive(Args, Debug)]
pub struct Defrag {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// Write the file anew, as small as it can be; writes wait meanwhile
    #[arg(long)]
    pub full: bool,
}

/// Flags of `knarr datastore history`.
#[derive(Args, Debug)]
pub struct History {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// The key, as /registry/GROUP/RESOURCE[/NAMESPACE]/NAME; the group of core resources is core
    #[arg(value_name = "KEY")]
    pub key: String,
    /// Also show the objects
    #[arg(long)]
    pub values: bool,
}

/// Flags of `knarr datastore recover`.
#[derive(Args, Debug)]
pub struct Recover {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// Do not ask
    #[arg(short = 'y', long)]
    pub yes: bool,
}
