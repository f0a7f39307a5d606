//! A request on its way through the endpoints.

use super::negotiation::{self, Form, Offer};
use super::query::Query;
use super::request_info::RequestInfo;
use crate::admission::Warnings;
use crate::audit::Annotations;
use crate::authentication::UserInfo;
use apimachinery::status::Result;
use http::{HeaderMap, header};
use jiff::Timestamp;

/// Longest manager name (upstream's bound for `fieldManager`).
const MANAGER_MAX_BYTES: usize = 128;

/// A request, authenticated and taken apart.
pub(crate) struct Context {
    /// What it asks.
    pub(crate) info: RequestInfo,
    /// Who asks.
    pub(crate) user: UserInfo,
    /// Its query.
    pub(crate) query: Query,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// What the client is to be warned of.
    pub(crate) warnings: Warnings,
    /// What the audit log is to note.
    pub(crate) annotations: Annotations,
    /// When it came.
    pub(crate) now: Timestamp,
}

impl Context {
    /// The form of the answer.
    ///
    /// # Errors
    /// 406 when there is none that both sides know.
    pub(crate) fn form(&self, offer: Offer) -> Result<Form> {
        let pretty = negotiation::wants_pretty(self.query.get("pretty"), &self.headers);
        negotiation::negotiate(&self.headers, pretty, offer)
    }

    /// Who manages the fields that a write sets: the parameter, or what the user agent calls itself.
    pub(crate) fn field_manager(&self) -> String {
        match self.query.text("fieldManager") {
            "" => {
                let agent = self.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("");
                let product = agent.split('/').next().unwrap_or("");
                let mut end = product.len().min(MANAGER_MAX_BYTES);
                while !product.is_char_boundary(end) {
                    end -= 1;
                }
                match product.get(..end) {
                    None | Some("") => "unknown".to_owned(),
                    Some(name) => name.to_owned(),
                }
            }
            manager => manager.to_owned(),
        }
    }
}
