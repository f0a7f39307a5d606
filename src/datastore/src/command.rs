//! Commands as data, and the log entries that carry them.

use bytes::Bytes;
use std::sync::Arc;
use storage::Encoded;

/// The form of an encoded entry. A reader refuses what it does not know.
const FORMAT: u8 = 1;

mod tag {
    //! Numbers in the encoded form. Never reused; 6 to 9 are kept for leases.
    pub(super) const CREATE: u8 = 1;
    pub(super) const UPDATE: u8 = 2;
    pub(super) const DELETE: u8 = 3;
    pub(super) const TRANSACTION: u8 = 4;
    pub(super) const COMPACT: u8 = 5;
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Stores an object under a key that is free.
    Create {
        /// The key.
        key: Arc<str>,
        /// The object.
        object: Encoded,
    },
    /// Replaces an object.
    Update {
        /// The key.
        key: Arc<str>,
        /// The revision that it has to be at; 0 for any.
        if_revision: u64,
        /// The object.
        object: Encoded,
    },
    /// Deletes an object.
    Delete {
        /// The key.
        key: Arc<str>,
        /// The revision that it has to be at; 0 for any.
        if_revision: u64,
    },
}

impl Operation {
    /// The key that it changes.
    pub fn key(&self) -> &Arc<str> {
        match self {
            Self::Create { key, .. } | Self::Update { key, .. } | Self::Delete { key, .. } => key,
        }
    }

    pub(crate) fn object_mut(&mut self) -> Option<&mut Encoded> {
        match self {
            Self::Create { object, .. } | Self::Update { object, .. } => Some(object),
            Self::Delete { .. } => None,
        }
    }

    /// The object that it stores.
    pub fn object(&self) -> Option<&Encoded> {
        match self {
            Self::Create { object, .. } | Self::Update { object, .. } => Some(object),
            Self::Delete { .. } => None,
        }
    }
}

/// What can be done to the store. Applied as a whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// One change.
    Write(Operation),
    /// Changes of different keys that share a revision.
    Transaction(Vec<Operation>),
    /// Forgets what was superseded before a revision.
    Compact {
        /// The oldest revision that can be asked for afterwards.
        revision: u64,
    },
}

impl Command {
    /// The operations in it.
    pub fn operations(&self) -> &[Operation] {
        match self {
            Self::Write(operation) => std::slice::from_ref(operation),
            Self::Transaction(operations) => operations,
            Self::Compact { .. } => &[],
        }
    }

    pub(crate) fn operations_mut(&mut self) -> &mut [Operation] {
        match self {
            Self::Write(operation) => std::slice::from_mut(operation),
            Self::Transaction(operations) => operations,
            Self::Compact { .. } => &mut [],
        }
    }

    /// About how many bytes it takes in the log.
    pub(crate) fn size(&self) -> usize {
        let one = |o: &Operation| o.key().len() + o.object().map_or(0, |e| e.bytes().len()) + 32;
        16 + self.operations().iter().map(one).sum::<usize>()
    }
}

/// One entry of the log: the commands that were waiting while the entry before it was being flushed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// In the order in which they are applied.
    pub commands: Vec<Command>,
}

/// Why bytes are no entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They end too early, or something in them does not fit.
    #[error("the log entry is damaged at byte {at}")]
    Damaged {
        /// Where reading stopped.
        at: usize,
    },
    /// They were written by a newer version.
    #[error("the log entry has format or command {found}, which this version does not know")]
    Newer {
        /// The number that is not known.
        found: u8,
    },
}

impl Entry {
    /// The entry as bytes for the log.
    pub fn encode(&self) -> Vec<u8> {
        let size: usize = self.commands.iter().map(Command::size).sum();
        let mut out = Vec::with_capacity(size + 16);
        out.push(FORMAT);
        put_u32(&mut out, self.commands.len());
        for command in &self.commands {
            match command {
                Command::Write(operation) => put_operation(&mut out, operation),
                Command::Transaction(operations) => {
                    out.push(tag::TRANSACTION);
                    put_u32(&mut out, operations.len());
                    operations.iter().for_each(|operation| put_operation(&mut out, operation));
                }
                Command::Compact { revision } => {
                    out.push(tag::COMPACT);
                    out.extend_from_slice(&revision.to_le_bytes());
                }
            }
        }
        out
    }

    /// Reads an entry back. The objects share the memory of `bytes`.
    ///
    /// # Errors
    /// When the bytes are no entry, or one of a newer version.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader { bytes, at: 0 };
        let format = reader.u8()?;
        if format != FORMAT {
            return Err(DecodeError::Newer { found: format });
        }
        let count = reader.u32()?;
        let mut commands = Vec::new();
        for _ in 0..count {
            commands.push(reader.command()?);
        }
        if reader.at != bytes.len() {
            return Err(reader.damaged());
        }
        Ok(Self { commands })
    }
}

