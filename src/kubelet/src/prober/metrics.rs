//! What `/metrics/probes` tells: how often each probe of a container came out how, and how long it took.

use super::outcome::ProbeKind;
use apimachinery::metrics::{Histogram, head};
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

use crate::pod;

/// Seconds: the default buckets of Prometheus' clients, as upstream's histogram has them.
const BOUNDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How one probe came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeResult {
    /// The container does not answer as it should.
    Failed,
    /// It does.
    Successful,
    /// It could not be asked.
    Unknown,
}

impl ProbeResult {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Successful => "successful",
            Self::Unknown => "unknown",
        }
    }
}

/// A probe of a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    namespace: String,
    pod: String,
    uid: String,
    container: String,
    kind: ProbeKind,
}

impl Series {
    fn of(pod: &Pod, container: &str, kind: ProbeKind) -> Self {
        Self {
            namespace: pod::namespace(pod).to_owned(),
            pod: pod::name(pod).to_owned(),
            uid: pod::uid(pod).to_owned(),
            container: container.to_owned(),
            kind,
        }
    }
}

#[derive(Debug)]
struct Counts {
    results: BTreeMap<ProbeResult, u64>,
    durations: Histogram,
}

/// The probes of the node that were made so far, of the containers that are there.
#[derive(Debug, Default)]
pub struct ProbeMetrics(Mutex<BTreeMap<Series, Counts>>);

impl ProbeMetrics {
    /// Counts a probe. As upstream, the time that a failure took is not.
    pub fn count(&self, pod: &Pod, container: &str, kind: ProbeKind, result: ProbeResult, took: Duration) {
        let mut all = self.0.lock();
        let counts = all
            .entry(Series::of(pod, container, kind))
            .or_insert_with(|| Counts { results: BTreeMap::new(), durations: Histogram::new(BOUNDS) });
        *counts.results.entry(result).or_default() += 1;
        if result != ProbeResult::Failed {
            counts.durations.observe(took.as_secs_f64());
        }
    }

    /// Forgets a probe that is made no more.
    pub fn forget(&self, pod: &Pod, container: &str, kind: ProbeKind) {
        self.0.lock().remove(&Series::of(pod, container, kind));
    }

    /// The text of `/metrics/probes`.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        const DURATION: &str = "prober_probe_duration_seconds";
        const TOTAL: &str = "prober_probe_total";
        let all = self.0.lock();
        let labels = |series: &Series| {
            let Series { namespace, pod, container, kind, .. } = series;
            let kind = kind.as_str();
            (format!("container=\"{container}\",namespace=\"{namespace}\",pod=\"{pod}\""), kind)
        };
        if all.values().any(|counts| counts.durations.count() > 0) {
            head(text, DURATION, "histogram", "[ALPHA] Duration in seconds for a probe response.")?;
        }
        for (series, counts) in all.iter() {
            let (labels, kind) = labels(series);
            counts.durations.write(text, DURATION, &format!("{labels},probe_type=\"{kind}\""))?;
        }
        if !all.is_empty() {
            let help = "[BETA] Cumulative number of a liveness, readiness or startup probe for a container \
                        by result.";
            head(text, TOTAL, "counter", help)?;
        }
        for (series, counts) in all.iter() {
            let (labels, kind) = labels(series);
            for (result, count) in &counts.results {
                let (uid, result) = (&series.uid, result.as_str());
                writeln!(
                    text,
                    "{TOTAL}{{{labels},pod_uid=\"{uid}\",probe_type=\"{kind}\",result=\"{result}\"}} {count}"
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    #[test]
    fn each_probe_is_told_until_it_is_made_no_more() {
        let pod = Pod {
            metadata: ObjectMeta {
                name: Some("p".into()),
                namespace: Some("n".into()),
                uid: Some("u".into()),
                ..ObjectMeta::default()
            },
            ..Pod::default()
        };
        let metrics = ProbeMetrics::default();
        assert_eq!(metrics.render(), "");
        let count = |result, millis| {
            metrics.count(&pod, "c", ProbeKind::Readiness, result, Duration::from_millis(millis));
        };
        count(ProbeResult::Failed, 9000);
        count(ProbeResult::Failed, 9000);
        count(ProbeResult::Successful, 250);
        let text = metrics.render();
        let labels = "container=\"c\",namespace=\"n\",pod=\"p\"";
        for line in [
            "# TYPE prober_probe_duration_seconds histogram".to_owned(),
            format!(
                "prober_probe_duration_seconds_bucket{{{labels},probe_type=\"Readiness\",le=\"0.25\"}} 1"
            ),
            format!("prober_probe_duration_seconds_sum{{{labels},probe_type=\"Readiness\"}} 0.25"),
            "# TYPE prober_probe_total counter".to_owned(),
            format!(
                "prober_probe_total{{{labels},pod_uid=\"u\",probe_type=\"Readiness\",result=\"failed\"}} 2"
            ),
            format!(
                "prober_probe_total{{{labels},pod_uid=\"u\",probe_type=\"Readiness\",result=\"successful\"}} 1"
            ),
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\nnot in\n{text}");
        }
        metrics.forget(&pod, "c", ProbeKind::Liveness);
        assert_eq!(metrics.render(), text);
        metrics.forget(&pod, "c", ProbeKind::Readiness);
        assert_eq!(metrics.render(), "");
    }
}
