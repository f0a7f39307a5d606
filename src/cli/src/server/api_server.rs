//! Flags of the API server, with kube-apiserver's names and meanings: who may come in, and who decides what they may.
//!
//! They can be given as such, or as `--kube-apiserver-arg NAME=VALUE`, as k3s has it.

use super::audit_flags::{AuditLogFlags, AuditWebhookFlags};
use anyhow::{Context, Result, bail};
use apiserver::admission::AdmissionControl;
use apiserver::authentication::{
    AuthenticationConfiguration, ClaimMappings, ClaimValidationRule, Issuer, IssuerOptions, JwtConfiguration,
    PrefixedClaim, TokenFile, TokenWebhookOptions,
};
use apiserver::authorization::{
    AuthorizationConfiguration, AuthorizationOptions, ConnectionInfo, WebhookConfiguration,
};
use apiserver::registry::RuntimeConfig;
use apiserver::{Config, GoDuration};
use clap::Args;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// kube-apiserver's defaults.
const TOKEN_WEBHOOK_TTL: Duration = Duration::from_secs(2 * 60);
const AUTHORIZED_TTL: Duration = Duration::from_secs(5 * 60);
const UNAUTHORIZED_TTL: Duration = Duration::from_secs(30);
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(30);
const WEBHOOK_VERSION: &str = "v1beta1";

