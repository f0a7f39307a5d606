//! HTTP requests: what they ask, in which form they want the answer, and the verbs.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/endpoints`.

mod authors;
pub(crate) mod body;
mod compression;
mod connect;
mod context;
mod continue_token;
pub(crate) mod create;
mod delete;
mod extension;
mod get;
mod handle;
mod health;
mod list;
mod list_body;
mod list_options;
mod metrics;
mod negotiation;
mod open_paths;
mod patch;
mod present;
mod present_protobuf;
mod query;
mod request_info;
pub(crate) mod response;
mod reviews;
pub(crate) mod scale;
mod selection;
mod table;
pub(crate) mod update;
mod watch;
mod watch_events;
mod watch_frame;
mod watch_socket;
mod write_options;

pub use extension::Extension;
pub use health::{Gate, Health};
pub use open_paths::{OpenPaths, OpenRequest};
pub use request_info::RequestInfo;

pub(crate) use body::{Expected, conform};
pub(crate) use compression::accepts_gzip;
pub(crate) use connect::tunnel;
pub(crate) use context::Context;
pub(crate) use handle::handle;
pub(crate) use negotiation::{Clause, Form, MEDIA_TYPES, Media, Offer, TEXT_TYPES, clauses};
pub(crate) use present::{ListMeta, Presenter};
pub(crate) use query::Query;
pub(crate) use write_options::{WriteOptions, delete_options_of};
