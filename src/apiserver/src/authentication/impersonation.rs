//! Acting as somebody else: the `Impersonate-*` headers, constrained (KEP-5284) or not.
//!
//! A mode is a pair of permissions: to impersonate that user (`impersonate:MODE`), and to do what the request does
//! while impersonating (`impersonate-on:MODE:VERB`). The old permission (`impersonate`) comes last and allows
//! everything at once.

use std::collections::BTreeMap;

use apimachinery::status::{Result, Status};
use apimachinery::validation;
use http::{HeaderMap, HeaderName};

use super::request_header::extra_key;
use super::service_account::{EXTRA_NODE_NAME, EXTRA_POD_NAME};
use super::user_info::{
    ANONYMOUS, GROUP_AUTHENTICATED, GROUP_MASTERS, GROUP_NODES, GROUP_SERVICE_ACCOUNTS,
    GROUP_UNAUTHENTICATED, NODE_USER_PREFIX, UserInfo,
};
use crate::authorization::{Attributes, Authorizer, forbidden};
use crate::endpoints::RequestInfo;

const USER: HeaderName = HeaderName::from_static("impersonate-user");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");
const UID: HeaderName = HeaderName::from_static("impersonate-uid");
const EXTRA_PREFIX: &str = "Impersonate-Extra-";

/// The group of the virtual resources `uids` and `userextras`, and of all of them in constrained modes.
const AUTHENTICATION_GROUP: &str = "authentication.k8s.io";
/// What of the requester's extra authorizers see when the node it runs on is impersonated: the keys alone.
const EXTRA_NODE_KEYS: &str = "authentication.kubernetes.io/associated-node-keys";

/// Whom a request acts as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impersonated {
    /// The user.
    pub user: UserInfo,
    /// The permission by which, for the audit log; empty for the old one.
    pub constraint: &'static str,
}

/// What permissions are asked for, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    UserInfo,
    Legacy,
}

const MODES: [Mode; 5] =
    [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Legacy];

/// The user to act as, when the headers ask for one and the caller may.
///
/// # Errors
/// 403 when the caller may not; 500 (as upstream) when groups, uid or extra come without a user.
pub(super) async fn impersonated(
    headers: &HeaderMap,
    caller: &UserInfo,
    info: &RequestInfo,
    authorizer: &dyn Authorizer,
) -> Result<Option<Impersonated>> {
    let Some(wanted) = wanted(headers)? else { return Ok(None) };
    let mut first = None;
    for mode in MODES.into_iter().filter(|mode| mode.applies(&wanted, caller)) {
        match mode.allows(&wanted, caller, info, authorizer).await {
            Ok(()) => {
                let user = complete(wanted, mode);
                return Ok(Some(Impersonated { user, constraint: mode.constraint() }));
            }
            Err(refused) => first = first.or(Some(refused)),
        }
    }
    Err(first.unwrap_or_else(|| Status::internal("all impersonation modes failed")))
}

fn wanted(headers: &HeaderMap) -> Result<Option<UserInfo>> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let name = text(&USER);
    let uid = text(&UID);
    let groups: Vec<String> = headers
        .get_all(&GROUP)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .filter(|group| !group.is_empty())
        .map(str::to_owned)
        .collect();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (header, value) in headers {
        if let Some(key) = extra_key(header, EXTRA_PREFIX)
            && let Ok(value) = value.to_str()
        {
            extra.entry(key).or_default().push(value.to_owned());
        }
    }
    if !name.is_empty() {
        return Ok(Some(UserInfo { name: name.to_owned(), uid: uid.to_owned(), groups, extra }));
    }
    if groups.is_empty() && uid.is_empty() && extra.is_empty() {
        return Ok(None);
    }
    Err(Status::internal("requested groups, uid or extra without impersonating a user"))
}

/// With the groups that the user has by its name.
fn complete(mut user: UserInfo, mode: Mode) -> UserInfo {
    if user.groups.is_empty() {
        if let Some((namespace, _)) = user.service_account_name() {
            let of_namespace = format!("{GROUP_SERVICE_ACCOUNTS}:{namespace}");
            user.groups = vec![GROUP_SERVICE_ACCOUNTS.into(), of_namespace];
        } else if mode != Mode::Legacy && node(&user.name).is_some() {
            user.groups = vec![GROUP_NODES.into()];
        }
    }
    let known = user.in_group(GROUP_AUTHENTICATED) || user.in_group(GROUP_UNAUTHENTICATED);
    if user.name == ANONYMOUS {
        if !user.in_group(GROUP_UNAUTHENTICATED) {
            user.groups.push(GROUP_UNAUTHENTICATED.into());
        }
    } else if !known {
        user.groups.push(GROUP_AUTHENTICATED.into());
    }
    user
}

/// The node that a user name is of.
fn node(user: &str) -> Option<&str> {
    user.strip_prefix(NODE_USER_PREFIX).filter(|name| validation::dns1123_subdomain(name).is_empty())
}

