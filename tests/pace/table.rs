//! The tables and the plots of `docs/pace.md`: `make pace` writes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::noise::Noise;
use crate::others::{Adaptive, Aimd, Cubic, Fixed, Kept};
use crate::plot::{Line, Plot};
use crate::world::{COSTLY_REQUEST, KEYS, Keeper, REQUEST, Run};
use crate::{pace, partition};

/// What each pace has to get along with.
struct Scene {
    name: &'static str,
    limit: u32,
    no: Option<f64>,
    keys: usize,
    /// After so many seconds the limit is another.
    change: Option<(u64, u32)>,
    /// What is throttled at random.
    noise: Option<Noise>,
}

const LIMITS: [Scene; 5] = [
    limited("3,500/s", 3_500, REQUEST, 100_000),
    limited("1,200/s, a throttled request costs a tenth", 1_200, COSTLY_REQUEST, 100_000),
    limited("1,200/s, single keys are throttled", 1_200, KEYS, 100_000),
    limited("300/s, a throttled request costs a tenth", 300, COSTLY_REQUEST, 30_000),
    Scene {
        change: Some((95, 7_000)),
        ..limited("3,500/s, then 7,000/s", 3_500, REQUEST, 1_000_000)
    },
];

const NOISES: [Scene; 5] = [
    noisy("0.1 % of the keys", Noise::Keys(0.001)),
    noisy("1 % of the keys", Noise::Keys(0.01)),
    noisy("5 % of the keys", Noise::Keys(0.05)),
    noisy("1 % of the requests", Noise::Requests(0.01)),
    noisy("5 % of the requests", Noise::Requests(0.05)),
];

const fn limited(name: &'static str, limit: u32, no: Option<f64>, keys: usize) -> Scene {
    Scene { name, limit, no, keys, change: None, noise: None }
}

/// No limit; requests are throttled at random.
const fn noisy(name: &'static str, noise: Noise) -> Scene {
    Scene { noise: Some(noise), ..limited(name, 1_000_000_000, KEYS, 250_000) }
}

impl Scene {
    /// Where the limit grows above what is documented, a ceiling would be in the way.
    fn ceiling(&self) -> u32 {
        if self.change.is_some() { 0 } else { 3_500 }
    }

    async fn play(&self, keeper: &impl Keeper) -> Run {
        let mut partition = partition(self.limit, self.no);
        if let Some(noise) = self.noise {
            partition = partition.with_noise(noise, 1);
        }
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
            Some((after, then)) => {
                after as f64 + (keys - limit - limit * after as f64) / f64::from(then)
            }
            None => (keys - limit) / limit,
        }
    }

    fn told(&self, run: &Run) -> String {
        if self.noise.is_some() {
            return format!("{:.1} %", 100.0 * run.keys_per_second() / f64::from(self.ceiling()));
        }
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
async fn pace_page_matches_our_figures() {
    let page = fs::read_to_string(page()).expect("a page of the docs");
    for (table, scenes) in [("limits", LIMITS), ("noise", NOISES)] {
        let mut cells = Vec::new();
        for scene in &scenes {
            cells.push(scene.told(&scene.play(&pace(scene.ceiling())).await));
        }
        let row = row("ours", &cells);
        let (_, written, _) = around(&page, table);
        assert!(
            written.contains(&row),
            "run make pace: the table {table:?} has another row, not {row}"
        );
    }
}

#[tokio::test(start_paused = true)]
#[ignore = "writes the tables and draws the plots of docs/pace.md: make pace"]
async fn figures() {
    let (mut limits, mut noises) = (Vec::new(), Vec::new());
    for scene in &LIMITS {
        limits.push(runs(scene).await);
    }
    for scene in &NOISES {
        noises.push(runs(scene).await);
    }
    let mut text = fs::read_to_string(page()).expect("a page of the docs");
    for (name, scenes, columns) in [("limits", &LIMITS, &limits), ("noise", &NOISES, &noises)] {
        let table = table(scenes, columns);
        println!("{table}");
        let (before, _, after) = around(&text, name);
        text = format!("{before}\n{table}\n{after}");
    }
    write("pace.md", &text);
    write("pace-unknown.svg", &plot(&LIMITS[1], &limits[1]));
    write("pace-growing.svg", &plot(&LIMITS[4], &limits[4]));
    write("pace-noise.svg", &plot(&NOISES[1], &noises[1]));
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

fn page() -> PathBuf {
    docs().join("pace.md")
}

fn write(name: &str, text: &str) {
    fs::write(docs().join(name), text).expect("docs can be written");
}

/// What is before a table of the page, the table, and what is after it. The marks around the table
/// belong to the outside.
fn around<'p>(page: &'p str, table: &str) -> (&'p str, &'p str, &'p str) {
    let place = |mark: &str| page.find(mark).expect("the page has marks around each table");
    let begin = format!("<!-- {table}: make pace writes this table -->\n");
    let (from, until) = (place(&begin) + begin.len(), place(&format!("<!-- {table}: end -->")));
    (&page[..from], &page[from..until], &page[until..])
}

fn table(scenes: &[Scene], columns: &[Vec<(&str, Run)>]) -> String {
    let names: Vec<String> = scenes.iter().map(|scene| scene.name.to_owned()).collect();
    let mut text = format!("{}|---|{}\n", row("", &names), "---|".repeat(scenes.len()));
    for (number, (name, _)) in columns[0].iter().enumerate() {
        let cells = columns.iter().zip(scenes).map(|(column, scene)| scene.told(&column[number].1));
        text.push_str(&row(name, &cells.collect::<Vec<_>>()));
    }
    text
}

fn row(name: &str, cells: &[String]) -> String {
    let name = if name.is_empty() { String::new() } else { format!(" {name}") };
    format!("|{name} | {} |\n", cells.join(" | "))
}

/// The keys per second of three of the runs, over time, and the limit. What is throttled at random
/// is drawn for as long as ours takes: others take many times as long.
fn plot(scene: &Scene, runs: &[(&str, Run)]) -> String {
    const SHOWN: [&str; 3] = ["ours", "AIMD", "the SDKs' adaptive mode"];
    let end = if scene.noise.is_some() { runs[0].1.seconds } else { f64::INFINITY };
    let line = |(name, run): &(&str, Run)| -> Line {
        let passed =
            run.passed.iter().filter(|(at, _)| *at <= end).map(|(at, keys)| (*at, *keys as u64));
        ((*name).to_owned(), run.seconds.min(end), passed.collect())
    };
    let lines = runs.iter().filter(|(name, _)| SHOWN.contains(name)).map(line).collect();
    let change = scene.change.map(|(after, limit)| (after as f64, f64::from(limit)));
    let limit = scene.noise.is_none().then_some((0.0, f64::from(scene.limit)));
    let title = match scene.noise {
        Some(_) => format!("no limit, {} are throttled at random", scene.name),
        None => scene.name.to_owned(),
    };
    Plot { title, lines, limit: limit.into_iter().chain(change).collect() }.svg()
}
