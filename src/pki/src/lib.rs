//! The cluster's own certificates: three authorities, a leaf per component, the service account key pair.
//!
//! - Purpose: load or create them under one directory, renew them, build TLS configurations from them.
//! - Not here: who a certificate's owner is and what they may do (crate `apiserver`), sockets.
//! - Upstream counterpart: `kubeadm/app/phases/certs`, and the certificate half of `client-go/transport`.
//!
//! ```text
//!   certs/*.yaml --> Profile --> Pki::leaf --> Leaf --> rustls ServerConfig / ClientConfig
//!                                  |  ^                        ^
//!                                  v  | renewed                | swapped at runtime
//!                             {dir}/NAME.crt,.key        ServingCertResolver
//! ```
//!
//! Nothing reads the clock: the time comes in as a parameter. Nothing touches files outside the directory.
//!
//! | module | what |
//! |---|---|
//! | `store` | [`Pki`]: the directory, load-or-create |
//! | `profile` | what is issued, from `certs/` |
//! | `authority` | a certificate authority and signing |
//! | `leaf` | a certificate with its key |
//! | `draft` | a key, and the request to have it certified |
//! | `request`, `request_make` | certificate signing requests, signing what they ask for, making them |
//! | [`rotation`] | what certificates there are, and making them anew |
//! | `service_account` | the token signing key pair |
//! | `serving` | serving certificates that follow the node's addresses |
//! | `tls` | rustls configurations and chain verification |
//! | [`judge`] | own rules for the certificates of servers |
//! | `peer` | the identity of a node's datastore among others |
//! | `kubeconfig` | kubeconfig files |
//! | `files` | atomic writes |
//! | `error` | what can go wrong |

mod authority;
mod draft;
mod error;
mod files;
pub mod judge;
mod kubeconfig;
mod leaf;
mod peer;
mod profile;
mod request;
mod request_make;
pub mod rotation;
mod service_account;
mod serving;
mod store;
pub mod tls;

pub use authority::Authority;
pub use draft::Draft;
pub use error::PkiError;
pub use files::write_private;
pub use kubeconfig::kubeconfig;
pub use leaf::Leaf;
pub use peer::{PEER_NAME, PeerIdentity};
pub use profile::{Component, Profile};
pub use request::{CertificateRequest, Usages};
pub use request_make::make_request;
pub use service_account::{PublicKey, ServiceAccountKeys};
pub use serving::{ServingCertResolver, ServingCertificate};
pub use store::{LeafRequest, Pki};
