//! `/healthz`, `/livez`, `/readyz`: whether this server works, and which part does not.

use super::query::Query;
use super::response;
use crate::body::Body;
use http::Response;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Something that is done or fine at some time, and told to health checks.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    /// From now on it is fine, or not.
    pub fn set(&self, fine: bool) {
        self.0.store(fine, Ordering::Release);
    }

    /// Whether it is fine.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Health checks by name.
#[derive(Debug, Default)]
pub struct Health {
    gates: RwLock<BTreeMap<String, Gate>>,
    components: RwLock<BTreeMap<String, Gate>>,
    shutting_down: Gate,
}

/// A check that has been made.
pub(crate) struct Finding {
    name: String,
    fine: bool,
}

impl Health {
    /// Adds a check that readiness waits for; fails until the gate is set. Upstream calls those of start-up work
    /// `poststarthook/...`.
    pub fn add(&self, name: impl Into<String>) -> Gate {
        self.gates.write().entry(name.into()).or_default().clone()
    }

    /// Adds a part of the cluster that runs in this process without a leader lease; `componentstatuses` show it
    /// (`scheduler`, `controller-manager`). Readiness does not depend on it.
    pub fn add_component(&self, name: impl Into<String>) -> Gate {
        self.components.write().entry(name.into()).or_default().clone()
    }

    /// Whether a part of the cluster that runs in this process is fine; `None` when it does not run here.
    pub(crate) fn component(&self, name: &str) -> Option<bool> {
        self.components.read().get(name).map(Gate::is_set)
    }

    /// From now on readiness fails.
    pub(crate) fn begin_shutdown(&self) {
        self.shutting_down.set(true);
    }

    /// All checks of an endpoint (`livez`, `readyz`, `healthz`). `storage_fine` says whether the store answers, `kms_fine`
    /// whether the KMS plugins do, if there are any.
    pub(crate) fn findings(
        &self,
        endpoint: &str,
        storage_fine: bool,
        kms_fine: Option<bool>,
    ) -> Vec<Finding> {
        let finding = |name: &str, fine: bool| Finding { name: name.to_owned(), fine };
        let mut findings = vec![finding("ping", true), finding("log", true), finding("etcd", storage_fine)];
        if endpoint == "readyz" {
            // Caches are filled before the server is made.
            findings.extend([finding("etcd-readiness", storage_fine), finding("informer-sync", true)]);
        }
        findings.extend(kms_fine.map(|fine| finding("kms-providers", fine)));
        let gates = self.gates.read();
        findings.extend(gates.iter().map(|(name, gate)| finding(name, gate.is_set())));
        if endpoint == "readyz" {
            findings.push(finding("shutdown", !self.shutting_down.is_set()));
        }
        findings
    }
}

/// Answers a health check. `check` is the name of a single one, or empty for all.
pub(crate) fn answer(endpoint: &str, check: &str, query: &Query, findings: &[Finding]) -> Response<Body> {
    if !check.is_empty() {
        return match findings.iter().find(|f| f.name == check) {
            Some(finding) if finding.fine => response::text(200, "ok"),
            Some(_) => response::text(500, "internal server error: reason withheld\n"),
            None => response::text(404, "404 page not found\n"),
        };
    }
    let excluded: Vec<&str> = query.all("exclude").collect();
    let failed = findings.iter().any(|f| !f.fine && !excluded.contains(&f.name.as_str()));
    if !failed && query.get("verbose").is_none() {
        return response::text(200, "ok");
    }
    let mut text = String::new();
    for finding in findings {
        let line = if excluded.contains(&finding.name.as_str()) {
            writeln!(text, "[+]{} excluded: ok", finding.name)
        } else if finding.fine {
            writeln!(text, "[+]{} ok", finding.name)
        } else {
            writeln!(text, "[-]{} failed: reason withheld", finding.name)
        };
        // Writing to a String cannot fail.
        let _ = line;
    }
    let unknown: Vec<String> = excluded
        .iter()
        .filter(|name| !findings.iter().any(|finding| finding.name == **name))
        .map(|name| format!("{name:?}"))
        .collect();
    if !unknown.is_empty() {
        let unknown = unknown.join(",");
        let _ = writeln!(text, "warn: some health checks cannot be excluded: no matches for {unknown}");
    }
    text.push_str(endpoint);
    text.push_str(if failed { " check failed\n" } else { " check passed\n" });
    response::text(if failed { 500 } else { 200 }, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn ask(health: &Health, endpoint: &str, check: &str, query: &str) -> (u16, String) {
        let findings = health.findings(endpoint, true, None);
        let response = answer(endpoint, check, &Query::parse(Some(query)), &findings);
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_waits_for_its_gates() {
        let health = Health::default();
        let gate = health.add("poststarthook/x");
        let (code, text) = ask(&health, "readyz", "", "").await;
        assert_eq!(code, 500);
        assert!(text.contains("[-]poststarthook/x failed: reason withheld"));
        assert_eq!(ask(&health, "readyz", "", "exclude=poststarthook/x").await.0, 200);
        gate.set(true);
        assert_eq!(ask(&health, "readyz", "", "").await, (200, "ok".to_owned()));
        let text = ask(&health, "readyz", "", "verbose&exclude=etcd&exclude=nope").await.1;
        assert!(text.contains("[+]etcd excluded: ok\n[+]etcd-readiness ok\n[+]informer-sync ok\n"), "{text}");
        assert!(
            text.contains("warn: some health checks cannot be excluded: no matches for \"nope\"\n"),
            "{text}"
        );
        assert!(text.ends_with("readyz check passed\n"));
        assert_eq!(ask(&health, "livez", "ping", "").await, (200, "ok".to_owned()));
        assert_eq!(ask(&health, "livez", "nope", "").await.0, 404);
    }

    #[tokio::test]
    async fn a_server_that_stops_is_alive_and_not_ready() {
        let health = Health::default();
        health.begin_shutdown();
        assert_eq!(ask(&health, "readyz", "", "").await.0, 500);
        assert_eq!(ask(&health, "livez", "", "").await.0, 200);
    }
}
