//! Checks an AuthenticationConfiguration, in upstream's words, and makes of it what tokens are judged by.

use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::validation;
use bytes::Bytes;
use http::Uri;

use super::configuration::{
    AuthenticationConfiguration, ClaimMappings, ClaimValidationRule, Issuer, JwtConfiguration, PrefixedClaim,
    UserValidationRule,
};
use super::expressions::{About, Expression, Output};
use super::jwk::ALGORITHMS;
use super::jwt_issuer::{Mapping, Rule, Rules};
use crate::outbound::Trust;
use crate::settings_file::ConfigurationError;

/// As many issuers as upstream allows.
const MOST: usize = 64;

impl AuthenticationConfiguration {
    /// The rules of each issuer.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub(super) fn check(&self, own_issuers: &[String]) -> Result<Vec<Rules>, ConfigurationError> {
        let mut errors = ErrorList::new();
        let root = Path::new("jwt");
        if self.jwt.len() > MOST {
            errors.push(FieldError::too_many(&root, self.jwt.len(), MOST));
            return Err(ConfigurationError::Invalid(errors));
        }
        let mut all = Vec::new();
        for (index, jwt) in self.jwt.iter().enumerate() {
            let at = root.index(index);
            all.extend(check(jwt, own_issuers, &at, &mut errors));
            let earlier = self.jwt.get(..index).unwrap_or_default();
            let (issuer, at) = (&jwt.issuer, at.child("issuer"));
            if earlier.iter().any(|other| other.issuer.url == issuer.url) {
                errors.push(FieldError::duplicate(&at.child("url"), issuer.url.as_str()));
            }
            let discovery = issuer.discovery_url.as_str();
            if !discovery.is_empty() && earlier.iter().any(|other| other.issuer.discovery_url == discovery) {
                errors.push(FieldError::duplicate(&at.child("discoveryURL"), discovery));
            }
        }
        if let Some(anonymous) = &self.anonymous
            && !anonymous.enabled
            && !anonymous.conditions.is_empty()
        {
            let paths: Vec<&str> = anonymous.conditions.iter().map(|c| c.path.as_str()).collect();
            let detail = "enabled should be set to true when conditions are defined";
            errors.push(FieldError::invalid(&Path::new("anonymous").child("conditions"), paths, detail));
        }
        if errors.is_empty() { Ok(all) } else { Err(ConfigurationError::Invalid(errors)) }
    }
}

fn check(jwt: &JwtConfiguration, own: &[String], at: &Path, errors: &mut ErrorList) -> Option<Rules> {
    let before = errors.len();
    check_issuer(&jwt.issuer, own, &at.child("issuer"), errors);
    let validation = check_claims(&jwt.claim_validation_rules, &at.child("claimValidationRules"), errors);
    let mappings = &jwt.claim_mappings;
    let mappings_at = at.child("claimMappings");
    let username = check_mapping(&mappings.username, Output::Text, &mappings_at.child("username"), errors);
    let groups = check_mapping(&mappings.groups, Output::Texts, &mappings_at.child("groups"), errors);
    let uid_at = mappings_at.child("uid");
    let uid = match (mappings.uid.claim.as_str(), mappings.uid.expression.as_str()) {
        ("", "") => None,
        (claim, "") => Some(Mapping::Claim { claim: claim.to_owned(), prefix: String::new() }),
        ("", text) => {
            compile(text, Output::Text, &uid_at.child("expression"), errors).map(Mapping::Expression)
        }
        _ => {
            errors.push(FieldError::invalid(&uid_at, "", "claim and expression can't both be set"));
            None
        }
    };
    let extra = check_extra(mappings, &mappings_at.child("extra"), errors);
    check_email(username.as_ref(), &validation, &extra, mappings, &mappings_at, errors);
    let users = check_users(&jwt.user_validation_rules, &at.child("userValidationRules"), errors);
    if errors.len() > before {
        return None;
    }
    let issuer = &jwt.issuer;
    let algorithms = match jwt.signing_algorithms.as_slice() {
        [] => ALGORITHMS.map(str::to_owned).into(),
        some => some.to_vec(),
    };
    Some(Rules {
        issuer: issuer.url.clone(),
        discovery: match issuer.discovery_url.as_str() {
            "" => format!("{}/.well-known/openid-configuration", issuer.url.trim_end_matches('/')),
            url => url.to_owned(),
        },
        trust: match issuer.certificate_authority.as_str() {
            "" => Trust::System,
            pem => Trust::Bundle(Bytes::from(pem.to_owned())),
        },
        audiences: issuer.audiences.clone(),
        algorithms,
        validation,
        username: username?,
        groups,
        uid,
        extra,
        users,
    })
}

