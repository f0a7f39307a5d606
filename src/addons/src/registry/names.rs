//! Names, tags, digests and paths of the distribution specification 1.1. Pure.

use http::Method;
use std::fmt;
use std::str::FromStr;

/// The longest name of a repository; clients and other registries take no more.
const LONGEST_NAME: usize = 255;

/// The name of a repository. It is safe as a path: no component begins with a dot or an underscore.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = ();

    /// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, joined by slashes.
    fn from_str(text: &str) -> Result<Self, ()> {
        let valid = !text.is_empty() && text.len() <= LONGEST_NAME && text.split('/').all(is_component);
        if valid { Ok(Self(text.to_owned())) } else { Err(()) }
    }
}

fn is_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let ends = text.starts_with(alphanumeric) && text.ends_with(alphanumeric);
    let mut separators = text.split(alphanumeric).filter(|s| !s.is_empty());
    ends && separators.all(|s| matches!(s, "." | "_" | "__") || s.chars().all(|c| c == '-'))
}

/// The algorithm of a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// As digests spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The hasher.
    pub fn context(self) -> ring::digest::Context {
        ring::digest::Context::new(match self {
            Self::Sha256 => &ring::digest::SHA256,
            Self::Sha512 => &ring::digest::SHA512,
        })
    }
}

/// `sha256:` or `sha512:` and hexadecimal digits in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The digits.
    pub hex: String,
}

impl Digest {
    /// What a hasher found.
    pub fn finish(algorithm: Algorithm, context: ring::digest::Context) -> Self {
        let hex = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { algorithm, hex }
    }

    /// The digest of bytes.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut context = algorithm.context();
        context.update(bytes);
        Self::finish(algorithm, context)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.as_str(), self.hex)
    }
}

impl FromStr for Digest {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (algorithm, hex) = text.split_once(':').ok_or(())?;
        let (algorithm, length) = match algorithm {
            "sha256" => (Algorithm::Sha256, 64),
            "sha512" => (Algorithm::Sha512, 128),
            _ => return Err(()),
        };
        let digits = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if hex.len() == length && digits { Ok(Self { algorithm, hex: hex.to_owned() }) } else { Err(()) }
    }
}

/// What names a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A tag.
    Tag(String),
    /// Its digest.
    Digest(Digest),
}

impl FromStr for Reference {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.contains(':') {
            return text.parse().map(Self::Digest);
        }
        let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        let rest = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
        if first && rest && text.len() <= 128 { Ok(Self::Tag(text.to_owned())) } else { Err(()) }
    }
}

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `/v2/`: that this is a registry.
    Base,
    /// `/v2/_catalog`.
    Catalog,
    /// `/v2/NAME/tags/list`.
    Tags(Name),
    /// `/v2/NAME/manifests/REFERENCE`.
    Manifest(Name, Reference),
    /// `/v2/NAME/blobs/DIGEST`.
    Blob(Name, Digest),
    /// `/v2/NAME/blobs/uploads/`.
    Uploads(Name),
    /// `/v2/NAME/blobs/uploads/ID`.
    Upload(Name, String),
    /// `/v2/NAME/referrers/DIGEST`.
    Referrers(Name, Digest),
}

/// Why a path names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// There is no such path.
    Path,
    /// The name is none.
    Name,
    /// The digest is none.
    Digest,
    /// The reference is none.
    Reference,
    /// The upload's id is none.
    Upload,
}

/// Reads a path. Names may hold words like `manifests`, so it is read from its end.
///
/// # Errors
/// Tells what of it is wrong.
pub fn target(path: &str, method: &Method) -> Result<Target, Wrong> {
    let rest = path.strip_prefix("/v2").ok_or(Wrong::Path)?;
    if matches!(rest, "" | "/") {
        return Ok(Target::Base);
    }
    let rest = rest.strip_prefix('/').ok_or(Wrong::Path)?;
    if rest == "_catalog" {
        return Ok(Target::Catalog);
    }
    let name = |text: &str| text.parse::<Name>().map_err(|()| Wrong::Name);
    if let Some(text) = rest.strip_suffix("/tags/list") {
        return name(text).map(Target::Tags);
    }
    if let Some(text) = rest
        .strip_suffix("/blobs/uploads/")
        .or_else(|| rest.strip_suffix("/blobs/uploads").filter(|_| method == Method::POST))
    {
        return name(text).map(Target::Uploads);
    }
    let (before, last) = rest.rsplit_once('/').ok_or(Wrong::Path)?;
    if let Some(text) = before.strip_suffix("/blobs/uploads") {
        let id = uuid::Uuid::try_parse(last).map_err(|_| Wrong::Upload)?;
        return Ok(Target::Upload(name(text)?, id.to_string()));
    }
    let (before, kind) = before.rsplit_once('/').ok_or(Wrong::Path)?;
    let digest = || last.parse::<Digest>().map_err(|()| Wrong::Digest);
    match kind {
        "manifests" => {
            let wrong = if last.contains(':') { Wrong::Digest } else { Wrong::Reference };
            Ok(Target::Manifest(name(before)?, last.parse().map_err(|()| wrong)?))
        }
        "blobs" => Ok(Target::Blob(name(before)?, digest()?)),
        "referrers" => Ok(Target::Referrers(name(before)?, digest()?)),
        _ => Err(Wrong::Path),
    }
}

