//! The hand-off protocol, exhaustively: queue, crashes, duplicates, rounds, checkpoint, receipt.
//!
//! The model tries every order of events in a small world: a prefix of three pages, two execution
//! environments, messages that SQS delivers twice, environments that stop at any moment, responses
//! that are lost, a client that writes late, keys that cannot be deleted. The function's own code
//! makes the function's decisions: [`Erasure::starting_checkpoint`], [`Round::judge`],
//! [`made_no_progress`], [`Erasure::next_hop`], [`LowWaterMark`] and [`Checkpoint`]. The model
//! contains only what happens around it.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU32;
use std::sync::OnceLock;

use erase_user_files::config::Config;
use erase_user_files::erasure::checkpoint::Checkpoint;
use erase_user_files::erasure::counts::Remaining;
use erase_user_files::erasure::report::{Round, RoundVerdict, made_no_progress};
use erase_user_files::erasure::watermark::{LowWaterMark, PageInfo};
use erase_user_files::message::erasure::{ChainLimit, Erasure};
use erase_user_files::ports::store::Kind;
use stateright::{Checker, Model, Property};

/// Pages of the prefix. A page is a range of keys: what is deleted there does not move the others.
const PAGES: u8 = 3;
const WORKERS: usize = 2;
/// Deliveries before a message goes to the dead-letter queue.
const MAX_RECEIVES: u8 = 2;
const TARGET: &str = "s3://photos/{user_id}/";

/// How many faults may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Budget {
    crashes: u8,
    /// Messages that SQS redelivers while they are still being processed.
    duplicates: u8,
    /// Requests to SQS or for the receipt that fail, with or without effect.
    faults: u8,
    late_writes: u8,
    /// Pages on which the store lists a neighbour's key, against its own rules.
    foreign_keys: u8,
}

/// One world.
#[derive(Debug, Clone)]
struct World {
    /// Pages with data, as bits.
    stored: u8,
    /// Pages whose data cannot be deleted, as bits.
    refused: u8,
    budget: Budget,
    max_idle_hops: NonZeroU32,
    /// Whether the queue is a FIFO queue: it delivers no message while another one of the same user
    /// is being worked on, and drops one with the deduplication id of another. SQS forgets ids
    /// after five minutes, the model never: that is the worst case, and forgetting all of them is
    /// the standard queue.
    is_fifo: bool,
}

/// Everything at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    stored: u8,
    budget: Budget,
    /// In no order, but in a FIFO queue.
    queue: Vec<Message>,
    /// The deduplication ids of all that was sent to a FIFO queue.
    sent: BTreeSet<String>,
    has_dead_letters: bool,
    has_receipt: bool,
    has_neighbour: bool,
    /// A receipt was stored although some page was not empty at any moment since its round began.
    has_lied: bool,
    workers: [Option<Hop>; WORKERS],
}

/// A message in the queue. It stays there until it is deleted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Message {
    chain: Chain,
    receives: u8,
    is_hidden: bool,
    /// Its place in the queue.
    id: u8,
}

/// What a message carries of an [`Erasure`], as far as it decides anything in so small a world: not
/// the numbers of hops and rounds, whose limits are far away. But in a FIFO queue, the number of
/// the hop is in the deduplication id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Chain {
    idle_hops: u32,
    /// The page of the checkpoint; `None`: at the start of the round.
    page: Option<u8>,
    /// The number of the hop; 0 in a standard queue.
    hop: u32,
}

/// What an environment is doing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Hop {
    message: u8,
    /// As the hop found it.
    chain: Chain,
    /// Where it began.
    start: Checkpoint,
    was_of_use: bool,
    doing: Doing,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Doing {
    Round(Pass),
    /// A round has proven that nothing is left; the receipt is next.
    Proven(Pass),
    Sending(Chain),
    /// All is stored or sent; the message is deleted next.
    Answering,
}

/// One round over the only target, as far as it has come.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Pass {
    is_fresh: bool,
    mark: LowWaterMark<Remaining>,
    first_page: u8,
    next_page: u8,
    in_flight: BTreeSet<u8>,
    round: Round,
    /// Pages that were empty at some moment since the round began, as bits.
    seen_empty: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    Receive { worker: usize, message: u8 },
    ComesAgain { message: u8 },
    List { worker: usize },
    ListForeignKey { worker: usize },
    Delete { worker: usize, page: u8 },
    EndRound { worker: usize },
    Stop { worker: usize },
    StoreReceipt { worker: usize, fault: Fault },
    Send { worker: usize, fault: Fault },
    Acknowledge { worker: usize },
    Crash { worker: usize },
    LateWrite { page: u8 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    NoEffect,
    AnswerLost,
}

