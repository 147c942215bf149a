use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use crate::Error;
use crate::http::{self, Server};

/// A server that is stopped for a while still answers within it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an answer is withheld. The process that waits for it is killed earlier.
const WITHHELD: Duration = Duration::from_secs(4);
const SHORTEST_DELAY_MS: u64 = 200;
const LONGEST_DELAY_MS: u64 = 2_500;

/// A fault of the network or of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It comes late.
    Delay,
    /// The proxy responds with 503, and the server never receives the request.
    Busy,
    /// It is answered with 503 although it took effect.
    BusyAfterwards,
    /// The proxy resets the connection before the server receives the request.
    Reset,
    /// The connection is reset when it has taken effect.
    ResetAfterwards,
    /// It takes effect, and the answer ends in the middle.
    Truncate,
    /// It takes effect, and no answer comes: see [`FaultProxy::withhold_next`].
    Withhold,
}

impl Fault {
    /// The faults that a profile injects: all but [`Self::Withhold`], which a caller requests.
    pub const RANDOM: [Self; 6] = [
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
    Read,
    /// A receipt is stored.
    StoreReceipt,
    /// A continuation is sent.
    Continue,
    /// The visibility of a message is changed.
    ChangeVisibility,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::List,
        Self::Delete,
        Self::Read,
        Self::StoreReceipt,
        Self::Continue,
        Self::ChangeVisibility,
    ];

    fn of<B>(request: &Request<B>) -> Self {
        match request.headers().get("x-amz-target").map(|target| target.as_bytes()) {
            Some(b"AmazonSQS.SendMessage") => return Self::Continue,
            Some(_) => return Self::ChangeVisibility,
            None => {}
        }
        let query = request.uri().query().unwrap_or_default();
        // `uploads` and `versions` have no value, or an empty one; `uploadId` is of one upload.
        let asks = |word: &str| query.split('&').any(|part| part.split('=').next() == Some(word));
        if request.method() == Method::PUT {
            Self::StoreReceipt
        } else if request.method() == Method::DELETE || asks("delete") {
            Self::Delete
        } else if asks("list-type") || asks("versions") || asks("uploads") {
            Self::List
        } else {
            Self::Read
        }
    }

    fn is_sqs(self) -> bool {
        matches!(self, Self::Continue | Self::ChangeVisibility)
    }
}

/// The faults that are injected, and how often.
#[derive(Debug, Clone, Copy)]
pub struct FaultProfile {
    /// One of these, each as likely as the others.
    pub faults: &'static [Fault],
    /// The number of faults in a thousand requests of an operation.
    pub per_mille: fn(Operation) -> u32,
}

impl FaultProfile {
    /// No faults.
    pub const NONE: Self = Self { faults: &[], per_mille: |_| 0 };
}

/// The number of requests by operation and fault; `None` is for requests that were passed on
/// without a fault.
pub type FaultCounts = BTreeMap<(Operation, Option<Fault>), u64>;

/// A proxy before an HTTP server that does to requests and answers what networks and busy services
/// do.
///
/// It passes paths, headers and bodies on unchanged: signatures stay valid. Dropping it ends it,
/// with every connection.
#[derive(Debug)]
pub struct FaultProxy {
    endpoint: String,
    shared: Arc<Shared>,
    _server: Server,
}

#[derive(Debug)]
struct Shared {
    server: OnceLock<String>,
    client: Client<HttpConnector, Full<Bytes>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: fastrand::Rng,
    profile: FaultProfile,
    counts: FaultCounts,
    withheld: Option<(Operation, oneshot::Sender<()>)>,
}

impl FaultProxy {
    /// Listens on a free port of the loopback interface, without faults. The seed decides what
    /// a profile injects.
    pub async fn start(seed: u64) -> Result<Self, Error> {
        let state = State {
            random: fastrand::Rng::with_seed(seed),
            profile: FaultProfile::NONE,
            counts: FaultCounts::new(),
            withheld: None,
        };
        let client = Client::builder(TokioExecutor::new())
            .http1_preserve_header_case(true)
            // A connection for each request: none can end while it is idle.
            .pool_max_idle_per_host(0)
            .build_http();
        let (server, state) = (OnceLock::new(), Mutex::new(state));
        let shared = Arc::new(Shared { server, client, state });
        let serving = Arc::clone(&shared);
        let server = Server::listen(move |client| serve(client, Arc::clone(&serving))).await?;
        let endpoint = format!("http://{}", server.address());
        Ok(Self { endpoint, shared, _server: server })
    }

    /// Its URL.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Says where requests go, as in `http://127.0.0.1:4566`. Only the first word counts.
    pub fn forward_to(&self, server: &str) {
        self.shared.server.get_or_init(|| server.to_owned());
    }

    /// Changes the profile from the next request on.
    pub fn set_profile(&self, profile: FaultProfile) {
        self.shared.state().profile = profile;
    }

    /// What has happened so far.
    pub fn counts(&self) -> FaultCounts {
        self.shared.state().counts.clone()
    }