fn check_issuer(issuer: &Issuer, own: &[String], at: &Path, errors: &mut ErrorList) {
    let url_at = at.child("url");
    if issuer.url.is_empty() {
        errors.push(FieldError::required(&url_at, ""));
    } else {
        if own.contains(&issuer.url) {
            let detail = format!("URL must not overlap with disallowed issuers: [{}]", own.join(" "));
            errors.push(FieldError::invalid(&url_at, issuer.url.as_str(), detail));
        }
        check_url(&issuer.url, &url_at, errors);
    }
    if !issuer.discovery_url.is_empty() {
        let at = at.child("discoveryURL");
        if issuer.url.trim_end_matches('/') == issuer.discovery_url.trim_end_matches('/') {
            let detail = "discoveryURL must be different from URL";
            errors.push(FieldError::invalid(&at, issuer.discovery_url.as_str(), detail));
        }
        check_url(&issuer.discovery_url, &at, errors);
    }
    let audiences_at = at.child("audiences");
    if issuer.audiences.is_empty() {
        let detail = format!("at least one {} is required", audiences_at.as_str());
        errors.push(FieldError::required(&audiences_at, detail));
    }
    for (index, audience) in issuer.audiences.iter().enumerate() {
        let at = audiences_at.index(index);
        if audience.is_empty() {
            errors.push(FieldError::required(&at, ""));
        }
        if issuer.audiences.iter().take(index).any(|earlier| earlier == audience) {
            errors.push(FieldError::duplicate(&at, audience.as_str()));
        }
    }
    let policy = issuer.audience_match_policy.as_str();
    let policy_at = at.child("audienceMatchPolicy");
    if issuer.audiences.len() > 1 && policy != "MatchAny" {
        let detail = "audienceMatchPolicy must be MatchAny for multiple audiences";
        errors.push(FieldError::invalid(&policy_at, policy, detail));
    } else if issuer.audiences.len() == 1 && !matches!(policy, "" | "MatchAny") {
        let detail = "audienceMatchPolicy must be empty or MatchAny for single audience";
        errors.push(FieldError::invalid(&policy_at, policy, detail));
    }
    if !issuer.certificate_authority.is_empty() && !holds_certificate(&issuer.certificate_authority) {
        let detail = "data does not contain any valid RSA or ECDSA certificates";
        errors.push(FieldError::invalid(&at.child("certificateAuthority"), "<omitted>", detail));
    }
    if !issuer.egress_selector_type.is_empty() {
        let detail = "egress selectors are not supported";
        errors.push(FieldError::forbidden(&at.child("egressSelectorType"), detail));
    }
}

fn holds_certificate(pem: &str) -> bool {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    let mut found = CertificateDer::pem_slice_iter(pem.as_bytes());
    matches!(found.next(), Some(Ok(_)))
}

fn check_url(url: &str, at: &Path, errors: &mut ErrorList) {
    let mut wrong = |detail: String| errors.push(FieldError::invalid(at, url, detail));
    let parsed: Uri = match url.split('#').next().unwrap_or(url).parse() {
        Ok(parsed) => parsed,
        Err(error) => return wrong(format!("parse {url:?}: {error}")),
    };
    if parsed.scheme_str() != Some("https") {
        wrong("URL scheme must be https".to_owned());
    }
    if parsed.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        wrong("URL must not contain a username or password".to_owned());
    }
    if parsed.query().is_some_and(|query| !query.is_empty()) {
        wrong("URL must not contain a query".to_owned());
    }
    if url.contains('#') {
        wrong("URL must not contain a fragment".to_owned());
    }
}

fn compile(text: &str, output: Output, at: &Path, errors: &mut ErrorList) -> Option<Expression> {
    keep(Expression::compile(text, About::Claims, output), text, at, errors)
}

fn keep(
    compiled: Result<Expression, String>,
    text: &str,
    at: &Path,
    errors: &mut ErrorList,
) -> Option<Expression> {
    match compiled {
        Ok(expression) => Some(expression),
        Err(why) => {
            errors.push(FieldError::invalid(at, text, why));
            None
        }
    }
}

