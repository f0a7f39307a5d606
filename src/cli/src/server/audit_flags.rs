//! Flags of the audit log and of the audit webhook, with kube-apiserver's names and meanings.

use anyhow::{Result, anyhow, bail};
use apiserver::GoDuration;
use apiserver::audit::{Delivery, Truncation, WebhookOptions};
use clap::Args;
use std::path::PathBuf;

/// How events are delivered, as the flags for a log and for a webhook say alike. None has a default here, so that what
/// was not said can be told apart.
macro_rules! delivery_flags {
    ($(#[$doc:meta])* $name:ident, $to:literal, $env:literal) => {
        $(#[$doc])*
        #[derive(Args, Clone, Debug, Default)]
        pub struct $name {
            /// Whether requests wait until their events are delivered: batch (no), blocking, or blocking-strict (they fail when they are lost)
            #[arg(id = concat!("audit-", $to, "-mode"), long = concat!("audit-", $to, "-mode"), env = concat!("KNARR_AUDIT_", $env, "_MODE"), value_name = "MODE")]
            pub mode: Option<String>,
            /// Events that may wait [default: 10000]
            #[arg(id = concat!("audit-", $to, "-batch-buffer-size"), long = concat!("audit-", $to, "-batch-buffer-size"), env = concat!("KNARR_AUDIT_", $env, "_BATCH_BUFFER_SIZE"), value_name = "NUMBER")]
            pub buffer_size: Option<u32>,
            /// Events of one batch [default: 400]
            #[arg(id = concat!("audit-", $to, "-batch-max-size"), long = concat!("audit-", $to, "-batch-max-size"), env = concat!("KNARR_AUDIT_", $env, "_BATCH_MAX_SIZE"), value_name = "NUMBER")]
            pub max_size: Option<u32>,
            /// How long the first event of a batch waits for others at most [default: 30s]
            #[arg(id = concat!("audit-", $to, "-batch-max-wait"), long = concat!("audit-", $to, "-batch-max-wait"), env = concat!("KNARR_AUDIT_", $env, "_BATCH_MAX_WAIT"), value_name = "DURATION")]
            pub max_wait: Option<GoDuration>,
            /// Limit batches a second
            #[arg(id = concat!("audit-", $to, "-batch-throttle-enable"), long = concat!("audit-", $to, "-batch-throttle-enable"), env = concat!("KNARR_AUDIT_", $env, "_BATCH_THROTTLE_ENABLE"), value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
            pub throttle: Option<bool>,
            /// Batches a second [default: 10]
            #[arg(id = concat!("audit-", $to, "-batch-throttle-qps"), long = concat!("audit-", $to, "-batch-throttle-qps"), env = concat!("KNARR_AUDIT_", $env, "_BATCH_THROTTLE_QPS"), value_name = "NUMBER")]
            pub qps: Option<f64>,
            /// Batches at once when there were fewer before [default: 15]
            #[arg(id = concat!("audit-", $to, "-batch-throttle-burst"), long = concat!("audit-", $to, "-batch-throttle-burst"), env = concat!("KNARR_AUDIT_", $env, "_BATCH_THROTTLE_BURST"), value_name = "NUMBER")]
            pub burst: Option<u32>,
            /// Leave out the objects of events that are too large, and split batches that are [default: false]
            #[arg(id = concat!("audit-", $to, "-truncate-enabled"), long = concat!("audit-", $to, "-truncate-enabled"), env = concat!("KNARR_AUDIT_", $env, "_TRUNCATE_ENABLED"), value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
            pub truncate: Option<bool>,
            /// Bytes of an event [default: 102400]
            #[arg(id = concat!("audit-", $to, "-truncate-max-event-size"), long = concat!("audit-", $to, "-truncate-max-event-size"), env = concat!("KNARR_AUDIT_", $env, "_TRUNCATE_MAX_EVENT_SIZE"), value_name = "BYTES")]
            pub max_event_size: Option<usize>,
            /// Bytes of a batch [default: 10485760]
            #[arg(id = concat!("audit-", $to, "-truncate-max-batch-size"), long = concat!("audit-", $to, "-truncate-max-batch-size"), env = concat!("KNARR_AUDIT_", $env, "_TRUNCATE_MAX_BATCH_SIZE"), value_name = "BYTES")]
            pub max_batch_bytes: Option<usize>,
        }

        impl $name {
            /// What was said, and otherwise as it is by default.
            ///
            /// # Errors
            /// When a flag has a value that cannot be.
            pub fn delivery(&self, default: Delivery) -> Result<Delivery> {
                Given {
                    mode: self.mode.as_deref(),
                    buffer_size: self.buffer_size,
                    max_size: self.max_size,
                    max_wait: self.max_wait,
                    throttle: self.throttle,
                    rate: (self.qps, self.burst),
                    truncate: self.truncate,
                    sizes: (self.max_event_size, self.max_batch_bytes),
                }
                .apply($to, default)
            }
        }
    };
}

delivery_flags! {
    /// How events get into the log.
    AuditLogFlags, "log", "LOG"
}
delivery_flags! {
    /// How events get to the webhook.
    WebhookDeliveryFlags, "webhook", "WEBHOOK"
}

/// Flags of the audit webhook.
#[derive(Args, Clone, Debug, Default)]
pub struct AuditWebhookFlags {
    /// Kubeconfig file of a webhook that audit events are posted to
    #[arg(long, env = "KNARR_AUDIT_WEBHOOK_CONFIG_FILE", value_name = "FILE")]
    pub audit_webhook_config_file: Option<PathBuf>,
    /// The first pause before a post is tried again [default: 10s]
    #[arg(long, env = "KNARR_AUDIT_WEBHOOK_INITIAL_BACKOFF", value_name = "DURATION")]
    pub audit_webhook_initial_backoff: Option<GoDuration>,
    /// How events get there.
    #[command(flatten)]
    pub delivery: WebhookDeliveryFlags,
}

impl AuditWebhookFlags {
    /// What was said; nothing when there is no webhook.
    ///
    /// # Errors
    /// When a flag has a value that cannot be.
    pub fn options(&self) -> Result<Option<WebhookOptions>> {
        let Some(kubeconfig) = &self.audit_webhook_config_file else { return Ok(None) };
        let mut options = WebhookOptions::new(kubeconfig.clone());
        options.delivery = self.delivery.delivery(options.delivery)?;
        if let Some(backoff) = self.audit_webhook_initial_backoff {
            options.initial_backoff = backoff.0;
        }
        Ok(Some(options))
    }
}

struct Given<'a> {
    mode: Option<&'a str>,
    buffer_size: Option<u32>,
    max_size: Option<u32>,
    max_wait: Option<GoDuration>,
    throttle: Option<bool>,
    rate: (Option<f64>, Option<u32>),
    truncate: Option<bool>,
    sizes: (Option<usize>, Option<usize>),
}

impl Given<'_> {
    fn apply(&self, to: &str, mut delivery: Delivery) -> Result<Delivery> {
        if let Some(mode) = self.mode {
            delivery.mode = mode.parse().map_err(|why| anyhow!("--audit-{to}-mode: {why}"))?;
        }
        for (given, into, flag) in [
            (self.buffer_size, &mut delivery.buffer_size, "buffer-size"),
            (self.max_size, &mut delivery.max_batch_size, "max-size"),
        ] {
            match given {
                Some(0) => bail!("--audit-{to}-batch-{flag} 0: must be positive"),
                Some(given) => *into = given as usize,
                None => {}
            }
        }
        if let Some(wait) = self.max_wait {
            delivery.max_batch_wait = wait.0;
        }
        let (rate, burst) = (self.rate.0.unwrap_or(10.0), self.rate.1.unwrap_or(15));
        if !(rate > 0.0 && rate.is_finite()) || burst == 0 {
            bail!("--audit-{to}-batch-throttle-qps and -burst must be positive");
        }
        let throttles = self.throttle.unwrap_or(delivery.throttle.is_some());
        delivery.throttle = throttles.then_some((rate, burst));
        let default = Truncation::default();
        let truncation = Truncation {
            max_event_bytes: self.sizes.0.unwrap_or(default.max_event_bytes),
            max_batch_bytes: self.sizes.1.unwrap_or(default.max_batch_bytes),
        };
        if truncation.max_event_bytes == 0 || truncation.max_batch_bytes < truncation.max_event_bytes {
            bail!(
                "--audit-{to}-truncate-max-event-size must be positive, and --audit-{to}-truncate-max-batch-size not smaller"
            );
        }
        delivery.truncation = self.truncate.unwrap_or(false).then_some(truncation);
        Ok(delivery)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver::audit::Mode;
    use clap::{CommandFactory, FromArgMatches, Parser};
    use std::time::Duration;

    #[derive(Parser)]
    struct All {
        #[command(flatten)]
        log: AuditLogFlags,
        #[command(flatten)]
        webhook: AuditWebhookFlags,
    }

    fn parse(arguments: &[&str]) -> All {
        let arguments = ["x", "--audit-webhook-config-file=/etc/k"].iter().chain(arguments);
        All::from_arg_matches(&All::command().get_matches_from(arguments)).unwrap()
    }

    fn webhook(arguments: &[&str]) -> Result<Delivery> {
        parse(arguments).webhook.options().map(|options| options.unwrap().delivery)
    }

    #[test]
    fn what_was_not_said_is_as_upstream_has_it() {
        assert!(AuditWebhookFlags::default().options().unwrap().is_none());
        let options =
            webhook(&["--audit-webhook-batch-max-size=7", "--audit-webhook-batch-throttle-qps=0.5"]).unwrap();
        assert_eq!((options.mode, options.buffer_size, options.max_batch_size), (Mode::Batch, 10_000, 7));
        assert_eq!((options.max_batch_wait, options.throttle), (Duration::from_secs(30), Some((0.5, 15))));
        assert_eq!(options.truncation, None);
        let log = parse(&[]).log.delivery(Delivery::to_log()).unwrap();
        assert_eq!((log.mode, log.throttle, log.truncation), (Mode::Blocking, None, None));
    }

    #[test]
    fn log_and_webhook_have_flags_of_their_own() {
        let all = parse(&[
            "--audit-log-mode=batch",
            "--audit-log-truncate-enabled",
            "--audit-log-truncate-max-event-size=5",
            "--audit-webhook-mode=blocking-strict",
            "--audit-webhook-batch-throttle-enable=false",
        ]);
        let log = all.log.delivery(Delivery::to_log()).unwrap();
        let truncation = Truncation { max_event_bytes: 5, max_batch_bytes: 10 * 1024 * 1024 };
        assert_eq!((log.mode, log.truncation), (Mode::Batch, Some(truncation)));
        let webhook = all.webhook.options().unwrap().unwrap().delivery;
        assert_eq!((webhook.mode, webhook.throttle, webhook.truncation), (Mode::BlockingStrict, None, None));
    }

    #[test]
    fn values_that_cannot_be_are_refused() {
        for (argument, told) in [
            ("--audit-webhook-mode=odd", "allowed modes"),
            ("--audit-webhook-batch-max-size=0", "must be positive"),
            ("--audit-webhook-batch-throttle-qps=-1", "must be positive"),
            ("--audit-webhook-truncate-max-batch-size=1", "not smaller"),
        ] {
            let error = webhook(&[argument]).unwrap_err().to_string();
            assert!(error.contains(told), "{argument}: {error}");
        }
    }
}
