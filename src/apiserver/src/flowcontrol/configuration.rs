//! FlowSchemas and PriorityLevelConfigurations as they are stored, and compiled for use.

use super::allocation::{Seats, Shares, divide};
use super::level::Level;
use super::queue_set::Queuing;
use super::rules::Rule;
use super::statistics::{AllStatistics, Statistics};
use crate::authentication::UserInfo;
use crate::endpoints::RequestInfo;
use http::HeaderValue;
use k8s_openapi::api::flowcontrol::v1::{
    FlowSchema, FlowSchemaSpec, PriorityLevelConfiguration, PriorityLevelConfigurationSpec,
};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// The level and schema that are there even when somebody removed the objects.
pub(super) const EXEMPT: &str = "exempt";
/// Likewise.
pub(super) const CATCH_ALL: &str = "catch-all";
/// Shares of a level that does not say.
const DEFAULT_SHARES: u32 = 30;
/// Precedence of a schema that does not say.
const DEFAULT_PRECEDENCE: i32 = 1000;
/// Upstream's defaults of `queuing`.
const DEFAULT_QUEUING: Queuing = Queuing { queues: 64, hand_size: 8, length_limit: 50 };

/// The objects.
#[derive(Default)]
pub(super) struct Objects {
    pub(super) schemas: BTreeMap<String, FlowSchema>,
    pub(super) levels: BTreeMap<String, PriorityLevelConfiguration>,
}

/// What requests go by. Replaced as a whole when an object changes.
#[derive(Default)]
pub(super) struct Configuration {
    /// In the order in which they are tried.
    pub(super) schemas: Vec<Arc<Schema>>,
    /// By name.
    pub(super) levels: BTreeMap<String, Arc<Level>>,
}

/// How flows of a schema are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Distinguisher {
    None,
    ByUser,
    ByNamespace,
}

/// A FlowSchema whose level exists.
pub(super) struct Schema {
    pub(super) name: String,
    pub(super) uid: HeaderValue,
    precedence: i32,
    distinguisher: Distinguisher,
    rules: Vec<Rule>,
    pub(super) level: Arc<Level>,
    pub(super) statistics: Arc<Statistics>,
}

impl Configuration {
    /// Compiles objects; levels that exist stay with what waits in them.
    pub(super) fn new(objects: &Objects, before: &Self, total: u32, all: &AllStatistics) -> Self {
        let mut specs: Vec<(&str, String, PriorityLevelConfigurationSpec)> = objects
            .levels
            .iter()
            .filter_map(|(name, object)| {
                let uid = object.metadata.uid.clone().unwrap_or_default();
                Some((name.as_str(), uid, object.spec.clone()?))
            })
            .collect();
        for (name, spec) in [(EXEMPT, imagined_exempt()), (CATCH_ALL, imagined_catch_all())] {
            if !specs.iter().any(|(other, ..)| *other == name) {
                specs.push((name, String::new(), spec));
            }
        }
        let shares: Vec<Shares> = specs.iter().map(|(_, _, spec)| shares(spec)).collect();
        let levels: BTreeMap<String, Arc<Level>> = specs
            .iter()
            .zip(divide(total, &shares))
            .map(|((name, uid, spec), seats)| {
                let level = match before.levels.get(*name) {
                    Some(level) => Arc::clone(level),
                    None => Arc::new(Level::new(name)),
                };
                configure(&level, uid, spec, seats);
                ((*name).to_owned(), level)
            })
            .collect();
        let mut schemas: Vec<Arc<Schema>> =
            objects.schemas.iter().filter_map(|(name, object)| schema(name, object, &levels, all)).collect();
        for (name, everybody) in [(EXEMPT, "system:masters"), (CATCH_ALL, "*")] {
            if !schemas.iter().any(|schema| schema.name == name) {
                let object = imagined_schema(name, everybody);
                schemas.extend(schema(name, &object, &levels, all));
            }
        }
        schemas.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        Self { schemas, levels }
    }

    /// The schema of a request: the first that matches. There is one for every request, unless somebody has
    /// taken all subjects out of `catch-all`; then it is that one nevertheless.
    pub(super) fn classify(&self, user: &UserInfo, info: &RequestInfo) -> Option<&Arc<Schema>> {
        let first =
            self.schemas.iter().find(|schema| schema.rules.iter().any(|rule| rule.matches(user, info)));
        first.or_else(|| self.schemas.iter().find(|schema| schema.name == CATCH_ALL))
    }
}

impl Schema {
    /// What tells a request's flow from others of the schema.
    pub(super) fn distinguisher<'a>(&self, user: &'a UserInfo, info: &'a RequestInfo) -> &'a str {
        match self.distinguisher {
            Distinguisher::None => "",
            Distinguisher::ByUser => &user.name,
            Distinguisher::ByNamespace => &info.namespace,
        }
    }

    /// The hash of a flow.
    pub(super) fn hash(&self, distinguisher: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.name, distinguisher).hash(&mut hasher);
        hasher.finish()
    }
}

