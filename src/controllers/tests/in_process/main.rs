//! All controllers against a real API server in the test's own process. A simulated kubelet runs the pods.

mod cluster;
mod garbage;
mod leadership;
mod namespaces;
mod nodes;
mod services;
mod workloads;
