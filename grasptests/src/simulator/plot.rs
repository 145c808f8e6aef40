//! Figures as plots: one SVG file with everything in it, readable on light and dark pages.

use std::fmt::Write as _;

/// The colours of lines, for light and for dark pages; they differ for people who see few colours, too (Okabe and Ito).
const COLOURS: [(&str, &str); 6] = [
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#f0a050"),
    ("#00795b", "#3fd0a4"),
    ("#a0527f", "#e59ac4"),
    ("#7d6b00", "#f0e442"),
    ("#555555", "#bbbbbb"),
];
/// The shapes of the marks on lines, so that nobody needs colours.
const MARKS: usize = 4;
const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 34.0;
const RIGHT: f64 = 16.0;
const BOTTOM: f64 = 46.0;
/// The height of a line of the legend, and of the title above the first row.
const LINE: f64 = 18.0;

/// How numbers lie along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// From 0, in equal steps.
    Linear,
    /// In powers of ten; what is not positive is left out.
    Logarithmic,
}

/// An axis with its label.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    /// What the numbers are, with their unit.
    pub label: &'static str,
    /// How they lie.
    pub scale: Scale,
}

/// A line.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

impl Series {
    /// The lines of points that say which line they are on.
    pub fn of(points: impl IntoIterator<Item = (String, (f64, f64))>) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for (name, point) in points {
            match all.iter_mut().find(|series| series.name == name) {
                Some(series) => series.points.push(point),
                None => all.push(Self { name, points: vec![point] }),
            }
        }
        all
    }
}

/// One diagram.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What it shows.
    pub title: String,
    /// The axis to the right.
    pub x: Axis,
    /// The axis upwards.
    pub y: Axis,
    /// The lines. Those of one name look alike in all diagrams of a plot.
    pub series: Vec<Series>,
}

