//! Objects and events as readers and watchers get them: shared, immutable, already encoded.

use crate::attrs::Attrs;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;

/// One object at one revision.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its key, `/registry/{group}/{plural}/{namespace/}{name}`.
    pub key: Arc<str>,
    /// The revision that created it.
    pub create_revision: u64,
    /// The revision that last changed it: its `resourceVersion`. Of a deleted object, the deletion's.
    pub revision: u64,
    /// Compact JSON, with `metadata.resourceVersion`.
    pub value: Bytes,
    /// Where in `value` the member `"resourceVersion"` begins.
    pub splice_at: u32,
    /// Labels and selectable fields.
    pub attrs: Attrs,
}

impl Object {
    /// The same object with another revision in its metadata, as watchers see a deletion.
    #[must_use]
    pub fn restamped(&self, revision: u64) -> Self {
        Self {
            key: Arc::clone(&self.key),
            create_revision: self.create_revision,
            revision,
            value: crate::encoded::restamp(&self.value, self.splice_at, revision),
            splice_at: self.splice_at,
            attrs: self.attrs.clone(),
        }
    }
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// It was created.
    Added,
    /// It was updated.
    Modified,
    /// It was deleted.
    Deleted,
}

/// One change, shared by all watchers.
#[derive(Debug)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The object after the change; of a deletion, its last state stamped with the deletion's revision.
    pub object: Arc<Object>,
    /// The object before the change. None for [`EventKind::Added`].
    pub previous: Option<Arc<Object>>,
    /// The revision of the change.
    pub revision: u64,
    frames: Mutex<Frames>,
}

/// What an event was encoded to.
#[derive(Debug, Default)]
struct Frames {
    json: Option<Bytes>,
    protobuf: Option<Bytes>,
    /// Whether those who still want the event encode it for themselves.
    closed: bool,
}

/// The forms in which most watchers want events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameForm {
    /// A line of JSON.
    Json,
    /// A protobuf message after its length.
    Protobuf,
}

impl Event {
    /// A change of an object.
    pub fn new(kind: EventKind, object: Arc<Object>, previous: Option<Arc<Object>>) -> Self {
        let revision = object.revision;
        Self { kind, object, previous, revision, frames: Mutex::default() }
    }

    /// The event in one of the forms that most watchers want, encoded by the first who asks and shared by the rest:
    /// everybody who calls this for a form passes an `encode` that yields the same bytes.
    ///
    /// Cost: the frame lives until some further events have happened to the resource.
    ///
    /// # Errors
    /// When it cannot be encoded; the next who asks tries again.
    pub fn frame<E>(
        &self,
        form: FrameForm,
        encode: impl FnOnce(&Self) -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        let mut frames = self.frames.lock();
        if let Some(frame) = frames.slot(form) {
            return Ok(frame.clone());
        }
        let frame = encode(self)?;
        if !frames.closed {
            *frames.slot(form) = Some(frame.clone());
        }
        Ok(frame)
    }

    /// Lets go of the frames, for good: by now most watches have seen the event.
    pub(crate) fn close_frames(&self) {
        *self.frames.lock() = Frames { closed: true, ..Frames::default() };
    }
}

impl Frames {
    fn slot(&mut self, form: FrameForm) -> &mut Option<Bytes> {
        match form {
            FrameForm::Json => &mut self.json,
            FrameForm::Protobuf => &mut self.protobuf,
        }
    }
}
