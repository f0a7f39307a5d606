//! Commands about the machine and the programs around knarr.

use super::{Location, OutputFlag, data_dir};
use clap::{Args, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

/// Flags of `knarr check`.
#[derive(Args, Debug)]
pub struct Check {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// How to show it.
    #[command(flatten)]
    pub output: OutputFlag,
}

/// Flags of `knarr version`.
#[derive(Args, Debug)]
pub struct Version {
    /// How to show it
    #[arg(short = 'o', long, visible_alias = "format", default_value = "pretty", value_name = "FORMAT")]
    pub output: VersionFormat,
}

/// Formats of `knarr version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VersionFormat {
    /// For people.
    Pretty,
    /// The version alone.
    Short,
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

/// Arguments of commands that run somebody else's program: all are its own.
#[derive(Args, Debug)]
pub struct Passed {
    /// Folder that holds all state of this node.
    #[arg(skip = data_dir())]
    pub data_dir: PathBuf,
    /// What it is to do
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub arguments: Vec<OsString>,
}

/// Flags of `knarr images`.
#[derive(Args, Debug)]
pub struct Images {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// What to do.
    #[command(subcommand)]
    pub command: ImagesCommand,
}

/// What can be done with images.
#[derive(Debug, Subcommand)]
pub enum ImagesCommand {
    /// List the images of this node
    List {
        /// How to show them.
        #[command(flatten)]
        output: OutputFlag,
    },
    /// Import an archive on every node: OCI layout or `docker save`, plain or gzipped
    Import(ImportImages),
    /// Write images into an archive that docker and others load
    #[command(visible_alias = "export-local")]
    Export {
        /// The archive; - is standard output
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The images (default: all that have a name)
        #[arg(value_name = "IMAGE")]
        images: Vec<String>,
    },
    /// Fetch images from their registries
    Pull {
        /// The images
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
    },
}

/// Flags of `knarr images import`.
#[derive(Args, Debug)]
pub struct ImportImages {
    /// The archive; - is standard input
    #[arg(default_value = "-", value_name = "FILE")]
    pub file: PathBuf,
    /// Name of the image of an archive that has one image and no name for it
    #[arg(long, value_name = "IMAGE")]
    pub name: Option<String>,
    /// On this node only
    #[arg(long)]
    pub local: bool,
}

/// Flags of `knarr logs`.
#[derive(Args, Debug)]
pub struct Logs {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// Whose: `server`, `containerd`, or an add-on that is enabled
    #[arg(default_value = "server", value_name = "WHOSE")]
    pub whose: String,
    /// Go on as it grows
    #[arg(short = 'f', long)]
    pub follow: bool,
    /// Lines from the end
    #[arg(short = 'n', long = "tail", visible_alias = "lines", default_value_t = 100, value_name = "LINES")]
    pub tail: usize,
}

/// Flags of `knarr dashboard-proxy`.
#[derive(Args, Debug)]
pub struct DashboardProxy {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// Port to listen on; 0 is any that is free
    #[arg(short = 'p', long, default_value_t = 10443, value_name = "PORT")]
    pub port: u16,
    /// Address to listen on; 0.0.0.0 lets other machines in
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    pub address: IpAddr,
}

/// Flags of `knarr inspect`.
#[derive(Args, Debug)]
pub struct Inspect {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// Folder for the report
    #[arg(short = 'd', long = "directory", default_value = ".", value_name = "DIR")]
    pub directory: PathBuf,
}

/// Flags of `knarr uninstall`.
#[derive(Args, Debug)]
pub struct Uninstall {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// Do not ask
    #[arg(short = 'y', long)]
    pub yes: bool,
    /// Even if this node is one of several
    #[arg(long)]
    pub force: bool,
}

/// Flags of `knarr completions`.
#[derive(Args, Debug)]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

/// Shells with completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// Bash.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
}

/// Flags of `knarr man`.
#[derive(Args, Debug)]
pub struct Man {
    /// Folder that the pages are written to
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

/// Flags of `knarr ephemeral`.
#[derive(Args, Debug)]
pub struct Ephemeral {
    /// Flag for `knarr server`; can be given often
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    pub server_flag: Vec<String>,
    /// What to run, after `--`; KUBECONFIG is set for it
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}
