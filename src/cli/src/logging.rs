//! Logs go to standard error, one line an event.

use tracing_subscriber::EnvFilter;

/// Starts to log. `verbose` 0 shows warnings and knarr's own milestones, 1 what it does, 2 everything.
/// `KNARR_LOG` takes a filter of its own, such as `kubelet=debug`.
pub fn init(verbose: u8) {
    // openraft complains of a node that is down five times a second, in several lines; roles and status tell of it.
    let default = match verbose {
        0 => {
            "info,hyper=warn,h2=warn,kube=warn,tower=warn,rustls=warn,tonic=warn,hickory_server=warn,\
             openraft=error,openraft::replication=off"
        }
        1 => "debug,hyper=info,h2=info,kube=info,tower=info,rustls=info,tonic=info,hickory_server=info",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("KNARR_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        .try_init();
}
