//! What is replicated, and among whom.

use crate::command::{DecodeError, Entry, put_bytes};
use crate::log::{LogRow, Position};
use crate::raft::snapshot::Source;
use bytes::Bytes;
use openraft::{CommittedLeaderId, EntryPayload, LogId, Membership, StoredMembership};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

openraft::declare_raft_types!(
    /// This crate's choice of openraft's types.
    pub(crate) Types:
        D = Merged,
        R = (),
        NodeId = u64,
        Node = Seat,
        SnapshotData = Source,
);

pub(crate) type Raft = openraft::Raft<Types>;
pub(crate) type RaftEntry = openraft::Entry<Types>;
pub(crate) type Config = StoredMembership<u64, Seat>;
pub(crate) type Meta = openraft::SnapshotMeta<u64, Seat>;

/// What the cluster knows of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The node's name.
    pub name: String,
    /// Where its peers reach it, in whatever form the transport understands.
    pub address: String,
    /// What fails together with it (a rack, a site); empty when nothing is known.
    #[serde(default)]
    pub failure_domain: String,
}

/// A node's place in openraft's membership: that of a voter, or of a learner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seat {
    #[serde(flatten)]
    pub(crate) member: Member,
    /// A learner that the leader does not replicate to ([`crate::raft::feed`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) spare: bool,
}

impl From<Member> for Seat {
    fn from(member: Member) -> Self {
        Self { member, spare: false }
    }
}

/// What a node does in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Has the state, and counts in elections and commits.
    Voter,
    /// Has the state, and may become a voter at once.
    Standby,
    /// Has the state from one of the others, a moment later; nobody counts on it.
    Spare,
}

/// Tells a proposal from all others, for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// The node that proposes.
    pub(crate) node: u64,
    /// Rises with every start of the node, and whenever it gives a proposal up.
    pub(crate) epoch: u64,
    /// Counts from 1 within the epoch, without gaps.
    pub(crate) sequence: u64,
}

impl Origin {
    /// The last proposal of a node that was applied.
    pub(crate) fn last(node: u64, connection: &Connection) -> rusqlite::Result<Option<Self>> {
        connection
            .prepare_cached("SELECT epoch, sequence FROM origins WHERE node = ?1")?
            .query_row([node], |row| Ok(Self { node, epoch: row.get(0)?, sequence: row.get(1)? }))
            .optional()
    }

    /// Whether this is the one to follow the last.
    pub(crate) fn follows(&self, last: Option<&Self>) -> bool {
        match last {
            Some(last) if last.epoch == self.epoch => self.sequence == last.sequence + 1,
            Some(last) if last.epoch > self.epoch => false,
            _ => self.sequence == 1,
        }
    }

    /// Notes that it is applied.
    pub(crate) fn save(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection
            .prepare_cached(
                "INSERT INTO origins (node, epoch, sequence) VALUES (?1, ?2, ?3)
                 ON CONFLICT (node) DO UPDATE SET epoch = ?2, sequence = ?3",
            )?
            .execute(params![self.node, self.epoch, self.sequence])
            .map(drop)
    }
}

/// A group of commands of one node, shared by all who handle it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposed {
    pub(crate) origin: Origin,
    pub(crate) entry: Arc<Entry>,
}

impl Proposed {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for number in [self.origin.node, self.origin.epoch, self.origin.sequence] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.append(&mut self.entry.encode());
        out
    }

    /// About how many bytes it takes in the log.
    pub(crate) fn size(&self) -> usize {
        32 + self.entry.size()
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let number = |n: usize| -> Result<u64, DecodeError> {
            let at = n * 8;
            let found = bytes.get(at..at + 8).and_then(|found| found.try_into().ok());
            found.map(u64::from_le_bytes).ok_or(DecodeError::Damaged { at })
        };
        let origin = Origin { node: number(0)?, epoch: number(1)?, sequence: number(2)? };
        Ok(Self { origin, entry: Arc::new(Entry::decode(&bytes.slice(24..))?) })
    }
}

/// What one entry of the log carries: groups of several nodes, or of one, in the order in which they are applied. Each
/// is taken or skipped for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<u8>", try_from = "Vec<u8>")]
pub(crate) struct Merged(pub(crate) Vec<Proposed>);