/// An erasure to fill in what the model keeps of one.
fn template() -> &'static Erasure {
    static TEMPLATE: OnceLock<Erasure> = OnceLock::new();
    let request = r#"{"type":"user-withdrawn","userId":"u1"}"#;
    TEMPLATE.get_or_init(|| Erasure::parse(request, Some("m"), config()).expect("a message"))
}

fn config() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    CONFIG.get_or_init(|| {
        let lookup = |name: &str| match name {
            "ERASE_TARGETS" => Some(TARGET.to_owned()),
            "CONTINUATION_QUEUE_URL" => {
                Some("https://sqs.eu-central-1.amazonaws.com/123456789012/erase".to_owned())
            }
            _ => None,
        };
        Config::from_vars(lookup).expect("right settings")
    })
}

impl Chain {
    fn checkpoint(self) -> Checkpoint {
        let is_at_start = self.page.is_none();
        Checkpoint {
            round: 1,
            target: (!is_at_start).then(|| TARGET.to_owned()),
            kind: (!is_at_start).then_some(Kind::Objects),
            token: self.page.filter(|page| *page > 0).map(|page| page.to_string()),
            ..Checkpoint::default()
        }
    }

    fn of(erasure: &Erasure) -> Self {
        let page = erasure.checkpoint.token.as_ref().map(|token| token.parse().expect("a page"));
        let page = page.or_else(|| erasure.checkpoint.kind.map(|_| 0));
        Self { idle_hops: erasure.idle_hops, page, hop: erasure.hop }
    }

    fn erasure(self, checkpoint: Checkpoint) -> Erasure {
        Erasure { idle_hops: self.idle_hops, checkpoint, hop: self.hop, ..template().clone() }
    }

    /// Where the function would begin.
    fn place(self, delivery: u8, max_idle_hops: NonZeroU32) -> Checkpoint {
        let place =
            self.erasure(self.checkpoint()).starting_checkpoint(delivery.into(), max_idle_hops);
        // The number of the round decides nothing here.
        Checkpoint { round: 1, ..place }
    }

    /// What the function would send.
    fn next(
        self,
        checkpoint: Checkpoint,
        was_idle: bool,
        max_idle_hops: NonZeroU32,
    ) -> Result<Self, ChainLimit> {
        self.erasure(checkpoint).next_hop(was_idle, max_idle_hops).map(|next| Self::of(&next))
    }
}

impl Pass {
    /// Begins at the checkpoint.
    fn begin(checkpoint: &Checkpoint, stored: u8) -> Self {
        let first_page =
            checkpoint.token.as_ref().map_or(0, |token| token.parse().expect("a page"));
        Self {
            is_fresh: checkpoint.is_at_start_of_round(),
            mark: LowWaterMark::new(checkpoint.token.clone()),
            first_page,
            next_page: first_page,
            in_flight: BTreeSet::new(),
            round: Round::default(),
            seen_empty: !stored,
        }
    }

    fn is_over(&self) -> bool {
        self.next_page == PAGES && self.in_flight.is_empty()
    }

    /// A page has all its outcomes.
    fn settle(&mut self, page: u8, left: Remaining) {
        let is_last = page + 1 == PAGES;
        let resume = (!is_last).then(|| (page + 1).to_string());
        let mark =
            PageInfo { number: (page - self.first_page).into(), batches: 1, resume, is_last };
        for left in self.mark.record(mark, left) {
            self.round.left.entry(TARGET.to_owned()).or_default().merge(&left);
        }
    }

    /// Where a hop that stops now would continue.
    fn checkpoint(&self) -> Checkpoint {
        let token = self.mark.token().map(str::to_owned);
        let is_at_start = token.is_none();
        let target = (!is_at_start).then(|| TARGET.to_owned());
        Checkpoint {
            round: 1,
            target,
            kind: (!is_at_start).then_some(Kind::Objects),
            token,
            ..Checkpoint::default()
        }
    }
}

