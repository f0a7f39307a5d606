//! A certificate of the node that it has signed anew before it ends, by the certificates API.

use anyhow::{Context, Result, bail};
use client::{ObjectKey, Rest};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use pki::{Draft, Leaf, ServingCertResolver};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How often it is looked whether a certificate nears its end; they live for a year.
const PERIOD: Duration = Duration::from_secs(3600);
/// Pauses between attempts to get one.
const RETRY_FROM: Duration = Duration::from_millis(500);
const RETRY_TO: Duration = Duration::from_secs(60);
/// Pause between looks whether a request was answered; the controllers take milliseconds.
const LOOK: Duration = Duration::from_millis(200);
/// A request that nobody answers for this long is given up for a new one. The cleaner forgets them after an hour.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who is to sign what.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Name of its file, without extension.
    pub file: &'static str,
    signer: &'static str,
    usage: &'static str,
    organization: Option<&'static str>,
}

/// The kubelet towards the API.
pub const KUBELET_CLIENT: Kind = Kind {
    file: "kubelet-client",
    signer: "kubernetes.io/kube-apiserver-client-kubelet",
    usage: "client auth",
    organization: Some("system:nodes"),
};
/// The kubelet towards its clients.
pub const KUBELET_SERVING: Kind = Kind {
    file: "kubelet-serving",
    signer: "kubernetes.io/kubelet-serving",
    usage: "server auth",
    organization: Some("system:nodes"),
};
/// Service proxy and pod network towards the API.
pub const PROXY: Kind = Kind {
    file: "proxy",
    signer: "kubernetes.io/kube-apiserver-client",
    usage: "client auth",
    organization: None,
};

/// Names and addresses that a certificate is to be good for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    dns: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Names {
    /// Those of a node, as its status tells; none while it tells no address.
    pub fn of(node: &Node) -> Self {
        let told = node.status.as_ref().and_then(|status| status.addresses.as_deref()).unwrap_or_default();
        let mut names = Self::default();
        for address in told {
            match address.address.parse() {
                Ok(ip) if !names.addresses.contains(&ip) => names.addresses.push(ip),
                Err(_) if !names.dns.contains(&address.address) => names.dns.push(address.address.clone()),
                _ => {}
            }
        }
        if names.addresses.is_empty() { Self::default() } else { names }
    }

    fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }
}

/// One certificate, kept valid.
pub struct Identity {
    kind: Kind,
    common_name: String,
    path: PathBuf,
    leaf: Mutex<Option<Leaf>>,
    resolver: Arc<ServingCertResolver>,
}

