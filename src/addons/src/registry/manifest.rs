//! What a manifest says of itself. Pure.

use super::names::Digest;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The index of the image specification.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The manifest of the image specification.
pub const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

/// A manifest or index, as far as a registry reads it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Manifest {
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Vec<Descriptor>,
    manifests: Vec<Descriptor>,
    subject: Option<Descriptor>,
    annotations: Map<String, Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Descriptor {
    media_type: String,
    digest: String,
    urls: Vec<String>,
}

impl Manifest {
    /// Reads a manifest that came with a content type.
    ///
    /// # Errors
    /// When it is no manifest, says another type, or names something by what is no digest.
    pub fn read(bytes: &[u8], content_type: &str) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if let Some(own) = &manifest.media_type
            && own != content_type
        {
            return Err(format!("it says that it is {own}, but came as {content_type}"));
        }
        let all = manifest.layers.iter().chain(&manifest.manifests).chain(&manifest.config);
        match all.chain(&manifest.subject).find(|d| d.digest.parse::<Digest>().is_err()) {
            Some(wrong) => Err(format!("{:?} is no digest", wrong.digest)),
            None => Ok(manifest),
        }
    }

    /// The blobs that it needs. Layers that are fetched from elsewhere are none.
    pub fn blobs(&self) -> impl Iterator<Item = Digest> {
        let here = self.layers.iter().filter(|layer| layer.urls.is_empty());
        here.chain(&self.config).filter_map(|d| d.digest.parse().ok())
    }

    /// The manifests that it lists.
    pub fn manifests(&self) -> impl Iterator<Item = Digest> {
        self.manifests.iter().filter_map(|d| d.digest.parse().ok())
    }

    /// What it refers to.
    pub fn subject(&self) -> Option<Digest> {
        self.subject.as_ref()?.digest.parse().ok()
    }

    /// What it is, to whoever asks for referrers.
    pub fn artifact_type(&self) -> Option<&str> {
        let own = self.artifact_type.as_deref().filter(|type_| !type_.is_empty());
        own.or_else(|| self.config.as_ref().map(|config| config.media_type.as_str()))
    }

    /// Its descriptor in a list of referrers.
    pub fn descriptor(&self, media_type: &str, digest: &Digest, size: usize) -> Value {
        let mut fields = Map::new();
        fields.insert("mediaType".to_owned(), json!(media_type));
        fields.insert("digest".to_owned(), json!(digest.to_string()));
        fields.insert("size".to_owned(), json!(size));
        if let Some(type_) = self.artifact_type() {
            fields.insert("artifactType".to_owned(), json!(type_));
        }
        if !self.annotations.is_empty() {
            fields.insert("annotations".to_owned(), Value::Object(self.annotations.clone()));
        }
        Value::Object(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_manifest_names_its_parts() {
        let text = json!({"mediaType": "t", "config": {"mediaType": "c", "digest": SHA},
            "layers": [{"digest": SHA}, {"digest": SHA, "urls": ["https://elsewhere"]}],
            "subject": {"digest": SHA}, "annotations": {"a": "b"}});
        let manifest = Manifest::read(text.to_string().as_bytes(), "t").unwrap();
        assert_eq!(manifest.blobs().count(), 2);
        assert_eq!(manifest.subject().unwrap().to_string(), SHA);
        let descriptor = manifest.descriptor("t", &SHA.parse().unwrap(), 5);
        assert_eq!(descriptor["artifactType"], "c");
        assert_eq!(descriptor["annotations"]["a"], "b");
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        for text in
            ["", "[]x", "{\"mediaType\":\"other\"}", "{\"layers\":[{\"digest\":\"x\"}]}", "{\"layers\":5}"]
        {
            assert!(Manifest::read(text.as_bytes(), "t").is_err(), "{text}");
        }
    }
}
