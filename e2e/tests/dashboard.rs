//! The dashboard as people use it: a real Chromium, the add-on's pod, `knarr dashboard-proxy`.
//!
//! `KNARR_PICTURES=DIR` stores pictures of it there, those of `docs/images`.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "end-to-end tests")]

use anyhow::{Context, Result, ensure};
use e2e::browser::{Browser, keys};
use e2e::node::Node;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};

const PAGE: &str = "https://127.0.0.1:10443";

/// `knarr dashboard-proxy` while it runs.
struct Proxy {
    child: Child,
    token: String,
}

impl Proxy {
    fn start(node: &Node) -> Result<Self> {
        let mut child =
            node.knarr().arg("dashboard-proxy").stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("stdout")?).lines();
        let mut next = |wanted: &str| -> Result<()> {
            for line in lines.by_ref() {
                if line?.contains(wanted) {
                    return Ok(());
                }
            }
            anyhow::bail!("dashboard-proxy has not said {wanted:?}")
        };
        next(&format!("Dashboard will be available at {PAGE}"))?;
        next("Use the following token to login:")?;
        let token = lines.next().context("a token")??;
        Ok(Self { child, token })
    }

    /// As Ctrl-C does.
    fn end(mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGINT)?;
        let ended = self.child.wait()?;
        ensure!(ended.success(), "{ended}");
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const WORK: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: talker, labels: {app: talker}}
spec:
  replicas: 1
  selector: {matchLabels: {app: talker}}
  template:
    metadata: {labels: {app: talker}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {name: quiet, image: busybox, command: [sleep, infinity]}
      - {name: loud, image: busybox, command: [sh, -c, 'i=0; while true; do i=$((i+1)); echo said $i; sleep 0.5; done']}
";

#[test]
fn the_dashboard_does_what_it_shows() -> Result<()> {
    let node = Node::start("dashboard")?;
    let told = node.run("enable dashboard metrics-server")?;
    ensure!(
        told.contains("Addon core/dashboard is enabled") && told.contains("knarr dashboard-proxy"),
        "{told}"
    );
    node.kubectl("create deployment web --image=nginx:1.27 --replicas=2")?;
    node.apply(WORK)?;
    node.kubectl("rollout status deployment/web deployment/talker --timeout=60s")?;
    let proxy = Proxy::start(&node)?;
    let browser = Browser::start(&node.machine)?;

    login(&browser, &proxy.token)?;
    lists(&node, &browser)?;
    editing(&node, &browser)?;
    scaling(&node, &browser)?;
    rolling(&node, &browser)?;
    logs(&browser)?;
    terminal(&browser)?;
    creating(&node, &browser)?;
    keyboard(&browser)?;
    charts(&browser)?;
    // Refusals that the page shows are told by the browser, too, and that interfaces of pods come and go; nothing else is.
    let expected = ["status of 4", "status of 503", "net::ERR_NETWORK_CHANGED"];
    let mut unexpected = browser.complaints()?;
    unexpected.retain(|line| !expected.iter().any(|expected| line.contains(expected)));
    ensure!(unexpected.is_empty(), "{unexpected:?}");

    let token = proxy.token.clone();
    proxy.end()?;
    revoked(&node, &token)?;
    rights(&node, &browser)
}

fn picture(browser: &Browser, name: &str) -> Result<()> {
    let Some(folder) = std::env::var_os("KNARR_PICTURES") else { return Ok(()) };
    let path = PathBuf::from(folder).join(format!("dashboard-{name}.png"));
    browser.picture(&path)?;
    ensure!(path.metadata()?.len() < 150 << 10, "{} is too large", path.display());
    Ok(())
}

/// A wrong token is refused with a reason, the right one lets its owner in.
fn login(browser: &Browser, token: &str) -> Result<()> {
    browser.open(PAGE)?;
    browser.shows("h1", "Log in")?;
    browser.write("#token", "nonsense")?;
    browser.press(keys::ENTER)?;
    browser.shows(".message.bad", "does not know this token")?;
    // A kubeconfig that proves by a certificate is refused before anything is sent.
    let read = "return import('/lib/kubeconfig.js').then(({tokenOf}) => { try { return tokenOf(arguments[0] ?? TEXT) } catch (e) { return e.message } })";
    let config = |user: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: one\ncontexts:\n- context:\n    cluster: c\n    user: me\n  name: one\n\
             users:\n- name: other\n  user: {{}}\n- name: me\n  user:\n    {user}\n"
        );
        read.replace("arguments[0] ?? TEXT", &json!(text).to_string())
    };
    ensure!(browser.script(&config("token: \"abc\""))? == "abc");
    let refused = browser.script(&config("client-certificate-data: eA==\n    client-key-data: eA=="))?;
    ensure!(refused.as_str().is_some_and(|why| why.contains("must not leave your machine")), "{refused}");
    browser.script("document.querySelector('#token').value = ''")?;
    browser.write("#token", token)?;
    browser.press(keys::ENTER)?;
    browser.shows("h1", "Overview")?;
    browser.shows("#user", "system:serviceaccount:kube-system:dashboard-admin")?;
    // The token is in this tab, and nowhere that outlives it.
    let kept = browser.script("return JSON.stringify([{...localStorage}, document.cookie])")?;
    ensure!(!kept.to_string().contains("eyJ"), "{kept}");
    Ok(())
}