/// Whether the caller is a pod on the node.
fn runs_on(caller: &UserInfo, node: &str) -> bool {
    let one = |key: &str| {
        caller.extra.get(key).and_then(|values| match values.as_slice() {
            [one] => Some(one.as_str()),
            _ => None,
        })
    };
    caller.service_account_name().is_some()
        && one(EXTRA_POD_NAME).is_some_and(|pod| !pod.is_empty())
        && one(EXTRA_NODE_NAME) == Some(node)
}

impl Mode {
    /// The verb by which a user of this mode is impersonated.
    fn verb(self) -> &'static str {
        match self {
            Self::AssociatedNode => "impersonate:associated-node",
            Self::ArbitraryNode => "impersonate:arbitrary-node",
            Self::ServiceAccount => "impersonate:serviceaccount",
            Self::UserInfo => "impersonate:user-info",
            Self::Legacy => "impersonate",
        }
    }

    fn constraint(self) -> &'static str {
        if self == Self::Legacy { "" } else { self.verb() }
    }

    fn applies(self, wanted: &UserInfo, caller: &UserInfo) -> bool {
        let name_only = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        let (node, account) = (node(&wanted.name), wanted.service_account_name());
        match self {
            Self::AssociatedNode => name_only && node.is_some_and(|node| runs_on(caller, node)),
            Self::ArbitraryNode => name_only && node.is_some(),
            Self::ServiceAccount => name_only && account.is_some(),
            Self::UserInfo => node.is_none() && account.is_none(),
            Self::Legacy => true,
        }
    }

    async fn allows(
        self,
        wanted: &UserInfo,
        caller: &UserInfo,
        info: &RequestInfo,
        authorizer: &dyn Authorizer,
    ) -> Result<()> {
        let masked;
        let caller = if self == Self::AssociatedNode {
            let keys: Vec<String> = caller.extra.keys().cloned().collect();
            masked = UserInfo { extra: [(EXTRA_NODE_KEYS.to_owned(), keys)].into(), ..caller.clone() };
            &masked
        } else {
            caller
        };
        if let Some(mode) = self.constraint().strip_prefix("impersonate:") {
            let verb = format!("impersonate-on:{mode}:{}", info.verb);
            ask(authorizer, &Attributes { verb: &verb, ..Attributes::of(caller, info) }).await?;
        }
        for attributes in self.identity(wanted, caller) {
            if self != Self::Legacy {
                check(&attributes)?;
            }
            ask(authorizer, &attributes).await?;
        }
        Ok(())
    }

    /// What the caller has to be allowed, for each part of the wanted user.
    fn identity<'a>(self, wanted: &'a UserInfo, caller: &'a UserInfo) -> Vec<Attributes<'a>> {
        let in_group = Attributes {
            verb: self.verb(),
            api_group: AUTHENTICATION_GROUP,
            api_version: "v1",
            resource_request: true,
            ..Attributes::non_resource(caller, "", "")
        };
        let base = if self == Self::Legacy { Attributes { api_group: "", ..in_group } } else { in_group };
        let mut asked = Vec::new();
        match (self, node(&wanted.name), wanted.service_account_name()) {
            // Whichever it is, it is the caller's own.
            (Self::AssociatedNode, ..) => asked.push(Attributes { resource: "nodes", name: "*", ..base }),
            (Self::ArbitraryNode, Some(name), _) => {
                asked.push(Attributes { resource: "nodes", name, ..base })
            }
            // A name that only looks like a service account's is judged as a user's.
            (_, _, Some((namespace, name))) => {
                asked.push(Attributes { resource: "serviceaccounts", namespace, name, ..base });
            }
            _ => asked.push(Attributes { resource: "users", name: &wanted.name, ..base }),
        }
        asked.extend(wanted.groups.iter().map(|group| Attributes {
            resource: "groups",
            name: group,
            ..base
        }));
        for (key, values) in &wanted.extra {
            asked.extend(values.iter().map(|value| Attributes {
                resource: "userextras",
                subresource: key,
                name: value,
                ..in_group
            }));
        }
        if !wanted.uid.is_empty() {
            asked.push(Attributes { resource: "uids", name: &wanted.uid, ..in_group });
        }
        asked
    }
}

/// What constrained modes never allow.
fn check(attributes: &Attributes<'_>) -> Result<()> {
    if attributes.resource == "groups" && attributes.name == GROUP_MASTERS {
        return Err(forbidden(attributes, "impersonating the system:masters group is not allowed"));
    }
    if attributes.resource == "userextras" {
        let key = attributes.subresource;
        let domain = key.split_once('/').filter(|(_, path)| !path.is_empty()).map(|(domain, _)| domain);
        if domain.is_none_or(|domain| !validation::dns1123_subdomain(domain).is_empty()) {
            let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            return Err(forbidden(attributes, &format!("impersonated extra key {key:?} {why}")));
        }
    }
    Ok(())
}

async fn ask(authorizer: &dyn Authorizer, attributes: &Attributes<'_>) -> Result<()> {
    let decision = authorizer.authorize(attributes).await;
    if decision.allowed() { Ok(()) } else { Err(forbidden(attributes, decision.reason())) }
}
