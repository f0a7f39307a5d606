//! What was done of a launch configuration, so that it is done once: what people change later stays as they made it.

use super::plan::Plan;
use crate::paths::Paths;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::ErrorKind;

/// The record of one content; another content is a new one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Of what.
    digest: String,
    /// Whether the files were written.
    #[serde(default)]
    pub files: bool,
    /// Steps that were done, by their place.
    #[serde(default)]
    pub done: BTreeSet<usize>,
    /// Why the others were not, at the last attempt; for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Record {
    /// What was done of a plan.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn load(paths: &Paths, plan: &Plan) -> Result<Self> {
        let path = paths.launch_record();
        let fresh = Self { digest: plan.digest.clone(), ..Self::default() };
        match std::fs::read(&path) {
            Ok(bytes) => {
                let record: Self = serde_json::from_slice(&bytes).with_context(|| {
                    format!("{} is damaged; remove it to have {} applied again", path.display(), plan.shown)
                })?;
                Ok(if record.digest == plan.digest { record } else { fresh })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(fresh),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Writes it down, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, paths: &Paths) -> Result<()> {
        Ok(pki::write_private(&paths.launch_record(), &serde_json::to_vec_pretty(self)?)?)
    }

    /// Whether everything was done.
    pub fn is_complete(&self, plan: &Plan) -> bool {
        self.files && (0..plan.steps.len()).all(|step| self.done.contains(&step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_content_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        let plan = |digest: &str| Plan { digest: digest.to_owned(), ..Plan::default() };
        let mut record = Record::load(&paths, &plan("a")).unwrap();
        assert!(!record.is_complete(&plan("a")));
        record.files = true;
        record.done.insert(0);
        record.save(&paths).unwrap();
        assert_eq!(Record::load(&paths, &plan("a")).unwrap(), record);
        assert!(record.is_complete(&plan("a")));
        assert!(Record::load(&paths, &plan("b")).unwrap().done.is_empty());
        std::fs::write(paths.launch_record(), "{").unwrap();
        let error = format!("{:#}", Record::load(&paths, &plan("a")).unwrap_err());
        assert!(error.contains("launch.json is damaged; remove it"), "{error}");
    }
}