/// Lists show what comes, changes and goes, of custom resources too, filtered by namespace and text.
fn lists(node: &Node, browser: &Browser) -> Result<()> {
    node.kubectl("rollout status deployment/web --timeout=60s")?;
    browser.open(&format!("{PAGE}/#/list/-/pods"))?;
    browser.shows("tbody tr", "knarr-dns-")?;
    browser.shows("thead", "Restarts")?;
    node.kubectl("run guest --image=busybox --restart=Never --command -- sleep infinity")?;
    browser.until(
        "the new pod runs",
        "document.querySelector('tr[data-key=\"default/guest\"]')?.innerText.includes('Running')",
    )?;
    node.kubectl("delete pod guest --grace-period=0 --force")?;
    browser.until("the pod is gone", "!document.querySelector('tr[data-key=\"default/guest\"]')")?;
    browser.press("/web- running")?;
    browser.until("the filter leaves two", "document.querySelectorAll('tr[data-key]').length === 2")?;
    browser.shows("#count", "2 of ")?;
    browser.script("const n = document.querySelector('#namespace'); n.value = 'kube-system'; n.dispatchEvent(new Event('change'))")?;
    browser.shows(".list", "Nothing fits")?;
    browser.script(
        "const f = document.querySelector('#filter'); f.value = ''; f.dispatchEvent(new Event('input'))",
    )?;
    browser.until("one namespace", "[...document.querySelectorAll('tr[data-key]')].every((row) => row.dataset.key.startsWith('kube-system/'))")?;
    browser.script(
        "const n = document.querySelector('#namespace'); n.value = ''; n.dispatchEvent(new Event('change'))",
    )?;
    browser.shows("tbody tr", "talker-")?;
    picture(browser, "pods")?;
    browser.open(&format!("{PAGE}/#/list/knarr.io/addons"))?;
    browser.shows("tbody tr", "dashboard")
}

