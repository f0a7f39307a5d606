//! Showing what was found, for people or for programs.

use crate::arguments::Output;
use anyhow::Result;
use serde_json::Value;

/// Prints it in one of the forms.
///
/// # Errors
/// When it has no form as YAML.
pub fn show(output: Output, value: &Value, pretty: impl FnOnce() -> String) -> Result<()> {
    match output {
        Output::Pretty => print!("{}", pretty()),
        Output::Yaml => print!("{}", apimachinery::decode::to_yaml(value)?),
        Output::Json => println!("{value:#}"),
    }
    Ok(())
}

/// Columns as wide as their widest cell, two spaces apart; nothing behind the last.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|title| title.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let titles = header.iter().map(|title| (*title).to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&titles).chain(rows) {
        let line: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}  ")).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = [vec!["a".to_owned(), "b".to_owned()], vec!["longer".to_owned(), String::new()]];
        assert_eq!(table(&["ONE", "TWO"], &rows), "ONE     TWO\na       b\nlonger\n");
    }
}
