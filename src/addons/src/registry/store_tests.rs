use super::names::{Algorithm, Digest, Name};
use super::store::*;
use std::time::{Duration, SystemTime};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn upload(store: &Store, to: &str, bytes: &[u8]) -> Digest {
    let id = uuid::Uuid::new_v4().to_string();
    store.begin(&id).unwrap();
    let mut file = store.resume(&id, Some(0)).unwrap();
    store.append(&mut file, bytes).unwrap();
    let digest = Digest::of(Algorithm::Sha256, bytes);
    store.finish(&name(to), &id, &digest).unwrap();
    digest
}

#[test]
fn an_upload_becomes_a_blob_only_with_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), 1000).unwrap();
    let id = uuid::Uuid::new_v4().to_string();
    store.begin(&id).unwrap();
    let mut file = store.resume(&id, None).unwrap();
    store.append(&mut file, b"abc").unwrap();
    assert!(matches!(store.resume(&id, Some(2)), Err(StoreError::Offset(3))));
    let other = Digest::of(Algorithm::Sha256, b"abd");
    assert!(matches!(store.finish(&name("a"), &id, &other), Err(StoreError::Digest(_))));
    assert!(matches!(store.uploaded(&id), Err(StoreError::NotFound)), "what was wrong is lost");
    assert_eq!(store.used(), 0);
    let digest = upload(&store, "a", b"abc");
    assert!(store.has_blob(&name("a"), &digest));
    assert!(!store.has_blob(&name("b"), &digest), "a repository has what was pushed to it");
    store.mount(&name("b"), &digest, &name("a")).unwrap();
    assert!(store.has_blob(&name("b"), &digest));
    upload(&store, "c", b"abc");
    assert_eq!(store.used(), 3, "the same bytes are there once");
    assert_eq!(Store::open(folder.path(), 1000).unwrap().used(), 3);
}

#[test]
fn a_registry_grows_to_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), 5).unwrap();
    let id = uuid::Uuid::new_v4().to_string();
    store.begin(&id).unwrap();
    let mut file = store.resume(&id, None).unwrap();
    store.append(&mut file, b"abc").unwrap();
    assert!(matches!(store.append(&mut file, b"def"), Err(StoreError::Full(5))));
    store.cancel(&id).unwrap();
    assert_eq!(store.used(), 0);
    upload(&store, "a", b"12345");
    let manifest = Digest::of(Algorithm::Sha256, b"{}");
    assert!(matches!(store.put_manifest(&name("a"), &manifest, b"{}", "t", None), Err(StoreError::Full(5))));
}

#[test]
fn a_full_disk_is_told_and_what_is_not_there_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), 1000).unwrap();
    let mut full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    assert!(matches!(store.append(&mut full, b"abc"), Err(StoreError::NoRoom(_))));
    assert_eq!(store.used(), 0);
}

#[test]
fn what_nothing_names_goes_once_it_is_old() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), 1000).unwrap();
    let kept = upload(&store, "x/y", b"kept");
    let lost = upload(&store, "x/y", b"lost");
    let manifest = Digest::of(Algorithm::Sha256, b"{}");
    store.put_manifest(&name("x/y"), &manifest, b"{}", "t", None).unwrap();
    store.put_tag(&name("x/y"), "latest", &manifest).unwrap();
    let id = uuid::Uuid::new_v4().to_string();
    store.begin(&id).unwrap();
    let needs = |_: &[u8], _: &str| vec![kept.clone()];
    let now = SystemTime::now();
    assert_eq!(store.collect(now, GRACE, needs).unwrap(), 0, "it is new");
    assert!(store.has_blob(&name("x/y"), &lost));
    let later = now + GRACE + Duration::from_secs(60);
    assert_eq!(store.collect(later, GRACE, needs).unwrap(), 4);
    assert!(store.has_blob(&name("x/y"), &kept) && !store.has_blob(&name("x/y"), &lost));
    assert!(store.uploaded(&id).is_err());
    assert_eq!(store.tag(&name("x/y"), "latest").unwrap(), manifest);
    assert_eq!(store.repositories(), ["x/y"]);
    store.delete_manifest(&name("x/y"), &manifest, None).unwrap();
    assert!(store.tag(&name("x/y"), "latest").is_err(), "its tags go with it");
    assert_eq!(store.collect(later, GRACE, needs).unwrap(), 6);
    assert_eq!(store.used(), 0);
    assert!(store.repositories().is_empty());
}
