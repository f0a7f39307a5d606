//! Commands as data, and the log entries that carry them.

use bytes::Bytes;
use std::sync::Arc;
use storage::{Author, Encoded, Made};

/// The newest form of an encoded entry. A reader refuses what it does not know.
pub(crate) const FORMAT: u8 = FORMAT_MADE;

/// Without word of who made the commands.
const FORMAT_PLAIN: u8 = 1;

/// Before each command: who made it, and when.
const FORMAT_MADE: u8 = 2;

mod tag {
    //! Numbers in the encoded form. Never reused; 6 to 9 are kept for leases.
    pub(super) const CREATE: u8 = 1;
    pub(super) const UPDATE: u8 = 2;
    pub(super) const DELETE: u8 = 3;
    pub(super) const TRANSACTION: u8 = 4;
    pub(super) const COMPACT: u8 = 5;
}

mod author {
    //! How the author of a command is told.
    /// The one of the command before it.
    pub(super) const SAME: u8 = 0;
    /// A user.
    pub(super) const USER: u8 = 1;
    /// A user, and who impersonates it.
    pub(super) const IMPERSONATED: u8 = 2;
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
    /// Who made each of them, and when. Empty when that is not known, or not to be told to nodes that cannot read it.
    pub made: Vec<Made>,
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
        let mut out = Vec::with_capacity(self.size() + 16);
        // Of all or of none.
        let told = !self.made.is_empty() && self.made.len() == self.commands.len();
        let mut made = self.made.iter().filter(|_| told);
        out.push(if told { FORMAT_MADE } else { FORMAT_PLAIN });
        put_u32(&mut out, self.commands.len());
        let mut before = None;
        for command in &self.commands {
            if let Some(Made { by, at_millis }) = made.next() {
                out.extend_from_slice(&at_millis.to_le_bytes());
                put_author(&mut out, by, before.replace(by));
            }
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
        if !matches!(format, FORMAT_PLAIN | FORMAT_MADE) {
            return Err(DecodeError::Newer { found: format });
        }
        let count = reader.u32()?;
        let mut entry = Self::default();
        for _ in 0..count {
            if format == FORMAT_MADE {
                let made = reader.made(entry.made.last())?;
                entry.made.push(made);
            }
            entry.commands.push(reader.command()?);
        }
        if reader.at != bytes.len() {
            return Err(reader.damaged());
        }
        Ok(entry)
    }

    /// About how many bytes it takes in the log.
    pub(crate) fn size(&self) -> usize {
        self.commands.iter().map(Command::size).sum::<usize>()
            + self.made.iter().map(size_of_made).sum::<usize>()
    }
}

/// About how many bytes it takes in the log to tell who made a command.
pub(crate) fn size_of_made(made: &Made) -> usize {
    16 + made.by.user.len() + made.by.impersonator.as_ref().map_or(0, |name| name.len())
}