/// An edit is shown as a diff before it is made; what others own is taken over only when that is asked for.
fn editing(node: &Node, browser: &Browser) -> Result<()> {
    let change = |from: &str, to: &str| {
        format!(
            "const e = document.querySelector('#editor'); e.value = e.value.replace({}, {}); e.dispatchEvent(new Event('input'))",
            json!(from),
            json!(to)
        )
    };
    browser.open(&format!("{PAGE}/#/edit/apps/deployments/default/web"))?;
    browser.until("the YAML", "document.querySelector('#editor')?.value.includes('nginx:1.27')")?;
    let shown = browser.script("return document.querySelector('#editor').value")?.to_string();
    ensure!(!shown.contains("managedFields") && !shown.contains("status:"), "{shown}");
    browser.script(&change(
        "  labels:\n    app: web\n  name",
        "  labels:\n    app: web\n    team: blue\n  name",
    ))?;
    browser.press(&format!("{}{}", keys::CONTROL, keys::ENTER))?;
    browser.shows(".diff .added", "team: blue")?;
    ensure!(browser.text(".diff .removed")?.is_empty());
    ensure!(
        node.get("deployment web")?["metadata"]["labels"]["team"].is_null(),
        "nothing is sent before it is applied"
    );
    picture(browser, "edit")?;
    browser.click("#apply")?;
    browser.shows(".tag", "team=blue")?;
    ensure!(node.get("deployment web")?["metadata"]["labels"]["team"] == "blue");

    browser.open(&format!("{PAGE}/#/edit/apps/deployments/default/web"))?;
    browser.until("the YAML", "document.querySelector('#editor')?.value.includes('nginx:1.27')")?;
    browser.script(&change("image: nginx:1.27", "image: nginx:1.28"))?;
    browser.click("#review")?;
    browser.shows(".message.bad", "kubectl-create")?;
    browser.click("#force")?;
    browser.shows(".diff .added", "image: nginx:1.28")?;
    browser.shows(".diff .removed", "image: nginx:1.27")?;
    browser.click("#apply")?;
    browser.shows(".facts", "nginx:1.28")?;

    // What others have set, too, stays when it is left out, and the page says so; a replacement takes it away.
    let label = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, labels: {team: blue}}}";
    node.kubectl_stdin("apply --server-side --field-manager=other -f -", label)?;
    browser.open(&format!("{PAGE}/#/edit/apps/deployments/default/web"))?;
    browser.until("the YAML", "document.querySelector('#editor')?.value.includes('team: blue')")?;
    browser.script(&change("    team: blue\n", ""))?;
    browser.click("#review")?;
    browser.shows(".message.warn", "others have set them")?;
    browser.click("#replace")?;
    browser.shows(".diff .removed", "team: blue")?;
    browser.click("#apply")?;
    browser.until("the object", "document.querySelector('.tabs a')")?;
    browser.until("the label is gone", "!document.querySelector('main').innerText.includes('team=blue')")?;
    // A mistake is told in the server's words.
    browser.open(&format!("{PAGE}/#/edit/apps/deployments/default/web"))?;
    browser.until("the YAML", "document.querySelector('#editor')?.value.includes('nginx:1.28')")?;
    browser.script(&change("replicas: 2", "replicas: many"))?;
    browser.click("#review")?;
    browser.shows(".message.bad", "")
}

/// A Deployment gets another size, by keyboard alone.
fn scaling(node: &Node, browser: &Browser) -> Result<()> {
    browser.open(&format!("{PAGE}/#/object/apps/deployments/default/web"))?;
    browser.until("the actions", "document.querySelector('[data-action=scale]')")?;
    browser.press("s")?;
    browser.until("the dialog", "document.activeElement?.id === 'replicas'")?;
    browser.press(&format!("3{}", keys::ENTER))?;
    browser.shows(".facts dd", "3/3")?;
    ensure!(node.get("deployment web")?["spec"]["replicas"] == 3);
    Ok(())
}

/// Pods are restarted, and a Deployment goes back to what it was.
fn rolling(node: &Node, browser: &Browser) -> Result<()> {
    browser.press("o")?;
    browser.shows("#rollout", "Rolled out")?;
    browser.shows("td", "nginx:1.27")?;
    browser.press("r")?;
    browser.shows("dialog", "Restart all pods")?;
    browser.press(keys::ENTER)?;
    node.eventually("the restart", || {
        let template = &node.get("deployment web")?["spec"]["template"];
        ensure!(template["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"].is_string());
        Ok(())
    })?;
    browser.until("three revisions", "document.querySelectorAll('tbody tr').length === 3")?;
    // The oldest is the last.
    browser.click("tbody tr:last-child button")?;
    browser.shows("dialog", "nginx:1.27")?;
    browser.press(keys::ENTER)?;
    node.eventually("what it was", || {
        let image = &node.get("deployment web")?["spec"]["template"]["spec"]["containers"][0]["image"];
        ensure!(image == "nginx:1.27", "{image}");
        Ok(())
    })?;
    browser.shows("#rollout", "Rolled out")
}