/// Draws diagrams, two in a row, with one legend for all.
#[must_use]
pub fn svg(title: &str, panels: &[Panel]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for series in panels.iter().flat_map(|panel| &panel.series) {
        if !names.contains(&series.name.as_str()) {
            names.push(&series.name);
        }
    }
    let columns = panels.len().clamp(1, 2);
    let rows = panels.len().div_ceil(2);
    let legend = TOP + LINE * names.len().div_ceil(columns) as f64;
    let (width, height) = (WIDTH * columns as f64, legend + HEIGHT * rows as f64);
    let mut text = String::new();
    let _ = write!(
        text,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">
<title>{}</title>
<style>
{}</style>
<rect class="page" width="100%" height="100%"/>
<text class="title" x="12" y="22">{}</text>
"#,
        escaped(title),
        style(),
        escaped(title)
    );
    for (number, name) in names.iter().enumerate() {
        let (x, y) = (12.0 + WIDTH * (number % columns) as f64, TOP + LINE * (number / columns) as f64);
        let _ = writeln!(text, r#"<path class="line c{0}" d="M{x} {y}h24"/>"#, number % COLOURS.len());
        mark(&mut text, number, x + 12.0, y);
        let _ = writeln!(text, r#"<text x="{}" y="{}">{}</text>"#, x + 30.0, y + 4.0, escaped(name));
    }
    for (number, panel) in panels.iter().enumerate() {
        let (x, y) = (WIDTH * (number % 2) as f64, legend + HEIGHT * (number / 2) as f64);
        let _ = writeln!(text, r#"<g transform="translate({x} {y})">"#);
        draw(&mut text, panel, &names);
        text.push_str("</g>\n");
    }
    text.push_str("</svg>\n");
    text
}

fn style() -> String {
    let mut style =
        ".page{fill:#fff}text{font:12px sans-serif;fill:#222}.title{font-weight:bold}.grid{stroke:#ddd}\
        .axis{stroke:#666;fill:none}.line{fill:none;stroke-width:1.8}.mark{stroke-width:1.2}\n"
            .to_owned();
    for (number, (light, _)) in COLOURS.iter().enumerate() {
        let _ = writeln!(style, ".c{number}{{stroke:{light}}}.mark.c{number}{{fill:{light}}}");
    }
    style.push_str("@media (prefers-color-scheme:dark){.page{fill:#161b22}text{fill:#ddd}.grid{stroke:#333}.axis{stroke:#999}\n");
    for (number, (_, dark)) in COLOURS.iter().enumerate() {
        let _ = writeln!(style, ".c{number}{{stroke:{dark}}}.mark.c{number}{{fill:{dark}}}");
    }
    style.push_str("}\n");
    style
}

/// The range of an axis, and what is written along it.
struct Range {
    scale: Scale,
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Range {
    fn of(scale: Scale, numbers: impl Iterator<Item = f64> + Clone) -> Self {
        let most = numbers.clone().fold(0.0, f64::max);
        match scale {
            Scale::Linear => {
                let most = if most > 0.0 { most } else { 1.0 };
                let power = 10_f64.powf((most / 4.0).log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power);
                let step = step.into_iter().find(|step| step * 5.0 >= most).unwrap_or(most);
                let steps = (most / step).ceil().max(1.0) as u32;
                let ticks = (0..=steps).map(|number| step * f64::from(number)).collect();
                Self { scale, from: 0.0, to: step * f64::from(steps), ticks }
            }
            Scale::Logarithmic => {
                let positive = numbers.filter(|number| *number > 0.0);
                let least = positive.fold(most.max(1.0), f64::min);
                let from = least.log10().floor() as i32;
                let to = (most.max(least).log10().ceil() as i32).max(from + 1);
                let ticks = (from..=to).map(|power| 10_f64.powi(power)).collect();
                Self { scale, from: 10_f64.powi(from), to: 10_f64.powi(to), ticks }
            }
        }
    }

    /// Where a number is, between 0 and 1; `None` if it cannot be shown.
    fn place(&self, number: f64) -> Option<f64> {
        match self.scale {
            Scale::Linear => Some((number - self.from) / (self.to - self.from)),
            Scale::Logarithmic if number <= 0.0 => None,
            Scale::Logarithmic => Some((number / self.from).log10() / (self.to / self.from).log10()),
        }
    }
}

fn draw(text: &mut String, panel: &Panel, names: &[&str]) {
    let points = || panel.series.iter().flat_map(|series| series.points.iter().copied());
    let x = Range::of(panel.x.scale, points().map(|(x, _)| x));
    let y = Range::of(panel.y.scale, points().map(|(_, y)| y));
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let across = |number| x.place(number).map(|place| LEFT + place * (right - LEFT));
    let up = |number| y.place(number).map(|place| bottom - place * (bottom - TOP));
    let _ = writeln!(
        text,
        r#"<text class="title" x="{LEFT}" y="{}">{}</text>"#,
        TOP - 14.0,
        escaped(&panel.title)
    );
    for (tick, at) in x.ticks.iter().filter_map(|tick| Some((tick, across(*tick)?))) {
        let _ = writeln!(text, r#"<path class="grid" d="M{at:.1} {TOP}V{bottom}"/>"#);
        let _ = writeln!(
            text,
            r#"<text x="{at:.1}" y="{}" text-anchor="middle">{}</text>"#,
            bottom + 16.0,
            short(*tick)
        );
    }
    for (tick, at) in y.ticks.iter().filter_map(|tick| Some((tick, up(*tick)?))) {
        let _ = writeln!(text, r#"<path class="grid" d="M{LEFT} {at:.1}H{right}"/>"#);
        let _ = writeln!(
            text,
            r#"<text x="{}" y="{:.1}" text-anchor="end">{}</text>"#,
            LEFT - 6.0,
            at + 4.0,
            short(*tick)
        );
    }
    let _ = writeln!(text, r#"<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}"/>"#);
    let middle = f64::midpoint(LEFT, right);
    let _ = writeln!(
        text,
        r#"<text x="{middle}" y="{}" text-anchor="middle">{}</text>"#,
        HEIGHT - 8.0,
        escaped(panel.x.label)
    );
    let middle = f64::midpoint(TOP, bottom);
    let _ = writeln!(
        text,
        r#"<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">{}</text>"#,
        escaped(panel.y.label)
    );
    for series in &panel.series {
        let number = names.iter().position(|name| *name == series.name).unwrap_or(0);
        let shown = series.points.iter().filter_map(|(x, y)| Some((across(*x)?, up(*y)?)));
        let path: Vec<_> = shown.clone().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        if !path.is_empty() {
            let _ =
                writeln!(text, r#"<path class="line c{}" d="M{}"/>"#, number % COLOURS.len(), path.join("L"));
        }
        shown.for_each(|(x, y)| mark(text, number, x, y));
    }
}

fn mark(text: &mut String, number: usize, x: f64, y: f64) {
    let shape = match number % MARKS {
        0 => format!("M{:.1} {y:.1}a3 3 0 1 0 6 0a3 3 0 1 0 -6 0", x - 3.0),
        1 => format!("M{:.1} {:.1}h6v6h-6z", x - 3.0, y - 3.0),
        2 => format!("M{x:.1} {:.1}l4 7h-8z", y - 4.0),
        _ => format!("M{x:.1} {:.1}l4 4l-4 4l-4 -4z", y - 4.0),
    };
    let _ = writeln!(text, r#"<path class="mark c{}" d="{shape}"/>"#, number % COLOURS.len());
}

/// A number in few characters.
fn short(number: f64) -> String {
    let (number, unit) = match number.abs() {
        size if size >= 999_999.5 => (number / 1e6, "M"),
        size if size >= 999.5 => (number / 1e3, "k"),
        _ => (number, ""),
    };
    let digits = if number == 0.0 || number.abs() >= 10.0 || number.fract() == 0.0 { 0 } else { 2 };
    let text = format!("{number:.digits$}");
    let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(scale: Scale, points: &[(f64, f64)]) -> Panel {
        let axis = |label| Axis { label, scale };
        let series = vec![Series { name: "a <b>".to_owned(), points: points.to_vec() }];
        Panel { title: "t".to_owned(), x: axis("x"), y: axis("y"), series }
    }

    #[test]
    fn a_plot_is_well_formed_and_has_every_point() {
        let points = [(1000.0, 0.5), (10_000.0, 70.0), (100_000.0, 0.0)];
        for (scale, marks) in [(Scale::Linear, 3), (Scale::Logarithmic, 2)] {
            let text = svg("title & more", &[panel(scale, &points), panel(scale, &[])]);
            let opened = text.matches("<g ").count() + text.matches("<svg ").count();
            assert_eq!((opened, text.matches("</g>").count()), (3, 2));
            // One more in the legend.
            assert_eq!(text.matches(r#"class="mark"#).count(), marks + 1, "{text}");
            assert!(
                text.contains("title &amp; more") && text.contains("a &lt;b&gt;") && !text.contains("NaN")
            );
            assert!(text.contains("prefers-color-scheme:dark"));
        }
    }

    #[test]
    fn axes_are_round_and_numbers_short() {
        let ticks = |scale, most: f64| Range::of(scale, [1.0, most].into_iter()).ticks;
        assert_eq!(ticks(Scale::Linear, 100.0), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(ticks(Scale::Linear, 1.66), [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert_eq!(ticks(Scale::Logarithmic, 2000.0), [1.0, 10.0, 100.0, 1000.0, 10_000.0]);
        assert_eq!(
            [0.0, 0.25, 20.0, 1000.0, 2500.0, 1e6].map(short),
            ["0", "0.25", "20", "1k", "2.50k", "1M"].map(|text| text.replace("2.50", "2.5"))
        );
    }
}
