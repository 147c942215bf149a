use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::Error;
use crate::http1::Message;

/// A server that is stopped for a while still answers within it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an answer is withheld: longer than whoever waits for it is going to live.
const WITHHELD: Duration = Duration::from_secs(4);
const SHORTEST_DELAY_MS: u64 = 200;
const LONGEST_DELAY_MS: u64 = 2_500;

/// What may happen to a request and its answer on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It comes late.
    Delay,
    /// It is answered with 503, and the server never hears of it.
    Busy,
    /// It is answered with 503 although it took effect.
    BusyAfterwards,
    /// The connection is reset before the server hears of it.
    Reset,
    /// The connection is reset when it has taken effect.
    ResetAfterwards,
    /// It takes effect, and the answer ends in the middle.
    Truncate,
    /// It takes effect, and no answer comes: see [`FaultProxy::withhold_next`].
    Withhold,
}

impl Fault {
    /// What the weather can bring: all but [`Self::Withhold`], which is asked for.
    pub const WEATHER: [Self; 6] = [
        Self::Delay,
        Self::Busy,
        Self::BusyAfterwards,
        Self::Reset,
        Self::ResetAfterwards,
        Self::Truncate,
    ];
}

/// What a request of the function is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// A page of objects, versions or uploads.
    List,
    /// One or many deletions, or an upload's abort.
    Delete,
    /// What else is read of S3: a bucket's versioning, an object's lock, a receipt.
    Look,
    /// A receipt is stored.
    StoreReceipt,
    /// A continuation is sent.
    Continue,
    /// The visibility of a message is changed.
    GiveBack,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::List, Self::Delete, Self::Look, Self::StoreReceipt, Self::Continue, Self::GiveBack];

    fn of(request: &Message) -> Self {
        match request.header("x-amz-target").as_deref() {
            Some("AmazonSQS.SendMessage") => return Self::Continue,
            Some(_) => return Self::GiveBack,
            None => {}
        }
        let line = request.first_line();
        let target = line.split(' ').nth(1).unwrap_or_default();
        let query = target.split_once('?').map_or("", |(_, query)| query);
        // `uploads` and `versions` stand alone or with an equals sign behind them; `uploadId` is of
        // one upload.
        let asks = |word: &str| query.split('&').any(|part| part.split('=').next() == Some(word));
        if line.starts_with("PUT ") {
            Self::StoreReceipt
        } else if line.starts_with("DELETE ") || asks("delete") {
            Self::Delete
        } else if asks("list-type") || asks("versions") || asks("uploads") {
            Self::List
        } else {
            Self::Look
        }
    }

    fn is_sqs(self) -> bool {
        matches!(self, Self::Continue | Self::GiveBack)
    }
}

/// How often something happens to a request, and what.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// One of these, each as likely as the others.
    pub faults: &'static [Fault],
    /// To how many of a thousand requests of an operation.
    pub per_mille: fn(Operation) -> u32,
}

impl Weather {
    /// Nothing happens.
    pub const CALM: Self = Self { faults: &[], per_mille: |_| 0 };
}

/// How often what happened to which operation; `None` stands for requests that were passed on
/// untouched.
pub type FaultCounts = BTreeMap<(Operation, Option<Fault>), u64>;

/// A proxy before an HTTP server that does to requests and answers what networks and busy services
/// do.
///
/// Every byte that it passes on is as it came: signatures stay valid. Dropping it ends it, with
/// every connection.
#[derive(Debug)]
pub struct FaultProxy {
    endpoint: String,
    shared: Arc<Shared>,
    _listening: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    server: OnceLock<String>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: fastrand::Rng,
    weather: Weather,
    counts: FaultCounts,
    withheld: Option<(Operation, oneshot::Sender<()>)>,
}

