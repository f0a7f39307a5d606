//! Flags of backups, with k3s' names: when they are made, where they are kept and for how long.

use crate::backups::keeper::Keeping;
use anyhow::{Context, Result, bail};
use apiserver::GoDuration;
use backup::s3::{Bucket, Lookup, Options};
use clap::{Args, ValueEnum};
use controllers::Schedule;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Flags of scheduled backups.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Backups")]
pub struct BackupFlags {
    /// Make no backups by schedule
    #[arg(long, env = "KNARR_ETCD_DISABLE_SNAPSHOTS")]
    pub etcd_disable_snapshots: bool,
    /// When backups are made, as cron has it; by the clock of this machine
    #[arg(
        long,
        env = "KNARR_ETCD_SNAPSHOT_SCHEDULE_CRON",
        default_value = "0 */12 * * *",
        value_name = "SCHEDULE"
    )]
    pub etcd_snapshot_schedule_cron: String,
    /// Backups that are kept here; 0 is all
    #[arg(long, env = "KNARR_ETCD_SNAPSHOT_RETENTION", default_value_t = 5, value_name = "COUNT")]
    pub etcd_snapshot_retention: usize,
    /// Folder that they are kept in [default: DATA_DIR/backups]
    #[arg(long, env = "KNARR_ETCD_SNAPSHOT_DIR", value_name = "DIR")]
    pub etcd_snapshot_dir: Option<PathBuf>,
    /// What their names begin with
    #[arg(long, env = "KNARR_ETCD_SNAPSHOT_NAME", default_value = "knarr", value_name = "NAME")]
    pub etcd_snapshot_name: String,
    /// Backups that are kept in the bucket; 0 is all
    #[arg(long, env = "KNARR_ETCD_S3_RETENTION", default_value_t = 5, value_name = "COUNT")]
    pub etcd_s3_retention: usize,
    /// The bucket.
    #[command(flatten)]
    pub s3: S3Flags,
}

/// Flags of a bucket.
#[derive(Args, Clone)]
#[command(next_help_heading = "Backups")]
pub struct S3Flags {
    /// Keep backups in an S3 bucket too
    #[arg(long, env = "KNARR_ETCD_S3")]
    pub etcd_s3: bool,
    /// Host of the S3 service, with its port
    #[arg(long, env = "KNARR_ETCD_S3_ENDPOINT", default_value = "s3.amazonaws.com", value_name = "HOST")]
    pub etcd_s3_endpoint: String,
    /// File of authorities that vouch for it
    #[arg(long, env = "KNARR_ETCD_S3_ENDPOINT_CA", value_name = "FILE")]
    pub etcd_s3_endpoint_ca: Option<PathBuf>,
    /// Believe any certificate of it
    #[arg(long, env = "KNARR_ETCD_S3_SKIP_SSL_VERIFY")]
    pub etcd_s3_skip_ssl_verify: bool,
    /// Access key [default: AWS_ACCESS_KEY_ID of the environment]
    #[arg(long, env = "KNARR_ETCD_S3_ACCESS_KEY", value_name = "KEY", hide_env_values = true)]
    pub etcd_s3_access_key: Option<String>,
    /// Its secret; better in the environment or the configuration file [default: AWS_SECRET_ACCESS_KEY]
    #[arg(long, env = "KNARR_ETCD_S3_SECRET_KEY", value_name = "KEY", hide_env_values = true)]
    pub etcd_s3_secret_key: Option<String>,
    /// Session token [default: AWS_SESSION_TOKEN]
    #[arg(long, env = "KNARR_ETCD_S3_SESSION_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub etcd_s3_session_token: Option<String>,
    /// Name of the bucket
    #[arg(long, env = "KNARR_ETCD_S3_BUCKET", value_name = "NAME")]
    pub etcd_s3_bucket: Option<String>,
    /// Whether the bucket is named in the host's name or in the path
    #[arg(long, env = "KNARR_ETCD_S3_BUCKET_LOOKUP_TYPE", default_value = "auto", value_name = "TYPE")]
    pub etcd_s3_bucket_lookup_type: LookupType,
    /// Region of the bucket
    #[arg(long, env = "KNARR_ETCD_S3_REGION", default_value = "us-east-1", value_name = "NAME")]
    pub etcd_s3_region: String,
    /// Folder in the bucket
    #[arg(long, env = "KNARR_ETCD_S3_FOLDER", value_name = "NAME")]
    pub etcd_s3_folder: Option<String>,
    /// Speak plain HTTP
    #[arg(long, env = "KNARR_ETCD_S3_INSECURE")]
    pub etcd_s3_insecure: bool,
    /// How long one request may take
    #[arg(long, env = "KNARR_ETCD_S3_TIMEOUT", default_value = "5m", value_name = "DURATION")]
    pub etcd_s3_timeout: GoDuration,
}

