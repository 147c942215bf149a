//! What happened, for users.

use std::collections::BTreeMap;

use indicatif::HumanCount;
use local::{Fault, Hop, Operation};

use super::super::show;
use super::checks::{Checks, cut_short};
use super::load::Load;
use super::users::{Stock, TARGETS, Users};

const MOST_SHOWN: usize = 20;

/// Prints everything, and returns what was not tested.
pub(super) fn print(
    load: &Load<'_>,
    stored: &Stock,
    checks: &Checks,
    log: &[String],
) -> Vec<String> {
    print_faults(load);
    let (ended, timed_out) = cut_short(load.cloud);
    let injected = load.injected().clone();
    let targeted_kills = Operation::ALL.iter().filter_map(|operation| {
        let count = injected.targeted_kills.get(operation)?;
        Some(format!("{count} at {}", name(*operation)))
    });
    let targeted_kills = targeted_kills.collect::<Vec<_>>().join(", ");
    println!("\nProcesses");
    println!(
        "  killed                {} at random; between effect and response: {targeted_kills}",
        injected.kills
    );
    println!("  frozen and resumed    {}", injected.frozen);
    println!(
        "  cloud paused          {} times, {:.0} s in total",
        injected.pauses,
        injected.paused.as_secs_f64()
    );
    println!(
        "  interrupted           {ended} invocations by a kill, {timed_out} by the time limit"
    );

    let hops: Vec<Hop> = log.iter().filter_map(|line| Hop::parse(line)).collect();
    let mut outcomes = BTreeMap::<&str, u64>::new();
    for hop in &hops {
        *outcomes.entry(&hop.outcome).or_default() += 1;
    }
    let again = hops.iter().filter(|hop| hop.receive_count > 1).count();
    let longest = hops.iter().map(|hop| hop.hop + 1).max().unwrap_or_default();
    println!("\nMessages");
    println!(
        "  sent                  {} requests, {} of them twice, {} malformed",
        injected.requests, injected.duplicates, injected.garbage
    );
    let outcomes: Vec<_> =
        outcomes.into_iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    println!("  hops                  {}: {}", hops.len(), outcomes.join(", "));
    println!("  redelivered           {again} of these hops; the longest erasure took {longest}");
    print_users(load, stored, checks);

    let mut missing = not_injected(load);
    let things = [
        (ended, "no kill hit an invocation"),
        (again, "no message was redelivered"),
        (checks.dead.len(), "no user is in the dead-letter queue"),
    ];
    missing.extend(
        things.into_iter().filter(|(count, _)| *count == 0).map(|(_, what)| what.to_owned()),
    );
    missing
}

fn print_faults(load: &Load<'_>) {
    let counts = load.proxy.counts();
    let columns = [None].into_iter().chain(Fault::RANDOM.map(Some)).chain([Some(Fault::Withhold)]);
    let columns: Vec<Option<Fault>> = columns.collect();
    print!("\nRequests              ");
    for fault in &columns {
        print!("{:>11}", fault.map_or("untouched", short));
    }
    println!();
    for operation in Operation::ALL {
        print!("  {:<20}", name(operation));
        for fault in &columns {
            print!("{:>11}", counts.get(&(operation, *fault)).copied().unwrap_or_default());
        }
        println!();
    }
}

