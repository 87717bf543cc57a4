//! A picture of some lines over the hours, as SVG: panels below each other, one unit each.

use std::fmt::Write as _;

pub struct Panel {
    pub title: String,
    pub unit: &'static str,
    pub lines: Vec<Line>,
}

pub struct Line {
    pub name: &'static str,
    pub colour: &'static str,
    /// Hour and value.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 210.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 30.0;

pub fn svg(head: &str, panels: &[Panel]) -> String {
    let height = 44.0 + HEIGHT * panels.len() as f64;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n<text x=\"16\" y=\"26\" font-size=\"15\" font-weight=\"bold\">{head}</text>\n"
    );
    for (n, panel) in panels.iter().enumerate() {
        let _ = writeln!(text, "<g transform=\"translate(0 {})\">", 44.0 + HEIGHT * n as f64);
        draw(&mut text, panel);
        text += "</g>\n";
    }
    text + "</svg>\n"
}

fn draw(text: &mut String, panel: &Panel) {
    let all = || panel.lines.iter().flat_map(|line| &line.points);
    let hours = all().map(|point| point.0).fold(1.0, f64::max);
    let (step, top) = scale(all().map(|point| point.1).fold(0.0, f64::max));
    let x = |hour: f64| LEFT + hour / hours * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
    let _ = writeln!(text, "<text x=\"16\" y=\"18\" font-weight=\"bold\">{}</text>", panel.title);
    let mut value = 0.0;
    while value <= top * 1.0001 {
        let (y, shown) = (y(value), number(value));
        let _ = writeln!(
            text,
            "<path d=\"M{LEFT} {y:.1}H{:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555\">{shown}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0
        );
        value += step;
    }
    let each = (hours / 8.0).ceil().max(1.0);
    let mut hour = 0.0;
    while hour <= hours {
        let (x, y) = (x(hour), HEIGHT - BOTTOM + 16.0);
        let _ = writeln!(
            text,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\" fill=\"#555\">{hour} h</text>"
        );
        hour += each;
    }
    for (n, line) in panel.lines.iter().enumerate() {
        let path: Vec<String> =
            line.points.iter().map(|(h, v)| format!("{:.1} {:.1}", x(*h), y(*v))).collect();
        let colour = line.colour;
        let _ = writeln!(
            text,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"/>",
            path.join("L")
        );
        let last = line.points.last().map_or(0.0, |point| point.1);
        let (left, down) = (WIDTH - RIGHT + 12.0, TOP + 8.0 + 18.0 * n as f64);
        let _ = writeln!(
            text,
            "<text x=\"{left:.1}\" y=\"{down:.1}\" fill=\"{colour}\">{} {} {}</text>",
            line.name,
            number(last),
            panel.unit
        );
    }
}

/// A round step, and the top of the scale in such steps.
fn scale(most: f64) -> (f64, f64) {
    let rough = (most / 4.0).max(1e-6);
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|n| n * power)
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(power * 10.0);
    (step, (most / step).ceil().max(1.0) * step)
}

fn number(value: f64) -> String {
    if value < 10.0 && value.fract() > 1e-9 { format!("{value:.1}") } else { format!("{value:.0}") }
}
