//! `docs/dashboard.svg`: the dashboard of `template.yaml`, with sample numbers. `make pictures`
//! draws it again; the test holds it against the template.

#![expect(clippy::panic, reason = "a test may end with a message of its own")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use regex_lite::Regex;
use serde_json::Value;

/// Pixels of one of the dashboard's 24 columns, and of one of its rows.
const COLUMN: f64 = 50.0;
const ROW: f64 = 40.0;
/// Above the dashboard, for the note that the numbers are invented.
const NOTE: f64 = 26.0;
const COLORS: [&str; 6] = ["#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b", "#17becf"];
/// Samples of a curve: one for each ten minutes of a day.
const SAMPLES: u32 = 144;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("cannot read {name}: {error}"))
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The widgets, with sample values in place of the template's variables.
fn widgets(template: &str) -> Vec<Value> {
    let (_, rest) = template.split_once("DashboardBody: !Sub\n        - |\n").expect("a dashboard");
    let lines = rest.lines().take_while(|line| line.is_empty() || line.starts_with("          "));
    let body = lines.collect::<Vec<_>>().join("\n");
    let alarm = pattern(r"(?m)^  ([A-Za-z0-9]+Alarm):$");
    let alarms: Vec<&str> = alarm
        .captures_iter(template)
        .filter_map(|found| Some(found.get(1)?.as_str().trim_end_matches("Alarm")))
        .collect();
    let body = body.replace("${Alarms}", &alarms.join("\", \""));
    let body = body.replace("${OldestErasureDays}", "20").replace("${FunctionTimeout}", "300");
    let body = body.replace("${AWS::StackName}", "erase-user-files");
    let body = body.replace("${RunbookUrl}", "docs/runbook.md");
    let body = pattern(r"\$\{[A-Za-z:]+\}").replace_all(&body, "sample");
    let mut dashboard: Value = serde_json::from_str(&body).expect("the dashboard's JSON");
    let Value::Array(widgets) = dashboard["widgets"].take() else { panic!("no widgets: {body}") };
    widgets
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn text(svg: &mut String, at: (f64, f64), class: &str, words: &str) {
    let (x, y) = at;
    writeln!(svg, r#"<text x="{x:.0}" y="{y:.0}" class="{class}">{}</text>"#, escape(words))
        .expect("text");
}

/// A curve that only depends on its name: bursts of work during the day for most, and a flat line
/// for what is zero on a good day.
fn curve(name: &str, (x, y): (f64, f64), (width, height): (f64, f64)) -> String {
    let is_calm = [
        "fail",
        "reject",
        "error",
        "dead",
        "incomplete",
        "throttl",
        "slow",
        "concurr",
        "held",
        "refused",
        "retained",
        "not deleted",
        "late",
        "written after",
        "nothing",
        "dry run",
        "progress",
    ]
    .iter()
    .any(|word| name.to_lowercase().contains(word));
    let mut state = name.bytes().fold(7_u32, |sum, byte| sum * 31 % 65_521 + u32::from(byte));
    let level = f64::from(state % 50 + 40) / 100.0;
    let mut points = String::new();
    for sample in 0..SAMPLES {
        state = state * 171 % 30_269 + 1;
        let noise = f64::from(state % 1_000) / 1_000.0;
        let hour = f64::from(sample) / 6.0;
        let day = (-(hour - 14.0).powi(2) / 18.0).exp();
        let value = if is_calm { 0.0 } else { level * day * (0.6 + 0.4 * noise) };
        let at = x + width * f64::from(sample) / f64::from(SAMPLES - 1);
        write!(points, "{at:.1},{:.1} ", y + height * (1.0 - value)).expect("text");
    }
    points.trim_end().to_owned()
}

fn names_of(metrics: &Value) -> Vec<(String, Option<String>)> {
    let metrics = metrics.as_array().into_iter().flatten().filter_map(Value::as_array);
    let shown = metrics.filter_map(|metric| {
        let options = metric.last().filter(|value| value.is_object())?;
        let color = options["color"].as_str().map(str::to_owned);
        Some((options["label"].as_str()?.to_owned(), color))
    });
    shown.collect()
}

fn draw(template: &str) -> String {
    let widgets = widgets(template);
    let number = |value: &Value| value.as_f64().expect("a number");
    let bottom = widgets
        .iter()
        .map(|widget| number(&widget["y"]) + number(&widget["height"]))
        .fold(0.0, f64::max);
    let (width, height) = (24.0 * COLUMN, bottom * ROW + NOTE);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\">\n\
         <style>.note {{ font-size: 13px; fill: #555 }} .title {{ font-size: 13px; font-weight: bold; fill: #16191f }} .small {{ font-size: 11px; fill: #333 }}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#f2f3f3\"/>\n"
    );
    text(
        &mut svg,
        (8.0, 17.0),
        "note",
        "The dashboard of template.yaml, drawn with sample numbers",
    );
    for widget in &widgets {
        let (x, y) = (number(&widget["x"]) * COLUMN + 3.0, number(&widget["y"]) * ROW + NOTE + 3.0);
        let size = (number(&widget["width"]) * COLUMN - 6.0, number(&widget["height"]) * ROW - 6.0);
        let (width, height) = size;
        writeln!(svg, r##"<rect x="{x:.0}" y="{y:.0}" width="{width:.0}" height="{height:.0}" fill="#fff" stroke="#d5dbdb"/>"##)
            .expect("text");
        draw_widget(&mut svg, widget, (x, y), size);
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_widget(svg: &mut String, widget: &Value, (x, y): (f64, f64), (width, height): (f64, f64)) {
    let properties = &widget["properties"];
    if let Some(title) = properties["title"].as_str() {
        text(svg, (x + 10.0, y + 18.0), "title", title);
    }
    match widget["type"].as_str().unwrap_or_default() {
        "text" => {
            let words = properties["markdown"].as_str().unwrap_or_default().replace("**", "");
            let words = pattern(r"\[([^\]]*)\]\([^)]*\)").replace_all(&words, "$1");
            text(svg, (x + 10.0, y + 40.0), "small", &words);
        }
        "alarm" => {
            let alarms = properties["alarms"].as_array().into_iter().flatten();
            for (index, alarm) in alarms.filter_map(Value::as_str).enumerate() {
                let column = u32::try_from(index % 5).expect("a column");
                let row = u32::try_from(index / 5).expect("a row");
                let at = (x + 12.0 + f64::from(column) * 117.0, y + 36.0 + f64::from(row) * 16.0);
                writeln!(
                    svg,
                    r##"<circle cx="{:.0}" cy="{:.0}" r="4" fill="#1d8102"/>"##,
                    at.0,
                    at.1 - 4.0
                )
                .expect("text");
                text(svg, (at.0 + 8.0, at.1), "small", alarm);
            }
        }
        "log" if properties["view"] == "table" => {
            let header = "@timestamp                 outcome         reason";
            text(svg, (x + 10.0, y + 42.0), "small", header);
            text(svg, (x + 10.0, y + 62.0), "small", "No line: nothing failed in this time.");
        }
        _ => {
            let mut names = names_of(&properties["metrics"]);
            if names.is_empty() {
                names = ["used", "memory"].map(|name| (name.to_owned(), None)).into();
            }
            let plot = (width - 30.0, height - 78.0);
            writeln!(
                svg,
                r##"<path d="M{:.0} {:.0}v{:.0}h{:.0}" fill="none" stroke="#aab7b8"/>"##,
                x + 15.0,
                y + 30.0,
                plot.1,
                plot.0
            )
            .expect("text");
            let mut at = x + 15.0;
            let mut line = y + height - 32.0;
            for (index, (name, color)) in names.iter().enumerate() {
                let color = color.as_deref().unwrap_or(COLORS[index % COLORS.len()]);
                let points = curve(name, (x + 15.0, y + 30.0), plot);
                writeln!(svg, r#"<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5"/>"#)
                    .expect("text");
                let length = 24.0 + 6.6 * f64::from(u32::try_from(name.len()).expect("a label"));
                if at + length > x + width {
                    (at, line) = (x + 15.0, line + 14.0);
                }
                writeln!(
                    svg,
                    r#"<rect x="{at:.0}" y="{:.0}" width="9" height="9" fill="{color}"/>"#,
                    line - 8.0
                )
                .expect("text");
                text(svg, (at + 12.0, line), "small", name);
                at += length;
            }
        }
    }
}

#[test]
fn the_picture_shows_the_dashboard_of_the_template() {
    let drawn = draw(&read("template.yaml"));
    assert!(drawn.matches("<polyline").count() >= 10, "{drawn}");
    let is_current = read("docs/dashboard.svg") == drawn;
    assert!(is_current, "docs/dashboard.svg is not that of template.yaml: make pictures");
}

#[test]
#[ignore = "draws docs/dashboard.svg: make pictures"]
fn draw_pictures() {
    fs::write(path("docs/dashboard.svg"), draw(&read("template.yaml"))).expect("a written file");
}
