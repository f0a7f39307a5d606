//! Which documents there are, and what is in each.
//!
//! v3 has a document for every group and version, and small ones for what is no resource. The v2 document is all of
//! them in one. The hash of a document depends on what it is made from, not on its text: it is known without making
//! it.

use super::definitions::definition;
use super::descriptions::Descriptions;
use super::operation::{Content, Operation, Path};
use super::sink::{JsonSink, Sink};
use super::targets::{META, Target, What, closure};
use super::{Dialect, operations, parameters, paths, words};
use crate::aggregation::Swagger;
use crate::discovery::git_version;
use crate::endpoints::MEDIA_TYPES;
use crate::registry::{Resources, Served};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, LazyLock};

/// Raise it when documents are to change while neither the version nor the tables do: clients keep what they got
/// for as long as its hash is the same.
const FORM: u32 = 1;

/// What every document is made from besides the resources.
static BASIS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    hash.update(FORM.to_be_bytes());
    hash.update(git_version());
    hash.update(api::schema::builtin_text());
    hash.finalize().to_vec()
});

/// One document of v3.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Section {
    /// Discovery of the core group's versions.
    Api,
    /// Discovery of groups.
    Apis,
    /// Discovery of a group's versions.
    Group(String),
    /// Resources of a group and version.
    Version(String, String),
    /// The issuer's configuration.
    OpenIdConfiguration,
    /// The issuer's keys.
    OpenIdKeys,
    /// The server's version.
    ServerVersion,
}

impl Section {
    /// Every document, sorted.
    pub(super) fn all(resources: &Resources) -> BTreeSet<Self> {
        let mut all = BTreeSet::from([
            Self::Api,
            Self::Apis,
            Self::OpenIdConfiguration,
            Self::OpenIdKeys,
            Self::ServerVersion,
        ]);
        for (group, versions) in resources.groups() {
            if !group.is_empty() {
                all.insert(Self::Group(group.to_owned()));
            }
            all.extend(versions.keys().map(|version| Self::Version(group.to_owned(), version.clone())));
        }
        all
    }

    /// The document of a path, as the index tells it.
    pub(super) fn find(resources: &Resources, path: &str) -> Option<Self> {
        Self::all(resources).into_iter().find(|section| section.path() == path)
    }

    /// Its path in the index: `apis/apps/v1`.
    pub(super) fn path(&self) -> String {
        match self {
            Self::Api => "api".to_owned(),
            Self::Apis => "apis".to_owned(),
            Self::Group(group) => format!("apis/{group}"),
            Self::Version(group, version) => words::base(group, version).trim_start_matches('/').to_owned(),
            Self::OpenIdConfiguration => ".well-known/openid-configuration".to_owned(),
            Self::OpenIdKeys => "openid/v1/jwks".to_owned(),
            Self::ServerVersion => "version".to_owned(),
        }
    }

    /// The resources in it, sorted by name.
    fn resources<'a>(&self, resources: &'a Resources) -> Vec<&'a Arc<Served>> {
        let Self::Version(group, version) = self else { return Vec::new() };
        resources.of_version(group, version)
    }

    /// The paths in it.
    pub(super) fn paths<'a>(&self, resources: &'a Resources) -> Vec<Path<'a>> {
        let mut all = vec![self.discovery()];
        for served in self.resources(resources) {
            all.extend(operations::of_resource(served));
        }
        all
    }

    /// The document's own path.
    fn discovery(&self) -> Path<'static> {
        let (id, tag, description, kind) = match self {
            Self::Api => (
                "getCoreAPIVersions".to_owned(),
                "core".to_owned(),
                "get available API versions",
                "APIVersions",
            ),
            Self::Apis => {
                ("getAPIVersions".to_owned(), "apis".to_owned(), "get available API versions", "APIGroupList")
            }
            Self::Group(group) => (
                format!("get{}APIGroup", words::group_words(group)),
                words::group_tag(group),
                "get information of a group",
                "APIGroup",
            ),
            Self::Version(group, version) => (
                format!("get{}{}APIResources", words::group_words(group), words::capitalized(version)),
                format!("{}_{version}", words::group_tag(group)),
                "get available resources",
                "APIResourceList",
            ),
            Self::OpenIdConfiguration => (
                "getServiceAccountIssuerOpenIDConfiguration".to_owned(),
                "WellKnown".to_owned(),
                "get the discovery document (OpenID Connect) of the issuer of service account tokens",
                "",
            ),
            Self::OpenIdKeys => (
                "getServiceAccountIssuerOpenIDKeyset".to_owned(),
                "openid".to_owned(),
                "get the public keys of the issuer of service account tokens",
                "",
            ),
            Self::ServerVersion => {
                ("getCodeVersion".to_owned(), "version".to_owned(), "get the version of this server", "Info")
            }
        };
        let (media, answer) = match self {
            Self::ServerVersion => {
                (vec!["application/json"], Target::built_in("io.k8s.apimachinery.pkg.version.Info"))
            }
            Self::OpenIdConfiguration => (vec!["application/json"], None),
            Self::OpenIdKeys => (vec!["application/jwk-set+json"], None),
            _ => (MEDIA_TYPES.to_vec(), Target::built_in(&format!("{META}.{kind}"))),
        };
        let operation = Operation {
            method: "get",
            id,
            description: description.to_owned(),
            tag,
            parameters: Vec::new(),
            body: None,
            consumes: media.clone(),
            produces: media,
            responses: vec![(200, answer.map_or(Content::Text, Content::Type))],
            action: None,
        };
        Path::new(format!("/{}/", self.path()), vec![operation])
    }

    /// The hash of the document in upper case hexadecimal.
    pub(super) fn hash(&self, resources: &Resources) -> String {
        let mut hash = Sha256::new();
        hash.update(&*BASIS);
        self.hash_into(&mut hash, resources);
        hexadecimal(hash)
    }

    fn hash_into(&self, hash: &mut Sha256, resources: &Resources) {
        let mut add = |part: &str| {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        add(&self.path());
        for served in self.resources(resources) {
            add(&served.gvr.resource);
            add(&served.gvk.kind);
            add(if served.namespaced { "namespaced" } else { "cluster" });
            served.verbs.iter().for_each(|verb| add(verb));
            for sub in &served.subresources {
                add(&sub.name);
                add(&sub.gvk.to_string());
                sub.verbs.iter().for_each(|verb| add(verb));
            }
            if let Some(version) = served.as_custom() {
                add(&served.list_kind);
                add(version.digest());
            }
            // The basis tells the form of what is built in, but not of this.
            let target = Target::object(served);
            if let What::Root(..) = target.what {
                add(&definition(Dialect::V3, &target, &super::descriptions::Described::nothing()).to_string());
            }
        }
    }
}

