//! Acting as somebody else: the `Impersonate-*` headers.

use std::collections::BTreeMap;

use apimachinery::status::{Result, Status};
use http::{HeaderMap, HeaderName};

use super::request_header::extra_key;
use super::user_info::{
    ANONYMOUS, GROUP_AUTHENTICATED, GROUP_SERVICE_ACCOUNTS, GROUP_UNAUTHENTICATED,
    SERVICE_ACCOUNT_USER_PREFIX, UserInfo,
};
use crate::authorization::{Attributes, Authorizer, Decision, forbidden};

const USER: HeaderName = HeaderName::from_static("impersonate-user");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");
const UID: HeaderName = HeaderName::from_static("impersonate-uid");
const EXTRA_PREFIX: &str = "Impersonate-Extra-";

/// The group of the virtual resources `uids` and `userextras`.
const AUTHENTICATION_GROUP: &str = "authentication.k8s.io";

/// The user to act as, when the headers ask for one and the caller may `impersonate` each part of it.
///
/// # Errors
/// 403 when the caller may not; 500 (as upstream) when groups, uid or extra come without a user.
pub(super) async fn impersonated(
    headers: &HeaderMap,
    caller: &UserInfo,
    authorizer: &dyn Authorizer,
) -> Result<Option<UserInfo>> {
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
    if name.is_empty() {
        if groups.is_empty() && uid.is_empty() && extra.is_empty() {
            return Ok(None);
        }
        return Err(Status::internal("requested groups, uid or extra without impersonating a user"));
    }
    let mut user = UserInfo { name: name.to_owned(), uid: uid.to_owned(), groups, extra };
    authorize(&user, caller, authorizer).await?;
    if let Some((namespace, _)) = user.service_account_name()
        && user.groups.is_empty()
    {
        let of_namespace = format!("{GROUP_SERVICE_ACCOUNTS}:{namespace}");
        user.groups = vec![GROUP_SERVICE_ACCOUNTS.into(), of_namespace];
    }
    let known = user.in_group(GROUP_AUTHENTICATED) || user.in_group(GROUP_UNAUTHENTICATED);
    if name == ANONYMOUS {
        if !user.in_group(GROUP_UNAUTHENTICATED) {
            user.groups.push(GROUP_UNAUTHENTICATED.into());
        }
    } else if !known {
        user.groups.push(GROUP_AUTHENTICATED.into());
    }
    Ok(Some(user))
}

async fn authorize(user: &UserInfo, caller: &UserInfo, authorizer: &dyn Authorizer) -> Result<()> {
    let base = Attributes {
        verb: "impersonate",
        api_version: "v1",
        resource_request: true,
        ..Attributes::non_resource(caller, "", "")
    };
    let mut asked = Vec::new();
    // A name that only looks like a service account's is judged as a user's.
    if user.name.starts_with(SERVICE_ACCOUNT_USER_PREFIX)
        && let Some((namespace, name)) = user.service_account_name()
    {
        asked.push(Attributes { resource: "serviceaccounts", namespace, name, ..base });
    } else {
        asked.push(Attributes { resource: "users", name: &user.name, ..base });
    }
    asked.extend(user.groups.iter().map(|group| Attributes { resource: "groups", name: group, ..base }));
    let in_group = Attributes { api_group: AUTHENTICATION_GROUP, ..base };
    for (key, values) in &user.extra {
        asked.extend(values.iter().map(|value| Attributes {
            resource: "userextras",
            subresource: key,
            name: value,
            ..in_group
        }));
    }
    if !user.uid.is_empty() {
        asked.push(Attributes { resource: "uids", name: &user.uid, ..in_group });
    }
    for attributes in &asked {
        match authorizer.authorize(attributes).await {
            Decision::Allow(_) => {}
            Decision::Deny(reason) | Decision::NoOpinion(reason) => {
                return Err(forbidden(attributes, &reason));
            }
        }
    }
    Ok(())
}
