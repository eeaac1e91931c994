//! HTML helpers: escaping and tables.

pub use deploy::text::escape;

use std::fmt::Write;

/// A table with a heading row; the first cell of every row is its heading. All texts are escaped here.
#[must_use]
pub fn table(class: &str, caption: &str, heading: &[&str], rows: &[Vec<String>]) -> String {
    let mut html = format!("<table class=\"{class}\"><caption>{}</caption><thead><tr>", escape(caption));
    for name in heading {
        let _ = write!(html, "<th scope=\"col\">{}</th>", escape(name));
    }
    html.push_str("</tr></thead><tbody>\n");
    for row in rows {
        html.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            let cell = escape(cell);
            let _ = if column == 0 {
                write!(html, "<th scope=\"row\">{cell}</th>")
            } else {
                write!(html, "<td>{cell}</td>")
            };
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table>");
    html
}

/// A table of names and values.
#[must_use]
pub fn facts(caption: &str, facts: &[(&str, String)]) -> String {
    let mut html = format!("<table class=\"facts\"><caption>{}</caption><tbody>\n", escape(caption));
    for (name, value) in facts {
        let _ = writeln!(html, "<tr><th scope=\"row\">{}</th><td>{}</td></tr>", escape(name), escape(value));
    }
    html.push_str("</tbody></table>");
    html
}

/// Wraps content that may be too large for its place in a scrollable box that is reachable with the keyboard.
#[must_use]
pub fn scrolling(label: &str, content: &str) -> String {
    format!("<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{}\">{content}</div>", escape(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let html = table("", "a<b", &["<i>"], &[vec!["<b>".into(), "</td>".into()]]);
        assert!(html.contains("<th scope=\"row\">&lt;b&gt;</th><td>&lt;/td&gt;</td>"), "{html}");
        assert!(!html.contains("<i>"), "{html}");
    }
}