/// The flags. None has a default here, so that what was not said can be told apart.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Kubernetes API server")]
pub struct ApiServerFlags {
    /// Versions and resources to serve or not besides the stable ones, NAME=BOOL,...: api/all, api/beta, GROUP/VERSION,
    /// GROUP/VERSION/RESOURCE
    #[arg(long, env = "KNARR_RUNTIME_CONFIG", value_name = "NAME=BOOL")]
    pub runtime_config: Option<RuntimeConfig>,
    /// Let in requests without credentials, as system:anonymous [default: true]
    #[arg(long, env = "KNARR_ANONYMOUS_AUTH", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub anonymous_auth: Option<bool>,
    /// Accept bootstrap tokens [default: true]
    #[arg(long, env = "KNARR_ENABLE_BOOTSTRAP_TOKEN_AUTH", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub enable_bootstrap_token_auth: Option<bool>,
    /// File of further authorities of client certificates
    #[arg(long, env = "KNARR_CLIENT_CA_FILE", value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
    /// File of further authorities of front proxies
    #[arg(long, env = "KNARR_REQUESTHEADER_CLIENT_CA_FILE", value_name = "FILE")]
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// Common names of front proxies besides our own
    #[arg(long, env = "KNARR_REQUESTHEADER_ALLOWED_NAMES", value_name = "NAME", value_delimiter = ',')]
    pub requestheader_allowed_names: Vec<String>,
    /// Headers of front proxies with user names [default: x-remote-user]
    #[arg(long, env = "KNARR_REQUESTHEADER_USERNAME_HEADERS", value_name = "NAME", value_delimiter = ',')]
    pub requestheader_username_headers: Vec<String>,
    /// Headers of front proxies with uids [default: x-remote-uid]
    #[arg(long, env = "KNARR_REQUESTHEADER_UID_HEADERS", value_name = "NAME", value_delimiter = ',')]
    pub requestheader_uid_headers: Vec<String>,
    /// Headers of front proxies with groups [default: x-remote-group]
    #[arg(long, env = "KNARR_REQUESTHEADER_GROUP_HEADERS", value_name = "NAME", value_delimiter = ',')]
    pub requestheader_group_headers: Vec<String>,
    /// Prefixes of headers of front proxies with extra values [default: x-remote-extra-]
    #[arg(
        long,
        env = "KNARR_REQUESTHEADER_EXTRA_HEADERS_PREFIX",
        value_name = "PREFIX",
        value_delimiter = ','
    )]
    pub requestheader_extra_headers_prefix: Vec<String>,
    /// File of static tokens
    #[arg(long, env = "KNARR_TOKEN_AUTH_FILE", value_name = "FILE")]
    pub token_auth_file: Option<PathBuf>,
    /// Audiences of tokens for the API server [default: the issuers of service account tokens]
    #[arg(long, env = "KNARR_API_AUDIENCES", value_name = "NAME", value_delimiter = ',')]
    pub api_audiences: Vec<String>,
    /// Issuer of service account tokens; the first issues, all are accepted
    #[arg(long, env = "KNARR_SERVICE_ACCOUNT_ISSUER", value_name = "URL", value_delimiter = ',')]
    pub service_account_issuer: Vec<String>,
    /// The longest that service account tokens may be valid
    #[arg(long, env = "KNARR_SERVICE_ACCOUNT_MAX_TOKEN_EXPIRATION", value_name = "DURATION")]
    pub service_account_max_token_expiration: Option<GoDuration>,
    /// Let tokens in pods be valid for a year [default: true]
    #[arg(long, env = "KNARR_SERVICE_ACCOUNT_EXTEND_TOKEN_EXPIRATION", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub service_account_extend_token_expiration: Option<bool>,
    /// File with an AuthenticationConfiguration
    #[arg(long, env = "KNARR_AUTHENTICATION_CONFIG", value_name = "FILE")]
    pub authentication_config: Option<PathBuf>,
    /// OpenID issuer
    #[arg(long, env = "KNARR_OIDC_ISSUER_URL", value_name = "URL")]
    pub oidc_issuer_url: Option<String>,
    /// Audience of the issuer's tokens
    #[arg(long, env = "KNARR_OIDC_CLIENT_ID", value_name = "ID")]
    pub oidc_client_id: Option<String>,
    /// File of the authorities of the issuer's server [default: those of the system]
    #[arg(long, env = "KNARR_OIDC_CA_FILE", value_name = "FILE")]
    pub oidc_ca_file: Option<PathBuf>,
    /// Claim with the user's name [default: sub]
    #[arg(long, env = "KNARR_OIDC_USERNAME_CLAIM", value_name = "CLAIM")]
    pub oidc_username_claim: Option<String>,
    /// What is put before the name; - for nothing [default: ISSUER#, nothing for email]
    #[arg(long, env = "KNARR_OIDC_USERNAME_PREFIX", value_name = "PREFIX", allow_hyphen_values = true)]
    pub oidc_username_prefix: Option<String>,
    /// Claim with the user's groups
    #[arg(long, env = "KNARR_OIDC_GROUPS_CLAIM", value_name = "CLAIM")]
    pub oidc_groups_claim: Option<String>,
    /// What is put before groups
    #[arg(long, env = "KNARR_OIDC_GROUPS_PREFIX", value_name = "PREFIX", allow_hyphen_values = true)]
    pub oidc_groups_prefix: Option<String>,
    /// Claim that must be there with a value, NAME=VALUE
    #[arg(long, env = "KNARR_OIDC_REQUIRED_CLAIM", value_name = "CLAIM", value_delimiter = ',')]
    pub oidc_required_claim: Vec<String>,
    /// Algorithms of the issuer's signatures [default: RS256]
    #[arg(long, env = "KNARR_OIDC_SIGNING_ALGS", value_name = "NAME", value_delimiter = ',')]
    pub oidc_signing_algs: Vec<String>,
    /// Kubeconfig file of a webhook that is asked about tokens
    #[arg(long, env = "KNARR_AUTHENTICATION_TOKEN_WEBHOOK_CONFIG_FILE", value_name = "FILE")]
    pub authentication_token_webhook_config_file: Option<PathBuf>,
    /// Version of TokenReview that it is sent [default: v1beta1]
    #[arg(long, env = "KNARR_AUTHENTICATION_TOKEN_WEBHOOK_VERSION", value_name = "VERSION")]
    pub authentication_token_webhook_version: Option<String>,
    /// How long its answers are remembered [default: 2m]
    #[arg(long, env = "KNARR_AUTHENTICATION_TOKEN_WEBHOOK_CACHE_TTL", value_name = "DURATION")]
    pub authentication_token_webhook_cache_ttl: Option<GoDuration>,
    /// Authorizers in order: Node, RBAC, ABAC, Webhook, AlwaysAllow, AlwaysDeny [default: Node,RBAC]
    #[arg(long, env = "KNARR_AUTHORIZATION_MODE", value_name = "MODE", value_delimiter = ',')]
    pub authorization_mode: Vec<String>,
    /// File with the policies of ABAC, one in a line
    #[arg(long, env = "KNARR_AUTHORIZATION_POLICY_FILE", value_name = "FILE")]
    pub authorization_policy_file: Option<PathBuf>,
    /// File with an AuthorizationConfiguration
    #[arg(long, env = "KNARR_AUTHORIZATION_CONFIG", value_name = "FILE")]
    pub authorization_config: Option<PathBuf>,
    /// Kubeconfig file of a webhook that decides about requests
    #[arg(long, env = "KNARR_AUTHORIZATION_WEBHOOK_CONFIG_FILE", value_name = "FILE")]
    pub authorization_webhook_config_file: Option<PathBuf>,
    /// Version of SubjectAccessReview that it is sent [default: v1beta1]
    #[arg(long, env = "KNARR_AUTHORIZATION_WEBHOOK_VERSION", value_name = "VERSION")]
    pub authorization_webhook_version: Option<String>,
    /// How long its permissions are remembered [default: 5m]
    #[arg(long, env = "KNARR_AUTHORIZATION_WEBHOOK_CACHE_AUTHORIZED_TTL", value_name = "DURATION")]
    pub authorization_webhook_cache_authorized_ttl: Option<GoDuration>,
    /// How long its refusals are remembered [default: 30s]
    #[arg(long, env = "KNARR_AUTHORIZATION_WEBHOOK_CACHE_UNAUTHORIZED_TTL", value_name = "DURATION")]
    pub authorization_webhook_cache_unauthorized_ttl: Option<GoDuration>,
    /// Admission plugins that are used besides those that are on by default
    #[arg(long, env = "KNARR_ENABLE_ADMISSION_PLUGINS", value_name = "PLUGIN", value_delimiter = ',')]
    pub enable_admission_plugins: Vec<String>,
    /// Admission plugins that are not used though they are on by default
    #[arg(long, env = "KNARR_DISABLE_ADMISSION_PLUGINS", value_name = "PLUGIN", value_delimiter = ',')]
    pub disable_admission_plugins: Vec<String>,
    /// Seconds that pods stay on a node that is not ready, unless they say it [default: 300]
    #[arg(long, env = "KNARR_DEFAULT_NOT_READY_TOLERATION_SECONDS", value_name = "SECONDS")]
    pub default_not_ready_toleration_seconds: Option<u32>,
    /// Seconds that pods stay on a node that is not reachable, unless they say it [default: 300]
    #[arg(long, env = "KNARR_DEFAULT_UNREACHABLE_TOLERATION_SECONDS", value_name = "SECONDS")]
    pub default_unreachable_toleration_seconds: Option<u32>,
    /// Requests that read that are answered at a time; flow control divides the sum of both among its levels [default: 400]
    #[arg(long, env = "KNARR_MAX_REQUESTS_INFLIGHT", value_name = "NUMBER")]
    pub max_requests_inflight: Option<u32>,
    /// Requests that write that are answered at a time [default: 200]
    #[arg(long, env = "KNARR_MAX_MUTATING_REQUESTS_INFLIGHT", value_name = "NUMBER")]
    pub max_mutating_requests_inflight: Option<u32>,
    /// How long Events are kept that nobody renews [default: 1h]
    #[arg(long, env = "KNARR_EVENT_TTL", value_name = "DURATION")]
    pub event_ttl: Option<GoDuration>,
    /// File with an AdmissionConfiguration: as whom the server shows itself to admission webhooks
    #[arg(long, env = "KNARR_ADMISSION_CONTROL_CONFIG_FILE", value_name = "FILE")]
    pub admission_control_config_file: Option<PathBuf>,
    /// Reach Services behind webhooks and APIServices at their endpoints, not at their cluster IPs [default: as --disable-agent]
    #[arg(long, env = "KNARR_ENABLE_AGGREGATOR_ROUTING", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub enable_aggregator_routing: Option<bool>,
    /// How audit events get into the log.
    #[command(flatten)]
    pub audit_log: AuditLogFlags,
    /// Where audit events are posted.
    #[command(flatten)]
    pub audit_webhook: AuditWebhookFlags,
}