impl State {
    fn worker(&mut self, worker: usize) -> &mut Hop {
        self.workers[worker].as_mut().expect("a worker at work")
    }

    fn pass(&mut self, worker: usize) -> &mut Pass {
        match &mut self.worker(worker).doing {
            Doing::Round(pass) | Doing::Proven(pass) => pass,
            Doing::Sending(_) | Doing::Answering => unreachable!("only who is in a round is asked"),
        }
    }

    /// The worker is free, and its message visible again: SQS has counted the delivery.
    fn give_back(&mut self, worker: usize) {
        let hop = self.workers[worker].take();
        let id = hop.map(|hop| hop.message);
        for message in &mut self.queue {
            message.is_hidden &= Some(message.id) != id;
        }
    }

    fn put(&mut self, chain: Chain, is_fifo: bool) {
        if is_fifo && !self.sent.insert(chain.erasure(chain.checkpoint()).deduplication_id()) {
            return;
        }
        let chain = Chain { hop: if is_fifo { chain.hop } else { 0 }, ..chain };
        self.queue.push(Message { chain, receives: 0, is_hidden: false, id: u8::MAX });
    }

    /// The order of messages and of workers, so that worlds that differ in nothing else are one.
    fn forget_what_decides_nothing(&mut self, is_fifo: bool) {
        if !is_fifo {
            self.queue.sort();
        }
        for hop in self.workers.iter_mut().flatten() {
            let place = self.queue.iter().position(|message| message.id == hop.message);
            // A message that another environment has deleted is nowhere.
            hop.message = place.map_or(NOWHERE, small);
        }
        for (place, message) in self.queue.iter_mut().enumerate() {
            message.id = small(place);
        }
        self.workers.sort_by_key(|worker| {
            let mut hasher = DefaultHasher::new();
            worker.hash(&mut hasher);
            (worker.is_none(), hasher.finish())
        });
    }

    fn spend_fault(&mut self, fault: Fault) -> Option<()> {
        self.budget.faults = self.budget.faults.checked_sub(u8::from(fault != Fault::None))?;
        Some(())
    }

    /// Sends the erasure on from a checkpoint, or gives the message back where the chain has come to
    /// its end.
    fn send_continuation(
        &mut self,
        worker: usize,
        checkpoint: Checkpoint,
        max_idle_hops: NonZeroU32,
    ) {
        let hop = self.worker(worker);
        match hop.chain.next(checkpoint, !hop.was_of_use, max_idle_hops) {
            Ok(next) => hop.doing = Doing::Sending(next),
            Err(_) => self.give_back(worker),
        }
    }
}

impl World {
    fn receive(&self, state: &mut State, worker: usize, id: u8) -> Option<()> {
        let position = state.queue.iter().position(|message| message.id == id)?;
        if state.queue[position].receives >= MAX_RECEIVES {
            state.queue.remove(position);
            state.has_dead_letters = true;
            return Some(());
        }
        let message = &mut state.queue[position];
        message.receives += 1;
        message.is_hidden = true;
        let chain = message.chain;
        let start = chain.place(message.receives, self.max_idle_hops);
        let doing = Doing::Round(Pass::begin(&start, state.stored));
        state.workers[worker] = Some(Hop { message: id, chain, start, was_of_use: false, doing });
        Some(())
    }

    fn list(&self, state: &mut State, worker: usize) {
        let stored = state.stored;
        let pass = state.pass(worker);
        let page = pass.next_page;
        pass.next_page += 1;
        if stored & (1 << page) == 0 {
            pass.settle(page, Remaining::default());
        } else {
            pass.in_flight.insert(page);
        }
    }

    /// The store lists a key that is not the user's. What may be deleted has to become a key of the
    /// prefix first.
    fn list_foreign_key(state: &mut State, worker: usize) {
        let is_refused = config().targets.as_slice()[0]
            .prefix(&template().user)
            .claim("u10/secret".to_owned())
            .is_err();
        state.has_neighbour &= is_refused;
        // The whole erasure stops.
        state.give_back(worker);
    }

