//! The pace against a model of an S3 partition, in virtual time: what it makes of a limit that it
//! does not know.

#![expect(clippy::future_not_send, reason = "a test has one thread")]

#[path = "../fake/partition.rs"]
mod partition;
#[path = "../../tools/bench/src/comparison/plot.rs"]
mod plot;

mod noise;
mod others;
mod table;
mod world;

use std::num::NonZeroU32;
use std::time::Duration;

use erase_user_files::limiter::{Limiter, ReadClass};
use tokio::time::{Instant, sleep, sleep_until};

use crate::world::{COSTLY_REQUEST, FULL, KEYS, LEAST, REQUEST, SLOTS, Shared};

fn partition(keys_per_second: u32, no: Option<f64>) -> Shared {
    Shared::new(keys_per_second, no)
}

fn pace(ceiling: u32) -> Limiter {
    Limiter::new(NonZeroU32::new(ceiling), SLOTS, 1)
}

/// How many keys a request may have now.
async fn batch_keys(pace: &Limiter, bucket: &str) -> usize {
    pace.admit(bucket, 1_000).await.keys()
}

#[tokio::test(start_paused = true)]
async fn documented_limit_is_used_without_throttling() {
    for no in [REQUEST, COSTLY_REQUEST, KEYS] {
        let run = partition(3_500, no).erase(&pace(3_500), 100_000).await;
        assert!(run.over_the_bound(3_500) < 1.04, "{no:?}: {run:?}");
        assert_eq!((run.requests, run.refused), (100, 0), "{no:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn lower_limit_is_found_with_few_throttles() {
    for (limit, most_time, most_refused) in
        [(1_200, 1.05, 6.0), (300, 1.10, 16.0), (3_000, 1.10, 8.0)]
    {
        for no in [REQUEST, COSTLY_REQUEST, KEYS] {
            let keys = usize::try_from(limit).unwrap() * 80;
            let run = partition(limit, no).erase(&pace(3_500), keys).await;
            // Where single keys are throttled, a request of which one key is throttled is not a
            // throttled request.
            let refused =
                if no == KEYS { run.throttled_keys_percent() } else { run.refused_percent() };
            let time = run.over_the_bound(limit);
            assert!(
                time < most_time && refused < most_refused,
                "{limit} {no:?}: {run:?}, {time:.3}, {refused:.1} %"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn higher_limit_is_used_without_ceiling() {
    for (limit, most_time) in [(3_500, 1.10), (7_000, 1.17), (20_000, 1.25)] {
        let keys = usize::try_from(limit).unwrap() * 60;
        let run = partition(limit, REQUEST).erase(&pace(0), keys).await;
        assert!(
            run.over_the_bound(limit) < most_time,
            "{limit}: {run:?}, {:.3}",
            run.over_the_bound(limit)
        );
        assert!(run.refused_percent() < 6.0, "{limit}: {run:?}");
    }
    // Only the number of concurrent requests is a limit here: eight full ones take 250 ms.
    let unlimited = partition(1_000_000_000, REQUEST).erase(&pace(0), 100_000).await;
    assert!(unlimited.seconds < 4.0 && unlimited.refused == 0, "{unlimited:?}");
    let small = partition(1_000_000_000, REQUEST).erase(&pace(0), 5_000).await;
    assert_eq!(small.seconds, (LEAST + FULL).as_secs_f64(), "a small user need not wait");
}

#[tokio::test(start_paused = true)]
async fn changing_limit_is_followed() {
    for (before, after) in [(3_500, 7_000), (7_000, 3_500), (3_500, 700)] {
        let partition = partition(before, REQUEST);
        let half = Duration::from_secs(95);
        let keys = usize::try_from(before + after).unwrap() * 95;
        let change = async {
            sleep(half).await;
            partition.0.borrow_mut().set_limit(after, Instant::now());
        };
        let pace = pace(0);
        let (run, ()) = tokio::join!(partition.erase(&pace, keys), change);
        let late = run.seconds - half.as_secs_f64();
        let area = f64::from(before) * (half.as_secs_f64() + 1.0) + f64::from(after) * late;
        let used = keys as f64 / area;
        assert!(
            used > 0.90,
            "from {before} to {after}: {used:.3} of what would have passed, {run:?}"
        );
    }
}

/// Another client, which always sends so many keys a second, in requests of 100, and never retries.
async fn other(partition: &Shared, keys_per_second: u32, until: Instant) -> f64 {
    let (mut taken, mut sent) = (0, 0);
    let begin = Instant::now();
    while Instant::now() < until {
        taken += partition.takes(100);
        sent += 100;
        sleep_until(
            begin + Duration::from_secs(1).mul_f64(f64::from(sent) / f64::from(keys_per_second)),
        )
        .await;
    }
    taken as f64 / f64::from(sent)
}

#[tokio::test(start_paused = true)]
async fn other_traffic_keeps_its_half_of_the_partition() {
    for (others, ours) in [(1_750, 1_750.0), (3_000, 500.0)] {
        let partition = partition(3_500, COSTLY_REQUEST);
        let until = Instant::now() + Duration::from_secs(60);
        let pace = pace(3_500);
        let erase = partition.erase(&pace, 20_000);
        let (run, share) = tokio::join!(erase, other(&partition, others, until));
        assert!(share > 0.98, "of {others} keys a second, so much passed: {share:.3}");
        assert!(run.keys_per_second() > ours * 0.9, "{others}: {run:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_environments_share_a_partition() {
    let partition = partition(3_500, COSTLY_REQUEST);
    let (first, second) = (pace(3_500), pace(3_500));
    let late = async {
        sleep(Duration::from_secs(20)).await;
        partition.erase(&second, 200_000).await
    };
    let (first, second) = tokio::join!(partition.erase(&first, 200_000), late);
    for run in [&first, &second] {
        assert!(run.keys_per_second() > 1_600.0, "{first:?} {second:?}");
        assert!(run.refused_percent() < 7.0, "{first:?} {second:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn half_throttled_at_any_rate_slows_down_and_continues() {
    let pace = pace(3_500);
    let (mut passed, start) = (0, Instant::now());
    for number in 0..400 {
        let pass = pace.admit("photos", 1_000).await;
        let keys = pass.keys();
        sleep(LEAST).await;
        pass.answered(
            if number % 2 == 0 { 0 } else { keys },
            if number % 2 == 0 { keys } else { 0 },
        );
        passed += if number % 2 == 0 { 0 } else { keys };
    }
    let rate = passed as f64 / start.elapsed().as_secs_f64();
    assert!((10.0..350.0).contains(&rate), "{rate} keys a second");
    assert!(pace.cooldown() >= Duration::from_secs(1), "the rest is for later");
    for _ in 0..100 {
        let pass = pace.admit("photos", 1_000).await;
        pass.answered(pass.keys(), 0);
    }
    assert_eq!(pace.cooldown(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn buckets_have_separate_rates_below_one_ceiling() {
    let pace = pace(1_000);
    let pass = pace.admit("slow", 500).await;
    pass.answered(0, 500);
    drop(pass);
    let start = Instant::now();
    for bucket in ["a", "b", "c", "d"].repeat(3) {
        drop(pace.admit(bucket, 250).await);
    }
    let took = start.elapsed().as_secs_f64();
    assert!((2.4..3.3).contains(&took), "3,000 keys at 1,000 a second: {took} s");
    assert!(batch_keys(&pace, "slow").await < 500);
    assert_eq!(batch_keys(&pace, "fast").await, 500);
}

#[tokio::test(start_paused = true)]
async fn learned_rate_expires_when_idle() {
    let pace = pace(3_500);
    for _ in 0..9 {
        let pass = pace.admit("photos", 100).await;
        sleep(LEAST).await;
        pass.answered(0, 100);
    }
    assert!(batch_keys(&pace, "photos").await < 200);
    sleep(Duration::from_secs(59)).await;
    assert!(batch_keys(&pace, "photos").await < 200);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(batch_keys(&pace, "photos").await, 1_000);
}

/// A rate that the function does not use up is not known to be right.
#[tokio::test(start_paused = true)]
async fn rate_grows_only_while_requests_wait() {
    let grown = async |pause: Duration| {
        let pace = pace(3_500);
        for round in 0..200 {
            let pass = pace.admit("photos", 100).await;
            sleep(LEAST).await;
            pass.answered(if round < 9 { 0 } else { 100 }, if round < 9 { 100 } else { 0 });
            drop(pass);
            sleep(pause).await;
        }
        batch_keys(&pace, "photos").await
    };
    let (slow, fast) = (grown(Duration::from_secs(2)).await, grown(Duration::ZERO).await);
    assert!(slow < 300 && fast > 2 * slow, "{slow} and {fast} keys a batch");
}

#[tokio::test(start_paused = true)]
async fn fully_throttled_bucket_is_retried_now_and_then() {
    let pace = pace(3_500);
    let start = Instant::now();
    for _ in 0..300 {
        let pass = pace.admit("photos", 1_000).await;
        sleep(LEAST).await;
        pass.answered(0, pass.keys());
    }
    let each = start.elapsed() / 300;
    assert!(
        (Duration::from_millis(300)..Duration::from_millis(700)).contains(&each),
        "{each:?} between two requests"
    );
    assert_eq!(batch_keys(&pace, "photos").await, 17, "half a second of the lowest rate");
}

#[tokio::test(start_paused = true)]
async fn listing_wait_shrinks_after_success() {
    let pace = pace(3_500);
    let refuse = async || {
        let pass = pace.admit_read("photos", ReadClass::Other).await;
        pass.answered(true);
        drop(pass);
        let start = Instant::now();
        drop(pace.admit_read("photos", ReadClass::Other).await);
        start.elapsed().as_millis()
    };
    for most in [100, 200, 400, 800] {
        let wait = refuse().await;
        assert!((most / 2..=most).contains(&wait), "{wait} ms of {most}");
    }
    sleep(LEAST).await;
    pace.admit_read("photos", ReadClass::Other).await.answered(false);
    let wait = refuse().await;
    assert!((200..=400).contains(&wait), "the fourth refusal counts half: {wait} ms");
}

#[tokio::test(start_paused = true)]
async fn throttled_listing_delays_all_listings() {
    let pace = pace(3_500);
    let (first, second) = (
        pace.admit_read("photos", ReadClass::Other).await,
        pace.admit_read("photos", ReadClass::Other).await,
    );
    first.answered(true);
    // It was on its way: one event.
    second.answered(true);
    let start = Instant::now();
    let third = pace.admit_read("photos", ReadClass::Other).await;
    assert!((50..=100).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    third.answered(true);
    let other = Instant::now();
    pace.admit_read("exports", ReadClass::Other).await.answered(false);
    assert_eq!(other.elapsed(), Duration::ZERO, "another bucket knows nothing of it");
    let start = Instant::now();
    pace.admit_read("photos", ReadClass::Other).await.answered(false);
    assert!((100..=200).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}
