//! Whether the container runtime and its network are up, as last asked.

use cri::Runtime;
use k8s_cri::v1::StatusResponse;
use parking_lot::RwLock;
use tokio::sync::watch;

/// Why nothing is ready before the first answer.
const NOT_ASKED: &str = "container runtime status check may not have completed yet";

/// What the runtime's `Status` said. Pure data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeCondition {
    /// Why the runtime is not up; nothing when it is.
    pub runtime: Option<String>,
    /// Why the network is not up; nothing when it is.
    pub network: Option<String>,
}

impl RuntimeCondition {
    /// From the runtime's answer.
    pub fn from_status(status: &StatusResponse) -> Self {
        let conditions = status.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or(&[]);
        let complaint = |name: &str, what: &str| {
            let condition = conditions.iter().find(|condition| condition.r#type == name);
            match condition {
                Some(condition) if condition.status => None,
                Some(condition) => Some(format!(
                    "{what}: {name}=false reason:{} message:{}",
                    condition.reason, condition.message
                )),
                None => Some(format!("{what}: the runtime does not tell {name}")),
            }
        };
        Self {
            runtime: complaint("RuntimeReady", "container runtime not ready"),
            network: complaint("NetworkReady", "container runtime network not ready"),
        }
    }

    fn unknown(reason: &str) -> Self {
        Self { runtime: Some(reason.to_owned()), network: Some(reason.to_owned()) }
    }

    /// Whether the runtime has not been asked yet.
    pub fn is_unknown(&self) -> bool {
        self.runtime.as_deref() == Some(NOT_ASKED)
    }

    /// Whether both are up.
    pub fn is_ready(&self) -> bool {
        self.runtime.is_none() && self.network.is_none()
    }
}

/// Name and version of the runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeIdentity {
    /// `containerd`.
    pub name: String,
    /// `1.6.20`.
    pub version: String,
}

/// The runtime's state for everybody in the kubelet.
#[derive(Debug)]
pub struct RuntimeState {
    condition: watch::Sender<RuntimeCondition>,
    identity: RwLock<RuntimeIdentity>,
}

impl Default for RuntimeState {
    fn default() -> Self {
        let condition = RuntimeCondition::unknown(NOT_ASKED);
        Self { condition: watch::Sender::new(condition), identity: RwLock::default() }
    }
}

impl RuntimeState {
    /// Asks the runtime once; true when the condition changed.
    pub async fn refresh(&self, runtime: &dyn Runtime) -> bool {
        let condition = match runtime.status(false).await {
            Ok(status) => RuntimeCondition::from_status(&status),
            Err(error) => RuntimeCondition::unknown(&format!("container runtime is down: {error}")),
        };
        // Also after an upgrade of the runtime, which shows as a time of being down.
        if condition.runtime.is_none()
            && (self.identity.read().name.is_empty() || self.get().runtime.is_some())
        {
            match runtime.version().await {
                Ok(version) => {
                    *self.identity.write() =
                        RuntimeIdentity { name: version.runtime_name, version: version.runtime_version };
                }
                Err(error) => tracing::debug!(%error, "the runtime does not tell its version"),
            }
        }
        self.condition.send_if_modified(|old| {
            let changed = *old != condition;
            *old = condition;
            changed
        })
    }

    /// The last answer.
    pub fn get(&self) -> RuntimeCondition {
        self.condition.borrow().clone()
    }

    /// Follows the answers.
    pub fn subscribe(&self) -> watch::Receiver<RuntimeCondition> {
        self.condition.subscribe()
    }

    /// The runtime's name and version, empty before the first answer.
    pub fn identity(&self) -> RuntimeIdentity {
        self.identity.read().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_cri::v1;

    #[test]
    fn conditions_name_their_reason() {
        let condition = |name: &str, status| v1::RuntimeCondition {
            r#type: name.into(),
            status,
            reason: "NetworkPluginNotReady".into(),
            message: "cni plugin not initialized".into(),
        };
        let answer = StatusResponse {
            status: Some(v1::RuntimeStatus {
                conditions: vec![condition("RuntimeReady", true), condition("NetworkReady", false)],
            }),
            ..StatusResponse::default()
        };
        let found = RuntimeCondition::from_status(&answer);
        assert_eq!(found.runtime, None);
        assert_eq!(
            found.network.unwrap(),
            "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:cni plugin not initialized"
        );
    }
}
