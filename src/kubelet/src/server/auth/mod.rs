//! Delegated authentication and authorization: client certificates here, everything else at the API server.

mod attributes;
mod cache;
mod user;

use std::time::Duration;

use http::request::Parts;
use http::{Response, StatusCode, header};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;
use pki::PkiError;
use pki::tls::ChainVerifier;
use rustls_pki_types::CertificateDer;

use self::cache::Cache;
use self::user::User;
use super::respond::{self, Body};

/// How long a token that was accepted is not asked about again (`authentication.webhook.cacheTTL`).
const TOKEN_TTL: Duration = Duration::from_secs(120);
/// How long a permission holds (`authorization.webhook.cacheAuthorizedTTL`).
const ALLOWED_TTL: Duration = Duration::from_secs(300);
/// How long a refusal holds, of token or permission (`authorization.webhook.cacheUnauthorizedTTL`).
const REFUSED_TTL: Duration = Duration::from_secs(30);

/// Decides about requests.
pub(super) struct Auth {
    client: kube::Client,
    node_name: String,
    verifier: ChainVerifier,
    tokens: Cache<String, Option<User>>,
    decisions: Cache<Question, bool>,
}

/// What was asked of the authorizer.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Question {
    user: User,
    verb: &'static str,
    subresource: &'static str,
}

impl Auth {
    pub(super) fn new(
        client: kube::Client,
        node_name: &str,
        client_cas: &[CertificateDer<'static>],
    ) -> Result<Self, PkiError> {
        Ok(Self {
            client,
            node_name: node_name.to_owned(),
            verifier: ChainVerifier::new(client_cas)?,
            tokens: Cache::new(),
            decisions: Cache::new(),
        })
    }

    /// Lets the request pass, or gives the response that refuses it.
    pub(super) async fn check(
        &self,
        parts: &Parts,
        certificates: &[CertificateDer<'static>],
    ) -> Result<(), Response<Body>> {
        let user = self.authenticate(parts, certificates).await.map_err(unavailable)?;
        let Some(user) = user else {
            return Err(respond::error(StatusCode::UNAUTHORIZED, "Unauthorized"));
        };
        let verb = attributes::verb(&parts.method);
        let subresources = attributes::subresources(parts.uri.path());
        for subresource in subresources {
            if self.authorize(&user, verb, subresource).await.map_err(unavailable)? {
                return Ok(());
            }
        }
        let message = format!(
            "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{}])",
            user.name,
            subresources.join(" ")
        );
        Err(respond::error(StatusCode::FORBIDDEN, message))
    }

    /// Who asks: by certificate, else by token; None if by neither.
    async fn authenticate(
        &self,
        parts: &Parts,
        certificates: &[CertificateDer<'static>],
    ) -> Result<Option<User>, kube::Error> {
        if let Some(leaf) = certificates.first()
            && self.verifier.verify(certificates, jiff::Timestamp::now()).is_ok()
            && let Some(user) = User::of_certificate(leaf)
        {
            return Ok(Some(user));
        }
        match bearer_token(parts) {
            Some(token) => self.review_token(token).await,
            None => Ok(None),
        }
    }

    async fn review_token(&self, token: &str) -> Result<Option<User>, kube::Error> {
        let key = token.to_owned();
        if let Some(known) = self.tokens.get(&key) {
            return Ok(known);
        }
        let review = TokenReview {
            spec: TokenReviewSpec { token: key.clone(), ..TokenReviewSpec::default() },
            ..TokenReview::default()
        };
        let answer =
            Api::<TokenReview>::all(self.client.clone()).create(&PostParams::default(), &review).await?;
        let user = answer
            .status
            .filter(|status| status.authenticated == Some(true))
            .and_then(|status| status.user)
            .map(User::from);
        let ttl = if user.is_some() { TOKEN_TTL } else { REFUSED_TTL };
        self.tokens.insert(key, user.clone(), ttl);
        Ok(user)
    }

    async fn authorize(
        &self,
        user: &User,
        verb: &'static str,
        subresource: &'static str,
    ) -> Result<bool, kube::Error> {
        let question = Question { user: user.clone(), verb, subresource };
        if let Some(known) = self.decisions.get(&question) {
            return Ok(known);
        }
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                uid: Some(user.uid.clone()).filter(|uid| !uid.is_empty()),
                groups: Some(user.groups.clone()),
                extra: (!user.extra.is_empty()).then(|| user.extra.clone()),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(verb.to_owned()),
                    version: Some("v1".to_owned()),
                    resource: Some("nodes".to_owned()),
                    subresource: Some(subresource.to_owned()),
                    name: Some(self.node_name.clone()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answer = Api::<SubjectAccessReview>::all(self.client.clone())
            .create(&PostParams::default(), &review)
            .await?;
        let allowed = answer.status.is_some_and(|status| status.allowed);
        self.decisions.insert(question, allowed, if allowed { ALLOWED_TTL } else { REFUSED_TTL });
        Ok(allowed)
    }
}

fn bearer_token(parts: &Parts) -> Option<&str> {
    let value = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty()).then(|| token.trim())
}

/// Without the API server nobody can be let in: that is no refusal.
fn unavailable(error: kube::Error) -> Response<Body> {
    tracing::warn!(%error, "kubelet server: the API server cannot be asked about a request");
    respond::error(StatusCode::INTERNAL_SERVER_ERROR, format!("Internal Server Error: {error}"))
}
