//! A sheet to draw on: shapes with their looks as attributes, no script, no style, no ids, so that a page which takes the
//! picture in is not touched by it. Text stays text in XML, and fits.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar;

/// What the letters are set in: of what the reader's machine has.
const FONTS: &str =
    "system-ui, 'PingFang SC', 'Microsoft YaHei', 'Noto Sans CJK SC', 'Noto Sans SC', sans-serif";

/// Where a text stands with respect to its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

#[derive(Debug, Default)]
pub struct Sheet {
    drawn: String,
}

// Writing into a String cannot fail.
impl Sheet {
    pub fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), fill: &str) {
        let (width, height) = (width.max(0.0), height.max(0.0));
        let _ = writeln!(
            self.drawn,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{fill}"/>"#
        );
    }

    /// What lies below is seen through it.
    pub fn veil(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), fill: &str) {
        let (width, height) = (width.max(0.0), height.max(0.0));
        let _ = writeln!(
            self.drawn,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{fill}" fill-opacity="0.13"/>"#
        );
    }

    /// `dashes`: as in `stroke-dasharray`; empty for a whole line.
    pub fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), stroke: &str, dashes: &str) {
        let dashes =
            if dashes.is_empty() { String::new() } else { format!(r#" stroke-dasharray="{dashes}""#) };
        let _ = writeln!(
            self.drawn,
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{stroke}"{dashes}/>"#
        );
    }

    pub fn path(&mut self, steps: &str, stroke: &str, width: f64) {
        let _ = writeln!(
            self.drawn,
            r#"<path d="{steps}" fill="none" stroke="{stroke}" stroke-width="{width}" stroke-linejoin="round" stroke-linecap="round"/>"#
        );
    }

    pub fn disc(&mut self, (x, y): (f64, f64), radius: f64, fill: &str, stroke: &str) {
        let _ = writeln!(
            self.drawn,
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="{radius}" fill="{fill}" stroke="{stroke}"/>"#
        );
    }

    pub fn text(&mut self, (x, y): (f64, f64), size: u8, anchor: Anchor, fill: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        let _ = writeln!(
            self.drawn,
            r#"<text x="{x:.1}" y="{y:.1}" font-size="{size}" text-anchor="{anchor}" fill="{fill}">{text}</text>"#
        );
    }

    /// The whole, on a light ground of its own.
    pub fn svg(&self, width: f64, height: f64, title: &str, desc: &str) -> String {
        let (title, desc) = (escaped(title), escaped(desc));
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <svg xmlns=\"http://www.w3.org/2000/svg\" version=\"1.1\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\" font-family=\"{FONTS}\">\n\
             <title>{title}</title>\n<desc>{desc}</desc>\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n{}</svg>\n",
            self.drawn
        )
    }
}

/// For content and attributes. What XML 1.0 cannot have at all, and what turns the reading direction, is left out.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\r' | '\t' => escaped.push(' '),
            c if c.is_control() || is_unfit(c) => {}
            c => escaped.push(c),
        }
    }
    escaped
}

fn is_unfit(c: char) -> bool {
    matches!(c, '\u{FFFE}' | '\u{FFFF}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// At most so many columns, of which a Chinese character takes two; a dot each where it was cut.
pub fn fitted(text: &str, columns: usize) -> String {
    let wide = |c: char| c.width().unwrap_or(0);
    if text.chars().count() <= columns * 4 && text.chars().map(wide).sum::<usize>() <= columns {
        return text.to_owned();
    }
    let mut fitted = String::new();
    let mut used = 0;
    // Signs without a width of their own are bounded too.
    for c in text.chars().take(columns * 2) {
        used += wide(c);
        if used >= columns {
            break;
        }
        fitted.push(c);
    }
    fitted.push('…');
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_markup_is_text() {
        assert_eq!(escaped("</svg><a href='x'>\"&"), "&lt;/svg&gt;&lt;a href=&#39;x&#39;&gt;&quot;&amp;");
        assert_eq!(escaped("a\u{0}\u{1b}[31m\u{FFFF}\u{202E}b\nc"), "a[31mb c");
    }

    #[test]
    fn a_long_text_is_cut_where_the_room_ends() {
        assert_eq!(fitted("3号楼: 水压低", 13), "3号楼: 水压低");
        assert_eq!(fitted("3号楼: 水压低", 9), "3号楼: …");
        assert!(fitted(&"\u{301}".repeat(10_000), 20).chars().count() < 50);
    }
}