impl ApiServerFlags {
    /// With what `--kube-apiserver-arg` says, which wins.
    ///
    /// # Errors
    /// When it names something that is no flag, or gives it a value that it cannot have.
    pub fn with(mut self, arguments: &[String]) -> Result<Self> {
        if arguments.is_empty() {
            return Ok(self);
        }
        let command = clap::Command::new("knarr server --kube-apiserver-arg").no_binary_name(true);
        let command = Self::augment_args_for_update(command).disable_help_flag(true);
        let flags = arguments.iter().map(|argument| format!("--{}", argument.trim_start_matches('-')));
        let matches = command.try_get_matches_from(flags).map_err(|error| {
            let text = error.to_string();
            anyhow::anyhow!("--kube-apiserver-arg: {}", text.lines().next().unwrap_or(&text))
        })?;
        clap::FromArgMatches::update_from_arg_matches(&mut self, &matches)?;
        Ok(self)
    }

    /// Puts what was said into the server's configuration.
    ///
    /// # Errors
    /// When flags contradict each other or a file cannot be used.
    pub fn apply(&self, config: &mut Config) -> Result<()> {
        if let Some(runtime_config) = &self.runtime_config {
            config.runtime_config = runtime_config.clone();
        }
        if let Some(path) = &self.admission_control_config_file {
            config.admission_control =
                AdmissionControl::load(path).context("--admission-control-config-file")?;
        }
        let choice =
            config.admission_control.choose(&self.enable_admission_plugins, &self.disable_admission_plugins);
        choice.map_err(|why| anyhow::anyhow!("--{why}"))?;
        let tolerations = &mut config.admission_control.toleration_seconds;
        for (given, seconds) in [
            (self.default_not_ready_toleration_seconds, &mut tolerations.not_ready),
            (self.default_unreachable_toleration_seconds, &mut tolerations.unreachable),
        ] {
            *seconds = given.map_or(*seconds, i64::from);
        }
        if let Some(both) = self.requests_in_flight()? {
            config.max_requests_in_flight = both;
        }
        if let Some(ttl) = self.event_ttl {
            config.event_ttl = ttl.0;
        }
        if let Some(anonymous) = self.anonymous_auth {
            config.anonymous = anonymous;
        }
        if let Some(enabled) = self.enable_bootstrap_token_auth {
            config.bootstrap_tokens = enabled;
        }
        if let Some(path) = &self.client_ca_file {
            config.client_authorities.extend(certificates(path).context("--client-ca-file")?);
        }
        self.apply_request_header(config)?;
        if let Some(path) = &self.token_auth_file {
            let tokens = TokenFile::parse(&read(path)?);
            config.token_file =
                Some(tokens.with_context(|| format!("--token-auth-file {}", path.display()))?);
        }
        self.apply_service_accounts(config)?;
        self.apply_issuers(config)?;
        if let Some(kubeconfig) = &self.authentication_token_webhook_config_file {
            let version = self.authentication_token_webhook_version.as_deref().unwrap_or(WEBHOOK_VERSION);
            config.token_webhook = Some(TokenWebhookOptions {
                kubeconfig: kubeconfig.clone(),
                version: version.to_owned(),
                cache_ttl: self.authentication_token_webhook_cache_ttl.map_or(TOKEN_WEBHOOK_TTL, |ttl| ttl.0),
            });
        }
        self.apply_authorization(config)
    }

