//! The one binary: `knarr server` runs a node, `knarr-cni` is the CNI plugin, `knarr addon NAME` and
//! `knarr pause` run inside pods, everything else is the command line for people and scripts.
//!
//! | module | what |
//! |---|---|
//! | [`arguments`] | every command with its flags |
//! | [`backups`] | what goes into a backup, and bringing one back |
//! | [`cluster`] | several nodes: joining, and what is said between nodes and commands |
//! | [`configuration`] | flags, environment and configuration file become one |
//! | [`launch`] | launch configurations, which set a node up unattended |
//! | [`paths`] | where things lie below the data directory |
//! | [`server`] | assembly of a node out of the other crates |
//! | [`commands`] | one file per command for people |

mod arguments;
mod backups;
mod cluster;
mod commands;
mod configuration;
mod launch;
mod logging;
mod paths;
mod server;
mod worker;

use arguments::{Arguments, Command};
use clap::Parser as _;
use commands::tools::Tool;
use std::ffi::OsString;
use std::process::ExitCode;

/// A write makes and frees some hundred small values on whatever thread it is; glibc's allocator took a quarter of
/// the processor's time for them. How it is set: `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if cni::is_plugin_call() {
        return cni::main();
    }
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("knarr: {error:#}");
            if let Some(hint) = commands::access::hint(&error) {
                eprintln!("{hint}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Vec<OsString>) -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse_from(configuration::with_file(arguments)?);
    match arguments.command {
        Command::Server(options) if options.cluster_reset => {
            commands::datastore::reset_cluster(&options.location)
        }
        Command::Server(options) => server::main(*options),
        Command::Agent(options) => worker::main(*options),
        Command::Pause => commands::pause::run(),
        Command::Addon(which) => runtime(2)?.block_on(commands::addon::serve(which)),
        Command::Start(options) => commands::start::run(&options),
        Command::Stop(options) => runtime(2)?.block_on(commands::stop::run(&options)),
        Command::Reset(options) => runtime(2)?.block_on(commands::reset::run(&options)),
        Command::Status(options) => runtime(2)?.block_on(commands::status::run(&options)),
        Command::Config(options) => commands::config::run(&options),
        Command::Kubectl(options) => Tool::KUBECTL.run(&options),
        Command::Helm(options) => Tool::HELM.run(&options),
        Command::Istioctl(options) => Tool::ISTIOCTL.run(&options),
        Command::Linkerd(options) => Tool::LINKERD.run(&options),
        Command::Ctr(options) => commands::tools::ctr(&options),
        Command::Images(options) => runtime(2)?.block_on(commands::images::run(&options)),
        Command::Enable(options) => runtime(2)?.block_on(commands::enable::enable(&options)),
        Command::Addons(options) => commands::repositories::run(&options),
        Command::DashboardProxy(options) => runtime(2)?.block_on(commands::dashboard_proxy::run(&options)),
        Command::Disable(options) => runtime(2)?.block_on(commands::enable::disable(&options)),
        Command::AddNode(options) => runtime(2)?.block_on(commands::add_node::run(&options)),
        Command::Join(options) => runtime(2)?.block_on(commands::join::run(&options)),
        Command::Leave(options) => runtime(2)?.block_on(commands::leave::run(&options)),
        Command::RemoveNode(options) => runtime(2)?.block_on(commands::remove_node::run(&options)),
        Command::Token(options) => runtime(2)?.block_on(commands::token::run(&options)),
        Command::Datastore(what) => runtime(2)?.block_on(commands::datastore::run(&what)),
        Command::History(options) => runtime(2)?.block_on(commands::history::run(&options)),
        Command::Undo(options) => runtime(2)?.block_on(commands::history::undo::run(&options)),
        Command::Ephemeral(options) => runtime(1)?.block_on(commands::ephemeral::run(&options)),
        Command::Check(options) => runtime(2)?.block_on(commands::check::run(&options)),
        Command::Logs(options) => runtime(2)?.block_on(commands::logs::run(&options)),
        Command::Inspect(options) => runtime(2)?.block_on(commands::inspect::run(&options)),
        Command::Certs(options) => runtime(2)?.block_on(commands::certs::run(&options)),
        Command::RefreshCerts(options) => runtime(2)?.block_on(commands::certs::refresh(&options)),
        Command::Version(options) => commands::version::run(&options),
        Command::Uninstall(options) => runtime(2)?.block_on(commands::uninstall::run(&options)),
        Command::Completions(options) => commands::manual::completions(&options),
        Command::Man(options) => commands::manual::pages(&options),
    }
}

/// A small runtime for commands that wait on the network.
fn runtime(threads: usize) -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?)
}
