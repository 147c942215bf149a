//! The fault proxy: each of its faults, as a client sees it, and what the server has received.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use local::{Fault, FaultProfile, FaultProxy, Ministack, Operation, list_keys};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

type Outcome = Result<(), Box<dyn Error>>;

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789";
const LIST: &str = "GET /photos?list-type=2 HTTP/1.1\r\nHost: photos\r\n\r\n";
const SEND: &str =
    "POST / HTTP/1.1\r\nX-Amz-Target: AmazonSQS.SendMessage\r\nContent-Length: 2\r\n\r\n{}";

/// A server that has the same answer for everything, and counts.
struct Server {
    requests: Arc<AtomicU64>,
    _listening: JoinSet<()>,
    proxy: FaultProxy,
}

impl Server {
    async fn start(profile: FaultProfile) -> Result<Self, Box<dyn Error>> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let proxy = FaultProxy::start(1).await?;
        proxy.forward_to(&format!("http://{}", listener.local_addr()?));
        proxy.set_profile(profile);
        let requests = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&requests);
        let mut listening = JoinSet::new();
        listening.spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                // Each of these small requests comes as a whole.
                let mut read = [0; 1024];
                if client.read(&mut read).await.is_ok() {
                    count.fetch_add(1, Ordering::Relaxed);
                    // The client may have hung up.
                    drop(client.write_all(ANSWER.as_bytes()).await);
                }
            }
        });
        Ok(Self { requests, _listening: listening, proxy })
    }

    /// What a client gets for a request until the connection ends, or an answer is complete.
    async fn ask(&self, request: &str) -> std::io::Result<String> {
        let mut client =
            TcpStream::connect(self.proxy.endpoint().trim_start_matches("http://")).await?;
        client.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        let read = async {
            while !answer.ends_with(b"0123456789")
                && !answer.ends_with(b"</Error>")
                && !answer.ends_with(b"}")
            {
                if client.read_buf(&mut answer).await? == 0 {
                    break;
                }
            }
            Ok::<_, std::io::Error>(())
        };
        timeout(Duration::from_secs(10), read).await.map_err(|_elapsed| ErrorKind::TimedOut)??;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    fn heard(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

fn always(faults: &'static [Fault]) -> FaultProfile {
    FaultProfile { faults, per_mille: |_| 1_000 }
}

#[tokio::test]
async fn without_faults_everything_passes() -> Outcome {
    let server = Server::start(FaultProfile::NONE).await?;
    for _ in 0..3 {
        assert_eq!(server.ask(LIST).await?, ANSWER);
    }
    assert_eq!(server.heard(), 3);
    assert_eq!(server.proxy.counts(), BTreeMap::from([((Operation::List, None), 3)]));
    Ok(())
}

#[tokio::test]
async fn a_busy_service_says_so_in_its_own_words() -> Outcome {
    for (fault, heard) in [(&[Fault::Busy][..], 0), (&[Fault::BusyAfterwards], 2)] {
        let server = Server::start(always(fault)).await?;
        let (s3, sqs) = (server.ask(LIST).await?, server.ask(SEND).await?);
        assert!(s3.starts_with("HTTP/1.1 503") && s3.contains("<Code>SlowDown</Code>"), "{s3}");
        assert!(sqs.starts_with("HTTP/1.1 503") && sqs.contains("ServiceUnavailable"), "{sqs}");
        assert_eq!(server.heard(), heard, "{fault:?}");
        let counts = [Operation::List, Operation::Continue]
            .map(|operation| ((operation, Some(fault[0])), 1));
        assert_eq!(server.proxy.counts(), BTreeMap::from(counts));
    }
    Ok(())
}

#[tokio::test]
async fn a_connection_is_reset_before_or_after_the_effect() -> Outcome {
    for (fault, heard) in [(&[Fault::Reset][..], 0), (&[Fault::ResetAfterwards], 1)] {
        let server = Server::start(always(fault)).await?;
        let error = server.ask(SEND).await.err().map(|error| error.kind());
        assert_eq!((error, server.heard()), (Some(ErrorKind::ConnectionReset), heard), "{fault:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_ends_in_the_middle_of_its_body() -> Outcome {
    let server = Server::start(always(&[Fault::Truncate])).await?;
    assert_eq!(server.ask(LIST).await?, ANSWER.strip_suffix("56789").unwrap_or_default());
    assert_eq!(server.heard(), 1);
    Ok(())
}

#[tokio::test]
async fn a_request_comes_late() -> Outcome {
    let server = Server::start(always(&[Fault::Delay])).await?;
    let begin = Instant::now();
    assert_eq!(server.ask(LIST).await?, ANSWER);
    assert!(begin.elapsed() >= Duration::from_millis(200), "{:?}", begin.elapsed());
    Ok(())
}

#[tokio::test]
async fn an_answer_is_withheld_when_the_request_has_taken_effect() -> Outcome {
    let server = Server::start(FaultProfile::NONE).await?;
    let asked = async {
        // Another operation is not meant.
        assert_eq!(server.ask(LIST).await?, ANSWER);
        server.ask(SEND).await
    };
    let (answer, heard) = tokio::join!(asked, async {
        server.proxy.withhold_next(Operation::Continue).await;
        server.heard()
    });
    assert_eq!((answer?.as_str(), heard), ("", 2));
    assert_eq!(server.ask(SEND).await?, ANSWER, "only the next one");
    Ok(())
}

#[tokio::test]
async fn the_same_seed_brings_the_same_faults() -> Outcome {
    const QUICK: [Fault; 4] = [Fault::Busy, Fault::BusyAfterwards, Fault::Reset, Fault::Truncate];
    let half = FaultProfile { faults: &QUICK, per_mille: |_| 500 };
    let mut counts = Vec::new();
    for _ in 0..2 {
        let server = Server::start(half).await?;
        for _ in 0..20 {
            // Whatever comes of it.
            drop(server.ask(LIST).await);
        }
        counts.push(server.proxy.counts());
    }
    assert_eq!(counts[0], counts[1]);
    assert!(counts[0].len() > 3, "{counts:?}");
    Ok(())
}

#[tokio::test]
async fn a_signed_request_stays_valid_and_a_real_client_gets_through() -> Outcome {
    let proxy = FaultProxy::start(1).await?;
    let cloud = Ministack::start_behind(&proxy).await?;
    let behind = Ministack::at(proxy.endpoint());
    cloud.create_bucket("photos").await?;
    let objects = [("u1/a".to_owned(), b"x".to_vec()), ("u1/b".to_owned(), Vec::new())];
    behind.put_objects("photos", objects, || {}).await?;
    assert_eq!(list_keys(&behind.s3(), "photos", "u1/").await?, ["u1/a", "u1/b"]);
    proxy.set_profile(always(&[Fault::Truncate]));
    assert!(list_keys(&behind.s3(), "photos", "u1/").await.is_err());
    assert_eq!(
        list_keys(&cloud.s3(), "photos", "u1/").await?.len(),
        2,
        "its own clients are not behind it"
    );
    let address = proxy.endpoint().trim_start_matches("http://").to_owned();
    drop(proxy);
    assert!(TcpStream::connect(address).await.is_err(), "the proxy outlives its value");
    Ok(())
}
