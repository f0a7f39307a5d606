//! Lists of a job's indexes as status and success policy write them: `0,2-5,9` (KEP-2214, KEP-3998).

/// How many indexes a list names, all of which are below `completions`.
///
/// # Errors
/// With what is wrong with the list, in the words of kube-apiserver.
pub fn count(indexes: &str, completions: i64) -> Result<i64, String> {
    let (mut last, mut total) = (None, 0);
    for interval in intervals(indexes) {
        let (first, end) = parse(interval, completions)?;
        if let Some(last) = last
            && last >= first
        {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

/// The first index that two lists both name. What cannot be read in either is left out.
pub fn overlap(one: &str, other: &str, completions: i64) -> Option<i64> {
    let read = |list: &str| -> Vec<(i64, i64)> {
        intervals(list).filter_map(|interval| parse(interval, completions).ok()).collect()
    };
    let (one, other) = (read(one), read(other));
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    while let (Some((a, b)), Some((c, d))) = (one.peek(), other.peek()) {
        if a <= d && c <= b {
            return Some(*a.max(c));
        }
        if a <= c {
            one.next();
        } else {
            other.next();
        }
    }
    None
}

fn intervals(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').filter(move |_| !list.is_empty())
}

fn parse(interval: &str, completions: i64) -> Result<(i64, i64), String> {
    let number = |text: &str| -> Result<i64, String> {
        let value: i64 =
            text.parse().map_err(|_| format!("cannot convert string to integer for index: \"{text}\""))?;
        if value >= completions { Err(format!("too large index: \"{text}\"")) } else { Ok(value) }
    };
    let (first, rest) = match interval.split_once('-') {
        None => (interval, None),
        Some((_, rest)) if rest.contains('-') => {
            return Err(format!(
                "the fragment \"{interval}\" violates the requirement that an index interval can have at most two parts separated by '-'"
            ));
        }
        Some((first, rest)) => (first, Some(rest)),
    };
    let first = number(first)?;
    let Some(last) = rest.map(number).transpose()? else { return Ok((first, first)) };
    if first >= last {
        return Err(format!("non-increasing order, previous: {first}, current: {last}"));
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_name_rising_indexes() {
        assert_eq!(count("", 3), Ok(0));
        assert_eq!(count("0,2-5,9", 10), Ok(6));
        for (list, problem) in [
            ("x", "cannot convert string to integer for index: \"x\""),
            ("0-x", "cannot convert string to integer for index: \"x\""),
            ("10", "too large index: \"10\""),
            ("3,3", "non-increasing order, previous: 3, current: 3"),
            ("3-3", "non-increasing order, previous: 3, current: 3"),
            (
                "1-2-3",
                "the fragment \"1-2-3\" violates the requirement that an index interval can have at most two parts separated by '-'",
            ),
        ] {
            assert_eq!(count(list, 10), Err(problem.to_owned()), "{list}");
        }
    }

    #[test]
    fn an_index_in_both_lists_is_found() {
        assert_eq!(overlap("0,2-5", "1,6", 10), None);
        assert_eq!(overlap("0,2-5", "1,4-6", 10), Some(4));
        assert_eq!(overlap("x,2", "2", 10), Some(2));
        assert_eq!(overlap("", "2", 10), None);
    }
}