    fn delete(&self, state: &mut State, worker: usize, page: u8) {
        let bit = 1 << page;
        let is_refused = self.refused & bit != 0;
        if !is_refused {
            state.stored &= !bit;
            for hop in state.workers.iter_mut().flatten() {
                if let Doing::Round(pass) | Doing::Proven(pass) = &mut hop.doing {
                    pass.seen_empty |= bit;
                }
            }
        }
        let hop = state.worker(worker);
        hop.was_of_use |= !is_refused;
        let pass = state.pass(worker);
        pass.in_flight.remove(&page);
        let mut left = Remaining::default();
        if is_refused {
            left.refused.add("AccessDenied", 1);
        } else {
            // Some or none: how many decides nothing.
            pass.round.deleted = 1;
        }
        pass.settle(page, left);
    }

    fn end_round(&self, state: &mut State, worker: usize) {
        let stored = state.stored;
        let hop = state.worker(worker);
        let Doing::Round(pass) = &hop.doing else {
            return;
        };
        match pass.round.verdict(pass.is_fresh, 1) {
            RoundVerdict::Erased => hop.doing = Doing::Proven(pass.clone()),
            RoundVerdict::Incomplete(_) | RoundVerdict::Failed(_) | RoundVerdict::Wait => {
                state.give_back(worker);
            }
            RoundVerdict::NextRound => {
                hop.doing = Doing::Round(Pass::begin(&Checkpoint::default(), stored));
            }
        }
    }

    /// The stop time has come: nothing more is listed, and what is on its way is dropped.
    fn stop(&self, state: &mut State, worker: usize) {
        let hop = state.worker(worker);
        let Doing::Round(pass) = &hop.doing else {
            return;
        };
        let checkpoint = pass.checkpoint();
        if made_no_progress(!hop.was_of_use, checkpoint != hop.start) {
            state.give_back(worker);
        } else {
            state.send_continuation(worker, checkpoint, self.max_idle_hops);
        }
    }

    fn store_receipt(&self, state: &mut State, worker: usize, fault: Fault) {
        let is_proven = state.pass(worker).seen_empty & ((1 << PAGES) - 1) == (1 << PAGES) - 1;
        if fault != Fault::NoEffect {
            // A receipt that already exists is as good: it is of the same user.
            state.has_receipt = true;
            state.has_lied |= !is_proven;
        }
        if fault == Fault::None {
            state.worker(worker).doing = Doing::Answering;
        } else {
            state.send_continuation(worker, Checkpoint::default(), self.max_idle_hops);
        }
    }

    fn send(&self, state: &mut State, worker: usize, fault: Fault) {
        let Doing::Sending(next) = state.worker(worker).doing else {
            return;
        };
        if fault != Fault::NoEffect {
            state.put(next, self.is_fifo);
        }
        if fault == Fault::None {
            state.worker(worker).doing = Doing::Answering;
        } else {
            state.give_back(worker);
        }
    }
}

/// The place of a message that another environment has deleted.
const NOWHERE: u8 = u8::MAX - 1;

fn small(place: usize) -> u8 {
    u8::try_from(place).expect("a small world")
}

const FAULTS: [Fault; 3] = [Fault::None, Fault::NoEffect, Fault::AnswerLost];

