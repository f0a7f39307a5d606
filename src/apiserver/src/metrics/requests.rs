//! Requests by verb, resource and outcome.

use crate::endpoints::RequestInfo;
use apimachinery::metrics::{Histogram, head};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of upstream's `apiserver_request_duration_seconds`.
const DURATION_SECONDS: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0,
];
/// Upper bounds of upstream's `apiserver_response_sizes`.
const SIZE_BYTES: &[f64] = &[1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Different sets of labels that are kept; more than any honest client makes.
const SERIES_MAX: usize = 5_000;

/// Counts of one set of labels.
struct Series {
    labels: String,
    watch: bool,
    by_code: Mutex<BTreeMap<u16, u64>>,
    took: Histogram,
    sizes: Histogram,
    long_running: AtomicI64,
}

/// The metrics of a server's requests.
#[derive(Default)]
pub struct Metrics {
    series: RwLock<HashMap<u64, Arc<Series>>>,
    reading: Arc<AtomicI64>,
    writing: Arc<AtomicI64>,
    watch_events: RwLock<BTreeMap<String, Arc<AtomicU64>>>,
}

/// Counts a request as long as it lives.
pub(crate) struct InFlight {
    counter: Option<Arc<AtomicI64>>,
    series: Option<Arc<Series>>,
}

impl InFlight {
    fn add(&self, count: i64) {
        if let Some(counter) = &self.counter {
            counter.fetch_add(count, Ordering::Relaxed);
        }
        if let Some(series) = &self.series {
            series.long_running.fetch_add(count, Ordering::Relaxed);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.add(-1);
    }
}

impl Metrics {
    /// Counts a request that has begun. `known` says whether its resource is one that is served.
    pub(crate) fn begin(&self, info: &RequestInfo, known: bool) -> InFlight {
        let in_flight = if info.is_long_running() {
            InFlight { counter: None, series: self.series(info, known) }
        } else {
            let counter = if info.is_read_only() { &self.reading } else { &self.writing };
            InFlight { counter: Some(Arc::clone(counter)), series: None }
        };
        in_flight.add(1);
        in_flight
    }

    /// Counts a request that has been answered; `size` in bytes, where it is known.
    pub(crate) fn observe(
        &self,
        info: &RequestInfo,
        known: bool,
        code: u16,
        took: Duration,
        size: Option<u64>,
    ) {
        let Some(series) = self.series(info, known) else { return };
        *series.by_code.lock().entry(code).or_default() += 1;
        series.took.observe(took.as_secs_f64());
        if let Some(size) = size.filter(|_| matches!(info.verb.as_str(), "get" | "list")) {
            series.sizes.observe(size as f64);
        }
    }

    /// Where the events of watches of a resource are counted.
    pub(crate) fn watch_events(
        &self,
        group: &str,
        version: &str,
        resource: &str,
        kind: &str,
    ) -> Arc<AtomicU64> {
        let labels =
            format!("group=\"{group}\",kind=\"{kind}\",resource=\"{resource}\",version=\"{version}\"");
        if let Some(counter) = self.watch_events.read().get(&labels) {
            return Arc::clone(counter);
        }
        Arc::clone(self.watch_events.write().entry(labels).or_default())
    }

    fn series(&self, info: &RequestInfo, known: bool) -> Option<Arc<Series>> {
        // Paths that are not known are one series, whatever people try.
        let (group, version, resource, subresource) = if known {
            (&*info.api_group, &*info.api_version, &*info.resource, &*info.subresource)
        } else {
            ("", "", "", "")
        };
        let verb = verb(info);
        let mut hasher = DefaultHasher::new();
        (verb, group, version, resource, subresource, scope(info)).hash(&mut hasher);
        let key = hasher.finish();
        if let Some(series) = self.series.read().get(&key) {
            return Some(Arc::clone(series));
        }
        let mut all = self.series.write();
        if all.len() >= SERIES_MAX && !all.contains_key(&key) {
            return None;
        }
        let scope = scope(info);
        let subresource = subresource.replace(['"', '\\', '\n'], "");
        let new = || {
            Arc::new(Series {
                labels: format!(
                    "component=\"apiserver\",group=\"{group}\",resource=\"{resource}\",scope=\"{scope}\",\
                     subresource=\"{subresource}\",verb=\"{verb}\",version=\"{version}\""
                ),
                watch: verb == "WATCH",
                by_code: Mutex::default(),
                took: Histogram::new(DURATION_SECONDS),
                sizes: Histogram::new(SIZE_BYTES),
                long_running: AtomicI64::default(),
            })
        };
        Some(Arc::clone(all.entry(key).or_insert_with(new)))
    }

    /// Writes everything.
    pub(crate) fn write(&self, out: &mut String) -> std::fmt::Result {
        let mut all: Vec<Arc<Series>> = self.series.read().values().cloned().collect();
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        head(out, "apiserver_request_total", "counter", "Requests by verb, resource and HTTP code.")?;
        for series in &all {
            for (code, count) in &*series.by_code.lock() {
                let labels = &series.labels;
                writeln!(out, "apiserver_request_total{{code=\"{code}\",dry_run=\"\",{labels}}} {count}")?;
            }
        }
        head(out, "apiserver_request_terminations_total", "counter", "Requests that were cut off.")?;
        for series in &all {
            if let Some(count) = series.by_code.lock().get(&504) {
                let labels = &series.labels;
                writeln!(out, "apiserver_request_terminations_total{{code=\"504\",{labels}}} {count}")?;
            }
        }
        const DURATION: &str = "apiserver_request_duration_seconds";
        head(out, DURATION, "histogram", "Time until a request was answered.")?;
        for series in &all {
            series.took.write(out, DURATION, &format!("dry_run=\"\",{}", series.labels))?;
        }
        const SLI: &str = "apiserver_request_sli_duration_seconds";
        head(out, SLI, "histogram", "Time until a request other than a watch was answered.")?;
        for series in all.iter().filter(|series| !series.watch) {
            series.took.write(out, SLI, &series.labels)?;
        }
        const SIZES: &str = "apiserver_response_sizes";
        head(out, SIZES, "histogram", "Bytes of answers to reads.")?;
        for series in &all {
            series.sizes.write(out, SIZES, &series.labels)?;
        }
        head(out, "apiserver_current_inflight_requests", "gauge", "Requests being answered.")?;
        for (kind, counter) in [("mutating", &self.writing), ("readOnly", &self.reading)] {
            let count = counter.load(Ordering::Relaxed);
            writeln!(out, "apiserver_current_inflight_requests{{request_kind=\"{kind}\"}} {count}")?;
        }
        head(out, "apiserver_longrunning_requests", "gauge", "Watches, logs, exec and the like.")?;
        for series in &all {
            let count = series.long_running.load(Ordering::Relaxed);
            if count > 0 {
                writeln!(out, "apiserver_longrunning_requests{{{}}} {count}", series.labels)?;
            }
        }
        head(out, "apiserver_watch_events_total", "counter", "Events sent to watches.")?;
        for (labels, count) in &*self.watch_events.read() {
            writeln!(out, "apiserver_watch_events_total{{{labels}}} {}", count.load(Ordering::Relaxed))?;
        }
        Ok(())
    }
}

fn scope(info: &RequestInfo) -> &'static str {
    match (info.is_resource_request, info.name.is_empty(), info.namespace.is_empty()) {
        (false, ..) => "",
        (true, false, _) => "resource",
        (true, true, false) => "namespace",
        (true, true, true) => "cluster",
    }
}

/// The verb as upstream's metrics name it; all that nobody knows is one.
fn verb(info: &RequestInfo) -> &'static str {
    if matches!(info.subresource.as_str(), "exec" | "attach" | "portforward" | "proxy") {
        return "CONNECT";
    }
    match info.verb.as_str() {
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        "head" => "HEAD",
        "options" => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(method: &str, uri: &str) -> RequestInfo {
        RequestInfo::parse(&method.parse().unwrap(), &uri.parse().unwrap())
    }

    fn text(metrics: &Metrics) -> String {
        let mut out = String::new();
        metrics.write(&mut out).unwrap();
        out
    }

    #[test]
    fn requests_are_counted_under_upstreams_names() {
        let metrics = Metrics::default();
        let info = info("GET", "/api/v1/namespaces/a/pods");
        metrics.observe(&info, true, 200, Duration::from_millis(10), Some(5000));
        metrics.observe(&info, true, 200, Duration::from_millis(1), None);
        let text = text(&metrics);
        let labels = "component=\"apiserver\",group=\"\",resource=\"pods\",scope=\"namespace\",subresource=\"\",verb=\"LIST\",version=\"v1\"";
        for line in [
            format!("apiserver_request_total{{code=\"200\",dry_run=\"\",{labels}}} 2"),
            format!("apiserver_request_duration_seconds_bucket{{dry_run=\"\",{labels},le=\"0.005\"}} 1"),
            format!("apiserver_request_duration_seconds_bucket{{dry_run=\"\",{labels},le=\"0.025\"}} 2"),
            format!("apiserver_response_sizes_bucket{{{labels},le=\"10000\"}} 1"),
        ] {
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn what_lasts_is_counted_while_it_does() {
        let metrics = Metrics::default();
        let watch = metrics.begin(&info("GET", "/api/v1/pods?watch=1"), true);
        let write = metrics.begin(&info("POST", "/api/v1/pods"), true);
        let line = "resource=\"pods\",scope=\"cluster\",subresource=\"\",verb=\"WATCH\",version=\"v1\"} 1";
        assert!(text(&metrics).contains(line));
        assert!(text(&metrics).contains("request_kind=\"mutating\"} 1"));
        drop((watch, write));
        assert!(!text(&metrics).contains(line));
        assert!(text(&metrics).contains("request_kind=\"mutating\"} 0"));
    }

    #[test]
    fn what_is_not_served_is_one_series_whatever_is_asked() {
        let metrics = Metrics::default();
        for n in 0..100 {
            let info = info(&format!("X{n}"), &format!("/apis/g{n}/v1/r{n}/x/s{n}"));
            metrics.observe(&info, false, 404, Duration::ZERO, None);
        }
        assert_eq!(metrics.series.read().len(), 1);
    }
}
