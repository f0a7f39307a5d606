//! The commands ADD, DEL, CHECK and VERSION.

use crate::ipam::{Ipam, IpamError};
use crate::protocol::{Call, CallError, VERSIONS, code};
use crate::{PLUGIN, host_ports, link};
use serde_json::{Value, json};
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

/// Whether this process was called as the plugin: by its name, with the variable that every call has.
pub fn is_plugin_call() -> bool {
    let name = std::env::args_os().next().unwrap_or_default();
    std::path::Path::new(&name).file_name().is_some_and(|name| name == PLUGIN)
        && std::env::var_os("CNI_COMMAND").is_some()
}

/// Serves the call that the environment describes.
pub fn main() -> ExitCode {
    let mut input = Vec::new();
    let outcome = std::io::stdin()
        .read_to_end(&mut input)
        .map_err(|e| CallError::new(code::DECODE, format!("cannot read the network configuration: {e}")))
        .and_then(|_| Call::read(|name| std::env::var(name).ok(), &input))
        .and_then(|call| serve(&call));
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
        "ADD" => add(call).map(Some),
        "DEL" => delete(call).map(|()| None),
        "CHECK" => check(call).map(|()| None),
        "VERSION" => Ok(Some(json!({"cniVersion": "1.0.0", "supportedVersions": VERSIONS}))),
        other => Err(CallError::new(code::ENVIRONMENT, format!("CNI_COMMAND {other:?} is not known"))),
    }
}

fn add(call: &Call) -> Result<Value, CallError> {
    let configuration = &call.configuration;
    let namespace =
        call.namespace.as_ref().ok_or_else(|| CallError::new(code::ENVIRONMENT, "CNI_NETNS is missing"))?;
    let addresses = open(call)?.allocate(&configuration.pod_cidrs, &call.container).map_err(told)?;
    let made = link::make(namespace, &call.container, &call.interface, &addresses, configuration.mtu)
        .and_then(|made| {
            if let Some(address) = v4(&addresses) {
                host_ports::open(&configuration.runtime_config.port_mappings, address)?;
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
    let ips: Vec<Value> = addresses
        .iter()
        .map(|address| {
            let length = if address.is_ipv4() { 32 } else { 128 };
            let mut ip = json!({"address": format!("{address}/{length}"), "interface": 1});
            // Asked for by 0.4.0, gone in 1.0.0.
            if let (Some(fields), "0.4.0") = (ip.as_object_mut(), call.configuration.cni_version.as_str()) {
                fields.insert("version".to_owned(), json!(if address.is_ipv4() { "4" } else { "6" }));
            }
            ip
        })
        .collect();
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
        if let IpAddr::V4(address) = address {
            host_ports::close(address).map_err(|e| failed("cannot close ports of the host", &e))?;
        }
    }
    link::remove(&call.container).map_err(|e| failed("cannot remove the link", &e))?;
    ipam.release(&call.container).map_err(told)
}

fn check(call: &Call) -> Result<(), CallError> {
    let namespace =
        call.namespace.as_ref().ok_or_else(|| CallError::new(code::ENVIRONMENT, "CNI_NETNS is missing"))?;
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

fn v4(addresses: &[IpAddr]) -> Option<Ipv4Addr> {
    addresses.iter().find_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    })
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
