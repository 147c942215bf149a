//! What happened, for people.

use std::collections::BTreeMap;

use indicatif::HumanCount;
use local::{Fault, Hop, Operation};

use super::super::show;
use super::people::{People, Stock, TARGETS};
use super::storm::Storm;
use super::verdict::{Verdict, cut_short};

const MOST_SHOWN: usize = 20;

/// Prints everything, and returns what was not tested.
pub(super) fn tell(
    storm: &Storm<'_>,
    stored: &Stock,
    verdict: &Verdict,
    log: &[String],
) -> Vec<String> {
    tell_faults(storm);
    let (ended, timed_out) = cut_short(storm.cloud);
    let deeds = storm.deeds().clone();
    let strikes = Operation::ALL.iter().filter_map(|operation| {
        let count = deeds.strikes.get(operation)?;
        Some(format!("{count} at {}", name(*operation)))
    });
    let strikes = strikes.collect::<Vec<_>>().join(", ");
    println!("\nProcesses");
    println!("  killed                {} at random, all at once {strikes}", deeds.kills);
    println!("  frozen and thawed     {}", deeds.frozen);
    println!(
        "  the cloud stood still {} times, {:.0} s together",
        deeds.pauses,
        deeds.paused.as_secs_f64()
    );
    println!(
        "  cut short by that     {ended} invocations by a kill, {timed_out} by the time limit"
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
        deeds.requests, deeds.duplicates, deeds.garbage
    );
    let outcomes: Vec<_> =
        outcomes.into_iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    println!("  hops                  {}: {}", hops.len(), outcomes.join(", "));
    println!("  delivered again       {again} of these hops; the longest erasure took {longest}");
    tell_people(storm, stored, verdict);

    let mut missing = not_injected(storm);
    let things = [
        (ended, "no kill hit an invocation"),
        (again, "no message was delivered again"),
        (verdict.dead.len(), "no user is in the dead-letter queue"),
    ];
    missing.extend(
        things.into_iter().filter(|(count, _)| *count == 0).map(|(_, what)| what.to_owned()),
    );
    missing
}

fn tell_faults(storm: &Storm<'_>) {
    let counts = storm.proxy.counts();
    let columns = [None].into_iter().chain(Fault::WEATHER.map(Some)).chain([Some(Fault::Withhold)]);
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

fn tell_people(storm: &Storm<'_>, stored: &Stock, verdict: &Verdict) {
    let all: Vec<_> = stored.users.values().flatten().map(|(_, stored)| stored.clone()).collect();
    let several = verdict.erased.values().filter(|count| **count > 1).count();
    let receipts: u64 = verdict.erased.values().sum();
    println!("\nUsers");
    println!(
        "  stored                {} by {} users",
        show::kinds(show::counts(&all)),
        storm.people.users.len()
    );
    println!(
        "  erased                {}, with {receipts} receipts ({several} have several)",
        verdict.erased.len()
    );
    println!("  counted in these      {}", show::kinds(verdict.counted));
    println!(
        "  in the dead letters   {}, with {} receipts of what is left",
        verdict.dead.len(),
        verdict.incomplete
    );
    let mut reasons = BTreeMap::<&str, (u64, &str)>::new();
    for (user, reason) in &verdict.dead {
        let reason =
            reason.as_deref().unwrap_or("no reason in the log: every delivery was cut short");
        let entry = reasons.entry(reason).or_insert((0, &storm.people.users[*user].id));
        entry.0 += 1;
    }
    for (reason, (count, example)) in reasons.iter().take(MOST_SHOWN) {
        println!("    {count} such as {example}: {reason}");
    }
    println!(
        "  neighbours            {} things in {} buckets beside theirs",
        HumanCount(stored.neighbours.len() as u64),
        TARGETS.len(),
    );
}

/// What must have happened for this to be a test of it.
fn not_injected(storm: &Storm<'_>) -> Vec<String> {
    let counts = storm.proxy.counts();
    let happened = |fault: Fault, operations: &[Operation]| -> u64 {
        operations.iter().filter_map(|operation| counts.get(&(*operation, Some(fault)))).sum()
    };
    let s3 = [Operation::List, Operation::Delete, Operation::Look, Operation::StoreReceipt];
    let sqs = [Operation::Continue, Operation::GiveBack];
    let mut missing = Vec::new();
    for fault in Fault::WEATHER {
        for (service, operations) in [("S3", &s3[..]), ("SQS", &sqs[..])] {
            if happened(fault, operations) == 0 {
                missing.push(format!(
                    "the fault {:?} never happened to a request to {service}",
                    short(fault)
                ));
            }
        }
    }
    let deeds = storm.deeds();
    for operation in [Operation::StoreReceipt, Operation::Continue, Operation::Delete] {
        let lost = [Fault::ResetAfterwards, Fault::BusyAfterwards, Fault::Truncate];
        if lost.iter().all(|fault| happened(*fault, &[operation]) == 0) {
            missing.push(format!("no answer was lost of: {}", name(operation)));
        }
        if !deeds.strikes.contains_key(&operation) {
            missing.push(format!(
                "nothing was killed between the effect and the answer of: {}",
                name(operation)
            ));
        }
    }
    let deeds = [
        (deeds.kills, "a kill"),
        (deeds.frozen, "a process that stood still"),
        (deeds.pauses, "a cloud that stood still"),
        (deeds.duplicates, "a message that was sent twice"),
        (deeds.garbage, "a malformed message"),
    ];
    missing.extend(
        deeds
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
pub(super) fn left_by_user(stock: &Stock, people: &People) -> String {
    let users = stock
        .users
        .iter()
        .map(|(user, items)| format!("{} ({})", people.users[*user].id, items.len()));
    users.take(MOST_SHOWN).collect::<Vec<_>>().join(", ")
}

fn name(operation: Operation) -> &'static str {
    match operation {
        Operation::List => "listings",
        Operation::Delete => "deletions",
        Operation::Look => "other reads",
        Operation::StoreReceipt => "receipts",
        Operation::Continue => "continuations",
        Operation::GiveBack => "messages given back",
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