/// Logs go on while somebody looks; the container can be chosen.
fn logs(browser: &Browser) -> Result<()> {
    browser.open(&format!("{PAGE}/#/object/apps/deployments/default/talker/logs"))?;
    browser.until("the log", "document.querySelector('#container')?.options.length === 2")?;
    browser.script("const c = document.querySelector('#container'); c.value = 'loud'; c.dispatchEvent(new Event('change'))")?;
    browser.until("lines", "document.querySelectorAll('#log div').length > 2")?;
    let lines = browser.script("return document.querySelectorAll('#log div').length")?.to_string();
    browser.until("more lines", &format!("document.querySelectorAll('#log div').length > {lines}"))?;
    browser.shows("#log", "said 1")
}

/// A shell in a container: what is typed is run, the screen follows, the end is told.
fn terminal(browser: &Browser) -> Result<()> {
    browser.open(&format!("{PAGE}/#/list/-/pods?q=talker"))?;
    browser.until("the pod", "document.querySelectorAll('tr[data-key]').length === 1")?;
    browser.press(&format!("{0}{0}", keys::DOWN))?;
    browser.press(keys::ENTER)?;
    browser.shows("h1", "talker-")?;
    browser.until("the tabs", "document.querySelector('.tabs a')")?;
    browser.press("t")?;
    browser.shows("#screen", "#")?;
    browser.press(&format!("echo four is $((2+2)){}", keys::ENTER))?;
    browser.shows("#screen", "four is 4")?;
    browser.press(&format!("printf '\\033[31mred\\033[0m \\303\\251\\n'{}", keys::ENTER))?;
    browser.until("colour", "[...document.querySelectorAll('#screen span')].some((one) => one.innerText === 'red' && one.style.color)")?;
    browser.shows("#screen", "é")?;
    picture(browser, "terminal")?;
    // Keys are the shell's, until Shift Escape.
    browser.press(&format!("{}{}", keys::SHIFT, keys::ESCAPE))?;
    browser.until("the terminal is left", "document.activeElement?.id === 'connect'")?;
    browser.script("document.querySelector('#keys').focus()")?;
    browser.press(&format!("exit 3{}", keys::ENTER))?;
    browser.shows(".message", "exit code 3")?;
    browser.press(&format!("{}{}", keys::SHIFT, keys::ESCAPE))
}

/// Objects are made from YAML and deleted.
fn creating(node: &Node, browser: &Browser) -> Result<()> {
    browser.press("c")?;
    browser.until("an editor", "document.querySelector('#editor')?.value.includes('kind: ConfigMap')")?;
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: made\n  namespace: default\ndata:\n  key: value\n---\n\
                    apiVersion: v1\nkind: Secret\nmetadata:\n  name: hidden\nstringData:\n  key: secret\n";
    browser.script(&format!(
        "const e = document.querySelector('#editor'); e.value = {}; e.dispatchEvent(new Event('input'))",
        json!(manifest)
    ))?;
    browser.click("#review")?;
    browser.shows("h2", "ConfigMap made (new)")?;
    browser.click("#apply")?;
    browser.shows("h1", "made")?;
    ensure!(node.kubectl("get configmap made -o jsonpath={.data.key}")? == "value");
    ensure!(node.kubectl("get secret hidden -o jsonpath={.data.key}")? == "c2VjcmV0");
    browser.until("the actions", "document.querySelector('[data-action=delete]')")?;
    browser.click("[data-action=delete]")?;
    browser.shows("dialog", "Delete ConfigMap made?")?;
    browser.click("dialog .danger")?;
    browser.shows(".message.warn", "It was deleted")?;
    ensure!(node.kubectl_fails("get configmap made")?.contains("NotFound"));
    Ok(())
}

