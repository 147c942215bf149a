//! The figures and the plot of `docs/pace.md`: `make pace`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::others::{Adaptive, Aimd, Cubic, Fixed, Kept};
use crate::plot::Plot;
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
}

const SCENES: [Scene; 5] = [
    Scene { name: "3,500/s", limit: 3_500, no: REQUEST, keys: 100_000, change: None },
    Scene { name: "1,200/s, a refusal costs a tenth", limit: 1_200, no: COSTLY_REQUEST, keys: 100_000, change: None },
    Scene { name: "1,200/s, single keys are refused", limit: 1_200, no: KEYS, keys: 100_000, change: None },
    Scene { name: "300/s, a refusal costs a tenth", limit: 300, no: COSTLY_REQUEST, keys: 30_000, change: None },
    Scene { name: "3,500/s, then 7,000/s", limit: 3_500, no: REQUEST, keys: 1_000_000, change: Some((95, 7_000)) },
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
    for (scene, name) in [(1, "pace-unknown.svg"), (4, "pace-growing.svg")] {
        fs::write(docs().join(name), plot(&SCENES[scene], &columns[scene])).expect("docs can be written");
    }
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// The keys per second of three of the runs, over time, and the limit.
fn plot(scene: &Scene, runs: &[(&str, Run)]) -> String {
    const SHOWN: [&str; 3] = ["ours", "AIMD", "the SDKs' adaptive mode"];
    let line = |(name, run): &(&str, Run)| {
        let passed = run.passed.iter().map(|(at, keys)| (*at, *keys as u64)).collect();
        ((*name).to_owned(), run.seconds, passed)
    };
    let lines = runs.iter().filter(|(name, _)| SHOWN.contains(name)).map(line).collect();
    let change = scene.change.map(|(after, limit)| (after as f64, f64::from(limit)));
    let limit = [(0.0, f64::from(scene.limit))].into_iter().chain(change).collect();
    Plot { title: scene.name.to_owned(), lines, limit }.svg()
}
