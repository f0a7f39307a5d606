//! What certificates there are, and making them anew.
//!
//! A rotation is one step: everything is prepared in a folder beside the directory, and the two change places
//! (`renameat2` with `RENAME_EXCHANGE`). A process that is killed in between leaves the old state or the new one.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::authority::{Authority, new_key};
use crate::error::PkiError;
use crate::files::{self, write_private};
use crate::leaf::{Facts, certificates};
use crate::profile::{Component, Signer};
use crate::store::CROSS_SIGNED;

/// A certificate of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its file's name without extension.
    pub name: String,
    /// Whether it signs others.
    pub authority: bool,
    /// Whose it is.
    pub subject: String,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid.
    pub not_after: Timestamp,
    /// The DNS names it is valid for.
    pub dns_names: Vec<String>,
    /// The addresses it is valid for.
    pub addresses: Vec<IpAddr>,
}

/// What is made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// Leaves: they are removed with their keys, and issued when they are next asked for.
    Leaves(Vec<Component>),
    /// The authorities of clients, servers and front proxies, and all that they signed. The former ones stay trusted, and
    /// vouch for the new one of clients and servers, so that who knows only the former goes on.
    Authorities,
    /// The same with a given certificate and PKCS #8 key as the authority of clients and servers, for which nobody
    /// vouches.
    Given {
        /// Its certificate.
        certificate_pem: String,
        /// Its key. Secret.
        key_pem: String,
    },
}

/// All certificates in a directory, by name; of a file with several, the one that is in use comes first.
///
/// # Errors
/// [`PkiError::Read`]; [`PkiError::Parse`] when a file holds something else.
pub fn list(directory: &Path) -> Result<Vec<Listed>, PkiError> {
    let mut all = Vec::new();
    for path in files_of(directory)? {
        // A worker keeps certificate and key in one file.
        if path.extension().is_none_or(|extension| extension != "crt" && extension != "pem") {
            continue;
        }
        let damaged = |reason: PkiError| PkiError::Damaged { path: path.clone(), reason: reason.to_string() };
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = files::read(&path)?.unwrap_or_default();
        for der in certificates(&text).map_err(damaged)? {
            let facts = Facts::of(&der).map_err(damaged)?;
            let (_, certificate) =
                X509Certificate::from_der(&der).map_err(|error| damaged(PkiError::parse(error)))?;
            all.push(Listed {
                name: name.clone(),
                authority: certificate.is_ca(),
                subject: certificate.subject().to_string(),
                not_before: facts.not_before,
                not_after: facts.not_after,
                dns_names: facts.dns_names,
                addresses: facts.addresses,
            });
        }
    }
    Ok(all)
}

/// Makes certificates anew. What there was before is in `backup` afterwards; what was there is gone.
///
/// Nobody else may write into the directory meanwhile: the server has to be stopped.
///
/// # Errors
/// [`PkiError::Read`], [`PkiError::Write`], [`PkiError::Issue`]; [`PkiError::Damaged`] when what is given is no
/// authority. Nothing has changed then.
pub fn rotate(directory: &Path, backup: &Path, rotation: &Rotation, now: Timestamp) -> Result<(), PkiError> {
    let staging = beside(backup);
    discard(&staging)?;
    let failed = |source| PkiError::Write { path: staging.clone(), source };
    fs::DirBuilder::new().mode(0o700).create(&staging).map_err(failed)?;
    for path in files_of(directory)? {
        let name = path.file_name().unwrap_or_default();
        let content = fs::read(&path).map_err(|source| PkiError::Read { path: path.clone(), source })?;
        write_private(&staging.join(name), &content)?;
    }
    let made = match rotation {
        Rotation::Leaves(components) => remove_leaves(&staging, components),
        Rotation::Authorities => renew(&staging, Component::ClusterCa, None, now)
            .and_then(|()| renew(&staging, Component::FrontProxyCa, None, now))
            .and_then(|()| remove_leaves(&staging, &leaves())),
        Rotation::Given { certificate_pem, key_pem } => {
            renew(&staging, Component::ClusterCa, Some((certificate_pem, key_pem)), now)
                .and_then(|()| remove_leaves(&staging, &leaves()))
        }
    };
    if let Err(error) = made {
        discard(&staging)?;
        return Err(error);
    }
    exchange(directory, &staging)?;
    discard(backup)?;
    fs::rename(&staging, backup).map_err(failed)
}

/// Changes the directory and its backup back. Answers whether there was a backup.
///
/// # Errors
/// [`PkiError::Write`].
pub fn undo(directory: &Path, backup: &Path) -> Result<bool, PkiError> {
    if !backup.is_dir() {
        return Ok(false);
    }
    exchange(directory, backup)?;
    Ok(true)
}

