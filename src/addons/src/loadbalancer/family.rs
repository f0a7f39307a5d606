//! The families of addresses. Pure.

use k8s_openapi::api::core::v1::Service;
use std::fmt;
use std::net::IpAddr;

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// As `spec.ipFamilies` and EndpointSlices name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// Those of a Service, its first one first.
    pub fn of_service(service: &Service) -> Vec<Self> {
        let named = service.spec.as_ref().and_then(|spec| spec.ip_families.as_deref()).unwrap_or_default();
        let read = |name: &String| [Self::V4, Self::V6].into_iter().find(|family| family.name() == name);
        let all: Vec<Self> = named.iter().filter_map(read).collect();
        if all.is_empty() { vec![Self::V4] } else { all }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
