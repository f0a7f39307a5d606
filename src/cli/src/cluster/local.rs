//! Commands and the server of the same node: one line of JSON each way over a socket in the data directory, which only
//! its owner may open. It answers when the API does not: before it is ready, and without a quorum.

use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// Bytes of a line.
const LINE_BYTES: u64 = 1 << 20;
/// What a client may take to say what it wants.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// What a command asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ask {
    /// How the datastore is.
    Status,
    /// This node is to be no member any more.
    Leave,
    /// Another node is to be no member any more.
    Remove {
        /// Its name.
        name: String,
        /// Even if it is alive.
        force: bool,
    },
}

/// What a node of the datastore does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Replicates and votes.
    Voter,
    /// Replicates.
    Standby,
    /// Fetches what the others have; nobody counts on it.
    Spare,
}

impl From<datastore::raft::Role> for Role {
    fn from(role: datastore::raft::Role) -> Self {
        match role {
            datastore::raft::Role::Voter => Self::Voter,
            datastore::raft::Role::Standby => Self::Standby,
            datastore::raft::Role::Spare => Self::Spare,
        }
    }
}

impl Role {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Voter => "voter",
            Self::Standby => "standby",
            Self::Spare => "spare",
        }
    }
}

/// A node of the datastore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Where others reach it.
    pub address: String,
    /// What it does.
    pub role: Role,
    /// Whether it answers now.
    pub alive: bool,
    /// Whether a majority follows it.
    pub leader: bool,
    /// Whether it has all that the leader has, nearly.
    pub caught_up: bool,
}

/// How the datastore is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// This node's number.
    pub node: u64,
    /// All nodes.
    pub members: Vec<Member>,
    /// Whether a majority of voters is alive.
    pub quorum: bool,
    /// Whether it would be still after the loss of any one node.
    pub survives_a_loss: bool,
}

/// What the server answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// To [`Ask::Status`].
    Report(Report),
    /// It is done.
    Done,
    /// It was not done, and why.
    Refused(String),
}

/// Answers one question.
pub type Answerer = Arc<dyn Fn(Ask) -> BoxFuture<'static, Answer> + Send + Sync>;

/// Makes the socket.
///
/// # Errors
/// When it cannot be made.
pub fn listen(paths: &Paths) -> Result<UnixListener> {
    let path = paths.socket();
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", path.display()));
        }
        _ => {}
    }
    // A socket's path has room for some 100 bytes.
    let listener = UnixListener::bind(&path)
        .with_context(|| format!("cannot make {}; give a --data-dir with a shorter path", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers commands until it is dropped.
pub async fn serve(listener: UnixListener, answerer: Answerer) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let answerer = Arc::clone(&answerer);
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, &answerer).await {
                        tracing::debug!("a command was not answered: {error:#}");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a command");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, answerer: &Answerer) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let mut head = (&mut stream).take(LINE_BYTES);
    tokio::time::timeout(HEAD_TIMEOUT, head.read_line(&mut line)).await??;
    let answer = match serde_json::from_str(&line) {
        Ok(ask) => answerer(ask).await,
        Err(error) => {
            Answer::Refused(format!("the server does not know this: {error}; run the same version"))
        }
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    Ok(stream.shutdown().await?)
}

/// Asks the server of this node.
///
/// # Errors
/// When it is not running, or does not answer in time.
pub async fn ask(paths: &Paths, ask: &Ask, patience: Duration) -> Result<Answer> {
    let path = paths.socket();
    let asked = tokio::time::timeout(patience, exchange(&path, ask)).await;
    match asked {
        Ok(answered) => answered,
        Err(_) => {
            bail!("the server does not answer within {patience:?}; its log is {}", paths.log_file().display())
        }
    }
}

async fn exchange(path: &Path, ask: &Ask) -> Result<Answer> {
    let stream = match UnixStream::connect(path).await {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            bail!("knarr is not running, try knarr start")
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot open {}; run this as root", path.display()));
        }
        Ok(stream) => stream,
    };
    let mut stream = BufReader::new(stream);
    let mut line = serde_json::to_vec(ask)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut line = String::new();
    stream.take(LINE_BYTES).read_line(&mut line).await?;
    serde_json::from_str(&line).context("the server's answer is not understood; run the same version")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_is_answered_by_the_server_of_its_node_alone() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        let patience = Duration::from_secs(10);
        let error = ask(&paths, &Ask::Status, patience).await.unwrap_err().to_string();
        assert_eq!(error, "knarr is not running, try knarr start");
        let answerer: Answerer = Arc::new(|ask| {
            Box::pin(async move {
                match ask {
                    Ask::Remove { name, force: true } => Answer::Refused(name),
                    _ => Answer::Done,
                }
            })
        });
        // A socket that an earlier server has left is no obstacle.
        drop(listen(&paths).unwrap());
        assert!(ask(&paths, &Ask::Status, patience).await.is_err());
        let server = tokio::spawn(serve(listen(&paths).unwrap(), answerer));
        assert!(matches!(ask(&paths, &Ask::Leave, patience).await.unwrap(), Answer::Done));
        let remove = Ask::Remove { name: "n2".into(), force: true };
        assert!(
            matches!(ask(&paths, &remove, patience).await.unwrap(), Answer::Refused(name) if name == "n2")
        );
        assert_eq!(paths.socket().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        server.abort();
    }
}
