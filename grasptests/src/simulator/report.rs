//! Figures as tables of Markdown.

use std::fmt;

/// A table of Markdown, whose columns are as wide as they need to be.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these heads of columns.
    #[must_use]
    pub fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    /// Adds a row; what it has more cells than the head is not printed.
    pub fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                write!(f, "| {cell:width$} ")?;
            }
            writeln!(f, "|")?;
            if number == 0 {
                widths.iter().try_for_each(|width| write!(f, "|{:-<1$}", "", width + 2))?;
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

/// The mean of some numbers; 0 if there are none.
#[must_use]
pub fn mean(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) =
        numbers.into_iter().fold((0.0, 0_u32), |(sum, count), number| (sum + number, count + 1));
    sum / f64::from(count.max(1))
}

/// Microseconds as milliseconds.
#[must_use]
pub fn milliseconds(microseconds: f64) -> String {
    format!("{:.1}", microseconds / 1000.0)
}

/// The reasons for which something was dropped, with how often.
#[must_use]
pub fn reasons(dropped: &[(&str, u64)]) -> String {
    let reason = |(name, count): &(&str, u64)| format!("{} {count}", name.trim_start_matches("dropped_"));
    let reasons: Vec<_> = dropped.iter().map(reason).collect();
    if reasons.is_empty() { "none".to_owned() } else { reasons.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::new(&["a", "long"]);
        table.push(vec!["word".to_owned(), "1".to_owned()]);
        assert_eq!(table.to_string(), "| a    | long |\n|------|------|\n| word | 1    |\n");
        assert_eq!(reasons(&[("dropped_dull", 2), ("dropped_insecure", 1)]), "dull 2, insecure 1");
        assert_eq!((mean([1.0, 2.0]), milliseconds(1250.0).as_str()), (1.5, "1.2"));
    }
}