impl FaultProxy {
    /// Listens on a free port of the loopback interface, in calm weather. The seed decides what
    /// will happen.
    pub async fn start(seed: u64) -> Result<Self, Error> {
        let failed = |error: io::Error| Error::service("start the fault proxy", error.to_string());
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let endpoint = format!("http://{}", listener.local_addr().map_err(failed)?);
        let state = State {
            random: fastrand::Rng::with_seed(seed),
            weather: Weather::CALM,
            counts: FaultCounts::new(),
            withheld: None,
        };
        let shared = Arc::new(Shared { server: OnceLock::new(), state: Mutex::new(state) });
        let mut listening = JoinSet::new();
        listening.spawn(listen(listener, Arc::clone(&shared)));
        Ok(Self { endpoint, shared, _listening: listening })
    }

    /// Its URL.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Says where requests go, as in `http://127.0.0.1:4566`. Only the first word counts.
    pub fn lead_to(&self, server: &str) {
        self.shared.server.get_or_init(|| server.trim_start_matches("http://").to_owned());
    }

    /// Changes the weather from the next request on.
    pub fn set_weather(&self, weather: Weather) {
        self.shared.state().weather = weather;
    }

    /// What has happened so far.
    pub fn counts(&self) -> FaultCounts {
        self.shared.state().counts.clone()
    }

    /// Lets the next request of this operation take effect and returns then; its answer never
    /// comes. An instant at which to kill whoever waits for it.
    pub async fn withhold_next(&self, operation: Operation) {
        let (sender, taken) = oneshot::channel();
        self.shared.state().withheld = Some((operation, sender));
        // An error means that somebody else has asked since.
        drop(taken.await);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides what happens to the next request, and counts it.
    fn decide(&self, operation: Operation) -> Happening {
        let mut state = self.state();
        let delay = Duration::from_millis(state.random.u64(SHORTEST_DELAY_MS..=LONGEST_DELAY_MS));
        let withheld =
            state.withheld.take_if(|(wanted, sender)| *wanted == operation && !sender.is_closed());
        let fault = if withheld.is_some() {
            Some(Fault::Withhold)
        } else {
            let Weather { faults, per_mille } = state.weather;
            let is_hit = state.random.u32(0..1_000) < per_mille(operation);
            if is_hit { state.random.choice(faults).copied() } else { None }
        };
        *state.counts.entry((operation, fault)).or_default() += 1;
        Happening { fault, delay, withheld: withheld.map(|(_, sender)| sender) }
    }

    /// Passes a request on and takes the answer.
    async fn ask(&self, request: &Message) -> io::Result<Message> {
        let server = self.server.get().ok_or(io::ErrorKind::NotConnected)?;
        let exchange = async {
            // A connection for each request: none can die of idleness before it is used again.
            let mut server = BufReader::new(TcpStream::connect(server).await?);
            server.write_all(&request.bytes()).await?;
            Message::read_answer(&mut server, request).await
        };
        timeout(ANSWER_TIMEOUT, exchange).await.map_err(|_elapsed| io::ErrorKind::TimedOut)?
    }
}

struct Happening {
    fault: Option<Fault>,
    delay: Duration,
    withheld: Option<oneshot::Sender<()>>,
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // What cannot be accepted (too many open files) is lost, as in any storm.
                if let Ok((client, _)) = accepted {
                    let shared = Arc::clone(&shared);
                    connections.spawn(async move { serve(client, &shared).await });
                }
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

/// One client's connection, until either side ends it. A client that is gone is no error here:
/// clients are killed.
async fn serve(client: TcpStream, shared: &Shared) {
    let mut client = BufReader::new(client);
    while let Ok(Some(request)) = Message::read_request(&mut client).await {
        let operation = Operation::of(&request);
        let happening = shared.decide(operation);
        if !matches!(
            answer(&mut client, (operation, &request), happening, shared).await,
            Ok(Then::GoOn)
        ) {
            break;
        }
    }
}

/// What becomes of the connection.
enum Then {
    GoOn,
    Close,
}

async fn answer(
    client: &mut BufReader<TcpStream>,
    (operation, request): (Operation, &Message),
    happening: Happening,
    shared: &Shared,
) -> io::Result<Then> {
    match happening.fault {
        None => pass_on(client, &shared.ask(request).await?).await,
        Some(Fault::Delay) => {
            sleep(happening.delay).await;
            pass_on(client, &shared.ask(request).await?).await
        }
        Some(Fault::Busy) => pass_on(client, &busy(operation)).await,
        Some(Fault::BusyAfterwards) => {
            shared.ask(request).await?;
            pass_on(client, &busy(operation)).await
        }
        Some(Fault::Reset) => reset(client),
        Some(Fault::ResetAfterwards) => {
            shared.ask(request).await?;
            reset(client)
        }
        Some(Fault::Truncate) => {
            let answer = shared.ask(request).await?;
            let half = if answer.body.is_empty() {
                answer.head.len() / 2
            } else {
                answer.head.len() + answer.body.len() / 2
            };
            client.write_all(&answer.bytes()[..half]).await?;
            client.shutdown().await?;
            Ok(Then::Close)
        }
        Some(Fault::Withhold) => {
            shared.ask(request).await?;
            // Nobody waits any more if this fails.
            happening.withheld.map(|sender| sender.send(()));
            sleep(WITHHELD).await;
            Ok(Then::Close)
        }
    }
}

async fn pass_on(client: &mut BufReader<TcpStream>, answer: &Message) -> io::Result<Then> {
    client.write_all(&answer.bytes()).await?;
    Ok(Then::GoOn)
}

/// Without a farewell, so that the client's system says "connection reset".
fn reset(client: &BufReader<TcpStream>) -> io::Result<Then> {
    client.get_ref().set_zero_linger()?;
    Ok(Then::Close)
}

/// What S3 and SQS say when they are asked too much.
fn busy(operation: Operation) -> Message {
    let (kind, body) = if operation.is_sqs() {
        let body = r#"{"__type":"com.amazonaws.sqs#ServiceUnavailable","message":"The request has failed."}"#;
        ("application/x-amz-json-1.0", body)
    } else {
        let body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
            <Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
        ("application/xml", body)
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 503 Slow Down\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    );
    Message { head: head.into_bytes(), body: body.into() }
}

#[cfg(test)]
mod tests {
    use super::{Message, Operation};

