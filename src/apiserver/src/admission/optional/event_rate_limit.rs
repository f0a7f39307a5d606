//! EventRateLimit: so many Events a second, of all, of a namespace, of a user, or of one source about one object.

use crate::admission::chain::{Operation, Plugin, Request, Validation};
use crate::admission::support::text;
use crate::settings_file::{self, ConfigurationError};
use apimachinery::status::Status;
use async_trait::async_trait;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::Instant;

/// Keys that are remembered of a limit (upstream's default).
const DEFAULT_CACHE_SIZE: usize = 4096;

/// `Configuration` of `eventratelimit.admission.k8s.io`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::admission) struct RateLimits {
    #[serde(default)]
    limits: Vec<Limit>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Limit {
    #[serde(rename = "type")]
    kind: Kind,
    qps: u32,
    burst: u32,
    #[serde(default)]
    cache_size: usize,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
enum Kind {
    Server,
    Namespace,
    User,
    SourceAndObject,
}

impl RateLimits {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When the text holds something else.
    pub(in crate::admission) fn parse(text: &str) -> Result<Self, ConfigurationError> {
        let read: Self = settings_file::parse_of("eventratelimit.admission.k8s.io", text, "Configuration")?;
        if read.limits.iter().any(|limit| limit.qps == 0 || limit.burst == 0) {
            return Err(ConfigurationError::Parse("limits: qps and burst must be positive".to_owned()));
        }
        Ok(read)
    }
}

/// See the module.
pub(in crate::admission) struct EventRateLimit {
    limits: Vec<(Limit, Mutex<HashMap<String, Bucket>>)>,
}

/// Tokens that are left, as of when.
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl EventRateLimit {
    pub(in crate::admission) fn new(limits: &Arc<RateLimits>) -> Self {
        Self { limits: limits.limits.iter().map(|limit| (limit.clone(), Mutex::default())).collect() }
    }
}

impl Limit {
    fn key(&self, request: &Request<'_>, event: &Value) -> String {
        match self.kind {
            Kind::Server => String::new(),
            Kind::Namespace => request.namespace.to_owned(),
            Kind::User => request.user.name.clone(),
            Kind::SourceAndObject => {
                let parts = [
                    "/source/component",
                    "/source/host",
                    "/involvedObject/kind",
                    "/involvedObject/namespace",
                    "/involvedObject/name",
                    "/involvedObject/uid",
                    "/involvedObject/apiVersion",
                ];
                parts.map(|part| text(event, part)).concat()
            }
        }
    }

    fn takes(&self, buckets: &mut HashMap<String, Bucket>, key: String, now: Instant) -> bool {
        let (rate, burst) = (f64::from(self.qps), f64::from(self.burst));
        let full = |bucket: &Bucket| {
            bucket.tokens + now.saturating_duration_since(bucket.at).as_secs_f64() * rate >= burst
        };
        let most = if self.cache_size == 0 { DEFAULT_CACHE_SIZE } else { self.cache_size };
        if buckets.len() >= most && !buckets.contains_key(&key) {
            // Those that are full again say nothing; if all say something, memory counts more.
            buckets.retain(|_, bucket| !full(bucket));
            if buckets.len() >= most {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(key).or_insert(Bucket { tokens: burst, at: now });
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.tokens, bucket.at) = ((bucket.tokens + passed * rate).min(burst), now);
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

impl Plugin for EventRateLimit {
    fn name(&self) -> &'static str {
        "EventRateLimit"
    }

    fn validation(&self) -> Option<&dyn Validation> {
        Some(self)
    }
}

#[async_trait]
impl Validation for EventRateLimit {
    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        if !writes || request.dry_run || !request.is("", "events") {
            return Ok(());
        }
        let mut reached = Vec::new();
        for (limit, buckets) in &self.limits {
            let key = limit.key(request, object);
            if !limit.takes(&mut buckets.lock(), key.clone(), Instant::now()) {
                reached.push(format!("limit reached on type {:?} for key {key}", limit.kind));
            }
        }
        match reached.as_slice() {
            [] => Ok(()),
            [one] => Err(Status::too_many_requests(one.clone(), 0)),
            many => Err(Status::too_many_requests(format!("[{}]", many.join(", ")), 0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::testing::Scene;
    use apimachinery::gvk::Gvr;
    use serde_json::json;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn beyond_a_burst_events_come_at_a_rate() {
        let configuration = json!({"apiVersion": "eventratelimit.admission.k8s.io/v1alpha1", "kind": "Configuration",
            "limits": [{"type": "Namespace", "qps": 1, "burst": 2, "cacheSize": 2}]});
        let plugin = EventRateLimit::new(&Arc::new(RateLimits::parse(&configuration.to_string()).unwrap()));
        let events = Gvr::new("", "v1", "events");
        let write = async |namespace: &str| {
            let scene = Scene::new(Operation::Create, namespace, "e");
            let request = Request { resource: &events, ..scene.request() };
            plugin.validate(&request, &json!({})).await.map_err(|status| (status.code, status.message))
        };
        assert_eq!((write("a").await, write("a").await), (Ok(()), Ok(())));
        let (code, message) = write("a").await.unwrap_err();
        assert_eq!((code, message.contains("limit reached on type Namespace for key a")), (429, true));
        assert_eq!(write("b").await, Ok(()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((write("a").await, write("a").await.is_ok()), (Ok(()), false));
        // More namespaces than are remembered.
        assert_eq!((write("c").await, write("d").await), (Ok(()), Ok(())));
        assert!(plugin.limits[0].1.lock().len() <= 2);
        let none = json!({"apiVersion": "eventratelimit.admission.k8s.io/v1alpha1", "kind": "Configuration",
            "limits": [{"type": "Server", "qps": 0, "burst": 1}]});
        assert!(RateLimits::parse(&none.to_string()).is_err());
    }
}
