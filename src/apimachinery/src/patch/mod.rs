//! The three patches that are applied to a tree; the fourth, server-side apply, is [`crate::managedfields`].
//!
//! | module | media type |
//! |---|---|
//! | [`json`] | `application/json-patch+json` (RFC 6902) |
//! | [`merge`] | `application/merge-patch+json` (RFC 7386) |
//! | [`strategic`] | `application/strategic-merge-patch+json` |

pub mod json;
pub mod merge;
mod order;
pub mod strategic;

use crate::status::{Details, Reason, Status};

/// 422 for a patch that is well formed and does not fit the object. Kubernetes keeps the cause to itself in the
/// message; the details have it here.
fn unprocessable(why: impl Into<String>) -> Status {
    let cause = crate::status::Cause {
        reason: "UnexpectedServerResponse".to_owned(),
        message: why.into(),
        ..crate::status::Cause::default()
    };
    Status::failure(422, Reason::Invalid, "the server rejected our request due to an error in our request")
        .with_details(Details { causes: vec![cause], ..Details::default() })
}
