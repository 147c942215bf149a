//! What the user service sends, and what no sender should send.

use std::time::Duration;

use serde_json::json;
use time::format_description::well_known::Rfc3339;

use crate::faults::RequestIds;
use crate::users::WITHDRAWN;
use crate::world::World;

/// What must not be worked on: the last two are a dry run's in an erasing world, and the other way
/// round.
const GARBAGE: [&str; 8] = [
    "",
    "not JSON",
    "[\"user-withdrawn\",\"u1-zebra\"]",
    r#"{"type":"user-withdrawn","userId":"../u1-zebra"}"#,
    r#"{"type":"user-withdrawn","userId":7.5}"#,
    r#"{"type":"erasure-continuation","version":99,"erasureId":"new","userId":"u1-zebra","hop":1}"#,
    r#"{"type":"erasure-continuation","version":1,"erasureId":"dry","userId":"u1-zebra","hop":1,"dryRun":true}"#,
    r#"{"type":"erasure-continuation","version":1,"erasureId":"wet","userId":"u1-zebra","hop":1}"#,
];

/// Sends all requests, some of them twice, and garbage.
pub(crate) fn send_all(world: &mut World) {
    for user in WITHDRAWN {
        let times = world.dice.u32(1..=2);
        world.requests.insert(user, times);
        for _ in 0..times {
            let delay = Duration::from_secs(world.dice.u64(0..30));
            let body = request(world, user);
            let step = world.put(body, delay, false).step;
            world.asked.insert((step.erasure, step.user));
        }
    }
    for (number, body) in GARBAGE.into_iter().enumerate() {
        let is_garbage = match number {
            6 => !world.setup.is_dry_run,
            7 => world.setup.is_dry_run,
            _ => true,
        };
        if is_garbage && world.dice.u32(0..100) < world.faults.garbage_messages {
            world.put(body.to_owned(), Duration::ZERO, true);
        }
    }
}

/// What the user service sends.
fn request(world: &World, user: &str) -> String {
    let mut request =
        json!({"type": "user-withdrawn", "userId": user, "withdrawnAt": "2027-01-01T00:00:00Z"});
    match world.setup.request_ids {
        RequestIds::None => {}
        RequestIds::OfUser => request["requestId"] = format!("withdrawal-of-{user}").into(),
        RequestIds::Shared => request["requestId"] = "withdrawal".into(),
    }
    if let Some(limit) = world.setup.erase_before {
        request["eraseBefore"] = limit.format(&Rfc3339).expect("a time of this century").into();
    }
    request.to_string()
}
