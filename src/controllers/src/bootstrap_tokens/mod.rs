//! Bootstrap tokens, by which nodes first join: signing `cluster-info` with them, removing expired ones.
//!
//! Upstream counterparts: `bootstrap-signer-controller` and `token-cleaner-controller`
//! (<https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/>).

mod cleaner;
mod signer;
mod token;

pub use cleaner::TokenCleaner;
pub use signer::BootstrapSigner;