impl Merged {
    /// `length u32 LE, group` for each.
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.iter().map(|proposed| proposed.size() + 32).sum());
        for proposed in &self.0 {
            let group = proposed.encode();
            put_bytes(&mut out, &group);
        }
        out
    }

    fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let (mut groups, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let damaged = || DecodeError::Damaged { at };
            let begin = at + 4;
            let length = bytes.get(at..begin).and_then(|found| found.try_into().ok()).map(u32::from_le_bytes);
            let length = length.and_then(|length| usize::try_from(length).ok()).ok_or_else(damaged)?;
            let end = begin.checked_add(length).filter(|end| *end <= bytes.len()).ok_or_else(damaged)?;
            groups.push(Proposed::decode(&bytes.slice(begin..end))?);
            at = end;
        }
        Ok(Self(groups))
    }
}

impl From<Merged> for Vec<u8> {
    fn from(merged: Merged) -> Self {
        merged.encode()
    }
}

impl TryFrom<Vec<u8>> for Merged {
    type Error = DecodeError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, DecodeError> {
        Self::decode(&Bytes::from(bytes))
    }
}

/// The groups of commands in an entry.
pub(crate) fn groups(entry: &RaftEntry) -> &[Proposed] {
    match &entry.payload {
        EntryPayload::Normal(Merged(groups)) => groups,
        EntryPayload::Blank | EntryPayload::Membership(_) => &[],
    }
}

mod kind {
    //! Numbers in the log table and between nodes. Never reused.
    /// One group.
    pub(super) const PROPOSED: u8 = 0;
    pub(super) const BLANK: u8 = 1;
    pub(super) const MEMBERSHIP: u8 = 2;
    /// Several.
    pub(super) const MERGED: u8 = 3;
}

pub(crate) fn log_id(at: Position) -> LogId<u64> {
    LogId::new(CommittedLeaderId::new(at.term, at.node), at.index)
}

pub(crate) fn position(id: &LogId<u64>) -> Position {
    Position { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
}

/// An entry as it is stored and sent.
pub(crate) fn to_row(entry: &RaftEntry) -> Result<LogRow, serde_json::Error> {
    let (kind, body) = match &entry.payload {
        EntryPayload::Blank => (kind::BLANK, Vec::new()),
        EntryPayload::Normal(merged) => match merged.0.as_slice() {
            [proposed] => (kind::PROPOSED, proposed.encode()),
            _ => (kind::MERGED, merged.encode()),
        },
        EntryPayload::Membership(members) => (kind::MEMBERSHIP, serde_json::to_vec(members)?),
    };
    Ok(LogRow { at: position(&entry.log_id), kind, body })
}

/// Reads an entry back.
///
/// # Errors
/// When it is damaged, or of a newer version.
pub(crate) fn from_row(row: LogRow) -> Result<RaftEntry, DecodeError> {
    let payload = match row.kind {
        kind::BLANK => EntryPayload::Blank,
        kind::PROPOSED => EntryPayload::Normal(Merged(vec![Proposed::decode(&Bytes::from(row.body))?])),
        kind::MERGED => EntryPayload::Normal(Merged::decode(&Bytes::from(row.body))?),
        kind::MEMBERSHIP => {
            let members = serde_json::from_slice(&row.body).map_err(|_| DecodeError::Damaged { at: 0 })?;
            EntryPayload::Membership(members)
        }
        found => return Err(DecodeError::Newer { found }),
    };
    Ok(RaftEntry { log_id: log_id(row.at), payload })
}

/// Who belongs to the cluster, as the rows say; nobody before the first entry that tells.
pub(crate) fn load_config(connection: &Connection) -> rusqlite::Result<Config> {
    let found = connection
        .prepare_cached("SELECT term, node, log_index, config FROM membership")?
        .query_row([], |row| Ok((Position::read(row, 0)?, row.get::<_, String>(3)?)))
        .optional()?;
    let Some((at, config)) = found else { return Ok(Config::default()) };
    let members = serde_json::from_str(&config).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(3, rusqlite::types::Type::Text, Box::new(error))
    })?;
    Ok(Config::new(at.map(log_id), members))
}

/// Notes who belongs to the cluster from an entry on.
pub(crate) fn save_config(
    at: Option<Position>,
    members: &Membership<u64, Seat>,
    connection: &Connection,
) -> rusqlite::Result<()> {
    let config = serde_json::to_string(members)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    let whole = at.unwrap_or_default();
    connection
        .prepare_cached(
            "INSERT INTO membership (id, term, node, log_index, config) VALUES (0, ?1, ?2, ?3, ?4)
             ON CONFLICT (id) DO UPDATE SET term = ?1, node = ?2, log_index = ?3, config = ?4",
        )?
        .execute(params![whole.term, at.map(|at| at.node), whole.index, config])
        .map(drop)
}