fn check_claims(rules: &[ClaimValidationRule], at: &Path, errors: &mut ErrorList) -> Vec<Rule> {
    let mut checked = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let at = at.index(index);
        let earlier = rules.get(..index).unwrap_or_default();
        match (rule.claim.as_str(), rule.expression.as_str()) {
            ("", "") => errors.push(FieldError::required(&at, "claim or expression is required")),
            (claim, "") => {
                if !rule.message.is_empty() {
                    let detail = "may not be specified when claim is set";
                    errors.push(FieldError::invalid(&at.child("message"), rule.message.as_str(), detail));
                }
                if earlier.iter().any(|other| other.claim == claim) {
                    errors.push(FieldError::duplicate(&at.child("claim"), claim));
                }
                checked.push(Rule::Claim { claim: claim.to_owned(), value: rule.required_value.clone() });
            }
            ("", text) => {
                if !rule.required_value.is_empty() {
                    let detail = "may not be specified when expression is set";
                    let at = at.child("requiredValue");
                    errors.push(FieldError::invalid(&at, rule.required_value.as_str(), detail));
                }
                let at = at.child("expression");
                if earlier.iter().any(|other| other.expression == text) {
                    errors.push(FieldError::duplicate(&at, text));
                    continue;
                }
                let expression = compile(text, Output::Bool, &at, errors);
                let message = rule.message.clone();
                checked.extend(expression.map(|expression| Rule::Expression { expression, message }));
            }
            (claim, _) => {
                errors.push(FieldError::invalid(&at, claim, "claim and expression can't both be set"));
            }
        }
    }
    checked
}

fn check_mapping(
    mapping: &PrefixedClaim,
    output: Output,
    at: &Path,
    errors: &mut ErrorList,
) -> Option<Mapping> {
    match (mapping.claim.as_str(), mapping.expression.as_str()) {
        ("", "") => {
            // There is nobody without a name.
            if output == Output::Text {
                errors.push(FieldError::required(at, "claim or expression is required"));
            }
            None
        }
        ("", text) => {
            if let Some(prefix) = &mapping.prefix {
                let detail = "may not be specified when expression is set";
                errors.push(FieldError::invalid(&at.child("prefix"), prefix.as_str(), detail));
            }
            compile(text, output, &at.child("expression"), errors).map(Mapping::Expression)
        }
        (claim, "") => {
            if mapping.prefix.is_none() {
                let detail = "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
                errors.push(FieldError::required(&at.child("prefix"), detail));
            }
            let prefix = mapping.prefix.clone().unwrap_or_default();
            Some(Mapping::Claim { claim: claim.to_owned(), prefix })
        }
        _ => {
            errors.push(FieldError::invalid(at, "", "claim and expression can't both be set"));
            None
        }
    }
}

fn check_extra(mappings: &ClaimMappings, at: &Path, errors: &mut ErrorList) -> Vec<(String, Expression)> {
    let mut checked = Vec::new();
    for (index, mapping) in mappings.extra.iter().enumerate() {
        let at = at.index(index);
        let (key, key_at) = (mapping.key.as_str(), at.child("key"));
        let domain = key.split_once('/').filter(|(_, path)| !path.is_empty()).map(|(domain, _)| domain);
        match domain {
            _ if key.is_empty() => errors.push(FieldError::required(&key_at, "")),
            Some(domain) if validation::dns1123_subdomain(&domain.to_lowercase()).is_empty() => {
                let reserved = |suffix: &str| domain == suffix || domain.ends_with(&format!(".{suffix}"));
                if reserved("k8s.io") || reserved("kubernetes.io") {
                    let detail = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use";
                    errors.push(FieldError::invalid(&key_at, key, detail));
                }
            }
            _ => {
                let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
                errors.push(FieldError::invalid(&key_at, key, detail));
            }
        }
        if key != key.to_lowercase() {
            errors.push(FieldError::invalid(&key_at, key, "must be lowercase"));
        }
        if mappings.extra.iter().take(index).any(|earlier| earlier.key == key) {
            errors.push(FieldError::duplicate(&key_at, key));
            continue;
        }
        let at = at.child("valueExpression");
        if mapping.value_expression.is_empty() {
            errors.push(FieldError::required(&at, ""));
            continue;
        }
        let expression = compile(&mapping.value_expression, Output::Texts, &at, errors);
        checked.extend(expression.map(|expression| (key.to_owned(), expression)));
    }
    checked
}

/// Who is named by a mail address has to have it verified.
fn check_email(
    username: Option<&Mapping>,
    validation: &[Rule],
    extra: &[(String, Expression)],
    mappings: &ClaimMappings,
    at: &Path,
    errors: &mut ErrorList,
) {
    let Some(Mapping::Expression(username)) = username else { return };
    let verified = |expression: &Expression| expression.uses_claim("email_verified");
    let rules = validation.iter().any(|rule| match rule {
        Rule::Expression { expression, .. } => verified(expression),
        Rule::Claim { .. } => false,
    });
    if username.uses_claim("email")
        && !(verified(username) || rules || extra.iter().any(|(_, expression)| verified(expression)))
    {
        let detail = "claims.email_verified must be used in claimMappings.username.expression or \
            claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in \
            claimMappings.username.expression";
        let at = at.child("username").child("expression");
        errors.push(FieldError::invalid(&at, mappings.username.expression.as_str(), detail));
    }
}

