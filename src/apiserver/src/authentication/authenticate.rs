//! All authenticators, asked in turn.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use apimachinery::status::{Result, Status};
use http::HeaderMap;
use http::request::Parts;
use jiff::Timestamp;
use parking_lot::RwLock;
use pki::PkiError;
use rustls_pki_types::CertificateDer;

use super::certificate::CertificateAuthenticator;
use super::configuration::{AnonymousConfiguration, AuthenticationConfiguration};
use super::impersonation::{Impersonated, impersonated};
use super::jwt_issuer::JwtIssuer;
use super::request_header::{RequestHeaderAuthenticator, RequestHeaderConfig};
use super::service_account::ServiceAccountTokens;
use super::token_file::TokenFile;
use super::token_webhook::{TokenWebhook, TokenWebhookOptions};
use super::user_info::UserInfo;
use super::{bearer, bootstrap_token};
use crate::authorization::Authorizer;
use crate::endpoints::RequestInfo;
use crate::outbound::Outbound;
use crate::registry::Registry;
use crate::settings_file::{self, ConfigurationError};

/// Which credentials are accepted.
#[derive(Default)]
pub struct AuthenticationConfig {
    /// Authorities of client certificates; none are accepted when empty.
    pub client_authorities: Vec<CertificateDer<'static>>,
    /// Front proxies, if any.
    pub request_header: Option<RequestHeaderConfig>,
    /// Service account tokens.
    pub service_accounts: Option<Arc<ServiceAccountTokens>>,
    /// Static tokens.
    pub token_file: Option<TokenFile>,
    /// Whether bootstrap tokens are accepted.
    pub bootstrap_tokens: bool,
    /// Whether requests without credentials are let in as `system:anonymous`.
    pub anonymous: bool,
    /// Issuers of further tokens.
    pub issuers: IssuerOptions,
    /// Who is asked about tokens that nobody else knows.
    pub webhook: Option<TokenWebhookOptions>,
}

/// Where it is said which issuers' tokens are accepted.
#[derive(Clone, Debug)]
pub enum IssuerOptions {
    /// In flags.
    Given(AuthenticationConfiguration),
    /// In a file (`--authentication-config`), which is read again when it changes.
    File(PathBuf),
}

impl Default for IssuerOptions {
    fn default() -> Self {
        Self::Given(AuthenticationConfiguration::default())
    }
}

/// Finds out who is asking.
pub struct Authentication {
    certificates: Option<CertificateAuthenticator>,
    request_header: Option<RequestHeaderAuthenticator>,
    service_accounts: Option<Arc<ServiceAccountTokens>>,
    token_file: TokenFile,
    bootstrap_tokens: bool,
    configured: Arc<RwLock<Arc<Configured>>>,
    webhook: Option<TokenWebhook>,
    registry: Registry,
    authorizer: Arc<dyn Authorizer>,
}

/// What can change while the server runs.
struct Configured {
    anonymous: AnonymousConfiguration,
    issuers: Vec<JwtIssuer>,
}

impl Authentication {
    /// Accepts what the configuration says. The authorizer is asked about impersonation.
    ///
    /// # Errors
    /// When something in the configuration is unusable.
    pub fn new(
        config: AuthenticationConfig,
        registry: Registry,
        authorizer: Arc<dyn Authorizer>,
        outbound: &Outbound,
    ) -> std::result::Result<Self, ConfigurationError> {
        let unusable = |error: PkiError| {
            ConfigurationError::Unusable(format!(
                "cannot use a certificate: {}",
                apimachinery::causes::chain(&error)
            ))
        };
        let certificates = match config.client_authorities.as_slice() {
            [] => None,
            authorities => Some(CertificateAuthenticator::new(authorities).map_err(unusable)?),
        };
        let request_header = config.request_header.map(RequestHeaderAuthenticator::new).transpose();
        let maker = Maker {
            own: config.service_accounts.iter().flat_map(|tokens| tokens.issuers()).collect(),
            anonymous: config.anonymous,
            outbound: outbound.clone(),
        };
        Ok(Self {
            certificates,
            request_header: request_header.map_err(unusable)?,
            service_accounts: config.service_accounts,
            token_file: config.token_file.unwrap_or_default(),
            bootstrap_tokens: config.bootstrap_tokens,
            configured: maker.start(&config.issuers)?,
            webhook: config.webhook.map(|options| TokenWebhook::new(outbound, options)).transpose()?,
            registry,
            authorizer,
        })
    }