    /// Lets the next request of this operation take effect and returns then; its answer never
    /// comes. The caller then kills the process that waits for it.
    pub async fn withhold_next(&self, operation: Operation) {
        let (sender, taken) = oneshot::channel();
        self.shared.state().withheld = Some((operation, sender));
        // An error means that another task has changed it since.
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
            let FaultProfile { faults, per_mille } = state.profile;
            let is_hit = state.random.u32(0..1_000) < per_mille(operation);
            if is_hit { state.random.choice(faults).copied() } else { None }
        };
        *state.counts.entry((operation, fault)).or_default() += 1;
        Happening { fault, delay, withheld: withheld.map(|(_, sender)| sender) }
    }

    /// Passes a request on and returns the answer.
    async fn ask(&self, mut request: Request<Full<Bytes>>) -> io::Result<Response<Bytes>> {
        let server = self.server.get().ok_or(ErrorKind::NotConnected)?;
        *request.uri_mut() =
            format!("{server}{}", request.uri()).parse().map_err(io::Error::other)?;
        let exchange = async {
            let answer = self.client.request(request).await.map_err(io::Error::other)?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        timeout(ANSWER_TIMEOUT, exchange).await.map_err(|_elapsed| ErrorKind::TimedOut)?
    }
}

struct Happening {
    fault: Option<Fault>,
    delay: Duration,
    withheld: Option<oneshot::Sender<()>>,
}

/// Serves one client's connection, until either side ends it. A client that hangs up is no error
/// here: clients are killed.
async fn serve(client: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(|request| answer(request, &shared));
    let mut connection = http1::Builder::new()
        .auto_date_header(false)
        // A request takes effect also if its client is killed.
        .half_close(true)
        .preserve_header_case(true)
        .serve_connection(TokioIo::new(client), service);
    let Err(error) = (&mut connection).await else {
        return;
    };
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    if cause.is_some_and(|cause| cause.kind() == ErrorKind::ConnectionReset) {
        // The system of the client reports "connection reset".
        drop(connection.into_parts().io.inner().set_zero_linger());
    }
}

/// Answers a request; an error ends the connection.
async fn answer(
    request: Request<Incoming>,
    shared: &Shared,
) -> io::Result<Response<UnsyncBoxBody<Bytes, io::Error>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let request = Request::from_parts(head, Full::new(body));
    let operation = Operation::of(&request);
    let Happening { fault, delay, withheld } = shared.decide(operation);
    match fault {
        Some(Fault::Delay) => sleep(delay).await,
        Some(Fault::Busy) => return Ok(busy(operation).map(whole)),
        Some(Fault::Reset) => return Err(ErrorKind::ConnectionReset.into()),
        None
        | Some(
            Fault::BusyAfterwards | Fault::ResetAfterwards | Fault::Truncate | Fault::Withhold,
        ) => {}
    }
    let answer = shared.ask(request).await?;
    match fault {
        None | Some(Fault::Delay) => Ok(answer.map(|body| whole(Full::new(body)))),
        Some(Fault::Busy | Fault::BusyAfterwards) => Ok(busy(operation).map(whole)),
        Some(Fault::Reset | Fault::ResetAfterwards) => Err(ErrorKind::ConnectionReset.into()),
        Some(Fault::Truncate) if !answer.body().is_empty() => Ok(answer.map(|body| half(&body))),
        Some(Fault::Truncate) => Err(ErrorKind::UnexpectedEof.into()),
        Some(Fault::Withhold) => {
            // This fails if no task waits for it any more.
            withheld.map(|sender| sender.send(()));
            sleep(WITHHELD).await;
            Err(ErrorKind::UnexpectedEof.into())
        }
    }
}

fn whole(body: Full<Bytes>) -> UnsyncBoxBody<Bytes, io::Error> {
    body.map_err(|never| match never {}).boxed_unsync()
}

/// The first half of a body, and then an error.
fn half(body: &Bytes) -> UnsyncBoxBody<Bytes, io::Error> {
    let half = body.slice(..body.len() / 2);
    let parts = stream::once(async { Ok(Frame::data(half)) }).chain(stream::once(async {
        // Hyper sends the first half before it polls again.
        yield_now().await;
        Err(ErrorKind::UnexpectedEof.into())
    }));
    StreamBody::new(parts).boxed_unsync()
}

/// The answer of S3 and SQS to too many requests.
fn busy(operation: Operation) -> Response<Full<Bytes>> {
    if operation.is_sqs() {
        let body = r#"{"__type":"com.amazonaws.sqs#ServiceUnavailable","message":"The request has failed."}"#;
        http::answer(503, "application/x-amz-json-1.0", body)
    } else {
        let body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
            <Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
        http::answer(503, "application/xml", body)
    }
}

#[cfg(test)]
mod tests {
    use super::{Operation, Request};

    #[test]
    fn knows_what_requests_are_for() {
        let cases = [
            ("GET", "/photos?list-type=2&prefix=u1%2F", Operation::List),
            ("GET", "/photos/?versions&prefix=u1%2F", Operation::List),
            ("GET", "/photos/?uploads=&prefix=u1%2F", Operation::List),
            ("GET", "/photos/u1/a?uploadId=1", Operation::Read),
            ("GET", "/photos?versioning", Operation::Read),
            ("POST", "/photos/?delete", Operation::Delete),
            ("DELETE", "/photos/u1/a", Operation::Delete),
            ("PUT", "/receipts/receipts/1/erased.json?x-id=PutObject", Operation::StoreReceipt),
        ];
        for (method, uri, operation) in cases {
            let request = Request::builder().method(method).uri(uri).body(()).unwrap();
            assert_eq!(Operation::of(&request), operation, "{method} {uri}");
        }
        let of_sqs = |target| {
            let request = Request::post("/").header("X-Amz-Target", target).body(()).unwrap();
            Operation::of(&request)
        };
        assert_eq!(of_sqs("AmazonSQS.SendMessage"), Operation::Continue);
        assert_eq!(of_sqs("AmazonSQS.ChangeMessageVisibility"), Operation::ChangeVisibility);
    }
}