    #[tokio::test]
    async fn knows_what_requests_are_for() {
        let of = async |line: &str, headers: &str| {
            let text = format!("{line} HTTP/1.1\r\n{headers}\r\n");
            Operation::of(&Message::read_request(&mut text.as_bytes()).await.unwrap().unwrap())
        };
        assert_eq!(of("GET /photos?list-type=2&prefix=u1%2F", "").await, Operation::List);
        assert_eq!(of("GET /photos/?versions&prefix=u1%2F", "").await, Operation::List);
        assert_eq!(of("GET /photos/?uploads=&prefix=u1%2F", "").await, Operation::List);
        assert_eq!(of("GET /photos/u1/a?uploadId=1", "").await, Operation::Look);
        assert_eq!(of("GET /photos?versioning", "").await, Operation::Look);
        assert_eq!(of("POST /photos/?delete", "").await, Operation::Delete);
        assert_eq!(of("DELETE /photos/u1/a", "").await, Operation::Delete);
        assert_eq!(
            of("PUT /receipts/receipts/1/erased.json?x-id=PutObject", "").await,
            Operation::StoreReceipt
        );
        assert_eq!(
            of("POST /", "X-Amz-Target: AmazonSQS.SendMessage\r\n").await,
            Operation::Continue
        );
        assert_eq!(
            of("POST /", "X-Amz-Target: AmazonSQS.ChangeMessageVisibility\r\n").await,
            Operation::GiveBack
        );
    }
}