/// A parameter of a query, decoded.
pub fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    query?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key == name).then(|| percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned())
    })
}

/// A page of sorted names: at most `n` after `last`, and whether there are more.
pub fn page(mut all: Vec<String>, n: Option<usize>, last: Option<&str>) -> (Vec<String>, bool) {
    all.sort_unstable();
    all.retain(|name| last.is_none_or(|last| name.as_str() > last));
    let more = n.is_some_and(|n| all.len() > n);
    all.truncate(n.unwrap_or(usize::MAX));
    (all, more)
}

/// The first and last byte of a `Range` or `Content-Range` header: `0-99`, `bytes=0-99`, `bytes 0-99/100`. An open end is
/// none.
pub fn range(text: &str) -> Option<(u64, Option<u64>)> {
    let text = text.trim().trim_start_matches("bytes").trim_start_matches(['=', ' ']);
    let text = text.split('/').next()?;
    let (first, last) = text.split_once('-')?;
    let last = if last.is_empty() { None } else { Some(last.parse().ok()?) };
    let first = first.parse().ok()?;
    last.is_none_or(|last| last >= first).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_are_as_specified_and_never_leave_their_folder() {
        for good in ["a", "library/nginx", "a.b/c_d/e__f/g---h", "0"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in
            ["", "A", "a/", "/a", "a//b", "..", "a/../b", ".a", "_a", "a.", "a..b", "a___b", "a b", "a\0"]
        {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
        assert!("a".repeat(256).parse::<Name>().is_err());
    }

    #[test]
    fn digests_are_whole() {
        assert_eq!(Digest::of(Algorithm::Sha256, b"").to_string(), SHA);
        assert_eq!(SHA.parse::<Digest>().unwrap().to_string(), SHA);
        for bad in ["sha256:", "sha256:../x", "md5:abc", &SHA.to_uppercase(), &format!("{SHA}0")] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_are_read_from_their_end() {
        let of = |path: &str| target(path, &Method::GET);
        let name = || "a/manifests/b".parse::<Name>().unwrap();
        assert_eq!(of("/v2/"), Ok(Target::Base));
        assert_eq!(of("/v2/a/manifests/b/tags/list"), Ok(Target::Tags(name())));
        assert_eq!(
            of("/v2/a/manifests/b/manifests/v1.0"),
            Ok(Target::Manifest(name(), Reference::Tag("v1.0".to_owned())))
        );
        assert_eq!(
            of(&format!("/v2/a/manifests/b/blobs/{SHA}")),
            Ok(Target::Blob(name(), SHA.parse().unwrap()))
        );
        assert_eq!(of("/v2/a/blobs/uploads/"), Ok(Target::Uploads("a".parse().unwrap())));
        assert_eq!(of("/v2/a/blobs/sha256:zz"), Err(Wrong::Digest));
        assert_eq!(of("/v2/a/blobs/uploads/../../x"), Err(Wrong::Path));
        assert_eq!(of("/v2/a/blobs/uploads/nonsense"), Err(Wrong::Upload));
        assert_eq!(of("/v2/A/tags/list"), Err(Wrong::Name));
        assert_eq!(of("/v2/a/manifests/-bad"), Err(Wrong::Reference));
        assert_eq!(of("/v1/a"), Err(Wrong::Path));
    }

    #[test]
    fn pages_follow_one_another() {
        let all = || ["c", "a", "b"].map(str::to_owned).to_vec();
        assert_eq!(page(all(), None, None), (vec!["a".into(), "b".into(), "c".into()], false));
        assert_eq!(page(all(), Some(2), None), (vec!["a".into(), "b".into()], true));
        assert_eq!(page(all(), Some(2), Some("b")), (vec!["c".into()], false));
        assert_eq!(page(all(), Some(0), None), (Vec::new(), true));
    }

    #[test]
    fn ranges_come_in_three_forms() {
        assert_eq!(range("0-99"), Some((0, Some(99))));
        assert_eq!(range("bytes=5-"), Some((5, None)));
        assert_eq!(range("bytes 5-9/10"), Some((5, Some(9))));
        for bad in ["", "9-5", "-5", "a-b", "bytes=1"] {
            assert_eq!(range(bad), None, "{bad}");
        }
    }
}
