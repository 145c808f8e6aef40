//! The table and the JSON file.

use serde_json::{Map, Value, json};

use super::figure::{Aim, Figure};

/// The heading of the table, in Markdown.
pub(crate) const HEADING: &str = "\
| figure | value | floor | ratio | aim | noise | met | graspy | ours / graspy |
|---|--:|--:|--:|---|--:|---|--:|--:|";

/// A row of the table.
pub(crate) fn row(figure: &Figure) -> String {
    let or_dash = |number: Option<String>| number.unwrap_or_else(|| "-".to_owned());
    let aim = match figure.aim {
        Aim::RatioAtLeast(least) => format!("ratio >= {least}"),
        Aim::RatioAtMost(most) => format!("ratio <= {most}"),
        Aim::AtMost(most) => format!("<= {}", number(most, figure.unit)),
        Aim::Report => "report".to_owned(),
    };
    let met = match figure.is_met() {
        Some(true) => "yes",
        Some(false) => "**no**",
        None => "-",
    };
    let floor = or_dash(figure.floor.map(|floor| number(floor, figure.unit)));
    let ratio = or_dash(figure.ratio.map(|ratio| format!("{ratio:.2}")));
    let graspy = or_dash(figure.graspy.map(|graspy| number(graspy, figure.unit)));
    let comparable = figure.graspy.filter(|graspy| *graspy > 0.0);
    let better = or_dash(comparable.map(|graspy| format!("{:.3}", figure.value / graspy)));
    let value = number(figure.value, figure.unit);
    let noise = or_dash(figure.noise().map(percent));
    format!(
        "| {} | {value} | {floor} | {ratio} | {aim} | {noise} | {met} | {graspy} | {better} |",
        figure.name
    )
}

/// A sentence about an aim that is missed.
pub(crate) fn complaint(figure: &Figure) -> String {
    let (aim, is) = match figure.aim {
        Aim::RatioAtLeast(aim) => {
            (format!("a ratio of at least {aim}"), figure.ratio.map(|ratio| format!("{ratio:.2}")))
        }
        Aim::RatioAtMost(aim) => {
            (format!("a ratio of at most {aim}"), figure.ratio.map(|ratio| format!("{ratio:.2}")))
        }
        Aim::AtMost(aim) => (format!("at most {}", number(aim, figure.unit)), None),
        Aim::Report => ("nothing".to_owned(), None),
    };
    let is = is.unwrap_or_else(|| number(figure.value, figure.unit));
    let noise = percent(figure.noise().unwrap_or_default());
    format!("{} misses its aim by more than its noise of {noise}: it is {is}, the aim is {aim}", figure.name)
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A number as it is read: three significant digits at least.
pub(crate) fn number(value: f64, unit: &str) -> String {
    let space = if unit.starts_with('/') { "" } else { " " };
    let digits = match value.abs() {
        0.0..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}{space}{unit}")
}

/// All figures by name.
pub(crate) fn json(figures: &[Figure]) -> Value {
    let one = |figure: &Figure| {
        let Figure { value, unit, floor, ratio, graspy, .. } = figure;
        let mut fields = json!({"value": value, "unit": unit, "floor": floor, "ratio": ratio});
        if let (Some(graspy), Some(fields)) = (graspy, fields.as_object_mut()) {
            fields.insert("graspy".to_owned(), json!(graspy));
        }
        if let (Some(met), Some(fields)) = (figure.is_met(), fields.as_object_mut()) {
            fields.insert("met".to_owned(), json!(met));
            fields.insert("missed".to_owned(), json!(figure.is_missed()));
            fields.insert("noise".to_owned(), json!(figure.noise()));
        }
        (figure.name.clone(), fields)
    };
    Value::Object(figures.iter().map(one).collect::<Map<_, _>>())
}
