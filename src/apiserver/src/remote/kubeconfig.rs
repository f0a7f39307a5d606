//! Kubeconfig files (`v1` Config): where a webhook is, whom to believe there, and what to show.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// What is wrong with a kubeconfig file.
#[derive(Debug, thiserror::Error)]
pub(super) enum KubeconfigError {
    /// It, or a file it names, cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is no kubeconfig.
    #[error("cannot parse {path}: {reason}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Something is not in it.
    #[error("invalid kubeconfig {path}: {reason}")]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// What.
        reason: String,
    },
}

/// What the current context of a kubeconfig says.
#[derive(Clone, Default)]
pub(super) struct Kubeconfig {
    /// The server's URL.
    pub(super) server: String,
    /// Authorities of the server (PEM); empty for those of the system.
    pub(super) authority_pem: String,
    /// Whether the server's certificate is not checked.
    pub(super) insecure: bool,
    /// The name that the server's certificate must have; empty for that of the URL.
    pub(super) server_name: String,
    /// What the client shows.
    pub(super) secrets: Secrets,
}

/// What a client shows.
#[derive(Clone, Default)]
pub(super) struct Secrets {
    /// Its certificate (PEM); empty for none.
    pub(super) certificate_pem: String,
    /// The certificate's key (PEM).
    pub(super) key_pem: String,
    /// The `Authorization` header.
    pub(super) authorization: Option<String>,
}

