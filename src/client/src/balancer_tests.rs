//! Servers that answer, refuse or are silent, on paused time.

use serde_json::json;

use super::*;

/// How a simulated server behaves: answers after some time, or refuses at once.
#[derive(Clone, Copy)]
enum Is {
    Up(u64),
    Refusing,
    Silent,
}

const UP: Is = Is::Up(5);

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("{name}:6443")).collect()
}

fn balancer(servers: &[&str]) -> Balancer {
    Balancer::new(&names(servers), None).unwrap()
}

/// Connects; answers to whom and after how many milliseconds.
async fn connect(balancer: &Balancer, world: &[(&str, Is)]) -> io::Result<(String, u128)> {
    let world: BTreeMap<String, Is> = world.iter().map(|(name, is)| (format!("{name}:6443"), *is)).collect();
    let start = Instant::now();
    let attempt = |server: String| {
        let is = world[&server];
        async move {
            match is {
                Is::Up(after) => {
                    sleep(Duration::from_millis(after)).await;
                    Ok(server)
                }
                Is::Refusing => Err(io::ErrorKind::ConnectionRefused.into()),
                Is::Silent => {
                    sleep(Duration::from_secs(5)).await;
                    Err(io::ErrorKind::TimedOut.into())
                }
            }
        }
    };
    let (server, _) = balancer.connect(attempt).await?;
    Ok((server.trim_end_matches(":6443").to_owned(), start.elapsed().as_millis()))
}

#[tokio::test(start_paused = true)]
async fn the_server_that_answered_last_is_kept_while_it_lives() {
    let balancer = balancer(&["a", "b", "c"]);
    let (first, _) = connect(&balancer, &[("a", UP), ("b", UP), ("c", UP)]).await.unwrap();
    for _ in 0..20 {
        let (again, took) = connect(&balancer, &[("a", UP), ("b", UP), ("c", UP)]).await.unwrap();
        assert_eq!((&again, took), (&first, 5));
    }
}

#[tokio::test(start_paused = true)]
async fn workers_spread_over_servers() {
    let mut found = BTreeSet::new();
    for _ in 0..200 {
        found.insert(connect(&balancer(&["a", "b"]), &[("a", UP), ("b", UP)]).await.unwrap().0);
    }
    assert_eq!(found.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_costs_the_stagger_once() {
    let balancer = balancer(&["a", "b"]);
    connect(&balancer, &[("a", UP), ("b", Is::Refusing)]).await.unwrap();
    assert_eq!(balancer.preferred().unwrap(), "a:6443");
    // Its power goes; b has come back.
    let dark = [("a", Is::Silent), ("b", UP)];
    assert_eq!(connect(&balancer, &dark).await.unwrap(), ("b".to_owned(), 305));
    assert_eq!(connect(&balancer, &dark).await.unwrap(), ("b".to_owned(), 5));
    // And the other way round, at once: a refusal is not waited for.
    let dark = [("a", UP), ("b", Is::Refusing)];
    assert_eq!(connect(&balancer, &dark).await.unwrap(), ("a".to_owned(), 5));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_slow_still_serves_when_it_is_the_only_one() {
    let balancer = balancer(&["a", "b", "c"]);
    let world = [("a", Is::Up(900)), ("b", Is::Refusing), ("c", Is::Silent)];
    let (server, took) = connect(&balancer, &world).await.unwrap();
    assert_eq!(server, "a");
    assert!(took <= 900 + 600, "{took}");
}

#[tokio::test(start_paused = true)]
async fn when_nobody_answers_that_is_an_error_and_the_list_stays() {
    let balancer = balancer(&["a", "b"]);
    let error = connect(&balancer, &[("a", Is::Refusing), ("b", Is::Silent)]).await.unwrap_err();
    assert!(error.to_string().contains(":6443: "), "{error}");
    assert_eq!(balancer.servers(), names(&["a", "b"]));
    assert_eq!(connect(&balancer, &[("a", UP), ("b", Is::Silent)]).await.unwrap().0, "a");
}

#[tokio::test(start_paused = true)]
async fn the_list_never_becomes_empty_and_connections_to_removed_servers_are_cut() {
    let balancer = balancer(&["a"]);
    let (_, cut) = balancer.connect(|_| async { Ok(()) }).await.unwrap();
    balancer.set_servers(vec![]);
    balancer.set_servers(vec!["nonsense".to_owned()]);
    assert_eq!(balancer.servers(), names(&["a"]));
    balancer.set_servers(names(&["a", "b"]));
    assert!(!cut.is_cancelled());
    balancer.set_servers(names(&["b"]));
    assert!(cut.is_cancelled());
    assert_eq!(balancer.preferred(), None);
    let (_, cut) = balancer.connect(|_| async { Ok(()) }).await.unwrap();
    balancer.reconnect();
    assert!(cut.is_cancelled());
    let (_, cut) = balancer.connect(|_| async { Ok(()) }).await.unwrap();
    assert!(!cut.is_cancelled());
}

#[test]
fn the_list_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("servers");
    let first = Balancer::new(&names(&["a"]), Some(&file)).unwrap();
    first.set_servers(vec!["10.0.0.1:6443".to_owned(), "[fd00::1]:6443".to_owned()]);
    // a is what the worker joined by; it may have left since, or the list may be wrong.
    let again = Balancer::new(&names(&["a"]), Some(&file)).unwrap();
    assert_eq!(again.servers(), ["10.0.0.1:6443", "[fd00::1]:6443", "a:6443"]);
    std::fs::write(&file, "\0garbage\n10.0.0.2:x\n").unwrap();
    assert_eq!(Balancer::new(&names(&["a"]), Some(&file)).unwrap().servers(), ["a:6443"]);
    assert!(matches!(Balancer::new(&[], Some(&file)), Err(BalancerError::NoServer)));
}

#[test]
fn servers_are_host_and_port() {
    assert_eq!(split("10.0.0.1:6443"), Some(("10.0.0.1", 6443)));
    assert_eq!(split("[fd00::1]:6443"), Some(("fd00::1", 6443)));
    assert_eq!(split("cp.example:443"), Some(("cp.example", 443)));
    for wrong in ["10.0.0.1", "fd00::1:6443", "https://a:6443", "a:0", "a:x", ":1", "a b:1", "[x]:1"] {
        assert_eq!(split(wrong), None, "{wrong}");
        assert!(matches!(Balancer::new(&[wrong.to_owned()], None), Err(BalancerError::Server(_))));
    }
}

#[test]
fn servers_are_those_that_are_ready_behind_the_api_s_service() {
    let slice = |namespace: &str, name: &str| -> EndpointSlice {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": namespace},
            "addressType": "IPv4", "ports": [{"name": "https", "port": 6443}],
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.2"]}, {"addresses": ["10.0.0.3"], "conditions": {"ready": false}},
                {"addresses": ["fd00::1"]}]}))
        .unwrap()
    };
    let ours = slice("default", "kubernetes");
    assert!(is_of_api(&ours));
    assert!(!is_of_api(&slice("other", "kubernetes")) && !is_of_api(&slice("default", "kubernetes-ipv4")));
    assert_eq!(of_slice(&ours), ["10.0.0.1:6443", "10.0.0.2:6443", "[fd00::1]:6443"]);
}
