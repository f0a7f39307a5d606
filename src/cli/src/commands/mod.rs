//! One file per command for people and scripts.

pub mod access;
pub mod add_node;
pub mod addon;
pub mod certs;
pub mod check;
pub mod config;
pub mod dashboard_proxy;
pub mod datastore;
pub mod enable;
pub mod ephemeral;
pub mod history;
mod image_import;
pub mod images;
pub mod inspect;
pub mod join;
pub mod leave;
pub mod logs;
pub mod manual;
pub mod output;
pub mod pause;
pub mod process;
pub mod progress;
pub mod remove_node;
pub mod repositories;
pub mod reset;
pub mod restart;
pub mod start;
pub mod status;
pub mod stop;
pub mod token;
pub mod tools;
pub mod uninstall;
pub mod unit;
pub mod version;

/// Who made a change, in words, and who acted as that user if it was somebody else.
pub fn who(user: &str, impersonator: Option<&str>) -> String {
    match impersonator {
        None => user.to_owned(),
        Some(name) => format!("{user}, impersonated by {name}"),
    }
}

/// Bytes in words.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..1_073_741_824 => format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20),
        _ => format!("{}.{} GiB", bytes >> 30, ((bytes & 0x3fff_ffff) * 10) >> 30),
    }
}
