//! The store through its public interface, on real files.
// Marked as test code throughout, so that helpers too may unwrap.
#![cfg(test)]

#[cfg(test)]
mod authors;
#[cfg(test)]
mod chaos;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod http;
#[cfg(test)]
mod maintenance;
#[cfg(test)]
mod members;
#[cfg(test)]
mod model;
#[cfg(test)]
mod offline;
#[cfg(test)]
mod past;
#[cfg(test)]
mod spares;
#[cfg(test)]
mod watches;
#[cfg(test)]
mod writes;
