//! The order of a merged list: items that the patch names keep the patch's order, the others keep theirs, and where
//! both are known to the server its order decides between them.

use serde_json::Value;

/// How items are told apart: by this field of them, or, if empty, by themselves.
#[derive(Clone, Copy)]
pub(super) struct Identity<'a>(pub(super) &'a str);

impl Identity<'_> {
    /// What identifies an item. None if an object lacks its merge key.
    pub(super) fn of<'v>(&self, item: &'v Value) -> Option<&'v Value> {
        if self.0.is_empty() { Some(item) } else { item.get(self.0) }
    }

    /// Where the item of the same identity stands in a list.
    pub(super) fn position(&self, list: &[Value], item: &Value) -> Option<usize> {
        let wanted = self.of(item)?;
        list.iter().position(|candidate| self.of(candidate) == Some(wanted))
    }
}

/// Brings a merged list into order. `named` is the order that the patch asks for, `server` the list before the patch.
pub(super) fn arrange(
    merged: Vec<Value>,
    named: &[Value],
    server: &[Value],
    identity: Identity<'_>,
) -> Vec<Value> {
    let (mut ours, mut theirs): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| identity.position(named, item).is_some());
    ours.sort_by_key(|item| identity.position(named, item));
    theirs.sort_by_key(|item| identity.position(server, item).unwrap_or(usize::MAX));

    let mut ordered = Vec::with_capacity(ours.len() + theirs.len());
    let mut ours = ours.into_iter().peekable();
    let mut theirs = theirs.into_iter().peekable();
    loop {
        let take_theirs = match (theirs.peek(), ours.peek()) {
            (None, None) => return ordered,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(their), Some(our)) => {
                match (identity.position(server, their), identity.position(server, our)) {
                    (Some(their), Some(our)) => their < our,
                    // An item that is new to the server goes before what the patch does not name.
                    _ => false,
                }
            }
        };
        ordered.extend(if take_theirs { theirs.next() } else { ours.next() });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(value: Value) -> Vec<Value> {
        value.as_array().unwrap().clone()
    }

    fn arranged(merged: Value, named: Value, server: Value) -> Value {
        arrange(list(merged), &list(named), &list(server), Identity("")).into()
    }

    #[test]
    fn named_items_take_the_patchs_order_among_themselves() {
        assert_eq!(arranged(json!([1, 2, 3]), json!([3, 1]), json!([1, 2, 3])), json!([2, 3, 1]));
    }

    #[test]
    fn new_items_go_before_what_the_patch_does_not_name() {
        assert_eq!(arranged(json!([1, 2, 9]), json!([9]), json!([1, 2])), json!([9, 1, 2]));
    }
}