fn print_users(load: &Load<'_>, stored: &Stock, checks: &Checks) {
    let all: Vec<_> = stored.by_user.values().flatten().map(|(_, stored)| stored.clone()).collect();
    let several = checks.erased.values().filter(|count| **count > 1).count();
    let receipts: u64 = checks.erased.values().sum();
    println!("\nUsers");
    println!(
        "  stored                {} by {} users",
        show::kinds(show::counts(&all)),
        load.users.list.len()
    );
    println!(
        "  erased                {}, with {receipts} receipts ({several} have several)",
        checks.erased.len()
    );
    println!("  counted in these      {}", show::kinds(checks.counted));
    println!(
        "  in the dead-letter queue  {}, with {} receipts of what remains",
        checks.dead.len(),
        checks.incomplete
    );
    let mut reasons = BTreeMap::<&str, (u64, &str)>::new();
    for (user, reason) in &checks.dead {
        let reason =
            reason.as_deref().unwrap_or("no reason in the log: every delivery was interrupted");
        let entry = reasons.entry(reason).or_insert((0, &load.users.list[*user].id));
        entry.0 += 1;
    }
    for (reason, (count, example)) in reasons.iter().take(MOST_SHOWN) {
        println!("    {count} such as {example}: {reason}");
    }
    println!(
        "  other users           {} items in {} buckets",
        HumanCount(stored.neighbours.len() as u64),
        TARGETS.len(),
    );
}

/// What must have happened for this to be a test of it.
fn not_injected(load: &Load<'_>) -> Vec<String> {
    let counts = load.proxy.counts();
    let happened = |fault: Fault, operations: &[Operation]| -> u64 {
        operations.iter().filter_map(|operation| counts.get(&(*operation, Some(fault)))).sum()
    };
    let s3 = [Operation::List, Operation::Delete, Operation::Read, Operation::StoreReceipt];
    let sqs = [Operation::Continue, Operation::ChangeVisibility];
    let mut missing = Vec::new();
    for fault in Fault::RANDOM {
        for (service, operations) in [("S3", &s3[..]), ("SQS", &sqs[..])] {
            if happened(fault, operations) == 0 {
                missing.push(format!(
                    "the fault {:?} never happened to a request to {service}",
                    short(fault)
                ));
            }
        }
    }
    let injected = load.injected();
    for operation in [Operation::StoreReceipt, Operation::Continue, Operation::Delete] {
        let lost = [Fault::ResetAfterwards, Fault::BusyAfterwards, Fault::Truncate];
        if lost.iter().all(|fault| happened(*fault, &[operation]) == 0) {
            missing.push(format!("no response was lost of: {}", name(operation)));
        }
        if !injected.targeted_kills.contains_key(&operation) {
            missing.push(format!(
                "no process was killed between the effect and the response of: {}",
                name(operation)
            ));
        }
    }
    let injected = [
        (injected.kills, "a kill"),
        (injected.frozen, "a frozen process"),
        (injected.pauses, "a paused cloud"),
        (injected.duplicates, "a message that was sent twice"),
        (injected.garbage, "a malformed message"),
    ];
    missing.extend(
        injected
            .into_iter()
            .filter(|(count, _)| *count == 0)
            .map(|(_, what)| format!("there was never {what}")),
    );
    missing
}

/// All violations, or the first of many.
pub(super) fn list(what: &str, violations: &[String]) -> String {
    let mut text = format!("{what} ({}):", violations.len());
    for violation in violations.iter().take(MOST_SHOWN) {
        text = format!("{text}\n  - {violation}");
    }
    text
}

/// Who has data left, shortly.
pub(super) fn left_by_user(stock: &Stock, users: &Users) -> String {
    let users = stock
        .by_user
        .iter()
        .map(|(user, items)| format!("{} ({})", users.list[*user].id, items.len()));
    users.take(MOST_SHOWN).collect::<Vec<_>>().join(", ")
}

fn name(operation: Operation) -> &'static str {
    match operation {
        Operation::List => "listings",
        Operation::Delete => "deletions",
        Operation::Read => "other reads",
        Operation::StoreReceipt => "receipts",
        Operation::Continue => "continuations",
        Operation::ChangeVisibility => "messages given back",
    }
}

fn short(fault: Fault) -> &'static str {
    match fault {
        Fault::Delay => "delayed",
        Fault::Busy => "503",
        Fault::BusyAfterwards => "done+503",
        Fault::Reset => "reset",
        Fault::ResetAfterwards => "done+reset",
        Fault::Truncate => "cut off",
        Fault::Withhold => "done+kill",
    }
}
