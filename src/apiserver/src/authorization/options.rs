//! From configuration to authorizers, and again when the file changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::abac::Abac;
use super::always::{AlwaysAllow, AlwaysDeny};
use super::attributes::Authorizer;
use super::configuration::{AuthorizationConfiguration, Checked};
use super::union::Union;
use super::webhook::WebhookAuthorizer;
use crate::outbound::Outbound;
use crate::remote::Remote;
use crate::settings_file::{self, ConfigurationError};

/// Where it is said who decides.
#[derive(Clone, Debug)]
pub enum AuthorizationOptions {
    /// In flags.
    Given(AuthorizationConfiguration),
    /// In a file (`--authorization-config`), which is read again when it changes.
    File(PathBuf),
}

impl Default for AuthorizationOptions {
    /// Node, then RBAC.
    fn default() -> Self {
        let modes = ["Node".to_owned(), "RBAC".to_owned()];
        Self::Given(AuthorizationConfiguration::from_modes(&modes, None))
    }
}

/// What authorizers are made of.
#[derive(Clone)]
pub(crate) struct Builtin {
    pub(crate) node: Arc<dyn Authorizer>,
    pub(crate) rbac: Arc<dyn Authorizer>,
    pub(crate) outbound: Outbound,
}

impl AuthorizationOptions {
    /// The authorizers. Those of a file follow it for as long as they are used.
    ///
    /// # Errors
    /// When the configuration is wrong.
    pub(crate) fn start(&self, builtin: Builtin) -> Result<Arc<Union>, ConfigurationError> {
        match self {
            Self::Given(configuration) => Ok(Arc::new(Union::new(build(configuration, &builtin)?))),
            Self::File(path) => {
                let union = Arc::new(Union::new(load(path, &builtin)?));
                let (path, used) = (path.clone(), Arc::downgrade(&union));
                tokio::spawn(async move {
                    let mut file = settings_file::Followed::new(&path);
                    while let Some(union) = used.upgrade() {
                        drop(union);
                        file.changed().await;
                        match (load(&path, &builtin), used.upgrade()) {
                            (Ok(authorizers), Some(union)) => {
                                tracing::info!(path = %path.display(), "authorization is configured anew");
                                union.replace(authorizers);
                            }
                            (Err(error), _) => {
                                tracing::error!(%error, "the changed authorization configuration is not used");
                            }
                            (Ok(_), None) => {}
                        }
                    }
                });
                Ok(union)
            }
        }
    }
}

fn load(path: &Path, builtin: &Builtin) -> Result<Vec<Arc<dyn Authorizer>>, ConfigurationError> {
    build(&AuthorizationConfiguration::load(path)?, builtin)
}

fn build(
    configuration: &AuthorizationConfiguration,
    builtin: &Builtin,
) -> Result<Vec<Arc<dyn Authorizer>>, ConfigurationError> {
    let make = |checked| -> Result<Arc<dyn Authorizer>, ConfigurationError> {
        Ok(match checked {
            Checked::Own(kind) => match kind.as_str() {
                "Node" => Arc::clone(&builtin.node),
                "RBAC" => Arc::clone(&builtin.rbac),
                "AlwaysAllow" => Arc::new(AlwaysAllow),
                _ => Arc::new(AlwaysDeny),
            },
            Checked::Abac(path) => Arc::new(Abac::load(&path)?),
            Checked::Webhook { kubeconfig, timeout, settings, conditions } => {
                let remote = Remote::load(&builtin.outbound, &kubeconfig, timeout);
                let remote = remote.map_err(ConfigurationError::Unusable)?;
                Arc::new(WebhookAuthorizer::new(remote, settings, conditions))
            }
        })
    };
    configuration.check()?.into_iter().map(make).collect()
}