/// How a bucket is named in requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LookupType {
    /// In the host's name at Amazon's, in the path elsewhere.
    Auto,
    /// In the host's name.
    Dns,
    /// In the path.
    Path,
}

impl BackupFlags {
    /// What they say, for a data directory.
    ///
    /// # Errors
    /// When a flag has a value that it cannot have.
    pub fn keeping(&self, data_dir: &Path) -> Result<Keeping> {
        let schedule = match self.etcd_snapshot_schedule_cron.trim() {
            "" => None,
            _ if self.etcd_disable_snapshots => None,
            text => Some(Schedule::parse(text).context("--etcd-snapshot-schedule-cron")?),
        };
        let base = self.etcd_snapshot_name.clone();
        if base.is_empty() || base.contains('/') {
            bail!("--etcd-snapshot-name {base:?} cannot be in the name of a file");
        }
        Ok(Keeping {
            schedule,
            folder: match &self.etcd_snapshot_dir {
                Some(folder) => std::path::absolute(folder)?,
                None => data_dir.join("backups"),
            },
            base,
            kept: self.etcd_snapshot_retention,
            bucket: self.s3.bucket()?,
            kept_in_bucket: self.etcd_s3_retention,
        })
    }
}

impl S3Flags {
    /// The bucket, if one is wanted.
    ///
    /// # Errors
    /// When something about it is missing or cannot be used.
    pub fn bucket(&self) -> Result<Option<Bucket>> {
        if !self.etcd_s3 {
            return Ok(None);
        }
        let or_aws = |given: &Option<String>, name| given.clone().or_else(|| std::env::var(name).ok());
        let bucket = Bucket::new(Options {
            endpoint: self.etcd_s3_endpoint.clone(),
            endpoint_ca: self.etcd_s3_endpoint_ca.clone(),
            skip_verify: self.etcd_s3_skip_ssl_verify,
            insecure: self.etcd_s3_insecure,
            access_key: or_aws(&self.etcd_s3_access_key, "AWS_ACCESS_KEY_ID").unwrap_or_default(),
            secret_key: or_aws(&self.etcd_s3_secret_key, "AWS_SECRET_ACCESS_KEY").unwrap_or_default(),
            session_token: or_aws(&self.etcd_s3_session_token, "AWS_SESSION_TOKEN"),
            bucket: self.etcd_s3_bucket.clone().unwrap_or_default(),
            region: self.etcd_s3_region.clone(),
            folder: self.etcd_s3_folder.clone().unwrap_or_default(),
            lookup: match self.etcd_s3_bucket_lookup_type {
                LookupType::Auto => Lookup::Auto,
                LookupType::Dns => Lookup::Dns,
                LookupType::Path => Lookup::Path,
            },
            timeout: self.etcd_s3_timeout.0.max(Duration::from_secs(1)),
        });
        bucket.map(Some).context("--etcd-s3")
    }
}

impl fmt::Debug for S3Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the secrets.
        f.debug_struct("S3Flags").field("etcd_s3", &self.etcd_s3).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        flags: BackupFlags,
    }

    fn keeping(flags: &[&str]) -> Result<Keeping> {
        let all = ["x"].iter().chain(flags);
        Command::parse_from(all).flags.keeping(Path::new("/data"))
    }

    #[test]
    fn backups_are_made_twice_a_day_unless_something_else_is_said() {
        let usual = keeping(&[]).unwrap();
        assert!(usual.schedule.is_some() && usual.bucket.is_none());
        assert_eq!((usual.kept, usual.folder), (5, PathBuf::from("/data/backups")));
        assert!(keeping(&["--etcd-disable-snapshots"]).unwrap().schedule.is_none());
        assert!(keeping(&["--etcd-snapshot-schedule-cron="]).unwrap().schedule.is_none());
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (flags, told) in [
            (&["--etcd-snapshot-schedule-cron=* *"][..], "--etcd-snapshot-schedule-cron"),
            (&["--etcd-snapshot-name=a/b"], "--etcd-snapshot-name"),
            (&["--etcd-s3"], "--etcd-s3: no bucket is given"),
            (
                &[
                    "--etcd-s3",
                    "--etcd-s3-bucket=b",
                    "--etcd-s3-access-key=a",
                    "--etcd-s3-secret-key=s",
                    "--etcd-s3-endpoint-ca=/does/not/exist",
                ],
                "cannot read /does/not/exist",
            ),
        ] {
            let error = format!("{:#}", keeping(flags).unwrap_err());
            assert!(error.contains(told), "{flags:?}: {error}");
        }
    }
}
