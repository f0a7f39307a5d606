//! What parsers of short texts have in common.

/// Passes over a token at the start of what is left; answers whether it was there.
pub(crate) fn eat(rest: &mut &str, token: &str) -> bool {
    let found = rest.strip_prefix(token);
    if let Some(after) = found {
        *rest = after;
    }
    found.is_some()
}