impl Model for World {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        let chain = Chain { idle_hops: 0, page: None, hop: 0 };
        vec![State {
            stored: self.stored,
            budget: self.budget,
            queue: vec![Message { id: 0, chain, receives: 0, is_hidden: false }],
            sent: BTreeSet::new(),
            has_dead_letters: false,
            has_receipt: false,
            has_neighbour: true,
            has_lied: false,
            workers: [const { None }; WORKERS],
        }]
    }

    fn actions(&self, state: &State, events: &mut Vec<Event>) {
        // Both environments are the same: the first that is free receives.
        if let Some(worker) = state.workers.iter().position(Option::is_none) {
            let visible = state.queue.iter().filter(|message| !message.is_hidden);
            let visible = visible.map(|message| Event::Receive { worker, message: message.id });
            if !self.is_fifo {
                events.extend(visible);
            } else if state.queue.iter().all(|message| !message.is_hidden) {
                events.extend(visible.take(1));
            }
        }
        if state.budget.duplicates > 0 {
            let hidden = state.queue.iter().filter(|message| message.is_hidden);
            events.extend(hidden.map(|message| Event::ComesAgain { message: message.id }));
        }
        for (worker, hop) in state.workers.iter().enumerate() {
            let Some(hop) = hop else { continue };
            if state.budget.crashes > 0 {
                events.push(Event::Crash { worker });
            }
            let faults =
                FAULTS.into_iter().filter(|fault| *fault == Fault::None || state.budget.faults > 0);
            match &hop.doing {
                Doing::Round(pass) if pass.is_over() => events.push(Event::EndRound { worker }),
                Doing::Round(pass) => {
                    if pass.next_page < PAGES {
                        events.push(Event::List { worker });
                        if state.budget.foreign_keys > 0 {
                            events.push(Event::ListForeignKey { worker });
                        }
                    }
                    events.extend(
                        pass.in_flight.iter().map(|page| Event::Delete { worker, page: *page }),
                    );
                    events.push(Event::Stop { worker });
                }
                Doing::Proven(_) => {
                    events.extend(faults.map(|fault| Event::StoreReceipt { worker, fault }));
                }
                Doing::Sending(_) => {
                    events.extend(faults.map(|fault| Event::Send { worker, fault }));
                }
                Doing::Answering => events.push(Event::Acknowledge { worker }),
            }
        }
        if state.budget.late_writes > 0 {
            let empty = (0..PAGES).filter(|page| state.stored & (1 << page) == 0);
            events.extend(empty.map(|page| Event::LateWrite { page }));
        }
    }

    fn next_state(&self, before: &State, event: Event) -> Option<State> {
        let mut state = before.clone();
        match event {
            Event::Receive { worker, message } => self.receive(&mut state, worker, message)?,
            Event::ComesAgain { message } => {
                state.budget.duplicates -= 1;
                state
                    .queue
                    .iter_mut()
                    .filter(|other| other.id == message)
                    .for_each(|other| other.is_hidden = false);
            }
            Event::List { worker } => self.list(&mut state, worker),
            Event::ListForeignKey { worker } => {
                state.budget.foreign_keys -= 1;
                Self::list_foreign_key(&mut state, worker);
            }
            Event::Delete { worker, page } => self.delete(&mut state, worker, page),
            Event::EndRound { worker } => self.end_round(&mut state, worker),
            Event::Stop { worker } => self.stop(&mut state, worker),
            Event::StoreReceipt { worker, fault } => {
                state.spend_fault(fault)?;
                self.store_receipt(&mut state, worker, fault);
            }
            Event::Send { worker, fault } => {
                state.spend_fault(fault)?;
                self.send(&mut state, worker, fault);
            }
            Event::Acknowledge { worker } => {
                let id = state.workers[worker].take().map(|hop| hop.message);
                state.queue.retain(|message| Some(message.id) != id);
            }
            Event::Crash { worker } => {
                state.budget.crashes -= 1;
                state.give_back(worker);
            }
            Event::LateWrite { page } => {
                state.budget.late_writes -= 1;
                state.stored |= 1 << page;
            }
        }
        state.forget_what_decides_nothing(self.is_fifo);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a receipt is true", |_, state: &State| !state.has_lied),
            Property::always(
                "the request is in a queue, or there is a receipt",
                |_, state: &State| {
                    !state.queue.is_empty() || state.has_dead_letters || state.has_receipt
                },
            ),
            Property::always(
                "what cannot be deleted is never called erased",
                |world: &Self, state: &State| {
                    world.stored & world.refused == 0 || !state.has_receipt
                },
            ),
            Property::always("nothing outside is touched", |_, state: &State| state.has_neighbour),
            Property::eventually("every message comes to its end", |_, state: &State| {
                state.queue.is_empty() && state.workers.iter().all(Option::is_none)
            }),
            Property::sometimes("erased", |_, state: &State| state.has_receipt),
            Property::sometimes("dead letter", |_, state: &State| state.has_dead_letters),
        ]
    }
}

