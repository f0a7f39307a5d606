//! As whom this server shows itself to webhooks: the users of a kubeconfig file, by the servers that they are for.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use apimachinery::causes::chain;
use http::HeaderValue;
use rustls::sign::CertifiedKey;

use crate::outbound::{Endpoint, Target};

use super::certified;
use super::kubeconfig::{self, Secrets};

/// The port that names need not tell.
const HTTPS_PORT: u16 = 443;

/// Credentials by names of servers: `name.namespace.svc`, `host:8443`, `*.example.com`, `*`.
#[derive(Debug, Default)]
pub(crate) struct Credentials(BTreeMap<String, Credential>);

/// What is shown to a server.
#[derive(Clone, Debug)]
pub(crate) struct Credential {
    /// In the TLS handshake.
    pub(crate) identity: Option<Arc<CertifiedKey>>,
    /// In the `Authorization` header.
    pub(crate) authorization: Option<HeaderValue>,
}

impl Credential {
    pub(super) fn new(secrets: &Secrets) -> Result<Self, String> {
        let identity = match (secrets.certificate_pem.as_str(), secrets.key_pem.as_str()) {
            ("", "") => None,
            (certificate, key) => Some(Arc::new(certified(certificate, key)?)),
        };
        let authorization = match &secrets.authorization {
            None => None,
            Some(text) => {
                let mut value = HeaderValue::from_str(text).map_err(|e| format!("credentials: {e}"))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self { identity, authorization })
    }
}

impl Credentials {
    /// The users of a kubeconfig file; its clusters and contexts say nothing here.
    ///
    /// # Errors
    /// A sentence, when it cannot be used.
    pub(crate) fn load(path: &Path) -> Result<Self, String> {
        let users = kubeconfig::users(path).map_err(|error| chain(&error))?;
        let users = users.into_iter().map(|(name, secrets)| match Credential::new(&secrets) {
            Ok(credential) => Ok((name, credential)),
            Err(why) => Err(format!("{}: user {name:?}: {why}", path.display())),
        });
        users.collect::<Result<_, _>>().map(Self)
    }

    /// What is shown at an endpoint; what is more particular wins.
    pub(crate) fn of(&self, endpoint: &Endpoint) -> Option<&Credential> {
        if self.0.is_empty() {
            return None;
        }
        let (host, port) = match &endpoint.target {
            Target::Service { namespace, name, port, .. } => (format!("{name}.{namespace}.svc"), *port),
            Target::Url(url) => {
                (url.host().unwrap_or_default().to_owned(), url.port_u16().unwrap_or(HTTPS_PORT))
            }
        };
        names(&host, port).iter().find_map(|name| self.0.get(name))
    }
}

/// Under which names a server's credentials are looked for.
fn names(host: &str, port: u16) -> Vec<String> {
    let mut whole = vec![format!("{host}:{port}")];
    if port == HTTPS_PORT {
        whole.push(host.to_owned());
    }
    let mut all = whole.clone();
    for name in &whole {
        let mut rest = name.as_str();
        while let Some((_, parent)) = rest.split_once('.') {
            all.push(format!("*.{parent}"));
            rest = parent;
        }
    }
    all.push("*".to_owned());
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_most_particular_name_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        let user = |name: &str| json!({"name": name, "user": {"token": name}});
        let names = ["a.b.svc", "a.b.svc:8443", "*.example.com", "hook.example.com", "*"];
        let config = json!({"apiVersion": "v1", "kind": "Config", "users": names.map(user)});
        std::fs::write(&path, config.to_string()).unwrap();
        let credentials = Credentials::load(&path).unwrap();
        let shown = |config: serde_json::Value| {
            let endpoint = Endpoint::from_config(&config).unwrap();
            let credential = credentials.of(&endpoint).unwrap();
            credential
                .authorization
                .as_ref()
                .unwrap()
                .to_str()
                .unwrap()
                .trim_start_matches("Bearer ")
                .to_owned()
        };
        let service = |port: u16| json!({"service": {"namespace": "b", "name": "a", "port": port}});
        assert_eq!(shown(service(443)), "a.b.svc");
        assert_eq!(shown(service(8443)), "a.b.svc:8443");
        assert_eq!(shown(service(9)), "*");
        assert_eq!(shown(json!({"url": "https://hook.example.com/x"})), "hook.example.com");
        assert_eq!(shown(json!({"url": "https://x.y.example.com"})), "*.example.com");
        assert_eq!(shown(json!({"url": "https://127.0.0.1:7"})), "*");
        let none = Credentials::default();
        assert!(none.of(&Endpoint::from_config(&service(443)).unwrap()).is_none());
    }
}