impl Component {
    /// The component of a file's name without extension.
    pub fn of_file_stem(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|component| component.file_stem() == name)
    }

    /// Whether it signs others.
    pub fn is_authority(self) -> bool {
        matches!(self, Self::ClusterCa | Self::FrontProxyCa | Self::DatastoreCa)
    }
}

/// What the cluster's authorities sign. A datastore's certificate is signed by another, which stays.
fn leaves() -> Vec<Component> {
    let signed = |component: &Component| {
        component
            .profile()
            .is_ok_and(|profile| matches!(profile.authority, Signer::Cluster | Signer::FrontProxy))
    };
    Component::ALL.into_iter().filter(signed).collect()
}

fn remove_leaves(directory: &Path, components: &[Component]) -> Result<(), PkiError> {
    for component in components {
        for extension in ["crt", "key"] {
            discard_file(&directory.join(format!("{}.{extension}", component.file_stem())))?;
        }
    }
    Ok(())
}

/// Puts a new authority in front of the one that there is.
fn renew(
    directory: &Path,
    component: Component,
    given: Option<(&str, &str)>,
    now: Timestamp,
) -> Result<(), PkiError> {
    let name = component.file_stem();
    let path = |extension: &str| directory.join(format!("{name}.{extension}"));
    let authority = match given {
        Some((certificate, key)) => {
            let damaged = |error: PkiError| PkiError::Damaged {
                path: PathBuf::from(format!("{name}.crt")),
                reason: error.to_string(),
            };
            let authority = Authority::from_pem(certificate, key).map_err(damaged)?;
            let is_ca = X509Certificate::from_der(authority.certificate()).is_ok_and(|(_, c)| c.is_ca());
            if !is_ca {
                return Err(damaged(PkiError::parse(
                    "it is no authority (basicConstraints without CA:TRUE)",
                )));
            }
            authority
        }
        None => Authority::create(name, &component.profile()?, &new_key(name)?, now)?,
    };
    let former = files::read(&path("crt"))?.unwrap_or_default();
    if component == Component::ClusterCa {
        let cross = directory.join(CROSS_SIGNED);
        match (given, files::read(&path("key"))?) {
            (None, Some(key)) => {
                let signed = Authority::from_pem(&former, &key)?;
                let signed = signed.cross_sign(name, &component.profile()?, authority.key_pem(), now)?;
                write_private(&cross, signed.as_bytes())?;
            }
            _ => discard_file(&cross)?,
        }
    }
    // Only the last one before stays: the file would grow with every rotation.
    let former = former.split_inclusive("-----END CERTIFICATE-----").next().unwrap_or_default();
    write_private(&path("key"), authority.key_pem().as_bytes())?;
    let bundle = format!("{}{}\n", authority.signing_certificate_pem(), former.trim());
    write_private(&path("crt"), bundle.as_bytes())
}

/// The directory's files, without those that are being written, by name.
fn files_of(directory: &Path) -> Result<Vec<PathBuf>, PkiError> {
    let failed = |source| PkiError::Read { path: directory.to_owned(), source };
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.is_file() {
            all.push(path);
        }
    }
    all.sort();
    Ok(all)
}