/// The role of a node in a configuration; None when it is no part of it.
pub(crate) fn role(members: &Membership<u64, Seat>, node: u64) -> Option<Role> {
    let seat = members.get_node(&node)?;
    let voter = members.voter_ids().any(|voter| voter == node);
    Some(match seat.spare {
        _ if voter => Role::Voter,
        true => Role::Spare,
        false => Role::Standby,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, Operation};
    use std::collections::{BTreeMap, BTreeSet};
    use storage::{Author, Made};

    #[test]
    fn entries_of_every_kind_survive_being_stored() {
        let delete = Operation::Delete { key: "/registry/core/pods/a".into(), if_revision: 4 };
        let made = Made { by: Author::new("alice", Some("root")), at_millis: 5 };
        let entry = Arc::new(Entry { commands: vec![Command::Write(delete)], made: vec![made] });
        let origin = Origin { node: 3, epoch: 2, sequence: 9 };
        let one = Proposed { origin, entry: Arc::clone(&entry) };
        let other = Origin { node: 1, ..origin };
        let member = Member { name: "a".into(), address: "[::1]:1".into(), failure_domain: "x".into() };
        let members = Membership::new(vec![BTreeSet::from([1])], BTreeMap::from([(1, member.into())]));
        for payload in [
            EntryPayload::Blank,
            EntryPayload::Normal(Merged(vec![one.clone()])),
            EntryPayload::Normal(Merged(vec![one, Proposed { origin: other, entry }])),
            EntryPayload::Membership(members),
        ] {
            let entry = RaftEntry { log_id: log_id(Position { term: 4, node: 2, index: 77 }), payload };
            let row = to_row(&entry).unwrap();
            assert_eq!(from_row(row.clone()).unwrap(), entry);
            // What ends with a group is whole, if shorter: how long it is, the table and the message know.
            let whole = groups(&entry).iter().map(|group| 4 + group.encode().len());
            let whole: Vec<usize> = whole
                .scan(0, |end, size| {
                    *end += size;
                    Some(*end)
                })
                .collect();
            for end in 0..row.body.len() {
                let cut = LogRow { body: row.body[..end].to_vec(), ..row.clone() };
                let whole = row.kind == kind::MERGED && (end == 0 || whole.contains(&end));
                let damaged = matches!(from_row(cut), Err(DecodeError::Damaged { .. }));
                assert_eq!(damaged, !whole, "{end} of {entry}");
            }
        }
        let unknown = LogRow { at: Position::default(), kind: 99, body: Vec::new() };
        assert_eq!(from_row(unknown), Err(DecodeError::Newer { found: 99 }));
    }

    #[test]
    fn who_is_a_spare_is_said_of_nobody_else_and_was_never_said_before() {
        let old = r#"{"name":"a","address":"x","failure_domain":""}"#;
        let mut seat: Seat = serde_json::from_str(old).unwrap();
        assert!(!seat.spare);
        assert_eq!(serde_json::to_string(&seat).unwrap(), old);
        seat.spare = true;
        let text = serde_json::to_string(&seat).unwrap();
        assert_eq!(serde_json::from_str::<Seat>(&text).unwrap(), seat);
        let nodes = BTreeMap::from([(1, seat.clone()), (2, seat), (3, Seat::default())]);
        let members = Membership::new(vec![BTreeSet::from([1])], nodes);
        let roles = [1, 2, 3, 4].map(|node| role(&members, node));
        assert_eq!(roles, [Some(Role::Voter), Some(Role::Spare), Some(Role::Standby), None]);
    }

    #[test]
    fn a_proposal_follows_only_the_one_before_it() {
        let at = |epoch, sequence| Origin { node: 1, epoch, sequence };
        assert!(at(1, 1).follows(None));
        assert!(!at(1, 2).follows(None));
        assert!(at(1, 3).follows(Some(&at(1, 2))));
        assert!(!at(1, 2).follows(Some(&at(1, 2))));
        assert!(!at(1, 4).follows(Some(&at(1, 2))));
        assert!(at(2, 1).follows(Some(&at(1, 2))));
        assert!(!at(2, 2).follows(Some(&at(1, 2))));
        assert!(!at(1, 3).follows(Some(&at(2, 1))));
    }
}
