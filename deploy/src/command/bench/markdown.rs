//! Tables in GitHub's Markdown, to paste into an issue.

use super::figures::{Section, summary};
use deploy::bench::BenchReport;
use std::fmt::Write;

/// The summary as a list, each section as a table, and the notes below.
pub fn document(report: &BenchReport, sections: &[Section], notes: &[String]) -> String {
    let mut text = String::new();
    for (name, value) in summary(report) {
        let _ = writeln!(text, "- {name}: {}", escaped(&in_one_line(&value)));
    }
    for section in sections {
        let _ = write!(text, "\n**{}**\n\n{}", escaped(section.title), table(&section.rows));
    }
    if !notes.is_empty() {
        text.push('\n');
    }
    for note in notes {
        let _ = writeln!(text, "> note: {}\n", escaped(&in_one_line(note)));
    }
    text
}

/// A table whose first row is the heading. All columns but the first are right-aligned.
fn table(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells: Vec<_> = row.iter().map(|cell| escaped(cell)).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
        if index == 0 {
            let rules: Vec<_> = (0..row.len()).map(|column| if column == 0 { "---" } else { "---:" }).collect();
            let _ = writeln!(text, "| {} |", rules.join(" | "));
        }
    }
    text
}

fn in_one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

/// Escapes Markdown's special characters, which file names may contain.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for char in text.chars() {
        if matches!(char, '|' | '*' | '_' | '`' | '<' | '\\' | '[') {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_one_to_github() {
        let cells = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let text = table(&[cells(["runtime", "p50 ms"]), cells(["a|b_c", "1.5"])]);
        assert_eq!(text, "| runtime | p50 ms |\n| --- | ---: |\n| a\\|b\\_c | 1.5 |\n");
    }
}
