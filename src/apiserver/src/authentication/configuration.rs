//! `AuthenticationConfiguration` (`apiserver.config.k8s.io`): issuers of tokens, and what anonymous requests may ask
//! for.

use std::path::Path as FilePath;

use serde::Deserialize;

use crate::settings_file::{self, ConfigurationError};

/// Kind of the object in the file.
pub(super) const KIND: &str = "AuthenticationConfiguration";

/// Issuers and anonymous requests.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthenticationConfiguration {
    /// Issuers of tokens.
    #[serde(default)]
    pub jwt: Vec<JwtConfiguration>,
    /// What requests without credentials may ask for; as the flag says when absent.
    pub anonymous: Option<AnonymousConfiguration>,
}

/// Requests without credentials.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnonymousConfiguration {
    /// Whether there are any.
    pub enabled: bool,
    /// For which paths; all when empty.
    #[serde(default)]
    pub conditions: Vec<AnonymousCondition>,
}

/// A path that may be asked for without credentials.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnonymousCondition {
    /// The path.
    pub path: String,
}

/// One issuer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct JwtConfiguration {
    /// Who issues.
    pub issuer: Issuer,
    /// What claims have to be.
    pub claim_validation_rules: Vec<ClaimValidationRule>,
    /// What claims become.
    pub claim_mappings: ClaimMappings,
    /// What the user has to be.
    pub user_validation_rules: Vec<UserValidationRule>,
    /// Algorithms of signatures; all that are known when empty. Only flags can say it.
    #[serde(skip)]
    pub signing_algorithms: Vec<String>,
}

/// Who issues tokens.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Issuer {
    /// The `iss` claim; the discovery document is below it.
    pub url: String,
    /// Where the discovery document is, if elsewhere.
    #[serde(rename = "discoveryURL")]
    pub discovery_url: String,
    /// Authorities of the server (PEM); those of the system when empty.
    pub certificate_authority: String,
    /// A token must be for one of these.
    pub audiences: Vec<String>,
    /// `MatchAny` where there are several.
    pub audience_match_policy: String,
    /// Not supported.
    pub egress_selector_type: String,
}

/// What a claim has to be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClaimValidationRule {
    /// A claim.
    pub claim: String,
    /// Its value.
    pub required_value: String,
    /// Or an expression over `claims`.
    pub expression: String,
    /// What is said when it is false.
    pub message: String,
}

/// What claims become.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClaimMappings {
    /// The user's name.
    pub username: PrefixedClaim,
    /// Its groups.
    pub groups: PrefixedClaim,
    /// Its uid.
    pub uid: Claim,
    /// What else.
    pub extra: Vec<ExtraMapping>,
}

/// A claim with a prefix, or an expression.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PrefixedClaim {
    /// The claim.
    pub claim: String,
    /// What is put before its value.
    pub prefix: Option<String>,
    /// An expression over `claims`.
    pub expression: String,
}

/// A claim, or an expression.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Claim {
    /// The claim.
    pub claim: String,
    /// An expression over `claims`.
    pub expression: String,
}

/// An extra value of the user.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExtraMapping {
    /// Its key.
    pub key: String,
    /// An expression over `claims`.
    pub value_expression: String,
}

/// What the user has to be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UserValidationRule {
    /// An expression over `user`.
    pub expression: String,
    /// What is said when it is false.
    pub message: String,
}

impl AuthenticationConfiguration {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or is no AuthenticationConfiguration.
    pub fn load(path: &FilePath) -> Result<Self, ConfigurationError> {
        settings_file::load(path, KIND)
    }
}