fn check_users(rules: &[UserValidationRule], at: &Path, errors: &mut ErrorList) -> Vec<Rule> {
    let mut checked = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let at = at.index(index).child("expression");
        let text = rule.expression.as_str();
        if text.is_empty() {
            errors.push(FieldError::required(&at, ""));
        } else if rules.iter().take(index).any(|earlier| earlier.expression == text) {
            errors.push(FieldError::duplicate(&at, text));
        } else {
            let compiled = Expression::compile(text, About::User, Output::Bool);
            let message = rule.message.clone();
            let expression = keep(compiled, text, &at, errors);
            checked.extend(expression.map(|expression| Rule::Expression { expression, message }));
        }
    }
    checked
}

#[cfg(test)]
mod tests {
    use super::super::configuration::KIND;
    use super::*;
    use crate::settings_file;

    fn errors(yaml: &str) -> String {
        let head = format!("apiVersion: apiserver.config.k8s.io/v1\nkind: {KIND}\n");
        let parsed = settings_file::parse::<AuthenticationConfiguration>(&format!("{head}{yaml}"), KIND);
        match parsed.and_then(|parsed| parsed.check(&["https://own".to_owned()])) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    fn issuer(issuer: &str) -> String {
        format!("jwt: [{{issuer: {{{issuer}}}, claimMappings: {{username: {{claim: sub, prefix: ''}}}}}}]")
    }

    #[test]
    fn a_sound_configuration_passes() {
        assert_eq!(errors(&issuer("url: https://a.example, audiences: [x]")), "");
        assert_eq!(errors("anonymous: {enabled: true, conditions: [{path: /livez}]}"), "");
    }

    #[test]
    fn everything_wrong_is_told_at_its_place() {
        let good = "url: https://a.example, audiences: [x]";
        let mapped = |mappings: &str| {
            format!(
                "jwt: [{{issuer: {{{good}}}, claimMappings: {{username: {{claim: sub, prefix: ''}}, {mappings}}}}}]"
            )
        };
        for (yaml, told) in [
            (issuer("audiences: [x]"), "jwt[0].issuer.url: Required value"),
            (
                issuer("url: http://a, audiences: [x]"),
                "Invalid value: \"http://a\": URL scheme must be https",
            ),
            (issuer("url: https://u@a, audiences: [x]"), "URL must not contain a username or password"),
            (issuer("url: https://a?b=c, audiences: [x]"), "URL must not contain a query"),
            (
                issuer("url: https://own, audiences: [x]"),
                "must not overlap with disallowed issuers: [https://own]",
            ),
            (issuer("url: https://a"), "jwt[0].issuer.audiences: Required value"),
            (
                issuer("url: https://a, audiences: [x, z]"),
                "audienceMatchPolicy must be MatchAny for multiple",
            ),
            (
                issuer("url: https://a, audiences: [x, x], audienceMatchPolicy: MatchAny"),
                "Duplicate value: \"x\"",
            ),
            (
                issuer("url: https://a, discoveryURL: https://a/, audiences: [x]"),
                "must be different from URL",
            ),
            (
                issuer("url: https://a, audiences: [x], certificateAuthority: x"),
                "certificateAuthority: Invalid value",
            ),
            (format!("jwt: [{{issuer: {{{good}}}}}]"), "claimMappings.username: Required value"),
            (
                format!("jwt: [{{issuer: {{{good}}}, claimMappings: {{username: {{claim: sub}}}}}}]"),
                "claimMappings.username.prefix: Required value: prefix is required when claim is set",
            ),
            (
                mapped("extra: [{key: foo}]"),
                "extra[0].key: Invalid value: \"foo\": must be a domain-prefixed path",
            ),
            (mapped("extra: [{key: k8s.io/foo}]"), "are reserved for Kubernetes use"),
            (mapped("extra: [{key: a.io/Foo}]"), "must be lowercase"),
            (mapped("extra: [{key: a.io/foo}]"), "extra[0].valueExpression: Required value"),
            (
                mapped("uid: {expression: 'claims.'}"),
                "uid.expression: Invalid value: \"claims.\": compilation failed",
            ),
            (
                format!(
                    "jwt: [{{issuer: {{{good}}}, claimMappings: {{username: {{expression: claims.email}}}}}}]"
                ),
                "claims.email_verified must be used",
            ),
            (mapped("uid: {claim: a, expression: b}"), "claim and expression can't both be set"),
            (
                "anonymous: {enabled: false, conditions: [{path: /x}]}".to_owned(),
                "enabled should be set to true when conditions are defined",
            ),
            ("jwts: []".to_owned(), "unknown field"),
        ] {
            let found = errors(&yaml);
            assert!(found.contains(told), "{yaml}: {found}");
        }
    }
}