impl Identity {
    /// Takes up what is in the file; it may be missing.
    ///
    /// # Errors
    /// When the file holds something else.
    pub fn load(kind: Kind, common_name: String, path: PathBuf) -> Result<Self> {
        let resolver = Arc::new(ServingCertResolver::empty());
        let leaf = match std::fs::read_to_string(&path) {
            Ok(text) => {
                // Each of the two parsers passes over what is for the other.
                let leaf = Leaf::from_pem(&text, &text)
                    .with_context(|| format!("{} is damaged; let the node join again", path.display()))?;
                resolver.swap(&leaf)?;
                Some(leaf)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        Ok(Self { kind, common_name, path, leaf: Mutex::new(leaf), resolver })
    }

    /// Shows the certificate of the moment, as a client or as a server.
    pub fn resolver(&self) -> Arc<ServingCertResolver> {
        self.resolver.clone()
    }

    /// When the certificate ends; None while there is none.
    pub fn not_after(&self) -> Option<Timestamp> {
        self.leaf().as_ref().map(Leaf::not_after)
    }

    fn leaf(&self) -> std::sync::MutexGuard<'_, Option<Leaf>> {
        self.leaf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_due(&self, names: &Names, now: Timestamp) -> bool {
        let leaf = self.leaf();
        leaf.as_ref().is_none_or(|leaf| {
            leaf.needs_renewal(now)
                || !names.addresses.iter().all(|address| leaf.addresses().contains(address))
                || !names.dns.iter().all(|name| leaf.dns_names().contains(name))
        })
    }

    /// Gets a new certificate if the old one nears its end or lacks a name, however often that has to be tried.
    /// Answers whether there is a new one.
    pub async fn renew(&self, rest: &Rest, names: &Names, now: impl Fn() -> Timestamp) -> bool {
        let mut pause = RETRY_FROM;
        while self.is_due(names, now()) {
            match self.ask(rest, names).await {
                Ok(()) => return true,
                Err(error) => {
                    tracing::warn!(
                        "cannot get a certificate for {}, trying again in {pause:?}: {error:#}",
                        self.kind.signer
                    );
                    tokio::time::sleep(pause).await;
                    pause = RETRY_TO.min(pause * 2);
                }
            }
        }
        false
    }

    /// Keeps a client's certificate valid; `renewed` is told of new ones.
    pub async fn keep(&self, rest: &Rest, renewed: impl Fn()) {
        loop {
            if self.renew(rest, &Names::default(), Timestamp::now).await {
                renewed();
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Keeps a server's certificate valid and good for the node's names, once there are any. Ends with them.
    pub async fn follow(&self, rest: &Rest, mut names: watch::Receiver<Names>) {
        loop {
            let current = names.borrow_and_update().clone();
            if !current.is_empty() {
                // Names that change while they are asked for would never be granted.
                tokio::select! {
                    _ = self.renew(rest, &current, Timestamp::now) => {}
                    changed = names.changed() => match changed {
                        Ok(()) => continue,
                        Err(_) => return,
                    },
                }
            }
            if let Ok(Err(_)) = tokio::time::timeout(PERIOD, names.changed()).await {
                return;
            }
        }
    }

    /// Asks for a certificate and waits for it.
    async fn ask(&self, rest: &Rest, names: &Names) -> Result<()> {
        let draft = Draft::new(&self.common_name, self.kind.organization, &names.dns, &names.addresses)?;
        let request = CertificateSigningRequest {
            metadata: ObjectMeta { generate_name: Some("csr-".to_owned()), ..ObjectMeta::default() },
            spec: CertificateSigningRequestSpec {
                request: ByteString(draft.request_pem.clone().into_bytes()),
                signer_name: self.kind.signer.to_owned(),
                usages: Some(vec!["digital signature".to_owned(), self.kind.usage.to_owned()]),
                ..CertificateSigningRequestSpec::default()
            },
            status: None,
        };
        let key = ObjectKey::of(&rest.create(&request).await?);
        let waiting = async {
            loop {
                let request = rest.get::<CertificateSigningRequest>(&key).await?;
                if let Some(certificate) = outcome(&request.context("the request was deleted")?)? {
                    return anyhow::Ok(certificate);
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let certificate = tokio::time::timeout(PATIENCE, waiting)
            .await
            .map_err(|_| anyhow::anyhow!("nobody approved and signed it within {PATIENCE:?}"))??;
        let leaf = Leaf::from_pem(&certificate, &draft.key_pem)?;
        let text = format!("{}\n{}", leaf.certificate_pem.trim_end(), leaf.key_pem);
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || pki::write_private(&path, text.as_bytes())).await??;
        self.resolver.swap(&leaf)?;
        tracing::info!(signer = self.kind.signer, until = %leaf.not_after(), "new certificate");
        *self.leaf() = Some(leaf);
        Ok(())
    }
}

/// The certificate (PEM), if there is one already.
fn outcome(request: &CertificateSigningRequest) -> Result<Option<String>> {
    let Some(status) = &request.status else { return Ok(None) };
    for condition in status.conditions.iter().flatten() {
        if matches!(condition.type_.as_str(), "Denied" | "Failed") {
            let reason = condition.reason.as_deref().unwrap_or_default();
            bail!("the request was refused: {reason} {}", condition.message.as_deref().unwrap_or_default());
        }
    }
    let certificate = status.certificate.as_ref().filter(|certificate| !certificate.0.is_empty());
    certificate.map(|certificate| Ok(String::from_utf8(certificate.0.clone())?)).transpose()
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
