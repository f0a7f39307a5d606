//! Who is asking: client certificates, tokens of service accounts, files, other issuers and webhooks, request
//! headers, anonymous; and impersonation on top of them.
//!
//! ```text
//!  Authentication::authenticate
//!     request extensions (in-process) | front-proxy headers | client certificate | bearer token | anonymous
//!     -> impersonation, if its headers are there and the authorizer lets them
//! ```
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/authentication` and `pkg/serviceaccount`.

mod authenticate;
mod bearer;
mod bootstrap_token;
mod certificate;
mod configuration;
mod configuration_check;
mod distributed_claims;
mod expressions;
mod impersonation;
mod issuer_keys;
mod jwk;
mod jwt;
mod jwt_issuer;
mod legacy_token;
mod oidc;
mod request_header;
mod review;
mod service_account;
mod token_file;
mod token_request;
mod token_webhook;
mod user_info;

pub use authenticate::{Authentication, AuthenticationConfig, IssuerOptions};
pub(crate) use bearer::WEBSOCKET_TOKEN_PREFIX;
pub use configuration::{
    AnonymousCondition, AnonymousConfiguration, AuthenticationConfiguration, Claim, ClaimMappings,
    ClaimValidationRule, ExtraMapping, Issuer, JwtConfiguration, PrefixedClaim, UserValidationRule,
};
pub use impersonation::Impersonated;
pub use oidc::OidcDocuments;
pub use request_header::RequestHeaderConfig;
pub use review::{self_subject_review, token_review};
pub use service_account::{ServiceAccountTokens, TokenSettings};
pub use token_file::{TokenFile, TokenFileError};
pub(crate) use token_request::PROJECTED_LIFETIME;
pub use token_webhook::TokenWebhookOptions;
pub use user_info::{
    ANONYMOUS, GROUP_AUTHENTICATED, GROUP_MASTERS, GROUP_NODES, GROUP_SERVICE_ACCOUNTS,
    GROUP_UNAUTHENTICATED, NODE_USER_PREFIX, SERVICE_ACCOUNT_USER_PREFIX, UserInfo,
};