/// Names who made a command, unless that is the one `before`.
fn put_author(out: &mut Vec<u8>, by: &Author, before: Option<&Author>) {
    match &by.impersonator {
        _ if before == Some(by) => out.push(author::SAME),
        None => {
            out.push(author::USER);
            put_bytes(out, by.user.as_bytes());
        }
        Some(impersonator) => {
            out.push(author::IMPERSONATED);
            put_bytes(out, by.user.as_bytes());
            put_bytes(out, impersonator.as_bytes());
        }
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

    fn made(&mut self, before: Option<&Made>) -> Result<Made, DecodeError> {
        let at_millis = self.u64()?;
        let by = match self.u8()? {
            author::SAME => before.ok_or_else(|| self.damaged())?.by.clone(),
            author::USER => Author { user: self.text()?, impersonator: None },
            author::IMPERSONATED => Author { user: self.text()?, impersonator: Some(self.text()?) },
            found => return Err(DecodeError::Newer { found }),
        };
        Ok(Made { by, at_millis })
    }

    fn text(&mut self) -> Result<Arc<str>, DecodeError> {
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
            tag::CREATE => Operation::Create { key: self.text()?, object: self.object()? },
            tag::UPDATE => {
                Operation::Update { key: self.text()?, if_revision: self.u64()?, object: self.object()? }
            }
            tag::DELETE => Operation::Delete { key: self.text()?, if_revision: self.u64()? },
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
        let commands = vec![
            Command::Write(create.clone()),
            Command::Transaction(vec![update, delete, create]),
            Command::Compact { revision: 5 },
            Command::Compact { revision: 6 },
        ];
        let made = |user, impersonator, at_millis| Made { by: Author::new(user, impersonator), at_millis };
        let made = vec![
            made("alice", None, 7),
            made("alice", None, 9),
            made("alice", Some("röt"), u64::MAX),
            made("", None, 0),
        ];
        Entry { commands, made }
    }

    fn plain() -> Entry {
        Entry { made: Vec::new(), ..entry() }
    }

    #[test]
    fn entries_survive_encoding() {
        for entry in [entry(), plain(), Entry::default()] {
            assert_eq!(Entry::decode(&Bytes::from(entry.encode())), Ok(entry));
        }
    }

    #[test]
    fn every_truncation_is_noticed() {
        for entry in [entry(), plain()] {
            let bytes = Bytes::from(entry.encode());
            for end in 0..bytes.len() {
                let cut = Entry::decode(&bytes.slice(..end));
                assert!(matches!(cut, Err(DecodeError::Damaged { .. })), "{end}");
            }
            let mut longer = bytes.to_vec();
            longer.push(0);
            assert!(Entry::decode(&Bytes::from(longer)).is_err());
        }
    }

    #[test]
    fn entries_of_older_versions_are_read_and_what_they_can_read_is_as_they_wrote_it() {
        // A deletion of "/a" at revision 7.
        let old = Bytes::from_static(b"\x01\x01\0\0\0\x03\x02\0\0\0/a\x07\0\0\0\0\0\0\0");
        let commands = vec![Command::Write(Operation::Delete { key: "/a".into(), if_revision: 7 })];
        let entry = Entry { commands, made: Vec::new() };
        assert_eq!(Entry::decode(&old), Ok(entry.clone()));
        assert_eq!(entry.encode(), old);
    }

    #[test]
    fn who_made_a_command_is_told_in_this_form_and_the_same_name_once() {
        let made = |user, impersonator| Made { by: Author::new(user, impersonator), at_millis: 0x0102 };
        let made = vec![made("al", None), made("al", None), made("al", Some("x"))];
        let entry = Entry { commands: vec![Command::Compact { revision: 5 }; 3], made };
        let compact = b"\x05\x05\0\0\0\0\0\0\0";
        let time = b"\x02\x01\0\0\0\0\0\0";
        let mut told = b"\x02\x03\0\0\0".to_vec();
        for author in [&b"\x01\x02\0\0\0al"[..], b"\0", b"\x02\x02\0\0\0al\x01\0\0\0x"] {
            told.extend([&time[..], author, compact].concat());
        }
        assert_eq!(entry.encode(), told);
        // There is nobody before the first.
        let nobody = [&b"\x02\x01\0\0\0"[..], time, b"\0", compact].concat();
        assert!(matches!(Entry::decode(&Bytes::from(nobody)), Err(DecodeError::Damaged { .. })));
        let newer = [&b"\x02\x01\0\0\0"[..], time, b"\x09"].concat();
        assert_eq!(Entry::decode(&Bytes::from(newer)), Err(DecodeError::Newer { found: 9 }));
    }

    #[test]
    fn newer_formats_and_commands_are_named() {
        assert_eq!(Entry::decode(&Bytes::from_static(&[9])), Err(DecodeError::Newer { found: 9 }));
        let unknown = Bytes::from_static(&[FORMAT_PLAIN, 1, 0, 0, 0, 77]);
        assert_eq!(Entry::decode(&unknown), Err(DecodeError::Newer { found: 77 }));
    }
}
