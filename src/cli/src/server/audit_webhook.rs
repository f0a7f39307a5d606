//! Flags of the audit webhook, with kube-apiserver's names and meanings.

use anyhow::{Result, bail};
use apiserver::GoDuration;
use apiserver::audit::WebhookOptions;
use clap::Args;
use std::path::PathBuf;

/// The flags. None has a default here, so that what was not said can be told apart.
#[derive(Args, Clone, Debug, Default)]
pub struct AuditWebhookFlags {
    /// Kubeconfig file of a webhook that audit events are posted to
    #[arg(long, env = "KNARR_AUDIT_WEBHOOK_CONFIG_FILE", value_name = "FILE")]
    pub audit_webhook_config_file: Option<PathBuf>,
    /// How they are posted: batch, the only way there is [default: batch]
    #[arg(long, env = "KNARR_AUDIT_WEBHOOK_MODE", value_name = "MODE")]
    pub audit_webhook_mode: Option<String>,
    /// The first pause before a post is tried again [default: 10s]
    #[arg(long, env = "KNARR_AUDIT_WEBHOOK_INITIAL_BACKOFF", value_name = "DURATION")]
    pub audit_webhook_initial_backoff: Option<GoDuration>,
    /// Events that may wait [default: 10000]
    #[arg(long, env = "KNARR_AUDIT_WEBHOOK_BATCH_BUFFER_SIZE", value_name = "NUMBER")]
    pub audit_webhook_batch_buffer_size: Option<u32>,
    /// Events of one post [default: 400]
    #[arg(long, env = "KNARR_AUDIT_WEBHOOK_BATCH_MAX_SIZE", value_name = "NUMBER")]
    pub audit_webhook_batch_max_size: Option<u32>,
    /// How long the first event of a post waits for others [default: 30s]
    #[arg(long, env = "KNARR_AUDIT_WEBHOOK_BATCH_MAX_WAIT", value_name = "DURATION")]
    pub audit_webhook_batch_max_wait: Option<GoDuration>,
    /// Limit posts a second [default: true]
    #[arg(long, env = "KNARR_AUDIT_WEBHOOK_BATCH_THROTTLE_ENABLE", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub audit_webhook_batch_throttle_enable: Option<bool>,
    /// Posts a second [default: 10]
    #[arg(long, env = "KNARR_AUDIT_WEBHOOK_BATCH_THROTTLE_QPS", value_name = "NUMBER")]
    pub audit_webhook_batch_throttle_qps: Option<f64>,
    /// Posts at once when there were fewer before [default: 15]
    #[arg(long, env = "KNARR_AUDIT_WEBHOOK_BATCH_THROTTLE_BURST", value_name = "NUMBER")]
    pub audit_webhook_batch_throttle_burst: Option<u32>,
}

impl AuditWebhookFlags {
    /// What was said; nothing when there is no webhook.
    ///
    /// # Errors
    /// When a flag has a value that cannot be.
    pub fn options(&self) -> Result<Option<WebhookOptions>> {
        let Some(kubeconfig) = &self.audit_webhook_config_file else { return Ok(None) };
        if let Some(mode) = self.audit_webhook_mode.as_deref().filter(|mode| *mode != "batch") {
            bail!("--audit-webhook-mode {mode}: only batch is supported");
        }
        let mut options = WebhookOptions::new(kubeconfig.clone());
        let (mut rate, mut burst) = options.throttle.unwrap_or_default();
        let positive = |given: Option<u32>, into: &mut usize, flag: &str| -> Result<()> {
            match given {
                Some(0) => bail!("--{flag} 0: must be positive"),
                Some(given) => *into = given as usize,
                None => {}
            }
            Ok(())
        };
        positive(
            self.audit_webhook_batch_buffer_size,
            &mut options.buffer_size,
            "audit-webhook-batch-buffer-size",
        )?;
        positive(
            self.audit_webhook_batch_max_size,
            &mut options.max_batch_size,
            "audit-webhook-batch-max-size",
        )?;
        if let Some(wait) = self.audit_webhook_batch_max_wait {
            options.max_batch_wait = wait.0;
        }
        if let Some(backoff) = self.audit_webhook_initial_backoff {
            options.initial_backoff = backoff.0;
        }
        rate = self.audit_webhook_batch_throttle_qps.unwrap_or(rate);
        burst = self.audit_webhook_batch_throttle_burst.unwrap_or(burst);
        if !(rate > 0.0 && rate.is_finite()) || burst == 0 {
            bail!("--audit-webhook-batch-throttle-qps and -burst must be positive");
        }
        options.throttle = self.audit_webhook_batch_throttle_enable.unwrap_or(true).then_some((rate, burst));
        Ok(Some(options))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_was_not_said_is_as_upstream_has_it() {
        assert!(AuditWebhookFlags::default().options().unwrap().is_none());
        let flags = AuditWebhookFlags {
            audit_webhook_config_file: Some("/etc/audit.kubeconfig".into()),
            audit_webhook_batch_max_size: Some(7),
            audit_webhook_batch_throttle_qps: Some(0.5),
            ..AuditWebhookFlags::default()
        };
        let options = flags.options().unwrap().unwrap();
        assert_eq!((options.buffer_size, options.max_batch_size), (10_000, 7));
        assert_eq!((options.max_batch_wait, options.throttle), (Duration::from_secs(30), Some((0.5, 15))));
        let told = |flags: AuditWebhookFlags| flags.options().unwrap_err().to_string();
        let blocking = AuditWebhookFlags { audit_webhook_mode: Some("blocking".into()), ..flags.clone() };
        assert!(told(blocking).contains("only batch is supported"));
        let none = AuditWebhookFlags { audit_webhook_batch_max_size: Some(0), ..flags };
        assert!(told(none).contains("must be positive"));
    }
}
