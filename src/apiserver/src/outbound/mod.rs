//! Calls that the API server makes itself: to webhooks and to aggregated API servers.
//!
//! [`Outbound`] keeps connections. An [`Endpoint`] says where a call goes ([`Target`]: a Service or a URL), whose
//! certificates are believed there ([`Trust`]) and as whom the server shows itself. A Service is reached at its
//! cluster IP, as upstream does without `--enable-aggregator-routing`; its certificate has to be for
//! `NAME.NAMESPACE.svc`. Names in URLs are looked up as `/etc/hosts` and `/etc/resolv.conf` say.
//!
//! Without a bundle of their own, endpoints are believed by the machine's roots (`/etc/ssl` and the like, or
//! `SSL_CERT_FILE`, `SSL_CERT_DIR`); on a machine that has none, no such endpoint is believed.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/util/webhook` and `k8s.io/client-go/rest`.

mod client;
mod connector;
mod endpoint;
mod error;
mod resolve;
mod slices;
mod trust;

pub use client::{Limits, Outbound};
pub use endpoint::{Endpoint, Target, Trust};
pub use error::OutboundError;
pub(crate) use slices::{SERVICE_NAME, ready};
pub(crate) use trust::unchecked;
