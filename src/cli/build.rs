//! The release's link: folds identical functions, since the same code is generated in many crates from generic code,
//! and packs relocations (DT_RELR, a megabyte less; glibc reads it since 2.36).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all,--pack-dyn-relocs=relr");
    }
}
