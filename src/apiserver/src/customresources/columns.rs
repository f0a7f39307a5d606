//! The table columns of a custom resource: `additionalPrinterColumns`.

use super::definition::PrinterColumn;
use apimachinery::jsonpath::JsonPath;
use apimachinery::table::Column;
use apimachinery::time;
use jiff::Timestamp;
use serde_json::Value;

/// Columns and where their cells are found.
#[derive(Debug)]
pub(super) struct Columns {
    columns: Vec<Column>,
    paths: Vec<Option<JsonPath>>,
}

impl Columns {
    /// The columns of a version; without any of its own, the age.
    pub(super) fn new(own: &[PrinterColumn]) -> Self {
        let age = PrinterColumn {
            name: "Age".to_owned(),
            kind: "date".to_owned(),
            description: Column::age().description,
            json_path: ".metadata.creationTimestamp".to_owned(),
            ..PrinterColumn::default()
        };
        let age = [age];
        let own = if own.is_empty() { &age } else { own };
        let mut columns = vec![Column::object_name()];
        columns.extend(own.iter().map(|column| Column {
            name: column.name.clone(),
            kind: column.kind.clone(),
            format: column.format.clone(),
            description: match column.description.as_str() {
                "" => {
                    format!("Custom resource definition column (in JSONPath format): {}", column.json_path)
                }
                text => text.to_owned(),
            },
            priority: column.priority,
        }));
        Self { columns, paths: own.iter().map(|column| JsonPath::parse(&column.json_path).ok()).collect() }
    }

    /// The columns, the name first.
    pub(super) fn columns(&self) -> Vec<Column> {
        self.columns.clone()
    }

    /// The cells of an object.
    pub(super) fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let mut cells = vec![api::columns::name(object)];
        let own = self.columns.iter().skip(1).zip(&self.paths);
        cells.extend(own.map(|(column, path)| {
            let value = path.as_ref().and_then(|path| path.first(object));
            value.map_or(Value::Null, |value| cell(&column.kind, value, now))
        }));
        cells
    }
}

/// A value as a cell of a column's type; what is of another type shows nothing.
fn cell(kind: &str, value: &Value, now: Timestamp) -> Value {
    match (kind, value) {
        ("string", Value::String(_)) => value.clone(),
        ("string", Value::Null) => Value::Null,
        // What is no text is shown as JSON.
        ("string", other) => Value::from(other.to_string()),
        ("integer", Value::Number(number)) => match number.as_f64() {
            Some(float) if !number.is_i64() => Value::from(float as i64),
            _ => value.clone(),
        },
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(at)) if time::parse(at).is_none() => Value::from("<invalid>"),
        ("date", Value::String(at)) => Value::from(time::age(Some(at), now)),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn column(name: &str, kind: &str, path: &str) -> PrinterColumn {
        PrinterColumn {
            name: name.to_owned(),
            kind: kind.to_owned(),
            json_path: path.to_owned(),
            ..PrinterColumn::default()
        }
    }

    #[test]
    fn cells_are_of_their_columns_types() {
        let columns = Columns::new(&[
            column("S", "string", ".spec.s"),
            column("I", "integer", ".spec.i"),
            column("F", "integer", ".spec.f"),
            column("B", "boolean", ".spec.b"),
            column("D", "date", ".spec.d"),
            column("Ready", "string", ".status.conditions[?(@.type==\"Ready\")].status"),
            column("L", "string", ".spec.l"),
            column("Wrong", "integer", ".spec.s"),
            column("Absent", "string", ".spec.nothing"),
        ]);
        let object = json!({"metadata": {"name": "n"},
            "spec": {"s": "x", "i": 3, "f": 2.5, "b": true, "d": "2026-01-01T00:00:00Z", "l": ["a"]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let now = "2026-01-01T00:05:00Z".parse().unwrap();
        let wanted = json!(["n", "x", 3, 2, true, "5m", "True", "[\"a\"]", null, null]);
        assert_eq!(json!(columns.row(&object, now)), wanted);
    }

    #[test]
    fn without_columns_there_is_the_age() {
        let columns = Columns::new(&[]);
        let names: Vec<String> = columns.columns().into_iter().map(|column| column.name).collect();
        assert_eq!(names, ["Name", "Age"]);
    }
}
