//! Outcomes as a picture: for every path its ratio to direct and its CPU, as bars, in one small SVG.

use std::fmt::Write as _;

use crate::report::{Unit, digits, median};
use crate::rounds::Outcome;

/// Pixels.
const NAME_WIDTH: usize = 210;
const BAR_WIDTH: f64 = 260.0;
const LINE_HEIGHT: usize = 26;
const HEAD_HEIGHT: usize = 62;
const SECOND: usize = NAME_WIDTH + BAR_WIDTH as usize + 80;
const WIDTH: usize = SECOND + BAR_WIDTH as usize + 80;

/// Draws every path but direct, which is the line at 1.
pub fn svg(title: &str, unit: Unit, outcomes: &[Outcome]) -> String {
    let paths: Vec<&Outcome> = outcomes
        .iter()
        .filter(|outcome| outcome.is_measured() && !outcome.ratios.is_empty())
        .collect();
    let ratio = |outcome: &Outcome| median(&outcome.ratios).unwrap_or_default();
    let cpu = |outcome: &Outcome| outcome.cpu_per_work.unwrap_or_default() * unit.cpu_scale;
    let ratio_max = paths.iter().map(|path| ratio(path)).fold(1.0, f64::max);
    let cpu_max = paths
        .iter()
        .map(|path| cpu(path))
        .fold(f64::MIN_POSITIVE, f64::max);
    let height = HEAD_HEIGHT + paths.len() * LINE_HEIGHT + 14;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"12\" y=\"22\" font-size=\"15\" font-weight=\"bold\">{}</text>\n\
         <text x=\"{NAME_WIDTH}\" y=\"46\">ratio to direct (line: 1)</text>\n\
         <text x=\"{SECOND}\" y=\"46\">{}</text>\n",
        escaped(title),
        escaped(unit.cpu)
    );
    for (index, path) in paths.iter().enumerate() {
        let top = HEAD_HEIGHT + index * LINE_HEIGHT;
        let base = top + 14;
        let _infallible = writeln!(
            text,
            "<text x=\"{}\" y=\"{base}\" text-anchor=\"end\">{}</text>",
            NAME_WIDTH - 10,
            escaped(&path.path)
        );
        bar(
            &mut text,
            NAME_WIDTH,
            top,
            ratio(path) / ratio_max,
            "#3b6ea5",
            &format!("{:.2}", ratio(path)),
        );
        if path.cpu_per_work.is_some() {
            bar(
                &mut text,
                SECOND,
                top,
                cpu(path) / cpu_max,
                "#b5651d",
                &digits(cpu(path)),
            );
        }
    }
    let one = NAME_WIDTH as f64 + BAR_WIDTH / ratio_max;
    let _infallible = writeln!(
        text,
        "<line x1=\"{one:.1}\" y1=\"52\" x2=\"{one:.1}\" y2=\"{}\" stroke=\"#444\" stroke-dasharray=\"3 3\"/>\n</svg>",
        height - 8
    );
    text
}

fn bar(text: &mut String, x: usize, top: usize, share: f64, colour: &str, label: &str) {
    let width = (share * BAR_WIDTH).max(1.0);
    let (after, base) = (x as f64 + width + 6.0, top + 14);
    let _infallible = writeln!(
        text,
        "<rect x=\"{x}\" y=\"{top}\" width=\"{width:.1}\" height=\"18\" fill=\"{colour}\"/>\
         <text x=\"{after:.1}\" y=\"{base}\">{label}</text>"
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::GIGABYTES;
    use crate::report::tests::outcome;

    #[test]
    fn every_measured_path_has_its_bars() {
        let outcomes = [
            outcome("direct", &[], None),
            outcome("a<b", &[0.5], Some(0.2)),
            outcome("c", &[1.25], None),
        ];
        let text = svg("narrow & wide", GIGABYTES, &outcomes);
        assert_eq!(text.matches("<rect x=").count(), 3, "{text}");
        assert!(
            text.contains("a&lt;b") && text.contains("narrow &amp; wide"),
            "{text}"
        );
        assert!(
            text.contains("width=\"104.0\""),
            "0.5 of 1.25 of the width: {text}"
        );
        assert!(text.trim_end().ends_with("</svg>"));
    }
}
