//! Users named by request headers, where a front proxy with the right certificate names them.

use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use pki::PkiError;
use pki::tls::ChainVerifier;
use rustls_pki_types::CertificateDer;

use super::certificate::common_name;
use super::user_info::{GROUP_AUTHENTICATED, GROUP_UNAUTHENTICATED, UserInfo};

/// Whom to believe, and in which headers (upstream's `--requestheader-*` flags).
#[derive(Clone, Debug)]
pub struct RequestHeaderConfig {
    /// Authorities of front proxies.
    pub authorities: Vec<CertificateDer<'static>>,
    /// Common names of front proxies; empty allows any that the authorities signed.
    pub allowed_names: Vec<String>,
    /// Headers with the user's name; the first that is there counts.
    pub username_headers: Vec<String>,
    /// Headers with the user's uid.
    pub uid_headers: Vec<String>,
    /// Headers with groups, each of which may come several times.
    pub group_headers: Vec<String>,
    /// Prefixes of headers with extra values; the rest of the name is the key.
    pub extra_header_prefixes: Vec<String>,
}

impl RequestHeaderConfig {
    /// The usual header names.
    pub fn new(authorities: Vec<CertificateDer<'static>>, allowed_names: Vec<String>) -> Self {
        let one = |name: &str| vec![name.to_owned()];
        Self {
            authorities,
            allowed_names,
            username_headers: one("X-Remote-User"),
            uid_headers: one("X-Remote-Uid"),
            group_headers: one("X-Remote-Group"),
            extra_header_prefixes: one("X-Remote-Extra-"),
        }
    }
}

/// Reads users from headers.
pub(super) struct RequestHeaderAuthenticator {
    config: RequestHeaderConfig,
    verifier: ChainVerifier,
}

impl RequestHeaderAuthenticator {
    pub(super) fn new(config: RequestHeaderConfig) -> Result<Self, PkiError> {
        Ok(Self { verifier: ChainVerifier::new(&config.authorities)?, config })
    }

    /// The user, `None` when no header names one.
    ///
    /// # Errors
    /// In words, when a header names one but the peer is no front proxy.
    pub(super) fn authenticate(
        &self,
        headers: &HeaderMap,
        peer: &[CertificateDer<'static>],
        now: Timestamp,
    ) -> Result<Option<UserInfo>, String> {
        let Some(name) = first(headers, &self.config.username_headers) else { return Ok(None) };
        let Some(own) = peer.first() else { return Ok(None) };
        self.verifier.verify(peer, now).map_err(|error| error.to_string())?;
        let proxy = common_name(own);
        if !self.config.allowed_names.is_empty() && !self.config.allowed_names.contains(&proxy) {
            return Err(format!("x509: subject with cn={proxy} is not in the allowed list"));
        }
        let mut user = UserInfo { name: name.to_owned(), ..UserInfo::default() };
        user.uid = first(headers, &self.config.uid_headers).unwrap_or_default().to_owned();
        for header in &self.config.group_headers {
            let values = headers.get_all(header.as_str()).iter();
            user.groups.extend(values.filter_map(|value| value.to_str().ok()).map(str::to_owned));
        }
        for (header, value) in headers {
            if let Some(key) = self.extra_key(header)
                && let Ok(value) = value.to_str()
            {
                user.extra.entry(key).or_default().push(value.to_owned());
            }
        }
        if !user.in_group(GROUP_AUTHENTICATED) && !user.in_group(GROUP_UNAUTHENTICATED) {
            user.groups.push(GROUP_AUTHENTICATED.into());
        }
        Ok(Some(user))
    }

    fn extra_key(&self, header: &HeaderName) -> Option<String> {
        let prefixes = self.config.extra_header_prefixes.iter();
        let mut rests = prefixes.filter_map(|prefix| extra_key(header, prefix));
        rests.next()
    }
}

/// The key in the name of a header with a prefix (in any case): lower case, `%` escapes resolved.
pub(super) fn extra_key(header: &HeaderName, prefix: &str) -> Option<String> {
    // Header names are in lower case already.
    let rest = header.as_str().strip_prefix(&prefix.to_ascii_lowercase())?;
    let decoded = percent_encoding::percent_decode_str(rest).decode_utf8_lossy();
    Some(decoded.to_lowercase())
}

fn first<'a>(headers: &'a HeaderMap, names: &[String]) -> Option<&'a str> {
    let mut values = names.iter().filter_map(|name| headers.get(name.as_str())?.to_str().ok());
    values.find(|value| !value.is_empty())
}
