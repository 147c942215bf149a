//! The figures and the plot of `docs/pace.md`: `make pace`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::others::{Adaptive, Aimd, Cubic, Fixed, Kept};
use crate::world::{Keeper, No, Run};
use crate::{pace, partition};

/// What each pace has to get along with.
struct Scene {
    name: &'static str,
    limit: u32,
    no: No,
    keys: usize,
    /// After so many seconds the limit is another.
    change: Option<(u64, u32)>,
}

const SCENES: [Scene; 5] = [
    Scene { name: "3,500/s", limit: 3_500, no: No::Request(0.0), keys: 100_000, change: None },
    Scene { name: "1,200/s, a refusal costs a tenth", limit: 1_200, no: No::Request(0.1), keys: 100_000, change: None },
    Scene { name: "1,200/s, single keys are refused", limit: 1_200, no: No::Keys, keys: 100_000, change: None },
    Scene { name: "300/s, a refusal costs a tenth", limit: 300, no: No::Request(0.1), keys: 30_000, change: None },
    Scene {
        name: "3,500/s, then 7,000/s",
        limit: 3_500,
        no: No::Request(0.0),
        keys: 1_000_000,
        change: Some((95, 7_000)),
    },
];

impl Scene {
    /// Where the limit grows above what is documented, a ceiling would be in the way.
    fn ceiling(&self) -> u32 {
        if self.change.is_some() { 0 } else { 3_500 }
    }

    async fn play(&self, keeper: &impl Keeper) -> Run {
        let partition = partition(self.limit, self.no);
        let change = async {
            if let Some((after, limit)) = self.change {
                sleep(Duration::from_secs(after)).await;
                partition.0.borrow_mut().set_limit(limit, Instant::now());
            }
        };
        tokio::join!(partition.erase(keeper, self.keys), change).0
    }

    /// The time in which all could have passed.
    fn bound(&self) -> f64 {
        let (keys, limit) = (self.keys as f64, f64::from(self.limit));
        match self.change {
            Some((after, then)) => after as f64 + (keys - limit - limit * after as f64) / f64::from(then),
            None => (keys - limit) / limit,
        }
    }

    fn told(&self, run: &Run) -> String {
        let left = 100.0 * (1.0 - run.keys as f64 / self.keys as f64);
        if left > 0.0 {
            return format!("{left:.0} % left after an hour");
        }
        format!("{:.2}, {:.1} %", run.seconds / self.bound(), run.refused_percent())
    }
}

async fn runs(scene: &Scene) -> Vec<(&'static str, Run)> {
    let ceiling = scene.ceiling();
    vec![
        ("ours", scene.play(&pace(ceiling)).await),
        ("fixed at 3,500/s", scene.play(&Kept::new(Fixed, ceiling)).await),
        ("AIMD", scene.play(&Kept::new(Aimd::new(), ceiling)).await),
        ("CUBIC", scene.play(&Kept::new(Cubic::new(), ceiling)).await),
        ("the SDKs' adaptive mode", scene.play(&Kept::new(Adaptive::new(), ceiling)).await),
    ]
}

#[tokio::test(start_paused = true)]
async fn the_page_says_what_ours_comes_to() {
    let mut told = Vec::new();
    for scene in &SCENES {
        told.push(scene.told(&scene.play(&pace(scene.ceiling())).await));
    }
    let page = fs::read_to_string(docs().join("pace.md")).expect("a page of the docs");
    let row = format!("| ours | {} |", told.join(" | "));
    assert!(page.contains(&row), "make pace prints the table anew: {row}");
}

