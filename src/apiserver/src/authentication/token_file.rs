//! Static tokens from a file: `token,user,uid,"group1,group2"` per line (upstream `--token-auth-file`).

use std::collections::HashMap;

use ring::digest::{SHA256, digest};

use super::user_info::UserInfo;

/// What is wrong with a token file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFileError {
    /// A line has too few columns.
    #[error(
        "line {line} of the token file needs at least 3 columns (token, user name, user uid), it has {columns}"
    )]
    Columns {
        /// Counted from one.
        line: usize,
        /// How many it has.
        columns: usize,
    },
    /// A line has an empty token.
    #[error("line {line} of the token file has an empty token")]
    Empty {
        /// Counted from one.
        line: usize,
    },
}

/// The tokens of a file. Tokens are kept as digests only; finding one takes the same time whichever it is.
#[derive(Debug, Default)]
pub struct TokenFile {
    users: HashMap<[u8; 32], UserInfo>,
}

impl TokenFile {
    /// Reads the text of a file. Empty lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// [`TokenFileError`] with the line.
    pub fn parse(text: &str) -> Result<Self, TokenFileError> {
        let mut users = HashMap::new();
        for (at, line) in text.lines().enumerate() {
            let line_number = at + 1;
            if line.trim().is_empty() || line.trim_start().starts_with('#') {
                continue;
            }
            let mut columns = split(line).into_iter();
            let count = columns.len();
            let (Some(token), Some(name), Some(uid)) = (columns.next(), columns.next(), columns.next())
            else {
                return Err(TokenFileError::Columns { line: line_number, columns: count });
            };
            if token.is_empty() {
                return Err(TokenFileError::Empty { line: line_number });
            }
            let groups = columns.next().unwrap_or_default();
            let groups: Vec<&str> =
                groups.split(',').map(str::trim).filter(|group| !group.is_empty()).collect();
            let mut user = UserInfo::new(name, &groups);
            user.uid = uid;
            users.insert(key(&token), user);
        }
        Ok(Self { users })
    }

    /// Whose token this is.
    pub fn find(&self, token: &str) -> Option<&UserInfo> {
        if self.users.is_empty() {
            return None;
        }
        self.users.get(&key(token))
    }
}

fn key(token: &str) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    key
}

/// Splits a line at commas, except within double quotes; two quotes within quotes are one (RFC 4180).
fn split(line: &str) -> Vec<String> {
    let mut columns = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        let Some(column) = columns.last_mut() else { break };
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                column.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => columns.push(String::new()),
            other => column.push(other),
        }
    }
    columns.iter().map(|column| column.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_give_users_with_their_groups() {
        let file = TokenFile::parse("# ours\nt1,jane,1,\"a,b\"\n\nt2, joe ,2\n").unwrap();
        assert_eq!(file.find("t1").unwrap().groups, ["a", "b", "system:authenticated"]);
        assert_eq!(file.find("t2").unwrap().name, "joe");
        assert!(file.find("t3").is_none());
        assert_eq!(TokenFile::parse("t1,jane").unwrap_err(), TokenFileError::Columns { line: 1, columns: 2 });
        assert_eq!(TokenFile::parse(",jane,1").unwrap_err(), TokenFileError::Empty { line: 1 });
    }
}