fn schema(
    name: &str,
    object: &FlowSchema,
    levels: &BTreeMap<String, Arc<Level>>,
    all: &AllStatistics,
) -> Option<Arc<Schema>> {
    let FlowSchemaSpec { distinguisher_method, matching_precedence, priority_level_configuration, rules } =
        object.spec.clone()?;
    let level = levels.get(&priority_level_configuration.name)?;
    Some(Arc::new(Schema {
        name: name.to_owned(),
        uid: header(object.metadata.uid.as_deref().unwrap_or("")),
        precedence: matching_precedence.unwrap_or(DEFAULT_PRECEDENCE),
        distinguisher: match distinguisher_method.as_ref().map(|method| method.type_.as_str()) {
            Some("ByUser") => Distinguisher::ByUser,
            Some("ByNamespace") => Distinguisher::ByNamespace,
            _ => Distinguisher::None,
        },
        rules: rules.unwrap_or_default().into_iter().map(Rule::new).collect(),
        level: Arc::clone(level),
        statistics: all.of(&level.name, name),
    }))
}

/// A uid as the value of a header.
pub(super) fn header(uid: &str) -> HeaderValue {
    HeaderValue::try_from(uid.to_owned()).unwrap_or(HeaderValue::from_static(""))
}

fn number(given: Option<i32>, default: u32) -> u32 {
    given.and_then(|number| u32::try_from(number).ok()).unwrap_or(default)
}

fn shares(spec: &PriorityLevelConfigurationSpec) -> Shares {
    match (&spec.limited, &spec.exempt) {
        (Some(limited), _) => Shares {
            nominal: number(limited.nominal_concurrency_shares, DEFAULT_SHARES),
            lendable_percent: number(limited.lendable_percent, 0),
            borrowing_limit_percent: limited.borrowing_limit_percent.and_then(|p| u32::try_from(p).ok()),
        },
        (None, Some(exempt)) => Shares {
            nominal: number(exempt.nominal_concurrency_shares, 0),
            lendable_percent: number(exempt.lendable_percent, 0),
            borrowing_limit_percent: None,
        },
        (None, None) => Shares::default(),
    }
}

fn configure(level: &Level, uid: &str, spec: &PriorityLevelConfigurationSpec, seats: Seats) {
    let limited = spec.limited.as_ref().filter(|_| spec.type_ == "Limited");
    let Some(limited) = limited else { return level.exempt(header(uid), seats) };
    let response = limited.limit_response.as_ref();
    let queuing = response.filter(|response| response.type_ == "Queue").map(|response| {
        let queuing = response.queuing.clone().unwrap_or_default();
        Queuing {
            queues: number(queuing.queues, DEFAULT_QUEUING.queues),
            hand_size: number(queuing.hand_size, DEFAULT_QUEUING.hand_size),
            length_limit: number(queuing.queue_length_limit, DEFAULT_QUEUING.length_limit),
        }
    });
    level.limited(header(uid), seats, queuing);
}

fn imagined_exempt() -> PriorityLevelConfigurationSpec {
    PriorityLevelConfigurationSpec {
        exempt: Some(k8s_openapi::api::flowcontrol::v1::ExemptPriorityLevelConfiguration {
            nominal_concurrency_shares: Some(0),
            lendable_percent: Some(0),
        }),
        limited: None,
        type_: "Exempt".to_owned(),
    }
}

fn imagined_catch_all() -> PriorityLevelConfigurationSpec {
    let limited = k8s_openapi::api::flowcontrol::v1::LimitedPriorityLevelConfiguration {
        nominal_concurrency_shares: Some(5),
        lendable_percent: Some(0),
        ..Default::default()
    };
    PriorityLevelConfigurationSpec { exempt: None, limited: Some(limited), type_: "Limited".to_owned() }
}

fn imagined_schema(name: &str, group: &str) -> FlowSchema {
    use k8s_openapi::api::flowcontrol::v1::{
        GroupSubject, NonResourcePolicyRule, PolicyRulesWithSubjects, PriorityLevelConfigurationReference,
        ResourcePolicyRule, Subject,
    };
    let all = || vec!["*".to_owned()];
    let group = GroupSubject { name: group.to_owned() };
    FlowSchema {
        spec: Some(FlowSchemaSpec {
            matching_precedence: Some(if name == EXEMPT { 1 } else { 10_000 }),
            priority_level_configuration: PriorityLevelConfigurationReference { name: name.to_owned() },
            rules: Some(vec![PolicyRulesWithSubjects {
                subjects: vec![Subject {
                    kind: "Group".to_owned(),
                    group: Some(group),
                    ..Subject::default()
                }],
                resource_rules: Some(vec![ResourcePolicyRule {
                    verbs: all(),
                    api_groups: all(),
                    resources: all(),
                    cluster_scope: Some(true),
                    namespaces: Some(all()),
                }]),
                non_resource_rules: Some(vec![NonResourcePolicyRule {
                    verbs: all(),
                    non_resource_urls: all(),
                }]),
            }]),
            ..FlowSchemaSpec::default()
        }),
        ..FlowSchema::default()
    }
}
