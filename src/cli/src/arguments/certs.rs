//! Commands about certificates.

use super::{Location, OutputFlag};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Flags of `knarr certs`.
#[derive(Args, Debug)]
pub struct Certs {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// What to do.
    #[command(subcommand)]
    pub command: CertsCommand,
}

/// What can be done with certificates.
#[derive(Debug, Subcommand)]
pub enum CertsCommand {
    /// List all certificates of this node, and until when they are valid
    List {
        /// How to show them.
        #[command(flatten)]
        output: OutputFlag,
    },
    /// Issue certificates anew, with new keys; a server that runs is restarted, pods go on
    Rotate {
        /// Which, as `list` names them (default: all but the authorities)
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Make new authorities and everything that they sign; a server that runs is restarted, pods go on
    #[command(name = "rotate-ca")]
    RotateCa {
        /// Folder with the `ca.crt` and `ca.key` to use (default: new ones)
        #[arg(value_name = "CA_DIR")]
        directory: Option<PathBuf>,
        /// Even if this node is one of several: the others have to leave and join again
        #[arg(long)]
        force: bool,
    },
    /// Bring back what there was before the last rotation
    Undo,
}

/// Flags of `knarr refresh-certs`: MicroK8s'.
#[derive(Args, Debug)]
pub struct RefreshCerts {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// Folder with a `ca.crt` and `ca.key` to use as the authority
    #[arg(value_name = "CA_DIR", conflicts_with_all = ["check", "cert", "undo"])]
    pub directory: Option<PathBuf>,
    /// Tell in how many days certificates end
    #[arg(short = 'c', long)]
    pub check: bool,
    /// Which to issue anew: server.crt, front-proxy-client.crt or ca.crt
    #[arg(short = 'e', long, value_name = "CERT", value_parser = ["server.crt", "front-proxy-client.crt", "ca.crt"])]
    pub cert: Option<String>,
    /// Bring back what there was before the last time
    #[arg(short = 'u', long)]
    pub undo: bool,
}
