//! Usage of the node, its pods and their containers.

pub mod cadvisor;
pub mod collector;
mod disk;
mod exposition;
mod host;
pub mod resource_metrics;
pub mod summary;
pub mod types;

pub use collector::Collector;
pub use types::{
    ContainerStatistics, CpuStatistics, FilesystemStatistics, InterfaceStatistics, MemoryStatistics,
    NetworkStatistics, NodeStatistics, PodStatistics,
};