/// Everything is reached by keys, and says what it is.
fn keyboard(browser: &Browser) -> Result<()> {
    browser.press("gdepl")?;
    browser.shows("#found0", "deployments")?;
    browser.press(keys::ENTER)?;
    browser.shows("h1", "Deployments")?;
    browser.shows("tbody tr", "web")?;
    browser.press("j")?;
    browser.until("a row has the focus", "document.activeElement?.matches('tr[data-key]')")?;
    browser.until("and shows it", "getComputedStyle(document.activeElement).outlineStyle === 'solid'")?;
    browser.press("?")?;
    browser.shows("dialog", "go to a resource")?;
    browser.press(keys::ESCAPE)?;
    browser.until("the dialog is closed", "!document.querySelector('dialog')")?;
    let nameless = browser.script(
        "return [...document.querySelectorAll('button, input, select, textarea, a, table, nav')].filter((one) =>
           !one.getAttribute('aria-label') && !one.textContent.trim() && !one.labels?.length).map((one) => one.outerHTML)",
    )?;
    ensure!(nameless == json!([]), "{nameless}");
    let back = "return getComputedStyle(document.body).backgroundColor";
    let light = browser.script(back)?;
    browser.press("d")?;
    ensure!(browser.script(back)? != light, "it is dark");
    picture(browser, "dark")?;
    browser.press("d")?;
    ensure!(browser.script(back)? == light);
    Ok(())
}

/// What nodes use is drawn once it is known.
fn charts(browser: &Browser) -> Result<()> {
    browser.open(&format!("{PAGE}/#/"))?;
    browser.shows(".chart h3", "node-1: CPU")?;
    browser.until(
        "a curve",
        "document.querySelector('.chart polyline')?.getAttribute('points').includes(',')",
    )?;
    browser.shows(".chart", "iB")?;
    browser.open(&format!("{PAGE}/#/object/apps/deployments/default/talker/metrics"))?;
    browser.shows(".chart h3", "1 pod: CPU")
}

/// The token of a proxy is nobody's when that has ended.
fn revoked(node: &Node, token: &str) -> Result<()> {
    let ask = format!(
        "curl -sk -o /dev/null -w '%{{http_code}}' -H 'authorization: Bearer {token}' https://127.0.0.1:6443/api/v1/nodes"
    );
    node.eventually("the token is refused", || {
        let code = node.machine.shell(&ask)?;
        ensure!(code == "401", "{code}");
        Ok(())
    })
}

/// Whoever may do little sees little, and is told so; at the Service's own address.
fn rights(node: &Node, browser: &Browser) -> Result<()> {
    node.kubectl("create serviceaccount visitor")?;
    node.kubectl("create rolebinding visitor --clusterrole=view --serviceaccount=default:visitor")?;
    let token = node.kubectl("create token visitor")?;
    let service =
        node.kubectl("get service kubernetes-dashboard -n kube-system -o jsonpath={.spec.clusterIP}")?;
    let page = format!("https://{service}");
    browser.open(&page)?;
    browser.shows("h1", "Log in")?;
    browser.write("#token", token.trim())?;
    browser.press(keys::ENTER)?;
    browser.shows("#user", "visitor")?;
    browser.open(&format!("{page}/#/list/-/pods"))?;
    browser.shows(".message.bad", "You may not see this")?;
    browser.press(&format!("ndefault{}", keys::ENTER))?;
    browser.shows("tbody tr", "talker-")?;
    browser.open(&format!("{page}/#/object/apps/deployments/default/web"))?;
    browser.until("the actions", "document.querySelector('[data-action=restart]')")?;
    // Out of the field of the namespace first.
    browser.press(&format!("{}r", keys::ESCAPE))?;
    browser.shows("dialog", "Restart all pods")?;
    browser.press(keys::ENTER)?;
    browser.shows("dialog .message.bad", "cannot patch resource")?;
    // The dashboard's own account may do nothing, and its pod has no token of it.
    let can = "auth can-i list pods --as=system:serviceaccount:kube-system:kubernetes-dashboard";
    ensure!(node.kubectl_command(&can.split(' ').collect::<Vec<_>>()).output()?.stdout.starts_with(b"no"));
    let pods = node.get("pods -n kube-system -l k8s-app=kubernetes-dashboard")?;
    ensure!(!pods.to_string().contains("serviceAccountToken"), "{pods}");
    Ok(())
}
