//! Prints results: text in aligned columns for people, JSON for programs.

mod confidence;
mod metrics;

pub use confidence::confidence;
pub use metrics::{calibration, class_list, classes, confusion, headline, mistakes, percent, warnings, weakest, worst};

use anyhow::{Context, Result};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

/// Prints why the program ends to standard error and returns its exit code, 1. Usage errors, such as flags that
/// contradict each other, end the program here with exit code 2.
#[must_use]
pub fn failure(error: anyhow::Error) -> ExitCode {
    match error.downcast::<clap::Error>() {
        Ok(usage) => usage.exit(),
        Err(error) => {
            // Do not panic if standard error is closed.
            let _ = writeln!(std::io::stderr(), "error: {}", printable_lines(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

/// Formats names and values, one pair per line, with aligned values. Further lines of a value are aligned too.
#[must_use]
pub fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in fields {
        let indented = value.replace('\n', &format!("\n{:width$}  ", ""));
        let _ = writeln!(text, "{name:width$}  {indented}");
    }
    text
}

/// Formats a table: the first column is left-aligned, the others right-aligned.
#[must_use]
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let _ = if column == 0 { write!(line, "{cell:width$}") } else { write!(line, "  {cell:>width$}") };
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Formats a number with thousands separators: `10,000`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 image`, `2 images`.
#[must_use]
pub fn counted(number: usize, thing: &str) -> String {
    format!("{} {thing}{}", grouped(number as u64), if number == 1 { "" } else { "s" })
}

/// Shortens a name to at most `most` characters by leaving out its middle. A `most` of 0 leaves it as it is.
#[must_use]
pub fn shortened(name: &str, most: usize) -> String {
    let chars: Vec<char> = name.chars().collect();
    if chars.len() <= most || most == 0 {
        return name.to_owned();
    }
    let end = (most - 1) / 2;
    let start = most - 1 - end;
    chars[..start].iter().chain(&['…']).chain(&chars[chars.len() - end..]).collect()
}

/// Makes a name from a file safe for a terminal. Control characters are written byte by byte as `\x1b`, which is also
/// how [`models::files::name`] writes bytes that are not UTF-8.
#[must_use]
pub fn printable(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for char in name.chars() {
        if char.is_control() {
            for byte in char.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(text, "\\x{byte:02x}");
            }
        } else {
            text.push(char);
        }
    }
    text
}

/// Makes text of several lines safe for a terminal: every line as [`printable`] does it.
#[must_use]
pub fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// Escapes text for HTML and SVG, in elements and quoted attributes. Control characters become U+FFFD, except newline
/// and tab.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(char),
            char if char.is_control() => safe.push('\u{fffd}'),
            char => safe.push(char),
        }
    }
    safe
}

/// Writes to standard output. Returns false if the reader has closed it (`deploy … | head`), which is not an error.
pub fn print(text: &str) -> Result<bool> {
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// Writes a result as one JSON document.
pub fn print_json(result: &impl Serialize) -> Result<bool> {
    print(&(serde_json::to_string_pretty(result)? + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        assert_eq!(fields(&[("a", "1".into()), ("long", "2\n3".into())]), "a     1\nlong  2\n      3\n");
        let cells = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        assert_eq!(table(&[cells(["x", "1", "10"]), cells(["long", "20", ""])]), "x      1  10\nlong  20\n");
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!((counted(1, "image"), counted(2000, "image")), ("1 image".into(), "2,000 images".into()));
    }

    #[test]
    fn a_long_name_loses_its_middle() {
        assert_eq!((shortened("abcdefghij", 8), shortened("short", 8)), ("abcd…hij".to_owned(), "short".to_owned()));
        assert_eq!((shortened("äöüß", 3), shortened("ab", 1)), ("ä…ß".to_owned(), "…".to_owned()));
    }

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape("<script>'\"&\u{1b}é"), "&lt;script&gt;&#39;&quot;&amp;\u{fffd}é");
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2J\u{9b}\né"), r"a\x1b[2J\xc2\x9b\x0aé");
        assert_eq!(printable_lines("a\u{1b}\nb\r"), "a\\x1b\nb\\x0d");
    }
}
