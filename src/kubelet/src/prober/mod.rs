//! Liveness, readiness and startup probes: one task per probed container and kind, each a pure
//! `Counter` over outcomes with a thin rim that runs the probe.

mod check;
mod counter;
mod exec;
mod grpc;
mod http;
mod manager;
mod metrics;
mod outcome;
mod tcp;
mod worker;

pub use check::{expand_command, host as handler_host, http_request, port as handler_port};
pub use http::http_get;
pub use manager::ProbeManager;
pub use outcome::{Outcome, ProbeKind, Results};
pub use tcp::tcp_connect;
