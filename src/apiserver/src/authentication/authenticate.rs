//! All authenticators, asked in turn.

use std::sync::Arc;

use apimachinery::status::{Result, Status};
use http::HeaderMap;
use http::request::Parts;
use jiff::Timestamp;
use pki::PkiError;
use rustls_pki_types::CertificateDer;

use super::certificate::CertificateAuthenticator;
use super::impersonation::impersonated;
use super::request_header::{RequestHeaderAuthenticator, RequestHeaderConfig};
use super::service_account::ServiceAccountTokens;
use super::token_file::TokenFile;
use super::user_info::UserInfo;
use super::{bearer, bootstrap_token};
use crate::authorization::Authorizer;
use crate::registry::Registry;

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
}

/// Finds out who is asking.
pub struct Authentication {
    certificates: Option<CertificateAuthenticator>,
    request_header: Option<RequestHeaderAuthenticator>,
    service_accounts: Option<Arc<ServiceAccountTokens>>,
    token_file: TokenFile,
    bootstrap_tokens: bool,
    anonymous: bool,
    registry: Registry,
    authorizer: Arc<dyn Authorizer>,
}

impl Authentication {
    /// Accepts what the configuration says. The authorizer is asked about impersonation.
    ///
    /// # Errors
    /// When an authority's certificate is unusable.
    pub fn new(
        config: AuthenticationConfig,
        registry: Registry,
        authorizer: Arc<dyn Authorizer>,
    ) -> std::result::Result<Self, PkiError> {
        let certificates = match config.client_authorities.as_slice() {
            [] => None,
            authorities => Some(CertificateAuthenticator::new(authorities)?),
        };
        Ok(Self {
            certificates,
            request_header: config.request_header.map(RequestHeaderAuthenticator::new).transpose()?,
            service_accounts: config.service_accounts,
            token_file: config.token_file.unwrap_or_default(),
            bootstrap_tokens: config.bootstrap_tokens,
            anonymous: config.anonymous,
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
    pub async fn authenticate(&self, parts: &Parts, peer: &[CertificateDer<'static>]) -> Result<UserInfo> {
        let user = self.identify(parts, peer).await?;
        Ok(self.impersonate(parts, &user).await?.unwrap_or(user))
    }

    /// Who sent a request, whomever they act as.
    ///
    /// # Errors
    /// 401 as above.
    pub(crate) async fn identify(&self, parts: &Parts, peer: &[CertificateDer<'static>]) -> Result<UserInfo> {
        match parts.extensions.get::<UserInfo>() {
            Some(user) => Ok(user.clone()),
            None => self.find(&parts.headers, peer, Timestamp::now()).await,
        }
    }

    /// Whom the sender of a request acts as, if it is somebody else.
    ///
    /// # Errors
    /// 403 as above.
    pub(crate) async fn impersonate(&self, parts: &Parts, sender: &UserInfo) -> Result<Option<UserInfo>> {
        impersonated(&parts.headers, sender, self.authorizer.as_ref()).await
    }

    async fn find(
        &self,
        headers: &HeaderMap,
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
        if errors.is_empty() && self.anonymous {
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
        if let Some(service_accounts) = &self.service_accounts
            && let Some(found) = service_accounts.authenticate(token, audiences, now).await?
        {
            return Ok(found);
        }
        // Other tokens say nothing of audiences: they are for the API server.
        let wanted = |audience: &&String| audiences.contains(audience);
        let own: Vec<String> = self.api_audiences().iter().filter(wanted).cloned().collect();
        let for_us = audiences.is_empty() || !own.is_empty();
        if let Some(user) = self.token_file.find(token).filter(|_| for_us) {
            return Ok((user.clone(), own));
        }
        if self.bootstrap_tokens
            && for_us
            && let Some(user) = bootstrap_token::authenticate(&self.registry, token, now).await?
        {
            return Ok((user, own));
        }
        Err("invalid bearer token".into())
    }

    /// The audiences of the API server itself.
    pub fn api_audiences(&self) -> &[String] {
        self.service_accounts.as_ref().map_or(&[], |tokens| tokens.api_audiences())
    }
}

impl std::fmt::Debug for Authentication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authentication").field("anonymous", &self.anonymous).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "authenticate_tests.rs"]
mod tests;
