//! Policy, counts and the way to the log.

use super::delivery::{Mode, Pending};
use super::event::{About, Event};
use super::log::{Log, LogOptions};
use super::policy::{Level, Policy};
use super::record::Record;
use super::webhook::{Webhook, WebhookOptions};
use crate::authentication::UserInfo;
use crate::endpoints::RequestInfo;
use crate::metrics::head;
use crate::outbound::Outbound;
use crate::settings_file::ConfigurationError;
use http::HeaderMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Longest user agent that is told in full (upstream's bound).
const USER_AGENT_MAX_BYTES: usize = 1024;

/// Decides what is told of requests, and tells it.
pub struct Auditor {
    policy: Policy,
    log: Option<Log>,
    log_mode: Mode,
    webhook_options: Option<WebhookOptions>,
    /// From when the server starts.
    webhook: OnceLock<Webhook>,
    by_level: [AtomicU64; Level::ALL.len()],
    events: AtomicU64,
    dropped: AtomicU64,
    rejected: AtomicU64,
}

/// Who sent a request, and from where.
pub(crate) struct Sender<'a> {
    /// Who; not whom they act as.
    pub(crate) user: &'a UserInfo,
    /// The other end of the connection, if there is one.
    pub(crate) peer: Option<IpAddr>,
    /// What they say of themselves.
    pub(crate) headers: &'a HeaderMap,
}

impl Auditor {
    /// Tells what a policy says to a log, to a webhook, or to both.
    ///
    /// # Errors
    /// When the log cannot be opened.
    pub fn new(
        policy: Policy,
        log: Option<LogOptions>,
        webhook_options: Option<WebhookOptions>,
    ) -> std::io::Result<Arc<Self>> {
        let log_mode = log.as_ref().map_or(Mode::Batch, |log| log.delivery.mode);
        Ok(Arc::new(Self {
            policy,
            log: log.map(Log::open).transpose()?,
            log_mode,
            webhook_options,
            webhook: OnceLock::new(),
            by_level: Default::default(),
            events: AtomicU64::default(),
            dropped: AtomicU64::default(),
            rejected: AtomicU64::default(),
        }))
    }

    /// Begins to post to the webhook, if there is one.
    ///
    /// # Errors
    /// When its kubeconfig file cannot be used.
    pub(crate) fn start(&self, outbound: &Outbound) -> Result<(), ConfigurationError> {
        if let Some(options) = &self.webhook_options {
            let webhook = Webhook::start(options, outbound).map_err(ConfigurationError::Unusable)?;
            // It is started once: a second server would have an auditor of its own.
            let _ = self.webhook.set(webhook);
        }
        Ok(())
    }

    /// Writes what is waiting to be written. Returns when it is in the file, and posted.
    pub async fn flush(&self) {
        if let Some(log) = &self.log {
            log.flush().await;
        }
        if let Some(webhook) = self.webhook.get() {
            webhook.flush().await;
        }
    }

    /// What tells of a request, if the policy wants that.
    pub(crate) fn begin(
        self: &Arc<Self>,
        audit_id: &str,
        uri: &http::Uri,
        sender: &Sender<'_>,
        info: &RequestInfo,
        received: jiff::Timestamp,
    ) -> Option<Record> {
        let Sender { user, peer, headers } = *sender;
        let verdict = self.policy.verdict(user, info);
        for (level, count) in Level::ALL.iter().zip(&self.by_level) {
            if *level == verdict.level {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        if verdict.level == Level::None {
            return None;
        }
        let about = About {
            level: verdict.level.as_str(),
            audit_id: audit_id.to_owned(),
            request_uri: uri.path_and_query().map_or_else(|| uri.path().to_owned(), ToString::to_string),
            user: user.clone(),
            source_ips: source_ips(headers, peer),
            user_agent: user_agent(headers),
            info: info.clone(),
            received,
        };
        Some(Record::new(Arc::clone(self), verdict, about))
    }

    /// Sends an event to where events go. What it returns need not be waited for.
    pub(super) fn send(&self, event: Event) -> Pending {
        self.events.fetch_add(1, Ordering::Relaxed);
        let mut pending = Pending::default();
        if let (Some(webhook), Some(options)) = (self.webhook.get(), &self.webhook_options) {
            let receipt = pending.receipt(options.delivery.mode);
            webhook.send(&event, options.delivery.event_limit(), receipt);
        }
        if let Some(log) = &self.log {
            let receipt = pending.receipt(self.log_mode);
            if !log.send(event, receipt) {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        pending
    }

    /// Counts a request that failed since it could not be told of.
    pub(super) fn rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes the metrics.
    pub(crate) fn write_metrics(&self, out: &mut String) -> std::fmt::Result {
        head(out, "apiserver_audit_event_total", "counter", "Audit events that were made.")?;
        writeln!(out, "apiserver_audit_event_total {}", self.events.load(Ordering::Relaxed))?;
        head(
            out,
            "apiserver_audit_requests_rejected_total",
            "counter",
            "Requests that failed since they could not be told of.",
        )?;
        writeln!(out, "apiserver_audit_requests_rejected_total {}", self.rejected.load(Ordering::Relaxed))?;
        head(out, "apiserver_audit_error_total", "counter", "Audit events that were lost.")?;
        if let Some(log) = &self.log {
            let lost = self.dropped.load(Ordering::Relaxed) + log.failed();
            writeln!(out, "apiserver_audit_error_total{{plugin=\"log\"}} {lost}")?;
        }
        if let Some(webhook) = self.webhook.get() {
            writeln!(out, "apiserver_audit_error_total{{plugin=\"webhook\"}} {}", webhook.lost())?;
        }
        head(out, "apiserver_audit_level_total", "counter", "Requests by what the policy says of them.")?;
        for (level, count) in Level::ALL.iter().zip(&self.by_level) {
            let (level, count) = (level.as_str(), count.load(Ordering::Relaxed));
            writeln!(out, "apiserver_audit_level_total{{level=\"{level}\"}} {count}")?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Auditor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auditor").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// Where a request came from, nearest last: only the last one is certain.
fn source_ips(headers: &HeaderMap, peer: Option<IpAddr>) -> Vec<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let mut all: Vec<IpAddr> =
        text("x-forwarded-for").split(',').filter_map(|part| part.trim().parse().ok()).collect();
    if let Ok(real) = text("x-real-ip").trim().parse::<IpAddr>()
        && !all.contains(&real)
    {
        all.push(real);
    }
    // Requests from within the process have no address.
    let peer = peer.unwrap_or(IpAddr::from([127, 0, 0, 1])).to_canonical();
    if all.last() != Some(&peer) {
        all.push(peer);
    }
    all.iter().map(ToString::to_string).collect()
}

fn user_agent(headers: &HeaderMap) -> String {
    let agent = headers.get(http::header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("");
    match agent.get(..USER_AGENT_MAX_BYTES) {
        Some(head) if agent.len() > USER_AGENT_MAX_BYTES => format!("{head}...TRUNCATED"),
        _ => agent.to_owned(),
    }
}
