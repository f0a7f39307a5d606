//! The commands ADD, DEL, CHECK and VERSION.

use crate::ipam::{Ipam, IpamError};
use crate::protocol::{Call, CallError, VERSIONS, code};
use crate::{LOOPBACK, PLUGIN, host_ports, link, mtu};
use serde_json::{Value, json};
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

/// Whether this process was called as a plugin: by a plugin's name, with the variable that every call has.
pub fn is_plugin_call() -> bool {
    matches!(own_name().as_str(), PLUGIN | LOOPBACK) && std::env::var_os("CNI_COMMAND").is_some()
}

fn own_name() -> String {
    let path = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&path).file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Serves the call that the environment describes.
pub fn main() -> ExitCode {
    let mut input = Vec::new();
    let outcome = std::io::stdin()
        .read_to_end(&mut input)
        .map_err(|e| CallError::new(code::DECODE, format!("cannot read the network configuration: {e}")))
        .and_then(|_| Call::read(|name| std::env::var(name).ok(), &input))
        .and_then(
            |call| if call.configuration.plugin == LOOPBACK { serve_loopback(&call) } else { serve(&call) },
        );
    match outcome {
        Ok(Some(reply)) => {
            println!("{reply}");
            ExitCode::SUCCESS
        }
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{}", json!({"cniVersion": "1.0.0", "code": error.code, "msg": error.message}));
            ExitCode::FAILURE
        }
    }
}

fn serve(call: &Call) -> Result<Option<Value>, CallError> {
    match call.command.as_str() {
        "VERSION" => Ok(Some(json!({"cniVersion": "1.0.0", "supportedVersions": VERSIONS}))),
        "ADD" => add(call).map(Some),
        "DEL" => delete(call).map(|()| None),
        "CHECK" => check(call).map(|()| None),
        other => Err(CallError::new(code::ENVIRONMENT, format!("CNI_COMMAND {other:?} is not known"))),
    }
}

fn namespace(call: &Call) -> Result<&std::path::Path, CallError> {
    call.namespace.as_deref().ok_or_else(|| CallError::new(code::ENVIRONMENT, "CNI_NETNS is missing"))
}

/// `lo` of a pod: up at ADD; it goes with the namespace.
fn serve_loopback(call: &Call) -> Result<Option<Value>, CallError> {
    match (call.command.as_str(), &call.namespace) {
        ("ADD", Some(namespace)) => {
            link::loopback_up(namespace).map_err(|e| failed("cannot set lo up", &e))?;
            Ok(Some(json!({
                "cniVersion": call.configuration.cni_version,
                "interfaces": [{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": namespace}],
                "ips": [ip(call, &IpAddr::V4(Ipv4Addr::LOCALHOST), 8, 0)],
                "dns": {},
            })))
        }
        ("VERSION", _) => serve(call),
        _ => Ok(None),
    }
}

/// An address as a result tells it.
fn ip(call: &Call, address: &IpAddr, length: u8, interface: usize) -> Value {
    let mut ip = json!({"address": format!("{address}/{length}"), "interface": interface});
    // Gone in 1.0.0.
    if let Some(fields) = ip.as_object_mut().filter(|_| call.configuration.cni_version != "1.0.0") {
        fields.insert("version".to_owned(), json!(if address.is_ipv4() { "4" } else { "6" }));
    }
    ip
}

fn add(call: &Call) -> Result<Value, CallError> {
    let configuration = &call.configuration;
    let namespace = namespace(call)?;
    let addresses = open(call)?.allocate(&configuration.pod_cidrs, &call.container).map_err(told)?;
    let mtu = configuration.mtu.or_else(mtu::of_uplink);
    let made = link::make(namespace, &call.container, &call.interface, &addresses, mtu).and_then(|made| {
        for address in &addresses {
            host_ports::open(&configuration.runtime_config.port_mappings, *address)?;
        }
        Ok(made)
    });
    match made {
        Ok(made) => Ok(reply(call, &addresses, &made)),
        Err(error) => {
            // Nothing stays behind; the error that matters is the first one.
            let _ = delete(call);
            Err(failed("cannot connect the pod", &error))
        }
    }
}

fn reply(call: &Call, addresses: &[IpAddr], made: &link::Made) -> Value {
    let mac = made.pod_mac.map(|byte| format!("{byte:02x}")).join(":");
    let ips: Vec<Value> =
        addresses.iter().map(|address| ip(call, address, link::length(address), 1)).collect();
    json!({
        "cniVersion": call.configuration.cni_version,
        "interfaces": [
            {"name": made.host_name},
            {"name": call.interface, "mac": mac, "sandbox": call.namespace},
        ],
        "ips": ips,
        "dns": {},
    })
}

/// Undoes ADD as far as there is something to undo; can be repeated (specification, section 3).
fn delete(call: &Call) -> Result<(), CallError> {
    let ipam = open(call)?;
    for address in ipam.addresses(&call.container).map_err(told)? {
        host_ports::close(address).map_err(|e| failed("cannot close ports of the host", &e))?;
    }
    link::remove(&call.container).map_err(|e| failed("cannot remove the link", &e))?;
    ipam.release(&call.container).map_err(told)
}

fn check(call: &Call) -> Result<(), CallError> {
    let namespace = namespace(call)?;
    let addresses = open(call)?.addresses(&call.container).map_err(told)?;
    if addresses.is_empty() {
        return Err(CallError::new(code::FAILED, format!("sandbox {} has no address", call.container)));
    }
    link::check(namespace, &call.container, &call.interface, &addresses)
        .map_err(|e| failed("the link is not right", &e))
}

fn open(call: &Call) -> Result<Ipam, CallError> {
    if call.configuration.data_dir.as_os_str().is_empty() {
        return Err(CallError::new(code::CONFIGURATION, "dataDir is missing in the network configuration"));
    }
    Ipam::open(&call.configuration.data_dir.join("ipam")).map_err(told)
}

fn told(error: IpamError) -> CallError {
    let code = match error {
        IpamError::Full(_) | IpamError::NoRange => code::TRY_AGAIN,
        IpamError::Io { .. } => code::FAILED,
    };
    let message = match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    CallError::new(code, message)
}

fn failed(what: &str, error: &std::io::Error) -> CallError {
    CallError::new(code::FAILED, format!("{what}: {error}"))
}