    /// Requests that are answered at a time, reading and writing ones, if something is said of that.
    fn requests_in_flight(&self) -> Result<Option<u32>> {
        let given = [(self.max_requests_inflight, 400), (self.max_mutating_requests_inflight, 200)];
        if given.iter().all(|(given, _)| given.is_none()) {
            return Ok(None);
        }
        match given.iter().fold(0_u32, |sum, (given, default)| sum.saturating_add(given.unwrap_or(*default)))
        {
            0 => bail!("--max-requests-inflight and --max-mutating-requests-inflight: one must be positive"),
            both => Ok(Some(both)),
        }
    }

    fn apply_request_header(&self, config: &mut Config) -> Result<()> {
        let Some(header) = &mut config.request_header else { return Ok(()) };
        if let Some(path) = &self.requestheader_client_ca_file {
            header.authorities.extend(certificates(path).context("--requestheader-client-ca-file")?);
        }
        header.allowed_names.extend(self.requestheader_allowed_names.iter().cloned());
        for (given, used) in [
            (&self.requestheader_username_headers, &mut header.username_headers),
            (&self.requestheader_uid_headers, &mut header.uid_headers),
            (&self.requestheader_group_headers, &mut header.group_headers),
            (&self.requestheader_extra_headers_prefix, &mut header.extra_header_prefixes),
        ] {
            if !given.is_empty() {
                used.clone_from(given);
            }
        }
        Ok(())
    }