/// The users of a file, by their names. Paths in it are relative to its directory.
///
/// # Errors
/// [`KubeconfigError`] with the file.
pub(super) fn users(path: &Path) -> Result<Vec<(String, Secrets)>, KubeconfigError> {
    let file = File::parse(&read(path)?, path)?;
    file.users.into_iter().map(|named| Ok((named.name, named.user.secrets(path)?))).collect()
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    current_context: String,
    clusters: Vec<Named>,
    users: Vec<Named>,
    contexts: Vec<Named>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Named {
    name: String,
    cluster: Cluster,
    user: User,
    context: Context,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    server: String,
    certificate_authority: String,
    certificate_authority_data: String,
    insecure_skip_tls_verify: bool,
    tls_server_name: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct User {
    client_certificate: String,
    client_certificate_data: String,
    client_key: String,
    client_key_data: String,
    token: String,
    #[serde(rename = "tokenFile")]
    token_file: String,
    username: String,
    password: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
}

impl Kubeconfig {
    /// Reads the current context of a file. Paths in it are relative to its directory.
    ///
    /// # Errors
    /// [`KubeconfigError`] with the file.
    pub(super) fn load(path: &Path) -> Result<Self, KubeconfigError> {
        let text = read(path)?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, KubeconfigError> {
        let file = File::parse(text, path)?;
        let incomplete = |reason: String| KubeconfigError::Incomplete { path: path.to_owned(), reason };
        let find = |list: &[Named], name: &str| list.iter().position(|item| item.name == name);
        let context = find(&file.contexts, &file.current_context)
            .and_then(|at| file.contexts.get(at))
            .ok_or_else(|| incomplete(format!("context {:?} does not exist", file.current_context)))?;
        let cluster = find(&file.clusters, &context.context.cluster)
            .and_then(|at| file.clusters.get(at))
            .map(|named| named.cluster.clone())
            .ok_or_else(|| incomplete(format!("cluster {:?} does not exist", context.context.cluster)))?;
        // A server that asks for nothing needs no user.
        let user = find(&file.users, &context.context.user).and_then(|at| file.users.get(at));
        let user = user.map(|named| named.user.clone()).unwrap_or_default();
        if cluster.server.is_empty() {
            return Err(incomplete("no server found for the cluster of the current context".into()));
        }
        Ok(Self {
            authority_pem: pem(
                path,
                &cluster.certificate_authority,
                &cluster.certificate_authority_data,
                "certificate-authority-data",
            )?,
            server: cluster.server,
            insecure: cluster.insecure_skip_tls_verify,
            server_name: cluster.tls_server_name,
            secrets: user.secrets(path)?,
        })
    }
}

impl File {
    fn parse(text: &str, path: &Path) -> Result<Self, KubeconfigError> {
        let value = apimachinery::decode::yaml(text.as_bytes()).map_err(|e| unparsable(path, e))?.value;
        serde_json::from_value(value).map_err(|e| unparsable(path, e))
    }
}

impl User {
    /// What the user of a file shows.
    fn secrets(&self, path: &Path) -> Result<Secrets, KubeconfigError> {
        let token = match self.token_file.as_str() {
            "" => self.token.clone(),
            file => read(&beside(path, file))?.trim().to_owned(),
        };
        let authorization = match (token.as_str(), self.username.as_str()) {
            ("", "") => None,
            ("", name) => Some(format!("Basic {}", STANDARD.encode(format!("{name}:{}", self.password)))),
            (token, _) => Some(format!("Bearer {token}")),
        };
        let certificate = &self.client_certificate_data;
        Ok(Secrets {
            certificate_pem: pem(path, &self.client_certificate, certificate, "client-certificate-data")?,
            key_pem: pem(path, &self.client_key, &self.client_key_data, "client-key-data")?,
            authorization,
        })
    }
}

/// PEM that is in a file of its own or, in base64, in the kubeconfig at `path`.
fn pem(path: &Path, file: &str, data: &str, what: &str) -> Result<String, KubeconfigError> {
    match (file, data) {
        ("", "") => Ok(String::new()),
        (_, "") => read(&beside(path, file)),
        (_, data) => {
            let wrong = |e: &dyn std::fmt::Display| unparsable(path, format!("{what}: {e}"));
            let bytes = STANDARD.decode(data.trim()).map_err(|e| wrong(&e))?;
            String::from_utf8(bytes).map_err(|e| wrong(&e))
        }
    }
}

fn beside(path: &Path, file: &str) -> PathBuf {
    path.parent().unwrap_or(Path::new(".")).join(file)
}

fn unparsable(path: &Path, reason: impl ToString) -> KubeconfigError {
    KubeconfigError::Parse { path: path.to_owned(), reason: reason.to_string() }
}

fn read(path: &Path) -> Result<String, KubeconfigError> {
    std::fs::read_to_string(path).map_err(|source| KubeconfigError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
apiVersion: v1
kind: Config
current-context: hook
clusters:
- name: other
  cluster: {server: https://wrong}
- name: remote
  cluster: {server: 'https://hook.example/check', certificate-authority-data: Q0E=, tls-server-name: hook}
users:
- name: me
  user: {tokenFile: token}
contexts:
- name: hook
  context: {cluster: remote, user: me}
";

    #[test]
    fn the_current_context_counts_and_paths_are_relative_to_the_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "secret\n").unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, TEXT).unwrap();
        let config = Kubeconfig::load(&path).unwrap();
        assert_eq!(config.server, "https://hook.example/check");
        assert_eq!((config.authority_pem.as_str(), config.server_name.as_str()), ("CA", "hook"));
        assert_eq!(config.secrets.authorization.as_deref(), Some("Bearer secret"));
    }

    #[test]
    fn what_is_missing_is_told() {
        let path = Path::new("/x/config");
        for (text, told) in [
            (TEXT.to_owned(), "cannot read /x/token"),
            (
                TEXT.replace("current-context: hook", "current-context: none"),
                "context \"none\" does not exist",
            ),
            (TEXT.replace("cluster: remote", "cluster: lost"), "cluster \"lost\" does not exist"),
            (TEXT.replace("Q0E=", "'*'").replace("tokenFile", "token"), "certificate-authority-data"),
            ("[".to_owned(), "cannot parse"),
        ] {
            let error = Kubeconfig::parse(&text, path).map(drop).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