fn put_operation(out: &mut Vec<u8>, operation: &Operation) {
    let (tag, if_revision) = match operation {
        Operation::Create { .. } => (tag::CREATE, None),
        Operation::Update { if_revision, .. } => (tag::UPDATE, Some(if_revision)),
        Operation::Delete { if_revision, .. } => (tag::DELETE, Some(if_revision)),
    };
    out.push(tag);
    put_bytes(out, operation.key().as_bytes());
    if let Some(revision) = if_revision {
        out.extend_from_slice(&revision.to_le_bytes());
    }
    if let Some(object) = operation.object() {
        out.extend_from_slice(&object.splice_at().to_le_bytes());
        put_bytes(out, object.bytes());
    }
}

/// Lengths fit: objects are far below 4 GiB, and an entry is bounded by the writer.
fn put_u32(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, bytes.len());
    out.extend_from_slice(bytes);
}

struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl Reader<'_> {
    fn damaged(&self) -> DecodeError {
        DecodeError::Damaged { at: self.at }
    }

    fn take(&mut self, count: usize) -> Result<Bytes, DecodeError> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| self.damaged())?;
        let taken = self.bytes.slice(self.at..end);
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let taken = self.take(N)?;
        <[u8; N]>::try_from(&*taken).map_err(|_| self.damaged())
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    fn key(&mut self) -> Result<Arc<str>, DecodeError> {
        let length = self.u32()? as usize;
        let bytes = self.take(length)?;
        std::str::from_utf8(&bytes).map(Arc::from).map_err(|_| self.damaged())
    }

    fn object(&mut self) -> Result<Encoded, DecodeError> {
        let splice_at = self.u32()? as usize;
        let length = self.u32()? as usize;
        let bytes = self.take(length)?;
        Encoded::from_parts(bytes, splice_at).map_err(|_| self.damaged())
    }

    fn command(&mut self) -> Result<Command, DecodeError> {
        match self.u8()? {
            tag::TRANSACTION => {
                let count = self.u32()?;
                let mut operations = Vec::new();
                for _ in 0..count {
                    let tag = self.u8()?;
                    operations.push(self.operation(tag)?);
                }
                Ok(Command::Transaction(operations))
            }
            tag::COMPACT => Ok(Command::Compact { revision: self.u64()? }),
            other => self.operation(other).map(Command::Write),
        }
    }

    fn operation(&mut self, tag: u8) -> Result<Operation, DecodeError> {
        Ok(match tag {
            tag::CREATE => Operation::Create { key: self.key()?, object: self.object()? },
            tag::UPDATE => {
                Operation::Update { key: self.key()?, if_revision: self.u64()?, object: self.object()? }
            }
            tag::DELETE => Operation::Delete { key: self.key()?, if_revision: self.u64()? },
            found => return Err(DecodeError::Newer { found }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry() -> Entry {
        let object = Encoded::new(&json!({"metadata": {"name": "a"}})).unwrap();
        let create = Operation::Create { key: "/registry/core/pods/a".into(), object: object.clone() };
        let update = Operation::Update { key: "/registry/core/pods/ü".into(), if_revision: 7, object };
        let delete = Operation::Delete { key: "/registry/core/pods/c".into(), if_revision: u64::MAX };
        Entry {
            commands: vec![
                Command::Write(create.clone()),
                Command::Transaction(vec![update, delete, create]),
                Command::Compact { revision: 5 },
            ],
        }
    }

    #[test]
    fn entries_survive_encoding() {
        for entry in [entry(), Entry::default()] {
            assert_eq!(Entry::decode(&Bytes::from(entry.encode())), Ok(entry));
        }
    }

    #[test]
    fn every_truncation_is_noticed() {
        let bytes = Bytes::from(entry().encode());
        for end in 0..bytes.len() {
            assert!(matches!(Entry::decode(&bytes.slice(..end)), Err(DecodeError::Damaged { .. })), "{end}");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(Entry::decode(&Bytes::from(longer)).is_err());
    }

    #[test]
    fn newer_formats_and_commands_are_named() {
        assert_eq!(Entry::decode(&Bytes::from_static(&[9])), Err(DecodeError::Newer { found: 9 }));
        let unknown = Bytes::from_static(&[FORMAT, 1, 0, 0, 0, 77]);
        assert_eq!(Entry::decode(&unknown), Err(DecodeError::Newer { found: 77 }));
    }
}