    fn apply_service_accounts(&self, config: &mut Config) -> Result<()> {
        if let Some((first, others)) = self.service_account_issuer.split_first() {
            config.tokens.issuer.clone_from(first);
            config.tokens.accepted_issuers = others.to_vec();
            config.tokens.api_audiences.clone_from(&self.service_account_issuer);
        }
        if !self.api_audiences.is_empty() {
            config.tokens.api_audiences.clone_from(&self.api_audiences);
        }
        if let Some(longest) = self.service_account_max_token_expiration {
            let hour = Duration::from_secs(60 * 60);
            if longest.0 < hour {
                bail!("--service-account-max-token-expiration {longest}: must be one hour at least");
            }
            config.tokens.max_expiration = Some(longest.0.try_into()?);
        }
        if let Some(extend) = self.service_account_extend_token_expiration {
            config.tokens.extend_expiration = extend;
        }
        Ok(())
    }

    fn apply_issuers(&self, config: &mut Config) -> Result<()> {
        let given = self.oidc_issuer_url.is_some()
            || self.oidc_client_id.is_some()
            || self.oidc_ca_file.is_some()
            || self.oidc_username_claim.is_some()
            || self.oidc_username_prefix.is_some()
            || self.oidc_groups_claim.is_some()
            || self.oidc_groups_prefix.is_some()
            || !self.oidc_required_claim.is_empty()
            || !self.oidc_signing_algs.is_empty();
        if let Some(path) = &self.authentication_config {
            if given {
                bail!("--authentication-config and --oidc-... exclude each other: say it all in the file");
            }
            config.issuers = IssuerOptions::File(path.clone());
        } else if given {
            let configuration = AuthenticationConfiguration { jwt: vec![self.oidc()?], ..Default::default() };
            config.issuers = IssuerOptions::Given(configuration);
        }
        Ok(())
    }

