//! The versions of a custom resource, as whoever tracks managers of fields has to see them where a webhook converts.

use super::version::CustomVersion;
use apimachinery::managedfields::versions::{Pending, Versions};
use apimachinery::schema::SchemaRef;
use apimachinery::status::Result;
use parking_lot::Mutex;
use serde_json::Value;
use std::sync::Arc;

/// Conversions for one request: those that were made, and the one that is wanted next.
pub(crate) struct Conversions<'a> {
    /// Where a webhook converts.
    version: Option<&'a Arc<CustomVersion>>,
    made: Mutex<Vec<Made>>,
    wanted: Mutex<Option<(Value, String)>>,
}

struct Made {
    from: Value,
    to: String,
    outcome: Option<(SchemaRef, Value)>,
}

impl<'a> Conversions<'a> {
    /// None are made yet.
    pub(crate) fn new(version: Option<&'a Arc<CustomVersion>>) -> Self {
        let version = version.filter(|version| version.asks_webhook());
        Self { version, made: Mutex::default(), wanted: Mutex::default() }
    }

    /// Makes the conversion that was wanted. Returns whether there was one.
    ///
    /// # Errors
    /// 500 when the webhook does not do it right.
    pub(crate) async fn settle(&self) -> Result<bool> {
        let wanted = self.wanted.lock().take();
        let (Some((from, to)), Some(version)) = (wanted, self.version) else { return Ok(false) };
        let outcome = version.in_version(&from, &to).await?;
        self.made.lock().push(Made { from, to, outcome });
        Ok(true)
    }
}

impl Versions for Conversions<'_> {
    fn differ(&self) -> bool {
        self.version.is_some()
    }

    fn convert(&self, object: &Value, to: &str) -> std::result::Result<Option<(SchemaRef, Value)>, Pending> {
        let made = self.made.lock();
        match made.iter().find(|made| made.to == to && made.from == *object) {
            Some(made) => Ok(made.outcome.clone()),
            None => {
                *self.wanted.lock() = Some((object.clone(), to.to_owned()));
                Err(Pending)
            }
        }
    }
}
