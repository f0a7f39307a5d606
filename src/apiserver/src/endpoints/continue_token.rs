//! Tokens by which a client asks for the next part of a list (KEP-365).

use apimachinery::status::{Result, Status};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

/// The version of the token's form, the same as upstream's.
const VERSION: &str = "meta.k8s.io/v1";
/// Stands for "whatever the state is now": the token of an expired list.
const INCONSISTENT: i64 = -1;

#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    rv: i64,
    start: String,
}

/// A place in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The list's revision; `None` goes on with the state as it is now.
    pub(crate) revision: Option<u64>,
    /// The last key that was shown.
    pub(crate) after: String,
}

impl Place {
    /// The opaque text of this place in the list of a prefix.
    pub(crate) fn token(&self, prefix: &str) -> String {
        let rv = self.revision.and_then(|r| i64::try_from(r).ok()).unwrap_or(INCONSISTENT);
        let start = format!("{}\0", self.after.strip_prefix(prefix).unwrap_or(&self.after));
        let token = Token { v: VERSION.to_owned(), rv, start };
        serde_json::to_vec(&token).map(|json| URL_SAFE_NO_PAD.encode(json)).unwrap_or_default()
    }

    /// Reads a token.
    ///
    /// # Errors
    /// 400 when it is none.
    pub(crate) fn parse(token: &str, prefix: &str) -> Result<Self> {
        let invalid = |why: &str| {
            Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
        };
        let json = URL_SAFE_NO_PAD
            .decode(token)
            .or_else(|_| URL_SAFE.decode(token))
            .or_else(|_| STANDARD.decode(token))
            .or_else(|_| STANDARD_NO_PAD.decode(token))
            .map_err(|e| invalid(&e.to_string()))?;
        let token: Token = serde_json::from_slice(&json).map_err(|e| invalid(&e.to_string()))?;
        if token.v != VERSION {
            return Err(invalid(&format!("server does not recognize this encoded version {:?}", token.v)));
        }
        let revision = match token.rv {
            INCONSISTENT => None,
            rv => match u64::try_from(rv) {
                Ok(rv) if rv > 0 => Some(rv),
                _ => return Err(invalid("incorrect encoded start resourceVersion (version meta.k8s.io/v1)")),
            },
        };
        let start = token.start.strip_suffix('\0').unwrap_or(&token.start);
        // The key has to stay below the prefix that the caller may list.
        if start.is_empty() || start.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
            return Err(invalid(&format!("{:?}", token.start)));
        }
        Ok(Self { revision, after: format!("{prefix}{start}") })
    }
}

/// 410 with a token that goes on with the state as it is now.
pub(crate) fn expired(place: &Place, prefix: &str) -> Status {
    let mut status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new \
         list without the continue parameter, or use the continue token in this response to retrieve the \
         remainder of the results. Continuing with the provided token results in an inconsistent list - \
         objects that were created, modified, or deleted between the time the first chunk was returned and \
         now may show up in the list.",
    );
    status.metadata.continue_token = Place { revision: None, after: place.after.clone() }.token(prefix);
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "/registry/core/pods/";

    #[test]
    fn a_token_leads_back_to_its_place() {
        for revision in [Some(7), None] {
            let place = Place { revision, after: format!("{PREFIX}default/a") };
            assert_eq!(Place::parse(&place.token(PREFIX), PREFIX).unwrap(), place);
        }
    }

    #[test]
    fn tokens_that_are_none_are_refused() {
        let odd = Place { revision: Some(1), after: "../secrets/a".into() }.token(PREFIX);
        for token in ["", "!", "e30", odd.as_str()] {
            assert_eq!(Place::parse(token, PREFIX).unwrap_err().code, 400, "{token}");
        }
    }
}