    fn oidc(&self) -> Result<JwtConfiguration> {
        let (Some(url), Some(client)) = (&self.oidc_issuer_url, &self.oidc_client_id) else {
            bail!("--oidc-issuer-url and --oidc-client-id must be given when any other --oidc-... flag is");
        };
        let claim = self.oidc_username_claim.clone().unwrap_or_else(|| "sub".to_owned());
        let prefix = match self.oidc_username_prefix.as_deref() {
            Some("-") => String::new(),
            Some(prefix) => prefix.to_owned(),
            // Names of other issuers must not be taken for ours; addresses are unique.
            None if claim == "email" => String::new(),
            None => format!("{url}#"),
        };
        let mut rules = Vec::new();
        for required in &self.oidc_required_claim {
            let Some((claim, value)) = required.split_once('=') else {
                bail!("--oidc-required-claim {required:?} is not NAME=VALUE");
            };
            rules.push(ClaimValidationRule {
                claim: claim.to_owned(),
                required_value: value.to_owned(),
                ..ClaimValidationRule::default()
            });
        }
        let groups = self.oidc_groups_claim.as_ref().map(|claim| PrefixedClaim {
            claim: claim.clone(),
            prefix: Some(self.oidc_groups_prefix.clone().unwrap_or_default()),
            ..PrefixedClaim::default()
        });
        Ok(JwtConfiguration {
            issuer: Issuer {
                url: url.clone(),
                audiences: vec![client.clone()],
                certificate_authority: self
                    .oidc_ca_file
                    .as_deref()
                    .map(read)
                    .transpose()?
                    .unwrap_or_default(),
                ..Issuer::default()
            },
            claim_validation_rules: rules,
            claim_mappings: ClaimMappings {
                username: PrefixedClaim { claim, prefix: Some(prefix), ..PrefixedClaim::default() },
                groups: groups.unwrap_or_default(),
                ..ClaimMappings::default()
            },
            signing_algorithms: match self.oidc_signing_algs.as_slice() {
                [] => vec!["RS256".to_owned()],
                some => some.to_vec(),
            },
            ..JwtConfiguration::default()
        })
    }

    fn apply_authorization(&self, config: &mut Config) -> Result<()> {
        if let Some(path) = &self.authorization_config {
            if !self.authorization_mode.is_empty() || self.authorization_webhook_config_file.is_some() {
                bail!("--authorization-config and --authorization-mode exclude each other");
            }
            config.authorization = AuthorizationOptions::File(path.clone());
            return Ok(());
        }
        if self.authorization_mode.is_empty() {
            if self.authorization_webhook_config_file.is_some() {
                bail!("--authorization-webhook-config-file needs --authorization-mode with Webhook in it");
            }
            if self.authorization_policy_file.is_some() {
                bail!("--authorization-policy-file needs --authorization-mode with ABAC in it");
            }
            return Ok(());
        }
        let abac = self.authorization_mode.iter().any(|mode| mode == "ABAC");
        if abac != self.authorization_policy_file.is_some() {
            bail!("--authorization-mode ABAC and --authorization-policy-file need each other");
        }
        let webhook = match &self.authorization_webhook_config_file {
            None if self.authorization_mode.iter().any(|mode| mode == "Webhook") => {
                bail!("--authorization-mode Webhook needs --authorization-webhook-config-file")
            }
            None => None,
            Some(path) => Some(self.authorization_webhook(std::path::absolute(path)?)),
        };
        let mut modes = AuthorizationConfiguration::from_modes(&self.authorization_mode, webhook);
        modes.abac_policy = self.authorization_policy_file.as_ref().map(std::path::absolute).transpose()?;
        config.authorization = AuthorizationOptions::Given(modes);
        Ok(())
    }

    fn authorization_webhook(&self, kubeconfig: PathBuf) -> WebhookConfiguration {
        let ttl = |given: Option<GoDuration>, default| Some(given.unwrap_or(GoDuration(default)));
        let version = self.authorization_webhook_version.as_deref().unwrap_or(WEBHOOK_VERSION);
        WebhookConfiguration {
            authorized_ttl: ttl(self.authorization_webhook_cache_authorized_ttl, AUTHORIZED_TTL),
            unauthorized_ttl: ttl(self.authorization_webhook_cache_unauthorized_ttl, UNAUTHORIZED_TTL),
            timeout: Some(GoDuration(WEBHOOK_TIMEOUT)),
            subject_access_review_version: version.to_owned(),
            failure_policy: "NoOpinion".to_owned(),
            connection_info: ConnectionInfo {
                kind: "KubeConfigFile".to_owned(),
                kube_config_file: Some(kubeconfig),
            },
            ..WebhookConfiguration::default()
        }
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(read(path)?.as_bytes()).collect();
    let found = found.with_context(|| format!("{} holds no certificates", path.display()))?;
    if found.is_empty() {
        bail!("{} holds no certificates", path.display());
    }
    Ok(found)
}

#[cfg(test)]
#[path = "api_server_tests.rs"]
mod tests;
