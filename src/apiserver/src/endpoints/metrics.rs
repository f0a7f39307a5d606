//! `/metrics`: counts and durations of requests, under upstream's names.

use super::request_info::RequestInfo;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Upper bounds of upstream's `apiserver_request_duration_seconds`.
const BUCKETS_SECONDS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0,
];
/// Different sets of labels that are kept; more than any honest client makes.
const SERIES_MAX: usize = 10_000;

/// Counts of one set of labels.
struct Series {
    labels: String,
    by_code: HashMap<u16, u64>,
    buckets: [u64; BUCKETS_SECONDS.len()],
    count: u64,
    sum_seconds: f64,
}

/// The metrics of a server.
#[derive(Default)]
pub struct Metrics {
    series: Mutex<HashMap<u64, Series>>,
    reading: Arc<AtomicI64>,
    writing: Arc<AtomicI64>,
    watching: Arc<AtomicI64>,
}

/// Counts a request as long as it lives.
pub(crate) struct InFlight(Arc<AtomicI64>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Counts a request that has begun.
    pub(crate) fn begin(&self, info: &RequestInfo) -> InFlight {
        let counter = if info.is_long_running() {
            &self.watching
        } else if info.is_read_only() {
            &self.reading
        } else {
            &self.writing
        };
        counter.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(counter))
    }

    /// Counts a request that has been answered.
    pub(crate) fn observe(&self, info: &RequestInfo, known: bool, code: u16, took: Duration) {
        let scope = scope(info);
        let mut hasher = DefaultHasher::new();
        // Paths that are not known are one series, whatever people try.
        let resource = if known { info.resource.as_str() } else { "" };
        (&info.verb, &info.api_group, &info.api_version, resource, &info.subresource, scope)
            .hash(&mut hasher);
        let mut all = self.series.lock();
        if all.len() >= SERIES_MAX && !all.contains_key(&hasher.finish()) {
            return;
        }
        let series = all.entry(hasher.finish()).or_insert_with(|| Series {
            labels: labels(info, resource, scope),
            by_code: HashMap::new(),
            buckets: [0; BUCKETS_SECONDS.len()],
            count: 0,
            sum_seconds: 0.0,
        });
        *series.by_code.entry(code).or_default() += 1;
        let seconds = took.as_secs_f64();
        series.count += 1;
        series.sum_seconds += seconds;
        for (bucket, bound) in series.buckets.iter_mut().zip(BUCKETS_SECONDS) {
            if seconds <= bound {
                *bucket += 1;
            }
        }
    }

    /// The text that Prometheus reads.
    pub(crate) fn render(&self, revision: u64) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out, revision);
        out
    }

    fn write(&self, out: &mut String, revision: u64) -> std::fmt::Result {
        let all = self.series.lock();
        head(out, "apiserver_request_total", "counter", "Requests by verb, resource and HTTP code.")?;
        for series in all.values() {
            for (code, count) in &series.by_code {
                writeln!(out, "apiserver_request_total{{{},code=\"{code}\"}} {count}", series.labels)?;
            }
        }
        const DURATION: &str = "apiserver_request_duration_seconds";
        head(out, DURATION, "histogram", "Time until a request was answered.")?;
        for Series { labels, buckets, count, sum_seconds, .. } in all.values() {
            for (bucket, bound) in buckets.iter().zip(BUCKETS_SECONDS) {
                writeln!(out, "{DURATION}_bucket{{{labels},le=\"{bound}\"}} {bucket}")?;
            }
            writeln!(out, "{DURATION}_bucket{{{labels},le=\"+Inf\"}} {count}")?;
            writeln!(out, "{DURATION}_sum{{{labels}}} {sum_seconds}")?;
            writeln!(out, "{DURATION}_count{{{labels}}} {count}")?;
        }
        head(out, "apiserver_current_inflight_requests", "gauge", "Requests being answered.")?;
        let gauge = |counter: &AtomicI64| counter.load(Ordering::Relaxed);
        let reading = gauge(&self.reading);
        writeln!(out, "apiserver_current_inflight_requests{{request_kind=\"readOnly\"}} {reading}")?;
        let writing = gauge(&self.writing);
        writeln!(out, "apiserver_current_inflight_requests{{request_kind=\"mutating\"}} {writing}")?;
        head(out, "apiserver_longrunning_requests", "gauge", "Watches, logs, exec and the like.")?;
        writeln!(out, "apiserver_longrunning_requests {}", gauge(&self.watching))?;
        head(out, "apiserver_storage_revision", "gauge", "The store's revision.")?;
        writeln!(out, "apiserver_storage_revision {revision}")
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> std::fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

fn scope(info: &RequestInfo) -> &'static str {
    match (info.is_resource_request, info.name.is_empty(), info.namespace.is_empty()) {
        (false, ..) => "",
        (true, false, _) => "resource",
        (true, true, false) => "namespace",
        (true, true, true) => "cluster",
    }
}

fn labels(info: &RequestInfo, resource: &str, scope: &str) -> String {
    let verb = match info.verb.as_str() {
        "create" => "POST",
        "update" => "PUT",
        other => &other.to_ascii_uppercase(),
    };
    let clean = |text: &str| text.replace(['"', '\\', '\n'], "");
    format!(
        "component=\"apiserver\",dry_run=\"\",group=\"{}\",resource=\"{}\",scope=\"{scope}\",subresource=\"{}\",verb=\"{}\",version=\"{}\"",
        clean(&info.api_group),
        clean(resource),
        clean(&info.subresource),
        clean(verb),
        clean(&info.api_version),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_under_upstreams_names() {
        let metrics = Metrics::default();
        let uri = "/api/v1/namespaces/a/pods".parse().unwrap();
        let info = RequestInfo::parse(&http::Method::GET, &uri);
        metrics.observe(&info, true, 200, Duration::from_millis(10));
        metrics.observe(&info, true, 200, Duration::from_millis(1));
        let text = metrics.render(7);
        assert!(text.contains("resource=\"pods\",scope=\"namespace\",subresource=\"\",verb=\"LIST\",version=\"v1\",code=\"200\"} 2"), "{text}");
        assert!(text.contains("le=\"0.005\"} 1"));
        assert!(text.contains("le=\"0.025\"} 2"));
    }
}