#[tokio::test(start_paused = true)]
#[ignore = "prints the figures of docs/pace.md and draws its plot: make pace"]
async fn figures() {
    let mut columns = Vec::new();
    for scene in &SCENES {
        columns.push(runs(scene).await);
    }
    println!("| | {} |", SCENES.map(|scene| scene.name).join(" | "));
    println!("|---|{}", "---|".repeat(SCENES.len()));
    for (row, (name, _)) in columns[0].iter().enumerate() {
        let cells: Vec<String> =
            columns.iter().zip(&SCENES).map(|(column, scene)| scene.told(&column[row].1)).collect();
        println!("| {name} | {} |", cells.join(" | "));
    }
    let unknown = plot(&columns[1], &[(0.0, 1_200.0)], (100.0, 2_000.0));
    let growing = plot(&columns[4], &[(0.0, 3_500.0), (95.0, 7_000.0)], (210.0, 9_000.0));
    for (name, drawing) in [("pace-unknown.svg", unknown), ("pace-growing.svg", growing)] {
        fs::write(docs().join(name), drawing).expect("docs can be written");
    }
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// The keys per second of three of the runs, over time, and the limit.
fn plot(runs: &[(&str, Run)], limit: &[(f64, f64)], (seconds, most): (f64, f64)) -> String {
    const SHOWN: [(&str, &str); 3] = [("ours", "#2a7fff"), ("AIMD", "#e0712c"), ("the SDKs' adaptive mode", "#8a63c9")];
    let (wide, high) = (720.0, 260.0);
    let at = |time: f64, rate: f64| {
        format!("{:.1},{:.1}", 60.0 + time / seconds * wide, 20.0 + high - (rate / most).min(1.0) * high)
    };
    let mut svg = String::new();
    svg.push_str(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 820 350\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <style>text{fill:#555}@media(prefers-color-scheme:dark){text{fill:#bbb}}</style>\n",
    );
    for step in 0..=4 {
        let part = f64::from(step) / 4.0;
        let (y, x) = (20.0 + high - part * high, 60.0 + part * wide);
        svg.push_str(&format!("<path d=\"M60,{y:.1}h{wide}\" stroke=\"#888\" stroke-opacity=\".25\"/>\n"));
        svg.push_str(&format!("<text x=\"54\" y=\"{:.1}\" text-anchor=\"end\">{:.0}</text>\n", y + 4.0, part * most));
        svg.push_str(&format!("<text x=\"{x:.1}\" y=\"298\" text-anchor=\"middle\">{:.0} s</text>\n", part * seconds));
    }
    let mut line = String::new();
    for (index, (time, rate)) in limit.iter().enumerate() {
        let until = limit.get(index + 1).map_or(seconds, |(time, _)| *time);
        line.push_str(&format!("{} {} ", at(*time, *rate), at(until, *rate)));
    }
    svg.push_str(&format!("<polyline points=\"{line}\" fill=\"none\" stroke=\"#888\" stroke-dasharray=\"5 4\"/>\n"));
    for (index, (name, color)) in SHOWN.iter().enumerate() {
        let run = &runs.iter().find(|(other, _)| other == name).expect("a run").1;
        let points: Vec<String> = smoothed(run).into_iter().map(|(time, rate)| at(time, rate)).collect();
        let line = points.join(" ");
        svg.push_str(&format!("<polyline points=\"{line}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.8\"/>\n"));
        let x = 60 + index * 240;
        svg.push_str(&format!("<path d=\"M{x},325h24\" stroke=\"{color}\" stroke-width=\"3\"/>\n"));
        svg.push_str(&format!("<text x=\"{}\" y=\"329\">{name}</text>\n", x + 30));
    }
    svg.push_str("<text x=\"60\" y=\"12\">keys per second; dashed: what the partition takes</text>\n</svg>\n");
    svg
}

/// Keys per second over windows of 3 s, each second.
fn smoothed(run: &Run) -> Vec<(f64, f64)> {
    let mut time = 1.5;
    let mut points = Vec::new();
    while time < run.seconds - 1.5 {
        let within = run.passed.iter().filter(|(at, _)| (time - 1.5..time + 1.5).contains(at));
        points.push((time, within.map(|(_, keys)| *keys as f64).sum::<f64>() / 3.0));
        time += 1.0;
    }
    points
}
