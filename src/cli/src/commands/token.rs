//! `knarr token`: the tokens that let nodes in.

use super::output::show;
use super::process;
use crate::arguments::cluster::Token as Options;
use crate::arguments::cluster::TokenCommand;
use crate::cluster::target::check_token;
use crate::cluster::token::{NEVER, Token, expiry, random};
use crate::paths::Paths;
use anyhow::{Result, bail};
use client::Rest;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::process::ExitCode;

/// How long a token that nobody gave a time is valid: for one node, within a day.
const DAY_SECONDS: i64 = 24 * 3600;

/// Makes a token: this one or a random one; with a time, for any number of nodes until then, else for one node.
///
/// # Errors
/// When it can be none, or the API refuses.
pub async fn make(paths: &Paths, token: Option<&str>, ttl_seconds: Option<i64>) -> Result<String> {
    let token = match token {
        Some(token) => {
            check_token(token)?;
            token.to_owned()
        }
        None => random(),
    };
    let expires = expiry(Timestamp::now(), ttl_seconds.unwrap_or(DAY_SECONDS))?;
    let rest = Rest::new(process::client(paths).await?);
    Token::create(&rest, &token, expires, ttl_seconds.is_none()).await?;
    Ok(token)
}

/// Makes, lists or revokes tokens.
///
/// # Errors
/// When the API refuses, or there is no such token.
pub async fn run(options: &Options) -> Result<ExitCode> {
    let paths = Paths::new(&options.location.data_dir);
    match &options.command {
        TokenCommand::Create { ttl, token } => {
            println!("{}", make(&paths, token.as_deref(), *ttl).await?);
        }
        TokenCommand::List { output } => {
            let tokens = Token::list(&Rest::new(process::client(&paths).await?)).await?;
            show(output.output, &value(&tokens), || table(&tokens, Timestamp::now()))?;
        }
        TokenCommand::Revoke { token } => {
            if !Token::revoke(&Rest::new(process::client(&paths).await?), token).await? {
                bail!("there is no token {token}; `knarr token list` tells which there are");
            }
            println!("The token is revoked.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table(tokens: &[Token], now: Timestamp) -> String {
    let mut text = format!("{:<12} {:<22} {:<7} {}\n", "ID", "EXPIRES", "NODES", "USED BY");
    for token in tokens {
        let expires = match token.expires {
            expires if expires == NEVER => "never".to_owned(),
            expires if expires <= now => "expired".to_owned(),
            expires => seconds(expires),
        };
        let nodes = if token.once { "one" } else { "any" };
        let used = token.claimed.as_deref().unwrap_or("-");
        text.push_str(&format!("{:<12} {expires:<22} {nodes:<7} {used}\n", token.id));
    }
    text
}

fn value(tokens: &[Token]) -> Value {
    let one = |token: &Token| json!({"id": token.id, "expires": seconds(token.expires), "once": token.once, "usedBy": token.claimed});
    Value::Array(tokens.iter().map(one).collect())
}

/// Without fractions.
fn seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}