/// What stateright says of `eventually` holds for paths that end. A path that returns to an earlier
/// state would never end: there must be none.
fn assert_every_path_ends(world: &World) {
    let hash = |state: &State| {
        let mut hasher = DefaultHasher::new();
        state.hash(&mut hasher);
        hasher.finish()
    };
    let next = |state: &State| {
        let mut events = Vec::new();
        world.actions(state, &mut events);
        let states: Vec<State> =
            events.into_iter().filter_map(|event| world.next_state(state, event)).collect();
        (hash(state), states)
    };
    // Whether a state that was reached is on the path that leads to the present one.
    let mut is_on_path: HashMap<u64, bool> = HashMap::new();
    let mut path: Vec<_> = world.init_states().iter().map(next).collect();
    while let Some((state, rest)) = path.last_mut() {
        is_on_path.insert(*state, true);
        match rest.pop() {
            None => {
                is_on_path.insert(*state, false);
                path.pop();
            }
            Some(following) => match is_on_path.get(&hash(&following)) {
                None => path.push(next(&following)),
                Some(is_on_path) => assert!(!is_on_path, "a path comes back to {following:?}"),
            },
        }
    }
}

fn check(world: World) -> usize {
    assert_every_path_ends(&world);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let has_refused = world.stored & world.refused != 0;
    let checker = world.checker().threads(threads).spawn_bfs().join();
    let discoveries = checker.discoveries();
    for (property, path) in &discoveries {
        let is_example = ["erased", "dead letter"].contains(property);
        assert!(is_example, "{property} does not hold:\n{path}");
    }
    assert_eq!(
        discoveries.contains_key("erased"),
        !has_refused,
        "the world is too small to show it"
    );
    assert!(discoveries.contains_key("dead letter"), "the world is too small to show it");
    checker.unique_state_count()
}

const CALM: Budget =
    Budget { crashes: 0, duplicates: 0, faults: 0, late_writes: 0, foreign_keys: 0 };

/// Checks a world to its end, and returns how many states it has.
fn states_of(budget: Budget, refused: u8) -> String {
    states_with(1, budget, refused)
}

fn states_with(max_idle_hops: u32, budget: Budget, refused: u8) -> String {
    let max_idle_hops = NonZeroU32::new(max_idle_hops).expect("at least one");
    let states = check(World { stored: 0b111, refused, budget, max_idle_hops, is_fifo: false });
    format!("{states} states: {budget:?}, refused pages {refused:#05b}, idle hops {max_idle_hops}")
}

/// In a FIFO queue, nothing is lost because something else has its deduplication id.
#[test]
fn one_fault_with_a_fifo_queue() {
    println!("{}", states_of_fifo(Budget { faults: 1, ..CALM }));
}

fn states_of_fifo(budget: Budget) -> String {
    let world =
        World { stored: 0b111, refused: 0, budget, max_idle_hops: NonZeroU32::MIN, is_fifo: true };
    format!("{} states: {budget:?} in a FIFO queue", check(world))
}

#[test]
fn two_crashes() {
    println!("{}", states_of(Budget { crashes: 2, ..CALM }, 0));
}

/// Where a chain has an idle hop to spare, a redelivered message continues at its checkpoint.
#[test]
fn one_crash_and_two_idle_hops() {
    println!("{}", states_with(2, Budget { crashes: 1, ..CALM }, 0));
}

#[test]
fn one_duplicate() {
    println!("{}", states_of(Budget { duplicates: 1, ..CALM }, 0));
}

#[test]
fn one_fault_and_a_late_write() {
    println!("{}", states_of(Budget { faults: 1, late_writes: 1, ..CALM }, 0));
}

#[test]
fn one_crash_and_a_retained_page() {
    println!("{}", states_of(Budget { crashes: 1, ..CALM }, 0b010));
}

#[test]
fn one_crash_and_a_foreign_key() {
    println!("{}", states_of(Budget { crashes: 1, foreign_keys: 1, ..CALM }, 0));
}

/// `make model`
#[test]
#[ignore = "takes minutes, and wants an optimised build"]
fn two_crashes_and_two_duplicates() {
    println!("{}", states_of(Budget { crashes: 2, duplicates: 2, ..CALM }, 0));
}

/// `make model`
#[test]
#[ignore = "takes minutes, and wants an optimised build"]
fn one_of_each_fault() {
    println!("{}", states_of_fifo(Budget { crashes: 1, duplicates: 1, faults: 1, ..CALM }));
    println!(
        "{}",
        states_of(
            Budget { crashes: 1, duplicates: 1, faults: 1, late_writes: 1, foreign_keys: 0 },
            0
        )
    );
    println!("{}", states_of(Budget { crashes: 1, duplicates: 1, faults: 1, ..CALM }, 0b010));
}
