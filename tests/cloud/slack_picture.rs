//! `docs/slack-message.svg`: the Slack message about an erasure that could not be completed, drawn from the
//! message that the deployed stack publishes. `make pictures` draws it again.

use std::fmt::Write;
use std::fs;

use local::project_root;
use serde_json::Value;

use crate::Outcome;

/// Characters in a line, and pixels of a line.
const COLUMNS: usize = 96;
const LINE: usize = 19;

/// Fails unless the picture in the handbook shows this message, or draws it.
///
/// `names` are names that differ from run to run, each with the name that the picture has instead.
pub(crate) fn check(message: &Value, names: &[(&str, &str)]) -> Outcome {
    let drawn = draw(&message["content"], names);
    let path = project_root().join("docs/slack-message.svg");
    #[expect(clippy::disallowed_methods, reason = "`make pictures` asks for it so")]
    let draws = std::env::var_os("DRAW_PICTURES").is_some();
    if draws {
        fs::write(&path, &drawn)?;
    }
    let is_current = fs::read_to_string(&path)? == drawn;
    assert!(is_current, "docs/slack-message.svg is not this message (make pictures): {drawn}");
    Ok(())
}

fn draw(content: &Value, names: &[(&str, &str)]) -> String {
    let text = |value: &Value| {
        let text = value.as_str().unwrap_or_default().to_owned();
        names.iter().fold(text, |text, (name, instead)| text.replace(name, instead))
    };
    let steps = content["nextSteps"].as_array().into_iter().flatten();
    let steps = steps.map(|step| format!("• {}", text(step)));
    let description = text(&content["description"]);
    let body = description.lines().map(str::to_owned).chain(["Next steps".to_owned()]).chain(steps);
    let lines: Vec<String> = body.flat_map(|line| wrap(&line)).collect();

    let height = LINE * (lines.len() + 5);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 {height}\" font-family=\"sans-serif\" \
         font-size=\"14\">\n<rect width=\"760\" height=\"{height}\" fill=\"#fff\"/>\n\
         <rect x=\"16\" y=\"44\" width=\"4\" height=\"{}\" fill=\"#d1242f\"/>\n",
        height - 60
    );
    let mut row = |y: usize, style: &str, words: &str| {
        let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        writeln!(svg, "<text x=\"32\" y=\"{y}\" {style}>{words}</text>").expect("text");
    };
    row(
        26,
        "fill=\"#666\" font-size=\"12\"",
        "Amazon Q  APP   (sample names; the layout is Slack's)",
    );
    row(60, "font-weight=\"bold\"", &text(&content["title"]));
    for (index, line) in lines.iter().enumerate() {
        let style = if line == "Next steps" { "font-weight=\"bold\"" } else { "" };
        row(60 + LINE * (index + 2), style, line);
    }
    svg + "</svg>\n"
}

/// Breaks a line between words.
fn wrap(line: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in line.split(' ') {
        let last = lines.last_mut().expect("there is always a line");
        if !last.is_empty() && last.chars().count() + word.chars().count() >= COLUMNS {
            lines.push(word.to_owned());
        } else {
            let gap = if last.is_empty() { "" } else { " " };
            last.push_str(&format!("{gap}{word}"));
        }
    }
    lines
}