    /// The user a request acts as. A [`UserInfo`] in the request's extensions (put there in-process, never
    /// from the wire) is believed; impersonation applies to it as to others.
    ///
    /// # Errors
    /// 401 when credentials are no good, or there are none and anonymous requests are refused; 403 when the
    /// caller may not impersonate whom the headers name.
    pub async fn authenticate(
        &self,
        parts: &Parts,
        info: &RequestInfo,
        peer: &[CertificateDer<'static>],
    ) -> Result<UserInfo> {
        let user = self.identify(parts, info, peer).await?;
        Ok(self.impersonate(parts, info, &user).await?.map_or(user, |impersonated| impersonated.user))
    }

    /// Who sent a request, whomever they act as.
    ///
    /// # Errors
    /// 401 as above.
    pub(crate) async fn identify(
        &self,
        parts: &Parts,
        info: &RequestInfo,
        peer: &[CertificateDer<'static>],
    ) -> Result<UserInfo> {
        match parts.extensions.get::<UserInfo>() {
            Some(user) => Ok(user.clone()),
            None => self.find(&parts.headers, &info.path, peer, Timestamp::now()).await,
        }
    }

    /// Whom the sender of a request acts as, if it is somebody else.
    ///
    /// # Errors
    /// 403 as above.
    pub(crate) async fn impersonate(
        &self,
        parts: &Parts,
        info: &RequestInfo,
        sender: &UserInfo,
    ) -> Result<Option<Impersonated>> {
        impersonated(&parts.headers, sender, info, self.authorizer.as_ref()).await
    }

    async fn find(
        &self,
        headers: &HeaderMap,
        path: &str,
        peer: &[CertificateDer<'static>],
        now: Timestamp,
    ) -> Result<UserInfo> {
        let mut errors: Vec<String> = Vec::new();
        if let Some(request_header) = &self.request_header {
            match request_header.authenticate(headers, peer, now) {
                Ok(Some(user)) => return Ok(user),
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        if let Some(certificates) = &self.certificates {
            match certificates.authenticate(peer, now) {
                Ok(Some(user)) => return Ok(user),
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        if let Some(token) = bearer::token(headers) {
            match self.authenticate_token(&token, self.api_audiences(), now).await {
                Ok((user, _)) => return Ok(user),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() && self.configured.read().allows_anonymous(path) {
            return Ok(UserInfo::anonymous());
        }
        if !errors.is_empty() {
            tracing::debug!(errors = errors.join("; "), "unable to authenticate a request");
        }
        Err(Status::unauthorized())
    }

    /// Whose bearer token this is, and for which of the wanted audiences it is good.
    ///
    /// # Errors
    /// In words: nobody knows it, or who knows it refuses it.
    pub(super) async fn authenticate_token(
        &self,
        token: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> std::result::Result<(UserInfo, Vec<String>), String> {
        // Most tokens say nothing of audiences that are ours: they are for the API server.
        let wanted = |audience: &&String| audiences.contains(audience);
        let own: Vec<String> = self.api_audiences().iter().filter(wanted).cloned().collect();
        let for_us = audiences.is_empty() || !own.is_empty();
        if let Some(user) = self.token_file.find(token).filter(|_| for_us) {
            return Ok((user.clone(), own));
        }
        let mut errors: Vec<String> = Vec::new();
        if let Some(service_accounts) = &self.service_accounts {
            match service_accounts.authenticate(token, audiences, now).await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        if self.bootstrap_tokens
            && for_us
            && let Some(user) = bootstrap_token::authenticate(&self.registry, token, now).await?
        {
            return Ok((user, own));
        }
        let configured = Arc::clone(&self.configured.read());
        for issuer in configured.issuers.iter().filter(|_| for_us) {
            match issuer.authenticate(token, now).await {
                Ok(Some(user)) => return Ok((user, own)),
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        if let Some(webhook) = &self.webhook {
            match webhook.authenticate(token, audiences).await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        Err(match errors.as_slice() {
            [] => "invalid bearer token".into(),
            many => format!("[invalid bearer token, {}]", many.join(", ")),
        })
    }

    /// The audiences of the API server itself.
    pub fn api_audiences(&self) -> &[String] {
        self.service_accounts.as_ref().map_or(&[], |tokens| tokens.api_audiences())
    }
}

impl std::fmt::Debug for Authentication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authentication").finish_non_exhaustive()
    }
}

impl Configured {
    fn allows_anonymous(&self, path: &str) -> bool {
        let AnonymousConfiguration { enabled, conditions } = &self.anonymous;
        *enabled && (conditions.is_empty() || conditions.iter().any(|condition| condition.path == path))
    }
}

/// Makes what can change.
struct Maker {
    /// Issuers that nobody else may be.
    own: Vec<String>,
    /// Whether there are anonymous requests where the configuration does not say.
    anonymous: bool,
    outbound: Outbound,
}

impl Maker {
    fn start(
        self,
        options: &IssuerOptions,
    ) -> std::result::Result<Arc<RwLock<Arc<Configured>>>, ConfigurationError> {
        let path = match options {
            IssuerOptions::Given(configuration) => {
                return Ok(Arc::new(RwLock::new(Arc::new(self.make(configuration)?))));
            }
            IssuerOptions::File(path) => path.clone(),
        };
        let current = Arc::new(RwLock::new(Arc::new(self.load(&path)?)));
        let used = Arc::downgrade(&current);
        tokio::spawn(async move {
            let mut file = settings_file::Followed::new(&path);
            while used.strong_count() > 0 {
                file.changed().await;
                match (self.load(&path), used.upgrade()) {
                    (Ok(configured), Some(current)) => {
                        tracing::info!(path = %path.display(), "authentication is configured anew");
                        *current.write() = Arc::new(configured);
                    }
                    (Err(error), _) => {
                        tracing::error!(%error, "the changed authentication configuration is not used");
                    }
                    (Ok(_), None) => {}
                }
            }
        });
        Ok(current)
    }

    fn load(&self, path: &Path) -> std::result::Result<Configured, ConfigurationError> {
        self.make(&AuthenticationConfiguration::load(path)?)
    }

    fn make(
        &self,
        configuration: &AuthenticationConfiguration,
    ) -> std::result::Result<Configured, ConfigurationError> {
        let rules = configuration.check(&self.own)?;
        let by_flag = AnonymousConfiguration { enabled: self.anonymous, conditions: Vec::new() };
        Ok(Configured {
            anonymous: configuration.anonymous.clone().unwrap_or(by_flag),
            issuers: rules.into_iter().map(|rules| JwtIssuer::new(rules, self.outbound.clone())).collect(),
        })
    }
}

#[cfg(test)]
#[path = "authenticate_tests.rs"]
mod tests;
