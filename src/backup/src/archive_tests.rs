use super::*;

const OURS: &str = "0.3.1";

fn manifest() -> Manifest {
    Manifest {
        knarr_version: "0.3.0".into(),
        cluster: "c".into(),
        revision: 7,
        arguments: vec!["--disable-agent".into()],
        ..Manifest::default()
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn members(&self) -> Vec<Member> {
        // Larger than every buffer, and nothing that compresses to nothing.
        let large: Vec<u8> =
            (0..50_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let files = [
            ("state.db", large),
            ("pki/ca.crt", b"certificate".to_vec()),
            ("config/config.yaml", Vec::new()),
        ];
        let mut members = Vec::new();
        for (name, content) in files {
            let source = self.0.path().join(name.replace('/', "-"));
            std::fs::write(&source, content).unwrap();
            let path = name.starts_with("config/").then(|| "/etc/knarr/config.yaml".to_owned());
            members.push(Member { name: name.into(), source, path });
        }
        members
    }

    fn archive(&self, form: Form) -> Vec<u8> {
        let mut out = Vec::new();
        write(manifest(), &self.members(), form, &mut out).unwrap();
        out
    }

    fn unpack(&self, bytes: &[u8]) -> Result<Manifest, UnpackError> {
        let to = self.0.path().join("unpacked");
        let _ = std::fs::remove_dir_all(&to);
        unpack(bytes, OURS, &to)
    }
}

#[test]
fn what_is_put_in_comes_out_in_both_forms() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    for form in [Form::Gzip, Form::Summed] {
        let bytes = folder.archive(form);
        if form == Form::Summed {
            // What etcd's clients look at.
            assert_eq!(bytes.len() % 512, 32);
        }
        let found = folder.unpack(&bytes).unwrap();
        assert_eq!((found.format_version, found.revision, found.members.len()), (FORMAT, 7, 3));
        assert_eq!(found.members[2].path.as_deref(), Some("/etc/knarr/config.yaml"));
        for member in folder.members() {
            let out = folder.0.path().join("unpacked").join(&member.name);
            assert_eq!(std::fs::read(&out).unwrap(), std::fs::read(&member.source).unwrap());
            assert_eq!(out.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}

#[test]
fn every_truncation_and_every_flipped_bit_is_noticed() {
    let folder = Folder::new();
    for form in [Form::Gzip, Form::Summed] {
        let good = folder.archive(form);
        let whole = folder.unpack(&good).unwrap();
        for cut in (0..good.len()).step_by(good.len() / 60).chain(good.len() - 40..good.len()) {
            let error = folder.unpack(&good[..cut]).expect_err(&format!("{form:?} cut at {cut}"));
            assert!(matches!(error, UnpackError::Damaged(_) | UnpackError::Foreign(_)), "{error}");
        }
        for at in (12..good.len()).step_by(good.len() / 60).chain(good.len() - 40..good.len()) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            // A bit that nothing depends on may be compressed data's; what comes out is the same then.
            let unpacked = folder.unpack(&bad);
            assert!(
                unpacked.is_err() || form == Form::Gzip && unpacked.unwrap() == whole,
                "{form:?} flipped at {at}"
            );
        }
        let mut longer = good.clone();
        longer.extend_from_slice(&[7; 512]);
        assert!(folder.unpack(&longer).is_err(), "{form:?} with something behind it");
    }
}

#[test]
fn newer_versions_and_other_files_are_refused_with_what_to_do() {
    let folder = Folder::new();
    for (format, version) in [(FORMAT, "0.4.0"), (FORMAT, "0.3.2"), (FORMAT + 1, "0.3.0")] {
        let manifest = Manifest { knarr_version: version.into(), format_version: format, ..manifest() };
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        let text = serde_json::to_vec(&manifest).unwrap();
        tar.append_data(&mut header(text.len() as u64), MANIFEST, &*text).unwrap();
        let bytes = tar.into_inner().unwrap().finish().unwrap();
        let error = folder.unpack(&bytes).unwrap_err();
        assert!(matches!(error, UnpackError::Newer { .. }), "{error}");
        assert!(error.to_string().contains(&format!("install {version} or newer")), "{error}");
    }
    assert!(matches!(folder.unpack(b""), Err(UnpackError::Damaged(_))));
    assert!(matches!(folder.unpack(&[b'x'; 9000]), Err(UnpackError::Foreign(_))));
    let mut other = tar::Builder::new(Vec::new());
    other.append_data(&mut header(2), "a", &b"ab"[..]).unwrap();
    let other = other.into_inner().unwrap();
    assert!(matches!(folder.unpack(&other), Err(UnpackError::Foreign(_))));
}

#[test]
fn members_that_would_leave_the_folder_or_were_not_announced_are_refused() {
    let folder = Folder::new();
    for name in ["../outside", "/etc/passwd", "a/../../b"] {
        assert!(safe(name).is_err(), "{name}");
    }
    let mut tar = tar::Builder::new(Vec::new());
    let text = serde_json::to_vec(&Manifest { format_version: FORMAT, ..manifest() }).unwrap();
    tar.append_data(&mut header(text.len() as u64), MANIFEST, &*text).unwrap();
    tar.append_data(&mut header(2), "extra", &b"ab"[..]).unwrap();
    let mut bytes = tar.into_inner().unwrap();
    bytes.extend_from_slice(&Sha256::digest(bytes.clone()));
    let error = folder.unpack(&bytes).unwrap_err();
    assert!(error.to_string().contains("extra is not expected"), "{error}");
    assert!(!folder.0.path().join("unpacked/extra").exists());
}
