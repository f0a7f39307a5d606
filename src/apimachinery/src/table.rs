//! `metav1.Table` column definitions: what `kubectl get` prints.

use serde::{Deserialize, Serialize};

/// A column of a Table (`metav1.TableColumnDefinition`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Header; kubectl shows it in capitals.
    pub name: String,
    /// OpenAPI type: `string`, `integer`, `number`, `boolean`, `date`.
    #[serde(rename = "type")]
    pub kind: String,
    /// OpenAPI format; `name` marks the name column.
    pub format: String,
    /// A sentence about the column.
    pub description: String,
    /// 0 is always shown; above 0 only with `-o wide`.
    pub priority: i32,
}

impl Column {
    /// A string column that is always shown.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: "string".to_owned(),
            format: String::new(),
            description: String::new(),
            priority: 0,
        }
    }

    /// The name column that every kind begins with.
    pub fn object_name() -> Self {
        let mut column = Self::new("Name");
        column.format = "name".to_owned();
        column.description = "Name must be unique within a namespace.".to_owned();
        column
    }

    /// The age column.
    pub fn age() -> Self {
        let mut column = Self::new("Age");
        column.description = "Time since the object was created.".to_owned();
        column
    }

    /// The same as an integer column.
    #[must_use]
    pub fn integer(mut self) -> Self {
        self.kind = "integer".to_owned();
        self
    }

    /// The same, shown only with `-o wide`.
    #[must_use]
    pub fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }

    /// The same with a description.
    #[must_use]
    pub fn describe(mut self, description: &str) -> Self {
        self.description = description.to_owned();
        self
    }
}
