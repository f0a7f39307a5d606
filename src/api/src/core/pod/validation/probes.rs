//! Probes and lifecycle handlers.

use crate::validation::{Errors, non_negative, port_or_name, required_text};
use crate::value::{field, has, int, list, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation as forms;
use serde_json::Value;

/// Signals that end a container on Linux (KEP-4960): the named ones; `SIGRTMIN+1` to `SIGRTMAX-1` are told by
/// [`real_time`].
const SIGNALS: [&str; 36] = [
    "SIGABRT",
    "SIGALRM",
    "SIGBUS",
    "SIGCHLD",
    "SIGCLD",
    "SIGCONT",
    "SIGFPE",
    "SIGHUP",
    "SIGILL",
    "SIGINT",
    "SIGIO",
    "SIGIOT",
    "SIGKILL",
    "SIGPIPE",
    "SIGPOLL",
    "SIGPROF",
    "SIGPWR",
    "SIGQUIT",
    "SIGRTMAX",
    "SIGRTMIN",
    "SIGSEGV",
    "SIGSTKFLT",
    "SIGSTOP",
    "SIGSYS",
    "SIGTERM",
    "SIGTRAP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGUSR1",
    "SIGUSR2",
    "SIGVTALRM",
    "SIGWINCH",
    "SIGXCPU",
    "SIGXFSZ",
];

/// One of a container's probes, `name` being `livenessProbe` or the like.
pub fn probe(probe: &Value, name: &str, grace_seconds: Option<i64>, path: &Path, errors: &mut ErrorList) {
    handler(probe, false, grace_seconds, path, errors);
    for number in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        non_negative(probe, number, path, errors);
    }
    if let Some(seconds) = int(probe, "terminationGracePeriodSeconds") {
        let own = path.child("terminationGracePeriodSeconds");
        if seconds <= 0 {
            errors.invalid(&own, seconds, "must be greater than 0");
        }
        if name == "readinessProbe" {
            errors.invalid(&own, seconds, "must not be set for readinessProbes");
        }
    }
    let threshold = int(probe, "successThreshold").unwrap_or(0);
    if name != "readinessProbe" && threshold != 1 {
        errors.invalid(&path.child("successThreshold"), threshold, "must be 1");
    }
}

/// What a probe or a hook does: exactly one of its handlers is set.
pub fn handler(
    handler: &Value,
    is_hook: bool,
    grace_seconds: Option<i64>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let names: &[&str] = if is_hook {
        &["exec", "httpGet", "tcpSocket", "sleep"]
    } else {
        &["exec", "httpGet", "tcpSocket", "grpc"]
    };
    let mut count = 0;
    for name in names.iter().filter(|name| has(handler, name)) {
        let (action, own) = (field(handler, name), path.child(name));
        count += 1;
        if count > 1 {
            errors.forbidden(&own, "may not specify more than 1 handler type");
            continue;
        }
        match *name {
            "exec" if list(action, "command").is_empty() => errors.required(&own.child("command"), ""),
            "httpGet" => http_get(action, &own, errors),
            "tcpSocket" => port_or_name(action, "port", &own, errors),
            "grpc" => {
                let port = int(action, "port").unwrap_or(0);
                for message in forms::port_number(port) {
                    errors.invalid(&own.child("port"), port, message);
                }
            }
            "sleep" => {
                let seconds = int(action, "seconds").unwrap_or(0);
                if let Some(grace) = grace_seconds.filter(|grace| !(0..=*grace).contains(&seconds)) {
                    errors.invalid(
                        &own,
                        seconds,
                        format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})"),
                    );
                }
            }
            _ => {}
        }
    }
    if count == 0 {
        errors.required(path, "must specify a handler type");
    }
}

fn http_get(action: &Value, path: &Path, errors: &mut ErrorList) {
    required_text(action, "path", path, errors);
    port_or_name(action, "port", path, errors);
    let scheme = text(action, "scheme");
    if !matches!(scheme, "HTTP" | "HTTPS") {
        errors.not_supported(&path.child("scheme"), scheme, &["HTTP", "HTTPS"]);
    }
    for header in list(action, "httpHeaders") {
        let name = text(header, "name");
        let form = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !form {
            errors.invalid(
                &path.child("httpHeaders"),
                name,
                "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')",
            );
        }
    }
}

/// `lifecycle` of a container.
pub fn lifecycle(
    lifecycle: &Value,
    spec: &Value,
    grace_seconds: Option<i64>,
    path: &Path,
    errors: &mut ErrorList,
) {
    for name in ["postStart", "preStop"] {
        if let Some(hook) = lifecycle.get(name) {
            handler(hook, true, grace_seconds, &path.child(name), errors);
        }
    }
    let Some(signal) = lifecycle.get("stopSignal").and_then(Value::as_str) else { return };
    let own = path.child("stopSignal");
    match text(field(spec, "os"), "name") {
        "" => errors.forbidden(&own, "may not be set for containers with empty `spec.os.name`"),
        "windows" if !matches!(signal, "SIGKILL" | "SIGTERM") => {
            errors.not_supported(&own, signal, &["SIGKILL", "SIGTERM"]);
        }
        "linux" if !SIGNALS.contains(&signal) && !real_time(signal) => {
            errors.not_supported(&own, signal, &SIGNALS);
        }
        _ => {}
    }
}

/// Whether a text is `SIGRTMIN+1` to `SIGRTMIN+15` or `SIGRTMAX-14` to `SIGRTMAX-1`.
fn real_time(signal: &str) -> bool {
    let within = |digits: Option<&str>, most: u8| {
        digits.is_some_and(|d| {
            !d.starts_with(['0', '+']) && d.parse().is_ok_and(|n: u8| (1..=most).contains(&n))
        })
    };
    within(signal.strip_prefix("SIGRTMIN+"), 15) || within(signal.strip_prefix("SIGRTMAX-"), 14)
}
