//! Keys per second over time, as a picture: SVG that is readable in light and in dark, and by
//! readers who see few colours.

use local::HumanFloatCount;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 400.0;
/// Left, right, top, bottom: around the lines.
const MARGINS: [f64; 4] = [84.0, 20.0, 74.0, 52.0];
/// Points of a line.
const POINTS: u32 = 240;
/// About so many marks on an axis.
const MARKS: f64 = 6.0;
/// The style sheet knows so many kinds of lines.
const KINDS: usize = 6;

const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#333}.title{font-size:16px;font-weight:600}\
.back{fill:#fff}.grid{stroke:#ddd}.axis{stroke:#888}path{fill:none;stroke-width:1.8}\
.limit{stroke:#888;stroke-width:1.6;stroke-dasharray:7 5}\
.s0{stroke:#0059b3;stroke-width:2.8}.s1{stroke:#c24d00}.s2{stroke:#00805b}.s3{stroke:#a0307f;stroke-dasharray:5 3}\
.s4{stroke:#8a6d00;stroke-dasharray:2 3}.s5{stroke:#666;stroke-dasharray:9 3 2 3}\
@media(prefers-color-scheme:dark){text{fill:#ddd}.back{fill:#161b22}.grid{stroke:#30363d}\
.s0{stroke:#5cb3ff}.s1{stroke:#ff9e57}.s2{stroke:#3fd0a4}.s3{stroke:#f08fd0}.s4{stroke:#e5c94b}.s5{stroke:#aaa}}";

/// Its name, how many seconds it has, and when in these how many keys went.
pub(crate) type Line = (String, f64, Vec<(f64, u64)>);

/// A picture.
#[derive(Debug, Default)]
pub(crate) struct Plot {
    pub(crate) title: String,
    pub(crate) lines: Vec<Line>,
    /// From which second on how many keys a second may be deleted.
    pub(crate) limit: Vec<(f64, f64)>,
}

/// From the numbers to the picture.
#[derive(Debug, Clone, Copy)]
struct Scale {
    most_seconds: f64,
    most_keys: f64,
}

impl Scale {
    fn x(self, seconds: f64) -> f64 {
        let [left, right, ..] = MARGINS;
        left + (seconds / self.most_seconds).min(1.0) * (WIDTH - left - right)
    }

    fn y(self, keys: f64) -> f64 {
        let [.., top, bottom] = MARGINS;
        HEIGHT - bottom - (keys / self.most_keys).min(1.0) * (HEIGHT - top - bottom)
    }
}

impl Plot {
    pub(crate) fn svg(&self) -> String {
        let seconds = self.lines.iter().map(|(_, seconds, _)| *seconds).fold(0.1, f64::max);
        let window = window(seconds);
        let curves: Vec<Vec<(f64, f64)>> =
            self.lines.iter().map(|(_, end, went)| rates(went, *end, window)).collect();
        let most = |points: &[(f64, f64)]| points.iter().map(|(_, keys)| *keys).fold(1.0, f64::max);
        // A peak at the start must not make everything else small.
        let top = if self.limit.is_empty() { f64::INFINITY } else { most(&self.limit) * 2.0 };
        let highest = curves.iter().map(|curve| most(curve)).fold(most(&self.limit), f64::max);
        let scale = Scale { most_seconds: seconds, most_keys: highest.min(top) * 1.08 };
        let title = escaped(&self.title);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{title}\"><style>{STYLE}</style><rect class=\"back\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\
             <text class=\"title\" x=\"{}\" y=\"26\">{title}</text>",
            MARGINS[0]
        );
        axes(&mut svg, scale, window);
        if !self.limit.is_empty() {
            line(&mut svg, "limit", &stairs(&self.limit, seconds), scale);
        }
        for (number, curve) in curves.iter().enumerate() {
            line(&mut svg, &kind(number), curve, scale);
        }
        self.legend(&mut svg);
        svg.push_str("</svg>\n");
        svg
    }

    fn legend(&self, svg: &mut String) {
        let names = self.lines.iter().map(|(name, ..)| name.as_str()).enumerate();
        let lines = names.map(|(number, name)| (kind(number), name));
        let limit = (!self.limit.is_empty()).then(|| ("limit".to_owned(), "limit"));
        let mut x = MARGINS[0];
        for (class, name) in lines.chain(limit) {
            svg.push_str(&format!("<path class=\"{class}\" d=\"M{x:.0} 48h26\"/>"));
            svg.push_str(&format!("<text x=\"{:.0}\" y=\"52\">{}</text>", x + 32.0, escaped(name)));
            x += 56.0 + 7.2 * name.chars().count() as f64;
        }
    }
}

fn kind(number: usize) -> String {
    format!("s{}", number % KINDS)
}

/// Over how many seconds a rate is taken: a batch of 1,000 keys should not look like a peak.
fn window(seconds: f64) -> f64 {
    (seconds / 12.0).clamp(1.0, 5.0)
}

/// Keys per second around each of many moments: what is nearer to it counts more.
fn rates(went: &[(f64, u64)], end: f64, window: f64) -> Vec<(f64, f64)> {
    let half = window / 2.0;
    // How much of the window is on one side, where it ends after so long.
    let side = |length: f64| {
        let part = (length / half).min(1.0);
        part - part * part / 2.0
    };
    let rate = |at: f64| {
        let weight = |then: f64| (1.0 - (then - at).abs() / half).max(0.0) / half;
        let keys: f64 = went.iter().map(|(then, keys)| *keys as f64 * weight(*then)).sum();
        keys / (side(at) + side(end - at))
    };
    (0..=POINTS)
        .map(|point| end * f64::from(point) / f64::from(POINTS))
        .map(|at| (at, rate(at)))
        .collect()
}

/// Steps, as the corners of a line.
fn stairs(steps: &[(f64, f64)], end: f64) -> Vec<(f64, f64)> {
    let until = |at: usize| steps.get(at + 1).map_or(end, |(next, _)| *next);
    steps
        .iter()
        .enumerate()
        .flat_map(|(at, (from, keys))| [(*from, *keys), (until(at), *keys)])
        .collect()
}

fn line(svg: &mut String, class: &str, points: &[(f64, f64)], scale: Scale) {
    let places: Vec<String> = points
        .iter()
        .map(|(seconds, keys)| format!("{:.1} {:.1}", scale.x(*seconds), scale.y(*keys)))
        .collect();
    svg.push_str(&format!("<path class=\"{class}\" d=\"M{}\"/>", places.join("L")));
}

fn axes(svg: &mut String, scale: Scale, window: f64) {
    let (left, right) = (scale.x(0.0), scale.x(scale.most_seconds));
    let (bottom, top) = (scale.y(0.0), scale.y(scale.most_keys));
    for keys in marks(scale.most_keys) {
        let y = scale.y(keys);
        svg.push_str(&format!("<path class=\"grid\" d=\"M{left} {y:.1}H{right}\"/>"));
        let number = format!("{:.0}", HumanFloatCount(keys));
        svg.push_str(&format!(
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{number}</text>",
            left - 8.0,
            y + 4.0
        ));
    }
    let seconds = marks(scale.most_seconds);
    let decimals = usize::from(scale.most_seconds < MARKS);
    for mark in seconds {
        let (x, y) = (scale.x(mark), bottom + 20.0);
        svg.push_str(&format!(
            "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{mark:.decimals$}</text>"
        ));
    }
    svg.push_str(&format!("<path class=\"axis\" d=\"M{left} {top}V{bottom}H{right}\"/>"));
    let middle = f64::midpoint(left, right);
    let name = format!("seconds (each rate is a mean over {window:.1} s)");
    svg.push_str(&format!(
        "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{name}</text>",
        HEIGHT - 10.0
    ));
    let middle = f64::midpoint(top, bottom);
    svg.push_str(&format!(
        "<text transform=\"translate(16 {middle}) rotate(-90)\" text-anchor=\"middle\">"
    ));
    svg.push_str("keys per second</text>");
}

/// Round numbers from zero up.
fn marks(most: f64) -> Vec<f64> {
    let rough = most / MARKS;
    let ten = 10_f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|times| times * ten).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(ten);
    (0_u32..).map(|number| f64::from(number) * step).take_while(|mark| *mark <= most).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_every_line_and_the_limit() {
        let steady: Vec<(f64, u64)> = (0..100_u32).map(|at| (f64::from(at) * 0.1, 100)).collect();
        let lines =
            vec![("ours".to_owned(), 10.0, steady.clone()), ("a & b".to_owned(), 5.0, steady)];
        let svg =
            Plot { title: "T".to_owned(), lines, limit: vec![(0.0, 800.0), (5.0, 1_600.0)] }.svg();
        for part in
            ["s0", "s1", "limit", "ours", "a &amp; b", "keys per second", "seconds", ">T<", "1,000"]
        {
            assert!(svg.contains(part), "{part}");
        }
        assert!(svg.contains("prefers-color-scheme:dark") && !svg.contains("<script"));
        assert_eq!(svg.matches("<path class=\"s0\"").count(), 2, "the line, and its mark");
    }

    #[test]
    fn finds_the_rate_of_a_steady_stream() {
        let went: Vec<(f64, u64)> = (0..1_000_u32).map(|at| (f64::from(at) * 0.01, 10)).collect();
        let rates = rates(&went, 10.0, 1.0);
        assert!(rates.iter().all(|(_, rate)| (960.0..=1_040.0).contains(rate)), "{rates:?}");
    }

    #[test]
    fn marks_axes_with_round_numbers() {
        assert_eq!(marks(28.0), [0.0, 5.0, 10.0, 15.0, 20.0, 25.0]);
        assert_eq!(marks(3_800.0), [0.0, 1_000.0, 2_000.0, 3_000.0]);
        assert_eq!(
            stairs(&[(0.0, 1.0), (2.0, 3.0)], 5.0),
            [(0.0, 1.0), (2.0, 1.0), (2.0, 3.0), (5.0, 3.0)]
        );
    }
}
