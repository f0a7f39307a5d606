//! Requests and replies between nodes, as bytes.
//!
//! `format u8, length of the head u32 LE, head as JSON, payload`: entries and pieces of snapshots are not JSON.

use crate::log::{LogRow, Position};
use crate::raft::membership::Change;
use crate::raft::status::NodeReport;
use crate::raft::types::{Meta, Origin};
use bytes::{Buf, Bytes};
use openraft::raft::{AppendEntriesResponse, VoteRequest, VoteResponse};
use openraft::{LogId, Vote};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Raised when an older version would misunderstand.
const FORMAT: u8 = 1;

/// Says who asks whom.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Head {
    /// The cluster that both belong to.
    pub(crate) cluster: String,
    /// The node that asks.
    pub(crate) from: u64,
    /// The node that is asked.
    pub(crate) to: u64,
    pub(crate) request: Request,
}

/// What one node asks of another.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Raft's AppendEntries; the entries are the payload. A spare gets none: it fetches them, and is told up to which
    /// index there are any.
    Append {
        vote: Vote<u64>,
        previous: Option<LogId<u64>>,
        commit: Option<LogId<u64>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        elsewhere: Option<u64>,
    },
    /// Raft's RequestVote.
    Vote(VoteRequest<u64>),
    /// A piece of a snapshot, the payload. When all are there it is installed; until then an empty one asks again.
    Snapshot { vote: Vote<u64>, meta: Meta, checksum: String, length: u64, offset: u64 },
    /// Commands for the leader's log; they are the payload.
    Propose(Origin),
    /// Up to where the log has to be applied for a consistent read.
    ReadIndex,
    /// Stand for election now: the leader is leaving.
    Elect,
    /// The entries after this one that the asked node has applied; it waits a moment for some.
    Fetch { after: Option<LogId<u64>> },
    /// How are you?
    Report,
    /// A change of the members, for the leader.
    Change(Change),
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Append(AppendEntriesResponse<u64>),
    Vote(VoteResponse<u64>),
    /// How much of the snapshot is there, whether it is installed, and whom the node votes for.
    Snapshot {
        vote: Vote<u64>,
        received: u64,
        installed: bool,
    },
    /// The commands are in the leader's log, at this index.
    Appended(u64),
    Index(u64),
    /// Entries, the payload, that a leader with this vote could have sent. None, although there are some, while a
    /// snapshot is on its way instead.
    Fed {
        vote: Vote<u64>,
        snapshot: bool,
        #[serde(skip)]
        entries: Bytes,
    },
    Report(NodeReport),
    /// The change was made; the number of a node that was added.
    Changed(u64),
    Done,
    /// Somebody else leads, if anybody.
    NotLeader(Option<u64>),
    /// It was not done, and asking again as it is does not help.
    Refused(String),
    /// It was not done now.
    Failed(String),
}

impl Reply {
    /// What is sent beside it.
    pub(crate) fn payload(&self) -> &[u8] {
        match self {
            Self::Fed { entries, .. } => entries,
            _ => &[],
        }
    }
}

/// Bytes that are no message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("the message is cut off or damaged")]
    Damaged,
    #[error(
        "the message has format {found}, this version knows format {FORMAT}; run the same version on all nodes"
    )]
    Version { found: u8 },
    #[error("the message is not understood: {0}")]
    Head(#[from] serde_json::Error),
}

/// A head and its payload in one piece.
pub(crate) fn encode(head: &impl Serialize, payload: &[u8]) -> Result<Bytes, WireError> {
    let json = serde_json::to_vec(head)?;
    let length = u32::try_from(json.len()).map_err(|_| WireError::Damaged)?;
    let mut out = Vec::with_capacity(5 + json.len() + payload.len());
    out.push(FORMAT);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&json);
    out.extend_from_slice(payload);
    Ok(Bytes::from(out))
}

/// Takes a message apart. The payload shares its memory.
pub(crate) fn decode<T: DeserializeOwned>(mut message: Bytes) -> Result<(T, Bytes), WireError> {
    let found = message.try_get_u8().map_err(|_| WireError::Damaged)?;
    if found != FORMAT {
        return Err(WireError::Version { found });
    }
    let length = message.try_get_u32_le().map_err(|_| WireError::Damaged)? as usize;
    if length > message.len() {
        return Err(WireError::Damaged);
    }
    let head = message.split_to(length);
    Ok((serde_json::from_slice(&head)?, message))
}

/// Log entries one after the other.
pub(crate) fn put_rows(rows: &[LogRow]) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows.iter().map(|row| row.body.len() + 29).sum());
    for row in rows {
        for number in [row.at.term, row.at.node, row.at.index, row.body.len() as u64] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.push(row.kind);
        out.extend_from_slice(&row.body);
    }
    out
}

/// Reads log entries back.
pub(crate) fn take_rows(mut bytes: Bytes) -> Result<Vec<LogRow>, WireError> {
    let mut rows = Vec::new();
    while bytes.has_remaining() {
        let mut number = || bytes.try_get_u64_le().map_err(|_| WireError::Damaged);
        let at = Position { term: number()?, node: number()?, index: number()? };
        let length = usize::try_from(number()?).map_err(|_| WireError::Damaged)?;
        let kind = bytes.try_get_u8().map_err(|_| WireError::Damaged)?;
        if length > bytes.len() {
            return Err(WireError::Damaged);
        }
        rows.push(LogRow { at, kind, body: bytes.split_to(length).to_vec() });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_and_every_truncation_is_noticed() {
        let rows: Vec<_> = (1..4)
            .map(|index| LogRow {
                at: Position { term: 2, node: 3, index },
                kind: 1,
                body: vec![9; index as usize],
            })
            .collect();
        let vote = Vote::new_committed(2, 3);
        let request = Request::Append { vote, previous: None, commit: None, elsewhere: None };
        let head = Head { cluster: "c".into(), from: 3, to: 1, request };
        let message = encode(&head, &put_rows(&rows)).unwrap();
        let (again, payload) = decode::<Head>(message.clone()).unwrap();
        assert!(matches!(again.request, Request::Append { vote, .. } if vote.is_committed()));
        assert_eq!((again.from, again.to), (3, 1));
        let begin = message.len() - payload.len();
        for end in 0..begin {
            assert!(decode::<Head>(message.slice(..end)).is_err(), "{end}");
        }
        let whole: Vec<usize> =
            (0..=payload.len()).filter(|end| take_rows(payload.slice(..*end)).is_ok()).collect();
        assert_eq!(whole.len(), 4);
        assert_eq!(take_rows(payload).unwrap(), rows);
        let mut newer = message.to_vec();
        newer[0] = 7;
        assert!(matches!(decode::<Head>(Bytes::from(newer)), Err(WireError::Version { found: 7 })));
    }
}
