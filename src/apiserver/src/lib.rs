//! The API server: one engine that serves every resource of [`api::registry`] over HTTP.
//!
//! It is not a store (that is `storage` and `datastore`), and it knows nothing of single kinds beyond those
//! with verbs of their own ([`registry`]). Upstream counterpart: `k8s.io/apiserver` and `cmd/kube-apiserver`.
//!
//! ```text
//!  TLS (server) or in-process service
//!      -> handle: audit id, request info, authentication, flow control, authorization
//!          -> endpoints: get, list, watch, create, update, patch, delete, connect
//!              -> registry: decode, default, admit, prepare, validate, encode, commit -> storage
//! ```
//!
//! | module | what lives there |
//! |---|---|
//! | [`server`] | connections: TLS, HTTP/1.1 and HTTP/2, draining |
//! | [`endpoints`] | requests: parsing, negotiation, the verbs, health, metrics |
//! | [`registry`] | the write pipeline and access to stored objects; kinds with verbs of their own |
//! | `customresources` | what CustomResourceDefinitions define, served like everything else |
//! | [`discovery`] | `/api`, `/apis`, `/version` |
//! | [`openapi`] | `/openapi/v2`, `/openapi/v3` |
//! | `aggregation` | groups and versions that other servers serve |
//! | [`authentication`], [`authorization`], [`admission`] | who asks, whether they may, what they may write |
//! | `flowcontrol` | who is answered first when there is much to do |
//! | [`encryption`] | encryption at rest |
//! | [`audit`] | the audit log |
//! | [`outbound`] | calls to webhooks and aggregated servers |
//! | [`bootstrap`] | what a new cluster holds |

pub mod admission;
mod aggregation;
pub mod audit;
pub mod authentication;
pub mod authorization;
pub mod bootstrap;
pub mod config;
pub mod discovery;
pub mod encryption;
pub mod endpoints;
pub mod openapi;
pub mod outbound;
pub mod registry;
pub mod server;

mod api_server;
mod body;
mod cached;
mod customresources;
mod flowcontrol;
mod identity;
mod in_process;
mod metrics;
mod remote;
mod settings_file;

pub use api_server::{ApiServer, NewError};
pub use body::{Body, BoxError};
pub use config::{Config, MoreMetrics};
pub use in_process::InProcess;
pub use registry::Registry;
pub use settings_file::{ConfigurationError, GoDuration};