/// The hash of the v2 document.
pub(super) fn hash_of_v2(resources: &Resources, others: &[Arc<Swagger>]) -> String {
    let mut hash = Sha256::new();
    hash.update(&*BASIS);
    for section in Section::all(resources) {
        section.hash_into(&mut hash, resources);
    }
    for other in others {
        hash.update(&other.hash);
    }
    hexadecimal(hash)
}

/// The hash of a text.
pub(super) fn hash_of_text(text: &str) -> String {
    hexadecimal(Sha256::new_with_prefix(text))
}

fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02X}");
        text
    })
}

/// Writes the definitions of some types; those in `done` are already there, and these are from now on.
fn write_definitions(
    dialect: Dialect,
    types: BTreeMap<String, What<'_>>,
    done: &mut BTreeSet<String>,
    sink: &mut impl Sink,
) -> io::Result<()> {
    let mut descriptions = Descriptions::of(|name| types.contains_key(name) && !done.contains(name));
    for (name, what) in types {
        if !done.insert(name.clone()) {
            continue;
        }
        let described = descriptions.take(&name);
        let target = Target { name, what };
        sink.entry(&target.name, &definition(dialect, &target, &described))?;
    }
    Ok(())
}

fn write_paths(dialect: Dialect, all: &[Path<'_>], sink: &mut impl Sink) -> io::Result<()> {
    all.iter().try_for_each(|path| sink.entry(&path.path, &paths::path_item(dialect, path)))
}

/// Writes a document of v3.
///
/// # Errors
/// Those of the writer.
pub(super) fn write_v3<W: io::Write>(section: &Section, resources: &Resources, out: W) -> io::Result<W> {
    let paths = section.paths(resources);
    let mut sink = JsonSink::new(out)?;
    sink.field("openapi", &json!("3.0.0"))?;
    sink.field("info", &json!({"title": "Kubernetes", "version": git_version()}))?;
    sink.open("components")?;
    sink.open("schemas")?;
    let types = closure(paths.iter().flat_map(Path::targets).cloned());
    write_definitions(Dialect::V3, types, &mut BTreeSet::new(), &mut sink)?;
    sink.close()?;
    sink.field("securitySchemes", &bearer_token())?;
    sink.close()?;
    sink.open("paths")?;
    write_paths(Dialect::V3, &paths, &mut sink)?;
    sink.close()?;
    sink.finish()
}

/// Writes the v2 document: what is served here, and what others say of theirs. Of definitions of one name ours counts.
///
/// # Errors
/// Those of the sink.
pub(super) fn write_v2(
    resources: &Resources,
    others: &[Arc<Swagger>],
    sink: &mut impl Sink,
) -> io::Result<()> {
    let sections = Section::all(resources);
    sink.field("swagger", &json!("2.0"))?;
    sink.field("info", &json!({"title": "Kubernetes", "version": git_version()}))?;
    // One section after the other, so that no more than one's descriptions are in memory.
    sink.open("definitions")?;
    let mut done = BTreeSet::new();
    for section in &sections {
        let paths = section.paths(resources);
        let types = closure(paths.iter().flat_map(Path::targets).cloned());
        write_definitions(Dialect::V2, types, &mut done, sink)?;
    }
    let mut their_paths = BTreeMap::new();
    for other in others {
        let (paths, definitions) = other.read()?;
        their_paths.extend(paths);
        for (name, definition) in definitions {
            if done.insert(name.clone()) {
                sink.entry(&name, &definition)?;
            }
        }
    }
    sink.close()?;
    sink.open("parameters")?;
    for (name, parameter) in parameters::shared().collect::<BTreeMap<_, _>>() {
        sink.entry(name, &paths::parameter(Dialect::V2, parameter))?;
    }
    sink.close()?;
    sink.open("paths")?;
    for section in &sections {
        write_paths(Dialect::V2, &section.paths(resources), sink)?;
    }
    their_paths.iter().try_for_each(|(path, item)| sink.entry(path, item))?;
    sink.close()?;
    sink.field("securityDefinitions", &bearer_token())?;
    sink.field("security", &json!([{"BearerToken": []}]))
}

fn bearer_token() -> serde_json::Value {
    json!({"BearerToken": {
        "type": "apiKey",
        "name": "authorization",
        "in": "header",
        "description": "Bearer Token authentication",
    }})
}