fn exchange(one: &Path, other: &Path) -> Result<(), PkiError> {
    let failed = |source| PkiError::Write { path: one.to_owned(), source };
    renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE)
        .map_err(|errno| failed(errno.into()))?;
    let parent = one.parent().unwrap_or(one);
    fs::File::open(parent).and_then(|folder| folder.sync_all()).map_err(failed)?;
    fs::set_permissions(one, fs::Permissions::from_mode(0o700)).map_err(failed)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn discard_file(path: &Path) -> Result<(), PkiError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(PkiError::Write { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn discard(path: &Path) -> Result<(), PkiError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(PkiError::Write { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaf::Leaf;
    use crate::store::{LeafRequest, Pki};
    use crate::tls::ChainVerifier;
    use rustls::pki_types::CertificateDer;

    fn now() -> Timestamp {
        "2026-06-01T00:00:00Z".parse().unwrap()
    }

    fn cluster(folder: &Path) -> (PathBuf, PathBuf) {
        let directory = folder.join("pki");
        let pki = Pki::load_or_create(&directory, now()).unwrap();
        for component in [Component::Admin, Component::ApiServer] {
            pki.leaf(&LeafRequest::client(component, "n"), now()).unwrap();
        }
        (directory, folder.join("certs-backup"))
    }

    fn read(directory: &Path, name: &str) -> Option<String> {
        files::read(&directory.join(name)).unwrap()
    }

    #[test]
    fn a_rotated_leaf_has_another_key_and_the_same_authority_and_the_old_one_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, backup) = cluster(folder.path());
        let before = read(&directory, "admin.key");
        let untouched = read(&directory, "apiserver.key");
        rotate(&directory, &backup, &Rotation::Leaves(vec![Component::Admin]), now()).unwrap();
        assert_eq!(read(&directory, "admin.key"), None);
        let pki = Pki::load_or_create(&directory, now()).unwrap();
        let leaf = pki.leaf(&LeafRequest::client(Component::Admin, "n"), now()).unwrap();
        assert_ne!(Some(leaf.key_pem), before);
        assert_eq!(read(&directory, "apiserver.key"), untouched);
        assert_eq!(read(&backup, "admin.key"), before);
        assert!(undo(&directory, &backup).unwrap());
        assert_eq!(read(&directory, "admin.key"), before);
        assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_new_authority_signs_and_the_former_stays_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, backup) = cluster(folder.path());
        let old = Pki::load_or_create(&directory, now()).unwrap();
        let old_leaf = old.leaf(&LeafRequest::client(Component::Admin, "n"), now()).unwrap();
        let tokens = read(&directory, "service-account.key");
        for _ in 0..2 {
            rotate(&directory, &backup, &Rotation::Authorities, now()).unwrap();
        }
        rotate(&directory, &backup, &Rotation::Leaves(Vec::new()), now()).unwrap();
        undo(&directory, &backup).unwrap();
        let new = Pki::load_or_create(&directory, now()).unwrap();
        assert_eq!(new.cluster_ca().bundle().unwrap().len(), 2, "its former one, and no older");
        assert_ne!(new.cluster_ca().certificate(), old.cluster_ca().certificate());
        let leaf = new.leaf(&LeafRequest::client(Component::Admin, "n"), now()).unwrap();
        assert!(crate::tls::is_signed_by(&leaf, new.cluster_ca()));
        assert!(!crate::tls::is_signed_by(&old_leaf, new.cluster_ca()));
        assert_eq!(read(&directory, "service-account.key"), tokens);
    }

    #[test]
    fn who_knows_only_the_former_authority_believes_what_the_new_one_signs() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, backup) = cluster(folder.path());
        let trusted = |directory: &Path| {
            let authority = read(directory, "ca.crt").unwrap();
            let first = authority.split_inclusive("-----END CERTIFICATE-----").next().unwrap();
            certificates(first).unwrap()
        };
        let former = trusted(&directory);
        rotate(&directory, &backup, &Rotation::Authorities, now()).unwrap();
        let leaf = |directory: &Path| {
            let pki = Pki::load_or_create(directory, now()).unwrap();
            pki.leaf(&LeafRequest::client(Component::Admin, "n"), now()).unwrap()
        };
        let verified = |leaf: &Leaf, authorities: &[CertificateDer<'static>]| {
            ChainVerifier::new(authorities).unwrap().verify(&leaf.chain, now()).is_ok()
        };
        let one = leaf(&directory);
        assert_eq!(one.chain.len(), 2);
        assert!(verified(&one, &former) && verified(&one, &trusted(&directory)));
        // The second rotation ends that.
        rotate(&directory, &backup, &Rotation::Authorities, now()).unwrap();
        let two = leaf(&directory);
        assert!(!verified(&two, &former) && verified(&two, &trusted(&backup)));
        assert_eq!(list(&directory).unwrap().iter().filter(|one| one.name == "ca-cross").count(), 1);
    }

    #[test]
    fn what_is_no_authority_is_refused_and_nothing_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, backup) = cluster(folder.path());
        let before = read(&directory, "ca.crt");
        let leaf = |name: &str| read(&directory, name).unwrap();
        let given = Rotation::Given { certificate_pem: leaf("admin.crt"), key_pem: leaf("admin.key") };
        assert!(matches!(rotate(&directory, &backup, &given, now()), Err(PkiError::Damaged { .. })));
        assert_eq!(read(&directory, "ca.crt"), before);
        assert!(!backup.exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(!undo(&directory, &backup).unwrap());
        let elsewhere = tempfile::tempdir().unwrap();
        let (other, _) = cluster(elsewhere.path());
        let given = Rotation::Given {
            certificate_pem: read(&other, "ca.crt").unwrap(),
            key_pem: read(&other, "ca.key").unwrap(),
        };
        rotate(&directory, &backup, &given, now()).unwrap();
        assert!(read(&directory, "ca.crt").unwrap().starts_with(read(&other, "ca.crt").unwrap().trim()));
    }

    #[test]
    fn everything_that_is_there_is_listed() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, _) = cluster(folder.path());
        let all = list(&directory).unwrap();
        let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["admin", "apiserver", "ca", "front-proxy-ca"]);
        let (admin, ca) = (&all[0], &all[2]);
        assert!(ca.authority && !admin.authority);
        assert!(admin.subject.contains("CN=kubernetes-admin"), "{}", admin.subject);
        assert!(all[1].dns_names.iter().any(|name| name == "kubernetes.default"));
        fs::write(directory.join("x.crt"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
            .unwrap();
        assert!(matches!(list(&directory), Err(PkiError::Damaged { .. })));
    }
}
