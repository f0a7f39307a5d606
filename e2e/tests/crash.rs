//! kill -9 under write load, again and again: nothing acknowledged is lost, and every start succeeds.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "end-to-end tests")]

use anyhow::{Context, Result, ensure};
use e2e::node::Node;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

/// Kills; the bar is 50, reached by `KNARR_KILLS=50`. Fewer keep the gate short.
const KILLS: usize = 8;

#[test]
fn nothing_acknowledged_is_lost_when_knarr_is_killed() -> Result<()> {
    let kills = std::env::var("KNARR_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS);
    let mut node = Node::start_control_plane("crash")?;
    node.kubectl(
        "create clusterrolebinding all --clusterrole=cluster-admin --serviceaccount=default:default",
    )?;
    let token = node.kubectl("create token default --duration=24h")?.trim().to_owned();
    let mut acknowledged = Vec::new();
    for round in 0..kills {
        // A shell that creates as fast as it can and prints a name only after the server said 201.
        let script = format!(
            "i=0; while true; do i=$((i+1)); n=r{round}-$i; \
             c=$(curl -ks -o /dev/null -w '%{{http_code}}' -X POST -H 'Authorization: Bearer {token}' \
             -H 'Content-Type: application/json' https://127.0.0.1:6443/api/v1/namespaces/default/configmaps \
             -d '{{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{{\"name\":\"'$n'\"}}}}'); \
             [ \"$c\" = 201 ] && echo $n || exit 0; done"
        );
        let mut writer = node.machine.command("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(writer.stdout.take().context("stdout")?).lines();
        for _ in 0..20 + round % 50 {
            acknowledged.push(lines.next().context("the writer ended early")??);
        }
        node.kill()?;
        for line in lines {
            acknowledged.push(line?);
        }
        writer.wait()?;
        node.launch()?;
        node.wait_readyz()?;
    }
    let names = node.kubectl("get configmaps -o name")?;
    let present: std::collections::BTreeSet<&str> =
        names.lines().filter_map(|l| l.strip_prefix("configmap/")).collect();
    let lost: Vec<&String> = acknowledged.iter().filter(|name| !present.contains(name.as_str())).collect();
    ensure!(
        lost.is_empty(),
        "{} of {} acknowledged writes are lost: {lost:?}",
        lost.len(),
        acknowledged.len()
    );
    Ok(())
}
